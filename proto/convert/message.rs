//! What a shim says: `ConnectRequest`.

use super::process::{process_to_wire, required_process};
use super::report::MESSAGE_MAX_BYTES;
use super::text::cut_line;
use super::{WireError, counter_or_zero};
use crate::report::{Hello, Inventory, Report};
use crate::session::{CommandId, ShimMessage};
use crate::wire::v1::{self, connect_request::Message};

impl TryFrom<v1::ConnectRequest> for ShimMessage {
    type Error = WireError;

    fn try_from(request: v1::ConnectRequest) -> Result<Self, WireError> {
        Ok(match request.message.ok_or_else(|| WireError::missing("message"))? {
            Message::Hello(hello) => Self::Hello(Box::new(
                Hello::try_from(*hello).map_err(|error| error.within("hello"))?,
            )),
            Message::Inventory(inventory) => Self::Inventory(Box::new(
                Inventory::try_from(*inventory).map_err(|error| error.within("inventory"))?,
            )),
            Message::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
            Message::Report(report) => Self::Report(Box::new(
                Report::try_from(*report).map_err(|error| error.within("report"))?,
            )),
            Message::Goodbye(v1::Goodbye {}) => Self::Goodbye,
            Message::Activity(activity) => Self::Activity(
                activity
                    .try_into()
                    .map_err(|error: WireError| error.within("activity"))?,
            ),
            Message::Confirmation(v1::Confirmation { command_id }) => {
                Self::Confirmed(counter_or_zero(command_id, "confirmation.command_id", CommandId)?)
            }
            Message::SignalResult(result) => {
                let command = counter_or_zero(result.command_id, "signal_result.command_id", CommandId)?;
                let result = match result.process {
                    Some(process) => {
                        Ok(required_process(Some(process)).map_err(|error| error.within("signal_result"))?)
                    }
                    None => Err(cut_line(&result.error, MESSAGE_MAX_BYTES)),
                };
                Self::SignalResult(command, result)
            }
            Message::Checkpoint(saved) => Self::Checkpoint(Box::new(
                (*saved)
                    .try_into()
                    .map_err(|error: WireError| error.within("checkpoint"))?,
            )),
            Message::OutputPart(part) => Self::Output(
                part.try_into()
                    .map_err(|error: WireError| error.within("output_part"))?,
            ),
        })
    }
}

impl ShimMessage {
    /// As it goes on the stream, message by message: an inventory comes after its reports, which are as many as they are.
    pub fn into_wire(mut self) -> impl Iterator<Item = v1::ConnectRequest> {
        let reports = match &mut self {
            Self::Inventory(inventory) => std::mem::take(&mut inventory.reports),
            Self::Hello(_)
            | Self::Heartbeat
            | Self::Report(_)
            | Self::Goodbye
            | Self::Activity(_)
            | Self::Confirmed(_)
            | Self::SignalResult(..)
            | Self::Output(_)
            | Self::Checkpoint(_) => Vec::new(),
        };
        let before = reports.into_iter().map(|report| Self::Report(Box::new(report)));
        before.chain([self]).map(one_to_wire)
    }
}

fn one_to_wire(message: ShimMessage) -> v1::ConnectRequest {
    let message = {
        match message {
            ShimMessage::Hello(hello) => Message::Hello(Box::new((*hello).into())),
            ShimMessage::Inventory(inventory) => Message::Inventory(Box::new((*inventory).into())),
            ShimMessage::Heartbeat => Message::Heartbeat(v1::Heartbeat {}),
            ShimMessage::Report(report) => Message::Report(Box::new((*report).into())),
            ShimMessage::Goodbye => Message::Goodbye(v1::Goodbye {}),
            ShimMessage::Activity(activity) => Message::Activity(activity.into()),
            ShimMessage::Confirmed(CommandId(command_id)) => Message::Confirmation(v1::Confirmation { command_id }),
            ShimMessage::Output(part) => Message::OutputPart(part.into()),
            ShimMessage::Checkpoint(held) => Message::Checkpoint(Box::new((*held).into())),
            ShimMessage::SignalResult(CommandId(command_id), result) => {
                let (process, error) = match result {
                    Ok(process) => (Some(process_to_wire(&process, "")), String::new()),
                    Err(error) => (None, cut_line(&error, MESSAGE_MAX_BYTES)),
                };
                Message::SignalResult(v1::SignalResult {
                    command_id,
                    process,
                    error,
                })
            }
        }
    };
    v1::ConnectRequest { message: Some(message) }
}

#[cfg(test)]
mod tests {
    use super::super::COUNTER_MAX;
    use super::super::activity::tests::any_activity;
    use super::super::checkpoint::tests::any_held;
    use super::super::hello::tests::any_hello;
    use super::super::inventory::tests::any_inventory;
    use super::super::process::tests::any_process;
    use super::super::report::tests::any_report;
    use super::*;
    use proptest::prelude::*;

    fn any_message() -> impl Strategy<Value = ShimMessage> {
        let signalled = prop_oneof![any_process().prop_map(Ok), "[ -~]{0,40}".prop_map(Err)];
        prop_oneof![
            any_hello().prop_map(|hello| ShimMessage::Hello(Box::new(hello))),
            any_inventory().prop_map(|inventory| ShimMessage::Inventory(Box::new(inventory))),
            Just(ShimMessage::Heartbeat),
            any_report().prop_map(|report| ShimMessage::Report(Box::new(report))),
            Just(ShimMessage::Goodbye),
            any_activity().prop_map(ShimMessage::Activity),
            any_held().prop_map(|held| ShimMessage::Checkpoint(Box::new(held))),
            (0..=COUNTER_MAX).prop_map(|id| ShimMessage::Confirmed(CommandId(id))),
            (0..=COUNTER_MAX, signalled).prop_map(|(id, result)| ShimMessage::SignalResult(CommandId(id), result)),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip(message in any_message()) {
            let mut reports = Vec::new();
            let mut heard = None;
            let single = !matches!(message, ShimMessage::Inventory(_));
            for request in message.clone().into_wire() {
                match ShimMessage::try_from(request) {
                    Ok(ShimMessage::Report(report)) if !single => reports.push(*report),
                    other => heard = Some(other),
                }
            }
            if let Some(Ok(ShimMessage::Inventory(inventory))) = &mut heard {
                inventory.reports = reports;
            }
            prop_assert_eq!(heard, Some(Ok(message)));
        }
    }

    #[test]
    fn a_message_says_something() {
        let empty = ShimMessage::try_from(v1::ConnectRequest { message: None });
        assert_eq!(empty, Err(WireError::missing("message")));
    }

    #[test]
    fn errors_name_the_message() {
        let field = |message| {
            let refused = ShimMessage::try_from(v1::ConnectRequest { message: Some(message) });
            refused.err().map(|error| error.field)
        };
        assert_eq!(field(Message::Hello(Box::default())).as_deref(), Some("hello.host"));
        let child = Some(v1::Child::default());
        let inventory = v1::Inventory {
            child,
            ..v1::Inventory::default()
        };
        assert_eq!(
            field(Message::Inventory(Box::new(inventory))).as_deref(),
            Some("inventory.child.incarnation")
        );
    }
}
