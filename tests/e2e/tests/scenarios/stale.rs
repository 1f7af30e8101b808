//! A shim that has what is over for the server, as its disk was set back: what it has is ended, and nothing is over twice.

use prost::Message as _;
use rekindle::wire::v1::connect_request::Message;
use rekindle::wire::v1::{
    AttemptAccepted, AttemptFinished, AttemptPhase, AttemptStarted, Child, ConnectResponse, Delivery, EventType,
    ExecutionState, HeldAttempt, Hello, Inventory, Ready, Report, Spawned, Verdict, connect_response, report,
};
use rekindle_e2e::client::runs;
use rekindle_e2e::stream::{RawStream, encoded, encoded_hello, encoded_nothing, hello};
use rekindle_e2e::work::in_state;
use rekindle_e2e::{Client, World};

/// A shim that says what a test has it say.
struct Puppet {
    stream: RawStream,
    /// Number of its newest report.
    told: u64,
}

impl Puppet {
    async fn connects(client: &Client, hello: &Hello, told: u64) -> Self {
        let stream = RawStream::open(client, encoded_hello(hello.clone())).await;
        let stream = stream.expect("it is welcomed");
        Self { stream, told }
    }

    async fn tells(&mut self, fact: report::Fact) {
        self.told += 1;
        let report = Report {
            sequence: self.told,
            time: Some(std::time::SystemTime::now().into()),
            incarnation: 1,
            fact: Some(fact),
        };
        self.stream.say(encoded(Message::Report(report.into()))).await;
    }

    /// Waits for what the server says of this kind.
    async fn hears<T>(&mut self, wanted: impl Fn(connect_response::Message) -> Option<T>) -> T {
        loop {
            let bytes = self.stream.hear().await.expect("the stream goes on");
            let said = ConnectResponse::decode(bytes).expect("a server says what can be read");
            if let Some(found) = said.message.and_then(&wanted) {
                return found;
            }
        }
    }
}

#[tokio::test]
async fn what_has_succeeded_and_is_held_still_is_ended_and_stays_done() {
    use connect_response::Message as Said;
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut who = hello("a");
    who.delivery = Delivery::PerMessage.into();
    (who.life, who.stream) = (1, 1);
    let mut shim = Puppet::connects(&client, &who, 0).await;
    shim.stream.say(encoded_nothing()).await;
    let run = |said| if let Said::Run(run) = said { Some(run) } else { None };
    assert_eq!(shim.hears(run).await.incarnation, 1);
    shim.tells(report::Fact::Spawned(Spawned::default())).await;
    shim.tells(report::Fact::Ready(Ready::default())).await;
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await.name;
    let dispatch = |said| {
        if let Said::Dispatch(dispatch) = said {
            Some(dispatch)
        } else {
            None
        }
    };
    let attempt = shim.hears(dispatch).await.attempt;
    let finished = AttemptFinished {
        attempt: attempt.clone(),
        verdict: Verdict::Succeeded.into(),
        output: "done".to_owned(),
        ..Default::default()
    };
    let accepted = AttemptAccepted {
        attempt: attempt.clone(),
    };
    shim.tells(report::Fact::AttemptAccepted(accepted)).await;
    let started = AttemptStarted {
        attempt: attempt.clone(),
        ..Default::default()
    };
    shim.tells(report::Fact::AttemptStarted(started)).await;
    shim.tells(report::Fact::AttemptFinished(finished.clone().into())).await;
    client
        .until_execution(&given, in_state(ExecutionState::Succeeded))
        .await;

    // Its next life has the journal of before.
    let told = shim.told;
    (who.life, who.instance) = (2, uuid::Uuid::new_v4().to_string());
    let mut shim = Puppet::connects(&client, &who, told).await;
    let held = HeldAttempt {
        attempt: attempt.clone(),
        phase: AttemptPhase::Running.into(),
    };
    let inventory = Inventory {
        last_incarnation: 1,
        child: Some(Child {
            incarnation: 1,
            ready: true,
            ..Default::default()
        }),
        attempts: vec![held],
        ..Default::default()
    };
    shim.stream.say(encoded(Message::Inventory(inventory.into()))).await;
    let end = |said| {
        if let Said::EndAttempt(end) = said {
            Some(end)
        } else {
            None
        }
    };
    assert_eq!(shim.hears(end).await.attempt, attempt, "at once, and without a verdict");
    client.until_told(EventType::ExecutionDisowned).await;
    shim.tells(report::Fact::AttemptFinished(
        AttemptFinished {
            verdict: Verdict::Cancelled.into(),
            output: String::new(),
            ..finished
        }
        .into(),
    ))
    .await;
    let last = shim.told;
    let acknowledged = |said| {
        if let Said::Acknowledge(heard) = said {
            Some(heard.sequence)
        } else {
            None
        }
    };
    while shim.hears(acknowledged).await < last {}

    let done = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!(
        (done.state(), done.output.as_str()),
        (ExecutionState::Succeeded, "done")
    );
    let chain = client.history().await.of_execution(&given);
    let ends = [
        EventType::ExecutionRunning,
        EventType::ExecutionSucceeded,
        EventType::ExecutionDisowned,
    ];
    assert_eq!(chain[3..], ends, "{chain:?}");
    // Its slot is free.
    client.give("a", "y").await;
    let next = shim.hears(dispatch).await.attempt;
    assert_ne!(next, attempt);
}
