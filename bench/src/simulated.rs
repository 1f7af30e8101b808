//! A shim without processes: a TCP connection and a stream of its own, on which it speaks the real protocol from hello to
//! heartbeats, pings and reports. What it is given to do is done at once.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::session::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use rekindle::wire::v1;
use rekindle::wire::v1::shim_service_client::ShimServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use uuid::Uuid;
use v1::connect_request::Message as ToServer;
use v1::connect_response::Message as FromServer;
use v1::report::Fact;

/// Messages of one shim on their way: the three reports of an execution, and a beat.
const OUTBOX_MAX: usize = 4;

/// What a shim tells its bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Milestone {
    /// Its agent is RUNNING, durably, and it beats once per this interval.
    Running(Duration),
    /// This execution, by its id, is over, durably.
    Over(String),
}

/// A shim that was welcomed.
#[derive(Debug)]
pub struct Simulated {
    out: mpsc::Sender<v1::ConnectRequest>,
    inbound: Streaming<v1::ConnectResponse>,
    heartbeat: Duration,
    boot_id: String,
    delivery: v1::Delivery,
    incarnation: u64,
    /// Its newest report.
    sequence: u64,
    /// What it waits for to be acknowledged, by the report that tells it.
    told: VecDeque<(u64, Milestone)>,
}

impl Simulated {
    /// Connects for an agent that takes messages in this way.
    ///
    /// # Errors
    /// The server does not answer, or refuses it.
    pub async fn open(url: &str, agent: &str, delivery: v1::Delivery) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .context("cannot connect")?;
        let (out, outbox) = mpsc::channel(OUTBOX_MAX);
        let boot_id = Uuid::new_v4().to_string();
        out.send(request(ToServer::Hello(Box::new(hello(agent, &boot_id, delivery)))))
            .await?;
        let response = ShimServiceClient::new(channel)
            .connect(ReceiverStream::new(outbox))
            .await;
        let mut inbound = response.context("the server refused a shim")?.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(FromServer::Welcome(welcome)) = first else {
            bail!("the server's first message is {first:?}, not a welcome");
        };
        let heartbeat = welcome
            .heartbeat_interval
            .and_then(|interval| Duration::try_from(interval).ok());
        Ok(Self {
            out,
            inbound,
            heartbeat: heartbeat.context("a welcome without an interval")?,
            boot_id,
            delivery,
            incarnation: 0,
            sequence: 0,
            told: VecDeque::new(),
        })
    }

    /// Starts a child in name when told to, does every execution in name, and beats. Tells `bench` what is durable.
    ///
    /// # Errors
    /// The stream has ended, or the bench. It returns with nothing else.
    pub async fn live(mut self, bench: mpsc::Sender<Milestone>) -> anyhow::Result<()> {
        self.say(ToServer::Inventory(Box::default())).await?;
        // Spread over the interval, as shims are whose hosts did not start at once.
        let first = self.heartbeat.mul_f64(any_fraction());
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + first, self.heartbeat);
        loop {
            tokio::select! {
                _ = beat.tick() => self.say(ToServer::Heartbeat(v1::Heartbeat {})).await?,
                message = self.inbound.message() => match message?.and_then(|message| message.message) {
                    Some(FromServer::Run(run)) => self.start(run.incarnation).await?,
                    Some(FromServer::Dispatch(dispatch)) => self.work(dispatch.attempt).await?,
                    Some(FromServer::Acknowledge(through)) => self.acknowledged(through.sequence, &bench).await?,
                    Some(
                        FromServer::Welcome(_)
                        | FromServer::Stop(_)
                        | FromServer::Signal(_)
                        | FromServer::Follow(_)
                        | FromServer::CheckpointKept(_)
                        | FromServer::SetPolicy(_)
                        | FromServer::Charge(_)
                        | FromServer::EndAttempt(_),
                    ) => {}
                    None => bail!("the server ended the stream"),
                },
            }
        }
    }

    async fn start(&mut self, incarnation: u64) -> anyhow::Result<()> {
        self.incarnation = incarnation;
        let process = (self.delivery != v1::Delivery::PerMessage).then(|| process(&self.boot_id));
        self.report(Fact::Spawned(v1::Spawned { process })).await?;
        self.report(Fact::Ready(v1::Ready {})).await?;
        self.told.push_back((self.sequence, Milestone::Running(self.heartbeat)));
        Ok(())
    }

    /// Accepts, begins and ends it, all at once.
    async fn work(&mut self, attempt: Option<v1::Attempt>) -> anyhow::Result<()> {
        let execution = attempt.clone().context("a dispatch names no attempt")?.execution;
        let (accepted, started) = (attempt.clone(), attempt.clone());
        self.report(Fact::AttemptAccepted(v1::AttemptAccepted { attempt: accepted }))
            .await?;
        self.report(Fact::AttemptStarted(v1::AttemptStarted {
            attempt: started,
            process: None,
        }))
        .await?;
        self.report(Fact::AttemptFinished(Box::new(v1::AttemptFinished {
            attempt,
            verdict: v1::Verdict::Succeeded.into(),
            ..Default::default()
        })))
        .await?;
        self.told.push_back((self.sequence, Milestone::Over(execution)));
        Ok(())
    }

    async fn acknowledged(&mut self, through: u64, bench: &mpsc::Sender<Milestone>) -> anyhow::Result<()> {
        while self.told.front().is_some_and(|(sequence, _)| *sequence <= through) {
            if let Some((_, milestone)) = self.told.pop_front() {
                bench.send(milestone).await.context("the bench has ended")?;
            }
        }
        Ok(())
    }

    async fn report(&mut self, fact: Fact) -> anyhow::Result<()> {
        self.sequence += 1;
        let report = v1::Report {
            sequence: self.sequence,
            time: Some(std::time::SystemTime::now().into()),
            incarnation: self.incarnation,
            fact: Some(fact),
        };
        self.say(ToServer::Report(Box::new(report))).await
    }

    async fn say(&self, message: ToServer) -> anyhow::Result<()> {
        self.out.send(request(message)).await.context("the stream has ended")
    }
}

fn request(message: ToServer) -> v1::ConnectRequest {
    v1::ConnectRequest { message: Some(message) }
}

fn hello(agent: &str, boot_id: &str, delivery: v1::Delivery) -> v1::Hello {
    v1::Hello {
        agent: agent.to_owned(),
        shim_version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: Uuid::new_v4().to_string(),
        host: Some(v1::Host {
            name: format!("host-of-{}", agent.trim_start_matches("agents/")),
            machine_id: Uuid::new_v4().simple().to_string(),
            boot_id: boot_id.to_owned(),
        }),
        marker: Uuid::new_v4().to_string(),
        policy: Some(v1::AgentPolicy::default()),
        delivery: delivery.into(),
        ..Default::default()
    }
}

/// An identity that no process has: the server never looks for it.
fn process(boot_id: &str) -> v1::Process {
    v1::Process {
        boot_id: boot_id.to_owned(),
        pid: 4242,
        pidfd_inode: 424_242,
        start_time_ticks: 424_242,
        start_time: Some(std::time::SystemTime::now().into()),
        ..Default::default()
    }
}

/// Between 0 and 1.
fn any_fraction() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The lower half of these bits holds the version, the upper half is random.
    (high >> 32) as f64 / f64::from(u32::MAX)
}
