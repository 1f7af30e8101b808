//! The flags that say how the agent's program differs from the shim.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::PlanError;
use crate::process::{Account, ChosenBy, Confinement, Environment, Limit, NamePattern, Privileges};

/// How the agent's program is run.
#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    /// Working directory of the program; a COMMAND that is a relative path is looked for there [default: the shim's own;
    /// after a reboot of the host, that of the life that was lost]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// What the program gets of the shim's environment
    #[arg(long, value_enum, default_value_t = Env::Pass)]
    env: Env,
    /// A variable that the program gets with --env clear (PATH too is one), or NAME* for all that begin so; may be given
    /// several times
    #[arg(long, value_name = "NAME", value_parser = name)]
    env_allow: Vec<NamePattern>,
    /// A variable that the program does not get, or NAME* for all that begin so; may be given several times
    #[arg(long, value_name = "NAME", value_parser = name)]
    env_deny: Vec<NamePattern>,
    /// User to run the program as, by name or number, with its groups, HOME, LOGNAME, SHELL and USER; needs root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Group to run the program as, by name or number [default: that of --user]; needs root
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Lets neither the program nor what it starts gain privileges, by sudo for example (PR_SET_NO_NEW_PRIVS(2const))
    #[arg(long)]
    no_new_privs: bool,
    /// A resource limit of the program, named as in prlimit(1): nofile=4096, core=0:unlimited; may be given several times
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = limit)]
    rlimit: Vec<Limit>,
}

/// What goes on of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Env {
    /// All but what --env-deny names
    Pass,
    /// Only what --env-allow names
    Clear,
}

fn name(text: &str) -> Result<NamePattern, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn limit(text: &str) -> Result<Limit, String> {
    text.parse().map_err(|error| format!("{error}"))
}

impl Flags {
    pub(super) fn plan(self) -> Result<Confinement, PlanError> {
        let environment = match self.env {
            Env::Pass if !self.env_allow.is_empty() => return Err(PlanError::AllowOfAll),
            Env::Pass => Environment::Pass { deny: self.env_deny },
            Env::Clear if !self.env_deny.is_empty() => return Err(PlanError::DenyOfNothing),
            Env::Clear => Environment::Clear { allow: self.env_allow },
        };
        let directory = self
            .directory
            .map(|dir| std::path::absolute(&dir).map_err(|_| PlanError::Directory(dir)));
        Ok(Confinement {
            directory: directory.transpose()?,
            chosen_by: ChosenBy::Flag,
            environment,
            account: Account::find(self.user.as_deref(), self.group.as_deref())?,
            privileges: if self.no_new_privs {
                Privileges::Fixed
            } else {
                Privileges::ByFile
            },
            limits: self.rlimit,
        })
    }
}
