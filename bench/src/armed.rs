//! How long from the SIGKILL of an agent until a client hears that its next life is ready, and that its workflow is armed.

use std::time::Duration;

use anyhow::Context as _;
use rekindle::wire::v1::{AgentState, EventType};

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next, let_live};
use crate::figures::Figures;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{Row, What};
use crate::supervisor::Kind;
use crate::watch::Watch;

const AGENT: &str = "armed";

/// Measures it.
///
/// # Errors
/// A life did not come, or its workflow was not armed.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let mut subject = Subject::start(course)?;
    let (mut to_ready, mut to_armed) = (Vec::new(), Vec::new());
    course.go(Part::Armed, 1, |_, counts| {
        let (ready, armed) = subject.round()?;
        if counts == Counts::Yes {
            to_ready.push(ready);
            to_armed.push(armed);
        }
        Ok(Next::Round)
    })?;
    let row = |to, samples: &[Duration]| {
        let figures = Figures::of(samples).context("no rounds were asked for")?;
        anyhow::Ok(Row::new(Part::Armed, Kind::Rekindle.name(), to, figures))
    };
    let ready = row(What::Event, &to_ready)?;
    let armed = row(What::Armed, &to_armed)?.beside(&ready);
    Ok(vec![ready, armed])
}

struct Subject {
    births: Births,
    child: Birth,
    ready: Watch,
    armed: Watch,
    _shim: Shim,
    _server: Server,
}

impl Subject {
    fn start(course: &Course<'_>) -> anyhow::Result<Self> {
        let dir = course.site.join("armed");
        std::fs::create_dir_all(&dir)?;
        let births = Births::open(Manners::Polite)?;
        let server = Server::start(course.programs, &dir)?;
        let begin = Moment::now();
        let shim = Shim::start(&Agent {
            programs: course.programs,
            dir: &dir,
            server: &server,
            name: AGENT,
            births: &births,
        })?;
        let child = births.next_after(begin, LIMIT)?;
        let mut operator = Operator::connect(&server)?;
        operator.wait_until(AGENT, AgentState::Running, LIMIT)?;
        operator.create_manual_workflow(AGENT)?;
        Ok(Self {
            births,
            child,
            ready: Watch::open(&server, EventType::AgentReady)?,
            armed: Watch::open(&server, EventType::WorkflowArmed)?,
            _shim: shim,
            _server: server,
        })
    }

    /// From the SIGKILL to both events at a client.
    fn round(&mut self) -> anyhow::Result<(Duration, Duration)> {
        let_live(&self.child);
        let begin = Moment::now();
        self.child.kill();
        self.child = self.births.next_after(begin, LIMIT)?;
        let ready = self.ready.next_after(AGENT, begin, LIMIT)?;
        let armed = self.armed.next_after(AGENT, begin, LIMIT)?;
        Ok((ready.since(begin), armed.since(begin)))
    }
}
