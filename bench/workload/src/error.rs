//! What is said about options: errors that stop everything, and messages that don't.
//!
//! What must always hold: each says where its cause stands, as file and line or as the flag.

use core::fmt;
use std::sync::Arc;

use crate::quantity::Expected;

/// Where an option stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a job file.
    File {
        /// As the user named it.
        file: Arc<str>,
        /// Counted from 1; 0 is the file as a whole.
        line: u32,
    },
    /// On the command line.
    Flag {
        /// The argument as it was given.
        argument: Arc<str>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line: 0 } => write!(f, "{file}"),
            Place::File { file, line } => write!(f, "{file}:{line}"),
            Place::Flag { argument } => write!(f, "{argument}"),
        }
    }
}

/// What could not be understood, and where it stands. Nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct ParseError {
    /// Where.
    pub place: Place,
    /// What.
    pub cause: ParseCause,
}

impl ParseError {
    /// `cause` stands at `place`.
    pub(crate) fn new(place: Place, cause: ParseCause) -> ParseError {
        ParseError { place, cause }
    }
}

/// What could not be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseCause {
    /// No such option, neither here nor in fio.
    #[error("unknown option {name:?}{}", near.as_ref().map_or(String::new(), ToString::to_string))]
    UnknownOption {
        /// As written.
        name: String,
        /// What may have been meant.
        near: Option<Near>,
    },
    /// An option of fio's that is not built here.
    #[error(
        "the option {name:?} of fio is not supported{}",
        why.map_or(String::new(), |why| format!(": {why}"))
    )]
    NotSupported {
        /// As written.
        name: String,
        /// Why, where that is not that it was never built.
        why: Option<&'static str>,
    },
    /// A value that fio takes for this option, and this program does not.
    #[error("{option}={value} of fio is not supported: {expected} is")]
    ValueNotSupported {
        /// The option's name.
        option: &'static str,
        /// As written.
        value: String,
        /// What is taken.
        expected: Expected,
    },
    /// A value that the option does not take.
    #[error("{option}={value} is not understood: {expected} is expected")]
    BadValue {
        /// The option's name.
        option: &'static str,
        /// As written; empty if there was none.
        value: String,
        /// What it takes.
        expected: Expected,
    },
    /// A value with a unit after a blank, of which fio takes the number and drops the unit.
    #[error("after the blank, fio drops the unit of {option}= {value}: write {option}={value}")]
    BlankBeforeUnit {
        /// The option's name.
        option: &'static str,
        /// Without the blank.
        value: String,
    },
    /// A value that a keyword such as `$ncpus` makes a sum, and that is none.
    #[error("{value:?} can't be calculated: whole numbers, + - * / % ^ and parentheses are")]
    BadArithmetic {
        /// With the keywords replaced.
        value: String,
    },
    /// An option of a job file that stands in no section.
    #[error("an option before the first [section]")]
    NoSection,
    /// A line that begins a section and has no name.
    #[error("a section begins with [name]")]
    BadSection,
    /// `${` without its end.
    #[error("${{ without its }}")]
    OpenVariable,
    /// A variable that the environment has not.
    #[error("the environment has no {name}")]
    UndefinedVariable {
        /// Its name.
        name: String,
    },
    /// A file that can't be read.
    #[error("can't read the job file: {}", std::io::Error::from(*kind))]
    Unreadable {
        /// As the system said.
        kind: std::io::ErrorKind,
    },
    /// `include` of a file that can't be read.
    #[error("can't include {file}: {}", std::io::Error::from(*kind))]
    IncludeUnreadable {
        /// As written.
        file: String,
        /// As the system said.
        kind: std::io::ErrorKind,
    },
    /// `include` of a file that is being included.
    #[error("{file} includes itself")]
    IncludeCycle {
        /// As written.
        file: String,
    },
    /// Files that include files that include files.
    #[error("includes are more than {max} deep")]
    IncludeDepth {
        /// How deep they may be.
        max: usize,
    },
    /// A section in an included file.
    #[error("an included file can't begin a section")]
    SectionInInclude,
    /// A file, or a command line, without any job.
    #[error("there is no job in it")]
    NoJob,
    /// No job has the name that `--section` gave.
    #[error("no job file has this section")]
    NoSuchSection,
    /// An option that means nothing without another.
    #[error("{option} needs {needs}")]
    Needs {
        /// The option.
        option: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// `wait_for` a job that does not stand before.
    #[error("no job before this one is called {name:?}")]
    WaitsForNobody {
        /// As written.
        name: String,
    },
    /// `time_based` without an end.
    #[error("time_based needs a runtime")]
    Endless,
    /// fio's short flags have no meaning here.
    #[error("a single dash begins no option here: write --{name}")]
    SingleDash {
        /// Without the dash.
        name: String,
    },
}

/// A name close to one that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near {
    /// How it is spelt.
    pub name: &'static str,
    /// Whether it would work here; fio would take it in any case.
    pub supported: bool,
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.supported { "" } else { " (an option of fio that is not supported)" };
        write!(f, ": did you mean {}?{not}", self.name)
    }
}

/// Something accepted that the user should know of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where its cause stands.
    pub place: Place,
    /// A sentence for people.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_compilers_write_it() {
        let file = |line| Place::File { file: "a.fio".into(), line };
        assert_eq!((file(0).to_string(), file(7).to_string()), ("a.fio".into(), "a.fio:7".into()));
        let message = Message { place: file(2), text: "so".into() };
        assert_eq!(message.to_string(), "a.fio:2: so");
    }

    #[test]
    fn a_near_name_says_whether_it_would_work() {
        let near = |supported| Some(Near { name: "verify", supported });
        let text = |near| ParseCause::UnknownOption { name: "verfy".into(), near }.to_string();
        assert_eq!(text(near(true)), "unknown option \"verfy\": did you mean verify?");
        assert!(text(near(false)).ends_with("verify? (an option of fio that is not supported)"));
        assert_eq!(text(None), "unknown option \"verfy\"");
    }
}
