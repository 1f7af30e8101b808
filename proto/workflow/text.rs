//! A workflow's message, and what its trigger adds to it.

/// Where a message has this, it gets what the trigger brought.
pub const PAYLOAD_MARK: &str = "{payload}";

/// The message of one execution: the workflow's, with the payload, verbatim, wherever it has [`PAYLOAD_MARK`]. What the
/// payload itself has of it stays as it is. A message without it stays as it is, too.
///
/// `None` where the result is longer than [`MESSAGE_MAX_BYTES`](crate::execution::MESSAGE_MAX_BYTES).
pub fn with_payload(message: &str, payload: &str) -> Option<String> {
    let marks = message.matches(PAYLOAD_MARK).count();
    let bytes = message.len() - marks * PAYLOAD_MARK.len() + marks.checked_mul(payload.len())?;
    (bytes <= crate::execution::MESSAGE_MAX_BYTES).then(|| message.replace(PAYLOAD_MARK, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::MESSAGE_MAX_BYTES;

    #[test]
    fn a_payload_goes_where_the_message_has_room_for_it() {
        assert_eq!(with_payload("no mark", "p").as_deref(), Some("no mark"));
        assert_eq!(with_payload("<{payload}|{payload}>", "p").as_deref(), Some("<p|p>"));
        assert_eq!(with_payload("{payload}", "{payload}\"").as_deref(), Some("{payload}\""));
        assert_eq!(with_payload("{payload}", "").as_deref(), Some(""));
        let rest = "x".repeat(MESSAGE_MAX_BYTES - 2);
        let message = format!("{rest}{PAYLOAD_MARK}");
        assert_eq!(
            with_payload(&message, "yy").map(|text| text.len()),
            Some(MESSAGE_MAX_BYTES)
        );
        assert_eq!(with_payload(&message, "yyy"), None);
    }
}
