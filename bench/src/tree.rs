//! How long it takes to end a tree of processes that are hard to end, and to prove it; beside a bare process group.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper, waitpgid};

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next};
use crate::figures::Figures;
use crate::grove::TOGETHER;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{GROUP, Row, What};

const AGENT: &str = "tree";

/// What a shim writes into its log where it gets no control groups.
const NO_CGROUP: &str = "no cgroup";

/// Measures it for trees with so many descendants, interleaved.
///
/// # Errors
/// Somebody could not be started, or a process outlived its end.
pub fn run(course: &Course<'_>, descendants: u16) -> anyhow::Result<Vec<Row>> {
    let mut subjects = vec![Subject::group(course, descendants)?];
    for (name, cgroup) in [("rekindle, cgroup", "auto"), ("rekindle, no cgroup", "off")] {
        match Subject::rekindle(course, descendants, name, cgroup)? {
            Some(subject) => subjects.push(subject),
            None => eprintln!("{}: {name} is skipped: a shim gets no cgroup here", Part::Tree),
        }
    }
    course.go(Part::Tree, subjects.len(), |index, counts| {
        subjects[index].round(counts)?;
        Ok(Next::Round)
    })?;
    let rows = subjects.iter().map(|subject| {
        let figures = Figures::of(&subject.samples).context("no rounds were asked for")?;
        Ok(Row::new(Part::Tree, subject.name, subject.to, figures))
    });
    rows.collect()
}

struct Subject {
    name: &'static str,
    to: What,
    /// Processes of a tree, its root included.
    processes: usize,
    births: Births,
    living: Vec<Birth>,
    keeper: Keeper,
    samples: Vec<Duration>,
}

/// Who ends trees.
enum Keeper {
    /// The kernel alone.
    Group(Group),
    /// A shim, at an operator's order.
    Rekindle {
        operator: Box<Operator>,
        _shim: Shim,
        _server: Server,
    },
}

impl Subject {
    fn group(course: &Course<'_>, descendants: u16) -> anyhow::Result<Self> {
        let births = Births::open(Manners::Polite)?;
        let begin = Moment::now();
        let keeper = Keeper::Group(Group {
            program: course.programs.grove.clone(),
            descendants,
            leader: None,
        });
        let mut subject = Self::new(GROUP, What::Death, descendants, births, keeper);
        subject.grow(begin)?;
        Ok(subject)
    }

    /// `None` where it is to have a control group, and gets none.
    fn rekindle(
        course: &Course<'_>,
        descendants: u16,
        name: &'static str,
        cgroup: &str,
    ) -> anyhow::Result<Option<Self>> {
        let dir = course.site.join(format!("tree-{cgroup}"));
        std::fs::create_dir_all(&dir)?;
        let births = Births::open(Manners::Polite)?;
        let begin = Moment::now();
        let server = Server::start(course.programs, &dir)?;
        let agent = Agent {
            programs: course.programs,
            dir: &dir,
            server: &server,
            name: AGENT,
            births: &births,
        };
        let child = [course.programs.grove.as_os_str(), descendants.to_string().as_ref()].map(ToOwned::to_owned);
        let shim = Shim::start_with(&agent, &["--cgroup", cgroup], &[&child[0], &child[1]])?;
        let log = agent.log();
        let keeper = Keeper::Rekindle {
            operator: Box::new(Operator::connect(&server)?),
            _shim: shim,
            _server: server,
        };
        let mut subject = Self::new(name, What::Answer, descendants, births, keeper);
        subject.hear_all(begin)?;
        let gets_none = cgroup != "off" && std::fs::read_to_string(log)?.contains(NO_CGROUP);
        Ok((!gets_none).then_some(subject))
    }

    fn new(name: &'static str, to: What, descendants: u16, births: Births, keeper: Keeper) -> Self {
        Self {
            name,
            to,
            processes: usize::from(descendants) + 1,
            births,
            living: Vec::new(),
            keeper,
            samples: Vec::new(),
        }
    }

    /// Starts a tree, and waits until all of it lives.
    fn grow(&mut self, begin: Moment) -> anyhow::Result<()> {
        match &mut self.keeper {
            Keeper::Group(group) => group.start(&self.births)?,
            Keeper::Rekindle { operator, .. } => operator.start(AGENT)?,
        }
        self.hear_all(begin)
    }

    fn hear_all(&mut self, begin: Moment) -> anyhow::Result<()> {
        let births = (0..self.processes).map(|_| self.births.next_after(begin, LIMIT));
        self.living = births
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("{}: a tree did not grow", self.name))?;
        Ok(())
    }

    fn round(&mut self, counts: Counts) -> anyhow::Result<()> {
        let begin = Moment::now();
        let ended = match &mut self.keeper {
            Keeper::Group(group) => group.end()?,
            Keeper::Rekindle { operator, .. } => operator.kill(AGENT)?,
        };
        for process in &self.living {
            if !process.has_ended()? {
                bail!("{}: a process of the tree outlived its end", self.name);
            }
        }
        if counts == Counts::Yes {
            self.samples.push(ended.since(begin));
        }
        self.grow(begin)
    }
}

/// A process group with nobody to look after it.
struct Group {
    program: PathBuf,
    descendants: u16,
    leader: Option<Pid>,
}

impl Group {
    fn start(&mut self, births: &Births) -> anyhow::Result<()> {
        let mut command = births.command(&self.program);
        command.args([TOGETHER, &self.descendants.to_string()]).process_group(0);
        let leader = command.spawn().context("cannot start a process group")?;
        self.leader = i32::try_from(leader.id()).ok().and_then(Pid::from_raw);
        Ok(())
    }

    /// Kills all of it, and waits for each process of it: those whose parents die become the bench's children.
    fn end(&mut self) -> anyhow::Result<Moment> {
        let leader = self.leader.take().context("the process group has ended")?;
        set_child_subreaper(Some(getpid()))?;
        let ended = kill_process_group(leader, Signal::KILL).and_then(|()| reap_all(leader));
        let at = Moment::now();
        // Children of others are others': only for as long as these need it.
        set_child_subreaper(None)?;
        ended.context("cannot end a process group")?;
        Ok(at)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.leader.is_some() {
            let _ended = self.end();
        }
    }
}

/// Nothing survives SIGKILL, and a process hands its children on before it can be waited for: this ends, and nobody of the
/// group is left then.
fn reap_all(group: Pid) -> Result<(), Errno> {
    loop {
        match waitpgid(group, WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
