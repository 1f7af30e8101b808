//! What a datagram says: lines of `NAME=value` (sd_notify(3)).

use std::time::Duration;

use rekindle::activity::STATUS_MAX_BYTES;
use rekindle_shim_core::Notice;
use rustix::process::Pid;

use crate::redaction::Redaction;

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// All that there is to know.
    Notice(Notice),
    /// `MAINPID=`: a pid, by which nobody is known yet.
    Main(Pid),
    /// A name that is known, with a value that is not.
    Unclear(&'static str),
}

/// The lines that mean something. Other names are other managers' (`FDSTORE=1`), other protocols' (`X_*`), or ask for
/// nothing that is done here (`RELOADING=1`, `ERRNO=`, `BUSERROR=`, `BARRIER=1`). A status is redacted before it is cut.
pub(super) fn lines(datagram: &[u8], redaction: &Redaction) -> impl Iterator<Item = Line> {
    // Some senders count the zero at the end of a C string.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    text.split(|byte| *byte == b'\n')
        .filter_map(|text| line(text, redaction))
}

fn line(line: &[u8], redaction: &Redaction) -> Option<Line> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = line.split_at_checked(equals)?;
    let value = String::from_utf8_lossy(value.strip_prefix(b"=")?);
    let line = match name {
        b"READY" => one("READY", &value, Notice::Ready),
        b"STOPPING" => one("STOPPING", &value, Notice::Stopping),
        b"WATCHDOG" => match value.as_ref() {
            "1" => Line::Notice(Notice::Ping),
            "trigger" => Line::Notice(Notice::Stuck),
            _ => Line::Unclear("WATCHDOG"),
        },
        b"WATCHDOG_USEC" => microseconds("WATCHDOG_USEC", &value, Notice::WatchdogTimeout),
        b"EXTEND_TIMEOUT_USEC" => microseconds("EXTEND_TIMEOUT_USEC", &value, Notice::Extend),
        b"MAINPID" => match value.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw) {
            Some(pid) => Line::Main(pid),
            None => Line::Unclear("MAINPID"),
        },
        b"STATUS" => Line::Notice(Notice::Status(status(&redaction.apply(&value)))),
        b"X_REKINDLE_ACTIVITY" => match value.parse() {
            Ok(state) => Line::Notice(Notice::Activity(state)),
            Err(()) => Line::Unclear("X_REKINDLE_ACTIVITY"),
        },
        _ => return None,
    };
    Some(line)
}

fn one(name: &'static str, value: &str, notice: Notice) -> Line {
    match value {
        "1" => Line::Notice(notice),
        _ => Line::Unclear(name),
    }
}

fn microseconds(name: &'static str, value: &str, notice: impl Fn(Duration) -> Notice) -> Line {
    match value.parse() {
        Ok(microseconds) => Line::Notice(notice(Duration::from_micros(microseconds))),
        Err(_) => Line::Unclear(name),
    }
}

/// The first [`STATUS_MAX_BYTES`], cut at a character. Control characters are replaced: a status is shown on terminals,
/// which would obey them.
fn status(text: &str) -> String {
    let mut status = String::new();
    for c in text.chars() {
        let c = if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        if status.len() + c.len_utf8() > STATUS_MAX_BYTES {
            break;
        }
        status.push(c);
    }
    status
}

#[cfg(test)]
mod tests {
    use rekindle::activity::{ActivityState, BlockedOn};

    use super::*;

    fn parsed(datagram: &[u8]) -> Vec<Line> {
        lines(datagram, &Redaction::default()).collect()
    }

