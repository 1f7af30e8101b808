//! An expression checked against the fields that exist, and its meaning.

use super::parse::Expression;
use super::token::{Comparator, Pattern};
use super::{Field, FilterError, Kind, Subject, Value};

/// A checked expression.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Test {
        field: &'static str,
        key: String,
        test: Test,
    },
}

/// What is asked of one value.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Whether there is one.
    Present,
    Matches(Pattern),
    Differs(Pattern),
    Text(Order, String),
    Number(Order, u64),
    Flag(bool),
}

/// An ordering, `=` and `!=` included.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
        }
    }
}

impl From<Comparator> for Order {
    fn from(comparator: Comparator) -> Self {
        match comparator {
            Comparator::Equal | Comparator::Has => Self::Equal,
            Comparator::NotEqual => Self::NotEqual,
            Comparator::Less => Self::Less,
            Comparator::LessEqual => Self::LessEqual,
            Comparator::Greater => Self::Greater,
            Comparator::GreaterEqual => Self::GreaterEqual,
        }
    }
}

impl Condition {
    pub(super) fn holds<S: Subject>(&self, subject: &S) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(subject)),
            Self::Or(any) => any.iter().any(|one| one.holds(subject)),
            Self::Not(one) => !one.holds(subject),
            Self::Test { field, key, test } => subject.value(field, key).is_some_and(|value| test.holds(&value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Present, _) => true,
            (Self::Matches(pattern), Value::Text(text)) => pattern.matches(text),
            (Self::Differs(pattern), Value::Text(text)) => !pattern.matches(text),
            (Self::Text(order, wanted), Value::Text(text)) => order.holds(&text.as_ref(), &wanted.as_str()),
            (Self::Number(order, wanted), Value::Number(number)) => order.holds(number, wanted),
            (Self::Flag(wanted), Value::Flag(flag)) => flag == wanted,
            // A subject keeps to the kinds of its fields.
            (
                Self::Matches(_) | Self::Differs(_) | Self::Text(..) | Self::Number(..) | Self::Flag(_),
                Value::Text(_) | Value::Number(_) | Value::Flag(_),
            ) => false,
        }
    }
}

/// Checks an expression against the fields that exist.
pub(super) fn compile(expression: Expression, fields: &'static [Field]) -> Result<Condition, FilterError> {
    let all = |list: Vec<Expression>| {
        list.into_iter()
            .map(|one| compile(one, fields))
            .collect::<Result<_, _>>()
    };
    Ok(match expression {
        Expression::And(list) => Condition::And(all(list)?),
        Expression::Or(list) => Condition::Or(all(list)?),
        Expression::Not(one) => Condition::Not(Box::new(compile(*one, fields)?)),
        Expression::Compare {
            field,
            comparator,
            value,
        } => {
            let (field, key) = find(&field, fields)?;
            restriction(field, key, comparator, value)?
        }
    })
}

fn find(path: &str, fields: &'static [Field]) -> Result<(&'static Field, String), FilterError> {
    for field in fields {
        match (field.kind, path.strip_prefix(field.name)) {
            (_, Some("")) => return Ok((field, String::new())),
            (Kind::Map, Some(rest)) if rest.len() > 1 && rest.starts_with('.') => {
                return Ok((field, rest[1..].to_owned()));
            }
            (Kind::Text | Kind::Word { .. } | Kind::Number | Kind::Flag | Kind::Map, Some(_) | None) => {}
        }
    }
    let name = |field: &Field| match field.kind {
        Kind::Map => format!("{}.KEY", field.name),
        Kind::Text | Kind::Word { .. } | Kind::Number | Kind::Flag => field.name.to_owned(),
    };
    Err(FilterError::UnknownField {
        field: path.to_owned(),
        known: fields.iter().map(name).collect::<Vec<_>>().join(", "),
    })
}

