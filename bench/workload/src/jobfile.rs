//! The text of a job file, cut into sections and settings.
//!
//! As fio reads it: `[name]` begins a section; one whose name begins with `global` holds
//! defaults for the sections after it; a line is a comment if it begins with `;` or `#`, and
//! what follows either of them on a line is one too, so no value can hold them. `include FILE`
//! puts the settings of another file into the section: the path as it stands if there is such
//! a file, or else beside the file that includes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::environment::Environment;
use crate::error::{Message, ParseCause, ParseError, Place};

/// How deep files may include files.
const INCLUDE_DEPTH_MAX: usize = 16;

/// A `[name]` and what stands below it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) place: Place,
}

/// One `name=value`.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// As written, blanks after the `=` included: fio minds them.
    pub(crate) value: Option<String>,
    pub(crate) place: Place,
}

impl Section {
    /// Whether it holds defaults for those after it.
    pub(crate) fn is_global(&self) -> bool {
        self.name.starts_with("global")
    }
}

/// Cuts `text` into sections, in order. Each has the settings of its own lines only.
pub(crate) fn sections(
    file: &Arc<str>,
    text: &str,
    environment: &Environment<'_>,
    messages: &mut Vec<Message>,
) -> Result<Vec<Section>, ParseError> {
    let mut cutter =
        Cutter { environment, messages, sections: Vec::new(), open: vec![PathBuf::from(&**file)] };
    cutter.file(file, text)?;
    Ok(cutter.sections)
}

struct Cutter<'a> {
    environment: &'a Environment<'a>,
    messages: &'a mut Vec<Message>,
    sections: Vec<Section>,
    /// The file, the one that it includes, and so on.
    open: Vec<PathBuf>,
}

impl Cutter<'_> {
    fn file(&mut self, file: &Arc<str>, text: &str) -> Result<(), ParseError> {
        for (index, line) in text.lines().enumerate() {
            let place = Place::File { file: Arc::clone(file), line: index as u32 + 1 };
            let line = line.find([';', '#']).map_or(line, |at| &line[..at]).trim();
            if line.is_empty() {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                self.section(rest, place)?;
                continue;
            }
            if self.sections.is_empty() {
                return Err(ParseError::new(place, ParseCause::NoSection));
            }
            // fio looks for no more than the word and one sign after it.
            let included = line.strip_prefix("include");
            let included = included.and_then(|rest| rest.strip_prefix([' ', '\t', '=']));
            if let Some(path) = included {
                self.include(path.trim(), file, place)?;
                continue;
            }
            let line = match self.environment.expand(line) {
                Ok(line) => line,
                Err(cause) => return Err(ParseError::new(place, cause)),
            };
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.to_owned())),
                None => (line.as_str(), None),
            };
            let setting = Setting { name: name.to_owned(), value, place };
            self.sections.last_mut().expect("looked at above").settings.push(setting);
        }
        Ok(())
    }

    /// `rest` is what follows the `[`. fio drops the last letter, whatever it is.
    fn section(&mut self, rest: &str, place: Place) -> Result<(), ParseError> {
        if self.open.len() > 1 {
            return Err(ParseError::new(place, ParseCause::SectionInInclude));
        }
        let mut letters = rest.chars();
        let last = letters.next_back();
        let name = letters.as_str().to_owned();
        match last {
            None => return Err(ParseError::new(place, ParseCause::BadSection)),
            Some(']') => {}
            Some(_) => {
                let text =
                    format!("the section has no ] at its end; as in fio, its name is {name:?}");
                self.messages.push(Message { place: place.clone(), text });
            }
        }
        self.sections.push(Section { name, settings: Vec::new(), place });
        Ok(())
    }

    fn include(&mut self, written: &str, from: &str, place: Place) -> Result<(), ParseError> {
        let fail = |cause| Err(ParseError::new(place.clone(), cause));
        let beside = Path::new(from).with_file_name(written);
        let path = match Path::new(written) {
            path if path.exists() => {
                if beside.exists() && !same(path, &beside) {
                    let text = format!(
                        "as in fio, {written} is the one of the working directory, not {}",
                        beside.display()
                    );
                    self.messages.push(Message { place: place.clone(), text });
                }
                path.to_owned()
            }
            _ => beside,
        };
        if self.open.iter().any(|open| same(open, &path)) {
            return fail(ParseCause::IncludeCycle { file: written.to_owned() });
        }
        if self.open.len() > INCLUDE_DEPTH_MAX {
            return fail(ParseCause::IncludeDepth { max: INCLUDE_DEPTH_MAX });
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let file = written.to_owned();
                return fail(ParseCause::IncludeUnreadable { file, kind: error.kind() });
            }
        };
        let file: Arc<str> = path.to_string_lossy().into();
        self.open.push(path);
        self.file(&file, &text)?;
        self.open.pop();
        Ok(())
    }
}

