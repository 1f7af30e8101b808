//! What a running attempt writes, on the shim's stream.

use super::attempt::attempt;
use super::{WireError, counter_or_zero};
use crate::execution::{Follow, OUTPUT_PART_MAX_BYTES, OutputKind, OutputPart};
use crate::wire::v1;

impl TryFrom<v1::Follow> for Follow {
    type Error = WireError;

    fn try_from(follow: v1::Follow) -> Result<Self, WireError> {
        let offset = |from| counter_or_zero(from, "offset", std::convert::identity);
        Ok(Self {
            attempt: attempt(follow.attempt)?,
            from: follow.offset.map(offset).transpose()?,
            credit: follow.credit,
        })
    }
}

impl From<Follow> for v1::Follow {
    fn from(follow: Follow) -> Self {
        Self {
            attempt: Some(follow.attempt.into()),
            offset: follow.from,
            credit: follow.credit,
        }
    }
}

impl TryFrom<v1::OutputPart> for OutputPart {
    type Error = WireError;

    fn try_from(part: v1::OutputPart) -> Result<Self, WireError> {
        let bytes = part.data.len();
        if !(1..=OUTPUT_PART_MAX_BYTES).contains(&bytes) {
            let problem = format!("has {bytes} bytes, and 1 to {OUTPUT_PART_MAX_BYTES} are taken");
            return Err(WireError::new("data", problem));
        }
        Ok(Self {
            attempt: attempt(part.attempt)?,
            kind: match v1::OutputKind::try_from(part.kind) {
                Ok(v1::OutputKind::Unspecified | v1::OutputKind::Stdout) => OutputKind::Output,
                Ok(v1::OutputKind::Progress) => OutputKind::Progress,
                Err(_) => {
                    let problem = format!("{} is no value of this enum", part.kind);
                    return Err(WireError::new("kind", problem));
                }
            },
            offset: counter_or_zero(part.offset, "offset", std::convert::identity)?,
            data: part.data,
        })
    }
}

impl From<OutputPart> for v1::OutputPart {
    fn from(part: OutputPart) -> Self {
        Self {
            attempt: Some(part.attempt.into()),
            offset: part.offset,
            data: part.data,
            kind: v1::OutputKind::from(part.kind).into(),
        }
    }
}

impl From<OutputKind> for v1::OutputKind {
    fn from(kind: OutputKind) -> Self {
        match kind {
            OutputKind::Output => Self::Stdout,
            OutputKind::Progress => Self::Progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::COUNTER_MAX;
    use super::super::attempt::tests::any_attempt;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn follows_round_trip(
            attempt in any_attempt(),
            from in proptest::option::of(0..=COUNTER_MAX),
            credit: u32,
        ) {
            let follow = Follow { attempt, from, credit };
            prop_assert_eq!(Follow::try_from(v1::Follow::from(follow.clone())), Ok(follow));
        }

        #[test]
        fn pieces_round_trip(
            attempt in any_attempt(),
            offset in 0..=COUNTER_MAX,
            data in proptest::collection::vec(any::<u8>(), 1..100),
            kind in proptest::sample::select(vec![OutputKind::Output, OutputKind::Progress]),
        ) {
            let part = OutputPart { attempt, kind, offset, data };
            prop_assert_eq!(OutputPart::try_from(v1::OutputPart::from(part.clone())), Ok(part));
        }
    }

    #[test]
    fn limits() {
        let part = |bytes, offset| v1::OutputPart {
            attempt: Some(v1::Attempt {
                execution: "e".into(),
                number: 1,
                ..Default::default()
            }),
            offset,
            data: vec![0; bytes],
            kind: 0,
        };
        // As of a shim that knows no kinds.
        let stdout = OutputPart::try_from(part(OUTPUT_PART_MAX_BYTES, 0));
        assert!(stdout.is_ok_and(|part| part.kind == OutputKind::Output));
        for (wrong, field) in [
            (part(0, 0), "data"),
            (part(OUTPUT_PART_MAX_BYTES + 1, 0), "data"),
            (part(1, COUNTER_MAX + 1), "offset"),
            (v1::OutputPart { kind: 9, ..part(1, 0) }, "kind"),
            (v1::OutputPart::default(), "data"),
        ] {
            assert_eq!(OutputPart::try_from(wrong).expect_err(field).field, field);
        }
    }
}
