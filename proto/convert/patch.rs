//! What UpdateAgent changes: a message and a field mask (AIP-134, AIP-161).

use std::collections::BTreeMap;

use super::policy::{policy_from_wire, set_fields, whole};
use super::{WireError, policy_to_wire};
use crate::label::LabelsPatch;
use crate::policy::{AgentPolicy, PolicyPatch};
use crate::wire::v1;

/// Most paths of one mask: every field of a policy and every label, twice.
const PATHS_MAX: usize = 100;

/// What an update changes. A field without a change is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentPatch {
    /// The policy's fields.
    pub policy: Option<PolicyPatch>,
    /// The labels.
    pub labels: Option<LabelsPatch>,
}

impl AgentPatch {
    /// Reads a change.
    ///
    /// - no mask: every field of the policy that is set, and every label that is given;
    /// - `*`: the policy and the labels are replaced whole, absent fields by their defaults;
    /// - `policy`, `labels`: that one is replaced whole;
    /// - `policy.FIELD`: that field, by its default when it is absent;
    /// - `labels.KEY`: that label, removed when it is absent. A key with `-` may stand in backquotes.
    ///
    /// # Errors
    /// Names the path or the field that is wrong, relative to the request.
    pub fn from_wire(agent: &v1::Agent, mask: Option<&prost_types::FieldMask>) -> Result<Self, WireError> {
        let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
        if paths.len() > PATHS_MAX {
            return Err(WireError::new(
                "update_mask",
                format!("has {} paths, and at most {PATHS_MAX} are taken", paths.len()),
            ));
        }
        let mut patch = Self::default();
        if paths.is_empty() {
            patch.set_all(agent)?;
        }
        for path in paths {
            patch.add(agent, path)?;
        }
        if let Some(labels) = &patch.labels {
            labels
                .apply(&BTreeMap::new())
                .map_err(|error| WireError::new("agent.labels", error.to_string()))?;
        }
        if let Some(policy) = &patch.policy {
            policy
                .apply(&AgentPolicy::default())
                .map_err(|error| WireError::from(error).within("agent.policy"))?;
        }
        Ok(patch)
    }

    fn set_all(&mut self, agent: &v1::Agent) -> Result<(), WireError> {
        if let Some(policy) = &agent.policy {
            self.policy = Some(set_fields(policy).map_err(|error| error.within("agent.policy"))?);
        }
        if !agent.labels.is_empty() {
            self.labels = Some(LabelsPatch {
                replace: None,
                set: agent
                    .labels
                    .iter()
                    .map(|(key, value)| (key.clone(), Some(value.clone())))
                    .collect(),
            });
        }
        Ok(())
    }

    fn add(&mut self, agent: &v1::Agent, path: &str) -> Result<(), WireError> {
        match path.split_once('.') {
            None => match path {
                "*" => {
                    self.replace_policy(agent)?;
                    self.replace_labels(agent);
                    Ok(())
                }
                "policy" => self.replace_policy(agent),
                "labels" => {
                    self.replace_labels(agent);
                    Ok(())
                }
                _ => Err(unknown(path)),
            },
            Some(("policy", field)) => self.set_policy_field(agent, field).ok_or_else(|| unknown(path))?,
            Some(("labels", key)) => {
                let key = key
                    .strip_prefix('`')
                    .and_then(|rest| rest.strip_suffix('`'))
                    .unwrap_or(key);
                let value = agent.labels.get(key).cloned();
                let labels = self.labels.get_or_insert_default();
                labels.set.insert(key.to_owned(), value);
                Ok(())
            }
            Some(_) => Err(unknown(path)),
        }
    }

    fn replace_policy(&mut self, agent: &v1::Agent) -> Result<(), WireError> {
        self.policy = Some(whole(read_whole(agent)?.into_fields()));
        Ok(())
    }

    fn replace_labels(&mut self, agent: &v1::Agent) {
        self.labels = Some(LabelsPatch {
            replace: Some(agent.labels.clone()),
            set: BTreeMap::new(),
        });
    }

