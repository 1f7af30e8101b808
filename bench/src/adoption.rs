//! How soon a shim that was SIGKILLed is followed by one that watches the same child; beside a shim's cold start.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1::{AgentState, EventType};

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next};
use crate::figures::Figures;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{COLD_START, Row, What};
use crate::watch::Watch;

const AGENT: &str = "adopted";
const ADOPTION: &str = "adoption";

/// With the usual interval every round would wait for 15 s: an agent that is to come back was away for a lease, which is
/// three of these.
const HEARTBEAT: &str = "200ms";

/// What a shim logs that has adopted a child.
const ADOPTED: &str = "goes on under this shim";

/// Measures both, interleaved.
///
/// # Errors
/// A child was not adopted, or did not begin.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let dir = course.site.join("adoption");
    std::fs::create_dir_all(&dir)?;
    let server = Server::start_with(course.programs, &dir, &["--heartbeat-interval", HEARTBEAT])?;
    let births = Births::open(Manners::Polite)?;
    let agent = Agent {
        programs: course.programs,
        dir: &dir,
        server: &server,
        name: AGENT,
        births: &births,
    };
    let mut kept = Kept::start(agent)?;
    let (mut to_watch, mut to_event, mut to_child) = (Vec::new(), Vec::new(), Vec::new());
    let mut cold_starts = 0;
    course.go(Part::Adoption, 2, |index, counts| {
        if index == 0 {
            let took = kept.adopt()?;
            if counts == Counts::Yes {
                to_watch.push(took.to_watch);
                to_event.push(took.to_event);
            }
        } else {
            cold_starts += 1;
            let took = cold_start(Agent {
                name: &format!("cold-{cold_starts}"),
                ..agent
            })?;
            if counts == Counts::Yes {
                to_child.push(took);
            }
        }
        Ok(Next::Round)
    })?;
    let rows = [
        (COLD_START, What::Child, to_child),
        (ADOPTION, What::Watch, to_watch),
        (ADOPTION, What::Event, to_event),
    ];
    let rows = rows.into_iter().map(|(subject, to, samples)| {
        let figures = Figures::of(&samples).context("no rounds were asked for")?;
        Ok(Row::new(Part::Adoption, subject, to, figures))
    });
    rows.collect()
}

/// A child that outlives its shims: it has no tree, and is told by nobody to end with its parent.
fn child<'a>(agent: &Agent<'a>) -> [&'a OsStr; 2] {
    [agent.programs.grove.as_os_str(), OsStr::new("0")]
}

/// One shim, from its start to its first child's first instruction.
fn cold_start(agent: Agent<'_>) -> anyhow::Result<Duration> {
    let begin = Moment::now();
    let _shim = Shim::start_with(&agent, &[], &child(&agent))?;
    let first = agent.births.next_after(begin, LIMIT)?;
    Ok(first.at.since(begin))
}

/// What an adoption took, from the start of the shim.
#[derive(Debug, Clone, Copy)]
struct Took {
    to_watch: Duration,
    to_event: Duration,
}

/// An agent whose shims come and go.
struct Kept<'a> {
    agent: Agent<'a>,
    shim: Option<Shim>,
    child: Birth,
    incarnation: u64,
    operator: Operator,
    back: Watch,
}

impl<'a> Kept<'a> {
    fn start(agent: Agent<'a>) -> anyhow::Result<Self> {
        let begin = Moment::now();
        let shim = Shim::start_with(&agent, &["--on-shim-exit", "keep"], &child(&agent))?;
        let child = agent.births.next_after(begin, LIMIT)?;
        let mut operator = Operator::connect(agent.server)?;
        let incarnation = operator.wait_until(AGENT, AgentState::Running, LIMIT)?.incarnation;
        Ok(Self {
            agent,
            shim: Some(shim),
            child,
            incarnation,
            operator,
            back: Watch::open(agent.server, EventType::AgentReconnected)?,
        })
    }

    fn adopt(&mut self) -> anyhow::Result<Took> {
        if let Some(shim) = self.shim.take() {
            shim.kill();
        }
        self.operator.wait_until(AGENT, AgentState::Unreachable, LIMIT)?;
        let begin = Moment::now();
        let (shim, lines) = Shim::start_told(&self.agent, &["--on-shim-exit", "keep"], &child(&self.agent))?;
        self.shim = Some(shim);
        let back = self.back.next_after(AGENT, begin, LIMIT)?;
        let watched = lines.moment_of(ADOPTED, LIMIT)?;
        let agent = self.operator.get(AGENT)?;
        if agent.incarnation != self.incarnation || self.child.has_ended()? {
            bail!("the child was not adopted: {agent:?}");
        }
        Ok(Took {
            to_watch: watched.since(begin),
            to_event: back.since(begin),
        })
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // Before its shim, which would leave it alive.
        if self.operator.kill(AGENT).is_err() {
            self.child.kill();
        }
    }
}
