//! Labels: what operators and shims tell agents apart by.

use std::collections::BTreeMap;

/// Most labels of one agent. With the limits below a record's labels stay under 12 KiB.
pub const LABELS_MAX: usize = 32;
/// Longest label key, in bytes.
pub const LABEL_KEY_MAX_BYTES: usize = 63;
/// Longest label value, in bytes.
pub const LABEL_VALUE_MAX_BYTES: usize = 256;

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// More than [`LABELS_MAX`].
    #[error("{0} labels are more than {LABELS_MAX}")]
    TooMany(usize),
    /// A key outside of its alphabet.
    #[error(
        "the key {0:?} must have 1 to {LABEL_KEY_MAX_BYTES} lowercase letters, digits, \"-\" or \"_\", and start \
         with a letter"
    )]
    Key(String),
    /// A value that is too long, or has control characters.
    #[error("the value of {0:?} must have at most {LABEL_VALUE_MAX_BYTES} bytes, and no control characters")]
    Value(String),
}

/// A change of labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelsPatch {
    /// Replaces all of them, before `set` is applied.
    pub replace: Option<BTreeMap<String, String>>,
    /// Sets these, or removes those without a value.
    pub set: BTreeMap<String, Option<String>>,
}

impl LabelsPatch {
    /// The labels after the change, checked.
    pub fn apply(&self, base: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, LabelError> {
        let mut labels = self.replace.clone().unwrap_or_else(|| base.clone());
        for (key, value) in &self.set {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
        check(&labels)?;
        Ok(labels)
    }
}

/// Checks labels against their limits.
pub fn check(labels: &BTreeMap<String, String>) -> Result<(), LabelError> {
    if labels.len() > LABELS_MAX {
        return Err(LabelError::TooMany(labels.len()));
    }
    for (key, value) in labels {
        let alphabet = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let key_fits = (1..=LABEL_KEY_MAX_BYTES).contains(&key.len())
            && key.chars().all(alphabet)
            && key.starts_with(|c: char| c.is_ascii_lowercase());
        if !key_fits {
            return Err(LabelError::Key(key.chars().take(LABEL_KEY_MAX_BYTES).collect()));
        }
        if value.len() > LABEL_VALUE_MAX_BYTES || value.chars().any(char::is_control) {
            return Err(LabelError::Value(key.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches() {
        let base = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let set = BTreeMap::from([("a".to_owned(), None), ("c".to_owned(), Some("3".to_owned()))]);
        let applied = LabelsPatch {
            replace: None,
            set: set.clone(),
        }
        .apply(&base)
        .expect("valid");
        assert_eq!(
            applied.into_iter().collect::<Vec<_>>(),
            [("b".into(), "2".into()), ("c".into(), "3".into())]
        );
        let replaced = LabelsPatch {
            replace: Some(BTreeMap::new()),
            set,
        }
        .apply(&base)
        .expect("valid");
        assert_eq!(replaced.len(), 1);
    }

    #[test]
    fn limits() {
        let one = |key: &str, value: &str| check(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(one("team", "search"), Ok(()));
        assert_eq!(one("Team", "x"), Err(LabelError::Key("Team".into())));
        assert_eq!(one("", "x"), Err(LabelError::Key(String::new())));
        assert_eq!(one("k", "line\nbreak"), Err(LabelError::Value("k".into())));
        assert_eq!(one("k", &"v".repeat(257)), Err(LabelError::Value("k".into())));
        let many = (0..33).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(check(&many), Err(LabelError::TooMany(33)));
    }
}
