//! The figures, as tables for people and as JSON for programs, each beside its goal.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::args::{Format, Part};
use crate::executions::Executions;
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::flood::Flood;
use crate::idle::Idle;
use crate::machine::Machine;

mod table;
mod tables;

/// Median of a restart by API, in milliseconds.
const RESTART_GOAL_MS: f64 = 3.0;
/// Median of a restart after the grace, over the grace, in milliseconds.
const GRACE_GOAL_MS: f64 = 2.0;
/// Resident memory of an idle shim, in KiB: 3.5 MiB.
const SHIM_RSS_GOAL_KIB: f64 = 3584.0;

/// Whose rows have goals.
const OURS: &str = "rekindle";
/// A bare parent that waits for its child.
pub const PARENT: &str = "bare parent";
/// A bare process group.
pub const GROUP: &str = "kill(-pgid)+wait";
/// What ends a tree at its limit beside a shim: coreutils' timeout(1).
pub const TIMEOUT_COMMAND: &str = "timeout";
/// A careful write of a file in place of another.
pub const REPLACE: &str = "write+fsync+rename";
/// An agent that has saved nothing, under a shim of its own.
pub const NOTHING_SAVED: &str = "nothing saved";
/// A shim that starts its first child.
pub const COLD_START: &str = "cold start";
/// Who sets the goal for a crash, in the same run.
const RIVAL: &str = "runit";

/// To what a row's time runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The next child's first instruction.
    Child,
    /// The answer to the caller.
    Answer,
    /// The end of a durable write.
    Durable,
    /// The return of waitid(2).
    Wait,
    /// The event at a client.
    Event,
    /// The end of every process.
    Death,
    /// The shim's word that it watches the child.
    Watch,
    /// The first instruction of the message's process.
    Begin,
    /// The event of RUNNING at a client.
    Running,
    /// The answer with the message's output.
    Output,
    /// The end of a step of the server's core.
    Decision,
    /// The next child's having read what was saved.
    Context,
    /// The event of an armed workflow at a client.
    Armed,
}

/// The subject that the others of a part stand beside, where they have no goal.
fn floor(part: Part) -> Option<&'static str> {
    match part {
        Part::Exit => Some(PARENT),
        Part::Tree => Some(GROUP),
        Part::Adoption => Some(COLD_START),
        Part::Restore => Some(NOTHING_SAVED),
        // Their rows stand beside different ones.
        Part::Work | Part::Watchdog | Part::Limit | Part::Save | Part::Armed => None,
        Part::Disk
        | Part::Crash
        | Part::Restart
        | Part::Grace
        | Part::Flood
        | Part::Memory
        | Part::Fleet
        | Part::Executions => None,
    }
}

/// What was to be reached, and whether it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// Where the limit comes from.
    pub of: String,
    /// The limit, in the unit of the figure.
    pub limit: f64,
    /// The figure over the limit; up to 1 is met.
    pub ratio: f64,
    /// Whether it was reached.
    pub met: bool,
}

impl Goal {
    /// Holds a figure against a limit.
    pub fn judge(of: &str, limit: f64, figure: f64) -> Self {
        let ratio = figure / limit;
        Self {
            of: of.to_owned(),
            limit,
            ratio,
            met: ratio <= 1.0,
        }
    }
}

/// What a figure stands beside, in the same run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    /// Whose.
    pub subject: String,
    /// Its figure, in the unit of the other.
    pub figure: f64,
    /// The other over it.
    pub ratio: f64,
}

impl Beside {
    /// Sets a figure beside that of a subject.
    pub fn judge(subject: &str, theirs: f64, figure: f64) -> Self {
        Self {
            subject: subject.to_owned(),
            figure: theirs,
            ratio: figure / theirs,
        }
    }
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub part: Part,
    /// Who was measured.
    pub subject: String,
    /// To what the time runs.
    pub to: What,
    /// The distribution.
    #[serde(flatten)]
    pub figures: Figures,
    /// For rows that have one; judged by the median.
    pub goal: Option<Goal>,
    /// For rows without a goal that have a floor; by the medians.
    pub beside: Option<Beside>,
}

impl Row {
    /// A row without a goal.
    pub fn new(part: Part, subject: &str, to: What, figures: Figures) -> Self {
        Self {
            part,
            subject: subject.to_owned(),
            to,
            figures,
            goal: None,
            beside: None,
        }
    }

