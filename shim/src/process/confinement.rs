//! What a child may use and who it is: all that is done to a process between fork and exec at the wish of whoever
//! started the shim.

mod account;
mod environment;
mod limit;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::{Gid, Uid, chdir, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

pub(crate) use account::{Account, AccountError};
pub(crate) use environment::{Environment, NamePattern};
pub(crate) use limit::Limit;

/// How a child differs from the shim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// Where it begins; `None` for where the shim is.
    pub(crate) directory: Option<PathBuf>,
    /// Who says so.
    pub(crate) chosen_by: ChosenBy,
    /// Which variables of the shim's environment it gets.
    pub(crate) environment: Environment,
    /// Who it runs as; `None` for who the shim is.
    pub(crate) account: Option<Account>,
    /// What exec may give it.
    pub(crate) privileges: Privileges,
    /// Its resource limits, where they are not the shim's. The last of one resource counts.
    pub(crate) limits: Vec<Limit>,
}

/// Who says where a child begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ChosenBy {
    /// Whoever started the shim.
    #[default]
    Flag,
    /// The life that was lost there in a reboot.
    LostLife,
}

/// Whether a program can gain privileges by exec (PR_SET_NO_NEW_PRIVS(2const)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// As the set-user-ID bits and capabilities of files have it.
    #[default]
    ByFile,
    /// Never, nor any descendant.
    Fixed,
}

/// One thing that is done between fork and exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Limit(Limit),
    Groups(Vec<Gid>),
    Group(Gid),
    User(Uid),
    Directory(CString, ChosenBy),
    NoNewPrivileges,
}

impl Confinement {
    /// What is done, in this order: limits while the shim may still raise them, and the directory by the right of who
    /// will work there.
    ///
    /// # Errors
    /// Where the directory's path holds a NUL.
    pub(super) fn steps(&self) -> io::Result<Vec<Step>> {
        // An earlier one could take away what the last one needs.
        let is_last =
            |(place, limit): &(usize, &Limit)| !self.limits.iter().skip(place + 1).any(|l| l.is_of_same(limit));
        let limits = self.limits.iter().enumerate().filter(is_last);
        let mut steps: Vec<Step> = limits.map(|(_, limit)| Step::Limit(*limit)).collect();
        if let Some(account) = &self.account {
            steps.push(Step::Groups(account.groups.clone()));
            steps.push(Step::Group(account.group));
            steps.extend(account.user.map(Step::User));
        }
        if let Some(directory) = &self.directory {
            let path = CString::new(directory.as_os_str().as_bytes())?;
            steps.push(Step::Directory(path, self.chosen_by));
        }
        if self.privileges == Privileges::Fixed {
            steps.push(Step::NoNewPrivileges);
        }
        Ok(steps)
    }
}

impl Step {
    /// Does it to this process, which is a fork that has one thread. Makes one system call, and nothing else.
    pub(super) fn take(&self) -> io::Result<()> {
        Ok(match self {
            Self::Limit(limit) => setrlimit(limit.resource(), limit.values()),
            Self::Groups(groups) => set_thread_groups(groups),
            Self::Group(group) => set_thread_res_gid(*group, *group, *group),
            Self::User(user) => set_thread_res_uid(*user, *user, *user),
            Self::Directory(directory, _) => chdir(directory.as_c_str()),
            Self::NoNewPrivileges => set_no_new_privs(true),
        }?)
    }

    /// What may help where it fails.
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            Self::Limit(_) => "check --rlimit; only root may raise a hard limit",
            Self::Groups(_) | Self::Group(_) | Self::User(_) => {
                "check --user and --group; the shim needs root for them"
            }
            Self::Directory(_, ChosenBy::Flag) => "check --directory, and that who runs the program may enter it",
            Self::Directory(_, ChosenBy::LostLife) => {
                "the life that the reboot of this host ended worked there; make it anew, or say with --directory where to \
                 work"
            }
            Self::NoNewPrivileges => "the kernel does not know --no-new-privs",
        }
    }
}

/// As it follows on "cannot".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "set the limit {limit}"),
            Self::Groups(_) => f.write_str("set its supplementary groups"),
            Self::Group(group) => write!(f, "run as gid {}", group.as_raw()),
            Self::User(user) => write!(f, "run as uid {}", user.as_raw()),
            Self::Directory(directory, _) => write!(f, "enter the directory {}", directory.to_string_lossy()),
            Self::NoNewPrivileges => f.write_str("give up new privileges"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_need_privileges_come_before_their_loss() {
        let confinement = Confinement {
            directory: Some("/srv/a".into()),
            chosen_by: ChosenBy::Flag,
            account: Some(Account {
                user: Some(Uid::from_raw(7)),
                group: Gid::from_raw(8),
                groups: vec![Gid::from_raw(8)],
                variables: Vec::new(),
            }),
            privileges: Privileges::Fixed,
            limits: vec!["core=0".parse().expect("valid")],
            environment: Environment::default(),
        };
        let steps: Vec<String> = confinement
            .steps()
            .expect("no NUL")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            steps,
            [
                "set the limit core=0:0",
                "set its supplementary groups",
                "run as gid 8",
                "run as uid 7",
                "enter the directory /srv/a",
                "give up new privileges",
            ]
        );
        assert_eq!(Confinement::default().steps().expect("no NUL"), []);
    }
}
