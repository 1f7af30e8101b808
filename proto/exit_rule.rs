//! What an end that nobody asked for means: the rules of a policy, as data.
//!
//! The server decides by them, and a shim that is cut off does; neither has a second copy.

use std::time::Duration;

use regex_lite::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::exit::{ExitClass, ExitEvidence, ExitStatus, signal_name};
use crate::policy::PolicyError;
use crate::time::Timestamp;

/// Most rules of one policy, exit codes or signals of one rule: more is a program, not a policy.
pub const RULES_MAX: usize = 16;

/// Longest pattern, in bytes. All rules together stay far below the store's limit of a record.
pub const PATTERN_MAX_BYTES: usize = 256;

/// Longest time that an end of class QUOTA parks an agent, whatever its output says: a week.
pub const PARK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long an end of class QUOTA parks an agent whose rule and output tell no time.
pub const PARK_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// Largest compiled pattern, in bytes: some twenty times what an ordinary one takes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// Names of groups by which a pattern finds the park time in the output, and the seconds that their unit has. `epoch`
/// is seconds since 1970 (time(2)); the others are counted from the end.
const UNITS: [(&str, u64); 3] = [("seconds", 1), ("minutes", 60), ("hours", 3600)];

/// The group that names a point in time.
const EPOCH: &str = "epoch";

/// What a rule makes of the ends that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleClass {
    /// The work is done.
    Clean,
    /// A failure that a restart may cure; it spends an attempt.
    Crash,
    /// Something is used up for a while: the agent is parked, and no attempt spent.
    Quota,
    /// A fault of the configuration: no restart can cure it.
    Config,
    /// Credentials are missing or refused: no restart can cure it.
    Auth,
}

impl RuleClass {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Clean, Self::Crash, Self::Quota, Self::Config, Self::Auth];

    /// The word of the design.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "CLEAN",
            Self::Crash => "CRASH",
            Self::Quota => "QUOTA",
            Self::Config => "CONFIG",
            Self::Auth => "AUTH",
        }
    }
}

/// A rule before its limits are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRuleFields {
    /// Matches an exit with one of these codes.
    pub exit_codes: Vec<i32>,
    /// Matches an end by one of these signals.
    pub signals: Vec<i32>,
    /// Matches where the last lines of stderr or stdout do; a regular expression in the syntax of the `regex-lite`
    /// crate, matched in time that is linear in the output.
    pub output_pattern: Option<String>,
    /// What a match means.
    pub class: RuleClass,
    /// With QUOTA: how long the agent is parked where the output does not say.
    pub park: Option<Duration>,
}

/// A valid rule: an end that meets each condition that it states is of its class. Codes and signals are one condition,
/// the output another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ExitRuleFields", into = "ExitRuleFields")]
pub struct ExitRule(ExitRuleFields);

impl ExitRule {
    /// Checks every limit.
    ///
    /// # Errors
    /// What is wrong, under the name `exit_rules`.
    pub fn new(fields: ExitRuleFields) -> Result<Self, PolicyError> {
        if fields.exit_codes.is_empty() && fields.signals.is_empty() && fields.output_pattern.is_none() {
            return Err(wrong("a rule needs exit_codes, signals or output_pattern"));
        }
        if fields.exit_codes.len() > RULES_MAX || fields.signals.len() > RULES_MAX {
            return Err(wrong(format!(
                "a rule has at most {RULES_MAX} exit codes and signals each"
            )));
        }
        if let Some(code) = fields.exit_codes.iter().find(|code| !(0..=255).contains(*code)) {
            return Err(wrong(format!("{code} is no exit code; they go from 0 to 255")));
        }
        if let Some(signal) = fields.signals.iter().find(|signal| !(1..=64).contains(*signal)) {
            return Err(wrong(format!("{signal} is no signal; they go from 1 to 64")));
        }
        if let Some(pattern) = &fields.output_pattern {
            if pattern.is_empty() || pattern.len() > PATTERN_MAX_BYTES {
                return Err(wrong(format!("a pattern has 1 to {PATTERN_MAX_BYTES} bytes")));
            }
            if pattern.contains(char::is_control) {
                return Err(wrong("a pattern has no control characters; write \\n or \\t"));
            }
            if let Err(error) = compile(pattern) {
                return Err(wrong(format!("{pattern:?} is no regular expression: {error}")));
            }
        }
        match (fields.class, fields.park) {
            (RuleClass::Quota, Some(park)) if park.is_zero() || park > PARK_MAX => {
                Err(wrong("park is more than 0s and at most 7days"))
            }
            (RuleClass::Quota, _) | (_, None) => Ok(Self(fields)),
            (RuleClass::Clean | RuleClass::Crash | RuleClass::Config | RuleClass::Auth, Some(_)) => {
                Err(wrong("park goes with QUOTA alone"))
            }
        }
    }

