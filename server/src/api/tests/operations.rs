//! Restart, start, stop and signal, as callers see them.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::session::Command;
use rekindle::wire::v1;
use tonic::Code;

use super::shim::{FakeShim, process};
use super::{World, soon, told};

fn restart() -> v1::RestartAgentRequest {
    v1::RestartAgentRequest {
        name: "agents/a".into(),
        reason: "deploy".into(),
        ..v1::RestartAgentRequest::default()
    }
}

/// Ends the old life, and brings the one that was ordered.
async fn obey(shim: &mut FakeShim) {
    let next = shim.told_to_run().await;
    let old = Incarnation::new(next.get() - 1);
    let killed = ExitStatus::Signaled {
        signal: 15,
        core_dumped: false,
    };
    shim.exited(old, killed, EndedBy::Command).await;
    shim.live(next).await;
}

#[tokio::test]
async fn a_restart_completes_when_the_new_life_is_ready() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    let mut client = world.agents();
    let (answer, ()) = tokio::join!(soon(client.restart_agent(restart())), obey(&mut shim));
    let answer = answer.expect("restarted").into_inner();
    assert_eq!(answer.outcome(), v1::Outcome::Completed, "{}", answer.detail);
    assert_eq!(answer.previous_state(), v1::AgentState::Running);
    let agent = answer.agent.expect("the answer has it");
    assert_eq!((agent.incarnation, agent.ready), (2, true));
    assert_eq!(agent.process.map(|process| process.pid), Some(1002));
}

#[tokio::test]
async fn a_caller_with_a_deadline_hears_pending() {
    let world = World::start().await;
    let _shim = FakeShim::run(&world, "agents/a").await;
    let mut request = tonic::Request::new(restart());
    request.set_timeout(Duration::from_millis(400));
    let answer = world
        .agents()
        .restart_agent(request)
        .await
        .expect("not DEADLINE_EXCEEDED");
    let answer = answer.into_inner();
    assert_eq!(answer.outcome(), v1::Outcome::Pending);
    assert!(!answer.detail.is_empty(), "it says what it waits for");
}

#[tokio::test]
async fn an_accepted_order_is_answered_at_once_and_is_one_order() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    let mut client = world.agents();
    let request = v1::RestartAgentRequest {
        wait: v1::Wait::Accepted as i32,
        request_id: "r-1".into(),
        ..restart()
    };
    let first = soon(client.restart_agent(request.clone())).await.expect("accepted");
    assert_eq!(first.into_inner().agent.map(|agent| agent.incarnation), Some(2));
    obey(&mut shim).await;
    world.until("agents/a", v1::AgentState::Running).await;
    let again = soon(client.restart_agent(request)).await.expect("known").into_inner();
    assert_eq!(again.agent.map(|agent| agent.incarnation), Some(2), "not a second one");

    let reused = v1::StopAgentRequest {
        name: "agents/a".into(),
        request_id: "r-1".into(),
        ..v1::StopAgentRequest::default()
    };
    let refused = told(&client.stop_agent(reused).await.expect_err("the id was a restart's"));
    assert_eq!(
        refused,
        (Code::InvalidArgument, "REQUEST_ID_REUSED".into(), "request_id".into())
    );
    let old_picture = v1::RestartAgentRequest {
        expected_incarnation: 1,
        ..restart()
    };
    let refused = told(&client.restart_agent(old_picture).await.expect_err("it is at 2"));
    assert_eq!(
        (refused.0, refused.1.as_str()),
        (Code::FailedPrecondition, "INCARNATION_MISMATCH")
    );
}

#[tokio::test]
async fn a_stop_completes_when_the_tree_is_dead() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    let stop = v1::StopAgentRequest {
        name: "agents/a".into(),
        grace_period: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        ..v1::StopAgentRequest::default()
    };
    let mut client = world.agents();
    let (answer, ()) = tokio::join!(soon(client.stop_agent(stop)), async {
        let told = shim.command().await.1;
        let grace = Some(Duration::from_secs(3));
        let incarnation = Incarnation::new(1);
        assert_eq!(told, Command::Stop { incarnation, grace });
        shim.exited(incarnation, ExitStatus::Exited(0), EndedBy::Command).await;
    });
    let answer = answer.expect("stopped").into_inner();
    assert_eq!(answer.outcome(), v1::Outcome::Completed, "{}", answer.detail);
    let agent = answer.agent.expect("the answer has it");
    assert_eq!(
        (agent.state(), agent.state_reason.as_str()),
        (v1::AgentState::Stopped, "operator")
    );
    assert_eq!(agent.process, None);

    let start = v1::StartAgentRequest {
        name: "agents/a".into(),
        ..v1::StartAgentRequest::default()
    };
    let (answer, ()) = tokio::join!(soon(client.start_agent(start)), async {
        let next = shim.told_to_run().await;
        shim.live(next).await;
    });
    let answer = answer.expect("started").into_inner();
    assert_eq!(answer.previous_state(), v1::AgentState::Stopped);
    assert_eq!(answer.outcome(), v1::Outcome::Completed, "{}", answer.detail);
}

#[tokio::test]
async fn a_signal_is_answered_with_the_process_that_got_it() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    let request = v1::SignalAgentRequest {
        name: "agents/a".into(),
        signal: "sighup".into(),
        ..v1::SignalAgentRequest::default()
    };
    let mut client = world.agents();
    let (answer, ()) = tokio::join!(soon(client.signal_agent(request)), async {
        let (id, command) = shim.command().await;
        let incarnation = Incarnation::new(1);
        assert_eq!(command, Command::Signal { incarnation, signal: 1 });
        shim.signalled(id, incarnation).await;
    });
    let got = answer.expect("sent").into_inner().process.expect("the answer has it");
    assert_eq!(
        got,
        rekindle::convert::process_to_wire(&process(Incarnation::new(1)), "h1")
    );
}

#[tokio::test]
async fn a_crash_shows_its_evidence() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    shim.exited(Incarnation::new(1), ExitStatus::Exited(3), EndedBy::Itself)
        .await;
    // The first attempt comes at once.
    let next = shim.told_to_run().await;
    shim.live(next).await;
    world.until("agents/a", v1::AgentState::Running).await;
    let agent = world.get("agents/a").await;
    let failure = agent.last_failure.expect("it failed once");
    assert_eq!(
        (failure.cause(), failure.exit_code),
        (v1::FailureCause::Exited, Some(3))
    );
    assert_eq!((failure.stderr_tail.as_str(), failure.incarnation), ("boom\n", 1));
    assert!(failure.uptime.is_some() && failure.time.is_some());
    assert_eq!(
        agent
            .recovery
            .map(|recovery| (recovery.attempts, recovery.max_attempts)),
        Some((1, 3))
    );
}
