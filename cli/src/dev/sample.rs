//! The sample agent of `rekindle dev`: works on small tasks, and now and then crashes in one way or another.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

/// Time for one step of work: quick enough to watch, slow enough to read.
const STEP: Duration = Duration::from_millis(800);
/// Steps of one task.
const STEPS: u32 = 4;
/// Steps of one life. The shortest life is longer than the `--stable-after` of `rekindle dev`, so that the budget of
/// restarts is never used up.
const LIFE: std::ops::Range<u32> = 5..14;

/// Works until it crashes.
pub(super) fn run() -> ExitCode {
    spare_the_disk();
    let incarnation = std::env::var("REKINDLE_INCARNATION").unwrap_or_else(|_| "0".to_owned());
    say(&format!(
        "hello, this is life {incarnation}, pid {}",
        getpid().as_raw_nonzero()
    ));
    let mut task = fastrand::u32(100..1000);
    for step in 0..fastrand::u32(LIFE) {
        if step > 0 && step % STEPS == 0 {
            say(&format!("task {task} is done"));
            task += 1;
        }
        sleep(STEP);
        say(&format!("task {task}, step {} of {STEPS}", step % STEPS + 1));
    }
    crash(task)
}

fn crash(task: u32) -> ExitCode {
    match fastrand::u8(0..3) {
        0 => {
            eprintln!("error: task {task}: the model's answer is not valid JSON: expected \",\" at line 3");
            ExitCode::from(3)
        }
        1 => {
            eprintln!("fatal: task {task}: the conversation's state is corrupt, giving up");
            std::process::abort()
        }
        _ => loop {
            // Rust's own handler lets the first one pass, as it does not come from a full stack.
            if kill_process(getpid(), Signal::SEGV).is_err() {
                return ExitCode::FAILURE;
            }
        },
    }
}

/// Prevents core dumps: these crashes are no secret.
fn spare_the_disk() {
    let limit = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Core).maximum,
    };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        eprintln!("cannot prevent core dumps: {error}");
    }
}

fn say(line: &str) {
    // Without a reader there is nobody to work for.
    if writeln!(io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}
