//! How soon after a message's limit its whole tree is dead: one that ends at TERM, and one that does not hear it, over the
//! grace; beside coreutils' timeout(1), which signals a process group.
//!
//! Who takes the times is the bench, by pidfds: from the first instruction of the tree's root, a limit later, to the
//! moment at which nothing of it lives. Both begin to count a little earlier.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1::{AgentState, ExecutionState};

use crate::args::Part;
use crate::birth::{Birth, Births, Manners, all_dead};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next};
use crate::daemon::Daemon;
use crate::figures::Figures;
use crate::grove::TOGETHER;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{Row, TIMEOUT_COMMAND, What};
use crate::supervisor::{GRACE, Kind};

/// How long a message may take: time enough for its tree to grow on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Descendants of a message's process: an agent with the tools that it has started.
const DESCENDANTS: usize = 10;

/// Measures all of them, interleaved.
///
/// # Errors
/// A tree did not grow, or lived on, or was not over by its limit.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let mut subjects = Vec::new();
    for manners in [Manners::Polite, Manners::Deaf] {
        subjects.push(Subject::timeout(course, manners)?);
        subjects.push(Subject::rekindle(course, manners)?);
    }
    course.go(Part::Limit, subjects.len(), |index, counts| {
        subjects[index].round(counts)?;
        Ok(Next::Round)
    })?;
    let mut rows = Vec::new();
    for pair in subjects.chunks_exact(2) {
        let (timeout, rekindle) = (pair[0].row()?, pair[1].row()?);
        let rekindle = rekindle.beside(&timeout);
        rows.extend([timeout, rekindle]);
    }
    Ok(rows)
}

struct Subject {
    manners: Manners,
    births: Births,
    keeper: Keeper,
    samples: Vec<Duration>,
}

/// Who ends a tree at its limit.
enum Keeper {
    /// timeout(1), for each tree.
    Timeout { grove: PathBuf, log: PathBuf },
    /// A shim, for each message.
    Rekindle {
        agent: &'static str,
        operator: Box<Operator>,
        _shim: Shim,
        _server: Server,
    },
}

impl Subject {
    fn timeout(course: &Course<'_>, manners: Manners) -> anyhow::Result<Self> {
        let keeper = Keeper::Timeout {
            grove: course.programs.grove.clone(),
            log: course.site.join("group.log"),
        };
        Ok(Self {
            manners,
            births: Births::open(manners)?,
            keeper,
            samples: Vec::new(),
        })
    }

    fn rekindle(course: &Course<'_>, manners: Manners) -> anyhow::Result<Self> {
        let name = match manners {
            Manners::Polite => "limit-polite",
            Manners::Deaf => "limit-deaf",
        };
        let dir = course.site.join(name);
        std::fs::create_dir_all(&dir)?;
        let births = Births::open(manners)?;
        let server = Server::start(course.programs, &dir)?;
        let agent = Agent {
            programs: course.programs,
            dir: &dir,
            server: &server,
            name,
            births: &births,
        };
        let flags = ["--delivery", "per-message", "--stop-grace", &seconds(GRACE)];
        let descendants = DESCENDANTS.to_string();
        let child = [
            course.programs.grove.as_os_str(),
            TOGETHER.as_ref(),
            descendants.as_ref(),
        ];
        let shim = Shim::start_with(&agent, &flags, &child)?;
        let mut operator = Operator::connect(&server)?;
        operator.wait_until(name, AgentState::Running, LIMIT)?;
        let keeper = Keeper::Rekindle {
            agent: name,
            operator: Box::new(operator),
            _shim: shim,
            _server: server,
        };
        Ok(Self {
            manners,
            births,
            keeper,
            samples: Vec::new(),
        })
    }

    fn row(&self) -> anyhow::Result<Row> {
        let who = match &self.keeper {
            Keeper::Timeout { .. } => TIMEOUT_COMMAND,
            Keeper::Rekindle { .. } => Kind::Rekindle.name(),
        };
        let how = match self.manners {
            Manners::Polite => "dies on TERM",
            Manners::Deaf => "ignores TERM",
        };
        let figures = Figures::of(&self.samples).context("no rounds were asked for")?;
        Ok(Row::new(Part::Limit, &format!("{who}, {how}"), What::Death, figures))
    }

    fn round(&mut self, counts: Counts) -> anyhow::Result<()> {
        let took = self.keeper.round(&self.births, self.manners)?;
        if counts == Counts::Yes {
            self.samples.push(took);
        }
        Ok(())
    }
}

impl Keeper {
    /// Has a tree run into its limit; how long after that it was dead, over the grace where it needs one.
    fn round(&mut self, births: &Births, manners: Manners) -> anyhow::Result<Duration> {
        let begin = Moment::now();
        match self {
            Self::Timeout { grove, log } => {
                let mut command = births.command(TIMEOUT_COMMAND);
                command.args(["--kill-after", &seconds(GRACE), &seconds(TIMEOUT)]);
                command.arg(grove).args([TOGETHER, &DESCENDANTS.to_string()]);
                let _timeout = Daemon::start(command, log)?;
                let tree = grown(births, begin)?;
                over_the_limit(&tree, manners)
            }
            Self::Rekindle { agent, operator, .. } => {
                let (name, _answered) = operator.create_execution(agent, Some(TIMEOUT))?;
                let tree = grown(births, begin)?;
                let took = over_the_limit(&tree, manners)?;
                let (execution, _over) = operator.execution_result(&name)?;
                if execution.state() != ExecutionState::TimedOut {
                    bail!("an execution was not ended by its limit: {execution:?}");
                }
                Ok(took)
            }
        }
    }
}

/// A tree that began after a moment, once all of it lives.
fn grown(births: &Births, begin: Moment) -> anyhow::Result<Vec<Birth>> {
    let tree = (0..=DESCENDANTS).map(|_| births.next_after(begin, LIMIT));
    tree.collect::<anyhow::Result<_>>().context("a tree did not grow")
}

/// How long after its limit a tree is dead, over the grace where it needs one.
fn over_the_limit(tree: &[Birth], manners: Manners) -> anyhow::Result<Duration> {
    let root = tree.iter().map(|process| process.at).min();
    let dead = all_dead(tree, LIMIT)?;
    let grace = match manners {
        Manners::Polite => Duration::ZERO,
        Manners::Deaf => GRACE,
    };
    let lived = dead.since(root.context("a tree has no root")?);
    Ok(lived.saturating_sub(TIMEOUT + grace))
}

/// As flags have it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
