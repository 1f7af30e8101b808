//! Tables of what a supervisor does, and a world in which it does anything.

mod alone;
mod checkpoints;
mod ending;
mod inheriting;
mod leaving;
mod linked;
mod resuming;
mod watching;
mod words;
mod work;
mod world;

use std::time::Duration;

use rekindle::checkpoint::HeldCheckpoint;
use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::host::Host;
use rekindle::id::{AgentId, BootId, Epoch, Incarnation, Marker, ReportSequence, ShimInstance};
use rekindle::launch::{Launch, LaunchFields};
use rekindle::policy::{AgentPolicy, PolicyFields};
use rekindle::process::ProcessIdentity;
use rekindle::report::{Report, ReportFact, Survivor};
use rekindle::session::{Command, CommandId, ShimMessage, Welcome};
use rekindle::time::{MonoTime, Now, Timestamp};

use super::{AsksToSave, Directory, OnShimExit, Readiness, Settings, Supervisor};
use crate::effect::{CheckpointAnswer, CheckpointRefused, Effect, Outcome, Outlives};
use crate::input::{Input, Moment, Notice, Remains, Sample};
use crate::journal::{Journal, JournalLaunch};
use crate::tree::TreeId;

pub(super) const BOOT: BootId = BootId::from_u128(7);

pub(super) const fn n(number: u64) -> Incarnation {
    Incarnation::new(number)
}

pub(super) const fn life(number: u64) -> TreeId {
    TreeId::Life(n(number))
}

