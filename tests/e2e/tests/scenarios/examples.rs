//! The examples finish their task, whatever kills them, and do no step twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rekindle::wire::v1::AgentState;
use rekindle_e2e::client::is;
use rekindle_e2e::wait::eventually;
use rekindle_e2e::{World, process, tools};
use rustix::process::Signal;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// Steps of a task; it is killed in the middle of two of them.
const STEPS: usize = 9;

/// Where a script finds the command `rekindle` under its own name.
fn with_rekindle(world: &World) -> PathBuf {
    let bin = world.path("bin");
    fs::create_dir(&bin).expect("the world's directory takes a folder");
    symlink(tools::under_test("rekindle-under-test"), bin.join("rekindle")).expect("and a link");
    bin
}

/// The file in which a process saves, by its environment.
fn state_file(pid: u32) -> PathBuf {
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("it lives");
    let mut entries = environment.split(|byte| *byte == 0);
    let path = entries.find_map(|entry| entry.strip_prefix(b"REKINDLE_STATE_FILE="));
    String::from_utf8(path.expect("the shim tells it").to_vec())
        .expect("a path in UTF-8")
        .into()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_bash_loop() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let (bin, input, output) = (with_rekindle(&world), world.path("input"), world.path("output"));
    fs::create_dir(&input).expect("the world's directory takes a folder");
    for step in 1..=STEPS {
        fs::write(input.join(format!("file-{step}")), step.to_string()).expect("and a file");
    }
    let script = format!(
        "PATH={}:$PATH PACE=0.1 exec {EXAMPLES}/digest.sh {} {}",
        bin.display(),
        input.display(),
        output.display()
    );
    let shim = world
        .shim("digest")
        .flag("--cooldown", "0s")
        .script(&script)
        .start(&server);
    for (incarnation, done) in [(1, 2), (2, 5)] {
        let pid = shim.life(incarnation).await.pid;
        eventually("some steps are done, and another one is under way", async || {
            let next = output.join(format!("file-{}.part", done + 1));
            (lines(&output.join(".log")).len() >= done && next.exists()).then_some(())
        })
        .await;
        process::signal(pid, Signal::KILL);
    }
    let agent = client.until("digest", is(AgentState::Stopped)).await;
    assert_eq!((agent.state_reason.as_str(), agent.incarnation), ("exit:clean", 3));
    let ended: Vec<String> = (1..=STEPS)
        .map(|step| format!("ends {}", input.join(format!("file-{step}")).display()))
        .collect();
    assert_eq!(lines(&output.join(".log")), ended, "each step once, in its order");
    for step in 1..=STEPS {
        assert!(
            output.join(format!("file-{step}")).exists(),
            "the result of step {step}"
        );
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
    let text: String = (1..=STEPS).map(|number| format!("{}\n", number * 7)).collect();
    fs::write(&numbers, text).expect("the world's directory takes a file");
    let script = format!(
        "PACE=0.1 exec {} {EXAMPLES}/worker.py {} {}",
        python.display(),
        numbers.display(),
        result.display()
    );
    let shim = world
        .shim("adder")
        .flag("--cooldown", "0s")
        .script(&script)
        .start(&server);
    for (incarnation, line) in [(1, 2), (2, 5)] {
        let pid = shim.life(incarnation).await.pid;
        let state = state_file(pid);
        eventually("some lines are done", async || {
            let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&state).ok()?).ok()?;
            let done: usize = state["stage"].as_str()?.parse().ok()?;
            (done >= line).then_some(())
        })
        .await;
        process::signal(pid, Signal::KILL);
    }
    let agent = client.until("adder", is(AgentState::Stopped)).await;
    assert_eq!((agent.state_reason.as_str(), agent.incarnation), ("exit:clean", 3));
    let sum: usize = (1..=STEPS).map(|number| number * 7).sum();
    assert_eq!(lines(&result), [sum.to_string()]);
    assert!(shim.log().contains("goes on after line"), "a later life went on");
    shim.check_lives();
}
