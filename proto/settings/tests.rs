use std::io::Write;
use std::time::Duration;

use super::*;

/// Keeps things alive.
#[derive(Debug, Parser)]
#[command(name = "program", version)]
struct Program {
    /// Who
    #[arg(long)]
    agent: String,
    /// How often
    #[arg(long, default_value = "5s", value_parser = crate::duration::parse)]
    heartbeat_interval: Duration,
    #[arg(long, default_value = "never")]
    fence_after: OrNever,
    #[arg(long, value_parser = key_value)]
    label: Vec<(String, String)>,
    #[arg(long)]
    insecure: bool,
    #[arg(long, value_parser = |text: &str| text.parse::<u32>(), hide_env_values = true)]
    token: Option<u32>,
    #[command(flatten)]
    logging: Logging,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn load_from(args: &[&str], environment: &[(&str, &str)]) -> Result<Invocation<Program>, SettingsError> {
    let args = std::iter::once("program")
        .chain(args.iter().copied())
        .map(OsString::from);
    load_with(args, &|name| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

#[derive(Debug, PartialEq, Eq, clap::Subcommand)]
enum Task {
    /// Says what is wrong
    Doctor,
}

fn run(args: &[&str], environment: &[(&str, &str)]) -> Loaded<Program> {
    match load_from(args, environment) {
        Ok(Invocation::Run(loaded)) => loaded,
        other => panic!("{other:?}"),
    }
}

fn refusal(args: &[&str], environment: &[(&str, &str)]) -> String {
    match load_from(args, environment) {
        Err(error) => error.to_string(),
        Ok(other) => panic!("{other:?}"),
    }
}

fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    (file, path)
}

fn source(loaded: &Loaded<Program>, name: &str) -> Source {
    let setting = loaded.table.0.iter().find(|setting| setting.name == name);
    setting.expect("a known setting").source.clone()
}

#[test]
fn flag_over_environment_over_file_over_default() {
    const NAME: &str = "heartbeat-interval";
    let (_file, path) = file("heartbeat-interval = \"3s\"");
    let environment = [("REKINDLE_HEARTBEAT_INTERVAL", "2s")];
    let base = ["--agent", "a", "--config", &path, "--", "true"];

    let loaded = run(&[&["--heartbeat-interval=1s"], &base[..]].concat(), &environment);
    assert_eq!(loaded.settings.heartbeat_interval, Duration::from_secs(1));
    assert_eq!(source(&loaded, NAME), Source::Flag);

    let loaded = run(&base, &environment);
    assert_eq!(loaded.settings.heartbeat_interval, Duration::from_secs(2));
    assert_eq!(source(&loaded, NAME), Source::Environment(environment[0].0.into()));

    let loaded = run(&base, &[]);
    assert_eq!(loaded.settings.heartbeat_interval, Duration::from_secs(3));
    assert_eq!(source(&loaded, NAME), Source::File(path.into()));

    let loaded = run(&["--agent", "a", "--", "true"], &[]);
    assert_eq!(loaded.settings.heartbeat_interval, Duration::from_secs(5));
    assert_eq!(source(&loaded, NAME), Source::Default);
}

#[test]
fn everything_from_the_file() {
    let (_file, path) = file(
        "agent = \"planner\"\ninsecure = true\nfence_after = \"never\"\ncommand = [\"sleep\", \"5\"]\ntoken = 7\n\
         [label]\nteam = \"search\"\nshard = 3\n",
    );
    let loaded = run(&[], &[("REKINDLE_CONFIG", &path)]).settings;
    assert_eq!(loaded.agent, "planner");
    assert!(loaded.insecure);
    assert_eq!(loaded.fence_after, OrNever(None));
    assert_eq!(loaded.command, ["sleep", "5"]);
    assert_eq!(loaded.token, Some(7));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(loaded.label, [pair("shard", "3"), pair("team", "search")]);

    // A flag replaces the whole list.
    let loaded = run(&["--label", "a=b", "--config", &path, "--", "true"], &[]).settings;
    assert_eq!(loaded.label, [pair("a", "b")]);
    assert_eq!(loaded.command, ["true"]);
}

#[test]
fn everything_from_the_environment() {
    let environment = [
        ("REKINDLE_AGENT", "planner"),
        ("REKINDLE_INSECURE", "yes"),
        ("REKINDLE_LABEL", "a=1,b=2"),
        ("REKINDLE_FENCE_AFTER", "90s"),
        // Only flags have a variable.
        ("REKINDLE_COMMAND", "nothing"),
    ];
    let loaded = run(&["--", "true"], &environment).settings;
    assert_eq!(loaded.agent, "planner");
    assert!(loaded.insecure);
    assert_eq!(loaded.label.len(), 2);
    assert_eq!(loaded.fence_after, OrNever(Some(Duration::from_secs(90))));
    assert_eq!(loaded.command, ["true"]);
}

#[test]
fn wrong_values_name_their_source() {
    let said = refusal(&["--agent=a", "--", "x"], &[("REKINDLE_HEARTBEAT_INTERVAL", "soon")]);
    assert!(said.contains("--heartbeat-interval"), "{said}");
    assert!(said.contains("write for example"), "{said}");
    assert!(said.contains("environment REKINDLE_HEARTBEAT_INTERVAL"), "{said}");

    let (_file, path) = file("log-format = \"xml\"");
    let said = refusal(&["--agent=a", "--config", &path, "--", "x"], &[]);
    assert!(said.contains("possible values: auto, text, json"), "{said}");
    assert!(said.contains(&format!("file {path}")), "{said}");

    let said = refusal(&["--agent=a", "--log-level=loud", "--", "x"], &[]);
    assert!(said.contains("--log-level"), "{said}");
    assert!(!said.contains("comes from"), "{said}");

    let said = refusal(&["--agent=a", "--", "x"], &[("REKINDLE_INSECURE", "perhaps")]);
    assert!(said.contains("REKINDLE_INSECURE"), "{said}");
}

#[test]
fn a_flag_covers_a_wrong_value_below_it() {
    let loaded = run(
        &["--agent=a", "--heartbeat-interval=1s", "--", "x"],
        &[("REKINDLE_HEARTBEAT_INTERVAL", "soon")],
    );
    assert_eq!(loaded.settings.heartbeat_interval, Duration::from_secs(1));
}

#[test]
fn wrong_files() {
    let with = |text: &str| {
        let (_file, path) = file(text);
        refusal(&["--agent=a", "--config", &path, "--", "x"], &[])
    };
    let said = with("heartbeat-intervall = \"1s\"");
    assert!(said.contains("\"heartbeat-intervall\""), "{said}");
    assert!(said.contains("did you mean heartbeat-interval?"), "{said}");
    assert!(with("config = \"x\"").contains("not a setting"));
    assert!(with("help = true").contains("not a setting"));
    assert!(with("insecure = \"yes\"").contains("must be true or false"));
    assert!(with("agent = [\"a\", \"b\"]").contains("must be one value"));
    assert!(with("fence-after = \"1s\"\nfence_after = \"2s\"").contains("set twice"));
    assert!(with("agent = ").contains("not valid TOML"));
    let said = refusal(&["--agent=a", "--config=/nonexistent/file", "--", "x"], &[]);
    assert!(
        said.contains("cannot read the settings file /nonexistent/file"),
        "{said}"
    );
}

#[test]
fn what_is_required() {
    assert!(refusal(&["--", "x"], &[]).contains("--agent <AGENT>"));
    assert!(refusal(&["--agent=a"], &[]).contains("<COMMAND>"));
}

#[test]
fn secrets_stay_hidden() {
    let shown = run(&["--agent=a", "--token=31337", "--", "x"], &[]).table.to_string();
    assert!(shown.contains("(hidden)"), "{shown}");
    assert!(!shown.contains("31337"), "{shown}");
    let said = refusal(&["--agent=a", "--", "x"], &[("REKINDLE_TOKEN", "hunter2")]);
    assert!(said.contains("--token") && said.contains("REKINDLE_TOKEN"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let said = refusal(&["--agent=a", "--token=hunter2", "--", "x"], &[]);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn config_shows_all_without_what_running_requires() {
    let shown = [["config", "--agent=a"], ["--agent=a", "config"]].map(|args| {
        match load_from(&args, &[("REKINDLE_LABEL", "a=1,b=2")]) {
            Ok(Invocation::ShowConfig(table)) => table.to_string(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(shown[0], shown[1]);
    insta::assert_snapshot!(shown[0], @r"
    agent               a        flag
    heartbeat-interval  5s       default
    fence-after         never    default
    label               a=1,b=2  environment REKINDLE_LABEL
    insecure            false    default
    token               (none)   default
    log-format          auto     default
    log-level           info     default
    log-file            (none)   default
    command             (none)   default
    ");
}

#[test]
fn tasks_need_no_settings() {
    let load = |args: &[&str]| load_with::<Program, Task>(args.iter().map(OsString::from), &|_| None);
    assert!(matches!(
        load(&["program", "doctor"]),
        Ok(Invocation::Task(Task::Doctor))
    ));
    assert!(matches!(
        load(&["program", "--agent=a", "doctor"]),
        Ok(Invocation::Task(Task::Doctor))
    ));
    assert!(matches!(load(&["program", "config"]), Ok(Invocation::ShowConfig(_))));
    assert!(matches!(
        load(&["program", "--agent=a", "--", "doctor"]),
        Ok(Invocation::Run(_))
    ));
    let help = load(&["program", "-h"]).expect_err("help").to_string();
    assert!(help.contains("doctor") && help.contains("Says what is wrong"), "{help}");
}

#[test]
fn help_names_the_variables() {
    let help = refusal(&["-h"], &[]);
    assert!(
        help.contains("How often [env: REKINDLE_HEARTBEAT_INTERVAL] [default: 5s]"),
        "{help}"
    );
    assert!(help.contains("--agent <AGENT> -- <COMMAND>..."), "{help}");
    assert!(help.contains("config"), "{help}");
}
