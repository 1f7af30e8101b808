//! Work: messages reach agents, run in processes of their own, and end in one way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rekindle::wire::v1::{CancelOutcome, ExecutionState, FailureCause};
use rekindle_e2e::client::runs;
use rekindle_e2e::work::{cause, in_state, is_over, lasted};
use rekindle_e2e::{World, eventually, process};
use tonic::Code;
use tonic_types::StatusExt;

/// What a shim may take beyond a limit and the grace: 250 ms, and as much again for a loaded machine to be looked at.
const LATE_MAX: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_message_is_run_and_its_output_is_the_result() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "echo on stderr >&2; printf 'got: '; cat; echo \" $REKINDLE_EXECUTION $REKINDLE_ATTEMPT\"";
    let _shim = world.shim("a").per_message(script).start(&server);
    let agent = client.until("a", runs(1)).await;
    assert_eq!(agent.process, None, "only messages have processes");

    let given = client
        .give_with("a", "hello", |request| request.execution_id = "e1".into())
        .await
        .expect("CreateExecution succeeds");
    assert_eq!(given.name, "agents/a/executions/e1");
    assert_eq!(given.timeout.map(|timeout| timeout.seconds), Some(300), "resolved");
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "{done:#?}");
    assert_eq!(done.output, "got: hello e1 1\n");
    assert_eq!((done.attempt, done.message.as_str()), (1, "hello"));
    for step in [
        done.create_time,
        done.dispatch_time,
        done.accept_time,
        done.start_time,
        done.end_time,
    ] {
        assert!(step.is_some(), "{done:#?}");
    }

    let again = client.redrive(&given.name).await;
    let redone = client.until_execution(&again.name, is_over).await;
    assert_eq!(
        (redone.state(), redone.redrive_of.as_str()),
        (ExecutionState::Succeeded, given.name.as_str())
    );
}

#[tokio::test]
async fn the_message_can_be_an_argument() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world
        .shim("a")
        .flag("--delivery", "per-message")
        .command(["echo", "-n", "<{message}>"])
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "two words; $HOME").await;
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(done.output, "<two words; $HOME>");
}

#[tokio::test]
async fn a_failure_is_the_messages_own_and_tells_why() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "read -r what; case $what in signal) kill -9 $$;; *) echo because >&2; exit 7;; esac";
    let _shim = world
        .shim("a")
        .flag("--max-attempts", "1")
        .per_message(script)
        .start(&server);
    client.until("a", runs(1)).await;
    for (message, expected) in [
        ("fail", FailureCause::Exited),
        ("signal", FailureCause::Signaled),
        ("fail", FailureCause::Exited),
    ] {
        let given = client.give("a", message).await;
        let done = client.until_execution(&given.name, is_over).await;
        assert_eq!(
            (done.state(), cause(&done)),
            (ExecutionState::Failed, expected),
            "{done:#?}"
        );
        let failure = done.failure.expect("it failed");
        if message == "fail" {
            assert_eq!((failure.exit_code, failure.stderr_tail.trim()), (Some(7), "because"));
        } else {
            assert_eq!(failure.signal, Some(9));
        }
    }
    // None of it is the agent's.
    let agent = client.until("a", runs(1)).await;
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));
    let missing = world
        .shim("b")
        .flag("--delivery", "per-message")
        .command(["/no/such/program"])
        .start(&server);
    client.until("b", runs(1)).await;
    let given = client.give("b", "x").await;
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), cause(&done)),
        (ExecutionState::Failed, FailureCause::SpawnFailed)
    );
    drop(missing);
}

#[tokio::test]
async fn a_flood_on_both_pipes_harms_nothing() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "read -r what; case $what in \
                  stderr) head -c 204800 /dev/zero | tr '\\0' e >&2; echo done;; \
                  *) head -c 1000000 /dev/zero | tr '\\0' o; echo END;; esac";
    let _shim = world.shim("a").flag("--log", "off").per_message(script).start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "stderr").await;
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.output.as_str()),
        (ExecutionState::Succeeded, "done\n")
    );
    assert!(!done.output_truncated);
    let given = client.give("a", "stdout").await;
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded);
    assert!(done.output_truncated && done.output.ends_with("oEND\n"));
    assert_eq!(done.output.len(), 256 * 1024);
}

#[tokio::test]
async fn a_message_past_its_time_is_ended_with_its_whole_tree_whether_the_server_is_there_or_not() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let pids = world.path("pids");
    let script = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 1000' & \
         echo $$ >> {0}; echo partial; while :; do sleep 1; done",
        pids.display()
    );
    let shim = world
        .shim("a")
        .flag("--stop-grace", "500ms")
        .flag("--max-concurrent", "2")
        .per_message(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let both = async || {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        let pids: Vec<u32> = text.lines().filter_map(|pid| pid.parse().ok()).collect();
        Some(pids)
    };
    for away in [false, true] {
        let _none_yet = std::fs::remove_file(&pids);
        let given = client
            .give_with("a", "x", |request| {
                let limit = Duration::from_secs(2).try_into().expect("in range");
                request.execution.get_or_insert_default().timeout = Some(limit);
            })
            .await
            .expect("CreateExecution succeeds");
        let tree = eventually("both processes", async || both().await.filter(|pids| pids.len() == 2)).await;
        if away {
            server.kill();
        }
        for pid in &tree {
            process::is_gone(*pid).await;
        }
        if away {
            server.start_again().await;
        }
        let done = client.until_execution(&given.name, is_over).await;
        assert_eq!(
            (done.state(), cause(&done)),
            (ExecutionState::TimedOut, FailureCause::MessageTimeout)
        );
        assert_eq!(done.output, "partial\n", "what there is of a result is kept");
        let late = lasted(&done)
            .checked_sub(Duration::from_millis(2500))
            .expect("it had its time");
        assert!(late < LATE_MAX, "{late:?} late");
    }
    assert_eq!(client.until("a", runs(1)).await.incarnation, 1, "the agent goes on");
    drop(shim);
}

