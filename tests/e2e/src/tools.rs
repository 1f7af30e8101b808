//! Where the binaries under test and other people's clients are.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The binary that Cargo has built for this package under this name.
///
/// # Panics
/// When the tests are not run by Cargo, and the binary is not beside them either.
pub fn under_test(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a test knows its own file");
    let built = exe.parent().and_then(|deps| deps.parent()).map(|dir| dir.join(name));
    built
        .filter(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not built; run `cargo test -p rekindle-e2e`"))
}

/// A client that is not ours: in the directory that REKINDLE_E2E_TOOLS names, else on PATH. `None` when it is missing
/// and may be, which is said; in CI it may not.
///
/// # Panics
/// When it is missing in CI.
pub fn find(tool: &str) -> Option<PathBuf> {
    let named = std::env::var_os("REKINDLE_E2E_TOOLS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(tool))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!(
            "{tool} is not installed: run `.ci/run prepare`, and set REKINDLE_E2E_TOOLS=$PWD/target/ci/bin"
        ));
    }
    found
}

/// Says why a test is skipped.
///
/// # Panics
/// In CI, where nothing may be skipped.
pub fn skip(why: &str) {
    assert!(!is_ci(std::env::var_os("CI").as_deref()), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether this value of `CI` says that the tests run there. Services write `true` or `1`, people `false` or `0`.
fn is_ci(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !["", "false", "0"].iter().any(|no| value == *no))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_is_no_ci() {
        assert!(!is_ci(None));
        for (value, ci) in [
            ("", false),
            ("false", false),
            ("0", false),
            ("true", true),
            ("1", true),
            ("woodpecker", true),
        ] {
            assert_eq!(is_ci(Some(value.as_ref())), ci, "{value:?}");
        }
    }
}
