//! The flag that says how messages reach the agent.

use clap::ValueEnum;
use rekindle::execution::Delivery;
use rekindle::policy::AgentPolicy;
use rekindle_shim_core::OnShimExit;

use super::{PlanError, Ready};

/// How messages reach the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DeliverBy {
    /// It takes none
    None,
    /// The program is run once for each message, up to --max-concurrent side by side: the message is its stdin, or
    /// stands in each argument that has `{message}` (where everybody on the host can read it), and its stdout is the
    /// result
    PerMessage,
    /// The program asks the shim for messages
    Pull,
    /// The program reads each message as a line of JSON from its stdin, with an id, and answers with a line of JSON:
    /// {"id": ID, "attempt": NUMBER, "result": TEXT}, or "error", "progress" or "blocked" instead of "result"
    Stdin,
}

impl DeliverBy {
    /// # Errors
    /// Where messages cannot reach a program in this way, or it cannot be held to its policy meanwhile.
    pub(super) fn plan(
        self,
        on_shim_exit: OnShimExit,
        ready: Ready,
        policy: &AgentPolicy,
    ) -> Result<Delivery, PlanError> {
        let delivery = match self {
            Self::None => Delivery::None,
            Self::PerMessage => Delivery::PerMessage,
            Self::Pull => Delivery::Pull,
            Self::Stdin => Delivery::Stdin,
        };
        if delivery == Delivery::PerMessage {
            let watched = [
                ("watchdog-timeout", policy.watchdog_timeout),
                ("stall-timeout", policy.stall_timeout),
            ];
            if let Some((flag, _)) = watched.into_iter().find(|(_, timeout)| timeout.is_some()) {
                return Err(PlanError::WatchedPerMessage(flag));
            }
        }
        match (delivery, on_shim_exit, ready) {
            (Delivery::PerMessage | Delivery::Stdin, OnShimExit::Keep, _) => Err(PlanError::DeliveryOfKept(delivery)),
            (Delivery::PerMessage, OnShimExit::Kill, Ready::Notify) => Err(PlanError::NotifyPerMessage),
            (Delivery::PerMessage, OnShimExit::Kill, Ready::Exec)
            | (Delivery::Stdin, OnShimExit::Kill, _)
            | (Delivery::None | Delivery::Pull, _, _) => Ok(delivery),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rekindle::policy::PolicyFields;

    use super::*;

    fn watched() -> [(&'static str, PolicyFields); 2] {
        let timeout = Some(Duration::from_secs(60));
        let watchdog = PolicyFields {
            watchdog_timeout: timeout,
            ..PolicyFields::default()
        };
        let stall = PolicyFields {
            stall_timeout: timeout,
            ..PolicyFields::default()
        };
        [("watchdog-timeout", watchdog), ("stall-timeout", stall)]
    }

    #[test]
    fn what_a_delivery_cannot_have_is_refused() {
        for (flag, delivery) in [
            (DeliverBy::None, Delivery::None),
            (DeliverBy::PerMessage, Delivery::PerMessage),
            (DeliverBy::Pull, Delivery::Pull),
            (DeliverBy::Stdin, Delivery::Stdin),
        ] {
            let plan = |on_shim_exit, ready| flag.plan(on_shim_exit, ready, &AgentPolicy::default());
            assert_eq!(plan(OnShimExit::Kill, Ready::Exec), Ok(delivery));
            let kept = match delivery {
                Delivery::None | Delivery::Pull => Ok(delivery),
                Delivery::PerMessage | Delivery::Stdin => Err(PlanError::DeliveryOfKept(delivery)),
            };
            assert_eq!(plan(OnShimExit::Keep, Ready::Exec), kept);
            let notify = match delivery {
                Delivery::None | Delivery::Pull | Delivery::Stdin => Ok(delivery),
                Delivery::PerMessage => Err(PlanError::NotifyPerMessage),
            };
            assert_eq!(plan(OnShimExit::Kill, Ready::Notify), notify);
            for (name, fields) in watched() {
                let policy = AgentPolicy::new(fields).expect("valid");
                let watched = match delivery {
                    Delivery::None | Delivery::Pull | Delivery::Stdin => Ok(delivery),
                    Delivery::PerMessage => Err(PlanError::WatchedPerMessage(name)),
                };
                assert_eq!(flag.plan(OnShimExit::Kill, Ready::Exec, &policy), watched);
            }
        }
        let refusal = PlanError::DeliveryOfKept(Delivery::Stdin).to_string();
        assert!(
            refusal.starts_with("--on-shim-exit keep: with --delivery stdin"),
            "{refusal}"
        );
    }
}
