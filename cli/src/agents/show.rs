//! Agents, for people.

use std::time::SystemTime;

use rekindle::exit::signal_name;
use rekindle::wire::v1::{self, ActivityState, AgentState, BlockedReason};

use crate::failure::Failure;
use crate::output::{Cell, Output, Style};
use crate::time;

const NONE: &str = "-";

/// One line for each agent.
pub(super) fn agents(agents: &[v1::Agent], output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    let rows: Vec<_> = agents.iter().map(|agent| row(agent, now)).collect();
    let heading = [
        "AGENT",
        "STATE",
        "ACTIVITY",
        "INC",
        "PID",
        "HOST",
        "UP",
        "HEARTBEAT",
        "ATTEMPTS",
        "LAST FAILURE",
    ];
    output.table(heading, &rows)
}

fn row(agent: &v1::Agent, now: SystemTime) -> [Cell; 10] {
    let process = agent.process.as_ref();
    let connection = agent.connection.as_ref();
    let recovery = agent.recovery.unwrap_or_default();
    let up = process.and_then(|process| process.start_time.as_ref());
    let up = up.map(|start| time::ago(Some(start), now));
    [
        bare(&agent.name).into(),
        Cell::styled(state_word(agent.state()), state_style(agent.state())),
        doing(agent.activity.as_ref()),
        agent.incarnation.to_string().into(),
        process
            .map_or(NONE.to_owned(), |process| process.pid.to_string())
            .into(),
        connection.map_or(NONE, |connection| connection.host.as_str()).into(),
        up.map_or(NONE.to_owned(), |up| up.trim_end_matches(" ago").to_owned())
            .into(),
        time::ago(
            connection.and_then(|connection| connection.last_heartbeat_time.as_ref()),
            now,
        )
        .into(),
        format!("{}/{}", recovery.attempts, recovery.max_attempts).into(),
        match &agent.last_failure {
            None => NONE.to_owned(),
            Some(failure) => format!(
                "{}, {}",
                failure_summary(failure),
                time::ago(failure.time.as_ref(), now)
            ),
        }
        .into(),
    ]
}

/// Everything about one agent.
pub(super) fn agent(agent: &v1::Agent, output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    output.line(&[
        Cell::styled(&agent.name, Style::Strong),
        "  ".into(),
        Cell::styled(state_word(agent.state()), state_style(agent.state())),
    ])?;
    pairs(facts(agent, now), output)?;
    let Some(failure) = &agent.last_failure else {
        return Ok(());
    };
    output.line(&["".into()])?;
    let heading = format!(
        "Last failure, {}, incarnation {}",
        time::ago(failure.time.as_ref(), now),
        failure.incarnation
    );
    output.line(&[Cell::styled(&heading, Style::Strong)])?;
    output.line(&["  ".into(), failure_summary(failure).into()])?;
    for (stream, tail) in [("stderr", &failure.stderr_tail), ("stdout", &failure.stdout_tail)] {
        for line in tail.lines() {
            output.line(&[Cell::styled(&format!("  {stream} | "), Style::Dim), line.into()])?;
        }
    }
    Ok(())
}

fn facts(agent: &v1::Agent, now: SystemTime) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push((name.to_owned(), value));
        }
    };
    add("reason", agent.state_reason.clone());
    add(
        "wanted",
        word(agent.desired_state().as_str_name(), "DESIRED_STATE_").to_owned(),
    );
    add("ready", if agent.ready { "yes" } else { "no" }.to_owned());
    add("activity", agent.activity.as_ref().map(activity).unwrap_or_default());
    add("incarnation", agent.incarnation.to_string());
    if let Some(process) = &agent.process {
        let up = time::ago(process.start_time.as_ref(), now);
        add(
            "process",
            format!("pid {} on {}, started {up}", process.pid, process.host),
        );
    }
    if let Some(connection) = &agent.connection {
        let beat = time::ago(connection.last_heartbeat_time.as_ref(), now);
        let link = if connection.connected {
            "connected"
        } else {
            "not connected"
        };
        add(
            "shim",
            format!(
                "{link}, host {}, epoch {}, heartbeat {beat}",
                connection.host, connection.epoch
            ),
        );
    }
    if let Some(recovery) = &agent.recovery {
        let next = recovery.next_attempt_time.as_ref();
        let next = next.map_or(String::new(), |next| format!(", next {}", time::until(next, now)));
        add(
            "recovery",
            format!("{} of {} attempts used{next}", recovery.attempts, recovery.max_attempts),
        );
    }
    if let Some(resume) = &agent.resume {
        add("resume", resumes(resume));
    }
    let mut labels: Vec<String> = agent
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.sort();
    add("labels", labels.join(" "));
    add("policy", agent.policy.as_ref().map(policy).unwrap_or_default());
    add(
        "created",
        agent.create_time.as_ref().map(time::local).unwrap_or_default(),
    );
    add(
        "updated",
        agent.update_time.as_ref().map(time::local).unwrap_or_default(),
    );
    add("uid", agent.uid.clone());
    add("etag", agent.etag.clone());
    facts
}

