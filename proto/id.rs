//! Names and numbers that must not be mistaken for one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest agent id, in bytes: it fits a DNS label, and a file name on every host.
pub const AGENT_ID_MAX_BYTES: usize = 63;

/// Longest request id, in bytes: a UUID's 36 characters with room for a prefix.
pub const REQUEST_ID_MAX_BYTES: usize = 64;

/// The `{agent}` of the resource name `agents/{agent}` (AIP-122).
///
/// Lowercase letters, digits, `-`, `_` and `.`; the first and last character a letter or digit; 1 to 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(Box<str>);

/// Why a text is no [`AgentId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentIdError {
    /// Nothing stands where the id should be.
    #[error("an agent's name must not be empty; write for example \"agents/planner-1\"")]
    Empty,
    /// Longer than [`AGENT_ID_MAX_BYTES`].
    #[error("an agent's name has at most {AGENT_ID_MAX_BYTES} characters, and this one has {0}")]
    TooLong(usize),
    /// A character outside of the alphabet, or a separator at an end.
    #[error(
        "an agent's name has lowercase letters, digits, \"-\", \"_\" and \".\", and starts and ends with a letter or \
         digit; {0:?} does not"
    )]
    Alphabet(String),
    /// A resource name that is not one of an agent.
    #[error("{0:?} is not an agent's resource name; write \"agents/NAME\"")]
    NotAnAgent(String),
}

impl AgentId {
    /// The collection that agents are in.
    pub const COLLECTION: &str = "agents/";

    /// Parses the bare id, without `agents/`.
    pub fn new(id: &str) -> Result<Self, AgentIdError> {
        if id.is_empty() {
            return Err(AgentIdError::Empty);
        }
        if id.len() > AGENT_ID_MAX_BYTES {
            return Err(AgentIdError::TooLong(id.len()));
        }
        if is_resource_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(AgentIdError::Alphabet(id.to_owned()))
        }
    }

    /// Parses the resource name `agents/{agent}`.
    pub fn from_name(name: &str) -> Result<Self, AgentIdError> {
        if name.is_empty() {
            return Err(AgentIdError::Empty);
        }
        match name.strip_prefix(Self::COLLECTION) {
            Some(id) => Self::new(id),
            None => Err(AgentIdError::NotAnAgent(
                name.chars().take(AGENT_ID_MAX_BYTES).collect(),
            )),
        }
    }

    /// The resource name, `agents/{agent}`.
    pub fn name(&self) -> String {
        format!("{}{}", Self::COLLECTION, self.0)
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts both `planner-1` and `agents/planner-1`, as a person types either.
impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, AgentIdError> {
        Self::new(text.strip_prefix(Self::COLLECTION).unwrap_or(text))
    }
}

impl TryFrom<String> for AgentId {
    type Error = AgentIdError;

