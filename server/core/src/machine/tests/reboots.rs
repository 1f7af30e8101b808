//! Reboots: of one host at once, whoever of its shims comes up, and whoever does not.

use rekindle::launch::{Launch, LaunchFields};
use rekindle::policy::RebootPolicy;

use super::*;
use crate::effect::Refusal;
use crate::host::HostRecord;
use crate::record::StateReason;

/// The hello of the shim of one of several agents on one host, in one boot.
fn hello_in(boot: u128, agent: &str) -> Hello {
    let number = u128::from(agent.as_bytes()[0]);
    let mut hello = hello(agent, 1000 * boot + number);
    hello.host.boot_id = BootId::from_u128(boot);
    hello.marker = Marker::from_u128(number);
    hello.launch = Some(Launch::new(LaunchFields {
        directory: format!("/srv/{agent}"),
        ..LaunchFields::default()
    }));
    hello
}

impl World {
    /// One incarnation of each agent runs, under a shim of its own, in boot 1.
    fn with_agents(agents: &[&str]) -> Self {
        let mut world = Self::new();
        for agent in agents {
            world.arrive(hello_in(1, agent));
            world.spawn(1);
        }
        world.told();
        world.commands();
        world
    }

    /// As [`World::connect`], of a shim whose reports are numbered from the start.
    fn arrive(&mut self, hello: Hello) {
        self.arrive_after(0, hello);
    }

    /// As [`World::arrive`], of a shim whose state directory has spawned this many lives.
    fn arrive_after(&mut self, lives: u64, hello: Hello) {
        self.sequence = 0;
        let inventory = Inventory {
            last_incarnation: Incarnation::new(lives),
            ..Inventory::default()
        };
        self.connect_with(hello, inventory);
    }

    /// The host loses its power: streams end one after the other, from the first to the last.
    fn power_loss(&mut self) {
        let open: Vec<SessionId> = self.machine.sessions.keys().copied().collect();
        for session in open {
            let last_heard = self.now.mono;
            self.step(Input::SessionClosed { session, last_heard });
        }
    }

    fn named(&self, agent: &str) -> &AgentRecord {
        let mut all = self.machine.records();
        all.find(|record| record.id.as_str() == agent).expect("it is known")
    }

    fn states(&self) -> String {
        let show =
            |record: &std::sync::Arc<AgentRecord>| format!("{} {} {}", record.id, record.state, record.reason.as_str());
        self.machine.records().map(show).collect::<Vec<_>>().join(", ")
    }