    /// Beside another row, by the medians.
    #[must_use]
    pub fn beside(mut self, floor: &Self) -> Self {
        let (theirs, ours) = (floor.figures.p50_ms, self.figures.p50_ms);
        self.beside = Some(Beside::judge(&floor.subject, theirs, ours));
        self
    }
}

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    machine: Machine,
    /// Of the time in which processors had something to run, what the host of this virtual machine gave to others.
    stolen_percent: Option<f64>,
    rows: Vec<Row>,
    flood: Option<Flood>,
    idle: Option<Idle>,
    idle_goal: Option<Goal>,
    fleet: Option<Fleet>,
    executions: Option<Executions>,
}

impl Report {
    /// An empty one.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            stolen_percent: None,
            rows: Vec::new(),
            flood: None,
            idle: None,
            idle_goal: None,
            fleet: None,
            executions: None,
        }
    }

    /// Adds the rows of one part, and holds ours against their goals.
    pub fn add_rows(&mut self, mut rows: Vec<Row>) {
        let median = |subject: &str| {
            let theirs = rows.iter().find(|row| row.subject == subject && row.to == What::Child);
            theirs.map(|row| row.figures.p50_ms)
        };
        let rival = median(RIVAL);
        let floor = rows.first().and_then(|row| floor(row.part)).and_then(|name| {
            let row = rows.iter().find(|row| row.subject == name)?;
            Some((name, row.figures.p50_ms))
        });
        for row in rows.iter_mut().filter(|row| row.subject == OURS) {
            let figure = row.figures.p50_ms;
            row.goal = match row.part {
                Part::Crash => rival.map(|rival| Goal::judge(RIVAL, rival, figure)),
                Part::Restart => Some(Goal::judge("fixed", RESTART_GOAL_MS, figure)),
                Part::Grace => Some(Goal::judge("fixed", GRACE_GOAL_MS, figure)),
                Part::Disk
                | Part::Exit
                | Part::Tree
                | Part::Adoption
                | Part::Flood
                | Part::Memory
                | Part::Fleet
                | Part::Work
                | Part::Executions
                | Part::Watchdog
                | Part::Limit
                | Part::Save
                | Part::Restore
                | Part::Armed => None,
            };
        }
        if let Some((name, theirs)) = floor {
            for row in rows.iter_mut().filter(|row| row.subject != name) {
                row.beside = Some(Beside::judge(name, theirs, row.figures.p50_ms));
            }
        }
        self.rows.append(&mut rows);
    }

    /// Sets how much of the processors' time the host took while it was measured, in percent.
    pub fn set_stolen(&mut self, percent: f64) {
        self.stolen_percent = Some(percent);
    }

    /// Sets the figures of floods.
    pub fn set_flood(&mut self, flood: Flood) {
        self.flood = Some(flood);
    }

    /// Sets the figures of idle shims.
    pub fn set_idle(&mut self, idle: Idle) {
        self.idle_goal = Some(Goal::judge("fixed", SHIM_RSS_GOAL_KIB, idle.alone.rss_kib as f64));
        self.idle = Some(idle);
    }

    /// Sets the figures of a server with many shims.
    pub fn set_fleet(&mut self, fleet: Fleet) {
        self.fleet = Some(fleet);
    }

    /// Sets the figures of executions through one server.
    pub fn set_executions(&mut self, executions: Executions) {
        self.executions = Some(executions);
    }

    /// Prints where it is measured, before that takes its time.
    pub fn print_machine(&self) {
        let Machine {
            date,
            processor,
            cores,
            memory_mib,
            kernel,
            file_system,
            load,
            commit,
        } = &self.machine;
        println!("{date}  {cores} x {processor}, {memory_mib} MiB, kernel {kernel}");
        println!("data on {file_system}, load {load}, commit {commit}");
        if matches!(file_system.as_str(), "tmpfs" | "ramfs") {
            println!("data in memory: nothing is durable there, and no commit costs what it does; give --data-dir");
        }
    }

    /// Prints the tables.
    pub fn print(&self, format: Format) {
        print!("{}", tables::of(self, format));
    }

    /// Writes all of it as JSON.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        writeln!(file)
    }
}

#[cfg(test)]
mod tests;