    fn try_from(id: String) -> Result<Self, AgentIdError> {
        Self::new(&id)
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> Self {
        id.0.into()
    }
}

/// Lowercase letters, digits, `-`, `_` and `.`; the first and last character a letter or digit.
pub(crate) fn is_resource_id(id: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| alphanumeric(c) || matches!(c, '-' | '_' | '.');
    id.chars().all(inside) && id.starts_with(alphanumeric) && id.ends_with(alphanumeric)
}

/// What a caller chose to make its retries one request (AIP-155): 1 to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Box<str>);

/// Why a text is no [`RequestId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request id has 1 to {REQUEST_ID_MAX_BYTES} printable ASCII characters, a UUID for example")]
pub struct RequestIdError;

impl RequestId {
    /// Parses a request id.
    pub fn new(id: &str) -> Result<Self, RequestIdError> {
        let fits = (1..=REQUEST_ID_MAX_BYTES).contains(&id.len());
        if fits && id.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(id.into()))
        } else {
            Err(RequestIdError)
        }
    }

    /// The text as the caller gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = RequestIdError;

    fn try_from(id: String) -> Result<Self, RequestIdError> {
        Self::new(&id)
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0.into()
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u128);

        impl $name {
            /// From its 128 bits.
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// Its 128 bits.
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = UuidError;

            fn from_str(text: &str) -> Result<Self, UuidError> {
                parse_uuid(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = UuidError;

            fn try_from(text: String) -> Result<Self, UuidError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

uuid_type! {
    /// Given to an agent when it is created: a deleted and re-created agent has another one.
    AgentUid
}
uuid_type! {
    /// Given to an execution when it is created.
    ExecutionUid
}
uuid_type! {
    /// Given to a workflow when it is created: what an earlier one of the same name has made is not its own.
    WorkflowUid
}
uuid_type! {
    /// One boot of one machine: `/proc/sys/kernel/random/boot_id` (random(4)).
    BootId
}
uuid_type! {
    /// One life of a shim process.
    ShimInstance
}
uuid_type! {
    /// Kept in a shim's state directory and planted in the environment of its children, and so in all their
    /// descendants'. Who holds the directory's lock may call every process that carries it ours.
    Marker
}

impl ExecutionUid {
    /// Of an attempt of which nobody wrote down whose it is, as earlier versions did not: no execution has this one.
    pub const UNKNOWN: Self = Self(0);

    /// [`ExecutionUid::UNKNOWN`], for what was written without it.
    pub const fn unknown() -> Self {
        Self::UNKNOWN
    }
}

/// Why a text is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID of the form 01234567-89ab-cdef-0123-456789abcdef (RFC 9562)")]
pub struct UuidError(String);

fn write_uuid(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hex = format!("{bits:032x}");
    write!(
        f,
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn parse_uuid(text: &str) -> Result<u128, UuidError> {
    let error = || UuidError(text.chars().take(64).collect());
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|g| g.len()).ne([8, 4, 4, 4, 12]) || !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    {
        return Err(error());
    }
    u128::from_str_radix(&groups.concat(), 16).map_err(|_| error())
}

macro_rules! counter_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);

            /// From its number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this.
            ///
            /// # Panics
            /// After 2^64 - 1 of them, which no system reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter does not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter_type! {
    /// One life of an agent's child process. Only rises, per agent; the first is 1.
    Incarnation
}
counter_type! {
    /// One session of an agent's shim. Given by the server; only rises, per agent; the first is 1.
    Epoch
}
counter_type! {
    /// The place of an event in the log, without holes; the first is 1.
    Sequence
}
counter_type! {
    /// The place of a fire among those of one workflow; the first is 1.
    FireNumber
}
counter_type! {
    /// The place of a report among those of one marker, without holes; the first is 1.
    ReportSequence
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agent_names() {
        for (name, error) in [
            ("agents/a", None),
            ("agents/planner-1.eu_2", None),
            ("", Some(AgentIdError::Empty)),
            ("agents/", Some(AgentIdError::Empty)),
            ("planner", Some(AgentIdError::NotAnAgent("planner".into()))),
            ("agents/Planner", Some(AgentIdError::Alphabet("Planner".into()))),
            ("agents/a/b", Some(AgentIdError::Alphabet("a/b".into()))),
            ("agents/-a", Some(AgentIdError::Alphabet("-a".into()))),
            ("agents/a.", Some(AgentIdError::Alphabet("a.".into()))),
            ("agents/ä", Some(AgentIdError::Alphabet("ä".into()))),
        ] {
            assert_eq!(AgentId::from_name(name).err(), error, "{name:?}");
        }
        assert_eq!(AgentId::new(&"a".repeat(64)), Err(AgentIdError::TooLong(64)));
    }

    #[test]
    fn uuids_are_strict() {
        assert!("01234567-89ab-cdef-0123-456789abcdef".parse::<BootId>().is_ok());
        for bad in [
            "",
            "0123456789abcdef0123456789abcdef",
            "+1234567-89ab-cdef-0123-456789abcdef",
            "x",
        ] {
            assert!(bad.parse::<BootId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn uuid_round_trip(bits: u128) {
            prop_assert_eq!(Marker::from_u128(bits).to_string().parse(), Ok(Marker::from_u128(bits)));
        }

        #[test]
        fn agent_id_never_panics(text in ".{0,80}") {
            if let Ok(id) = AgentId::new(&text) {
                prop_assert_eq!(AgentId::from_name(&id.name()), Ok(id));
            }
        }
    }
}
