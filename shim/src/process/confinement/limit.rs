//! Resource limits, by the names that prlimit(1) gives them.

use std::fmt;
use std::str::FromStr;

use rustix::process::{Resource, Rlimit};

/// Names as in prlimit(1), in the order of its manual page.
const RESOURCES: [(&str, Resource); 16] = [
    ("core", Resource::Core),
    ("data", Resource::Data),
    ("nice", Resource::Nice),
    ("fsize", Resource::Fsize),
    ("sigpending", Resource::Sigpending),
    ("memlock", Resource::Memlock),
    ("rss", Resource::Rss),
    ("nofile", Resource::Nofile),
    ("msgqueue", Resource::Msgqueue),
    ("rtprio", Resource::Rtprio),
    ("stack", Resource::Stack),
    ("cpu", Resource::Cpu),
    ("nproc", Resource::Nproc),
    ("as", Resource::As),
    ("locks", Resource::Locks),
    ("rttime", Resource::Rttime),
];

/// No limit at all.
const UNLIMITED: &str = "unlimited";

/// One resource's two limits, in the units of setrlimit(2). `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    name: &'static str,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

/// Why a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("{0:?} is not NAME=SOFT or NAME=SOFT:HARD; write for example nofile=4096")]
    Shape(String),
    #[error("{0:?} is no resource; there are {names}", names = names())]
    Name(String),
    #[error("{0:?} is neither a number nor {UNLIMITED}")]
    Value(String),
    #[error("the soft limit of {0} is above its hard limit")]
    Order(&'static str),
}

fn names() -> String {
    RESOURCES.map(|(name, _)| name).join(", ")
}

impl Limit {
    /// Whether both are about one resource.
    pub(super) fn is_of_same(&self, other: &Self) -> bool {
        self.name == other.name
    }

    pub(super) const fn resource(self) -> Resource {
        self.resource
    }

    pub(super) const fn values(self) -> Rlimit {
        Rlimit {
            current: self.soft,
            maximum: self.hard,
        }
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, values) = text.split_once('=').ok_or_else(|| LimitError::Shape(text.to_owned()))?;
        let known = RESOURCES.iter().find(|(known, _)| *known == name);
        let (name, resource) = *known.ok_or_else(|| LimitError::Name(name.to_owned()))?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let limit = Self {
            name,
            resource,
            soft: value(soft)?,
            hard: value(hard)?,
        };
        let rank = |value: Option<u64>| value.unwrap_or(u64::MAX);
        if rank(limit.soft) > rank(limit.hard) {
            return Err(LimitError::Order(name));
        }
        Ok(limit)
    }
}

fn value(text: &str) -> Result<Option<u64>, LimitError> {
    if text == UNLIMITED {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| LimitError::Value(text.to_owned()))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: Option<u64>| value.map_or_else(|| UNLIMITED.to_owned(), |value| value.to_string());
        write!(f, "{}={}:{}", self.name, show(self.soft), show(self.hard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let shown = |text: &str| text.parse::<Limit>().map(|limit| limit.to_string());
        assert_eq!(shown("nofile=64").as_deref(), Ok("nofile=64:64"));
        assert_eq!(shown("core=0:unlimited").as_deref(), Ok("core=0:unlimited"));
        assert_eq!(shown("as=unlimited").as_deref(), Ok("as=unlimited:unlimited"));
        for (name, _) in RESOURCES {
            assert!(shown(&format!("{name}=1")).is_ok());
        }
    }

    #[test]
    fn what_is_no_limit_says_why() {
        let why = |text: &str| text.parse::<Limit>().expect_err("refused").to_string();
        assert!(why("nofile").starts_with("\"nofile\" is not NAME=SOFT"));
        assert!(why("files=3").starts_with("\"files\" is no resource; there are core, data, "));
        assert_eq!(why("core=-1"), "\"-1\" is neither a number nor unlimited");
        assert_eq!(why("core=1:"), "\"\" is neither a number nor unlimited");
        assert_eq!(why("core=2:1"), "the soft limit of core is above its hard limit");
        assert_eq!(
            why("core=unlimited:1"),
            "the soft limit of core is above its hard limit"
        );
    }
}