    /// What the rule says.
    pub const fn fields(&self) -> &ExitRuleFields {
        &self.0
    }

    /// The class of an end, where the rule matches it.
    fn judge(&self, evidence: &ExitEvidence, ended_at: Timestamp) -> Option<ExitClass> {
        let ExitRuleFields {
            exit_codes,
            signals,
            output_pattern,
            class,
            park,
        } = &self.0;
        let by_status = match evidence.status {
            _ if exit_codes.is_empty() && signals.is_empty() => true,
            ExitStatus::Exited(code) => exit_codes.contains(&code),
            ExitStatus::Signaled { signal, .. } => signals.contains(&signal),
            ExitStatus::Unknown => false,
        };
        if !by_status {
            return None;
        }
        let found = match output_pattern.as_deref().map(compile) {
            Some(Ok(pattern)) => {
                let tails = [&evidence.stderr_tail, &evidence.stdout_tail];
                Some(tails.into_iter().find_map(|tail| last_match(&pattern, tail))?)
            }
            Some(Err(_)) => return None,
            None => None,
        };
        Some(match class {
            RuleClass::Clean => ExitClass::Clean,
            RuleClass::Crash => ExitClass::Crash,
            RuleClass::Config => ExitClass::Config,
            RuleClass::Auth => ExitClass::Auth,
            RuleClass::Quota => {
                let told = found.as_ref().and_then(|groups| told_park(groups, ended_at));
                let park = told.or(*park).unwrap_or(PARK_DEFAULT).min(PARK_MAX);
                ExitClass::Quota {
                    until: ended_at.saturating_add(park),
                }
            }
        })
    }
}

/// The class of an end that nobody asked for: that of the first rule that matches; without one, status 0 is clean, and
/// everything else a crash.
pub fn classify(rules: &[ExitRule], evidence: &ExitEvidence, ended_at: Timestamp) -> ExitClass {
    let by_rule = rules.iter().find_map(|rule| rule.judge(evidence, ended_at));
    by_rule.unwrap_or(match evidence.status {
        ExitStatus::Exited(0) => ExitClass::Clean,
        ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => ExitClass::Crash,
    })
}

fn compile(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .size_limit(PATTERN_SIZE_MAX)
        .build()
}

/// Of several matches the newest counts: a program may have been refused before.
fn last_match<'t>(pattern: &Regex, text: &'t str) -> Option<Captures<'t>> {
    pattern.captures_iter(text).last()
}

/// The park time that the output tells, if it does.
fn told_park(groups: &Captures<'_>, ended_at: Timestamp) -> Option<Duration> {
    let number = |name| groups.name(name).and_then(|text| text.as_str().parse::<u64>().ok());
    if let Some(epoch) = number(EPOCH) {
        let at = Timestamp::from_unix_nanos(epoch.saturating_mul(1_000_000_000));
        return Some(at.saturating_since(ended_at));
    }
    let parts = UNITS.map(|(name, unit)| number(name).map(|count| count.saturating_mul(unit)));
    let told = parts.into_iter().flatten().reduce(u64::saturating_add);
    told.map(Duration::from_secs)
}

fn wrong(problem: impl Into<String>) -> PolicyError {
    PolicyError {
        field: "exit_rules",
        problem: problem.into(),
    }
}

impl TryFrom<ExitRuleFields> for ExitRule {
    type Error = PolicyError;

