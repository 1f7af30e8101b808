//! What the shim's program is run with: as the server is told of it, and as it goes on after a reboot.

use rekindle::id::BootId;
use rekindle::launch::{Launch, LaunchFields};
use rekindle_shim_core::{Directory, Journal, Supervisor};

use crate::config::TellLaunch;
use crate::process::{ChosenBy, Program};
use crate::redaction::Redaction;

/// Where the program works, as far as the command line and whoever started the shim say.
pub(super) fn directory(program: &Program) -> Directory {
    let given = program.confinement.directory.clone();
    let make = if given.is_some() {
        Directory::Given
    } else {
        Directory::Shims
    };
    let path = match given {
        Some(path) => path,
        // Gone, or not to be read: the program can run there all the same.
        None => std::env::current_dir().unwrap_or_default(),
    };
    match path.to_str() {
        Some(path) if !path.is_empty() => make(path.to_owned()),
        Some(_) | None => Directory::Unspeakable(path.to_string_lossy().into_owned()),
    }
}

/// What the program is run with, without what must not leave the host.
pub(super) fn launch(program: &Program, redaction: &Redaction) -> LaunchFields {
    let words = std::iter::once(&program.path).chain(&program.arguments);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    LaunchFields {
        arguments: redaction.apply_to_arguments(&words),
        environment_names: program.environment_names(),
        ..LaunchFields::default()
    }
}

/// What the server is told of it. The path of the directory, which the shim itself needs as it is, is redacted before it
/// is cut.
pub(super) fn told(supervisor: &Supervisor, tell: TellLaunch, redaction: &Redaction) -> Option<Launch> {
    match tell {
        TellLaunch::Tell => {
            let launch = supervisor.launch();
            let directory = supervisor.works_in().unwrap_or_else(|| launch.directory());
            Some(Launch::new(LaunchFields {
                directory: redaction.apply(directory),
                arguments: launch.arguments().to_vec(),
                environment_names: launch.environment_names().to_vec(),
                extent: launch.extent(),
            }))
        }
        TellLaunch::Hide => None,
    }
}

/// Has the program work where a life was lost in a reboot, and says what else is different from then.
pub(super) fn go_on(supervisor: &Supervisor, last: &Journal, boot_id: BootId, program: &mut Program) {
    if let Some(directory) = supervisor.resumes_in() {
        program.confinement.directory = Some(directory.into());
        program.confinement.chosen_by = ChosenBy::LostLife;
        tracing::info!(directory, "the program runs where it ran before the host rebooted");
    }
    if last.boot_id == boot_id {
        return;
    }
    if let Some(incarnation) = supervisor.resumed() {
        tracing::info!(%incarnation, "the host has rebooted; this life of the agent was lost");
    }
    let before = last.launch.as_ref().map(|launch| &launch.launch);
    if let Some(changes) = before.and_then(|before| changes(before, supervisor.launch())) {
        tracing::warn!("the program's command line is another one than before the reboot, and is gone by: {changes}");
    }
}

/// Which arguments differ, the program being number 0; `None` where none does.
fn changes(before: &Launch, after: &Launch) -> Option<String> {
    let (before, after) = (before.arguments(), after.arguments());
    let show = |word: Option<&String>| word.map_or_else(|| "nothing".to_owned(), |word| format!("{word:?}"));
    let differences: Vec<String> = (0..before.len().max(after.len()))
        .map(|place| (place, before.get(place), after.get(place)))
        .filter(|(_, before, after)| before != after)
        .map(|(place, before, after)| format!("argument {place} was {}, and is {}", show(before), show(after)))
        .collect();
    (!differences.is_empty()).then(|| differences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Confinement;
    use rekindle::execution::Delivery;
    use rekindle_shim_core::OnShimExit;

    fn program(words: &[&str], confinement: Confinement) -> Program {
        let mut words = words.iter().map(Into::into);
        Program {
            path: words.next().expect("a program"),
            arguments: words.collect(),
            confinement,
            on_shim_exit: OnShimExit::Kill,
            delivery: Delivery::None,
        }
    }

    #[test]
    fn secrets_and_values_stay_on_the_host() {
        let redaction = Redaction::new(vec!["sk-[a-z]+".parse().expect("valid")]).expect("few");
        let fields = launch(
            &program(&["run", "--key=sk-secret"], Confinement::default()),
            &redaction,
        );
        assert_eq!(fields.arguments, ["run", "--key=[redacted]"]);
        let path = std::env::var("PATH").expect("tests have one");
        assert!(fields.environment_names.contains(&"PATH".to_owned()));
        assert!(!fields.environment_names.contains(&path));
        assert!(
            !fields
                .environment_names
                .iter()
                .any(|name| name.starts_with("REKINDLE_"))
        );
        assert!(fields.environment_names.is_sorted());
    }

    #[test]
    fn a_flag_says_where_to_work_and_else_the_shims_own_place() {
        let given = Confinement {
            directory: Some("/srv/a".into()),
            ..Confinement::default()
        };
        assert_eq!(directory(&program(&["run"], given)), Directory::Given("/srv/a".into()));
        let here = std::env::current_dir().expect("there");
        let here = here.to_str().expect("UTF-8").to_owned();
        assert_eq!(
            directory(&program(&["run"], Confinement::default())),
            Directory::Shims(here)
        );
    }

    #[test]
    fn what_has_changed_is_named() {
        let of = |words: &[&str]| {
            Launch::new(LaunchFields {
                arguments: words.iter().map(|word| (*word).to_owned()).collect(),
                ..LaunchFields::default()
            })
        };
        let before = of(&["run", "-v", "a"]);
        assert_eq!(changes(&before, &before), None);
        assert_eq!(
            changes(&before, &of(&["run", "-q"])).as_deref(),
            Some(r#"argument 1 was "-v", and is "-q"; argument 2 was "a", and is nothing"#)
        );
    }
}
