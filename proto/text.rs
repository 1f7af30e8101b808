//! Text that is cut to a length rather than refused.

/// Makes a text one line of at most `max_bytes` bytes: control characters become spaces, what is too long is cut.
pub fn cut_line(text: &str, max_bytes: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut = String::new();
    for c in text.chars().map(clean) {
        if cut.len() + c.len_utf8() > max_bytes {
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_characters() {
        assert_eq!(cut_line("a\nbcä", 5), "a bc");
    }
}
