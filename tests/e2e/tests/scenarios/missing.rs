//! What the server has given and a shim that is back does not have, and what a shim has that is over for the server: each
//! row of the watchdog's matrix that other scenarios do not have, on real processes.

use std::time::Duration;

use rekindle::wire::v1::{CancelOutcome, EventType, ExecutionState, FailureCause};
use rekindle_e2e::client::runs;
use rekindle_e2e::disk::Disk;
use rekindle_e2e::server::ServerBuilder;
use rekindle_e2e::work::{cause, in_state, is_over, open_gate, until_file};
use rekindle_e2e::{Host, World, process};

/// One that soon says what it makes of its shims after a start.
fn server(world: &World) -> ServerBuilder<'_> {
    let server = world.server().flag("--adoption-window", "1s");
    server.flag("--heartbeat-interval", "500ms")
}

/// A host loses its power, and some of its shims' state directories were in memory.
#[tokio::test]
async fn a_reboot_interrupts_what_its_shim_has_written_down_and_loses_the_rest() {
    let world = World::new();
    let host = Host::new(&world);
    let server = server(&world).start().await;
    let mut client = server.client();
    let mut kept = host.shim("kept").per_message("exec sleep 1000").start(&server);
    let volatile = |state| host.shim("volatile").state(state).per_message("exec sleep 1000");
    let mut in_memory = volatile("memory").start(&server);
    // One that never asks for its work.
    let waiting = |state| host.shim("waiting").state(state).flag("--delivery", "pull");
    let mut waits = waiting("memory-too").start(&server);
    let mut given = Vec::new();
    for (agent, state) in [
        ("kept", ExecutionState::Running),
        ("volatile", ExecutionState::Running),
        ("waiting", ExecutionState::Accepted),
    ] {
        client.until(agent, runs(1)).await;
        let name = client.give(agent, "x").await.name;
        client.until_execution(&name, in_state(state)).await;
        given.push(name);
    }

    for shim in [&mut kept, &mut in_memory, &mut waits] {
        shim.kill();
    }
    world.none_left("sleep 1000").await;
    host.boots(2);
    kept.start_again();
    let _volatile = volatile("memory-of-the-next-boot").start(&server);
    let _waiting = waiting("memory-too-of-the-next-boot").start(&server);
    for (name, state, why) in [
        (&given[0], ExecutionState::DeadLetter, FailureCause::Interrupted),
        (&given[1], ExecutionState::Lost, FailureCause::Lost),
        (&given[2], ExecutionState::Lost, FailureCause::Lost),
    ] {
        let over = client.until_execution(name, is_over).await;
        assert_eq!((over.state(), cause(&over), over.attempt), (state, why, 1), "{over:#?}");
    }
    let history = client.history().await;
    assert_eq!(
        history.of_execution(&given[2]),
        [
            EventType::ExecutionQueued,
            EventType::ExecutionDispatched,
            EventType::ExecutionAccepted,
            EventType::ExecutionLost,
        ],
        "it had been accepted, and had not begun as far as the server knows"
    );
    assert_eq!(history.all(EventType::HostRebooted).len(), 1, "{history:#?}");
    // The slots are free.
    for agent in ["kept", "volatile"] {
        let next = client.give(agent, "x").await.name;
        client.until_execution(&next, in_state(ExecutionState::Running)).await;
    }
}

/// Somebody was told that it is cancelled, or will be: no true result takes that back.
#[tokio::test]
async fn what_was_cancelled_and_is_missing_is_cancelled_for_good() {
    let world = World::new();
    let host = Host::new(&world);
    let mut server = server(&world).start().await;
    let mut client = server.client();
    let shim = |state| host.shim("a").state(state).per_message(&until_file(&world));
    let mut first = shim("first").start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "gate").await.name;
    client.pid_of(&given).await;
    server.kill();
    open_gate(&world, "gate");
    first.keeps_results(1).await;
    assert!(first.terminate().await.success(), "it keeps what it has to tell");

    server.start_again().await;
    let answer = client.cancel(&given).await.expect("CancelExecution succeeds");
    assert_eq!(answer.outcome(), CancelOutcome::Pending, "its shim is away");
    let waiting = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!((waiting.state(), waiting.cancelling), (ExecutionState::Running, true));
    host.boots(2);
    let mut second = shim("second").start(&server);
    let over = client.until_execution(&given, is_over).await;
    assert_eq!(
        (over.state(), &over.failure),
        (ExecutionState::Cancelled, &None),
        "{over:#?}"
    );

    assert!(second.terminate().await.success());
    first.start_again();
    let history = client.until_told(EventType::ExecutionDisowned).await;
    let told = history.all(EventType::ExecutionDisowned);
    assert_eq!(told[0].attributes["verdict"], "succeeded", "{told:#?}");
    first.keeps_results(0).await;
    let history = client.history().await;
    assert_eq!(
        history.of_execution(&given),
        [
            EventType::ExecutionQueued,
            EventType::ExecutionDispatched,
            EventType::ExecutionAccepted,
            EventType::ExecutionRunning,
            EventType::ExecutionCancelled,
            EventType::ExecutionDisowned,
        ]
    );
    let after = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!((after.state(), after.output.as_str()), (ExecutionState::Cancelled, ""));
}

/// A shim cannot end what its time is over of, as it waits in the kernel; the server asks for it, and then that shim is
/// gone with its host.
#[tokio::test]
async fn what_was_past_its_time_and_is_missing_is_lost_and_says_so() {
    let world = World::new();
    let Some(disk) = Disk::mount_ext4(&world, 16) else {
        return;
    };
    let host = Host::new(&world);
    let server = server(&world).start().await;
    let mut client = server.client();
    let script = format!("echo x > {}", disk.path().join("file").display());
    let shim = |state| {
        let shim = host.shim("a").state(state).flag("--blocked-limit", "1s");
        shim.flag("--stop-grace", "0s").per_message(&script)
    };
    let mut first = shim("first").start(&server);
    client.until("a", runs(1)).await;
    let frozen = disk.freeze();
    let given = client.give_for("a", "x", Duration::from_secs(1)).await.name;
    let pid = client.pid_of(&given).await;
    client.until_told(EventType::ExecutionQuarantined).await;
    let asked = client.until_execution(&given, |execution| execution.cancelling).await;
    assert_eq!(asked.state(), ExecutionState::Running, "it holds its slot");

    first.kill();
    host.boots(2);
    let _second = shim("second").start(&server);
    let over = client.until_execution(&given, is_over).await;
    assert_eq!(
        (over.state(), cause(&over)),
        (ExecutionState::Lost, FailureCause::Lost),
        "{over:#?}"
    );
    let said = over.failure.expect("it is told").message;
    assert!(said.contains("its time was over"), "{said}");
    drop(frozen);
    process::is_gone(pid).await;
    let next = client.give("a", "x").await;
    let done = client.until_execution(&next.name, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "the slot is free: {done:#?}");
}
