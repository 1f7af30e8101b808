//! Agents that none of us wrote: programs from a distribution and from a package registry, that work on messages.

use std::fs;

use rekindle::wire::v1::{AgentState, ExecutionState, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::work::{cause, is_over, pulls};
use rekindle_e2e::{World, process, tools};

#[tokio::test]
async fn black_formats_each_message() {
    let Some(black) = tools::find("black") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world
        .shim("black")
        .flag("--delivery", "per-message")
        .flag("--max-concurrent", "2")
        .command([black.to_str().expect("a path in UTF-8"), "-q", "-"])
        .start(&server);
    client.until("black", runs(1)).await;
    let good = client.give("black", "x = {  'a':1 }").await;
    let bad = client.give("black", "def (:").await;
    let done = client.until_execution(&good.name, is_over).await;
    assert_eq!(
        (done.state(), done.output.as_str()),
        (ExecutionState::Succeeded, "x = {\"a\": 1}\n")
    );
    let failed = client.until_execution(&bad.name, is_over).await;
    let failure = failed.failure.clone().expect("it failed");
    assert_eq!((failed.state(), failure.exit_code), (ExecutionState::Failed, Some(123)));
}

#[tokio::test]
async fn bc_calculates_what_it_is_given_in_one_life() {
    let Some(bc) = tools::find("bc") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let requests = world.path("requests");
    let answers = world.path("answers");
    let script = format!(
        "mkfifo {0} {1}\n{2} -lq < {0} > {1} &\nexec 8> {0} 9< {1}\necho \"$!\" > {3}\n{4}",
        requests.display(),
        answers.display(),
        bc.display(),
        world.path("bc.pid").display(),
        pulls("echo \"$message\" >&8; read -r answer <&9; self done \"$answer\"")
    );
    let _shim = world
        .shim("bc")
        .flag("--delivery", "pull")
        .script(&script)
        .start(&server);
    client.until("bc", runs(1)).await;
    for (message, answer) in [
        ("x = 6; x * 7", "42"),
        ("x + 1", "7"),
        ("2 ^ 100", "1267650600228229401496703205376"),
    ] {
        let given = client.give("bc", message).await;
        let done = client.until_execution(&given.name, is_over).await;
        assert_eq!(
            (done.state(), done.output.as_str()),
            (ExecutionState::Succeeded, answer)
        );
    }
    let pid = std::fs::read_to_string(world.path("bc.pid")).expect("it was noted");
    assert!(
        process::is_alive(pid.trim().parse().expect("a pid")),
        "one bc did it all"
    );
}

/// An agent from PyPI that pulls, and its worker from there too. No program that nobody wrote for it knows the shim's socket:
/// what is ours here is the loop's body as `rekindle self next --help` has it. The loop is supervisord's own (`autorestart`),
/// which runs the body again whenever it ends; it is the agent that lives long.
#[tokio::test]
async fn supervisord_loops_over_what_black_formats() {
    let (Some(supervisord), Some(black)) = (tools::find("supervisord"), tools::find("black")) else {
        return;
    };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let body = format!(
        "message=$({0} self next) || exit\n\
         if result=$(echo \"$message\" | {1} -q - 2>&1); then {0} self done \"$result\"; else {0} self fail \"$result\"; fi\n",
        tools::under_test("rekindle-under-test").display(),
        black.display()
    );
    fs::write(world.path("worker.sh"), body).expect("writable");
    let configuration = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={0}/supervisord.pid\n\
         [program:worker]\ncommand=sh {0}/worker.sh\nstartsecs=0\nautorestart=true\nstopasgroup=true\n",
        world.path("").display()
    );
    let file = world.path("supervisord.conf");
    fs::write(&file, configuration).expect("writable");
    let [supervisord, file] = [&supervisord, &file].map(|path| path.to_str().expect("a path in UTF-8"));
    let shim = world.shim("a").flag("--delivery", "pull");
    let _shim = shim.command([supervisord, "-c", file]).start(&server);
    let before = client.until("a", runs(1)).await;
    for (message, state, output) in [
        ("x = {  'a':1 }", ExecutionState::Succeeded, "x = {\"a\": 1}"),
        ("def (:", ExecutionState::Failed, ""),
        ("y=  f( x )", ExecutionState::Succeeded, "y = f(x)"),
    ] {
        let given = client.give("a", message).await;
        let done = client.until_execution(&given.name, is_over).await;
        assert_eq!((done.state(), done.output.as_str()), (state, output), "{done:#?}");
        if state == ExecutionState::Failed {
            assert_eq!(cause(&done), FailureCause::Reported);
        }
    }
    let agent = client.until("a", runs(1)).await;
    assert_eq!(agent.process, before.process, "one supervisord had it all done");
    client.stop("a").await.expect("StopAgent succeeds");
    client.until("a", is(AgentState::Stopped)).await;
    world
        .none_left(&format!("sh {}", world.path("worker.sh").display()))
        .await;
}