#[tokio::test]
async fn a_cancel_ends_what_runs_and_says_what_came_first() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world
        .shim("a")
        .per_message("read -r x; [ \"$x\" = quick ] || exec sleep 1000")
        .start(&server);
    client.until("a", runs(1)).await;
    let running = client.give("a", "slow").await;
    let waiting = client.give("a", "slow").await;
    client
        .until_execution(&running.name, in_state(ExecutionState::Running))
        .await;
    let pid = client
        .execution(&running.name)
        .await
        .expect("GetExecution succeeds")
        .process
        .expect("it has a process")
        .pid;

    let answer = client.cancel(&waiting.name).await.expect("CancelExecution succeeds");
    assert_eq!(answer.outcome(), CancelOutcome::Cancelled);
    let begin = Instant::now();
    let answer = client.cancel(&running.name).await.expect("CancelExecution succeeds");
    assert_eq!(answer.outcome(), CancelOutcome::Cancelled);
    assert!(!process::is_alive(pid), "it is dead when the answer comes");
    assert!(begin.elapsed() < Duration::from_secs(8), "it died on TERM");
    let quick = client.give("a", "quick").await;
    client.until_execution(&quick.name, is_over).await;
    let answer = client.cancel(&quick.name).await.expect("CancelExecution succeeds");
    assert_eq!(answer.outcome(), CancelOutcome::AlreadyOver);
}

#[tokio::test]
async fn slots_are_exact_and_a_full_queue_says_when_to_come_again() {
    const SLOTS: usize = 4;
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let begun = world.path("begun");
    let gate = world.path("gate");
    let script = format!(
        "echo b >> {}; while ! [ -e {} ]; do sleep 0.02; done",
        begun.display(),
        gate.display()
    );
    let _shim = world
        .shim("a")
        .flag("--max-concurrent", &SLOTS.to_string())
        .flag("--queue-limit", "20")
        .per_message(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let mut creates = tokio::task::JoinSet::new();
    for number in 0..40 {
        let mut client = client.clone();
        creates.spawn(async move { client.give_with("a", &number.to_string(), |_| ()).await });
    }
    let mut given = Vec::new();
    let mut refused = 0;
    while let Some(created) = creates.join_next().await {
        match created.expect("no panic") {
            Ok(execution) => given.push(execution.name),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((given.len(), refused), (SLOTS + 20, 40 - SLOTS - 20));
    let count = || std::fs::read_to_string(&begun).map_or(0, |text| text.lines().count());
    eventually("every slot is taken", async || (count() == SLOTS).then_some(())).await;
    let full = BTreeMap::from([(ExecutionState::Running, SLOTS), (ExecutionState::Queued, 20)]);
    eventually("the server knows of it", async || {
        (client.states("a").await == full).then_some(())
    })
    .await;
    assert_eq!(count(), SLOTS);
    std::fs::write(&gate, "").expect("can be written");
    for name in &given {
        let done = client.until_execution(name, is_over).await;
        assert_eq!(done.state(), ExecutionState::Succeeded);
    }
    assert_eq!(count(), given.len(), "each ran once");
}

#[tokio::test]
async fn a_restart_cancels_what_runs_and_leaves_what_waits() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "read -r x; [ \"$x\" = quick ] || exec sleep 1000";
    let _shim = world.shim("a").per_message(script).start(&server);
    client.until("a", runs(1)).await;
    let running = client.give("a", "slow").await;
    let waiting = client.give("a", "quick").await;
    client
        .until_execution(&running.name, in_state(ExecutionState::Running))
        .await;
    let answer = client.restart("a").await.expect("RestartAgent succeeds");
    assert_eq!(answer.cancelled_executions, std::slice::from_ref(&running.name));
    let over = client.until_execution(&running.name, is_over).await;
    assert_eq!(over.state(), ExecutionState::Cancelled);
    let done = client.until_execution(&waiting.name, is_over).await;
    assert_eq!((done.state(), done.incarnation), (ExecutionState::Succeeded, 2));
}

#[tokio::test]
async fn neighbours_are_unharmed_by_the_end_of_one() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let pids = world.path("daemons");
    let script = format!(
        "read -r x; setsid sh -c 'echo \"$REKINDLE_EXECUTION $$\" >> {}; exec sleep 1000' & exec sleep 1000",
        pids.display()
    );
    let _shim = world
        .shim("a")
        .flag("--max-concurrent", "3")
        .per_message(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(client.give("a", "x").await.name);
    }
    let daemons: BTreeMap<String, u32> = eventually("three daemons", async || {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let found: BTreeMap<String, u32> = pairs
            .filter_map(|(id, pid)| Some((format!("agents/a/executions/{id}"), pid.parse().ok()?)))
            .collect();
        (found.len() == 3).then_some(found)
    })
    .await;
    client.cancel(&names[1]).await.expect("CancelExecution succeeds");
    assert!(!process::is_alive(daemons[&names[1]]), "its daemon is gone with it");
    for name in [&names[0], &names[2]] {
        let neighbour = client.execution(name).await.expect("GetExecution succeeds");
        assert_eq!(neighbour.state(), ExecutionState::Running);
        let pid = neighbour.process.expect("it has a process").pid;
        assert!(process::is_alive(pid) && process::is_alive(daemons[name]));
    }
}
