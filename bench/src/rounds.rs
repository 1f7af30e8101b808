//! The rounds of everybody, interleaved, so that what else the machine does hits all of them alike.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::figures::Figures;
use crate::machine::ProcessorTime;
use crate::programs::Programs;
use crate::report::{Row, What};
use crate::supervisor::{GRACE, Kind, Launch, Supervisor};

/// How long a child lives before it is ended again: runsv, supervise and s6 hold one back that lived for less than a
/// second, which would be measured as theirs.
const LIFE: Duration = Duration::from_millis(1_100);

/// Longest wait for a child. The slowest known supervisor takes two seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// How long the machine is looked at for quiet.
const QUIET_LOOK: Duration = Duration::from_millis(300);

/// What processors may do in that time, in percent: two ticks of the 60 of two processors are the bench's own and the
/// kernel's.
const QUIET_PERCENT: f64 = 5.0;

/// Longest wait for quiet before one round.
const QUIET_WAIT: Duration = Duration::from_secs(60);

/// Rounds that are not counted, in which caches and connections warm up.
const WARM_UP: usize = 3;

/// What a measurement needs.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// Where files go.
    pub site: &'a Path,
    /// Rounds that count.
    pub rounds: u16,
    /// When one begins.
    pub pace: Pace,
}

/// When a round begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When the child has lived for long enough.
    AtOnce,
    /// When, besides, the machine was idle for a moment.
    WhenQuiet,
}

/// Measures one part with everybody who takes part in it. Who fails drops out, which is said.
///
/// # Errors
/// Rekindle or the floor failed.
pub fn run(course: &Course<'_>, part: Part) -> anyhow::Result<Vec<Row>> {
    let mut subjects = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.takes_part(part)) {
        if let Some(program) = kind.missing_program() {
            eprintln!("{part}: {} is skipped: {program} is not installed", kind.name());
            continue;
        }
        match Subject::start(course, part, kind) {
            Ok(subject) => subjects.push(subject),
            Err(error) => give_up(kind, part, error)?,
        }
    }
    let mut noisy = 0;
    for round in 0..WARM_UP + usize::from(course.rounds) {
        for turn in 0..subjects.len() {
            // Nobody always follows the same one.
            let index = (round + turn) % subjects.len();
            let subject = &mut subjects[index];
            if course.pace == Pace::WhenQuiet && wait_for_quiet()? == Quiet::No {
                noisy += 1;
            }
            match subject.round(part) {
                Ok(sample) if round >= WARM_UP => subject.samples.push(sample),
                Ok(_warm_up) => {}
                Err(error) => {
                    give_up(subject.kind, part, error)?;
                    subjects.remove(index);
                    break;
                }
            }
        }
    }
    if noisy > 0 {
        eprintln!("{part}: {noisy} rounds began although the machine was busy for all of {QUIET_WAIT:?}");
    }
    Ok(subjects.iter().flat_map(|subject| subject.rows(part)).collect())
}

/// Whether the machine was quiet when the wait for it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quiet {
    Yes,
    No,
}

fn wait_for_quiet() -> anyhow::Result<Quiet> {
    let began = Moment::now();
    while Moment::now().since(began) < QUIET_WAIT {
        let before = ProcessorTime::so_far()?;
        std::thread::sleep(QUIET_LOOK);
        if ProcessorTime::so_far()?.wanted_percent_since(before) < QUIET_PERCENT {
            return Ok(Quiet::Yes);
        }
    }
    Ok(Quiet::No)
}

fn give_up(kind: Kind, part: Part, error: anyhow::Error) -> anyhow::Result<()> {
    match kind {
        Kind::Floor | Kind::Rekindle => Err(error.context(format!("cannot measure {part} of {}", kind.name()))),
        Kind::Runit | Kind::Daemontools | Kind::S6 | Kind::Supervisord => {
            eprintln!("{part}: {} is given up: {error:#}", kind.name());
            Ok(())
        }
    }
}

/// One round's figures.
#[derive(Debug, Clone, Copy)]
struct Sample {
    to_child: Duration,
    to_answer: Option<Duration>,
}

/// A supervisor under measurement.
struct Subject {
    kind: Kind,
    births: Births,
    child: Birth,
    supervisor: Box<dyn Supervisor>,
    samples: Vec<Sample>,
}

impl Subject {
    fn start(course: &Course<'_>, part: Part, kind: Kind) -> anyhow::Result<Self> {
        let manners = if part == Part::Grace {
            Manners::Deaf
        } else {
            Manners::Polite
        };
        let dir = course.site.join(format!("{part}-{}", kind.name()));
        std::fs::create_dir_all(&dir)?;
        let births = Births::open(manners)?;
        let begin = Moment::now();
        let supervisor = kind.start(&Launch {
            programs: course.programs,
            dir: &dir,
            births: &births,
            manners,
        })?;
        let child = births.next_after(begin, LIMIT).with_context(|| {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            format!("its first child did not begin: {log}")
        })?;
        Ok(Self {
            kind,
            births,
            child,
            supervisor,
            samples: Vec::new(),
        })
    }

    fn round(&mut self, part: Part) -> anyhow::Result<Sample> {
        std::thread::sleep(LIFE.saturating_sub(Moment::now().since(self.child.at)));
        let begin = Moment::now();
        let answered = if part == Part::Crash {
            self.child.kill();
            None
        } else {
            self.supervisor.restart(&self.child)?
        };
        self.child = self.births.next_after(begin, LIMIT)?;
        let grace = if part == Part::Grace { GRACE } else { Duration::ZERO };
        let took = |moment: Moment| {
            moment
                .since(begin)
                .checked_sub(grace)
                .context("the grace was cut short")
        };
        Ok(Sample {
            to_child: took(self.child.at)?,
            to_answer: answered.map(took).transpose()?,
        })
    }

    fn rows(&self, part: Part) -> Vec<Row> {
        let to_child: Vec<_> = self.samples.iter().map(|sample| sample.to_child).collect();
        let to_answer: Vec<_> = self.samples.iter().filter_map(|sample| sample.to_answer).collect();
        [(What::Child, to_child), (What::Answer, to_answer)]
            .into_iter()
            .filter_map(|(what, samples)| Some(Row::new(part, self.kind.name(), what, Figures::of(&samples)?)))
            .collect()
    }
}
