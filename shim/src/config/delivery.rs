//! The flag that says how messages reach the agent.

use clap::ValueEnum;
use rekindle::execution::Delivery;
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
    /// Where messages cannot reach a program in this way.
    pub(super) fn plan(self, on_shim_exit: OnShimExit, ready: Ready) -> Result<Delivery, PlanError> {
        let delivery = match self {
            Self::None => Delivery::None,
            Self::PerMessage => Delivery::PerMessage,
            Self::Pull => Delivery::Pull,
            Self::Stdin => Delivery::Stdin,
        };
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
    use super::*;

    #[test]
    fn what_a_delivery_cannot_have_is_refused() {
        for (flag, delivery) in [
            (DeliverBy::None, Delivery::None),
            (DeliverBy::PerMessage, Delivery::PerMessage),
            (DeliverBy::Pull, Delivery::Pull),
            (DeliverBy::Stdin, Delivery::Stdin),
        ] {
            assert_eq!(flag.plan(OnShimExit::Kill, Ready::Exec), Ok(delivery));
            let kept = match delivery {
                Delivery::None | Delivery::Pull => Ok(delivery),
                Delivery::PerMessage | Delivery::Stdin => Err(PlanError::DeliveryOfKept(delivery)),
            };
            assert_eq!(flag.plan(OnShimExit::Keep, Ready::Exec), kept);
            let notify = match delivery {
                Delivery::None | Delivery::Pull | Delivery::Stdin => Ok(delivery),
                Delivery::PerMessage => Err(PlanError::NotifyPerMessage),
            };
            assert_eq!(flag.plan(OnShimExit::Kill, Ready::Notify), notify);
        }
        let refusal = PlanError::DeliveryOfKept(Delivery::Stdin).to_string();
        assert!(
            refusal.starts_with("--on-shim-exit keep: with --delivery stdin"),
            "{refusal}"
        );
    }
}
