//! What a child that writes as fast as it can does to its shim's memory and heartbeats, and the shim to the child's
//! speed; beside `cat`.

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::course::{Course, LIMIT};
use crate::daemon::Daemon;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{Beside, Goal};
use crate::usage::Memory;

/// Time between two beats: much shorter than usual, as a flood is over within a second or two.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// Longest time from beat to beat, in milliseconds: one is put off by no more than an interval.
const GAP_GOAL_MS: f64 = 2.0 * HEARTBEAT.as_millis() as f64;

/// Time in which a shim has said all that it says about a start, and after which beats are watched before the flood.
const SETTLE: Duration = Duration::from_secs(3);

/// Time between two looks at the shim and at its beats.
const LOOK: Duration = Duration::from_millis(10);

/// Longest wait for the end of a flood: of the largest, on a slow disk.
const FLOOD_LIMIT: Duration = Duration::from_secs(600);

/// The readers that shims stand beside.
const CAT: &str = "cat > /dev/null";
const CAT_TO_FILE: &str = "cat > file";

/// Figures of floods.
#[derive(Debug, Clone, Serialize)]
pub struct Flood {
    /// MiB of one.
    pub mib: u16,
    /// How many everybody had.
    pub floods: u16,
    /// Everybody's.
    pub rows: Vec<FloodRow>,
}

/// One reader's figures.
#[derive(Debug, Clone, Serialize)]
pub struct FloodRow {
    /// Who read.
    pub subject: String,
    /// How fast the child could write, in the median flood.
    pub mib_per_second: f64,
    /// The reader that does the same and nothing else; a ratio of 1 is as fast.
    pub beside: Option<Beside>,
    /// Where a shim read.
    pub shim: Option<Flooded>,
}

/// A shim's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Flooded {
    /// Its memory before the first flood.
    pub before: Memory,
    /// The highest of each, over all floods, as seen every 10 ms.
    pub highest: Memory,
    /// Longest time between two heartbeats before the first flood, as the server heard them.
    pub gap_before_ms: f64,
    /// The same while a child wrote, from the beat before to the beat after.
    pub gap_ms: f64,
    /// Two intervals.
    pub gap_goal: Goal,
}

/// Measures so many floods of so many MiB each, interleaved.
///
/// # Errors
/// Somebody could not be started, or did not read all of it.
pub fn measure(course: &Course<'_>, floods: u16, mib: u16) -> anyhow::Result<Flood> {
    let dir = course.site.join("flood");
    std::fs::create_dir_all(&dir)?;
    let mut inherit = Subject::start(course, mib, "inherit")?;
    let mut file = Subject::start(course, mib, "file")?;
    let (mut cat, mut cat_to_file) = (Vec::new(), Vec::new());
    for _ in 0..floods {
        cat.push(read_by_cat(course, mib, Stdio::null())?);
        inherit.flood()?;
        // One that is there already is emptied first, before the clock runs.
        cat_to_file.push(read_by_cat(course, mib, File::create(dir.join("cat"))?)?);
        file.flood()?;
    }
    let cats = [(CAT, cat), (CAT_TO_FILE, cat_to_file)].map(|(name, took)| FloodRow {
        subject: name.to_owned(),
        mib_per_second: rate(mib, took),
        beside: None,
        shim: None,
    });
    let ours = [(inherit, &cats[0]), (file, &cats[1])].map(|(subject, cat)| subject.row(cat));
    Ok(Flood {
        mib,
        floods,
        rows: cats.iter().cloned().chain(ours).collect(),
    })
}

/// MiB per second of the median flood.
fn rate(mib: u16, mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    f64::from(mib) / median.as_secs_f64()
}

fn read_by_cat(course: &Course<'_>, mib: u16, to: impl Into<Stdio>) -> anyhow::Result<Duration> {
    let log = course.site.join("flood/cat.log");
    let births = Births::open(Manners::Polite)?;
    let (reader, writer) = std::io::pipe()?;
    let _cat = Daemon::start_between(Command::new("cat"), reader, to, &log)?;
    let mut command = births.command(&course.programs.flood);
    command.arg(mib.to_string());
    let begin = Moment::now();
    let _flood = Daemon::start_between(command, Stdio::null(), writer, &log)?;
    let child = births.next_after(begin, LIMIT)?;
    let mut marks = Marks::of(&births, &child);
    loop {
        if let Some(took) = marks.took()? {
            return Ok(took);
        }
    }
}

/// A flood that goes on: the child tells when it began to write, and when all was written.
struct Marks<'a> {
    births: &'a Births,
    go: Moment,
    began: Option<Moment>,
}

impl<'a> Marks<'a> {
    /// Has the child begin.
    fn of(births: &'a Births, child: &Birth) -> Self {
        let go = Moment::now();
        child.go();
        Self {
            births,
            go,
            began: None,
        }
    }

    /// How long it took, once it is over. Waits for a look.
    fn took(&mut self) -> anyhow::Result<Option<Duration>> {
        let Some(told) = self.births.next_within(self.go, LOOK)? else {
            if Moment::now().since(self.go) > FLOOD_LIMIT {
                bail!("a flood was not over within {FLOOD_LIMIT:?}");
            }
            return Ok(None);
        };
        match self.began {
            Some(began) => Ok(Some(told.at.since(began))),
            None => {
                self.began = Some(told.at);
                Ok(None)
            }
        }
    }
}

/// The beats of a shim, as the server hears them.
#[derive(Debug, Clone, Copy, Default)]
struct Beats {
    last: Option<Duration>,
    longest: Duration,
}

impl Beats {
    /// Notes the newest, by the server's clock. Told again, does nothing.
    fn note(&mut self, at: Duration) {
        let gap = self.last.map(|last| at.saturating_sub(last));
        self.longest = self.longest.max(gap.unwrap_or_default());
        self.last = Some(at);
    }