    fn try_from(fields: ExitRuleFields) -> Result<Self, PolicyError> {
        Self::new(fields)
    }
}

impl From<ExitRule> for ExitRuleFields {
    fn from(rule: ExitRule) -> Self {
        rule.0
    }
}

impl std::fmt::Display for ExitRule {
    /// As `--exit-rule` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ExitRuleFields {
            exit_codes,
            signals,
            output_pattern,
            class,
            park,
        } = &self.0;
        write!(f, "{}:", class.as_str().to_ascii_lowercase())?;
        let mut conditions = Vec::new();
        conditions.extend(exit_codes.iter().map(|code| format!("code={code}")));
        conditions.extend(signals.iter().map(|signal| format!("signal={}", signal_name(*signal))));
        conditions.extend(park.map(|park| format!("park={}", crate::duration::show(park))));
        conditions.extend(output_pattern.as_ref().map(|pattern| format!("output={pattern}")));
        f.write_str(&conditions.join(","))
    }
}

impl std::str::FromStr for ExitRule {
    type Err = PolicyError;

    /// `CLASS:CONDITION,...`, the conditions being `code=N`, `signal=NAME`, `park=DURATION` and, as the last one because
    /// it goes to the end of the text, `output=PATTERN`.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (class, mut rest) = text
            .split_once(':')
            .ok_or_else(|| wrong(format!("{text:?} is no rule; write for example config:code=78")))?;
        let class = RuleClass::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(class.trim()))
            .ok_or_else(|| wrong(format!("{class:?} is none of clean, crash, quota, config, auth")))?;
        let mut fields = ExitRuleFields {
            exit_codes: Vec::new(),
            signals: Vec::new(),
            output_pattern: None,
            class,
            park: None,
        };
        while !rest.is_empty() {
            if let Some(pattern) = rest.strip_prefix("output=") {
                fields.output_pattern = Some(pattern.to_owned());
                break;
            }
            let (condition, others) = rest.split_once(',').unwrap_or((rest, ""));
            fields.add(condition)?;
            rest = others;
        }
        Self::new(fields)
    }
}

