//! Text to tokens.

use super::FilterError;

/// One token, and where it starts, in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) position: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Compare(Comparator),
    /// Unquoted: a field, a value, or AND, OR, NOT.
    Word(String),
    /// Quoted.
    Text(Pattern),
    /// Joins a word to a quoted key: `labels."a.b"`.
    Dot,
    /// Before a term: NOT.
    Minus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Has,
}

impl Comparator {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Has => ":",
        }
    }
}

/// A text to compare with, and where it may be longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Without the wildcards at its ends.
    pub(super) text: String,
    pub(super) any_before: bool,
    pub(super) any_after: bool,
    /// Whether a `*` stands where none can.
    pub(super) star_inside: bool,
}

impl Pattern {
    /// From the characters of a value, each with whether it was escaped.
    fn new(characters: &[(char, bool)]) -> Self {
        let star = |&(c, escaped): &(char, bool)| c == '*' && !escaped;
        let (mut rest, mut pattern) = (characters, Self::default());
        if let Some((first, tail)) = rest.split_first()
            && star(first)
        {
            pattern.any_before = true;
            rest = tail;
        }
        if let Some((last, head)) = rest.split_last()
            && star(last)
        {
            pattern.any_after = true;
            rest = head;
        }
        pattern.star_inside = rest.iter().any(star);
        pattern.text = rest.iter().map(|(c, _)| c).collect();
        pattern
    }

    pub(super) fn from_word(word: &str) -> Self {
        Self::new(&word.chars().map(|c| (c, false)).collect::<Vec<_>>())
    }

    pub(super) fn is_exact(&self) -> bool {
        !self.any_before && !self.any_after
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match (self.any_before, self.any_after) {
            (false, false) => text == self.text,
            (false, true) => text.starts_with(&self.text),
            (true, false) => text.ends_with(&self.text),
            (true, true) => text.contains(&self.text),
        }
    }

    /// As the caller may have written it.
    pub(super) fn show(&self) -> String {
        let star = |there| if there { "*" } else { "" };
        format!("{}{}{}", star(self.any_before), self.text, star(self.any_after))
    }
}

/// Splits a filter into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let next_is_equal = characters.get(at + 1) == Some(&'=');
        let (kind, length) = match c {
            _ if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '=' => (TokenKind::Compare(Comparator::Equal), 1),
            ':' => (TokenKind::Compare(Comparator::Has), 1),
            '<' if next_is_equal => (TokenKind::Compare(Comparator::LessEqual), 2),
            '<' => (TokenKind::Compare(Comparator::Less), 1),
            '>' if next_is_equal => (TokenKind::Compare(Comparator::GreaterEqual), 2),
            '>' => (TokenKind::Compare(Comparator::Greater), 1),
            '!' if next_is_equal => (TokenKind::Compare(Comparator::NotEqual), 2),
            '"' | '\'' => quoted(&characters, at)?,
            '-' if starts_term(tokens.last()) => (TokenKind::Minus, 1),
            '.' if matches!(characters.get(at + 1), Some('"' | '\'')) => (TokenKind::Dot, 1),
            _ if is_word(c) => word(&characters, at),
            _ => {
                return Err(FilterError::Unexpected {
                    position: at + 1,
                    expected: "a field, a value or a comparison",
                    found: format!("{c:?}"),
                });
            }
        };
        tokens.push(Token { position: at + 1, kind });
        at += length;
    }
    Ok(tokens)
}

/// Whether a term may follow, where `-` negates it; a value may start with one.
fn starts_term(before: Option<&Token>) -> bool {
    match before.map(|token| &token.kind) {
        None | Some(TokenKind::Open) => true,
        Some(TokenKind::Word(word)) => matches!(word.as_str(), "AND" | "OR" | "NOT"),
        Some(TokenKind::Close | TokenKind::Compare(_) | TokenKind::Text(_) | TokenKind::Dot | TokenKind::Minus) => {
            false
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '/' | '+' | '@')
}

fn word(characters: &[char], at: usize) -> (TokenKind, usize) {
    let mut word = String::new();
    for (index, &c) in characters.iter().enumerate().skip(at) {
        let dot_before_quote = c == '.' && matches!(characters.get(index + 1), Some('"' | '\''));
        if !is_word(c) || dot_before_quote {
            break;
        }
        word.push(c);
    }
    let length = word.chars().count();
    (TokenKind::Word(word), length)
}

fn quoted(characters: &[char], at: usize) -> Result<(TokenKind, usize), FilterError> {
    let quote = characters[at];
    let mut content = Vec::new();
    let mut index = at + 1;
    while let Some(&c) = characters.get(index) {
        index += 1;
        if c == quote {
            return Ok((TokenKind::Text(Pattern::new(&content)), index - at));
        }
        match characters.get(index) {
            Some(&escaped) if c == '\\' => {
                content.push((escaped, true));
                index += 1;
            }
            Some(_) | None => content.push((c, false)),
        }
    }
    Err(FilterError::OpenString { position: at + 1 })
}