    /// `None` when a policy has no such field.
    fn set_policy_field(&mut self, agent: &v1::Agent, field: &str) -> Option<Result<(), WireError>> {
        let defaults = policy_to_wire(&AgentPolicy::default());
        let given = agent.policy.as_ref().unwrap_or(&defaults);
        // Only the named field is read, so that an error elsewhere in the message does not matter.
        let mut one = v1::AgentPolicy::default();
        match field {
            "heartbeat_timeout" => one.heartbeat_timeout = given.heartbeat_timeout,
            "message_timeout" => one.message_timeout = given.message_timeout,
            "start_timeout" => one.start_timeout = given.start_timeout,
            "stop_grace" => one.stop_grace = given.stop_grace,
            "stop_signal" => one.stop_signal.clone_from(&given.stop_signal),
            "restart" => one.restart = given.restart,
            "max_attempts" => one.max_attempts = given.max_attempts,
            "cooldown" => one.cooldown = given.cooldown,
            "backoff" => one.backoff = given.backoff,
            "stable_after" => one.stable_after = given.stable_after,
            "max_concurrent" => one.max_concurrent = given.max_concurrent,
            "queue_limit" => one.queue_limit = given.queue_limit,
            "max_deliveries" => one.max_deliveries = given.max_deliveries,
            "on_restart" => one.on_restart = given.on_restart,
            "on_reboot" => one.on_reboot = given.on_reboot,
            "watchdog_timeout" => one.watchdog_timeout = given.watchdog_timeout,
            "stall_timeout" => one.stall_timeout = given.stall_timeout,
            "blocked_limit" => one.blocked_limit = given.blocked_limit,
            "exit_rules" => one.exit_rules.clone_from(&given.exit_rules),
            "poison_after" => one.poison_after = given.poison_after,
            _ => return None,
        }
        let read = match policy_from_wire(&one) {
            Ok(policy) => policy.into_fields(),
            Err(error) => return Some(Err(error.within("agent.policy"))),
        };
        let patch = self.policy.get_or_insert_default();
        match field {
            "heartbeat_timeout" => patch.heartbeat_timeout = Some(read.heartbeat_timeout),
            "message_timeout" => patch.message_timeout = Some(read.message_timeout),
            "start_timeout" => patch.start_timeout = Some(read.start_timeout),
            "stop_grace" => patch.stop_grace = Some(read.stop_grace),
            "stop_signal" => patch.stop_signal = Some(read.stop_signal),
            "restart" => patch.restart = Some(read.restart),
            "max_attempts" => patch.max_attempts = Some(read.max_attempts),
            "cooldown" => patch.cooldown = Some(read.cooldown),
            "backoff" => patch.backoff = Some(read.backoff),
            "stable_after" => patch.stable_after = Some(read.stable_after),
            "max_concurrent" => patch.max_concurrent = Some(read.max_concurrent),
            "queue_limit" => patch.queue_limit = Some(read.queue_limit),
            "max_deliveries" => patch.max_deliveries = Some(read.max_deliveries),
            "on_restart" => patch.on_restart = Some(read.on_restart),
            "on_reboot" => patch.on_reboot = Some(read.on_reboot),
            "watchdog_timeout" => patch.watchdog_timeout = Some(read.watchdog_timeout),
            "stall_timeout" => patch.stall_timeout = Some(read.stall_timeout),
            "blocked_limit" => patch.blocked_limit = Some(read.blocked_limit),
            "exit_rules" => patch.exit_rules = Some(read.exit_rules),
            "poison_after" => patch.poison_after = Some(read.poison_after),
            _ => return None,
        }
        Some(Ok(()))
    }
}

fn read_whole(agent: &v1::Agent) -> Result<AgentPolicy, WireError> {
    match &agent.policy {
        Some(policy) => policy_from_wire(policy).map_err(|error| error.within("agent.policy")),
        None => Ok(AgentPolicy::default()),
    }
}

fn unknown(path: &str) -> WireError {
    let shown: String = path.chars().take(80).collect();
    WireError::new(
        "update_mask",
        format!(
            "{shown:?} cannot be changed; write *, labels, labels.KEY, policy, or policy. with heartbeat_timeout, \
             message_timeout, start_timeout, stop_grace, stop_signal, restart, max_attempts, cooldown, backoff, \
             stable_after, max_concurrent, queue_limit, max_deliveries, on_restart, on_reboot, watchdog_timeout, stall_timeout, blocked_limit, \
             exit_rules or poison_after"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn agent() -> v1::Agent {
        v1::Agent {
            labels: [("team".to_owned(), "search".to_owned())].into(),
            policy: Some(v1::AgentPolicy {
                cooldown: seconds(5),
                stop_grace: seconds(-1),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn read(agent: &v1::Agent, paths: &[&str]) -> Result<AgentPatch, WireError> {
        let mask = prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        };
        AgentPatch::from_wire(agent, Some(&mask))
    }

    #[test]
    fn one_field() {
        let patch = read(&agent(), &["policy.cooldown"]).expect("the bad stop_grace is not in the mask");
        let expected = PolicyPatch {
            cooldown: Some(Duration::from_secs(5)),
            ..Default::default()
        };
        assert_eq!(patch.policy, Some(expected));
        assert_eq!(patch.labels, None);
    }

    #[test]
    fn an_absent_field_in_the_mask_is_the_default() {
        let patch = read(&agent(), &["policy.stable_after", "labels.gone"]).expect("valid");
        assert_eq!(patch.policy.expect("some").stable_after, Some(Duration::from_secs(600)));
        assert_eq!(patch.labels.expect("some").set, [("gone".to_owned(), None)].into());
    }

    #[test]
    fn whole_and_implied() {
        let mut agent = agent();
        assert_eq!(
            read(&agent, &["*"]).expect_err("negative").field,
            "agent.policy.stop_grace"
        );
        agent.policy.as_mut().expect("some").stop_grace = None;
        let everything = read(&agent, &["*"]).expect("valid");
        assert_eq!(everything.policy.expect("some").max_attempts, Some(3));
        assert_eq!(everything.labels.expect("some").replace.expect("some").len(), 1);
        let implied = AgentPatch::from_wire(&agent, None).expect("valid");
        assert_eq!(implied.policy.expect("some").max_attempts, None);
        assert_eq!(implied.labels.expect("some").replace, None);
    }

    #[test]
    fn wrong_paths() {
        for path in ["state", "policy.x", "policy.backoff.max", "", "a.b"] {
            assert_eq!(
                read(&agent(), &[path]).expect_err("unknown").field,
                "update_mask",
                "{path}"
            );
        }
        assert_eq!(
            read(&agent(), &["labels.Bad"])
                .expect("a removal of what cannot be")
                .labels,
            Some(LabelsPatch {
                replace: None,
                set: [("Bad".to_owned(), None)].into()
            })
        );
    }

    proptest! {
        #[test]
        fn never_panics(paths in proptest::collection::vec("(policy|labels|\\*|`|\\.|[a-z_]{0,6}){0,4}", 0..5)) {
            let mask = prost_types::FieldMask { paths };
            let _ = AgentPatch::from_wire(&agent(), Some(&mask));
        }
    }
}
