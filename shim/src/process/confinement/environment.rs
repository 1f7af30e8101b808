//! Which variables of the shim's environment a child gets.

use std::ffi::OsStr;
use std::str::FromStr;

/// What of the shim's environment goes on. What the shim itself tells its child is not asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Environment {
    /// Everything but these.
    Pass { deny: Vec<NamePattern> },
    /// These alone.
    Clear { allow: Vec<NamePattern> },
}

/// A variable's name, or the start of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamePattern {
    Name(String),
    /// Written with an asterisk behind it.
    Start(String),
}

/// Why a text names no variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no variable; write for example AWS_REGION, or AWS_* for all that begin so")]
pub(crate) struct NameError(String);

impl Default for Environment {
    fn default() -> Self {
        Self::Pass { deny: Vec::new() }
    }
}

impl Environment {
    /// Whether a variable goes on.
    pub(in crate::process) fn passes(&self, name: &OsStr) -> bool {
        let any = |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.fits(name));
        match self {
            Self::Pass { deny } => !any(deny),
            Self::Clear { allow } => any(allow),
        }
    }
}

impl NamePattern {
    fn fits(&self, name: &OsStr) -> bool {
        match self {
            Self::Name(whole) => name == whole.as_str(),
            Self::Start(start) => name.as_encoded_bytes().starts_with(start.as_bytes()),
        }
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let pattern = match text.strip_suffix('*') {
            Some(start) => Self::Start(start.to_owned()),
            None if text.is_empty() => return Err(NameError(text.to_owned())),
            None => Self::Name(text.to_owned()),
        };
        let (Self::Name(name) | Self::Start(name)) = &pattern;
        if name.contains(['=', '\0', '*']) {
            return Err(NameError(text.to_owned()));
        }
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<NamePattern> {
        texts.iter().map(|text| text.parse().expect("valid")).collect()
    }

    #[test]
    fn what_goes_on() {
        let passes = |environment: &Environment, name: &str| environment.passes(OsStr::new(name));
        let deny = Environment::Pass {
            deny: patterns(&["TOKEN", "AWS_*"]),
        };
        assert!(passes(&deny, "PATH") && passes(&deny, "TOKENS") && passes(&deny, "AWS"));
        assert!(!passes(&deny, "TOKEN") && !passes(&deny, "AWS_") && !passes(&deny, "AWS_KEY"));
        let allow = Environment::Clear {
            allow: patterns(&["PATH", "LC_*"]),
        };
        assert!(passes(&allow, "PATH") && passes(&allow, "LC_ALL"));
        assert!(!passes(&allow, "HOME"));
        assert!(passes(&Environment::default(), "HOME"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", "A=B", "*A", "A**", "A\0"] {
            assert!(text.parse::<NamePattern>().is_err(), "{text:?}");
        }
        assert_eq!(patterns(&["*"]), [NamePattern::Start(String::new())]);
    }
}
