//! How soon the end of a child is known: by a client of the server, by a bare parent, and by runit's next child.

use std::time::Duration;

use anyhow::Context as _;
use rekindle::wire::v1::EventType;

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next, let_live};
use crate::daemon::Daemon;
use crate::figures::Figures;
use crate::ours::{Agent, Server, Shim};
use crate::report::{PARENT, Row, What};
use crate::supervisor::{Kind, Launch, Supervisor};
use crate::watch::Watch;

const AGENT: &str = "exit";

/// Measures it, interleaved.
///
/// # Errors
/// Somebody could not be started, or did not learn of an end.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let mut subjects = vec![Subject::parent(course)?, Subject::rekindle(course)?];
    match Kind::Runit.missing_program() {
        Some(program) => eprintln!("{}: runit is skipped: {program} is not installed", Part::Exit),
        None => subjects.push(Subject::runit(course)?),
    }
    course.go(Part::Exit, subjects.len(), |index, counts| {
        subjects[index].round(counts)?;
        Ok(Next::Round)
    })?;
    Ok(subjects.iter().flat_map(Subject::rows).collect())
}

/// Who learns of the end.
enum Observer {
    /// `reap`, which tells of its own moments.
    Parent { told: Births, _reap: Daemon },
    /// A client of a server whose shim is the parent.
    Client { watch: Watch, _shim: Shim, _server: Server },
    /// `runsv`, of which nothing but the next child is seen.
    Runit { _runsv: Box<dyn Supervisor> },
}

struct Subject {
    name: &'static str,
    births: Births,
    child: Birth,
    observer: Observer,
    known: Vec<Duration>,
    to_child: Vec<Duration>,
}

impl Subject {
    fn parent(course: &Course<'_>) -> anyhow::Result<Self> {
        Self::start(PARENT, |births| {
            let told = Births::open(Manners::Polite)?;
            let mut command = births.command(&course.programs.reap);
            command.arg(told.name()).arg(&course.programs.child);
            let reap = Daemon::start(command, &course.site.join("reap.log"))?;
            Ok(Observer::Parent { told, _reap: reap })
        })
    }

    fn rekindle(course: &Course<'_>) -> anyhow::Result<Self> {
        let dir = course.site.join("exit-rekindle");
        std::fs::create_dir_all(&dir)?;
        Self::start(Kind::Rekindle.name(), |births| {
            let server = Server::start(course.programs, &dir)?;
            let watch = Watch::open(&server, EventType::AgentCrashed)?;
            let shim = Shim::start(&Agent {
                programs: course.programs,
                dir: &dir,
                server: &server,
                name: AGENT,
                births,
            })?;
            Ok(Observer::Client {
                watch,
                _shim: shim,
                _server: server,
            })
        })
    }

    fn runit(course: &Course<'_>) -> anyhow::Result<Self> {
        let dir = course.site.join("exit-runit");
        std::fs::create_dir_all(&dir)?;
        Self::start(Kind::Runit.name(), |births| {
            let runsv = Kind::Runit.start(&Launch {
                programs: course.programs,
                dir: &dir,
                births,
                manners: Manners::Polite,
            })?;
            Ok(Observer::Runit { _runsv: runsv })
        })
    }

    fn start(name: &'static str, start: impl FnOnce(&Births) -> anyhow::Result<Observer>) -> anyhow::Result<Self> {
        let births = Births::open(Manners::Polite)?;
        let begin = Moment::now();
        let observer = start(&births).with_context(|| format!("cannot start {name}"))?;
        let child = births
            .next_after(begin, LIMIT)
            .with_context(|| format!("the first child of {name} did not begin"))?;
        Ok(Self {
            name,
            births,
            child,
            observer,
            known: Vec::new(),
            to_child: Vec::new(),
        })
    }

    fn round(&mut self, counts: Counts) -> anyhow::Result<()> {
        let_live(&self.child);
        let begin = Moment::now();
        self.child.kill();
        let known = match &self.observer {
            Observer::Parent { told, .. } => Some(told.next_after(begin, LIMIT)?.at),
            Observer::Client { watch, .. } => Some(watch.next_after(AGENT, begin, LIMIT)?),
            Observer::Runit { .. } => None,
        };
        self.child = self.births.next_after(begin, LIMIT)?;
        if counts == Counts::Yes {
            self.known.extend(known.map(|known| known.since(begin)));
            self.to_child.push(self.child.at.since(begin));
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let (known, to_child) = match &self.observer {
            // What follows is the floor of another part.
            Observer::Parent { .. } => (Some(What::Wait), None),
            Observer::Client { .. } => (Some(What::Event), Some(What::Child)),
            Observer::Runit { .. } => (None, Some(What::Child)),
        };
        [(known, &self.known), (to_child, &self.to_child)]
            .into_iter()
            .filter_map(|(to, samples)| Some(Row::new(Part::Exit, self.name, to?, Figures::of(samples)?)))
            .collect()
    }
}