impl ExitRuleFields {
    fn add(&mut self, condition: &str) -> Result<(), PolicyError> {
        let unknown = || {
            wrong(format!(
                "{condition:?} is none of code=N, signal=NAME, park=DURATION, output=PATTERN"
            ))
        };
        match condition.split_once('=').ok_or_else(unknown)? {
            ("code", code) => self.exit_codes.push(code.parse().map_err(|_| unknown())?),
            ("signal", name) => self.signals.push(crate::exit::signal_number(name).ok_or_else(unknown)?),
            ("park", park) => self.park = Some(crate::duration::parse(park).map_err(|_| unknown())?),
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::EndedBy;

    const END: Timestamp = Timestamp::from_unix_nanos(1_000_000_000_000);

    fn evidence(status: ExitStatus, stderr: &str) -> ExitEvidence {
        ExitEvidence {
            status,
            ended_by: EndedBy::Itself,
            oom_killed: false,
            uptime: Duration::ZERO,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss_kib: 0,
            stderr_tail: stderr.to_owned(),
            stdout_tail: "all is well\n".to_owned(),
            asked_save: crate::checkpoint::AskedSave::NotAsked,
        }
    }

    fn class(rules: &[&str], status: ExitStatus, stderr: &str) -> ExitClass {
        let rules: Vec<ExitRule> = rules.iter().map(|rule| rule.parse().expect("valid")).collect();
        classify(&rules, &evidence(status, stderr), END)
    }

    fn until(seconds: u64) -> ExitClass {
        ExitClass::Quota {
            until: END.saturating_add(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn without_rules_zero_is_clean() {
        let killed = ExitStatus::Signaled {
            signal: 9,
            core_dumped: false,
        };
        assert_eq!(class(&[], ExitStatus::Exited(0), ""), ExitClass::Clean);
        for status in [ExitStatus::Exited(1), killed, ExitStatus::Unknown] {
            assert_eq!(class(&[], status, ""), ExitClass::Crash);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            "config:code=78,code=64",
            "auth:output=401 Unauthorized",
            "clean:signal=TERM,code=0",
        ];
        let term = ExitStatus::Signaled {
            signal: 15,
            core_dumped: false,
        };
        for (status, stderr, expected) in [
            (ExitStatus::Exited(64), "401 Unauthorized", ExitClass::Config),
            (ExitStatus::Exited(1), "x\nHTTP 401 Unauthorized\n", ExitClass::Auth),
            (term, "", ExitClass::Clean),
            (ExitStatus::Exited(1), "", ExitClass::Crash),
            (ExitStatus::Unknown, "", ExitClass::Crash),
        ] {
            assert_eq!(class(&rules, status, stderr), expected, "{status} {stderr:?}");
        }
        let both = ["quota:code=75,park=1h,output=limit"];
        assert_eq!(class(&both, ExitStatus::Exited(75), "no"), ExitClass::Crash);
        assert_eq!(class(&both, ExitStatus::Exited(75), "limit"), until(3600));
    }

    #[test]
    fn park_times() {
        let exited = ExitStatus::Exited(1);
        let park = |rule: &str, stderr: &str| class(&[rule], exited, stderr);
        assert_eq!(park("quota:code=1", ""), until(900), "the default");
        assert_eq!(
            park("quota:output=retry in (?<seconds>\\d+)s", "retry in 9s\nretry in 30s"),
            until(30)
        );
        assert_eq!(
            park("quota:output=(?<hours>\\d+)h(?<minutes>\\d+)m", "wait 2h5m"),
            until(2 * 3600 + 300)
        );
        assert_eq!(park("quota:output=reached\\|(?<epoch>\\d+)", "reached|1060"), until(60));
        assert_eq!(
            park("quota:output=reached\\|(?<epoch>\\d+)", "reached|10"),
            until(0),
            "it has passed"
        );
        assert_eq!(
            park("quota:park=5m,output=in (?<seconds>\\d+)?", "in a while"),
            until(300),
            "what is not told"
        );
        assert_eq!(
            park("quota:output=in (?<hours>\\d+)", "in 99999999999999999999"),
            until(900),
            "what is no number"
        );
        assert_eq!(
            park("quota:output=in (?<hours>\\d+)", "in 9999999"),
            until(7 * 24 * 3600)
        );
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for rule in [
            "config:code=78",
            "quota:code=75,signal=SIGXCPU,park=1h,output=a,b=c",
            "auth:output=^40[13]",
        ] {
            assert_eq!(rule.parse::<ExitRule>().expect("valid").to_string(), rule);
        }
    }

    #[test]
    fn bad_rules_say_what_is_wrong() {
        for (rule, expected) in [
            ("config", "\"config\" is no rule; write for example config:code=78"),
            ("fatal:code=1", "\"fatal\" is none of clean, crash, quota, config, auth"),
            ("config:", "a rule needs exit_codes, signals or output_pattern"),
            ("config:code=256", "256 is no exit code; they go from 0 to 255"),
            (
                "config:code=x",
                "\"code=x\" is none of code=N, signal=NAME, park=DURATION, output=PATTERN",
            ),
            (
                "crash:signal=SIGNO",
                "\"signal=SIGNO\" is none of code=N, signal=NAME, park=DURATION, output=PATTERN",
            ),
            ("crash:code=1,park=1h", "park goes with QUOTA alone"),
            ("quota:code=1,park=8days", "park is more than 0s and at most 7days"),
            ("auth:output=", "a pattern has 1 to 256 bytes"),
            (
                "auth:output=a\nb",
                "a pattern has no control characters; write \\n or \\t",
            ),
        ] {
            let error = rule.parse::<ExitRule>().expect_err("refused");
            assert_eq!((error.field, error.problem.as_str()), ("exit_rules", expected));
        }
        let unclosed = "auth:output=(".parse::<ExitRule>().expect_err("refused").problem;
        assert!(unclosed.starts_with("\"(\" is no regular expression: "), "{unclosed}");
        let greedy = "auth:output=(a{1000}){1000}".parse::<ExitRule>();
        assert!(greedy.is_err(), "a pattern that explodes is refused");
    }
}
