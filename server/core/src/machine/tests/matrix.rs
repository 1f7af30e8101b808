//! The matrix of the design's section 5: what an execution is, times what becomes of its shim, times how long ago, makes the
//! decision. One line for each; what the verdicts rest on beyond one execution is in `work/verdicts.rs`.

use rekindle::execution::{AttemptPhase, ExecutionState, Verdict};
use rekindle::id::BootId;

use super::work::{ReportFactOf, id, worker};
use super::*;

/// What the server has of the execution `e`, of which its shim has the attempt `e#1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Dispatched,
    Accepted,
    Running,
    /// RUNNING, and somebody has cancelled it.
    Cancelling,
    /// RUNNING, and was told to end as it is past its time.
    OutOfTime,
    Lost,
    /// LOST past its time.
    LostOutOfTime,
    /// LOST, and given again as e#2.
    GivenAgain,
    /// CANCELLED, with no word of the shim's.
    CancelledUnseen,
    Succeeded,
    /// The server's store was set back to when it was QUEUED.
    SetBackToQueued,
    /// The server's store was set back to before it was made.
    SetBack,
    /// The same, and its name is that of another execution since, which is QUEUED.
    MadeAgain,
}

/// What becomes of the shim from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shim {
    /// Its stream stays open, and it says nothing.
    Stays,
    /// Its stream is gone.
    Away,
    /// It is back, and has e#1 in this phase.
    BackWith(AttemptPhase),
    /// It is back, and does not have it.
    BackWithout,
    /// It is back after a reboot of its host, and has nothing.
    Rebooted,
    /// It is back with the true result of e#1.
    BackWithResult,
}

const BEFORE: [Before; 13] = [
    Before::Dispatched,
    Before::Accepted,
    Before::Running,
    Before::Cancelling,
    Before::OutOfTime,
    Before::Lost,
    Before::LostOutOfTime,
    Before::GivenAgain,
    Before::CancelledUnseen,
    Before::Succeeded,
    Before::SetBackToQueued,
    Before::SetBack,
    Before::MadeAgain,
];

const SHIMS: [Shim; 8] = [
    Shim::Stays,
    Shim::Away,
    Shim::BackWith(AttemptPhase::Accepted),
    Shim::BackWith(AttemptPhase::Running),
    Shim::BackWith(AttemptPhase::Ending),
    Shim::BackWithout,
    Shim::Rebooted,
    Shim::BackWithResult,
];

/// Executions that are RUNNING beside it, so that it is no mass by itself.
const BESIDE: [&str; 2] = ["x", "y"];

impl World {
    fn before(before: Before) -> Self {
        let mut world = Self::at_work(|p| {
            p.max_concurrent = 3;
            p.message_timeout = Duration::from_secs(3600);
            p.blocked_limit = Duration::from_secs(1);
            p.max_deliveries = if before == Before::GivenAgain { 2 } else { 1 };
        });
        for execution in BESIDE {
            world.send(execution);
            world.start(execution, 1);
        }
        world.send_with("e", |create| match before {
            Before::OutOfTime | Before::LostOutOfTime => create.timeout = Some(Duration::from_secs(1)),
            Before::Dispatched
            | Before::Accepted
            | Before::Running
            | Before::Cancelling
            | Before::Lost
            | Before::GivenAgain
            | Before::CancelledUnseen
            | Before::Succeeded
            | Before::SetBackToQueued
            | Before::SetBack
            | Before::MadeAgain => {}
        });
        match before {
            Before::Dispatched => {}
            Before::Accepted => world.accept("e", 1),
            Before::Running => world.start("e", 1),
            Before::Cancelling => {
                world.start("e", 1);
                world.cancel("e");
            }
            Before::OutOfTime => {
                world.start("e", 1);
                world.pass(17);
            }
            Before::Lost | Before::GivenAgain => {
                world.start("e", 1);
                world.back(&[], Vec::new());
                world.pass(11);
            }
            Before::LostOutOfTime => {
                world.start("e", 1);
                world.pass(17);
                world.back(&[], Vec::new());
                world.pass(11);
            }
            Before::CancelledUnseen => {
                world.start("e", 1);
                world.back(&[], Vec::new());
                world.cancel("e");
                world.pass(11);
            }
            Before::Succeeded => {
                world.start("e", 1);
                world.finish("e", 1, ReportFactOf(Verdict::Succeeded, ""));
            }
            Before::SetBackToQueued => {
                world.start("e", 1);
                let mut records = world.records.executions.iter_mut();
                let record = records.find(|record| record.id == id("e")).expect("it is kept");
                (record.state, record.attempt, record.given_to) = (ExecutionState::Queued, 0, None);
                world.restart_server();
                world.pass(60);
            }
            Before::SetBack | Before::MadeAgain => {
                world.start("e", 1);
                world.records.executions.retain(|record| record.id != id("e"));
                world.restart_server();
                world.pass(60);
                if before == Before::MadeAgain {
                    world.send("e");
                }
            }
        }
        world.told();
        world.effects.clear();
        world
    }