    fn notice(line: &str) -> Notice {
        match parsed(line.as_bytes()).as_slice() {
            [Line::Notice(notice)] => notice.clone(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_word_is_known() {
        assert_eq!(notice("READY=1"), Notice::Ready);
        assert_eq!(notice("STOPPING=1"), Notice::Stopping);
        assert_eq!(notice("WATCHDOG=1"), Notice::Ping);
        assert_eq!(notice("WATCHDOG=trigger"), Notice::Stuck);
        assert_eq!(
            notice("WATCHDOG_USEC=1500000"),
            Notice::WatchdogTimeout(Duration::from_millis(1500))
        );
        assert_eq!(
            notice("EXTEND_TIMEOUT_USEC=7"),
            Notice::Extend(Duration::from_micros(7))
        );
        assert_eq!(notice("STATUS=a = b"), Notice::Status("a = b".to_owned()));
        assert_eq!(
            notice("X_REKINDLE_ACTIVITY=IDLE"),
            Notice::Activity(ActivityState::Idle)
        );
        assert_eq!(
            notice("X_REKINDLE_ACTIVITY=BLOCKED:quota"),
            Notice::Activity(ActivityState::Blocked(BlockedOn::Quota))
        );
        let pid = Pid::from_raw(17).expect("not zero");
        assert_eq!(parsed(b"MAINPID=17"), [Line::Main(pid)]);
    }

    #[test]
    fn a_datagram_has_many_lines() {
        let ready = Line::Notice(Notice::Ready);
        let up = Line::Notice(Notice::Status("up".to_owned()));
        assert_eq!(parsed(b"READY=1\nSTATUS=up\n"), [ready.clone(), up.clone()]);
        assert_eq!(parsed(b"\n\nSTATUS=up\nREADY=1\0"), [up, ready]);
        assert_eq!(parsed(b""), []);
    }

    #[test]
    fn others_words_are_passed_over() {
        for line in [
            "RELOADING=1",
            "MONOTONIC_USEC=5",
            "ERRNO=2",
            "BUSERROR=org.x",
            "FDSTORE=1",
            "FDNAME=a",
            "BARRIER=1",
            "X_SOMETHING=1",
            "READY",
            "=1",
            "ready=1",
            " READY=1",
        ] {
            assert_eq!(parsed(line.as_bytes()), [], "{line}");
        }
        assert_eq!(parsed(b"\xff=1\n\0"), []);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named() {
        for line in [
            "READY=0",
            "STOPPING=",
            "WATCHDOG=2",
            "WATCHDOG_USEC=-1",
            "WATCHDOG_USEC=18446744073709551616",
            "EXTEND_TIMEOUT_USEC=5s",
            "MAINPID=0",
            "MAINPID=-1",
            "MAINPID=4294967296",
            "MAINPID=x",
            "X_REKINDLE_ACTIVITY=BLOCKED",
            "X_REKINDLE_ACTIVITY=idle",
        ] {
            let name = line.split('=').next().expect("has a name");
            match parsed(line.as_bytes()).as_slice() {
                [Line::Unclear(unclear)] => assert_eq!(*unclear, name),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_status_is_short_and_plain() {
        let said = |bytes: &[u8]| match parsed(&[b"STATUS=", bytes].concat()).as_slice() {
            [Line::Notice(Notice::Status(status))] => status.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(said(b"\x1b[31mred\ttape"), "\u{fffd}[31mred\u{fffd}tape");
        assert_eq!(said(b"\xff"), "\u{fffd}");
        assert_eq!(said(&[b'x'; 1000]).len(), STATUS_MAX_BYTES);
        let cut = said("é".repeat(500).as_bytes());
        assert_eq!((cut.len(), cut.chars().all(|c| c == 'é')), (STATUS_MAX_BYTES, true));
        assert_eq!(said("€".repeat(500).as_bytes()).len(), STATUS_MAX_BYTES / 3 * 3);
        assert_eq!(said(&[0x07; 1000]).len(), STATUS_MAX_BYTES / 3 * 3);
    }
    #[test]
    fn a_secret_in_a_status_is_hidden_even_where_the_cut_hits_it() {
        let redaction = Redaction::new(vec!["key=x+;".parse().expect("valid")]).expect("one");
        for before in (0..STATUS_MAX_BYTES + 10).step_by(7) {
            let datagram = format!("STATUS={}key={};", ".".repeat(before), "x".repeat(40));
            let said: Vec<Line> = lines(datagram.as_bytes(), &redaction).collect();
            let [Line::Notice(Notice::Status(status))] = said.as_slice() else {
                panic!("{said:?}");
            };
            assert!(!status.contains("key") && status.len() <= STATUS_MAX_BYTES, "{status}");
        }
    }
}
