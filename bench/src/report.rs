//! The figures, as tables for people and as JSON for programs, each beside its goal.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::args::Part;
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::idle::Idle;
use crate::machine::Machine;
use crate::usage::Memory;

/// Median of a restart by API, in milliseconds.
const RESTART_GOAL_MS: f64 = 3.0;
/// Median of a restart after the grace, over the grace, in milliseconds.
const GRACE_GOAL_MS: f64 = 2.0;
/// Resident memory of an idle shim, in KiB: 3.5 MiB.
const SHIM_RSS_GOAL_KIB: f64 = 3584.0;

/// What a host may give to others before the figures say more of it than of what is measured, in percent.
const STOLEN_QUIET_PERCENT: f64 = 2.0;

/// Whose rows have goals.
const OURS: &str = "rekindle";
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
}

impl What {
    fn title(self) -> &'static str {
        match self {
            Self::Child => "next child",
            Self::Answer => "answer",
            Self::Durable => "durable",
        }
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
    fn judge(of: &str, limit: f64, figure: f64) -> Self {
        let ratio = figure / limit;
        Self {
            of: of.to_owned(),
            limit,
            ratio,
            met: ratio <= 1.0,
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
        }
    }
}

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    machine: Machine,
    /// Of the time in which processors had something to run, what the host of this virtual machine gave to others.
    stolen_percent: Option<f64>,
    rows: Vec<Row>,
    idle: Option<Idle>,
    idle_goal: Option<Goal>,
    fleet: Option<Fleet>,
}

impl Report {
    /// An empty one.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            stolen_percent: None,
            rows: Vec::new(),
            idle: None,
            idle_goal: None,
            fleet: None,
        }
    }

    /// Adds the rows of one part, and holds ours against their goals.
    pub fn add_rows(&mut self, mut rows: Vec<Row>) {
        let median = |subject: &str| {
            let theirs = rows.iter().find(|row| row.subject == subject && row.to == What::Child);
            theirs.map(|row| row.figures.p50_ms)
        };
        let rival = median(RIVAL);
        for row in rows.iter_mut().filter(|row| row.subject == OURS) {
            let figure = row.figures.p50_ms;
            row.goal = match row.part {
                Part::Crash => rival.map(|rival| Goal::judge(RIVAL, rival, figure)),
                Part::Restart => Some(Goal::judge("fixed", RESTART_GOAL_MS, figure)),
                Part::Grace => Some(Goal::judge("fixed", GRACE_GOAL_MS, figure)),
                Part::Disk | Part::Memory | Part::Fleet => None,
            };
        }
        self.rows.append(&mut rows);
    }

    /// Sets how much of the processors' time the host took while it was measured, in percent.
    pub fn set_stolen(&mut self, percent: f64) {
        self.stolen_percent = Some(percent);
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
    pub fn print(&self) {
        print!("{}", self.tables());
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

    fn tables(&self) -> String {
        let mut text = String::new();
        let mut part = None;
        for row in &self.rows {
            if part != Some(row.part) {
                part = Some(row.part);
                text += &format!("\n{}, milliseconds\n", title(row.part));
                text += &line(["", "to", "rounds", "p10", "p50", "p99", "max", "goal", "ratio", ""]);
            }
            let Figures {
                rounds,
                p10_ms,
                p50_ms,
                p99_ms,
                max_ms,
            } = row.figures;
            let [p10, p50, p99, max] = [p10_ms, p50_ms, p99_ms, max_ms].map(|ms| format!("{ms:.2}"));
            let (goal, ratio, met) = row.goal.as_ref().map_or_else(Default::default, goal_cells);
            let rounds = rounds.to_string();
            text += &line([
                &row.subject,
                row.to.title(),
                &rounds,
                &p10,
                &p50,
                &p99,
                &max,
                &goal,
                &ratio,
                met,
            ]);
        }
        if let Some(idle) = &self.idle {
            text += &idle_table(idle, self.idle_goal.as_ref());
        }
        if let Some(fleet) = &self.fleet {
            text += &fleet_table(fleet);
        }
        if let Some(percent) = self.stolen_percent {
            text += &format!("\nThe host gave {percent:.1} % of the time that processors were wanted to others");
            text += if percent < STOLEN_QUIET_PERCENT {
                "\n"
            } else {
                ": the figures are too high\n"
            };
        }
        text
    }
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Disk => "One durable write of 4 KiB",
        Part::Crash => "Crash: SIGKILL of the child, to the next one's first instruction",
        Part::Restart => "Restart by API, from the call",
        Part::Grace => "Restart with 1 s of grace of a child that ignores SIGTERM, over that second",
        Part::Memory => "Idle shim",
        Part::Fleet => "Server with many shims",
    }
}