    fn becomes(&mut self, shim: Shim) {
        match shim {
            Shim::Stays => {}
            Shim::Away => self.disconnect(),
            Shim::BackWith(phase) => self.back(&[("e", 1, phase)], Vec::new()),
            Shim::BackWithout => self.back(&[], Vec::new()),
            Shim::Rebooted => {
                self.disconnect();
                // A boot is over once nobody is heard in it.
                self.pass(20);
                let mut rebooted = worker(|_| ());
                rebooted.instance = ShimInstance::from_u128(2);
                rebooted.host.boot_id = BootId::from_u128(2);
                let inventory = Inventory {
                    last_incarnation: Incarnation::new(1),
                    ..Inventory::default()
                };
                self.connect_with(rebooted, inventory);
                self.spawn(2);
            }
            Shim::BackWithResult => {
                let end = ReportFactOf(Verdict::Succeeded, "42").of(self.attempt("e", 1));
                let report = self.numbered(1, end);
                self.back(&[], vec![report]);
            }
        }
    }

    /// What `e` is by now, and what was done since it was last asked.
    fn cell(&mut self) -> String {
        let record = self.machine.executions().find(|record| record.id == id("e"));
        let mut cell = record.map_or("unknown".to_owned(), |record| record.state.to_string());
        let of_e = |attempt: &String| attempt.starts_with('e');
        cell.extend(
            self.dispatched()
                .iter()
                .filter(|a| of_e(a))
                .map(|a| format!(", {a} is given")),
        );
        cell.extend(
            self.ends()
                .iter()
                .filter(|a| of_e(a))
                .map(|a| format!(", {a} is to end")),
        );
        let is_cut = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
        if self.effects.iter().any(is_cut) {
            cell += ", the stream is cut";
        }
        if self.told().contains("EXECUTION_DISOWNED") {
            cell += ", an event says so";
        }
        self.effects.clear();
        cell
    }

    /// The same shim is back, with what goes on beside `e`.
    fn back(&mut self, held: &[(&str, u32, AttemptPhase)], reports: Vec<Report>) {
        let beside = BESIDE.map(|execution| (execution, 1, AttemptPhase::Running));
        self.disconnect();
        self.back_with_reports(&[&beside, held].concat(), reports);
    }
}

