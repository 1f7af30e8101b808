//! A state as lines for the `eval` of a POSIX shell. Whatever stands in it, it is assigned, and nothing of it is run.

use rekindle::state_file::{StateFile, VALUE_VARIABLE, VARIABLES};

/// Assigns what there is, and unsets the rest: this life may have been given variables of the same names at its start, which
/// mean nothing any more. `environment`: the names of what there is.
pub(super) fn lines(state: &StateFile, environment: impl Iterator<Item = String>) -> String {
    let variables = state.variables().into_iter().filter(|(name, _)| is_name(name));
    let exports = variables.map(|(name, value)| format!("export {name}={}\n", quote(&value)));
    [nothing(environment)].into_iter().chain(exports).collect()
}

/// Where nothing is open, and before what is.
pub(super) fn nothing(environment: impl Iterator<Item = String>) -> String {
    let mut values: Vec<String> = environment
        .filter(|name| name.starts_with(VALUE_VARIABLE) && is_name(name))
        .collect();
    values.sort();
    let names: Vec<&str> = VARIABLES.into_iter().chain(values.iter().map(String::as_str)).collect();
    format!("unset {}\n", names.join(" "))
}

/// The names of the variables that this process was given; none of what is no text.
pub(super) fn environment() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Whether it is the name of a variable. No shim has others.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// One word of a shell, as it is: between single quotes nothing means anything but the quote (POSIX.1, XCU 2.2.2).
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    use proptest::prelude::*;
    use rekindle::checkpoint::CheckpointDraft;
    use rekindle::state_file::Handed;

    fn state(draft: CheckpointDraft) -> StateFile {
        StateFile {
            draft,
            ..StateFile::default()
        }
    }

    /// What a shell that has evaluated the lines says of these variables, each ended by a NUL: `+` and its value where it
    /// is set.
    fn evaluate(shell: &[&str], lines: &str, names: &[&str]) -> Vec<Option<String>> {
        let tell = names
            .iter()
            .map(|name| format!(r#"if [ "${{{name}+set}}" ]; then printf '+%s\0' "${name}"; else printf '\0'; fi; "#));
        let script: String = ["eval \"$(cat)\"; ".to_owned()].into_iter().chain(tell).collect();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .env("REKINDLE_STAGE", "of the last life")
            .env("REKINDLE_VALUE_old", "of the last life")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(lines.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{lines}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let told = text.split_terminator('\0');
        told.map(|value| value.strip_prefix('+').map(str::to_owned)).collect()
    }

    /// As a life has it that was handed two values.
    fn environment() -> impl Iterator<Item = String> {
        let names = [
            "PATH",
            "REKINDLE_VALUE_old",
            "REKINDLE_VALUE_PATH",
            "REKINDLE_VALUE_a;exit 9",
        ];
        names.into_iter().map(str::to_owned)
    }

    const SHELLS: [&[&str]; 2] = [&["sh", "-eu"], &["bash", "-eu"]];

    /// Whatever could mean something to a shell.
    const NASTY: &str = r#"'"\$`$(exit 9);|&<>*?~![]{}#=%^ "#;

    fn nasty() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            3 => prop::sample::select(NASTY.chars().chain(['\n', '\t', '\r', '\u{1b}', 'ü']).collect::<Vec<_>>()),
            1 => any::<char>().prop_filter("no variable has a NUL", |char| *char != '\0'),
        ];
        prop::collection::vec(char, 0..40).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        // Each case runs two shells.
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn every_value_comes_back_as_it_was(stage in nasty(), value in nasty(), refs in prop::collection::vec(nasty(), 0..3)) {
            let state = state(CheckpointDraft {
                stage: stage.clone(),
                memory_refs: refs.clone(),
                values: [("PATH".to_owned(), value.clone())].into(),
                ..CheckpointDraft::default()
            });
            let names =
                ["REKINDLE_STAGE", "REKINDLE_VALUE_PATH", "REKINDLE_MEMORY_REFS", "REKINDLE_ISSUE", "REKINDLE_VALUE_old"];
            let some = |text: String| (!text.is_empty()).then_some(text);
            for shell in SHELLS {
                let told = evaluate(shell, lines(&state, environment()).trim_end(), &names);
                let expected = [some(stage.clone()), Some(value.clone()), some(refs.join("\n")), None, None];
                prop_assert_eq!(told.as_slice(), &expected);
            }
        }
    }

    #[test]
    fn what_it_looks_like() {
        let state = StateFile {
            draft: CheckpointDraft {
                task_id: "it's".to_owned(),
                memory_refs: vec!["a".to_owned(), "b".to_owned()],
                values: [("line".to_owned(), String::new())].into(),
                ..CheckpointDraft::default()
            },
            handed: Some(Handed {
                checkpoint: "7.3".to_owned(),
                unclean: true,
                in_flight: vec!["e-1".to_owned(), "e-2".to_owned()],
                ..Handed::default()
            }),
            ..StateFile::default()
        };
        assert_eq!(
            lines(&state, environment()),
            "unset REKINDLE_CHECKPOINT REKINDLE_TASK_ID REKINDLE_ISSUE REKINDLE_WORKSPACE REKINDLE_BRANCH REKINDLE_STAGE \
             REKINDLE_MEMORY_REFS REKINDLE_UNCLEAN REKINDLE_IN_FLIGHT REKINDLE_VALUE_PATH REKINDLE_VALUE_old\nexport REKINDLE_CHECKPOINT='7.3'\n\
             export REKINDLE_TASK_ID='it'\\''s'\nexport REKINDLE_MEMORY_REFS='a\nb'\nexport REKINDLE_UNCLEAN='1'\nexport REKINDLE_IN_FLIGHT='e-1 e-2'\nexport REKINDLE_VALUE_line=''\n"
        );
    }

    #[test]
    fn a_key_that_is_no_name_assigns_nothing() {
        let state = state(CheckpointDraft {
            values: [("a=;exit 9;".to_owned(), "x".to_owned())].into(),
            ..CheckpointDraft::default()
        });
        assert_eq!(lines(&state, environment()), nothing(environment()));
    }

    #[test]
    fn where_nothing_is_open_nothing_is_left_of_the_start() {
        for shell in SHELLS {
            let names = ["REKINDLE_STAGE", "REKINDLE_VALUE_old"];
            assert_eq!(evaluate(shell, &nothing(environment()), &names), [None, None]);
        }
    }
}
