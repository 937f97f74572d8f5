//! The text of a job file, cut into sections and settings.
//!
//! As fio reads it: `[name]` begins a section; one whose name begins with `global` holds
//! defaults for the sections after it; a line is a comment if it begins with `;` or `#`, and
//! what follows either of them on a line is one too, so no value can hold them. `${NAME}` is
//! taken from the environment.

use std::sync::Arc;

use crate::parse::{Environment, ParseCause, ParseError, Place, Section, Setting};

/// Cuts `text` into sections, in order. Each has the settings of its own lines only.
pub(crate) fn sections(
    file: &Arc<str>,
    text: &str,
    environment: Environment<'_>,
) -> Result<Vec<Section>, ParseError> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = Place::File { file: Arc::clone(file), line: index as u32 + 1 };
        let line = line.find([';', '#']).map_or(line, |at| &line[..at]).trim();
        if line.is_empty() {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']').filter(|name| !name.is_empty()) else {
                return Err(ParseError::new(place, ParseCause::BadSection));
            };
            sections.push(Section { name: name.to_owned(), settings: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(ParseError::new(place, ParseCause::NoSection));
        };
        let line = match expand(line, environment) {
            Ok(line) => line,
            Err(cause) => return Err(ParseError::new(place, cause)),
        };
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (line.as_str(), None),
        };
        section.settings.push(Setting { name: name.to_owned(), value, place });
    }
    Ok(sections)
}

/// Replaces each `${NAME}` by what the environment holds.
fn expand(line: &str, environment: Environment<'_>) -> Result<String, ParseCause> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let end = after.find('}').ok_or(ParseCause::OpenVariable)?;
        let name = &after[..end];
        let value = environment(name)
            .ok_or_else(|| ParseCause::UndefinedVariable { name: name.to_owned() })?;
        out.push_str(&rest[..start]);
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cut = Vec<(String, Vec<(String, Option<String>)>)>;

    fn cut(text: &str) -> Result<Cut, ParseError> {
        let environment = |name: &str| (name == "DISK").then(|| "/dev/x".to_owned());
        let sections = sections(&"a.fio".into(), text, &environment)?;
        Ok(sections
            .into_iter()
            .map(|s| (s.name, s.settings.into_iter().map(|o| (o.name, o.value)).collect()))
            .collect())
    }

    #[test]
    fn sections_settings_comments_and_variables() {
        let text = "; first\n[global]\nbs = 4k ; trailing\n\n#c\n[a] b]\nstonewall\n\
                    filename=${DISK}1;x\n";
        let got = cut(text).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            got,
            [
                ("global".to_owned(), vec![("bs".to_owned(), some("4k"))]),
                (
                    "a] b".to_owned(),
                    vec![("stonewall".to_owned(), None), ("filename".to_owned(), some("/dev/x1"))]
                ),
            ]
        );
    }

    #[test]
    fn each_error_names_file_and_line() {
        let cases = [
            ("bs=4k\n", "a.fio:1: an option before the first [section]"),
            ("[a]\n[b\n", "a.fio:2: a section begins with [name]"),
            ("[a]\n\nbs=${NO}\n", "a.fio:3: the environment has no NO"),
            ("[a]\nbs=${NO\n", "a.fio:2: ${ without its }"),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text).unwrap_err().to_string(), expected);
        }
    }
}
