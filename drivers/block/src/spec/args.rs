//! What stands behind the kind of one stage, `8ms:only=read`, taken apart and read as values.
//!
//! What must always hold: an option that is not in the kind's table is refused before the kind
//! sees it, and a value that can't be read names the option and what was expected. Nothing is
//! ignored.

use isotherm_seam::{BlockSize, Nanos};

/// One option of a kind, for reading and for `--help`.
#[derive(Clone, Copy, Debug)]
pub struct OptionHelp {
    /// The name, as in `name=value`.
    pub name: &'static str,
    /// The shape of its value.
    pub value: &'static str,
    /// What it does, with its default.
    pub meaning: &'static str,
}

/// What is wrong with the text of one stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// No kind of that name.
    #[error("unknown kind `{kind}`{}; kinds are {known}, and a path has a `/` or `.`", did_you_mean(.hint.as_deref()))]
    UnknownKind {
        /// As written.
        kind: String,
        /// The nearest known name.
        hint: Option<String>,
        /// All names.
        known: String,
    },
    /// No option of that name.
    #[error("unknown option `{option}`{}; {known}", did_you_mean(.hint.as_deref()))]
    UnknownOption {
        /// As written.
        option: String,
        /// The nearest known name.
        hint: Option<String>,
        /// All names of this kind's options.
        known: String,
    },
    /// Text that is not `name=value` where only options may stand.
    #[error("`{text}` is not an option: expected name=value; {known}")]
    NotAnOption {
        /// As written.
        text: String,
        /// All names of this kind's options.
        known: String,
    },
    /// A value that can't be read.
    #[error("`{text}`: expected {expected}")]
    BadValue {
        /// The option with its value, as written.
        text: String,
        /// What was expected.
        expected: String,
    },
    /// A value of a fixed list that is not in it.
    #[error("`{text}` is unknown{}; known are {known}", did_you_mean(.hint.as_deref()))]
    UnknownName {
        /// As written.
        text: String,
        /// The nearest known name.
        hint: Option<String>,
        /// All names.
        known: String,
    },
    /// An option that may be given once.
    #[error("`{option}` is given twice")]
    Twice {
        /// Which.
        option: String,
    },
    /// The value that must stand right behind the kind is missing.
    #[error("expected {expected}")]
    Missing {
        /// What was expected.
        expected: String,
    },
    /// A layer where the leaf should be.
    #[error("is a layer, and nothing is below it: end the stack with {leaves}, or a path")]
    NoLeaf {
        /// All leaves.
        leaves: String,
    },
}

/// The text behind a kind: at most one value that has no name, and options.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    value: Option<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Args<'a> {
    /// Takes apart `value:name=value:…`. The first part is the value unless it is an option.
    pub(crate) fn of_layer(text: &'a str, known: &[OptionHelp]) -> Result<Args<'a>, ArgError> {
        let (first, rest) = text.split_once(':').unwrap_or((text, ""));
        if first.contains('=') || first.is_empty() {
            return Args::new(None, text, known);
        }
        Args::new(Some(first), rest, known)
    }

    /// Takes apart `value?name=value:…`, where the value may hold anything. The last `?` counts,
    /// so a value that has one of its own is followed by another.
    pub(super) fn of_leaf(text: &'a str, known: &[OptionHelp]) -> Result<Args<'a>, ArgError> {
        let (value, rest) = text.rsplit_once('?').unwrap_or((text, ""));
        Args::new(Some(value).filter(|v| !v.is_empty()), rest, known)
    }

    fn new(
        value: Option<&'a str>,
        options: &'a str,
        known: &[OptionHelp],
    ) -> Result<Args<'a>, ArgError> {
        let mut args = Args { value, options: Vec::new() };
        for part in options.split(':').filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(ArgError::NotAnOption { text: part.into(), known: listed(known) });
            };
            if !known.iter().any(|option| option.name == name) {
                let names = known.iter().map(|option| option.name);
                return Err(ArgError::UnknownOption {
                    option: name.into(),
                    hint: nearest(name, names),
                    known: listed(known),
                });
            }
            args.options.push((name, value));
        }
        Ok(args)
    }

    /// The value right behind the kind, if there is one.
    pub fn value(&self) -> Option<&'a str> {
        self.value
    }

    /// The value right behind the kind, read by `read`; without one, what was `expected` is
    /// missing.
    pub fn required<T>(
        &self,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ArgError> {
        let text = self.value.ok_or_else(|| ArgError::Missing { expected: expected.into() })?;
        read(text)
            .ok_or_else(|| ArgError::BadValue { text: text.into(), expected: expected.into() })
    }

    /// Refuses a value right behind the kind, for a kind that has options only.
    pub fn no_value(&self, known: &[OptionHelp]) -> Result<(), ArgError> {
        match self.value {
            None => Ok(()),
            Some(text) => Err(ArgError::NotAnOption { text: text.into(), known: listed(known) }),
        }
    }

    /// An option that may be given once, read by `read`.
    pub fn option<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ArgError> {
        let mut all = self.repeated(name, expected, read)?;
        if all.len() > 1 {
            return Err(ArgError::Twice { option: name.into() });
        }
        Ok(all.pop())
    }

    /// An option that may be given several times, read by `read`.
    pub fn repeated<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ArgError> {
        let given = self.options.iter().filter(|(given, _)| *given == name);
        given
            .map(|(_, value)| {
                read(value).ok_or_else(|| ArgError::BadValue {
                    text: format!("{name}={value}"),
                    expected: expected.into(),
                })
            })
            .collect()
    }

    /// All options as written, for a kind that reads them itself.
    pub fn options(&self) -> &[(&'a str, &'a str)] {
        &self.options
    }
}

