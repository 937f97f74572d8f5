//! Values that are several: one for each direction.
//!
//! What must always hold: the parts are split where fio splits them. For numbers that is at the
//! first `,`, or without one at the first `:`, or without either at the first `-`, and again
//! in what is left: `bs=4k-8k` is no range but 4k for reads and 8k for writes.

/// The parts for reads, writes and trims, as many as there are; none for more than three.
pub(crate) fn directions(text: &str) -> Option<Vec<&str>> {
    // A sum keeps its signs.
    if text.starts_with('(') {
        return Some(vec![text]);
    }
    let mut parts = Vec::with_capacity(3);
    let mut rest = text;
    while let Some(at) = rest.find(',').or_else(|| rest.find(':')).or_else(|| rest.find('-')) {
        parts.push(&rest[..at]);
        rest = &rest[at + 1..];
    }
    parts.push(rest);
    (parts.len() <= 3).then_some(parts)
}

/// Paths joined by `:`, where `\\:` is a colon of a path.
pub fn paths(text: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = paths.last_mut().expect("there is one from the start");
        match letter {
            '\\' if letters.peek() == Some(&':') => last.extend(letters.next()),
            ':' => paths.push(String::new()),
            letter => last.push(letter),
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_go_first_then_colons_then_dashes() {
        let cases: [(&str, &[&str]); 6] = [
            ("4k", &["4k"]),
            ("4k,8k,1m", &["4k", "8k", "1m"]),
            ("4k:8k", &["4k", "8k"]),
            ("4k-8k", &["4k", "8k"]),
            (",8k", &["", "8k"]),
            ("(8k-4k)", &["(8k-4k)"]),
        ];
        for (text, parts) in cases {
            assert_eq!(directions(text).as_deref(), Some(parts), "{text}");
        }
        assert_eq!(directions("1,2,3,4"), None);
    }

    #[test]
    fn a_colon_of_a_path_is_escaped() {
        assert_eq!(paths("a:b\\:c::d"), ["a", "b:c", "d"]);
    }
}
