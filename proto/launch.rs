//! What a shim runs its agent's program with, as far as it leaves the host.

use serde::{Deserialize, Serialize};

use crate::text::cut_line;

/// Longest directory, in bytes: a quarter of PATH_MAX (limits.h), which no directory that a person works in comes near.
pub const DIRECTORY_MAX_BYTES: usize = 1024;

/// Most arguments, the program included: what a person still reads.
pub const ARGUMENTS_MAX: usize = 64;

/// Longest arguments, all of them together, in bytes: three such texts, escaped, fit into an agent's record beside the
/// evidence of a failure.
pub const ARGUMENTS_MAX_BYTES: usize = 1536;

/// Most names of variables: several times what a login has.
pub const ENVIRONMENT_NAMES_MAX: usize = 128;

/// Longest names of variables, all of them together, in bytes; as [`ARGUMENTS_MAX_BYTES`].
pub const ENVIRONMENT_NAMES_MAX_BYTES: usize = 1024;

/// Where a program works, its arguments, and which variables it gets: within the limits above, and each text on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "LaunchFields")]
pub struct Launch {
    directory: String,
    arguments: Vec<String>,
    environment_names: Vec<String>,
    extent: Extent,
}

/// What a [`Launch`] is made of, of any length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct LaunchFields {
    /// Where the program works: an absolute path.
    pub directory: String,
    /// The program and its arguments, without what must not leave the host.
    pub arguments: Vec<String>,
    /// Names, never values, of the variables that the program gets from the shim.
    pub environment_names: Vec<String>,
    /// Whether something was cut before.
    pub extent: Extent,
}

/// Whether a launch is told in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// It is.
    #[default]
    Whole,
    /// Something was too long, and was cut.
    Cut,
}

impl Launch {
    /// Cuts what is too long, and says so by its extent.
    pub fn new(fields: LaunchFields) -> Self {
        let mut extent = fields.extent;
        let directory = cut(&fields.directory, DIRECTORY_MAX_BYTES, &mut extent);
        let arguments = cut_all(&fields.arguments, ARGUMENTS_MAX, ARGUMENTS_MAX_BYTES, &mut extent);
        let environment_names = cut_all(
            &fields.environment_names,
            ENVIRONMENT_NAMES_MAX,
            ENVIRONMENT_NAMES_MAX_BYTES,
            &mut extent,
        );
        Self {
            directory,
            arguments,
            environment_names,
            extent,
        }
    }

    /// Where the program works; empty where that is not known.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The program and its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Names of the variables that the program gets from the shim.
    pub fn environment_names(&self) -> &[String] {
        &self.environment_names
    }

    /// Whether something was cut.
    pub const fn extent(&self) -> Extent {
        self.extent
    }
}

impl From<LaunchFields> for Launch {
    fn from(fields: LaunchFields) -> Self {
        Self::new(fields)
    }
}

fn cut(text: &str, max_bytes: usize, extent: &mut Extent) -> String {
    let line = cut_line(text, max_bytes);
    if line.len() < text.len() {
        *extent = Extent::Cut;
    }
    line
}

fn cut_all(texts: &[String], max: usize, max_bytes: usize, extent: &mut Extent) -> Vec<String> {
    let mut left = max_bytes;
    let mut lines = Vec::new();
    for text in texts {
        if lines.len() == max || left == 0 && !text.is_empty() {
            *extent = Extent::Cut;
            break;
        }
        let line = cut(text, left, extent);
        left -= line.len();
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(change: impl FnOnce(&mut LaunchFields)) -> Launch {
        let mut fields = LaunchFields::default();
        change(&mut fields);
        Launch::new(fields)
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let whole = launch(|f| f.arguments = vec!["sleep".into(), String::new(), "a\nb".into()]);
        assert_eq!(whole.arguments(), ["sleep", "", "a b"]);
        assert_eq!(whole.extent(), Extent::Whole);
        let long = launch(|f| f.directory = "d".repeat(DIRECTORY_MAX_BYTES + 1));
        assert_eq!(
            (long.directory().len(), long.extent()),
            (DIRECTORY_MAX_BYTES, Extent::Cut)
        );
        let many = launch(|f| f.arguments = vec!["x".into(); ARGUMENTS_MAX + 1]);
        assert_eq!((many.arguments().len(), many.extent()), (ARGUMENTS_MAX, Extent::Cut));
        let wide = launch(|f| f.arguments = vec!["x".repeat(ARGUMENTS_MAX_BYTES - 1), "ä".into(), "y".into()]);
        let bytes: usize = wide.arguments().iter().map(String::len).sum();
        assert!(bytes <= ARGUMENTS_MAX_BYTES, "{bytes}");
        assert_eq!(wide.extent(), Extent::Cut);
        let names = launch(|f| f.environment_names = vec!["N".repeat(ENVIRONMENT_NAMES_MAX_BYTES), "M".into()]);
        assert_eq!((names.environment_names().len(), names.extent()), (1, Extent::Cut));
    }

    #[test]
    fn what_is_stored_keeps_the_limits() {
        let stored = format!(
            r#"{{"directory":"{}","arguments":[],"environment_names":[],"extent":"Whole"}}"#,
            "d".repeat(DIRECTORY_MAX_BYTES + 1)
        );
        let read: Launch = serde_json::from_str(&stored).expect("cut, not refused");
        assert_eq!(read.extent(), Extent::Cut);
        let again = serde_json::to_string(&read).expect("it has an encoding");
        assert_eq!(serde_json::from_str::<Launch>(&again).expect("valid"), read);
    }
}