#[test]
fn the_matrix() {
    let mut table = Vec::new();
    for before in BEFORE {
        for shim in SHIMS {
            let restarted = matches!(before, Before::SetBack | Before::SetBackToQueued | Before::MadeAgain);
            if restarted && shim == Shim::Stays {
                continue;
            }
            let mut world = World::before(before);
            world.becomes(shim);
            let mut row = format!("{:16} {:19}", format!("{before:?}"), format!("{shim:?}"));
            let mut state = String::new();
            for (when, wait) in [("", 0), ("in 11 s: ", 11), ("in 71 s: ", 60)] {
                world.pass(wait);
                let cell = world.cell();
                if cell != state {
                    row += &format!(" {when}{cell};");
                    state = cell.split(',').take(1).collect();
                }
            }
            table.push(row);
        }
    }
    insta::assert_snapshot!(table.join("\n"), @"
    Dispatched       Stays               DISPATCHED; in 71 s: DISPATCHED, the stream is cut;
    Dispatched       Away                DISPATCHED;
    Dispatched       BackWith(Accepted)  ACCEPTED;
    Dispatched       BackWith(Running)   RUNNING;
    Dispatched       BackWith(Ending)    ACCEPTED;
    Dispatched       BackWithout         DISPATCHED, e#1 is given; in 71 s: DISPATCHED, the stream is cut;
    Dispatched       Rebooted            DISPATCHED; in 11 s: LOST;
    Dispatched       BackWithResult      SUCCEEDED;
    Accepted         Stays               ACCEPTED;
    Accepted         Away                ACCEPTED;
    Accepted         BackWith(Accepted)  ACCEPTED;
    Accepted         BackWith(Running)   RUNNING;
    Accepted         BackWith(Ending)    ACCEPTED;
    Accepted         BackWithout         ACCEPTED; in 11 s: LOST;
    Accepted         Rebooted            ACCEPTED; in 11 s: LOST;
    Accepted         BackWithResult      SUCCEEDED;
    Running          Stays               RUNNING;
    Running          Away                RUNNING;
    Running          BackWith(Accepted)  RUNNING;
    Running          BackWith(Running)   RUNNING;
    Running          BackWith(Ending)    RUNNING;
    Running          BackWithout         RUNNING; in 11 s: LOST;
    Running          Rebooted            RUNNING; in 11 s: LOST;
    Running          BackWithResult      SUCCEEDED;
    Cancelling       Stays               RUNNING; in 71 s: RUNNING, e#1 is to end;
    Cancelling       Away                RUNNING;
    Cancelling       BackWith(Accepted)  RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    Cancelling       BackWith(Running)   RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    Cancelling       BackWith(Ending)    RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    Cancelling       BackWithout         RUNNING; in 11 s: CANCELLED;
    Cancelling       Rebooted            RUNNING; in 11 s: CANCELLED;
    Cancelling       BackWithResult      SUCCEEDED;
    OutOfTime        Stays               RUNNING; in 71 s: RUNNING, e#1 is to end;
    OutOfTime        Away                RUNNING;
    OutOfTime        BackWith(Accepted)  RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    OutOfTime        BackWith(Running)   RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    OutOfTime        BackWith(Ending)    RUNNING, e#1 is to end; in 71 s: RUNNING, e#1 is to end;
    OutOfTime        BackWithout         RUNNING; in 11 s: LOST;
    OutOfTime        Rebooted            RUNNING; in 11 s: LOST;
    OutOfTime        BackWithResult      SUCCEEDED;
    Lost             Stays               LOST;
    Lost             Away                LOST;
    Lost             BackWith(Accepted)  LOST;
    Lost             BackWith(Running)   LOST;
    Lost             BackWith(Ending)    LOST;
    Lost             BackWithout         LOST;
    Lost             Rebooted            LOST;
    Lost             BackWithResult      SUCCEEDED;
    LostOutOfTime    Stays               LOST;
    LostOutOfTime    Away                LOST;
    LostOutOfTime    BackWith(Accepted)  LOST, e#1 is to end;
    LostOutOfTime    BackWith(Running)   LOST, e#1 is to end;
    LostOutOfTime    BackWith(Ending)    LOST, e#1 is to end;
    LostOutOfTime    BackWithout         LOST;
    LostOutOfTime    Rebooted            LOST;
    LostOutOfTime    BackWithResult      SUCCEEDED;
    GivenAgain       Stays               DISPATCHED; in 71 s: DISPATCHED, the stream is cut;
    GivenAgain       Away                DISPATCHED;
    GivenAgain       BackWith(Accepted)  QUEUED, e#1 is to end, an event says so;
    GivenAgain       BackWith(Running)   QUEUED, e#1 is to end, an event says so;
    GivenAgain       BackWith(Ending)    QUEUED, e#1 is to end, an event says so;
    GivenAgain       BackWithout         DISPATCHED, e#2 is given; in 71 s: DISPATCHED, the stream is cut;
    GivenAgain       Rebooted            DISPATCHED; in 11 s: LOST;
    GivenAgain       BackWithResult      DISPATCHED, e#2 is given, an event says so; in 71 s: DISPATCHED, the stream is cut;
    CancelledUnseen  Stays               CANCELLED;
    CancelledUnseen  Away                CANCELLED;
    CancelledUnseen  BackWith(Accepted)  CANCELLED, e#1 is to end, an event says so;
    CancelledUnseen  BackWith(Running)   CANCELLED, e#1 is to end, an event says so;
    CancelledUnseen  BackWith(Ending)    CANCELLED, e#1 is to end, an event says so;
    CancelledUnseen  BackWithout         CANCELLED;
    CancelledUnseen  Rebooted            CANCELLED;
    CancelledUnseen  BackWithResult      CANCELLED, an event says so;
    Succeeded        Stays               SUCCEEDED;
    Succeeded        Away                SUCCEEDED;
    Succeeded        BackWith(Accepted)  SUCCEEDED, e#1 is to end, an event says so;
    Succeeded        BackWith(Running)   SUCCEEDED, e#1 is to end, an event says so;
    Succeeded        BackWith(Ending)    SUCCEEDED, e#1 is to end, an event says so;
    Succeeded        BackWithout         SUCCEEDED;
    Succeeded        Rebooted            SUCCEEDED;
    Succeeded        BackWithResult      SUCCEEDED;
    SetBackToQueued  Away                QUEUED;
    SetBackToQueued  BackWith(Accepted)  ACCEPTED;
    SetBackToQueued  BackWith(Running)   RUNNING;
    SetBackToQueued  BackWith(Ending)    ACCEPTED;
    SetBackToQueued  BackWithout         DISPATCHED, e#1 is given; in 71 s: DISPATCHED, the stream is cut;
    SetBackToQueued  Rebooted            QUEUED; in 11 s: DISPATCHED, e#1 is given; in 71 s: DISPATCHED, the stream is cut;
    SetBackToQueued  BackWithResult      SUCCEEDED;
    SetBack          Away                unknown;
    SetBack          BackWith(Accepted)  unknown; in 11 s: unknown, e#1 is to end, an event says so;
    SetBack          BackWith(Running)   unknown; in 11 s: unknown, e#1 is to end, an event says so;
    SetBack          BackWith(Ending)    unknown; in 11 s: unknown, e#1 is to end, an event says so;
    SetBack          BackWithout         unknown;
    SetBack          Rebooted            unknown;
    SetBack          BackWithResult      unknown, an event says so;
    MadeAgain        Away                QUEUED;
    MadeAgain        BackWith(Accepted)  QUEUED; in 11 s: QUEUED, e#1 is to end, an event says so;
    MadeAgain        BackWith(Running)   QUEUED; in 11 s: QUEUED, e#1 is to end, an event says so;
    MadeAgain        BackWith(Ending)    QUEUED; in 11 s: QUEUED, e#1 is to end, an event says so;
    MadeAgain        BackWithout         DISPATCHED, e#1 is given; in 71 s: DISPATCHED, the stream is cut;
    MadeAgain        Rebooted            QUEUED; in 11 s: DISPATCHED, e#1 is given; in 71 s: DISPATCHED, the stream is cut;
    MadeAgain        BackWithResult      DISPATCHED, e#1 is given, an event says so; in 71 s: DISPATCHED, the stream is cut;
    ");
}