pub(super) const fn seq(number: u64) -> ReportSequence {
    ReportSequence::new(number)
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of a shim with these [`settings`], which has run its program before.
pub(super) fn journal() -> Journal {
    let launch = JournalLaunch {
        launch: Launch::new(LaunchFields {
            directory: "/".into(),
            ..LaunchFields::default()
        }),
        directory: Some("/".into()),
        instead_of: None,
    };
    Journal {
        launch: Some(launch),
        ..Journal::new(AgentId::new("a").expect("valid"), Marker::from_u128(1), BOOT)
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        shim_version: "0".into(),
        instance: ShimInstance::from_u128(2),
        host: Host {
            name: "h".into(),
            machine_id: None,
            boot_id: BOOT,
        },
        labels: std::collections::BTreeMap::new(),
        policy: AgentPolicy::default(),
        fence_after: None,
        delivery: rekindle::execution::Delivery::None,
        readiness: Readiness::Exec,
        on_shim_exit: OnShimExit::Kill,
        asks_to_save: AsksToSave::BySignal,
        launch: LaunchFields::default(),
        directory: Directory::Shims("/".into()),
    }
}

pub(super) fn process(incarnation: u64) -> ProcessIdentity {
    ProcessIdentity {
        boot_id: BOOT,
        pid: u32::try_from(100 + incarnation).expect("small"),
        pidfd_inode: Some(incarnation),
        start_time_ticks: 1,
        start_time: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn remains() -> Remains {
    Remains {
        status: ExitStatus::Exited(3),
        oom_killed: false,
        user_time: secs(0),
        system_time: secs(0),
        max_rss_kib: 0,
        stderr_tail: "oops".into(),
        stdout_tail: String::new(),
        output: rekindle::execution::Output::default(),
    }
}

pub(super) fn run(incarnation: u64) -> Input {
    Input::Commanded(
        CommandId(1),
        Command::Run {
            incarnation: n(incarnation),
            grace: None,
            context: rekindle::checkpoint::RunContext::default(),
        },
    )
}

pub(super) fn stop(incarnation: u64, grace: Option<Duration>) -> Input {
    Input::Commanded(
        CommandId(2),
        Command::Stop {
            incarnation: n(incarnation),
            grace,
        },
    )
}

pub(super) fn spawned(incarnation: u64) -> Input {
    Input::Spawned {
        incarnation: n(incarnation),
        process: process(incarnation),
    }
}

pub(super) fn exited(incarnation: u64) -> Input {
    Input::ChildExited {
        tree: life(incarnation),
    }
}

pub(super) fn gone(incarnation: u64) -> Input {
    Input::TreeGone {
        tree: life(incarnation),
        remains: remains(),
    }
}

pub(super) fn survived(incarnation: u64) -> Input {
    survivors_of(life(incarnation))
}

pub(super) fn survivors_of(tree: TreeId) -> Input {
    let survivors = vec![survivor(5)];
    Input::TreeSurvived { tree, survivors }
}

pub(super) fn survivor(pid: u32) -> Survivor {
    Survivor {
        pid,
        pidfd_inode: Some(70),
        start_time_ticks: 700,
        command: "stuck".into(),
    }
}

/// A supervisor with its clocks, and shorthand for what it wants.
pub(super) struct Bench {
    pub(super) supervisor: Supervisor,
    pub(super) at: Moment,
    /// The commands that were confirmed; apart from the rest, as most of what is tested does not turn on it.
    pub(super) confirmed: Vec<u64>,
}

impl Bench {
    pub(super) fn new(settings: Settings, journal: Journal) -> (Self, Vec<String>) {
        let at = Moment {
            now: Now {
                mono: MonoTime::START,
                wall: Timestamp::UNIX_EPOCH,
            },
            since_boot: secs(1000),
        };
        let (supervisor, outcome) = Supervisor::recover(settings, journal, None, at);
        let mut bench = Self {
            supervisor,
            at,
            confirmed: Vec::new(),
        };
        let shown = bench.shown(outcome);
        (bench, shown)
    }

    /// Connected, with nothing to run.
    pub(super) fn linked(policy: impl FnOnce(&mut PolicyFields)) -> Self {
        let mut fields = PolicyFields::default();
        policy(&mut fields);
        let policy = AgentPolicy::new(fields).expect("valid");
        let (mut bench, shown) = Self::new(Settings { policy, ..settings() }, journal());
        assert_eq!(shown, ["write", "connect"]);
        bench.link(0);
        bench
    }

    /// Connected, with a life that runs and is acknowledged.
    pub(super) fn running(incarnation: u64) -> Self {
        let mut bench = Self::linked(|_| ());
        bench.does(run(incarnation), &["write", "spawn"]);
        bench.does(spawned(incarnation), &["write", "say 1 spawned", "say 2 ready"]);
        bench.does(Input::Acknowledged(seq(2)), &[]);
        bench
    }

    /// Opens a stream and welcomes; returns what was said besides Hello.
    pub(super) fn link(&mut self, acknowledged: u64) -> Vec<String> {
        let hello = self.step(Input::LinkOpened);
        assert_eq!(hello, ["hello"]);
        self.step(self.welcome(acknowledged))
    }

    /// Opens a stream, and is welcomed with everything through this report acknowledged.
    #[track_caller]
    pub(super) fn links(&mut self, acknowledged: u64, expected: &[&str]) {
        assert_eq!(self.link(acknowledged), expected);
    }

    pub(super) fn welcome(&self, acknowledged: u64) -> Input {
        Input::Welcomed(Box::new(Welcome {
            epoch: Epoch::new(1),
            heartbeat_interval: secs(5),
            policy: self.supervisor.policy().clone(),
            acknowledged: seq(acknowledged),
            standing: String::new(),
            checkpoints: rekindle::session::CheckpointStock::NotTaken,
        }))
    }

    pub(super) fn step(&mut self, input: Input) -> Vec<String> {
        let outcome = self.supervisor.step(self.at, input);
        self.supervisor.check().expect("sound");
        self.shown(outcome)
    }

    #[track_caller]
    pub(super) fn does(&mut self, input: Input, expected: &[&str]) {
        let text = format!("{input:?}");
        assert_eq!(self.step(input), expected, "after {text}");
    }

    /// Lets time pass up to the deadline.
    #[track_caller]
    pub(super) fn does_after(&mut self, wait: Duration, expected: &[&str]) {
        self.pass(wait);
        self.does(Input::Tick, expected);
    }

    pub(super) fn pass(&mut self, wait: Duration) {
        self.at.now.mono = self.at.now.mono.saturating_add(wait);
        self.at.since_boot += wait;
    }

    pub(super) fn waits(&self) -> Option<Duration> {
        self.supervisor
            .deadline()
            .map(|(at, _)| at.saturating_since(self.at.now.mono))
    }

    fn shown(&mut self, outcome: Outcome) -> Vec<String> {
        let written = outcome.persist.map(|journal| {
            let text = serde_json::to_string(&journal).expect("a journal is JSON");
            assert_eq!(serde_json::from_str::<Journal>(&text).expect("reads back"), journal);
            match outcome.outlives {
                Outlives::TheShim => "write".to_owned(),
                Outlives::TheBoot => "write and sync".to_owned(),
            }
        });
        let (confirmed, others): (Vec<Effect>, Vec<Effect>) = outcome
            .then
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Send(ShimMessage::Confirmed(_))));
        self.confirmed.extend(confirmed.iter().filter_map(confirmation));
        written.into_iter().chain(others.iter().map(show)).collect()
    }
}

fn confirmation(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Send(ShimMessage::Confirmed(CommandId(id))) => Some(*id),
        Effect::Send(_)
        | Effect::Sweep { .. }
        | Effect::Adopt { .. }
        | Effect::Upgrade
        | Effect::Connect
        | Effect::Reconnect
        | Effect::GiveUp
        | Effect::Spawn { .. }
        | Effect::SignalTree { .. }
        | Effect::KillTree { .. }
        | Effect::AwaitTree { .. }
        | Effect::Probe { .. }
        | Effect::NameSurvivors { .. }
        | Effect::SignalChild { .. }
        | Effect::SpawnAttempt { .. }
        | Effect::Give { .. }
        | Effect::Feed { .. }
        | Effect::ShowProgress { .. }
        | Effect::Answer { .. }
        | Effect::WriteCheckpoint(_)
        | Effect::RunCheckpointCommand { .. }
        | Effect::EndCheckpointCommand { .. }
        | Effect::AnswerCheckpoint { .. }
        | Effect::Exit(_) => None,
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Sweep { child: Some(process) } => format!("sweep {process}"),
        Effect::Sweep { child: None } => "sweep".into(),
        Effect::Adopt { child, .. } => format!("adopt {child}"),
        Effect::Upgrade => "upgrade".into(),
        Effect::Connect => "connect".into(),
        Effect::Reconnect => "reconnect".into(),
        Effect::GiveUp => "give up".into(),
        Effect::Spawn { .. } => "spawn".into(),
        Effect::SignalTree { tree, signal } => format!("signal {} {}", show_tree(tree), signal.as_str()),
        Effect::KillTree { tree } => format!("kill {}", show_tree(tree)),
        Effect::AwaitTree { tree } => format!("await {}", show_tree(tree)),
        Effect::Probe { .. } => "probe".into(),
        Effect::NameSurvivors { tree } => match tree {
            TreeId::Life(_) => "name survivors".into(),
            TreeId::Attempt(attempt) => format!("name survivors of {attempt}"),
        },
        Effect::SpawnAttempt { attempt, message, .. } => format!("run {attempt} {message:?}"),
        Effect::Give { request, attempt, .. } => format!("give {attempt} to {}", request.0),
        Effect::Feed { attempt, message, .. } => format!("feed {attempt} {message:?}"),
        Effect::ShowProgress { attempt, text } => format!("show {attempt} {text:?}"),
        Effect::Answer { request, answer } => format!("answer {} {answer:?}", request.0),
        Effect::SignalChild { signal, .. } => format!("signal child {signal}"),
        Effect::WriteCheckpoint(held) => format!("write {}", show_held(held)),
        Effect::EndCheckpointCommand { .. } => "end the checkpoint command".into(),
        Effect::RunCheckpointCommand { within, .. } => format!("run the checkpoint command for {within:?}"),
        Effect::AnswerCheckpoint { request, answer } => format!("answer {} {}", request.0, show_answer(answer)),
        Effect::Exit(code) => format!("exit {code:?}"),
        Effect::Send(ShimMessage::Report(report)) => format!("say {}", show_report(report)),
        Effect::Send(ShimMessage::Hello(_)) => "hello".into(),
        Effect::Send(ShimMessage::Inventory(inventory)) => {
            let child = inventory
                .child
                .as_ref()
                .map(|child| (child.incarnation.get(), child.phase));
            let reports: Vec<String> = inventory.reports.iter().map(show_report).collect();
            format!("has {} {child:?} {reports:?}", inventory.last_incarnation)
        }
        Effect::Send(ShimMessage::Goodbye) => "goodbye".into(),
        Effect::Send(ShimMessage::Confirmed(_)) => "confirmed".to_owned(),
        Effect::Send(ShimMessage::SignalResult(_, Ok(process))) => format!("signalled {process}"),
        Effect::Send(ShimMessage::SignalResult(_, Err(why))) => format!("not signalled: {why}"),
        Effect::Send(ShimMessage::Activity(activity)) => format!("does {:?} {:?}", activity.state, activity.status),
        Effect::Send(ShimMessage::Heartbeat) => "heartbeat".into(),
        Effect::Send(ShimMessage::Output(_)) => "output".into(),
        Effect::Send(ShimMessage::Checkpoint(held)) => format!("holds {}", show_held(held)),
    }
}

