//! Whom a child runs as. Looked up once, at the shim's start: nothing may be looked up between fork and exec.

use std::ffi::{CString, OsString};

use nix::errno::Errno;
use nix::unistd::{self, getgrouplist};
use rustix::process::{Gid, Uid, geteuid};

/// An id that means "leave it as it is" (setresuid(2)), and so is nobody's.
const NO_ID: u32 = u32::MAX;

/// A user and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// `None` for the shim's own.
    pub(super) user: Option<Uid>,
    pub(super) group: Gid,
    /// The supplementary groups.
    pub(super) groups: Vec<Gid>,
    /// What login(1) tells a session of its user.
    pub(in crate::process) variables: Vec<(&'static str, OsString)>,
}

/// Why a child cannot run as somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("--{0} needs root: start the shim as root, or do without")]
    NotRoot(&'static str),
    #[error("--user: there is no user {0:?} on this host")]
    NoUser(String),
    #[error("--group: there is no group {0:?} on this host")]
    NoGroup(String),
    #[error("--user: this host does not know uid {0}, and so not its group; give one with --group")]
    NoGroupOf(u32),
    #[error("--{flag}: the host's user database cannot be read")]
    Database { flag: &'static str, source: Errno },
}

impl Account {
    /// Looks names or numbers up; `None` where neither is given. A user's group is the one in the database, unless
    /// another is given; a group alone leaves the user, and takes away all supplementary groups.
    pub(crate) fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, AccountError> {
        let flag = match (user, group) {
            (None, None) => return Ok(None),
            (Some(_), _) => "user",
            (None, Some(_)) => "group",
        };
        if !geteuid().is_root() {
            return Err(AccountError::NotRoot(flag));
        }
        let group = group.map(find_group).transpose()?;
        match user {
            Some(user) => Self::of_user(user, group).map(Some),
            None => Ok(group.map(|group| Self {
                user: None,
                group,
                groups: vec![group],
                variables: Vec::new(),
            })),
        }
    }

    /// Whose processes it makes; `None` for the shim's own.
    pub(crate) const fn user(&self) -> Option<Uid> {
        self.user
    }

    fn of_user(text: &str, group: Option<Gid>) -> Result<Self, AccountError> {
        let failed = |source| AccountError::Database { flag: "user", source };
        let number = number(text);
        let entry = match (unistd::User::from_name(text).map_err(failed)?, number) {
            (Some(entry), _) => Some(entry),
            (None, Some(uid)) => unistd::User::from_uid(unistd::Uid::from_raw(uid)).map_err(failed)?,
            (None, None) => return Err(AccountError::NoUser(text.to_owned())),
        };
        match (entry, number) {
            (Some(entry), _) => {
                let group = group.unwrap_or_else(|| Gid::from_raw(entry.gid.as_raw()));
                let name = CString::new(entry.name.clone()).map_err(|_| AccountError::NoUser(text.to_owned()))?;
                let groups = getgrouplist(&name, unistd::Gid::from_raw(group.as_raw())).map_err(failed)?;
                Ok(Self {
                    user: Some(Uid::from_raw(entry.uid.as_raw())),
                    group,
                    groups: groups.iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
                    variables: vec![
                        ("HOME", entry.dir.into()),
                        ("LOGNAME", entry.name.clone().into()),
                        ("SHELL", entry.shell.into()),
                        ("USER", entry.name.into()),
                    ],
                })
            }
            (None, Some(uid)) => {
                let group = group.ok_or(AccountError::NoGroupOf(uid))?;
                Ok(Self {
                    user: Some(Uid::from_raw(uid)),
                    group,
                    groups: vec![group],
                    variables: Vec::new(),
                })
            }
            (None, None) => Err(AccountError::NoUser(text.to_owned())),
        }
    }
}

fn find_group(text: &str) -> Result<Gid, AccountError> {
    let named = unistd::Group::from_name(text).map_err(|source| AccountError::Database { flag: "group", source })?;
    let id = named.map(|group| group.gid.as_raw()).or_else(|| number(text));
    id.map(Gid::from_raw)
        .ok_or_else(|| AccountError::NoGroup(text.to_owned()))
}

/// An id that is written as a number. Names go first (POSIX, chown(1p)).
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != NO_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let root = Account::find(Some("root"), None);
        if !geteuid().is_root() {
            assert_eq!(root, Err(AccountError::NotRoot("user")));
            assert_eq!(Account::find(None, Some("0")), Err(AccountError::NotRoot("group")));
            return;
        }
        let root = root.expect("looked up").expect("given");
        assert_eq!((root.user, root.group), (Some(Uid::ROOT), Gid::ROOT));
        assert!(root.groups.contains(&Gid::ROOT));
        assert!(root.variables.contains(&("USER", "root".into())));
        assert_eq!(Account::find(Some("0"), None).expect("looked up"), Some(root));

        let alone = Account::find(None, Some("54321")).expect("looked up").expect("given");
        assert_eq!((alone.user, alone.groups), (None, vec![Gid::from_raw(54321)]));
        let unknown = Account::find(Some("54321"), Some("54322"))
            .expect("looked up")
            .expect("given");
        assert_eq!(
            (unknown.user, unknown.group),
            (Some(Uid::from_raw(54321)), Gid::from_raw(54322))
        );
    }

    #[test]
    fn who_does_not_exist_is_named() {
        if !geteuid().is_root() {
            return;
        }
        let why = |user, group| Account::find(user, group).expect_err("refused").to_string();
        assert_eq!(
            why(Some("no-such"), None),
            "--user: there is no user \"no-such\" on this host"
        );
        assert_eq!(
            why(None, Some("no-such")),
            "--group: there is no group \"no-such\" on this host"
        );
        assert_eq!(
            why(None, Some("4294967295")),
            "--group: there is no group \"4294967295\" on this host"
        );
        assert!(why(Some("54321"), None).ends_with("give one with --group"));
    }

    #[test]
    fn nobody_asked_for_is_nobody() {
        assert_eq!(Account::find(None, None), Ok(None));
    }
}
