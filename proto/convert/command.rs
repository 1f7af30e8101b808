//! What the server says: `ConnectResponse`.

use std::time::Duration;

use super::attempt::{attempt, dispatch_from_wire};
use super::checkpoint::{run_context, run_context_to_wire, stock, stock_to_wire};
use super::policy::{policy_from_wire, policy_to_wire};
use super::text::cut_line;
use super::time::{duration_from_wire, duration_to_wire, optional_duration};
use super::{WireError, counter, counter_or_zero, known};
use crate::id::{Epoch, Incarnation, ReportSequence};
use crate::policy::{AgentPolicy, STOP_GRACE_MAX};
use crate::session::{Charge, Command, CommandId, EndWhen, ServerMessage, Wanted, Welcome};
use crate::wire::v1::{self, connect_response::Message};

/// Longest time between two heartbeats that a shim goes by: an hour of silence is no supervision.
pub const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Shortest time between two heartbeats: below, the beats are the load.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longest `standing`, in bytes; it is one line of a log.
pub const STANDING_MAX_BYTES: usize = 1024;
/// Largest number of a signal on Linux (`SIGRTMAX`).
const SIGNAL_MAX: i32 = 64;

impl TryFrom<v1::ConnectResponse> for ServerMessage {
    type Error = WireError;

    fn try_from(response: v1::ConnectResponse) -> Result<Self, WireError> {
        let id = counter_or_zero(response.command_id, "command_id", CommandId)?;
        let command = match response.message.ok_or_else(|| WireError::missing("message"))? {
            Message::Welcome(welcome) => {
                let welcome = Welcome::try_from(welcome).map_err(|error| error.within("welcome"))?;
                return Ok(Self::Welcome(Box::new(welcome)));
            }
            Message::Acknowledge(v1::Acknowledge { sequence }) => {
                return counter_or_zero(sequence, "acknowledge.sequence", ReportSequence::new).map(Self::Acknowledge);
            }
            Message::Follow(follow) => {
                let follow = follow.try_into().map_err(|error: WireError| error.within("follow"))?;
                return Ok(Self::Follow(follow));
            }
            Message::CheckpointKept(kept) => {
                let kept = kept
                    .try_into()
                    .map_err(|error: WireError| error.within("checkpoint_kept"))?;
                return Ok(Self::CheckpointKept(kept));
            }
            Message::Run(run) => Command::Run {
                incarnation: counter(run.incarnation, "run.incarnation", Incarnation::new)?,
                grace: grace(run.grace_period, "run.grace_period")?,
                context: run_context(run.context).map_err(|error| error.within("run.context"))?,
            },
            Message::Stop(stop) => Command::Stop {
                incarnation: counter_or_zero(stop.incarnation, "stop.incarnation", Incarnation::new)?,
                grace: grace(stop.grace_period, "stop.grace_period")?,
            },
            Message::Signal(v1::Signal { incarnation, signal }) => {
                if !(1..=SIGNAL_MAX).contains(&signal) {
                    return Err(WireError::new("signal.signal", format!("{signal} is no signal")));
                }
                Command::Signal {
                    incarnation: counter(incarnation, "signal.incarnation", Incarnation::new)?,
                    signal,
                }
            }
            Message::SetPolicy(v1::SetPolicy { policy }) => {
                let policy = read_policy(policy).map_err(|error| error.within("set_policy.policy"))?;
                Command::SetPolicy(Box::new(policy))
            }
            Message::Charge(charge) => {
                Command::Charge(charge.try_into().map_err(|error: WireError| error.within("charge"))?)
            }
            Message::Dispatch(dispatch) => {
                let dispatch = dispatch_from_wire(dispatch).map_err(|error| error.within("dispatch"))?;
                Command::Dispatch(Box::new(dispatch))
            }
            Message::EndAttempt(end) => Command::EndAttempt {
                attempt: attempt(end.attempt).map_err(|error| error.within("end_attempt"))?,
                grace: grace(end.grace_period, "end_attempt.grace_period")?,
                when: match known(end.condition, "end_attempt.condition")? {
                    v1::EndCondition::Unspecified => EndWhen::Now,
                    v1::EndCondition::Overdue => EndWhen::Overdue,
                    v1::EndCondition::NotBegun => EndWhen::NotBegun,
                },
            },
        };
        Ok(Self::Command(id, command))
    }
}

impl From<ServerMessage> for v1::ConnectResponse {
    fn from(message: ServerMessage) -> Self {
        let (command_id, message) = match message {
            ServerMessage::Welcome(welcome) => (0, Message::Welcome((*welcome).into())),
            ServerMessage::Acknowledge(sequence) => {
                let sequence = sequence.get();
                (0, Message::Acknowledge(v1::Acknowledge { sequence }))
            }
            ServerMessage::Follow(follow) => (0, Message::Follow(follow.into())),
            ServerMessage::CheckpointKept(kept) => (0, Message::CheckpointKept(kept.into())),
            ServerMessage::Command(CommandId(id), command) => (id, write_command(command)),
        };
        Self {
            command_id,
            message: Some(message),
        }
    }
}

