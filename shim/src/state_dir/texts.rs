//! What finished attempts have written, which the journal leaves out: it is written anew with each fact.
//!
//! Each text is a file beside the journal, `output.17` of the report 17, from before the first journal that has the report
//! until after the first that has not. Like the journal, it outlives the shim, and no power loss. One that is torn or
//! missing counts as an output of which everything was dropped: how the attempt ended is known all the same.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::execution::{OUTPUT_MAX_BYTES, Output};
use rekindle::id::ReportSequence;
use rekindle::report::{Report, ReportFact};

use super::slot::checksum;

/// What the files are called, before the report's number.
const PREFIX: &str = "output.";

/// The length of the checksum before the text: 16 hexadecimal digits and the end of a line.
const LINE_BYTES: usize = 17;

/// Largest file that is read: one that is longer was not written here.
const FILE_MAX_BYTES: u64 = (LINE_BYTES + OUTPUT_MAX_BYTES) as u64;

/// The files of one state directory.
#[derive(Debug)]
pub(super) struct Texts {
    dir: PathBuf,
    /// Reports whose texts were written, or could not be, which was told.
    kept: BTreeSet<ReportSequence>,
}

impl Texts {
    /// Gives the reports of a journal that was read their texts back, and removes what belongs to none of them.
    pub(super) fn open(dir: &Path, outbox: &mut [Report]) -> io::Result<Self> {
        let mut texts = Self {
            dir: dir.to_owned(),
            kept: BTreeSet::new(),
        };
        for report in outbox {
            let sequence = report.sequence;
            if let Some(output) = output_mut(&mut report.fact) {
                match texts.read(sequence) {
                    Some(text) => output.text = text,
                    None => {
                        tracing::warn!(%sequence, "what a message's process wrote is lost; how it ended is not");
                        output.dropped = output.dropped.max(1);
                    }
                }
                texts.kept.insert(sequence);
            }
        }
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let number = number.and_then(|number| number.parse().ok().map(ReportSequence::new));
            if number.is_some_and(|number| !texts.kept.contains(&number)) {
                texts.remove(&dir.join(&name));
            }
        }
        Ok(texts)
    }

    /// Before a journal with these reports is written. A text that cannot be kept stops nothing: it is lost if this shim
    /// dies before the server has it.
    pub(super) fn keep(&mut self, outbox: &[Report]) {
        for report in outbox {
            if let Some(output) = output(&report.fact)
                && self.kept.insert(report.sequence)
                && let Err(error) = self.write(report.sequence, &output.text)
            {
                tracing::error!(sequence = %report.sequence, %error, "cannot keep what a message's process wrote");
            }
        }
    }

    /// After a journal with these reports was written.
    pub(super) fn forget_others(&mut self, outbox: &[Report]) {
        if self.kept.is_empty() {
            return;
        }
        let there: BTreeSet<ReportSequence> = outbox.iter().map(|report| report.sequence).collect();
        for sequence in self.kept.difference(&there) {
            self.remove(&self.path(*sequence));
        }
        self.kept.retain(|sequence| there.contains(sequence));
    }

    fn path(&self, sequence: ReportSequence) -> PathBuf {
        self.dir.join(format!("{PREFIX}{}", sequence.get()))
    }

    fn write(&self, sequence: ReportSequence, text: &str) -> io::Result<()> {
        let line = format!("{:016x}\n", checksum(sequence.get(), text.as_bytes()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(sequence))?;
        file.write_all(&[line.as_bytes(), text.as_bytes()].concat())
    }

    /// `None` where it is not there whole.
    fn read(&self, sequence: ReportSequence) -> Option<Arc<str>> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(sequence)).ok()?;
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let (line, text) = bytes.split_at_checked(LINE_BYTES)?;
        let sum = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let is_whole = u64::from_str_radix(sum, 16).ok()? == checksum(sequence.get(), text);
        is_whole.then(|| std::str::from_utf8(text).ok().map(Arc::from))?
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next shim tries it again.
            tracing::warn!(file = %path.display(), %error, "cannot remove an output that nobody needs any more");
        }
    }
}

fn output(fact: &ReportFact) -> Option<&Output> {
    match fact {
        ReportFact::AttemptFinished(_, result) => Some(&result.output),
        ReportFact::Recovering { .. }
        | ReportFact::Spawned(_)
        | ReportFact::MainProcess(_)
        | ReportFact::Ready
        | ReportFact::Stopping
        | ReportFact::Exited(_)
        | ReportFact::SpawnFailed(_)
        | ReportFact::Survived(_)
        | ReportFact::AttemptAccepted(_)
        | ReportFact::AttemptStarted(..)
        | ReportFact::AttemptSurvived(..)
        | ReportFact::HandedOver(_)
        | ReportFact::CheckpointRead(_)
        | ReportFact::CheckpointConfirmed(_) => None,
    }
}