fn restriction(
    field: &'static Field,
    key: String,
    comparator: Comparator,
    value: Pattern,
) -> Result<Condition, FilterError> {
    if value.star_inside {
        return Err(FilterError::Wildcard(value.show()));
    }
    let anything = value.text.is_empty() && !value.is_exact();
    let name = field.name;
    let (key, test) = match field.kind {
        _ if comparator == Comparator::Has && anything && (field_is_whole(field) || !key.is_empty()) => {
            (key, Test::Present)
        }
        Kind::Map if key.is_empty() => match comparator {
            Comparator::Has if value.is_exact() => (value.text, Test::Present),
            Comparator::Has
            | Comparator::Equal
            | Comparator::NotEqual
            | Comparator::Less
            | Comparator::LessEqual
            | Comparator::Greater
            | Comparator::GreaterEqual => return Err(FilterError::MissingKey { field: name }),
        },
        Kind::Map | Kind::Text => (key, text_test(comparator, value)?),
        Kind::Word { prefix, words } => (key, word_test(name, prefix, words, comparator, value)?),
        Kind::Number => (key, Test::Number(comparator.into(), number(name, &value)?)),
        Kind::Flag => (key, flag_test(name, comparator, &value)?),
    };
    Ok(Condition::Test { field: name, key, test })
}

fn field_is_whole(field: &Field) -> bool {
    !matches!(field.kind, Kind::Map)
}

fn text_test(comparator: Comparator, value: Pattern) -> Result<Test, FilterError> {
    match comparator {
        Comparator::Equal | Comparator::Has => Ok(Test::Matches(value)),
        Comparator::NotEqual => Ok(Test::Differs(value)),
        Comparator::Less | Comparator::LessEqual | Comparator::Greater | Comparator::GreaterEqual => {
            if value.is_exact() {
                Ok(Test::Text(comparator.into(), value.text))
            } else {
                Err(FilterError::Wildcard(value.show()))
            }
        }
    }
}

fn word_test(
    field: &'static str,
    prefix: &str,
    words: &[&str],
    comparator: Comparator,
    mut value: Pattern,
) -> Result<Test, FilterError> {
    if let Some(bare) = value.text.strip_prefix(prefix)
        && !value.any_before
    {
        value.text = bare.to_owned();
    }
    if !words.iter().any(|word| value.matches(word)) {
        return Err(FilterError::Value {
            field,
            value: value.show(),
            expected: format!("one of {}", words.join(", ")),
        });
    }
    match comparator {
        Comparator::Equal | Comparator::Has => Ok(Test::Matches(value)),
        Comparator::NotEqual => Ok(Test::Differs(value)),
        Comparator::Less | Comparator::LessEqual | Comparator::Greater | Comparator::GreaterEqual => {
            Err(FilterError::Comparator {
                field,
                comparator: comparator.as_str(),
                allowed: "=, != or :",
            })
        }
    }
}

fn number(field: &'static str, value: &Pattern) -> Result<u64, FilterError> {
    let digits = value.is_exact() && value.text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { value.text.parse().ok() } else { None };
    parsed.ok_or_else(|| FilterError::Value {
        field,
        value: value.show(),
        expected: "a whole number".to_owned(),
    })
}

fn flag_test(field: &'static str, comparator: Comparator, value: &Pattern) -> Result<Test, FilterError> {
    let flag = match value.show().as_str() {
        "true" => true,
        "false" => false,
        other => {
            return Err(FilterError::Value {
                field,
                value: other.to_owned(),
                expected: "true or false".to_owned(),
            });
        }
    };
    match comparator {
        Comparator::Equal | Comparator::Has => Ok(Test::Flag(flag)),
        Comparator::NotEqual => Ok(Test::Flag(!flag)),
        Comparator::Less | Comparator::LessEqual | Comparator::Greater | Comparator::GreaterEqual => {
            Err(FilterError::Comparator {
                field,
                comparator: comparator.as_str(),
                allowed: "=, != or :",
            })
        }
    }
}