fn write_command(command: Command) -> Message {
    match command {
        Command::Run {
            incarnation,
            grace,
            context,
        } => Message::Run(Box::new(v1::Run {
            incarnation: incarnation.get(),
            grace_period: grace.map(duration_to_wire),
            context: Some(run_context_to_wire(context)),
        })),
        Command::Stop { incarnation, grace } => Message::Stop(v1::Stop {
            incarnation: incarnation.get(),
            grace_period: grace.map(duration_to_wire),
        }),
        Command::Signal { incarnation, signal } => Message::Signal(v1::Signal {
            incarnation: incarnation.get(),
            signal,
        }),
        Command::SetPolicy(policy) => Message::SetPolicy(v1::SetPolicy {
            policy: Some(policy_to_wire(&policy)),
        }),
        Command::Charge(charge) => Message::Charge(charge.into()),
        Command::Dispatch(dispatch) => Message::Dispatch((*dispatch).into()),
        Command::EndAttempt { attempt, grace, when } => Message::EndAttempt(v1::EndAttempt {
            attempt: Some(attempt.into()),
            grace_period: grace.map(duration_to_wire),
            condition: match when {
                EndWhen::Now => v1::EndCondition::Unspecified,
                EndWhen::Overdue => v1::EndCondition::Overdue,
                EndWhen::NotBegun => v1::EndCondition::NotBegun,
            }
            .into(),
        }),
    }
}

impl From<Wanted> for v1::Wanted {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Run => Self::Run,
            Wanted::Rest => Self::Rest,
        }
    }
}

pub(super) fn wanted(number: i32) -> Result<Wanted, WireError> {
    Ok(match known(number, "wanted")? {
        v1::Wanted::Run => Wanted::Run,
        v1::Wanted::Rest | v1::Wanted::Unspecified => Wanted::Rest,
    })
}

impl From<Charge> for v1::Charge {
    fn from(charge: Charge) -> Self {
        Self {
            wanted: v1::Wanted::from(charge.wanted).into(),
            attempts: charge.attempts,
            last_attempt_ago: charge.last_attempt_ago.map(duration_to_wire),
            salt: charge.salt,
            past: charge.past.get(),
        }
    }
}

impl TryFrom<v1::Charge> for Charge {
    type Error = WireError;

    fn try_from(charge: v1::Charge) -> Result<Self, WireError> {
        Ok(Self {
            wanted: wanted(charge.wanted)?,
            attempts: charge.attempts,
            last_attempt_ago: optional_duration(charge.last_attempt_ago, "last_attempt_ago")?,
            salt: charge.salt,
            past: counter_or_zero(charge.past, "past", Incarnation::new)?,
        })
    }
}

impl TryFrom<v1::Welcome> for Welcome {
    type Error = WireError;

    fn try_from(welcome: v1::Welcome) -> Result<Self, WireError> {
        const FIELD: &str = "heartbeat_interval";
        let interval = welcome.heartbeat_interval.ok_or_else(|| WireError::missing(FIELD))?;
        let heartbeat_interval = duration_from_wire(interval, FIELD)?;
        if !(HEARTBEAT_INTERVAL_MIN..=HEARTBEAT_INTERVAL_MAX).contains(&heartbeat_interval) {
            return Err(WireError::new(FIELD, "is not between 1ms and 1h"));
        }
        Ok(Self {
            epoch: counter(welcome.epoch, "epoch", Epoch::new)?,
            heartbeat_interval,
            policy: read_policy(welcome.policy).map_err(|error| error.within("policy"))?,
            acknowledged: counter_or_zero(
                welcome.acknowledged_sequence,
                "acknowledged_sequence",
                ReportSequence::new,
            )?,
            standing: cut_line(&welcome.standing, STANDING_MAX_BYTES),
            checkpoints: stock(welcome.checkpoints)?,
        })
    }
}

impl From<Welcome> for v1::Welcome {
    fn from(welcome: Welcome) -> Self {
        Self {
            epoch: welcome.epoch.get(),
            heartbeat_interval: Some(duration_to_wire(welcome.heartbeat_interval)),
            policy: Some(policy_to_wire(&welcome.policy)),
            acknowledged_sequence: welcome.acknowledged.get(),
            standing: cut_line(&welcome.standing, STANDING_MAX_BYTES),
            checkpoints: stock_to_wire(welcome.checkpoints),
        }
    }
}

