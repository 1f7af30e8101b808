//! The examples finish their task, whatever kills them, and do no step twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle::wire::v1::AgentState;
use rekindle_e2e::client::is;
use rekindle_e2e::shim::ShimBuilder;
use rekindle_e2e::wait::eventually;
use rekindle_e2e::{Client, Shim, World, process, tools};
use rustix::process::Signal;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// Steps of a task: more than all lives that are killed can do, as a step takes [`PACE`] at least.
const STEPS: usize = 40;

/// What a step takes beside its work.
const PACE: Duration = Duration::from_millis(50);

/// Lives that are killed, the one after the other.
const KILLS: u32 = 12;

/// Where a script finds the command `rekindle` under its own name.
fn with_rekindle(world: &World) -> PathBuf {
    let bin = world.path("bin");
    fs::create_dir(&bin).expect("the world's directory takes a folder");
    symlink(tools::under_test("rekindle-under-test"), bin.join("rekindle")).expect("and a link");
    bin
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A shim that has as many lives for its agent as are killed. Where one is killed before its first step is saved, twice in a
/// row, the checkpoint is not to blame, which only who kills can know.
fn with_many_lives<'w>(world: &'w World, agent: &str, script: &str) -> ShimBuilder<'w> {
    let shim = world.shim(agent).script(script);
    shim.flag("--cooldown", "0s")
        .flag("--max-attempts", "100")
        .flag("--poison-after", "0")
}

/// Kills lives with SIGKILL: by turns at some moment of their beginning, and at some moment of a step.
async fn killed_at_many_moments(shim: &Shim<'_>, log: &Path) {
    for kill in 0..KILLS {
        let pid = shim.life(u64::from(kill) + 1).await.pid;
        if kill % 2 == 1 {
            let before = lines(log).len();
            eventually("a step more", async || (lines(log).len() > before).then_some(())).await;
        }
        // Where in a step it is by then is nobody's to say: the moments are spread over the length of one.
        tokio::time::sleep(2 * PACE * kill / KILLS).await;
        process::signal(pid, Signal::KILL);
    }
}

/// The next life but those that were killed has ended well.
async fn has_ended(client: &mut Client, agent: &str) {
    let agent = client.until(agent, is(AgentState::Stopped)).await;
    let last = u64::from(KILLS) + 1;
    assert_eq!((agent.state_reason.as_str(), agent.incarnation), ("exit:clean", last));
}

/// Checks that each step was done once, in its order: none begins again that has ended, but one that was cut off.
fn check_steps(log: &Path, steps: &[String]) {
    let mut unsaid = 0;
    let mut newest: Option<(usize, bool)> = None;
    for line in lines(log) {
        let (word, step) = line.split_once(' ').expect("two words are noted");
        let step = steps.iter().position(|known| known == step).expect("a step");
        newest = match (word, newest) {
            ("begins", None) if step == 0 => Some((0, false)),
            ("begins", Some((last, false))) if step == last => Some((step, false)),
            ("begins", Some((last, has_ended))) if step == last + 1 => {
                unsaid += u32::from(!has_ended);
                Some((step, false))
            }
            ("ends", Some((last, false))) if step == last => Some((step, true)),
            _ => panic!("{line:?} after {newest:?} in {:#?}", lines(log)),
        };
    }
    assert_eq!(newest.map(|(step, _)| step + 1), Some(steps.len()), "none is missing");
    // Between a step and the line that says so there is a moment, too.
    assert!(unsaid <= KILLS, "{unsaid} steps of which nobody said that they ended");
}

#[tokio::test]
async fn a_bash_loop() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let (bin, input, output) = (with_rekindle(&world), world.path("input"), world.path("output"));
    fs::create_dir(&input).expect("the world's directory takes a folder");
    let files: Vec<PathBuf> = (1..=STEPS).map(|step| input.join(format!("file-{step:02}"))).collect();
    for file in &files {
        fs::write(file, file.display().to_string()).expect("and a file");
    }
    let script = format!(
        "PATH={}:$PATH PACE={} exec {EXAMPLES}/digest.sh {} {}",
        bin.display(),
        PACE.as_secs_f64(),
        input.display(),
        output.display()
    );
    let shim = with_many_lives(&world, "digest", &script).start(&server);
    killed_at_many_moments(&shim, &output.join(".log")).await;
    has_ended(&mut client, "digest").await;
    let steps: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    check_steps(&output.join(".log"), &steps);
    for file in &files {
        let name = file.file_name().expect("it has one");
        let digest = fs::read_to_string(output.join(name)).expect("the result of a step");
        assert!(digest.ends_with(&format!("  {}\n", file.display())), "{digest}");
    }
    shim.check_lives();
}

#[tokio::test]
async fn a_python_worker() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let (numbers, result) = (world.path("numbers"), world.path("result"));
    // Each is a power of ten, so that each digit of the sum is how often one was counted.
    let text: String = (0..STEPS).map(|zeros| format!("1{}\n", "0".repeat(zeros))).collect();
    fs::write(&numbers, text).expect("the world's directory takes a file");
    let script = format!(
        "PACE={} exec {} {EXAMPLES}/worker.py {} {}",
        PACE.as_secs_f64(),
        python.display(),
        numbers.display(),
        result.display()
    );
    let shim = with_many_lives(&world, "adder", &script).start(&server);
    killed_at_many_moments(&shim, &world.path("result.log")).await;
    has_ended(&mut client, "adder").await;
    assert_eq!(lines(&result), ["1".repeat(STEPS)]);
    let steps: Vec<String> = (1..=STEPS).map(|step| step.to_string()).collect();
    check_steps(&world.path("result.log"), &steps);
    assert!(shim.log().contains("goes on after line"), "a later life went on");
    shim.check_lives();
}

/// The lines of a program that have to do with us, comments excepted.
fn lines_of_ours(program: &Path) -> Vec<String> {
    let mut lines = lines(program);
    lines.retain(|line| {
        let line = line.to_lowercase();
        !line.trim_start().starts_with('#') && line.contains("rekindle")
    });
    lines
}

/// Most lines of a shell script that survives any death which are for that.
const SCRIPT_LINES_MAX: usize = 15;

#[test]
fn a_script_needs_few_lines() {
    let ours = lines_of_ours(&Path::new(EXAMPLES).join("digest.sh"));
    assert!((1..=SCRIPT_LINES_MAX).contains(&ours.len()), "{ours:#?}");
    let marked = |line: &String| line.ends_with("  # rekindle");
    assert!(ours.iter().all(marked), "{ours:#?}");
}