fn line(cells: [&str; 10]) -> String {
    let [subject, to, rounds, p10, p50, p99, max, goal, ratio, met] = cells;
    let line = format!(
        "  {subject:<16} {to:<10} {rounds:>6} {p10:>9} {p50:>9} {p99:>9} {max:>9}   {goal:<12} {ratio:>5} {met}"
    );
    line.trim_end().to_owned() + "\n"
}

fn goal_cells(goal: &Goal) -> (String, String, &'static str) {
    let limit = match goal.of.as_str() {
        "fixed" => format!("{:.2}", goal.limit),
        rival => format!("{rival} {:.2}", goal.limit),
    };
    (
        limit,
        format!("{:.2}", goal.ratio),
        if goal.met { "met" } else { "missed" },
    )
}

fn idle_table(idle: &Idle, goal: Option<&Goal>) -> String {
    let mut text = format!("\nIdle shim, program of {} KiB\n", idle.program_kib);
    let mut memory = |who: &str,
                      Memory {
                          rss_kib,
                          pss_kib,
                          private_dirty_kib,
                      }| {
        text += &format!("  {who:<16} RSS {rss_kib} KiB, PSS {pss_kib} KiB, private dirty {private_dirty_kib} KiB\n");
    };
    memory("alone", idle.alone);
    memory(&format!("each of {}", idle.many), idle.among_many);
    if let Some(goal) = goal {
        let (_, ratio, met) = goal_cells(goal);
        text += &format!("  {:<16} RSS {:.0} KiB, ratio {ratio}: {met}\n", "goal", goal.limit);
    }
    let Idle {
        wake_ups_per_minute,
        cpu_ms_per_minute,
        window_seconds,
        ..
    } = idle;
    text += &format!(
        "  {:<16} {wake_ups_per_minute:.0} wake-ups, {cpu_ms_per_minute:.1} ms of CPU",
        "each minute"
    );
    text += &format!(" (over {window_seconds:.0} s)\n");
    text
}

fn fleet_table(fleet: &Fleet) -> String {
    let Memory { rss_kib: before, .. } = fleet.before;
    let Memory {
        rss_kib,
        pss_kib,
        private_dirty_kib,
    } = fleet.with_all;
    let mut text = format!(
        "\nServer with {} shims, a beat each {} s\n",
        fleet.shims, fleet.heartbeat_seconds
    );
    text += &format!(
        "  {:<16} {:.2} s until every agent ran, durably\n",
        "start", fleet.start_seconds
    );
    text += &format!(
        "  {:<16} RSS {rss_kib} KiB ({before} before), PSS {pss_kib} KiB",
        "memory"
    );
    text += &format!(
        ", private dirty {private_dirty_kib} KiB; {:.1} KiB per shim\n",
        fleet.rss_kib_per_shim
    );
    text += &format!(
        "  {:<16} {:.3} s of CPU in {:.0} s ({:.3} s with nobody), {:.1} us per beat\n",
        "idle", fleet.cpu_seconds, fleet.window_seconds, fleet.cpu_seconds_empty, fleet.cpu_us_per_beat
    );
    text
}

#[cfg(test)]
mod tests;
