//! Pages of lists (AIP-158): bounded, and a token that goes with one filter.

use std::hash::{DefaultHasher, Hash, Hasher};

use tonic::Status;

use crate::status::invalid;

/// Page size of a caller that names none.
const DEFAULT: usize = 100;

/// Most items of a page.
const MAX: usize = 1000;

/// Most bytes of a page's items, so that an answer fits the 4 MiB that clients take by default. An agent with every
/// label and both tails takes some 30 KiB, so that each page has room for a hundred of the largest.
pub(super) const PAGE_MAX_BYTES: usize = 3 << 20;

/// Which page of a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// Most items.
    pub(super) size: usize,
    /// The last item of the page before, as the list's own cursor.
    pub(super) after: Option<String>,
    seal: String,
}

impl Page {
    /// Reads `page_size` and `page_token` of a request with this filter.
    pub(super) fn parse(size: i32, token: &str, filter: &str) -> Result<Self, Status> {
        let size = match usize::try_from(size) {
            Ok(0) => DEFAULT,
            Ok(size) => size.min(MAX),
            Err(_) => return Err(invalid("page_size", "must not be negative; 0 means 100")),
        };
        let seal = seal(filter);
        if token.is_empty() {
            return Ok(Self {
                size,
                after: None,
                seal,
            });
        }
        match token.strip_prefix(&seal).and_then(|rest| rest.strip_prefix('-')) {
            Some(cursor) => Ok(Self {
                size,
                after: Some(cursor.to_owned()),
                seal,
            }),
            None => Err(bad_token()),
        }
    }

    /// The token of the page after the one that ends with this cursor.
    pub(super) fn next(&self, cursor: &str) -> String {
        format!("{}-{cursor}", self.seal)
    }
}

/// A token that no page of this list gave.
pub(super) fn bad_token() -> Status {
    invalid(
        "page_token",
        "is not one that this list gave for this filter; start again without one",
    )
}

fn seal(filter: &str) -> String {
    let mut hasher = DefaultHasher::new();
    filter.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_with_their_filter() {
        let first = Page::parse(0, "", "state = RUNNING").expect("valid");
        assert_eq!((first.size, first.after.clone()), (DEFAULT, None));
        let token = first.next("planner-1");
        let second = Page::parse(5000, &token, "state = RUNNING").expect("valid");
        assert_eq!((second.size, second.after.as_deref()), (MAX, Some("planner-1")));
        assert!(Page::parse(1, &token, "state = CRASHED").is_err());
        assert!(Page::parse(1, "nonsense", "").is_err());
        assert!(Page::parse(-1, "", "").is_err());
    }
}