fn output_mut(fact: &mut ReportFact) -> Option<&mut Output> {
    match fact {
        ReportFact::AttemptFinished(_, result) => Some(&mut result.output),
        ReportFact::Recovering { .. }
        | ReportFact::Spawned(_)
        | ReportFact::MainProcess(_)
        | ReportFact::Ready
        | ReportFact::Stopping
        | ReportFact::Exited(_)
        | ReportFact::SpawnFailed(_)
        | ReportFact::Survived(_)
        | ReportFact::AttemptAccepted(_)
        | ReportFact::AttemptStarted(..)
        | ReportFact::AttemptSurvived(..)
        | ReportFact::HandedOver(_)
        | ReportFact::CheckpointRead(_)
        | ReportFact::CheckpointConfirmed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rekindle::execution::{AttemptId, AttemptResult, ExecutionId, Verdict};
    use rekindle::id::{ExecutionUid, Incarnation};
    use rekindle::time::Timestamp;

    use super::*;

    fn finished(sequence: u64, text: &str) -> Report {
        let attempt = AttemptId {
            execution: ExecutionId::new("e").expect("valid"),
            uid: ExecutionUid::from_u128(1),
            number: 1,
        };
        let output = Output {
            text: text.into(),
            dropped: 0,
        };
        Report {
            sequence: ReportSequence::new(sequence),
            time: Timestamp::UNIX_EPOCH,
            incarnation: Incarnation::new(1),
            fact: ReportFact::AttemptFinished(
                attempt,
                Box::new(AttemptResult {
                    verdict: Verdict::Succeeded,
                    message: String::new(),
                    evidence: None,
                    output,
                }),
            ),
        }
    }

    /// As the journal has it.
    fn without_text(report: &Report) -> Report {
        let mut report = report.clone();
        output_mut(&mut report.fact).expect("an attempt's").text = Arc::default();
        report
    }

    /// What is read back of these, as text and dropped bytes.
    fn read_back(dir: &Path, reports: &[Report]) -> Vec<(String, u64)> {
        let mut outbox: Vec<Report> = reports.iter().map(without_text).collect();
        Texts::open(dir, &mut outbox).expect("opened");
        let outputs = outbox.iter().filter_map(|report| output(&report.fact));
        outputs
            .map(|output| (output.text.to_string(), output.dropped))
            .collect()
    }

    fn files(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("listed");
        let mut names: Vec<String> = names
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn texts_come_back_and_go_with_their_reports() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut texts = Texts::open(dir.path(), &mut []).expect("opened");
        let long = "é".repeat(OUTPUT_MAX_BYTES / 2);
        let outbox = [finished(7, "seven\n"), finished(8, ""), finished(9, &long)];
        texts.keep(&outbox);
        texts.forget_others(&outbox);
        assert_eq!(files(dir.path()), ["output.7", "output.8", "output.9"]);
        let mode = fs::metadata(dir.path().join("output.7"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let expected = [("seven\n".to_owned(), 0), (String::new(), 0), (long, 0)];
        assert_eq!(read_back(dir.path(), &outbox), expected);

        let [_, rest @ ..] = &outbox;
        texts.forget_others(rest);
        assert_eq!(files(dir.path()), ["output.8", "output.9"]);
        texts.forget_others(&[]);
        assert_eq!(files(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut texts = Texts::open(dir.path(), &mut []).expect("opened");
        let (named, left) = (finished(1, "named"), finished(2, "left"));
        texts.keep(&[named.clone(), left]);
        for other in ["output.x", "journal.0", "output"] {
            fs::write(dir.path().join(other), "").expect("written");
        }
        assert_eq!(read_back(dir.path(), &[named]), [("named".to_owned(), 0)]);
        assert_eq!(files(dir.path()), ["journal.0", "output", "output.1", "output.x"]);
    }

    #[test]
    fn one_that_is_torn_or_missing_counts_as_dropped() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut texts = Texts::open(dir.path(), &mut []).expect("opened");
        let outbox = [finished(1, "all of it")];
        texts.keep(&outbox);
        let path = dir.path().join("output.1");
        let whole = fs::read(&path).expect("there");
        let lost = [(String::new(), 1)];
        for length in 0..whole.len() {
            let (kept, _) = whole.split_at(length);
            fs::write(&path, kept).expect("written");
            assert_eq!(read_back(dir.path(), &outbox), lost, "cut off after {length}");
        }
        fs::write(&path, [whole.as_slice(), &vec![b'x'; 2 * OUTPUT_MAX_BYTES]].concat()).expect("written");
        assert_eq!(read_back(dir.path(), &outbox), lost, "longer");
        fs::rename(&path, dir.path().join("output.2")).expect("renamed");
        assert_eq!(read_back(dir.path(), &outbox), lost, "missing");
        fs::write(dir.path().join("output.2"), &whole).expect("written");
        assert_eq!(read_back(dir.path(), &[finished(2, "")]), lost, "another report's");
    }
}