/// Whether two paths lead to one file.
fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cut = Vec<(String, Vec<(String, Option<String>)>)>;

    fn cut_file(file: &str, text: &str) -> Result<(Cut, Vec<String>), ParseError> {
        let variable = |name: &str| (name == "DISK").then(|| "/dev/x".to_owned());
        let environment = Environment { variable: &variable, ..Environment::empty() };
        let mut messages = Vec::new();
        let sections = sections(&file.into(), text, &environment, &mut messages)?;
        let cut = sections
            .into_iter()
            .map(|s| (s.name, s.settings.into_iter().map(|o| (o.name, o.value)).collect()))
            .collect();
        Ok((cut, messages.iter().map(Message::to_string).collect()))
    }

    fn cut(text: &str) -> Result<Cut, ParseError> {
        cut_file("a.fio", text).map(|(cut, _)| cut)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn sections_settings_comments_and_variables() {
        let text = "; first\n[global]\nbs = 4k ; trailing\n\n#c\n  [a] b] # c]\nstonewall\n\
                    filename=${DISK}1;x\r\n\tsize =1m\n[]\n";
        assert_eq!(
            cut(text).unwrap(),
            [
                ("global".to_owned(), vec![("bs".to_owned(), some(" 4k"))]),
                (
                    "a] b".to_owned(),
                    vec![
                        ("stonewall".to_owned(), None),
                        ("filename".to_owned(), some("/dev/x1")),
                        ("size".to_owned(), some("1m")),
                    ]
                ),
                (String::new(), vec![]),
            ]
        );
    }

    #[test]
    fn the_last_letter_of_a_section_goes_and_that_is_said() {
        let (cut, messages) = cut_file("a.fio", "[abc\nbs=4k\n").unwrap();
        assert_eq!(cut[0].0, "ab");
        assert_eq!(messages.len(), 1);
        assert!(messages[0].starts_with("a.fio:1: the section has no ]"), "{messages:?}");
    }

    #[test]
    fn each_error_names_file_and_line() {
        let cases = [
            ("bs=4k\n", "a.fio:1: an option before the first [section]"),
            ("include x\n", "a.fio:1: an option before the first [section]"),
            ("[a]\n[\n", "a.fio:2: a section begins with [name]"),
            ("[a]\n\nbs=${NO}\n", "a.fio:3: the environment has no NO"),
            ("[a]\nbs=${NO\n", "a.fio:2: ${ without its }"),
            ("[a]\ninclude ${DISK}\n", "a.fio:2: can't include ${DISK}: entity not found"),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text).unwrap_err().to_string(), expected);
        }
    }

    /// A directory that is gone when the test is over.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str, files: &[(&str, &str)]) -> Directory {
            let name = format!("isotherm-jobfile-{name}-{}", std::process::id());
            let directory = Directory(std::env::temp_dir().join(name));
            for (file, text) in files {
                let path = directory.0.join(file);
                std::fs::create_dir_all(path.parent().expect("it has one")).unwrap();
                std::fs::write(path, text).unwrap();
            }
            directory
        }

        fn cut(&self, text: &str) -> Result<(Cut, Vec<String>), ParseError> {
            cut_file(self.0.join("main.fio").to_str().unwrap(), text)
        }

        fn error(&self, text: &str) -> String {
            let home = format!("{}/", self.0.display());
            self.cut(text).unwrap_err().to_string().replace(&home, "")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn includes_stand_where_they_are_written() {
        let files =
            [("sub/one.inc", "bs=2k\n; c\ninclude two.inc # c\n"), ("sub/two.inc", "direct=1\n")];
        let directory = Directory::new("include", &files);
        let (cut, messages) = directory
            .cut("[a]\nsize=1m\ninclude sub/one.inc\nrw=read\n[b]\ninclude=sub/two.inc\n")
            .unwrap();
        let names = |section: usize| -> Vec<&str> {
            cut[section].1.iter().map(|(name, _)| name.as_str()).collect()
        };
        assert_eq!(names(0), ["size", "bs", "direct", "rw"]);
        assert_eq!(names(1), ["direct"]);
        assert!(messages.is_empty());
    }

    #[test]
    fn what_an_include_may_not_do() {
        let mut files: Vec<(String, String)> = vec![
            ("cycle".into(), "bs=4k\ninclude back\n".into()),
            ("back".into(), "include cycle\n".into()),
            ("section".into(), "bs=4k\n[x]\n".into()),
        ];
        files.extend((0..30).map(|n| (format!("deep{n}"), format!("include deep{}\n", n + 1))));
        let files: Vec<(&str, &str)> =
            files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let directory = Directory::new("refuse", &files);
        let error = |file: &str| directory.error(&format!("[a]\ninclude {file}\n"));
        assert_eq!(error("cycle"), "back:1: cycle includes itself");
        assert_eq!(error("section"), "section:2: an included file can't begin a section");
        assert_eq!(error("deep0"), "deep15:1: includes are more than 16 deep");
        assert_eq!(error("nothing"), "main.fio:2: can't include nothing: entity not found");
    }
}
