//! The parts in which a child comes back, with everybody who can bring one back.

use std::time::Duration;

use anyhow::Context as _;

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next, let_live};
use crate::figures::Figures;
use crate::report::{Row, What};
use crate::supervisor::{GRACE, Kind, Launch, Supervisor};

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
            Ok(subject) => subjects.push(Some(subject)),
            Err(error) => give_up(kind, part, error)?,
        }
    }
    let turns = subjects.len();
    course.go(part, turns, |index, counts| {
        let Some(subject) = &mut subjects[index] else {
            return Ok(Next::Out);
        };
        match subject.round(part) {
            Ok(sample) => {
                if counts == Counts::Yes {
                    subject.samples.push(sample);
                }
                Ok(Next::Round)
            }
            Err(error) => {
                give_up(subject.kind, part, error)?;
                subjects[index] = None;
                Ok(Next::Out)
            }
        }
    })?;
    Ok(subjects
        .iter()
        .flatten()
        .flat_map(|subject| subject.rows(part))
        .collect())
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
        let_live(&self.child);
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
