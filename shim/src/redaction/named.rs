//! Secrets that a command line names as such: values of flags, variables and headers, and who logs in by a URL.
//!
//! ```text
//! --api-key VALUE   --api-key=VALUE   DB_PASSWORD=VALUE   X-Api-Key: VALUE   "token": VALUE
//! Authorization: VALUE   Bearer VALUE   scheme://VALUE@host
//! ```
//!
//! A name counts wherever one of the words is in it: `--max-tokens 100` is hidden too. So is more than the value where its
//! end is in doubt. What is not named so is not found.

use std::ops::Range;

use regex_lite::Regex;

/// What the names of secrets have in them, in any case.
const WORDS: &str = "(?:key|token|secret|passwd|password|passphrase|credential|authorization)";

/// How far a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// To the end of the word, as a shell reads it.
    Word,
    Line,
}

/// The names, compiled. A value begins where a match of what precedes it ends.
pub(super) struct Names {
    /// An argument whose next one is a value.
    flag: Regex,
    /// The beginning of an argument whose rest is a value, spaces and all.
    beginning: Regex,
    /// Anywhere in an argument: it may be a script.
    within: [(Regex, Reach); 4],
    /// Who logs in, with what surrounds it.
    login: Regex,
}

/// What surrounds who logs in by a URL.
const LOGIN_BEGINS: &str = "://";
const LOGIN_ENDS: &str = "@";

impl Names {
    pub(super) fn new() -> Self {
        let compile = |pattern: &str| Regex::new(pattern).expect("a test compiles them");
        let assigned = "[\"']?[ \\t]*[:=]+[ \\t]*";
        let within = [
            (format!("(?i){WORDS}[\\w.-]*{assigned}"), Reach::Word),
            (
                // A flag, and what lies between it and its value in a script or a list.
                format!("(?i)\\B-[\\w.-]*{WORDS}[\\w.-]*[\"']?(?:[\\s,]|\\\\\\n)+"),
                Reach::Word,
            ),
            (format!("(?i)authorization{assigned}"), Reach::Line),
            ("(?i)\\bbearer[ \\t]+".to_owned(), Reach::Word),
        ];
        Self {
            flag: compile(&format!("(?i)^-[^\\s=]*{WORDS}[^\\s=]*$")),
            beginning: compile(&format!("(?i)^\\S*?{WORDS}[^\\s=:]*[:=]")),
            within: within.map(|(pattern, reach)| (compile(&pattern), reach)),
            login: compile(&format!("{LOGIN_BEGINS}[^/\\s]*{LOGIN_ENDS}")),
        }
    }

    /// Where secrets are in an argument that comes after another; in no order, and some may overlap.
    pub(super) fn secrets(&self, argument: &str, before: Option<&str>) -> Vec<Range<usize>> {
        let mut secrets = Vec::new();
        if before.is_some_and(|before| self.flag.is_match(before)) {
            secrets.push(0..argument.len());
        }
        if let Some(name) = self.beginning.find(argument) {
            secrets.push(name.end()..argument.len());
        }
        for (name, reach) in &self.within {
            let mut hidden = 0;
            for name in name.find_iter(argument) {
                // What is in a value is hidden with it.
                if name.end() >= hidden {
                    hidden = reach.end(argument, name.end());
                    secrets.push(name.end()..hidden);
                }
            }
        }
        let logins = self.login.find_iter(argument);
        secrets.extend(logins.map(|login| login.start() + LOGIN_BEGINS.len()..login.end() - LOGIN_ENDS.len()));
        secrets
    }
}

impl Reach {
    /// Where a value ends that begins at `start`, which is a boundary of characters.
    fn end(self, text: &str, start: usize) -> usize {
        let rest = text.get(start..).unwrap_or_default();
        let length = match self {
            Self::Word => word(rest),
            Self::Line => rest.find('\n'),
        };
        start + length.unwrap_or(rest.len())
    }
}

