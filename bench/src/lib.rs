//! Measures Rekindle on real processes: how long a dead child stays dead, how long an operator waits for a restart,
//! and what supervision costs in memory and wake-ups; beside other supervisors and the bare cost of a process.
//!
//! `rekindle-bench` runs it. `first-instruction` is the child of everybody that brings one back, `respawn` the floor of
//! that; `reap` the floor of knowing; `grove` a child with a tree, `flood` one that writes, `errand` one that
//! is soon done; `restored` reads what its last life has saved.

pub mod adoption;
pub mod args;
pub mod armed;
pub mod birth;
pub mod clock;
pub mod commits;
pub mod course;
pub mod daemon;
pub mod executions;
pub mod exit;
pub mod figures;
pub mod fleet;
pub mod flood;
pub mod grove;
pub mod idle;
pub mod limit;
pub mod machine;
pub mod operator;
pub mod ours;
pub mod programs;
pub mod report;
pub mod restore;
pub mod rounds;
pub mod save;
pub mod simulated;
pub mod supervisor;
pub mod tree;
pub mod usage;
pub mod watch;
pub mod watchdog;
pub mod work;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::args::{Args, Part};
use crate::course::{Course, Pace};
use crate::machine::ProcessorTime;
use crate::programs::Programs;
use crate::report::Report;

/// Runs the benchmark with the process's command line. Slow figures are reported, and are no failure.
pub fn run() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rekindle-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> anyhow::Result<()> {
    let programs = Programs::find(args.build)?;
    let site = args.site()?;
    let mut report = Report::new(machine::describe(site.path())?);
    report.print_machine();
    let began = ProcessorTime::so_far()?;
    let course = Course {
        programs: &programs,
        site: site.path(),
        rounds: args.rounds,
        pace: if args.quiet { Pace::WhenQuiet } else { Pace::AtOnce },
    };
    for part in args.parts() {
        eprintln!("{part} ...");
        match part {
            Part::Disk => report.add_rows(vec![machine::durable_writes(site.path(), args.rounds)?]),
            Part::Crash | Part::Restart | Part::Grace => report.add_rows(rounds::run(&course, part)?),
            Part::Exit => report.add_rows(exit::run(&course)?),
            Part::Tree => report.add_rows(tree::run(&course, args.descendants)?),
            Part::Adoption => report.add_rows(adoption::run(&course)?),
            Part::Flood => report.set_flood(flood::measure(&course, args.floods, args.flood_mib)?),
            Part::Memory => report.set_idle(idle::measure(&programs, site.path(), args.window)?),
            Part::Fleet => report.set_fleet(fleet::measure(&programs, site.path(), args.shims, args.window)?),
            Part::Work => report.add_rows(work::run(&course)?),
            Part::Limit => report.add_rows(limit::run(&course)?),
            Part::Save => report.add_rows(save::run(&course)?),
            Part::Restore => report.add_rows(restore::run(&course)?),
            Part::Armed => report.add_rows(armed::run(&course)?),
            Part::Executions => report.set_executions(executions::measure(&programs, site.path(), args.window)?),
            Part::Watchdog => report.add_rows(watchdog::run(args.live, args.rounds)?),
        }
    }
    report.set_stolen(ProcessorTime::so_far()?.stolen_percent_since(began));
    report.print(args.format);
    if let Some(path) = &args.json {
        report
            .write_json(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
