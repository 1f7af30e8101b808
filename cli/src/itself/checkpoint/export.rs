//! A state as lines for the `eval` of a POSIX shell. Whatever stands in it, it is assigned, and nothing of it is run.

use rekindle::state_file::StateFile;

/// Variables that this life may have been given at its start, by the same names: those that mean nothing any more are
/// unset.
const ALL: [&str; 9] = [
    "CHECKPOINT",
    "TASK_ID",
    "ISSUE",
    "WORKSPACE",
    "BRANCH",
    "STAGE",
    "MEMORY_REFS",
    "UNCLEAN",
    "IN_FLIGHT",
];

/// Assigns what there is, and unsets the rest. Values come as `REKINDLE_VALUE_` and their key: under a name of their own
/// one called `PATH` would be more than a value.
pub(super) fn lines(state: &StateFile) -> String {
    let handed = state.handed.clone().unwrap_or_default();
    let unclean = if handed.unclean { "1" } else { "" };
    let values = [
        handed.checkpoint.as_str(),
        &state.task_id,
        &state.issue,
        &state.workspace,
        &state.branch,
        &state.stage,
        &state.memory_refs.join("\n"),
        unclean,
        &handed.in_flight.join(" "),
    ];
    let all = ALL.iter().zip(values).map(|(name, value)| match value {
        "" => unset(name),
        value => export(name, value),
    });
    let own = state.values.iter().filter(|(key, _)| is_name(key));
    let own = own.map(|(key, value)| export(&format!("VALUE_{key}"), value));
    all.chain(own).collect()
}

/// Where nothing is open.
pub(super) fn nothing() -> String {
    ALL.iter().map(|name| unset(name)).collect()
}

/// Whether it can stand in the name of a variable. No shim has others.
fn is_name(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn export(name: &str, value: &str) -> String {
    format!("export REKINDLE_{name}={}\n", quote(value))
}

fn unset(name: &str) -> String {
    format!("unset REKINDLE_{name}\n")
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
    use rekindle::state_file::Handed;

    /// What a shell that has evaluated the lines says of these variables, each ended by a NUL: `+` and its value where it
    /// is set.
    fn evaluate(shell: &[&str], lines: &str, names: &[&str]) -> Vec<Option<String>> {
        let tell = names.iter().map(|name| {
            format!(r#"if [ "${{{name}+set}}" ]; then printf '+%s\0' "${name}"; else printf '\0'; fi; "#)
        });
        let script: String = ["eval \"$(cat)\"; ".to_owned()].into_iter().chain(tell).collect();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .env("REKINDLE_STAGE", "of the last life")
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
            let state = StateFile {
                stage: stage.clone(),
                memory_refs: refs.clone(),
                values: [("PATH".to_owned(), value.clone())].into(),
                ..StateFile::default()
            };
            let names = ["REKINDLE_STAGE", "REKINDLE_VALUE_PATH", "REKINDLE_MEMORY_REFS", "REKINDLE_ISSUE"];
            let some = |text: String| (!text.is_empty()).then_some(text);
            for shell in SHELLS {
                let told = evaluate(shell, lines(&state).trim_end(), &names);
                let expected = [some(stage.clone()), Some(value.clone()), some(refs.join("\n")), None];
                prop_assert_eq!(told.as_slice(), &expected);
            }
        }
    }

    #[test]
    fn what_it_looks_like() {
        let state = StateFile {
            task_id: "it's".to_owned(),
            memory_refs: vec!["a".to_owned(), "b".to_owned()],
            values: [("line".to_owned(), String::new())].into(),
            handed: Some(Handed {
                checkpoint: "7.3".to_owned(),
                unclean: true,
                in_flight: vec!["e-1".to_owned(), "e-2".to_owned()],
                ..Handed::default()
            }),
            ..StateFile::default()
        };
        assert_eq!(
            lines(&state),
            "export REKINDLE_CHECKPOINT='7.3'\nexport REKINDLE_TASK_ID='it'\\''s'\nunset REKINDLE_ISSUE\n\
             unset REKINDLE_WORKSPACE\nunset REKINDLE_BRANCH\nunset REKINDLE_STAGE\nexport REKINDLE_MEMORY_REFS='a\nb'\n\
             export REKINDLE_UNCLEAN='1'\nexport REKINDLE_IN_FLIGHT='e-1 e-2'\nexport REKINDLE_VALUE_line=''\n"
        );
    }

    #[test]
    fn a_key_that_is_no_name_assigns_nothing() {
        let state = StateFile {
            values: [("a=;exit 9;".to_owned(), "x".to_owned())].into(),
            ..StateFile::default()
        };
        assert_eq!(lines(&state), nothing());
    }

    #[test]
    fn where_nothing_is_open_nothing_is_left_of_the_start() {
        for shell in SHELLS {
            assert_eq!(evaluate(shell, &nothing(), &["REKINDLE_STAGE"]), [None]);
        }
    }
}
