//! Runs worlds, one seed after the other, until one fails.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rekindle_sim::{Counts, Extent, Failure, Fault, Options, Tracing, simulate};

/// Simulates the whole system, with everything that can go wrong.
#[derive(Debug, Parser)]
struct Args {
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens. Only with --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run so many at once.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Run each seed twice, and compare every line of the traces.
    #[arg(long)]
    check_determinism: bool,
    /// How much there may be in the worlds.
    #[arg(long, value_enum, default_value_t = Share::All)]
    extent: Share,
    /// Go on after a failure, and count.
    #[arg(long)]
    keep_going: bool,
}

/// How much there may be in a world.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Share {
    /// Agents that live and die.
    Lives,
    /// And what they are given to do.
    Work,
    /// And what they save, and what workflows have them do.
    All,
}

impl Args {
    const fn extent(&self) -> Extent {
        match self.extent {
            Share::Lives => Extent::Lives,
            Share::Work => Extent::Work,
            Share::All => Extent::All,
        }
    }
}

/// Seeds from which on each fault must have fired.
const ENOUGH: u64 = 1000;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed, &args),
        None => many(&args),
    }
}

fn one(seed: u64, args: &Args) -> ExitCode {
    let tracing = if args.trace { Tracing::Printed } else { Tracing::Off };
    match simulate(
        seed,
        Options {
            tracing,
            extent: args.extent(),
            ..Options::default()
        },
    ) {
        Ok(summary) => {
            println!("seed {seed}: all held, {} events", summary.events);
            ExitCode::SUCCESS
        }
        Err(failure) if args.trace => {
            let Failure {
                seed, invariant, what, ..
            } = *failure;
            println!("seed {seed}: {invariant} does not hold: {what}");
            ExitCode::FAILURE
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Tally {
    faults: Counts,
    events: u64,
    failures: Vec<(u64, String)>,
}

fn many(args: &Args) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(args.start);
    let end = args.start.saturating_add(args.seeds);
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                let mut mine = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    if let Err(text) = run(seed, args, &mut mine) {
                        if !args.keep_going && !stop.swap(true, Ordering::Relaxed) {
                            println!("{text}");
                        }
                        mine.failures
                            .push((seed, text.lines().rev().nth(1).unwrap_or_default().to_owned()));
                    }
                }
                let mut all = tally.lock().expect("no thread panics while it holds the tally");
                all.faults.merge(&mine.faults);
                all.events += mine.events;
                all.failures.extend(mine.failures);
            });
        }
    });
    let mut tally = tally.into_inner().expect("no thread panics while it holds the tally");
    tally.failures.sort();
    report(args, &tally, began.elapsed().as_secs_f64())
}

fn run(seed: u64, args: &Args, tally: &mut Tally) -> Result<(), String> {
    let tracing = if args.check_determinism {
        Tracing::Hashed
    } else {
        Tracing::Off
    };
    let options = Options {
        tracing,
        extent: args.extent(),
        ..Options::default()
    };
    let summary = simulate(seed, options).map_err(|failure| failure.to_string())?;
    if args.check_determinism && simulate(seed, options).is_ok_and(|again| again != summary) {
        return Err(format!("seed {seed}: I9 does not hold: two runs differ\n"));
    }
    tally.faults.merge(&summary.faults);
    tally.events += summary.events;
    Ok(())
}

fn report(args: &Args, tally: &Tally, seconds: f64) -> ExitCode {
    for fault in Fault::ALL {
        println!("{:>9}  {fault}", tally.faults.get(*fault));
    }
    for (_, failure) in tally.failures.iter().take(40) {
        println!("{}", failure.chars().take(300).collect::<String>());
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = args.seeds as f64 / seconds;
    println!(
        "{} seeds from {}, {} events, {seconds:.1} s, {rate:.0} seeds/s, {} failures",
        args.seeds,
        args.start,
        tally.events,
        tally.failures.len()
    );
    let missing = tally.faults.missing();
    if args.seeds >= ENOUGH && args.extent() == Extent::All && !missing.is_empty() {
        println!("these faults never fired: {missing:?}");
        return ExitCode::FAILURE;
    }
    if tally.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
