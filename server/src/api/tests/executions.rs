//! Work, as callers see it, with a shim that runs a process for each message.

mod cancels;
mod load;
mod messages;
mod outputs;
mod watches;

use rekindle::execution::{
    AttemptId, AttemptResult, Delivery, Dispatch, ExecutionId, MESSAGE_MAX_BYTES, OUTPUT_MAX_BYTES, Output, Verdict,
};
use rekindle::id::Incarnation;
use rekindle::policy::{AgentPolicy, PolicyFields};
use rekindle::report::{Hello, Inventory, ReportFact};
use rekindle::session::{Command, ShimMessage};
use rekindle::wire::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::shim::{FakeShim, hello, process};
use super::{World, soon, told};

const AGENT: &str = "agents/a";

/// The only life in these tests.
const LIFE: Incarnation = Incarnation::new(1);

impl FakeShim {
    /// Connects, and takes messages.
    pub(super) async fn at_work(world: &World, change: impl FnOnce(&mut PolicyFields)) -> Self {
        let mut shim = Self::greet(world, worker(change)).await.expect("it is welcome");
        shim.send(ShimMessage::Inventory(Box::default())).await;
        assert_eq!(shim.told_to_run().await, LIFE);
        shim.take_messages(world).await;
        shim
    }

    async fn take_messages(&mut self, world: &World) {
        self.report(LIFE, ReportFact::Spawned(None)).await;
        self.report(LIFE, ReportFact::Ready).await;
        world.until(AGENT, v1::AgentState::Running).await;
    }

    /// The next command, which must be to take a message.
    pub(super) async fn given(&mut self) -> Dispatch {
        match self.command().await.1 {
            Command::Dispatch(dispatch) => *dispatch,
            other @ (Command::Run { .. }
            | Command::Stop { .. }
            | Command::Signal { .. }
            | Command::SetPolicy(_)
            | Command::Charge(_)
            | Command::EndAttempt { .. }) => panic!("expected to be given a message: {other:?}"),
        }
    }

    /// The next command, which must be to end an attempt.
    async fn told_to_end(&mut self) -> AttemptId {
        match self.command().await.1 {
            Command::EndAttempt { attempt, .. } => attempt,
            other @ (Command::Run { .. }
            | Command::Stop { .. }
            | Command::Signal { .. }
            | Command::SetPolicy(_)
            | Command::Charge(_)
            | Command::Dispatch(_)) => panic!("expected to end an attempt: {other:?}"),
        }
    }

    /// Accepts an attempt, and begins it in a process of its own.
    async fn begin(&mut self, attempt: &AttemptId) {
        self.report(LIFE, ReportFact::AttemptAccepted(attempt.clone())).await;
        let identity = Some(process(LIFE));
        self.report(LIFE, ReportFact::AttemptStarted(attempt.clone(), identity))
            .await;
    }

    async fn finish(&mut self, attempt: &AttemptId, verdict: Verdict, text: &str, dropped: u64) {
        let result = AttemptResult {
            verdict,
            message: String::new(),
            evidence: None,
            output: Output {
                text: text.into(),
                dropped,
            },
        };
        let fact = ReportFact::AttemptFinished(attempt.clone(), Box::new(result));
        self.report(LIFE, fact).await;
    }
}

fn worker(change: impl FnOnce(&mut PolicyFields)) -> Hello {
    let mut fields = PolicyFields::default();
    change(&mut fields);
    Hello {
        delivery: Delivery::PerMessage,
        policy: AgentPolicy::new(fields).expect("valid"),
        ..hello(AGENT, 1)
    }
}

impl World {
    async fn execution(&self, id: &str) -> v1::Execution {
        let request = v1::GetExecutionRequest { name: name(id) };
        let found = self.executions().get_execution(request).await.expect("it is kept");
        found.into_inner().execution.expect("the answer has it")
    }

    async fn message(&self, id: &str) -> v1::Execution {
        let created = soon(self.executions().create_execution(create(id))).await;
        created
            .expect("created")
            .into_inner()
            .execution
            .expect("the answer has it")
    }