/// A size in bytes: `512`, `4K`, `1M`, `1G`, `2T`, `1P`, each 1024 of the one before; `KiB` and
/// the like mean the same. `None` for anything else, and for what does not fit 64 bits.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let power = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 1,
        "m" | "mib" => 2,
        "g" | "gib" => 3,
        "t" | "tib" => 4,
        "p" | "pib" => 5,
        _ => return None,
    };
    number.checked_mul(1 << (10 * power))
}

/// A length of time: `250ns`, `100us`, `8ms`, `1.5s`. `None` for anything else.
pub fn parse_time(text: &str) -> Option<Nanos> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let nanos = match &text[unit..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let total = number * nanos;
    (total < 1e18).then_some(Nanos(total.round() as u64))
}

/// A probability: a number from 0 to 1, such as `1e-4`.
pub fn parse_probability(text: &str) -> Option<f64> {
    text.parse().ok().filter(|p| (0.0..=1.0).contains(p))
}

/// A block size: a size that is a power of two from 512 bytes on.
pub fn parse_block_size(text: &str) -> Option<BlockSize> {
    BlockSize::new(u32::try_from(parse_bytes(text)?).ok()?)
}

/// `yes`/`no`, `1`/`0`, `on`/`off`, `true`/`false`.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "yes" | "1" | "on" | "true" => Some(true),
        "no" | "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// The name nearest to what was written, if one is near enough to be meant.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let near = |name: &str| edits(written, name);
    let best = names.into_iter().min_by_key(|name| near(name))?;
    (near(best) <= 1 + written.len() / 4).then(|| best.to_owned())
}

fn did_you_mean(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" (did you mean `{hint}`?)")).unwrap_or_default()
}

fn listed(known: &[OptionHelp]) -> String {
    if known.is_empty() {
        return "it has no options".into();
    }
    let names: Vec<&str> = known.iter().map(|option| option.name).collect();
    format!("its options are {}", names.join(", "))
}

/// How many letters to insert, drop, change, or swap with their neighbour (the distance of
/// Damerau and Levenshtein, each letter edited once).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // rows[i][j]: from the first i letters of `a` to the first j of `b`.
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, j) => j,
                (i, 0) => i,
                _ => {
                    let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let step = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped { step.min(rows[i - 2][j - 2] + 1) } else { step }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("4k"), Some(4096));
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("26T"), Some(26 << 40));
        for bad in ["", "k", "1X", "-1", "1.5G", "17000P", "1 G"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert_eq!(parse_time("8ms"), Some(Nanos::from_millis(8)));
        assert_eq!(parse_time("1.5s"), Some(Nanos::from_millis(1500)));
        assert_eq!(parse_time("250ns"), Some(Nanos(250)));
        for bad in ["", "8", "ms", "-1ms", "8 ms", "8h", "infs", "nans", "1e30s"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
        assert_eq!(parse_probability("1e-4"), Some(1e-4));
        for bad in ["1.1", "-0.1", "nan", "x"] {
            assert_eq!(parse_probability(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let names = ["null", "memory", "file", "fault"];
        assert_eq!(nearest("memroy", names).as_deref(), Some("memory"));
        assert_eq!(nearest("fualt", names), Some("fault".into()));
        assert_eq!(nearest("nul", names), Some("null".into()));
        assert_eq!(nearest("teapot", names), None);
        assert_eq!((edits("eoi", "eio"), edits("", "abc"), edits("abc", "")), (1, 3, 3));
    }

    #[test]
    fn a_part_that_is_no_option_is_refused() {
        let known = [OptionHelp { name: "only", value: "read", meaning: "" }];
        let args = Args::of_layer("8ms:only=read", &known).unwrap();
        assert_eq!((args.value(), args.options()), (Some("8ms"), &[("only", "read")][..]));
        assert!(matches!(Args::of_layer("8ms:only", &known), Err(ArgError::NotAnOption { .. })));
        assert!(matches!(
            Args::of_layer("8ms:onyl=1", &known),
            Err(ArgError::UnknownOption { hint: Some(hint), .. }) if hint == "only"
        ));
        let twice = Args::of_layer("only=read:only=write", &known).unwrap();
        assert!(twice.option("only", "", |_| Some(())).is_err());
    }

    #[test]
    fn the_last_question_mark_starts_a_leafs_options() {
        let known = [OptionHelp { name: "size", value: "1G", meaning: "" }];
        let args = Args::of_leaf("/a?b,c:d?size=1G", &known).unwrap();
        assert_eq!((args.value(), args.options()), (Some("/a?b,c:d"), &[("size", "1G")][..]));
        assert_eq!(Args::of_leaf("/a?b?", &known).unwrap().value(), Some("/a?b"));
    }
}