/// Length of the first word as a shell reads it: spaces count where they are quoted. `None` where nothing ends it.
fn word(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match (quote, letter) {
            (_, '\\') => {
                letters.next();
            }
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, _) if letter.is_whitespace() => return Some(place),
            (Some(_) | None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::redaction::Redaction;

    fn told(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Redaction::default().apply_to_arguments(&words)
    }

    #[test]
    fn what_is_named_a_secret_is_hidden() {
        for (words, expected) in [
            // The next argument.
            (&["--api-key", "a b"][..], &["--api-key", "[redacted]"][..]),
            (&["-token", "a", "b"], &["-token", "[redacted]", "b"]),
            (
                &["--PASSWORD", "--token", "a"],
                &["--PASSWORD", "[redacted]", "[redacted]"],
            ),
            (&["--db:passwd", ""], &["--db:passwd", ""]),
            // The rest of the argument.
            (&["--secret=a b", "c"], &["--secret=[redacted]", "c"]),
            (&["--env=OPENAI_API_KEY=a b"], &["--env=OPENAI_API_KEY=[redacted]"]),
            (&["DB_PASSWORD=a\nb"], &["DB_PASSWORD=[redacted]"]),
            (&["-Daws.credentials=a"], &["-Daws.credentials=[redacted]"]),
            (&["X-Api-Key: a b"], &["X-Api-Key:[redacted]"]),
            (&["{\"token\":\"a b\",\"n\":1}"], &["{\"token\":[redacted]"]),
            (&["Authorization: Basic a"], &["Authorization:[redacted]"]),
            (
                &["--header=Authorization: Bearer a"],
                &["--header=Authorization:[redacted]"],
            ),
            // In a script.
            (
                &["run --token a --keys 'b c' --last d"],
                &["run --token [redacted] --keys [redacted] --last d"],
            ),
            (&["run --token --key a b"], &["run --token [redacted] [redacted] b"]),
            (&["run --token \\\n  a b"], &["run --token \\\n  [redacted] b"]),
            (
                &["[\"run\", \"--token\", \"a\"]"],
                &["[\"run\", \"--token\", [redacted]"],
            ),
            (
                &["export A=1 MY_TOKEN=a\\ b SECRET=\"c\"'d e' B=2"],
                &["export A=1 MY_TOKEN=[redacted] SECRET=[redacted] B=2"],
            ),
            (
                &["echo 'it is' password: a b"],
                &["echo 'it is' password: [redacted] b"],
            ),
            (
                &["curl -H Authorization:\\ Basic\\ a b\nnext"],
                &["curl -H Authorization:[redacted]\nnext"],
            ),
            (&["curl -H 'x: bearer a' b"], &["curl -H 'x: bearer [redacted]"]),
            (&["run key=key=key=a b"], &["run key=[redacted] b"]),
            // In URLs.
            (
                &["postgres://me:p@ss#w?@db/x?a=b@c"],
                &["postgres://[redacted]@db/x?a=b@c"],
            ),
            (
                &["git clone https://a@h/x https://h/@x"],
                &["git clone https://[redacted]@h/x https://h/@x"],
            ),
            (&["https://h/?api_key=a&x=1"], &["https://h/?api_key=[redacted]"]),
            // Too much, rather than too little.
            (&["--max-tokens", "100"], &["--max-tokens", "[redacted]"]),
        ] {
            assert_eq!(told(words), expected);
        }
    }

    #[test]
    fn what_is_not_named_so_is_told() {
        for words in [
            &["python3", "planner.py", "--queue", "main", "--retries=3"][..],
            &["sh", "-c", "cd /srv && exec ./run --fast 2>&1"],
            &["see", "the key to it", "a token", "keys/file"],
            &["git@host:x", "https://host:80/a", "--", "-k", "x"],
        ] {
            assert_eq!(told(words), words);
        }
    }

    #[test]
    fn patterns_and_names_go_together() {
        let pattern = "sk-[a-z]+".parse().expect("valid");
        let redaction = Redaction::new(vec![pattern]).expect("one");
        let words = ["run", "sk-a", "--token=sk-b and more", "x sk-c --key sk-d"].map(str::to_owned);
        assert_eq!(
            redaction.apply_to_arguments(&words),
            [
                "run",
                "[redacted]",
                "--token=[redacted]",
                "x [redacted] --key [redacted]"
            ]
        );
    }

    #[test]
    fn long_arguments_are_read_once() {
        // As long as an argument can be (execve(2), MAX_ARG_STRLEN): read once for each name it would take minutes.
        for part in ["key=", "--key ", "'key=", "://", "bearer "] {
            let long = part.repeat(128 * 1024 / part.len());
            assert_eq!(told(&[&long]).len(), 1);
        }
    }
}