    /// Waits until an execution is in a state.
    async fn execution_is(&self, id: &str, state: v1::ExecutionState) {
        let key = ExecutionId::from_name(&name(id)).expect("valid");
        let mut changes = self.handle.changes();
        soon(changes.wait_for(|snapshot| {
            let record = snapshot.executions.get(&key);
            record.is_some_and(|record| v1::ExecutionState::from(record.state) == state)
        }))
        .await
        .expect("the driver runs");
    }
}

fn name(id: &str) -> String {
    format!("{AGENT}/executions/{id}")
}

fn create(id: &str) -> v1::CreateExecutionRequest {
    v1::CreateExecutionRequest {
        parent: AGENT.into(),
        execution_id: id.into(),
        execution: Some(v1::Execution {
            message: format!("do {id}"),
            ..v1::Execution::default()
        }),
        request_id: String::new(),
    }
}

#[tokio::test]
async fn a_message_reaches_the_shim_and_its_output_is_read_back() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    let long = "\u{e4}".repeat(MESSAGE_MAX_BYTES / 2);
    let request = v1::CreateExecutionRequest {
        execution: Some(v1::Execution {
            message: long.clone(),
            ..v1::Execution::default()
        }),
        ..create("e")
    };
    let created = soon(world.executions().create_execution(request))
        .await
        .expect("created");
    let created = created.into_inner().execution.expect("the answer has it");
    assert_eq!(created.name, name("e"));
    assert_eq!(created.timeout.map(|timeout| timeout.seconds), Some(300), "the agent's");
    let given = shim.given().await;
    assert_eq!((given.attempt.number, given.message.as_str()), (1, long.as_str()));
    shim.begin(&given.attempt).await;
    world.execution_is("e", v1::ExecutionState::Running).await;
    let running = world.execution("e").await;
    assert_eq!(running.process.map(|process| process.pid), Some(1001));
    assert_eq!((running.attempt, running.incarnation), (1, 1));

    let text = "x".repeat(OUTPUT_MAX_BYTES);
    shim.finish(&given.attempt, Verdict::Succeeded, &text, 7).await;
    world.execution_is("e", v1::ExecutionState::Succeeded).await;
    let over = world.execution("e").await;
    assert_eq!((over.message, over.output), (long, text));
    assert!(over.output_truncated);
    assert_eq!((over.process, over.failure), (None, None));
    assert!(over.dispatch_time.is_some() && over.accept_time.is_some() && over.start_time.is_some());
    let durable = world.disk.open();
    let records = crate::store::Store::load(&durable).expect("the fake loads");
    assert_eq!(records.executions.len(), 1);
}

#[tokio::test]
async fn a_retry_is_the_same_execution() {
    let world = World::start().await;
    let _shim = FakeShim::at_work(&world, |_| ()).await;
    let request = v1::CreateExecutionRequest {
        request_id: "r-1".into(),
        ..create("")
    };
    let create = |request| {
        let mut client = world.executions();
        async move { soon(client.create_execution(request)).await }
    };
    let first = create(request.clone()).await.expect("created").into_inner().execution;
    let again = create(request.clone()).await.expect("known").into_inner().execution;
    let uid = |execution: &Option<v1::Execution>| execution.as_ref().expect("the answer has it").uid.clone();
    assert_eq!(uid(&first), uid(&again));
    let reused = v1::CreateExecutionRequest {
        execution_id: "other".into(),
        ..request
    };
    let refused = told(&create(reused).await.expect_err("the id was another's"));
    assert_eq!(
        refused,
        (Code::InvalidArgument, "REQUEST_ID_REUSED".into(), "request_id".into())
    );
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |policy| policy.queue_limit = 1).await;
    world.message("runs").await;
    world.message("waits").await;
    let full = world.executions().create_execution(create("e")).await;
    let full = full.expect_err("one runs, and one waits");
    assert_eq!(
        told(&full),
        (Code::ResourceExhausted, "QUEUE_FULL".into(), String::new())
    );
    let details = full.get_error_details();
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    assert!(retry.is_some_and(|delay| !delay.is_zero()), "{retry:?}");

    let given = shim.given().await;
    shim.begin(&given.attempt).await;
    shim.finish(&given.attempt, Verdict::Succeeded, "", 0).await;
    assert_eq!(shim.given().await.attempt.execution.as_str(), "waits");
    world.message("e").await;
}

