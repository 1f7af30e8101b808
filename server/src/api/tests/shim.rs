//! A shim that the test plays, over the real stream.

use rekindle::checkpoint::AskedSave;
use rekindle::execution::Delivery;
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::host::Host;
use rekindle::id::{AgentId, BootId, Incarnation, Marker, ReportSequence, ShimInstance};
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::report::{Hello, Report, ReportFact};
use rekindle::session::{Command, CommandId, ServerMessage, ShimMessage};
use rekindle::time::Timestamp;
use rekindle::wire::v1;
use rekindle::wire::v1::shim_service_client::ShimServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{World, soon};

pub(super) struct FakeShim {
    out: mpsc::Sender<v1::ConnectRequest>,
    inbound: Streaming<v1::ConnectResponse>,
    next_report: ReportSequence,
}

impl FakeShim {
    /// Connects, and is welcomed.
    pub(super) async fn connect(world: &World, agent: &str) -> Self {
        Self::connect_as(world, agent, 1).await.expect("it is welcome")
    }

    /// Connects as one of several shims on one host.
    pub(super) async fn connect_as(world: &World, agent: &str, shim: u128) -> Result<Self, Status> {
        let shim = Self::greet(world, hello(agent, shim)).await?;
        shim.send(ShimMessage::Inventory(Box::default())).await;
        Ok(shim)
    }

    /// Connects, is welcomed, and says nothing more.
    pub(super) async fn greet(world: &World, hello: Hello) -> Result<Self, Status> {
        let (out, requests) = mpsc::channel(8);
        for request in ShimMessage::Hello(Box::new(hello)).into_wire() {
            out.send(request).await.expect("the queue is open");
        }
        let mut client = ShimServiceClient::new(world.channel.clone());
        let mut inbound = client.connect(ReceiverStream::new(requests)).await?.into_inner();
        let first = soon(inbound.message()).await?.expect("the stream has not ended");
        let first = ServerMessage::try_from(first).expect("the server says what can be");
        assert!(matches!(first, ServerMessage::Welcome(_)), "{first:?}");
        Ok(Self {
            out,
            inbound,
            next_report: ReportSequence::new(1),
        })
    }

    /// Says goodbye, ends its side of the stream with that, and listens until the server ends its own.
    pub(super) async fn leave(mut self) {
        self.send(ShimMessage::Goodbye).await;
        drop(self.out);
        while let Ok(Some(_)) = soon(self.inbound.message()).await {}
    }

    /// Numbers its reports from here on, as a state directory does that has told so many.
    pub(super) fn go_on_after(&mut self, reports: u64) {
        self.next_report = ReportSequence::new(reports + 1);
    }

    /// Connects, starts what it is told to start, and is ready.
    pub(super) async fn run(world: &World, agent: &str) -> Self {
        let mut shim = Self::connect(world, agent).await;
        let incarnation = shim.told_to_run().await;
        shim.live(incarnation).await;
        world.until(agent, v1::AgentState::Running).await;
        shim
    }

    /// The status that ends the stream, whatever comes before it.
    pub(super) async fn refusal(&mut self) -> Status {
        loop {
            match soon(self.inbound.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a reason"),
                Err(status) => return status,
            }
        }
    }

    pub(super) async fn next(&mut self) -> ServerMessage {
        let message = soon(self.inbound.message()).await.expect("the stream is open");
        let message = message.expect("the stream has not ended");
        message.try_into().expect("the server says what can be")
    }

    /// The next command; acknowledgements, and what watchers want, are passed over.
    pub(super) async fn command(&mut self) -> (CommandId, Command) {
        loop {
            match self.next().await {
                // What the shim is to go by alone comes with nearly everything.
                ServerMessage::Command(_, Command::Charge(_))
                | ServerMessage::Acknowledge(_)
                | ServerMessage::Follow(_)
                | ServerMessage::CheckpointKept(_) => {}
                ServerMessage::Command(id, command) => {
                    if matches!(command, Command::Stop { .. }) {
                        self.send(ShimMessage::Confirmed(id)).await;
                    }
                    return (id, command);
                }
                ServerMessage::Welcome(_) => panic!("welcomed twice"),
            }
        }
    }

