//! How long from the SIGKILL of an agent until its next life has read what the one before has saved; beside the next life
//! of an agent that has saved nothing, under a shim of its own.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::Context as _;

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next, let_live};
use crate::figures::Figures;
use crate::ours::{Agent, Server, Shim};
use crate::report::{NOTHING_SAVED, Row, What};
use crate::supervisor::Kind;

/// Every life but the first reads, and is killed: nobody is to be blamed for that.
const FLAGS: [&str; 2] = ["--poison-after", "0"];

/// Measures both, interleaved.
///
/// # Errors
/// A life did not come, or did not find what was saved.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let dir = course.site.join("restore");
    std::fs::create_dir_all(&dir)?;
    let server = Server::start(course.programs, &dir)?;
    let plain = course.programs.child.as_os_str();
    let restored = course.programs.restored.as_os_str();
    let mut subjects = Vec::new();
    for (who, name, child) in [
        (NOTHING_SAVED, "plain", plain),
        (Kind::Rekindle.name(), "restored", restored),
    ] {
        subjects.push(Subject::start(course, &server, who, name, child)?);
    }
    course.go(Part::Restore, subjects.len(), |index, counts| {
        subjects[index].round(counts)?;
        Ok(Next::Round)
    })?;
    subjects.iter().map(Subject::row).collect()
}

struct Subject {
    who: &'static str,
    births: Births,
    child: Birth,
    samples: Vec<Duration>,
    _shim: Shim,
}

impl Subject {
    fn start(
        course: &Course<'_>,
        server: &Server,
        who: &'static str,
        name: &str,
        child: &OsStr,
    ) -> anyhow::Result<Self> {
        let births = Births::open(Manners::Polite)?;
        let begin = Moment::now();
        let shim = Shim::start_with(
            &Agent {
                programs: course.programs,
                dir: &course.site.join("restore"),
                server,
                name,
                births: &births,
            },
            &FLAGS,
            &[child],
        )?;
        let child = births.next_after(begin, LIMIT)?;
        Ok(Self {
            who,
            births,
            child,
            samples: Vec::new(),
            _shim: shim,
        })
    }

    fn round(&mut self, counts: Counts) -> anyhow::Result<()> {
        let_live(&self.child);
        let begin = Moment::now();
        self.child.kill();
        self.child = self.births.next_after(begin, LIMIT)?;
        if counts == Counts::Yes {
            self.samples.push(self.child.at.since(begin));
        }
        Ok(())
    }

    fn row(&self) -> anyhow::Result<Row> {
        let to = if self.who == NOTHING_SAVED {
            What::Child
        } else {
            What::Context
        };
        let figures = Figures::of(&self.samples).context("no rounds were asked for")?;
        Ok(Row::new(Part::Restore, self.who, to, figures))
    }
}