fn read_policy(policy: Option<v1::AgentPolicy>) -> Result<AgentPolicy, WireError> {
    policy_from_wire(&policy.unwrap_or_default())
}

fn grace(grace: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, WireError> {
    let grace = optional_duration(grace, field)?;
    match grace {
        Some(long) if long > STOP_GRACE_MAX => Err(WireError::new(field, "must be at most 1h")),
        Some(_) | None => Ok(grace),
    }
}

#[cfg(test)]
mod tests {
    use super::super::COUNTER_MAX;
    use super::super::attempt::tests::{any_attempt, any_dispatch};
    use super::super::checkpoint::tests::{any_context, any_id, any_stock};
    use super::super::policy::tests::any_policy;
    use super::*;
    use crate::session::CheckpointKept;
    use proptest::prelude::*;

    fn any_command() -> impl Strategy<Value = Command> {
        let life = || (1..=COUNTER_MAX).prop_map(Incarnation::new);
        let grace = || proptest::option::of((0u64..=3_600_000).prop_map(Duration::from_millis));
        prop_oneof![
            (life(), grace(), any_context()).prop_map(|(incarnation, grace, context)| Command::Run {
                incarnation,
                grace,
                context
            }),
            (life(), grace()).prop_map(|(incarnation, grace)| Command::Stop { incarnation, grace }),
            (life(), 1i32..=64).prop_map(|(incarnation, signal)| Command::Signal { incarnation, signal }),
            any_policy().prop_map(|policy| Command::SetPolicy(Box::new(policy))),
            (
                any::<bool>(),
                any::<u32>(),
                proptest::option::of(any::<u32>()),
                any::<u64>()
            )
                .prop_map(|(runs, attempts, ago, salt)| {
                    Command::Charge(Charge {
                        wanted: if runs { Wanted::Run } else { Wanted::Rest },
                        attempts,
                        last_attempt_ago: ago.map(|ago| Duration::from_millis(ago.into())),
                        salt,
                        past: Incarnation::new(attempts.into()),
                    })
                }),
            any_dispatch().prop_map(|dispatch| Command::Dispatch(Box::new(dispatch))),
            (
                any_attempt(),
                proptest::option::of(0u64..=3_600_000),
                proptest::sample::select(vec![EndWhen::Now, EndWhen::Overdue, EndWhen::NotBegun])
            )
                .prop_map(|(attempt, millis, when)| Command::EndAttempt {
                    attempt,
                    grace: millis.map(Duration::from_millis),
                    when,
                }),
        ]
    }

    fn any_message() -> impl Strategy<Value = ServerMessage> {
        let welcome = (
            1..=COUNTER_MAX,
            1u64..=3_600_000,
            any_policy(),
            0..=COUNTER_MAX,
            "[ -~]{0,60}",
            any_stock(),
        );
        prop_oneof![
            welcome.prop_map(|(epoch, millis, policy, acknowledged, standing, checkpoints)| {
                ServerMessage::Welcome(Box::new(Welcome {
                    epoch: Epoch::new(epoch),
                    heartbeat_interval: Duration::from_millis(millis),
                    policy,
                    acknowledged: ReportSequence::new(acknowledged),
                    standing,
                    checkpoints,
                }))
            }),
            (0..=COUNTER_MAX).prop_map(|sequence| ServerMessage::Acknowledge(ReportSequence::new(sequence))),
            (0..=COUNTER_MAX, any_command()).prop_map(|(id, command)| ServerMessage::Command(CommandId(id), command)),
            (any_id(), proptest::option::of("[ -~]{0,9}x"))
                .prop_map(|(id, refused)| ServerMessage::CheckpointKept(CheckpointKept { id, refused })),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip(message in any_message()) {
            prop_assert_eq!(ServerMessage::try_from(v1::ConnectResponse::from(message.clone())), Ok(message));
        }
    }

    #[test]
    fn errors_name_the_field() {
        let field = |message| {
            let response = v1::ConnectResponse { command_id: 0, message };
            ServerMessage::try_from(response).err().map(|error| error.field)
        };
        assert_eq!(field(None).as_deref(), Some("message"));
        let welcome = v1::Welcome {
            epoch: 1,
            heartbeat_interval: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        assert_eq!(
            field(Some(Message::Welcome(welcome))).as_deref(),
            Some("welcome.heartbeat_interval")
        );
        let run = v1::Run {
            incarnation: 1,
            grace_period: Some(prost_types::Duration {
                seconds: 3601,
                nanos: 0,
            }),
            ..Default::default()
        };
        assert_eq!(
            field(Some(Message::Run(Box::new(run)))).as_deref(),
            Some("run.grace_period")
        );
        let signal = v1::Signal {
            incarnation: 1,
            signal: 0,
        };
        assert_eq!(field(Some(Message::Signal(signal))).as_deref(), Some("signal.signal"));
    }
}
