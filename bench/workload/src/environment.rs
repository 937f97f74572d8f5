//! What a job file takes from around it: `${NAME}`, and `$ncpus`, `$pagesize`, `$mb_memory`.
//!
//! What must always hold: both are handed in, so that a test decides what they are; both hold in
//! job files only, not on the command line, where the shell has had its turn. fio calculates a
//! value only if a keyword stood in it: `bs=2*4096` is no sum (fio takes 2, and here it is
//! refused), `size=2*$mb_memory` is one. And it takes any `+ - * /` for a sign of a sum, so
//! that `filename=/dev/x$ncpus` is an error in fio and here.

use core::fmt;

use crate::{arithmetic, error::ParseCause};

/// What surrounds the reading of job files.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Where values of `${NAME}` come from: the environment of the process, or a test's.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The machine that the jobs will run on.
    pub machine: Machine,
}

/// What the keywords of a job file stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// `$ncpus`: processors on line.
    pub cpus: u64,
    /// `$pagesize`, in bytes.
    pub page_bytes: u64,
    /// `$mb_memory`, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// What a test means by a machine: 2 processors, pages of 4096 bytes, 1000 MiB.
    pub const SMALL: Machine = Machine { cpus: 2, page_bytes: 4096, memory_mib: 1000 };
}

impl Environment<'static> {
    /// No variables, and [`Machine::SMALL`]: the same everywhere.
    pub fn empty() -> Environment<'static> {
        Environment { variable: &|_| None, machine: Machine::SMALL }
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Environment<'_> {
    /// An option's line as it is meant: variables first, then keywords, then the sum.
    pub(crate) fn expand(&self, line: &str) -> Result<String, ParseCause> {
        let line = self.variables(line)?;
        let (line, replaced) = self.keywords(line);
        let Some((name, value)) = line.split_once('=').filter(|_| replaced) else {
            return Ok(line);
        };
        if !value.contains(['+', '-', '*', '/']) {
            return Ok(line);
        }
        match arithmetic::evaluate(value, &|number| number.parse().ok()) {
            Some(number) => Ok(format!("{name}={number}")),
            None => Err(ParseCause::BadArithmetic { value: value.to_owned() }),
        }
    }

    fn variables(&self, line: &str) -> Result<String, ParseCause> {
        let mut out = String::new();
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            let after = &rest[start + 2..];
            let end = after.find('}').ok_or(ParseCause::OpenVariable)?;
            let name = &after[..end];
            let value = (self.variable)(name)
                .ok_or_else(|| ParseCause::UndefinedVariable { name: name.to_owned() })?;
            out.push_str(&rest[..start]);
            out.push_str(&value);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// With keywords replaced, wherever they stand, and whether there was any.
    fn keywords(&self, mut line: String) -> (String, bool) {
        let Machine { cpus, page_bytes, memory_mib } = self.machine;
        let mut replaced = false;
        for (word, number) in
            [("$pagesize", page_bytes), ("$mb_memory", memory_mib), ("$ncpus", cpus)]
        {
            if line.contains(word) {
                line = line.replace(word, &number.to_string());
                replaced = true;
            }
        }
        (line, replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(line: &str) -> Result<String, ParseCause> {
        let variable = |name: &str| match name {
            "DISK" => Some("/dev/x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        Environment { variable: &variable, machine: Machine::SMALL }.expand(line)
    }

    #[test]
    fn variables_stand_anywhere_and_more_than_once() {
        assert_eq!(expand("filename=${DISK}1:${DISK}2").unwrap(), "filename=/dev/x1:/dev/x2");
        assert_eq!(expand("bs=${EMPTY}4k").unwrap(), "bs=4k");
        assert_eq!(expand("filename=$DISK").unwrap(), "filename=$DISK");
        assert!(matches!(expand("bs=${NO}"), Err(ParseCause::UndefinedVariable { .. })));
        assert_eq!(expand("bs=${DISK"), Err(ParseCause::OpenVariable));
    }

    #[test]
    fn keywords_are_replaced_without_regard_to_word_ends() {
        assert_eq!(expand("numjobs=$ncpus").unwrap(), "numjobs=2");
        assert_eq!(expand("size=$ncpusk").unwrap(), "size=2k");
        assert_eq!(expand("description=$ncpus cores").unwrap(), "description=2 cores");
    }

    #[test]
    fn a_keyword_makes_a_sum_of_its_value() {
        assert_eq!(expand("size=10*10*$mb_memory").unwrap(), "size=100000");
        assert_eq!(expand("bs=$pagesize/3").unwrap(), "bs=1365");
        assert_eq!(expand("size=(2+$ncpus)*4").unwrap(), "size=16");
        assert_eq!(expand("bs=2*4096").unwrap(), "bs=2*4096", "no keyword, no sum");
        for bad in ["size=2*$mb_memory*3m", "filename=/dev/x$ncpus"] {
            assert!(matches!(expand(bad), Err(ParseCause::BadArithmetic { .. })), "{bad}");
        }
    }
}