/// What a start goes on from, as far as its shim has told.
fn resumes(resume: &v1::Resume) -> String {
    let life = format!("incarnation {} was lost in a reboot", resume.incarnation);
    if resume.directory.is_empty() {
        return life;
    }
    let command = resume.arguments.join(" ");
    let cut = if resume.truncated { " ..." } else { "" };
    format!("{life}: in {}, {command}{cut}", resume.directory)
}

/// What an agent does, in one cell.
fn doing(activity: Option<&v1::Activity>) -> Cell {
    let Some(activity) = activity.filter(|activity| activity.state() != ActivityState::Unspecified) else {
        return NONE.into();
    };
    let style = match activity.state() {
        ActivityState::Blocked => Style::Busy,
        ActivityState::Unspecified | ActivityState::Idle | ActivityState::Busy => Style::Plain,
    };
    Cell::styled(&activity_word(activity), style)
}

/// All that an agent says of itself.
fn activity(activity: &v1::Activity) -> String {
    let parts = [activity_word(activity), activity.status.clone()];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.collect::<Vec<_>>().join(", ")
}

/// As the agent says it itself: `BUSY`, `BLOCKED:approval`; nothing where it does not.
fn activity_word(activity: &v1::Activity) -> String {
    let state = match activity.state() {
        ActivityState::Unspecified => return String::new(),
        state @ (ActivityState::Idle | ActivityState::Busy | ActivityState::Blocked) => {
            word(state.as_str_name(), "ACTIVITY_STATE_")
        }
    };
    match activity.blocked_reason() {
        BlockedReason::Unspecified => state.to_owned(),
        reason @ (BlockedReason::Approval | BlockedReason::Quota | BlockedReason::User) => {
            let reason = word(reason.as_str_name(), "BLOCKED_REASON_");
            format!("{state}:{}", reason.to_ascii_lowercase())
        }
    }
}

fn policy(policy: &v1::AgentPolicy) -> String {
    let durations = [
        ("heartbeat_timeout", &policy.heartbeat_timeout),
        ("message_timeout", &policy.message_timeout),
        ("start_timeout", &policy.start_timeout),
        ("stop_grace", &policy.stop_grace),
        ("cooldown", &policy.cooldown),
        ("stable_after", &policy.stable_after),
    ];
    let mut parts = vec![format!(
        "restart {}",
        word(policy.restart().as_str_name(), "RESTART_POLICY_")
    )];
    let counts = [
        ("max_attempts", policy.max_attempts),
        ("max_concurrent", policy.max_concurrent),
        ("queue_limit", policy.queue_limit),
        ("max_deliveries", policy.max_deliveries),
        ("poison_after", policy.poison_after),
    ];
    let given = counts.into_iter().filter_map(|(name, count)| Some((name, count?)));
    parts.extend(given.map(|(name, count)| format!("{name} {count}")));
    let set = durations
        .into_iter()
        .filter_map(|(name, duration)| Some((name, duration.as_ref()?)));
    parts.extend(set.map(|(name, duration)| format!("{name} {}", time::short_wire(duration))));
    parts.join(", ")
}

/// The processes of agents, and of those of their executions that have one of their own.
pub(super) fn processes(processes: &[v1::AgentProcess], output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    let rows: Vec<_> = processes.iter().map(|entry| process_row(entry, now)).collect();
    let heading = [
        "AGENT",
        "EXECUTION",
        "INC",
        "HOST",
        "PID",
        "PIDFD INODE",
        "STATE",
        "STARTED",
        "HEARTBEAT",
    ];
    output.table(heading, &rows)
}

fn process_row(entry: &v1::AgentProcess, now: SystemTime) -> [Cell; 9] {
    let process = entry.process.clone().unwrap_or_default();
    [
        bare(&entry.agent).into(),
        execution_of(entry).into(),
        entry.incarnation.to_string().into(),
        process.host.into(),
        process.pid.to_string().into(),
        process.pidfd_inode.to_string().into(),
        Cell::styled(state_word(entry.state()), state_style(entry.state())),
        time::ago(process.start_time.as_ref(), now).into(),
        time::ago(entry.last_heartbeat_time.as_ref(), now).into(),
    ]
}

/// The execution that has this process alone, as `rekindle executions` takes it.
fn execution_of(entry: &v1::AgentProcess) -> String {
    match entry.execution.rsplit_once('/') {
        Some((_, execution)) => format!("{}/{execution}", bare(&entry.agent)),
        None => NONE.to_owned(),
    }
}