    /// Goes on from the newest, without the gaps so far.
    fn anew(self) -> Self {
        Self {
            last: self.last,
            longest: Duration::ZERO,
        }
    }
}

/// What a shim's floods have shown so far.
#[derive(Debug, Clone, Copy)]
struct Seen {
    before: Memory,
    highest: Memory,
    gap_before: Duration,
    gap: Duration,
}

/// A shim whose children write.
struct Subject {
    name: String,
    mib: u16,
    agent: String,
    births: Births,
    operator: Operator,
    shim: Shim,
    child: Option<Birth>,
    took: Vec<Duration>,
    /// From the first flood on.
    seen: Option<Seen>,
    _server: Server,
}

impl Subject {
    fn start(course: &Course<'_>, mib: u16, log: &str) -> anyhow::Result<Self> {
        let dir = course.site.join("flood").join(log);
        std::fs::create_dir_all(&dir)?;
        let interval = format!("{}ms", HEARTBEAT.as_millis());
        let server = Server::start_with(course.programs, &dir, &["--heartbeat-interval", &interval])?;
        let births = Births::open(Manners::Polite)?;
        let name = format!("flood-{log}");
        let agent = Agent {
            programs: course.programs,
            dir: &dir,
            server: &server,
            name: &name,
            births: &births,
        };
        let begin = Moment::now();
        let child = [course.programs.flood.as_os_str(), OsStr::new(&mib.to_string())].map(OsStr::to_owned);
        let shim = Shim::start_unheard(&agent, &["--log", log], &[&child[0], &child[1]])?;
        let child = births.next_after(begin, LIMIT)?;
        Ok(Self {
            name: format!("shim --log={log}"),
            mib,
            agent: name,
            operator: Operator::connect(&server)?,
            births,
            shim,
            child: Some(child),
            took: Vec::new(),
            seen: None,
            _server: server,
        })
    }

    fn flood(&mut self) -> anyhow::Result<()> {
        let child = match self.child.take() {
            Some(child) => child,
            None => {
                let begin = Moment::now();
                self.operator.restart(&self.agent, None)?;
                self.births.next_after(begin, LIMIT)?
            }
        };
        std::thread::sleep(SETTLE);
        let mut beats = Beats::default();
        let began = Moment::now();
        while Moment::now().since(began) < SETTLE {
            beats.note(self.last_beat()?);
            std::thread::sleep(LOOK);
        }
        let before = Memory::of(self.shim.pid())?;
        let seen = self.seen.get_or_insert(Seen {
            before,
            highest: before,
            gap_before: beats.longest,
            gap: Duration::ZERO,
        });
        let mut beats = beats.anew();
        let mut marks = Marks::of(&self.births, &child);
        let took = loop {
            if let Some(took) = marks.took()? {
                break took;
            }
            seen.highest = seen.highest.highest(Memory::of(self.shim.pid())?);
            beats.note(last_beat(&mut self.operator, &self.agent)?);
        };
        self.took.push(took);
        let gap = self.gap_after(beats)?;
        if let Some(seen) = &mut self.seen {
            seen.gap = seen.gap.max(gap);
        }
        Ok(())
    }

    /// The longest gap, once a beat came after the flood, which the flood may have put off.
    fn gap_after(&mut self, mut beats: Beats) -> anyhow::Result<Duration> {
        let ended = Moment::now();
        let last = beats.last;
        while beats.last == last {
            if Moment::now().since(ended) > LIMIT {
                bail!("the server heard nothing within {LIMIT:?} after a flood");
            }
            std::thread::sleep(LOOK);
            beats.note(self.last_beat()?);
        }
        Ok(beats.longest)
    }

    fn last_beat(&mut self) -> anyhow::Result<Duration> {
        last_beat(&mut self.operator, &self.agent)
    }

    fn row(self, cat: &FloodRow) -> FloodRow {
        let mib_per_second = rate(self.mib, self.took);
        let millis = |gap: Duration| gap.as_secs_f64() * 1e3;
        FloodRow {
            subject: self.name,
            mib_per_second,
            beside: Some(Beside::judge(&cat.subject, cat.mib_per_second, mib_per_second)),
            shim: self.seen.map(|seen| Flooded {
                before: seen.before,
                highest: seen.highest,
                gap_before_ms: millis(seen.gap_before),
                gap_ms: millis(seen.gap),
                gap_goal: Goal::judge("fixed", GAP_GOAL_MS, millis(seen.gap)),
            }),
        }
    }
}

/// When the server last heard the agent's shim, since the Unix epoch.
fn last_beat(operator: &mut Operator, agent: &str) -> anyhow::Result<Duration> {
    let heard = operator.get(agent)?.connection.and_then(|it| it.last_heartbeat_time);
    let heard = heard.context("the server has not heard the shim")?;
    let nanos = u32::try_from(heard.nanos).context("a time with negative nanoseconds")?;
    Ok(Duration::new(
        heard.seconds.try_into().context("a time before 1970")?,
        nanos,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_from_beat_to_beat() {
        let mut beats = Beats::default();
        for at in [1_000, 1_200, 1_200, 1_650, 1_800] {
            beats.note(Duration::from_millis(at));
        }
        assert_eq!(beats.longest, Duration::from_millis(450));
        let mut beats = beats.anew();
        beats.note(Duration::from_millis(2_100));
        assert_eq!(beats.longest, Duration::from_millis(300), "from the beat before");
    }

    #[test]
    fn the_rate_is_the_median_floods() {
        let took = [4, 1, 2].map(Duration::from_secs).to_vec();
        assert_eq!(rate(1024, took), 512.0);
    }
}
