//! What an end of the program means is data of the policy, by the shim's flags and by UpdateAgent alike.

use std::time::{Duration, SystemTime};

use rekindle::wire::v1::{Agent, AgentPolicy, AgentState, EventType, ExitClass, ExitRule, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::{Server, Shim, World};

/// How a rule comes into the policy.
#[derive(Debug, Clone, Copy)]
enum By {
    Flag,
    UpdateAgent,
}

/// A rule in both of its forms.
struct Rule {
    flag: &'static str,
    rule: ExitRule,
}

impl Rule {
    /// For ends with this exit code.
    fn of(flag: &'static str, exit_code: i32, class: ExitClass) -> Self {
        let mut rule = ExitRule {
            exit_codes: vec![exit_code],
            ..Default::default()
        };
        rule.set_exit_class(class);
        Self { flag, rule }
    }

    /// A shim whose agent goes by the rule. A wrong verdict would start it again at once.
    async fn start<'w>(&self, by: By, world: &'w World, server: &Server<'_>, script: &str) -> Shim<'w> {
        let shim = world.shim("a").script(script);
        match by {
            By::Flag => shim
                .flag("--cooldown", "0s")
                .flag("--exit-rule", self.flag)
                .start(server),
            By::UpdateAgent => {
                let policy = AgentPolicy {
                    cooldown: Some(prost_types::Duration::default()),
                    exit_rules: vec![self.rule.clone()],
                    ..Default::default()
                };
                let mut client = server.client();
                client.set_policy("a", policy).await.expect("UpdateAgent succeeds");
                shim.start(server)
            }
        }
    }
}

/// The time that a failure was, and the agent's rules as they are told.
fn failed(agent: &Agent) -> (FailureCause, SystemTime) {
    let failure = agent.last_failure.as_ref().expect("the failure is kept");
    let time = failure.time.and_then(|time| time.try_into().ok());
    (failure.cause(), time.expect("a failure has a time"))
}

#[tokio::test]
async fn a_used_up_quota_parks_until_the_time_that_the_output_tells() {
    const PARK: Duration = Duration::from_secs(3);
    let mut quota = Rule::of(
        "quota:code=75,park=1h,output=retry in (?<seconds>\\d+) s",
        75,
        ExitClass::Quota,
    );
    quota.rule.output_pattern = "retry in (?<seconds>\\d+) s".to_owned();
    quota.rule.park = Some(prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    });
    let script = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\necho please retry in 3 s >&2\nexit 75";
    for by in [By::Flag, By::UpdateAgent] {
        let world = World::new();
        let server = world.server().start().await;
        let mut client = server.client();
        let shim = quota.start(by, &world, &server, script).await;

        let parked = client.until("a", is(AgentState::Crashed)).await;
        let explained = client.explain("a").await.expect("ExplainAgent succeeds");
        assert!(explained.contains("parked, as something is used up, "), "{explained}");
        assert!(explained.ends_with(" left; it spends no attempt"), "{explained}");
        assert_eq!(parked.state_reason, "QUOTA");
        assert_eq!(
            parked.policy.map(|policy| policy.exit_rules),
            Some(vec![quota.rule.clone()])
        );
        let recovery = parked.recovery.expect("it is told");
        assert_eq!(recovery.attempts, 0);
        let next = recovery.next_attempt_time.and_then(|time| time.try_into().ok());
        let next: SystemTime = next.expect("until when it is parked");

        let agent = client.until("a", runs(2)).await;
        let (cause, at) = failed(&agent);
        assert_eq!(cause, FailureCause::Quota);
        // The shim saw the end a moment before it was told of.
        assert!(next <= at + PARK + Duration::from_secs(1), "{at:?}, {next:?}");
        let process = agent.process.and_then(|process| process.start_time);
        let began: SystemTime = process.and_then(|time| time.try_into().ok()).expect("it runs");
        assert!(began >= at + PARK, "parked for less: {at:?}, {began:?}");
        assert_eq!(
            agent.recovery.map(|recovery| recovery.attempts),
            Some(0),
            "nothing is spent"
        );
        assert_eq!(shim.lives().len(), 2);
        client.history().await;
    }
}

#[tokio::test]
async fn a_fault_of_the_configuration_or_the_credentials_terminates_at_once() {
    for (rule, expected) in [
        (Rule::of("config:code=78", 78, ExitClass::Config), FailureCause::Config),
        (Rule::of("auth:code=78", 78, ExitClass::Auth), FailureCause::Auth),
    ] {
        for by in [By::Flag, By::UpdateAgent] {
            let world = World::new();
            let server = world.server().start().await;
            let mut client = server.client();
            let shim = rule.start(by, &world, &server, "echo no such key >&2\nexit 78").await;

            let agent = client.until("a", is(AgentState::Terminated)).await;
            let failure = agent.last_failure.expect("the failure is kept");
            assert_eq!((failure.cause(), failure.exit_code), (expected, Some(78)));
            assert_eq!(failure.stderr_tail.trim(), "no such key");
            assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));
            assert_eq!(
                agent.state_reason,
                expected.as_str_name().trim_start_matches("FAILURE_CAUSE_")
            );
            let explained = client.explain("a").await.expect("ExplainAgent succeeds");
            assert!(
                explained.starts_with("not restarted: no restart can help; "),
                "{explained}"
            );
            assert_eq!(client.history().await.count("a", EventType::RecoveryStarted), 0);
            assert_eq!(shim.lives().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_code_that_is_clean_by_a_rule_is_no_failure() {
    let clean = Rule::of("clean:code=3", 3, ExitClass::Clean);
    for by in [By::Flag, By::UpdateAgent] {
        let world = World::new();
        let server = world.server().start().await;
        let mut client = server.client();
        let shim = clean.start(by, &world, &server, "exit 3").await;

        let agent = client.until("a", is(AgentState::Stopped)).await;
        assert_eq!(
            (agent.state_reason.as_str(), &agent.last_failure),
            ("exit:clean", &None)
        );
        assert_eq!(client.history().await.count("a", EventType::AgentCrashed), 0);
        assert_eq!(shim.lives().len(), 1);
    }
}
