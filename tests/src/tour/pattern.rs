//! Expected output with parts that differ from run to run.

/// Whether a line is as expected. In `pattern`, `<id>` stands for an event's id and any other `<word>` or `<...>` for
/// any text that is not empty.
#[must_use]
pub fn matches(pattern: &str, line: &str) -> bool {
    match next_wildcard(pattern) {
        None => pattern == line,
        Some((before, name, after)) => {
            let Some(rest) = line.strip_prefix(before) else { return false };
            let ends = (1..=rest.len()).filter(|end| rest.is_char_boundary(*end));
            ends.into_iter().any(|end| stands_for(name, &rest[..end]) && matches(after, &rest[end..]))
        }
    }
}

fn stands_for(name: &str, text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name != "id" || text.split_once('-').is_some_and(|(ms, seq)| number(ms) && number(seq))
}

/// The first wildcard of a pattern: what stands before it, its name, what stands behind it.
fn next_wildcard(pattern: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = pattern[from..].find('<').map(|at| from + at) {
        let inner = &pattern[open + 1..];
        let len =
            inner.find(|c: char| !(c.is_ascii_lowercase() || "._- ".contains(c))).unwrap_or(inner.len());
        if len > 0 && inner[len..].starts_with('>') {
            return Some((&pattern[..open], &inner[..len], &inner[len + 1..]));
        }
        from = open + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn without_wildcards_lines_are_equal() {
        assert!(matches("a < b > c", "a < b > c") && matches("", ""));
        assert!(!matches("a", "ab") && !matches("a", "") && !matches("", "a"));
    }

    #[test]
    fn ids_are_ids() {
        assert!(matches("<id>", "1763859377000-0") && matches("\"<id>\",", "\"1-2\","));
        assert!(!matches("<id>", "-") && !matches("<id>", "1-2 x") && !matches("<id>", "ERR no"));
    }

    #[test]
    fn other_wildcards_are_any_text_but_none() {
        assert!(matches("a<...>c", "abbc") && matches("<a><b>", "xy") && matches("<pid> ü", "12 ü"));
        assert!(!matches("a<...>c", "ac") && !matches("a<...>c", "abbd") && !matches("<a><b>", "x"));
    }
}
