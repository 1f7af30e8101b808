//! Flags, and what is wrong with them.

use crate::bench::{command, output};

fn refusal(flags: &[&str]) -> String {
    let output = output(
        command()
            .args(["--agent", "a", "--state-dir", "/nonexistent"])
            .args(flags)
            .args(["--", "true"]),
    );
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn bad_values_name_their_flag() {
    assert!(refusal(&["--heartbeat-timeout", "1ms"]).contains("--heartbeat-timeout: 1ms is not between 1s and 30days"));
    assert!(refusal(&["--stop-grace", "soon"]).contains("'--stop-grace <DURATION>'"));
    assert!(refusal(&["--server", "nowhere"]).contains("--server: \"nowhere\" is no URL of a server"));
    assert!(refusal(&["--rlimit", "files=1"]).contains("\"files\" is no resource; there are core, data, "));
    assert!(refusal(&["--env-allow", "PATH"]).contains("--env-allow: without --env clear"));
    let user = refusal(&["--user", "no-such-user"]);
    assert!(
        user.contains("--user: there is no user \"no-such-user\"") || user.contains("--user needs root"),
        "{user}"
    );
    assert!(refusal(&["--no-such-flag"]).contains("--no-such-flag"));
}

#[test]
fn settings_in_force_are_shown() {
    let output = output(
        command()
            .args(["config", "--agent", "a"])
            .env("REKINDLE_STOP_GRACE", "3s"),
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("stop-grace ").ends_with("environment REKINDLE_STOP_GRACE"),
        "{text}"
    );
    assert!(line("agent ").ends_with("flag"), "{text}");
    assert!(
        line("cooldown ").contains("60s") && line("cooldown ").ends_with("default"),
        "{text}"
    );
}
