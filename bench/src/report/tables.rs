//! The tables.

use super::table::Table;
use super::{Beside, Goal, Report, Row, What};
use crate::args::{Format, Part};
use crate::executions::Executions;
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::flood::Flood;
use crate::idle::Idle;
use crate::usage::Memory;

/// What a host may give to others before the figures say more of it than of what is measured, in percent.
const STOLEN_QUIET_PERCENT: f64 = 2.0;

/// All of a report.
pub(super) fn of(report: &Report, format: Format) -> String {
    let mut text = String::new();
    for rows in report.rows.chunk_by(|one, other| one.part == other.part) {
        text += &rows_table(rows).show(format);
    }
    if let Some(flood) = &report.flood {
        text += &flood_table(flood).show(format);
    }
    if let Some(idle) = &report.idle {
        text += &fenced(idle_table(idle, report.idle_goal.as_ref()), format);
    }
    if let Some(fleet) = &report.fleet {
        text += &fenced(fleet_table(fleet), format);
    }
    if let Some(executions) = &report.executions {
        text += &executions_table(executions).show(format);
    }
    if let Some(percent) = report.stolen_percent {
        text += &format!("\nThe host gave {percent:.1} % of the time that processors were wanted to others");
        text += if percent < STOLEN_QUIET_PERCENT {
            "\n"
        } else {
            ": the figures are too high\n"
        };
    }
    text
}

fn rows_table(rows: &[Row]) -> Table<11> {
    let part = rows.first().map(|row| title(row.part)).unwrap_or_default();
    let mut table = Table::new(
        format!("{part}, milliseconds"),
        [
            "", "to", "rounds", "p10", "p50", "p90", "p99", "max", "beside", "ratio", "",
        ],
    );
    for row in rows {
        let Figures {
            rounds,
            p10_ms,
            p50_ms,
            p90_ms,
            p99_ms,
            max_ms,
        } = row.figures;
        let [p10, p50, p90, p99, max] = [p10_ms, p50_ms, p90_ms, p99_ms, max_ms].map(millis);
        let (beside, ratio, met) = match (&row.goal, &row.beside) {
            (Some(goal), _) => goal_cells(goal),
            (None, Some(beside)) => beside_cells(beside),
            (None, None) => Default::default(),
        };
        let (subject, to) = (row.subject.clone(), what(row.to).to_owned());
        let rounds = rounds.to_string();
        table.push([
            subject,
            to,
            rounds,
            p10,
            p50,
            p90,
            p99,
            max,
            beside,
            ratio,
            met.to_owned(),
        ]);
    }
    table
}

/// With so many digits that two are left of what takes microseconds.
fn millis(ms: f64) -> String {
    if ms < 0.1 {
        format!("{ms:.4}")
    } else {
        format!("{ms:.2}")
    }
}

fn what(what: What) -> &'static str {
    match what {
        What::Child => "next child",
        What::Answer => "answer",
        What::Durable => "durable",
        What::Wait => "waitid",
        What::Event => "event",
        What::Death => "all dead",
        What::Watch => "watching",
        What::Begin => "first instruction",
        What::Running => "RUNNING",
        What::Output => "output",
        What::Decision => "decision",
        What::Context => "context read",
        What::Armed => "armed",
    }
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Disk => "One durable write of 4 KiB",
        Part::Crash => "Crash: SIGKILL of the child, to the next one's first instruction",
        Part::Restart => "Restart by API, from the call",
        Part::Grace => "Restart with 1 s of grace of a child that ignores SIGTERM, over that second",
        Part::Exit => "Exit seen: SIGKILL of the child, to who is to know of it",
        Part::Tree => "Tree kill: the order, to the end of all processes",
        Part::Adoption => "Adoption: the start of the next shim, to what it is to bring about",
        Part::Flood => "Flood",
        Part::Memory => "Idle shim",
        Part::Fleet => "Server with many shims",
        Part::Work => "A message to a program that does nothing, from the call",
        Part::Executions => "Executions through one server",
        Part::Watchdog => "The watchdog, steps of the server's core by itself",
        Part::Limit => "The limit of a message, and the grace where TERM is ignored, to the end of its tree",
        Part::Save => "A checkpoint of 4 KiB, from the agent's call",
        Part::Restore => "Context: SIGKILL of the child, to the next one's having read what was saved",
        Part::Armed => "Workflows: SIGKILL of the child, to the events at a client",
    }
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

fn beside_cells(beside: &Beside) -> (String, String, &'static str) {
    let Beside { subject, figure, ratio } = beside;
    (format!("{subject} {}", millis(*figure)), format!("{ratio:.2}"), "")
}

fn flood_table(flood: &Flood) -> Table<11> {
    let mut table = Table::new(
        format!(
            "Flood of {} MiB, the median of {}; memory in KiB, before and at most; time from beat to beat, at most",
            flood.mib, flood.floods
        ),
        [
            "",
            "MiB/s",
            "beside",
            "ratio",
            "RSS",
            "PSS",
            "private dirty",
            "ms before",
            "ms in the flood",
            "goal",
            "",
        ],
    );
    for row in &flood.rows {
        let (beside, ratio, _) = row.beside.as_ref().map(beside_cells).unwrap_or_default();
        let rate = format!("{:.0}", row.mib_per_second);
        let shim = row.shim.as_ref().map(|shim| {
            let (before, highest) = (shim.before, shim.highest);
            let (goal, _, met) = goal_cells(&shim.gap_goal);
            [
                format!("{} to {}", before.rss_kib, highest.rss_kib),
                format!("{} to {}", before.pss_kib, highest.pss_kib),
                format!("{} to {}", before.private_dirty_kib, highest.private_dirty_kib),
                format!("{:.0}", shim.gap_before_ms),
                format!("{:.0}", shim.gap_ms),
                goal,
                met.to_owned(),
            ]
        });
        let [rss, pss, dirty, gap_before, gap, goal, met] = shim.unwrap_or_default();
        let subject = row.subject.clone();
        table.push([
            subject, rate, beside, ratio, rss, pss, dirty, gap_before, gap, goal, met,
        ]);
    }
    table
}

fn executions_table(executions: &Executions) -> Table<9> {
    let mut table = Table::new(
        format!(
            "Executions through one server, for {:.0} s each; milliseconds from the call to the durable end",
            executions.window_seconds
        ),
        [
            "",
            "each second",
            "beside",
            "ratio",
            "commits each",
            "us of CPU each",
            "p50",
            "p99",
            "max",
        ],
    );
    for level in &executions.levels {
        let (beside, ratio, _) = beside_cells(&level.beside);
        let Figures {
            p50_ms, p99_ms, max_ms, ..
        } = level.latency;
        let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(millis);
        table.push([
            match level.clients {
                1 => "1 client".to_owned(),
                clients => format!("{clients} clients"),
            },
            format!("{:.0}", level.per_second),
            beside,
            ratio,
            level
                .commits_per_execution
                .map(|commits| format!("{commits:.2}"))
                .unwrap_or_default(),
            format!("{:.0}", level.cpu_us_per_execution),
            p50,
            p99,
            max,
        ]);
    }
    table
}

/// Text of lines, as it is.
fn fenced(text: String, format: Format) -> String {
    match format {
        Format::Text => text,
        Format::Markdown => format!("\n```{text}```\n"),
    }
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