/// Names and values, one pair on a line.
pub(crate) fn pairs(pairs: impl IntoIterator<Item = (String, String)>, output: Output) -> Result<(), Failure> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default();
    for (name, value) in pairs {
        output.line(&[Cell::styled(&format!("  {name:width$}  "), Style::Dim), value.into()])?;
    }
    Ok(())
}

/// The word of the design for a state.
pub(crate) fn state_word(state: AgentState) -> &'static str {
    word(state.as_str_name(), "AGENT_STATE_")
}

/// How a state stands out.
pub(crate) fn state_style(state: AgentState) -> Style {
    match state {
        AgentState::Running => Style::Good,
        AgentState::Starting | AgentState::Stopping | AgentState::Unreachable => Style::Busy,
        AgentState::Crashed | AgentState::Terminated | AgentState::Quarantined => Style::Bad,
        AgentState::Pending | AgentState::Stopped | AgentState::Unspecified => Style::Dim,
    }
}

/// A failure in a few words: `exit code 3 after 5.2s`.
pub(crate) fn failure_summary(failure: &v1::Failure) -> String {
    let what = match (failure.exit_code, failure.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => signal_name(signal),
        (None, None) if !failure.message.is_empty() => failure.message.clone(),
        (None, None) => word(failure.cause().as_str_name(), "FAILURE_CAUSE_").to_owned(),
    };
    match &failure.uptime {
        Some(uptime) => format!("{what} after {}", time::short_wire(uptime)),
        None => what,
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("agents/").unwrap_or(name)
}

fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_does_is_shown_as_it_says_it() {
        let said = |state, blocked_reason, status: &str| {
            let mut activity = v1::Activity {
                status: status.to_owned(),
                ..v1::Activity::default()
            };
            activity.set_state(state);
            activity.set_blocked_reason(blocked_reason);
            v1::Agent {
                activity: Some(activity),
                ..v1::Agent::default()
            }
        };
        let shown = |agent: v1::Agent| {
            let now = SystemTime::now();
            let [_, _, cell, ..] = row(&agent, now);
            let fact = facts(&agent, now).into_iter().find(|(name, _)| name == "activity");
            (cell.text().to_owned(), fact.map(|(_, value)| value))
        };
        for (agent, cell, fact) in [
            (v1::Agent::default(), "-", None),
            (
                said(ActivityState::Unspecified, BlockedReason::Unspecified, "reads mail"),
                "-",
                Some("reads mail"),
            ),
            (
                said(ActivityState::Busy, BlockedReason::Unspecified, ""),
                "BUSY",
                Some("BUSY"),
            ),
            (
                said(ActivityState::Blocked, BlockedReason::Approval, "waits for bob"),
                "BLOCKED:approval",
                Some("BLOCKED:approval, waits for bob"),
            ),
        ] {
            assert_eq!(shown(agent), (cell.to_owned(), fact.map(str::to_owned)));
        }
    }

    #[test]
    fn processes_are_of_agents_or_of_executions() {
        let mut process = v1::AgentProcess {
            agent: "agents/planner".to_owned(),
            ..v1::AgentProcess::default()
        };
        let shown = |process: &v1::AgentProcess| {
            let [agent, execution, ..] = process_row(process, SystemTime::now());
            [agent, execution].map(|cell| cell.text().to_owned())
        };
        assert_eq!(shown(&process), ["planner", "-"]);
        process.execution = "agents/planner/executions/e-1".to_owned();
        assert_eq!(shown(&process), ["planner", "planner/e-1"]);
    }

    #[test]
    fn a_policy_tells_what_is_set() {
        let set = v1::AgentPolicy {
            restart: v1::RestartPolicy::OnFailure.into(),
            max_concurrent: Some(4),
            queue_limit: Some(0),
            message_timeout: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            ..v1::AgentPolicy::default()
        };
        assert_eq!(
            policy(&set),
            "restart ON_FAILURE, max_concurrent 4, queue_limit 0, message_timeout 5m"
        );
    }

    #[test]
    fn failures_in_a_few_words() {
        let mut failure = v1::Failure {
            exit_code: Some(3),
            uptime: Some(prost_types::Duration {
                seconds: 5,
                nanos: 200_000_000,
            }),
            ..v1::Failure::default()
        };
        assert_eq!(failure_summary(&failure), "exit code 3 after 5.2s");
        failure.exit_code = None;
        failure.signal = Some(11);
        assert_eq!(failure_summary(&failure), "SIGSEGV after 5.2s");
        failure.signal = None;
        failure.uptime = None;
        failure.set_cause(v1::FailureCause::HeartbeatTimeout);
        assert_eq!(failure_summary(&failure), "HEARTBEAT_TIMEOUT");
    }
}