#[tokio::test]
async fn an_agent_that_takes_no_messages_is_given_none() {
    let world = World::start().await;
    let _shim = FakeShim::run(&world, AGENT).await;
    let refused = world.executions().create_execution(create("e")).await;
    let refused = told(&refused.expect_err("it takes none"));
    assert_eq!(
        refused,
        (
            Code::FailedPrecondition,
            "AGENT_TAKES_NO_MESSAGES".into(),
            String::new()
        )
    );
    let unknown = v1::CreateExecutionRequest {
        parent: "agents/nobody".into(),
        ..create("e")
    };
    let refused = told(&world.executions().create_execution(unknown).await.expect_err("unknown"));
    assert_eq!((refused.0, refused.1.as_str()), (Code::NotFound, "AGENT_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_over_is_done_again() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await;
    shim.begin(&given.attempt).await;
    let redrive = v1::RedriveExecutionRequest {
        name: name("e"),
        execution_id: "again".into(),
        request_id: "r-2".into(),
    };
    let early = world.executions().redrive_execution(redrive.clone()).await;
    let early = told(&early.expect_err("it runs"));
    assert_eq!(
        (early.0, early.1.as_str()),
        (Code::FailedPrecondition, "EXECUTION_NOT_OVER")
    );

    shim.finish(&given.attempt, Verdict::Interrupted, "half", 0).await;
    world.execution_is("e", v1::ExecutionState::DeadLetter).await;
    for _ in 0..2 {
        let again = soon(world.executions().redrive_execution(redrive.clone())).await;
        let again = again
            .expect("queued")
            .into_inner()
            .execution
            .expect("the answer has it");
        assert_eq!((again.name, again.redrive_of), (name("again"), name("e")));
        assert_eq!(again.message, "do e");
    }
    let given = shim.given().await;
    assert_eq!(
        (given.attempt.execution.as_str(), given.message.as_str()),
        ("again", "do e")
    );
    assert_eq!(world.execution("e").await.redriven_as, name("again"));
    assert_eq!(world.execution("e").await.output, "half");
}

#[tokio::test]
async fn processes_of_executions_are_listed_page_by_page() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |policy| policy.max_concurrent = 3).await;
    let _other = FakeShim::run(&world, "agents/b").await;
    for id in ["e1", "e2", "e3"] {
        world.message(id).await;
        let given = shim.given().await;
        if id != "e2" {
            shim.begin(&given.attempt).await;
            world.execution_is(id, v1::ExecutionState::Running).await;
        }
    }
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListProcessesRequest {
            page_size: 1,
            page_token,
            ..v1::ListProcessesRequest::default()
        };
        let page = world
            .agents()
            .list_processes(request)
            .await
            .expect("listed")
            .into_inner();
        assert_eq!(page.processes.len(), 1);
        rows.extend(page.processes.into_iter().map(|row| (row.agent, row.execution)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        rows,
        [
            (AGENT.to_owned(), name("e1")),
            (AGENT.to_owned(), name("e3")),
            ("agents/b".to_owned(), String::new()),
        ]
    );
    let signal = v1::SignalAgentRequest {
        name: AGENT.into(),
        signal: "HUP".into(),
        ..v1::SignalAgentRequest::default()
    };
    let refused = world
        .agents()
        .signal_agent(signal)
        .await
        .expect_err("it has no process");
    assert_eq!(
        told(&refused),
        (Code::FailedPrecondition, "NO_PROCESS".into(), String::new())
    );
    assert!(refused.message().contains("CancelExecution"), "{refused}");
    let explained = world
        .agents()
        .explain_agent(v1::ExplainAgentRequest { name: AGENT.into() })
        .await
        .expect("explained")
        .into_inner();
    assert!(
        explained
            .summary
            .starts_with("is ready to take messages on h1, each in a process of its own"),
        "{}",
        explained.summary
    );
}
