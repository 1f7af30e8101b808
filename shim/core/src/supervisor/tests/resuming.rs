//! What lives begin with after a reboot.

use super::*;

const NEXT_BOOT: BootId = BootId::from_u128(77);

fn started_in(directory: Directory, boot_id: BootId) -> Settings {
    let mut settings = Settings {
        directory,
        ..settings()
    };
    settings.host.boot_id = boot_id;
    settings
}

fn shims(path: &str) -> Directory {
    Directory::Shims(path.to_owned())
}

/// The journal that a shim leaves which was started like this, and has begun a life.
fn left_by(settings: Settings, journal: Journal, life: u64) -> Journal {
    let (mut bench, _) = Bench::new(settings, journal);
    bench.step(Input::LinkOpened);
    let welcome = bench.welcome(0);
    bench.step(welcome);
    bench.step(run(life));
    bench.step(spawned(life));
    bench.supervisor.journal().clone()
}

fn resumes(settings: Settings, journal: &Journal) -> Option<String> {
    let (bench, _) = Bench::new(settings, journal.clone());
    bench.supervisor.resumes_in().map(str::to_owned)
}

#[test]
fn a_life_begins_where_the_one_before_was_lost() {
    let lost = left_by(started_in(shims("/srv/a"), BOOT), journal(), 1);
    let in_srv = Some("/srv/a".to_owned());
    for (directory, boot, expected, why) in [
        (shims("/"), NEXT_BOOT, in_srv.clone(), "init starts shims anywhere"),
        (shims("/srv/a"), NEXT_BOOT, None, "it is there already"),
        (shims("/tmp"), BOOT, None, "somebody has started it elsewhere"),
        (Directory::Given("/opt".into()), NEXT_BOOT, None, "its flag wins"),
        (
            Directory::Unspeakable("/\u{fffd}".into()),
            NEXT_BOOT,
            None,
            "not by a path that was not kept",
        ),
    ] {
        let (bench, _) = Bench::new(started_in(directory, boot), lost.clone());
        assert_eq!(bench.supervisor.resumes_in().map(str::to_owned), expected, "{why}");
    }
    // Of the next shims those go on that are started like the first.
    let resumed = left_by(started_in(shims("/"), NEXT_BOOT), lost, 2);
    assert_eq!(resumes(started_in(shims("/"), NEXT_BOOT), &resumed), in_srv);
    assert_eq!(resumes(started_in(shims("/home"), NEXT_BOOT), &resumed), None);
    assert_eq!(
        resumes(started_in(shims("/home"), BOOT), &resumed),
        in_srv,
        "another reboot"
    );
}

#[test]
fn a_given_directory_is_the_lives_to_come_too() {
    let lost = left_by(started_in(Directory::Given("/opt".into()), BOOT), journal(), 1);
    assert_eq!(
        resumes(started_in(shims("/"), NEXT_BOOT), &lost).as_deref(),
        Some("/opt")
    );
    assert_eq!(resumes(started_in(shims("/"), BOOT), &lost), None);
}

#[test]
fn a_lost_life_is_named_until_a_later_one_is_ready() {
    let lost = left_by(settings(), journal(), 1);
    assert_eq!(lost.lost, None);
    let readiness = Readiness::Notify;
    let later = Settings {
        readiness,
        ..started_in(shims("/"), NEXT_BOOT)
    };
    let (mut bench, _) = Bench::new(later, lost);
    let named = |bench: &Bench| bench.supervisor.resumed().map(Incarnation::get);
    assert_eq!(named(&bench), Some(1));
    bench.step(Input::LinkOpened);
    let welcome = bench.welcome(0);
    bench.step(welcome);
    bench.step(run(2));
    bench.step(spawned(2));
    assert_eq!(named(&bench), Some(1), "not ready");
    bench.step(Input::Notified {
        incarnation: Incarnation::new(2),
        notices: vec![Notice::Ready],
    });
    assert_eq!(named(&bench), None);
    // Nothing was lost where nothing ran.
    let mut idle = journal();
    idle.launch = None;
    let (bench, _) = Bench::new(started_in(shims("/"), NEXT_BOOT), idle);
    assert_eq!(named(&bench), None);
}

#[test]
fn what_lives_are_run_with_outlives_the_host_and_is_told() {
    let settings = Settings {
        launch: LaunchFields {
            arguments: vec!["sleep".into(), "5".into()],
            ..LaunchFields::default()
        },
        ..started_in(shims("/srv/a"), BOOT)
    };
    let (mut bench, _) = Bench::new(settings, journal());
    let hello = bench.supervisor.step(bench.at, Input::LinkOpened);
    let told = hello.then.into_iter().find_map(|effect| {
        let Effect::Send(ShimMessage::Hello(hello)) = effect else {
            return None;
        };
        hello.launch
    });
    let told = told.expect("it says hello, and tells");
    assert_eq!(
        (told.directory(), told.arguments().join(" ")),
        ("/srv/a", "sleep 5".into())
    );
    let welcome = bench.welcome(0);
    bench.step(welcome);
    for (life, expected) in [(1, Outlives::TheBoot), (2, Outlives::TheShim)] {
        let outcome = bench.supervisor.step(bench.at, run(life));
        assert_eq!(outcome.outlives, expected, "only what is new is worth the wait");
        bench.step(spawned(life));
        bench.step(gone(life));
    }
}
