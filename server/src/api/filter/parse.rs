//! Tokens to an expression.

use super::token::{Comparator, Pattern, Token, TokenKind, tokens};
use super::{DEPTH_MAX, FilterError};

/// What a filter says, before its fields are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare {
        /// With the words joined by dots.
        field: String,
        comparator: Comparator,
        value: Pattern,
    },
}

/// Parses a filter; `None` for an empty one.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, FilterError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: text.chars().count() + 1,
    };
    let expression = parser.and(0)?;
    match parser.peek() {
        None => Ok(Some(expression)),
        Some(_) => Err(parser.unexpected("AND, OR or the end")),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    end: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(TokenKind::Word(word)) if word == keyword);
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self, expected: &'static str) -> FilterError {
        let token = self.tokens.get(self.at);
        FilterError::Unexpected {
            position: token.map_or(self.end, |token| token.position),
            expected,
            found: match token.map(|token| &token.kind) {
                None => "the end".to_owned(),
                Some(TokenKind::Open) => "\"(\"".to_owned(),
                Some(TokenKind::Close) => "\")\"".to_owned(),
                Some(TokenKind::Compare(comparator)) => format!("{:?}", comparator.as_str()),
                Some(TokenKind::Word(word)) => format!("{word:?}"),
                Some(TokenKind::Text(pattern)) => format!("the string {:?}", pattern.show()),
                Some(TokenKind::Dot) => "\".\"".to_owned(),
                Some(TokenKind::Minus) => "\"-\"".to_owned(),
            },
        }
    }

    fn and(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut all = vec![self.or(depth)?];
        while self.take_word("AND") {
            all.push(self.or(depth)?);
        }
        Ok(one_or(all, Expression::And))
    }

    fn or(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let mut any = vec![self.term(depth)?];
        while self.take_word("OR") {
            any.push(self.term(depth)?);
        }
        Ok(one_or(any, Expression::Or))
    }

    fn term(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let minus = matches!(self.peek(), Some(TokenKind::Minus));
        self.at += usize::from(minus);
        let negated = minus || self.take_word("NOT");
        let term = if matches!(self.peek(), Some(TokenKind::Open)) {
            if depth == DEPTH_MAX {
                return Err(FilterError::TooDeep);
            }
            self.at += 1;
            let inner = self.and(depth + 1)?;
            if !matches!(self.peek(), Some(TokenKind::Close)) {
                return Err(self.unexpected("AND, OR or \")\""));
            }
            self.at += 1;
            inner
        } else {
            self.restriction()?
        };
        Ok(if negated { Expression::Not(Box::new(term)) } else { term })
    }

    fn restriction(&mut self) -> Result<Expression, FilterError> {
        let mut field = match self.peek() {
            Some(TokenKind::Word(word)) if !is_keyword(word) => word.clone(),
            Some(TokenKind::Text(text)) => return Err(FilterError::BareWord(text.show())),
            Some(
                TokenKind::Word(_)
                | TokenKind::Open
                | TokenKind::Close
                | TokenKind::Compare(_)
                | TokenKind::Dot
                | TokenKind::Minus,
            )
            | None => return Err(self.unexpected("a field")),
        };
        self.at += 1;
        while matches!(self.peek(), Some(TokenKind::Dot)) {
            self.at += 1;
            let Some(TokenKind::Text(key)) = self.peek() else {
                return Err(self.unexpected("a quoted key"));
            };
            field = format!("{field}.{}", key.show());
            self.at += 1;
        }
        let Some(&TokenKind::Compare(comparator)) = self.peek() else {
            return Err(FilterError::BareWord(field));
        };
        self.at += 1;
        let value = match self.peek() {
            Some(TokenKind::Text(pattern)) => pattern.clone(),
            Some(TokenKind::Word(word)) if !is_keyword(word) => Pattern::from_word(word),
            Some(
                TokenKind::Word(_)
                | TokenKind::Open
                | TokenKind::Close
                | TokenKind::Compare(_)
                | TokenKind::Dot
                | TokenKind::Minus,
            )
            | None => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(Expression::Compare {
            field,
            comparator,
            value,
        })
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "AND" | "OR" | "NOT")
}

fn one_or(mut list: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            many(list)
        }
        None => many(list),
    }
}