    fn refusal(&mut self, hello: Hello) -> Option<Refusal> {
        self.effects.clear();
        self.connect(hello);
        self.effects.iter().find_map(|effect| match effect {
            Effect::Refuse { refusal, .. } => Some(refusal.clone()),
            Effect::Welcome { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    fn over(&self) -> Vec<(u128, Vec<u128>)> {
        let boots = |host: &HostRecord| {
            let over = host.over.iter().map(|boot| boot.as_u128()).collect();
            (host.boot_id.as_u128(), over)
        };
        self.records.hosts.iter().map(boots).collect()
    }
}

#[test]
fn one_hello_tells_of_every_agent_of_its_host() {
    let mut world = World::with_agents(&["a", "b", "c"]);
    world.power_loss();
    world.pass(20);
    world.told();
    world.arrive_after(1, hello_in(2, "b"));
    assert_eq!(
        world.told(),
        "HOST_REBOOTED AGENT_STOPPED AGENT_STOPPED AGENT_TAKEN_OVER AGENT_STOPPED AGENT_STARTING"
    );
    assert_eq!(
        world.states(),
        "a STOPPED exit:reboot, b STARTING exit:reboot, c STOPPED exit:reboot"
    );
    assert_eq!((world.commands(), world.over()), (run(2), vec![(2, vec![1])]));
    // Its own shim comes later, and only starts it; over a restart of the server as well.
    world.restart_server();
    world.told();
    world.arrive_after(1, hello_in(2, "a"));
    assert_eq!(world.told(), "AGENT_TAKEN_OVER AGENT_STARTING");
    assert_eq!((world.commands(), world.named("a").budget.attempts), (run(2), 0));
    // One that never comes is what it is.
    world.pass(100_000);
    assert_eq!(world.named("c").reason, StateReason::Reboot);
}

#[test]
fn a_host_whose_shims_are_heard_has_not_rebooted() {
    let mut world = World::with_agents(&["a", "b"]);
    let first = world.machine.sessions.keys().next().copied().expect("open");
    let last_heard = world.now.mono;
    world.step(Input::SessionClosed {
        session: first,
        last_heard,
    });
    world.pass(1000);
    let twin = world.refusal(hello_in(2, "a"));
    assert!(matches!(twin, Some(Refusal::Held { .. })), "{twin:?}");
    assert_eq!(world.named("b").state, AgentState::Running);
    world.power_loss();
    world.pass(14);
    assert!(world.refusal(hello_in(2, "a")).is_some(), "b was heard within a lease");
    world.pass(1);
    assert_eq!(world.refusal(hello_in(2, "a")), None);
    assert_eq!(world.named("b").reason, StateReason::Reboot);
}

#[test]
fn a_boot_that_is_over_comes_back_no_more() {
    let mut world = World::with_agents(&["a", "b"]);
    world.power_loss();
    world.pass(20);
    world.arrive(hello_in(2, "a"));
    world.power_loss();
    world.pass(20);
    for late in [hello_in(1, "a"), hello_in(1, "b"), hello_in(1, "x")] {
        let refusal = world.refusal(late);
        assert!(matches!(refusal, Some(Refusal::BootOver { .. })), "{refusal:?}");
    }
    world.restart_server();
    world.pass(100);
    assert!(world.refusal(hello_in(1, "b")).is_some(), "it is durable");
    assert_eq!(world.refusal(hello_in(3, "a")), None);
    assert_eq!(world.over(), [(3, vec![1, 2])]);
}

#[test]
fn a_host_is_known_as_long_as_an_agent_is_held_there() {
    let mut world = World::with_agents(&["a"]);
    world.power_loss();
    world.pass(20);
    world.arrive(hello_in(2, "a"));
    assert_eq!(world.over().len(), 1);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    let mut elsewhere = hello_in(7, "a");
    elsewhere.host.name = "host-b".into();
    world.arrive(elsewhere);
    assert_eq!(world.over(), []);
    assert_eq!(world.machine.hosts.len(), 1);
}

#[test]
fn what_was_at_rest_stays_and_what_was_ordered_goes_on() {
    let mut world = World::with_agents(&["a", "b", "c", "d", "e"]);
    let named = |agent: &str| AgentId::new(agent).expect("valid");
    // a is stopped, b restarted under another number, c silent for long, d quarantined, e is to be stopped.
    for agent in ["a", "e"] {
        world.request(Request::Stop(StopRequest {
            agent: named(agent),
            reason: String::new(),
            request_id: None,
            expected_incarnation: None,
            grace: None,
            wait: Wait::Accepted,
        }));
    }
    let session = SessionId(1);
    let told_to_stop = |effect: &Effect| {
        if let Effect::Command {
            session: SessionId(1),
            id,
            command: Command::Stop { .. },
        } = effect
        {
            Some(*id)
        } else {
            None
        }
    };
    let command = world.effects.iter().find_map(told_to_stop).expect("it is told");
    world.step(Input::ShimConfirmed { session, command });
    let stopped = Report {
        sequence: ReportSequence::new(3),
        ..world.numbered(1, ended(ExitStatus::Exited(0), EndedBy::Command))
    };
    world.step(Input::ShimReported {
        session,
        report: stopped,
    });
    let survived = Report {
        sequence: ReportSequence::new(3),
        ..world.numbered(1, ReportFact::Survived(Vec::new()))
    };
    world.step(Input::ShimReported {
        session: SessionId(4),
        report: survived,
    });
    world.power_loss();
    world.pass(200);
    world.restart(|run| run.agent = named("b"));
    world.arrive(hello_in(1, "f"));
    world.spawn(1);
    world.power_loss();
    world.pass(15);
    assert_eq!(
        world.states(),
        "a STOPPED operator, b CRASHED HEARTBEAT_TIMEOUT, c CRASHED HEARTBEAT_TIMEOUT, \
         d QUARANTINED survivors, e CRASHED HEARTBEAT_TIMEOUT, f UNREACHABLE lease_expired"
    );
    world.commands();
    world.told();
    world.arrive(hello_in(2, "f"));
    assert_eq!(
        world.states(),
        "a STOPPED operator, b STARTING awaiting_shim, c STOPPED exit:reboot, d STOPPED exit:reboot, \
         e STOPPED operator, f STARTING exit:reboot"
    );
    assert_eq!(world.commands(), run(2), "for f alone");
    // An order that may have arrived before the reboot is given under another number.
    world.arrive(hello_in(2, "b"));
    let begun = world.named("b").incarnation;
    assert!(begun > Incarnation::new(2), "{begun}");
    assert_eq!(world.commands(), run(begun.get()));
}

#[test]
fn what_a_lost_life_ran_with_is_kept_until_a_later_one_is_ready() {
    let stay = |mut hello: Hello| {
        hello.policy = policy(|p| p.on_reboot = RebootPolicy::Stay);
        hello
    };
    let mut world = World::new();
    for agent in ["a", "b"] {
        world.arrive(stay(hello_in(1, agent)));
        world.spawn(1);
    }
    assert_eq!(world.named("a").resume, None);
    world.power_loss();
    world.pass(20);
    world.commands();
    let mut elsewhere = stay(hello_in(2, "b"));
    elsewhere.launch = None;
    world.arrive_after(1, elsewhere);
    assert_eq!(world.commands(), []);
    for agent in ["a", "b"] {
        let resume = world.named(agent).resume.clone().expect("a life was lost");
        let directory = resume.launch.map(|launch| launch.directory().to_owned());
        assert_eq!(resume.incarnation, Incarnation::new(1));
        assert_eq!(directory, Some(format!("/srv/{agent}")));
        assert_eq!(world.named(agent).state, AgentState::Stopped);
    }
    world.restart_server();
    world.arrive(stay(hello_in(2, "a")));
    world.restart(|run| run.kind = OperationKind::Start);
    assert_eq!(world.commands(), run(2));
    world.sequence = 2;
    let spawned = world.numbered(2, ReportFact::Spawned(Some(process(2))));
    world.step(Input::ShimReported {
        session: world.last_session(),
        report: spawned,
    });
    assert!(world.named("a").resume.is_some(), "not ready");
    world.report(2, ReportFact::Ready);
    assert_eq!(world.named("a").resume, None);
}

#[test]
fn a_shim_that_pretends_to_be_elsewhere_reboots_nobody() {
    let mut world = World::with_agents(&["a", "b"]);
    let mut nameless = hello_in(9, "x");
    nameless.host.machine_id = None;
    world.arrive(nameless);
    world.disconnect();
    world.pass(16);
    world.told();
    world.commands();
    let refusal = world.refusal(hello_in(10, "x"));
    assert!(matches!(refusal, Some(Refusal::Held { .. })), "{refusal:?}");
    assert_eq!((world.told(), world.commands()), (String::new(), vec![]));
    assert_eq!(world.named("a").state, AgentState::Running);
    assert!(world.over().is_empty());
}

#[test]
fn no_boot_is_over_before_the_adoption_window_is() {
    let mut world = World::with_agents(&["a", "b"]);
    world.restart_server();
    world.pass(16);
    world.told();
    let refusal = world.refusal(hello_in(2, "b"));
    assert!(matches!(refusal, Some(Refusal::Held { .. })), "{refusal:?}");
    assert_eq!(world.states(), "a RUNNING , b RUNNING ");
    world.pass(50);
    world.arrive_after(1, hello_in(2, "b"));
    assert_eq!(world.named("a").reason, StateReason::Reboot);
}

#[test]
fn who_told_of_the_reboot_and_went_is_gone_with_it() {
    let mut world = World::with_agents(&["a", "b"]);
    world.power_loss();
    world.pass(20);
    world.greet(hello_in(2, "a"));
    world.disconnect();
    world.pass(400);
    assert_eq!(world.named("a").reason, StateReason::Reboot);
    assert_eq!(world.named("b").reason, StateReason::Reboot);
}