    pub(super) async fn told_to_run(&mut self) -> Incarnation {
        match self.command().await.1 {
            Command::Run { incarnation, .. } => incarnation,
            other @ (Command::Stop { .. }
            | Command::Signal { .. }
            | Command::SetPolicy(_)
            | Command::Charge(_)
            | Command::Dispatch(_)
            | Command::EndAttempt { .. }) => {
                panic!("expected to be told to run: {other:?}")
            }
        }
    }

    pub(super) async fn send(&self, message: ShimMessage) {
        for request in message.into_wire() {
            self.out.send(request).await.expect("the stream is open");
        }
    }

    pub(super) async fn report(&mut self, incarnation: Incarnation, fact: ReportFact) {
        let sequence = self.next_report;
        self.next_report = sequence.next();
        let time = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
        self.send(ShimMessage::Report(Box::new(Report {
            sequence,
            time,
            incarnation,
            fact,
        })))
        .await;
    }

    /// Reports a child that is spawned and ready.
    pub(super) async fn live(&mut self, incarnation: Incarnation) {
        self.report(incarnation, ReportFact::Spawned(Some(process(incarnation))))
            .await;
        self.report(incarnation, ReportFact::Ready).await;
    }

    /// Reports the end of a child that was asked for, and what came of asking it to save.
    pub(super) async fn ended_as_asked(&mut self, incarnation: Incarnation, asked_save: AskedSave) {
        let evidence = ExitEvidence {
            asked_save,
            ..evidence(ExitStatus::Exited(0), EndedBy::Command)
        };
        self.report(incarnation, ReportFact::Exited(Box::new(evidence))).await;
    }

    pub(super) async fn exited(&mut self, incarnation: Incarnation, status: ExitStatus, ended_by: EndedBy) {
        let evidence = evidence(status, ended_by);
        self.report(incarnation, ReportFact::Exited(Box::new(evidence))).await;
    }

    pub(super) async fn signalled(&self, id: CommandId, incarnation: Incarnation) {
        self.send(ShimMessage::SignalResult(id, Ok(process(incarnation)))).await;
    }
}

fn evidence(status: ExitStatus, ended_by: EndedBy) -> ExitEvidence {
    ExitEvidence {
        status,
        ended_by,
        oom_killed: false,
        uptime: std::time::Duration::from_secs(1),
        user_time: std::time::Duration::ZERO,
        system_time: std::time::Duration::ZERO,
        max_rss_kib: 1,
        stderr_tail: "boom\n".into(),
        stdout_tail: String::new(),
        asked_save: AskedSave::NotAsked,
    }
}

/// The hello of one of several shims on one host.
pub(super) fn hello(agent: &str, shim: u128) -> Hello {
    Hello {
        launch: None,
        agent: AgentId::from_name(agent).expect("valid"),
        shim_version: "test".into(),
        instance: ShimInstance::from_u128(shim),
        host: Host {
            name: "h1".into(),
            machine_id: None,
            boot_id: BootId::from_u128(1),
        },
        marker: Marker::from_u128(shim),
        labels: [("team".to_owned(), "search".to_owned())].into(),
        policy: AgentPolicy::default(),
        fence_after: None,
        order: rekindle::report::HelloOrder::default(),
        delivery: Delivery::None,
    }
}

pub(super) fn process(incarnation: Incarnation) -> ProcessIdentity {
    ProcessIdentity {
        boot_id: BootId::from_u128(1),
        pid: 1000 + u32::try_from(incarnation.get()).expect("few lives"),
        pidfd_inode: Some(incarnation.get()),
        start_time_ticks: 1,
        start_time: Timestamp::UNIX_EPOCH,
    }
}
