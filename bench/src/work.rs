//! What it takes until an agent works on a message, and until its answer is there; beside a bare fork, exec and wait of
//! the same program.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1::{AgentState, EventType, ExecutionState};

use crate::args::Part;
use crate::birth::{Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next};
use crate::figures::Figures;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{Row, What};
use crate::supervisor::Kind;
use crate::watch::Watch;

const AGENT: &str = "work";

/// What the program writes.
pub const OUTPUT: &str = "done\n";

/// Measures both, interleaved.
///
/// # Errors
/// The program was not run, or its output is not what it wrote.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let bare = Bare {
        program: course.programs.errand.clone(),
        births: Births::open(Manners::Polite)?,
    };
    let mut rekindle = Rekindle::start(course)?;
    let (mut bare_took, mut took) = (Vec::new(), Vec::new());
    course.go(Part::Work, 2, |index, counts| {
        if index == 0 {
            let sample = bare.round()?;
            bare_took.extend((counts == Counts::Yes).then_some(sample));
        } else {
            let sample = rekindle.round()?;
            took.extend((counts == Counts::Yes).then_some(sample));
        }
        Ok(Next::Round)
    })?;
    let bare = |to, pick: fn(&BareTook) -> Duration| row(Kind::Floor, to, &bare_took, pick);
    let ours = |to, pick: fn(&Took) -> Duration| row(Kind::Rekindle, to, &took, pick);
    let to_begin = bare(What::Begin, |took| took.to_begin)?;
    let to_wait = bare(What::Wait, |took| took.to_wait)?;
    let ours = [
        ours(What::Answer, |took| took.to_answer)?,
        ours(What::Begin, |took| took.to_begin)?.beside(&to_begin),
        ours(What::Running, |took| took.to_running)?.beside(&to_begin),
        ours(What::Output, |took| took.to_output)?.beside(&to_wait),
    ];
    Ok([to_begin, to_wait].into_iter().chain(ours).collect())
}

fn row<T>(who: Kind, to: What, took: &[T], pick: fn(&T) -> Duration) -> anyhow::Result<Row> {
    let samples: Vec<Duration> = took.iter().map(pick).collect();
    let figures = Figures::of(&samples).context("no rounds were asked for")?;
    Ok(Row::new(Part::Work, who.name(), to, figures))
}

/// Nobody between the bench and the program.
struct Bare {
    program: PathBuf,
    births: Births,
}

/// What that took, from before the fork.
struct BareTook {
    to_begin: Duration,
    to_wait: Duration,
}

impl Bare {
    fn round(&self) -> anyhow::Result<BareTook> {
        let begin = Moment::now();
        let mut command = self.births.command(&self.program);
        // It writes to a pipe, as it does under a shim.
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("cannot run the program")?;
        let waited = Moment::now();
        if output.stdout != OUTPUT.as_bytes() {
            bail!("the program wrote {:?}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(BareTook {
            to_begin: self.births.next_moment(begin, LIMIT)?.since(begin),
            to_wait: waited.since(begin),
        })
    }
}

/// A server, and a shim that runs the program once for each message.
struct Rekindle {
    births: Births,
    operator: Operator,
    running: Watch,
    _shim: Shim,
    _server: Server,
}

/// What an execution took, from the call.
struct Took {
    to_answer: Duration,
    to_begin: Duration,
    to_running: Duration,
    to_output: Duration,
}

impl Rekindle {
    fn start(course: &Course<'_>) -> anyhow::Result<Self> {
        let dir = course.site.join("work");
        std::fs::create_dir_all(&dir)?;
        let births = Births::open(Manners::Polite)?;
        let server = Server::start(course.programs, &dir)?;
        let agent = Agent {
            programs: course.programs,
            dir: &dir,
            server: &server,
            name: AGENT,
            births: &births,
        };
        let program = course.programs.errand.as_os_str();
        let shim = Shim::start_with(&agent, &["--delivery", "per-message"], &[program])?;
        let mut operator = Operator::connect(&server)?;
        operator.wait_until(AGENT, AgentState::Running, LIMIT)?;
        Ok(Self {
            births,
            operator,
            running: Watch::open(&server, EventType::ExecutionRunning)?,
            _shim: shim,
            _server: server,
        })
    }

    fn round(&mut self) -> anyhow::Result<Took> {
        let begin = Moment::now();
        let (name, answered) = self.operator.create_execution(AGENT, None)?;
        let (execution, over) = self.operator.execution_result(&name)?;
        if execution.state() != ExecutionState::Succeeded || execution.output != OUTPUT {
            bail!("an execution ended otherwise than its program: {execution:?}");
        }
        Ok(Took {
            to_answer: answered.since(begin),
            to_begin: self.births.next_moment(begin, LIMIT)?.since(begin),
            to_running: self.running.next_after(AGENT, begin, LIMIT)?.since(begin),
            to_output: over.since(begin),
        })
    }
}