fn show_held(held: &HeldCheckpoint) -> String {
    let unclean = if held.flags.unclean { " unclean" } else { "" };
    let in_flight: Vec<&str> = held
        .flags
        .in_flight
        .iter()
        .map(|execution| execution.as_str())
        .collect();
    format!("{} {:?}{unclean} {in_flight:?}", held.checkpoint.id, held.standing)
}

fn show_answer(answer: &Result<CheckpointAnswer, CheckpointRefused>) -> String {
    match answer {
        Ok(CheckpointAnswer::Saved(id)) => format!("saved {id}"),
        Ok(CheckpointAnswer::Loaded(Some(held))) => format!("loaded {}", show_held(held)),
        Ok(CheckpointAnswer::Loaded(None)) => "loaded nothing".to_owned(),
        Ok(CheckpointAnswer::Done) => "done".to_owned(),
        Err(refused) => format!("{refused:?}"),
    }
}

fn show_tree(tree: &TreeId) -> String {
    match tree {
        TreeId::Life(_) => "tree".into(),
        TreeId::Attempt(attempt) => format!("tree of {attempt}"),
    }
}

fn show_report(report: &Report) -> String {
    let fact = match &report.fact {
        ReportFact::Recovering { attempts } => format!("recovering {attempts}"),
        ReportFact::Spawned(_) => "spawned".to_owned(),
        ReportFact::MainProcess(process) => format!("main {process}"),
        ReportFact::Ready => "ready".to_owned(),
        ReportFact::Stopping => "stopping".to_owned(),
        ReportFact::Exited(evidence) => match evidence.ended_by {
            EndedBy::Itself => "exited".to_owned(),
            by @ (EndedBy::Command
            | EndedBy::ShimStop
            | EndedBy::StartTimeout
            | EndedBy::Fence
            | EndedBy::Watchdog
            | EndedBy::Stall
            | EndedBy::ShimDeath
            | EndedBy::MessageTimeout
            | EndedBy::MessageCancel) => {
                format!("exited by {by:?}")
            }
        },
        ReportFact::SpawnFailed(_) => "spawn failed".to_owned(),
        ReportFact::Survived(_) => "survived".to_owned(),
        ReportFact::AttemptAccepted(attempt) => format!("accepted {attempt}"),
        ReportFact::AttemptStarted(attempt, _) => format!("started {attempt}"),
        ReportFact::AttemptSurvived(attempt, _) => format!("survived {attempt}"),
        ReportFact::AttemptFinished(attempt, result) => format!("finished {attempt} {:?}", result.verdict),
        ReportFact::HandedOver(id) => format!("handed {id} over"),
        ReportFact::CheckpointRead(id) => format!("read {id}"),
        ReportFact::CheckpointConfirmed(id) => format!("confirmed {id}"),
    };
    format!("{} {fact}", report.sequence)
}
