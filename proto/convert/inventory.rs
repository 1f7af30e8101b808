//! What a shim says that it holds: `Inventory`.

use super::checkpoint::checkpoint_id_from_wire;
use super::command::wanted;
use super::time::{required_timestamp, timestamp_to_wire};
use super::{WireError, counter_or_zero};
use crate::execution::{ATTEMPTS_MAX, HeldAttempt};
use crate::id::Incarnation;
use crate::report::Inventory;
use crate::wire::v1;

impl TryFrom<v1::Inventory> for Inventory {
    type Error = WireError;

    fn try_from(inventory: v1::Inventory) -> Result<Self, WireError> {
        let count = inventory.attempts.len();
        if count > ATTEMPTS_MAX {
            let problem = format!("{count} attempts are more than {ATTEMPTS_MAX}");
            return Err(WireError::new("attempts", problem));
        }
        let attempts = inventory.attempts.into_iter().enumerate().map(|(index, held)| {
            HeldAttempt::try_from(held).map_err(|error| error.within(&format!("attempts[{index}]")))
        });
        let child = inventory.child.map(TryInto::try_into).transpose();
        let checkpoint = Some(inventory.checkpoint).filter(|id| !id.is_empty()).map(|id| {
            let saved = required_timestamp(inventory.checkpoint_save_time, "checkpoint_save_time")?;
            Ok::<_, WireError>((checkpoint_id_from_wire(&id, "checkpoint")?, saved))
        });
        Ok(Self {
            last_incarnation: counter_or_zero(inventory.last_incarnation, "last_incarnation", Incarnation::new)?,
            child: child.map_err(|error: WireError| error.within("child"))?,
            quarantined: Some(counter_or_zero(inventory.quarantined, "quarantined", Incarnation::new)?)
                .filter(|incarnation| *incarnation > Incarnation::ZERO),
            attempts: attempts.collect::<Result<_, _>>()?,
            reports: Vec::new(),
            wanted: wanted(inventory.wanted)?,
            checkpoint: checkpoint.transpose()?,
        })
    }
}

impl From<Inventory> for v1::Inventory {
    fn from(inventory: Inventory) -> Self {
        Self {
            last_incarnation: inventory.last_incarnation.get(),
            child: inventory.child.map(Into::into),
            quarantined: inventory.quarantined.map_or(0, Incarnation::get),
            attempts: inventory.attempts.into_iter().map(Into::into).collect(),
            wanted: v1::Wanted::from(inventory.wanted).into(),
            checkpoint_save_time: inventory.checkpoint.map(|(_, saved)| timestamp_to_wire(saved)),
            checkpoint: inventory.checkpoint.map(|(id, _)| id.to_string()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::COUNTER_MAX;
    use super::super::attempt::tests::any_held;
    use super::super::checkpoint::tests::any_id;
    use super::super::process::tests::any_child;
    use super::super::report::tests::any_report;
    use super::*;
    use crate::session::Wanted;
    use crate::time::Timestamp;
    use proptest::collection::vec;
    use proptest::prelude::*;

    pub(in super::super) fn any_inventory() -> impl Strategy<Value = Inventory> {
        let child = proptest::option::of(any_child());
        let quarantined = proptest::option::of((1..=COUNTER_MAX).prop_map(Incarnation::new));
        let held = (vec(any_held(), 0..4), vec(any_report(), 0..4));
        let saved = any::<u64>().prop_map(Timestamp::from_unix_nanos);
        let checkpoint = proptest::option::of((any_id(), saved));
        (0..=COUNTER_MAX, child, quarantined, held, checkpoint).prop_map(
            |(last_incarnation, child, quarantined, (attempts, reports), checkpoint)| Inventory {
                last_incarnation: Incarnation::new(last_incarnation),
                child,
                quarantined,
                attempts,
                reports,
                wanted: if last_incarnation % 2 == 0 {
                    Wanted::Run
                } else {
                    Wanted::Rest
                },
                checkpoint,
            },
        )
    }

    #[test]
    fn errors_name_the_field() {
        let is = |inventory: v1::Inventory, expected: &str| {
            let refused = Inventory::try_from(inventory);
            assert_eq!(refused.err().map(|error| error.field).as_deref(), Some(expected));
        };
        let inventory = v1::Inventory::default;
        is(
            v1::Inventory {
                last_incarnation: u64::MAX,
                ..inventory()
            },
            "last_incarnation",
        );
        is(
            v1::Inventory {
                quarantined: u64::MAX,
                ..inventory()
            },
            "quarantined",
        );
        is(
            v1::Inventory {
                attempts: vec![v1::HeldAttempt::default(); ATTEMPTS_MAX + 1],
                ..inventory()
            },
            "attempts",
        );
        is(
            v1::Inventory {
                attempts: vec![v1::HeldAttempt::default()],
                ..inventory()
            },
            "attempts[0].attempt",
        );
        is(
            v1::Inventory {
                child: Some(v1::Child::default()),
                ..inventory()
            },
            "child.incarnation",
        );
    }
}
