//! Stacks of devices by a spec string.
//!
//! ```text
//! fault:eio=1e-4,delay:2ms:only=read,file:/srv/a,b:c.img?size=1G
//! '------------' '-----------------' '-------------------------'
//!  layers, from the outside in; each   the leaf takes the rest: its value may hold
//!  is kind:value:option=…              commas and colons; options follow the last `?`
//! ```
//!
//! What must always hold: what parses, and only that, can be opened; a spec that does not parse
//! says which stage is wrong, why, and what was expected. Nothing in a spec is ignored. A bare
//! path stands for the ring where it is offered and answers, otherwise for `file`.

mod args;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isotherm_seam::{BlockDevice, Domain, Leaf, OpenCause, OpenError, OpenOptions, Unpark, draw};

pub use args::{
    ArgError, Args, OptionHelp, nearest, parse_block_size, parse_bytes, parse_probability,
    parse_switch, parse_time,
};
pub(crate) use table::{DIRECT, OpenLeaf, SIZE, Wrap};
pub use table::{LAYERS, LEAVES, LayerKind, LeafKind};

/// Whose chance a stage takes: one stream per stage, so that a stage more does not change the
/// others' faults.
const STAGE: Domain = Domain::new("block.spec.stage");

/// A stack of devices, parsed and not yet open.
#[derive(Clone)]
pub struct Spec {
    text: String,
    /// From the outside in.
    layers: Vec<Wrap>,
    leaf: LeafSpec,
}

#[derive(Clone)]
enum LeafSpec {
    /// One of this crate.
    Own { open: OpenLeaf, path: Option<PathBuf> },
    /// One that the caller of `open` offers.
    Offered { kind: &'static str, at: At },
    /// The ring where it is offered, else `file`.
    Bare { at: At },
}

/// A path and what was said about it.
#[derive(Clone)]
struct At {
    path: String,
    create_bytes: Option<u64>,
    direct: Option<bool>,
}

/// What a stack is opened with.
pub struct OpenContext<'a> {
    /// How the leaf is opened; the leaf's own options win over these.
    pub options: OpenOptions,
    /// Wakes the core that will poll.
    pub unparker: Arc<dyn Unpark>,
    /// Where all chance in the stack comes from.
    pub seed: u64,
    /// Leaves of other crates, such as the ring of this core.
    pub leaves: &'a mut [&'a mut dyn Leaf],
}

impl Spec {
    /// Reads a spec. The error says which stage is wrong and what was expected.
    pub fn parse(text: &str) -> Result<Spec, OpenError> {
        let mut layers = Vec::new();
        let mut rest = text;
        loop {
            let stage = layers.len() + 1;
            let fail = |at: &str, error: ArgError| {
                let why = format!("stage {stage}, `{at}`: {error}");
                OpenError::new(text, OpenCause::BadSpec { why })
            };
            let head = rest.split([':', ',', '?']).next().unwrap_or(rest);
            if let Some(kind) = LAYERS.iter().find(|kind| kind.name == head) {
                let (this, below) = match rest.split_once(',') {
                    Some((this, below)) => (this, Some(below)),
                    None => (rest, None),
                };
                let args = this.get(head.len() + 1..).unwrap_or("");
                let args = Args::of_layer(args, kind.options).map_err(|e| fail(this, e))?;
                layers.push((kind.parse)(&args).map_err(|e| fail(this, e))?);
                let leaves = || LEAVES.iter().map(|leaf| leaf.name).collect::<Vec<_>>().join(", ");
                rest = below.ok_or_else(|| fail(this, ArgError::NoLeaf { leaves: leaves() }))?;
                continue;
            }
            let leaf = LeafSpec::parse(head, rest).map_err(|e| fail(rest, e))?;
            return Ok(Spec { text: text.to_owned(), layers, leaf });
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file or device at the bottom, if there is one: what must be safe to write.
    pub fn path(&self) -> Option<&Path> {
        match &self.leaf {
            LeafSpec::Own { path, .. } => path.as_deref(),
            LeafSpec::Offered { at, .. } | LeafSpec::Bare { at } => Some(Path::new(&at.path)),
        }
    }

    /// Opens the leaf and stacks the layers on it.
    pub fn open(&self, context: OpenContext<'_>) -> Result<Box<dyn BlockDevice>, OpenError> {
        let OpenContext { options, unparker, seed, leaves } = context;
        let fail = |cause| OpenError::new(&self.text, cause);
        let mut device = match &self.leaf {
            LeafSpec::Own { open, .. } => open(&options, &unparker).map_err(fail)?,
            LeafSpec::Offered { kind, at } => {
                let leaf = leaves.iter_mut().find(|leaf| leaf.kind() == *kind);
                let why = || format!("`{kind}` is not offered here: use file:{}", at.path);
                let leaf = leaf.ok_or_else(|| fail(OpenCause::BadSpec { why: why() }))?;
                leaf.open(&at.path, &at.options(&options))?
            }
            LeafSpec::Bare { at } => at.open_bare(&options, &unparker, leaves)?,
        };
        for (index, wrap) in self.layers.iter().enumerate().rev() {
            let seed = draw(seed, STAGE, index as u64, 0);
            device = wrap(device, seed).map_err(fail)?;
        }
        Ok(device)
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spec({})", self.text)
    }
}

impl LeafSpec {
    fn parse(head: &str, text: &str) -> Result<LeafSpec, ArgError> {
        let Some(kind) = LEAVES.iter().find(|kind| kind.name == head) else {
            if head.is_empty() {
                return Err(ArgError::Missing { expected: "a kind or a path".into() });
            }
            if !head.contains(['/', '.']) {
                let names = || kinds().map(|(name, _)| name);
                return Err(ArgError::UnknownKind {
                    kind: head.into(),
                    hint: nearest(head, names()),
                    known: names().collect::<Vec<_>>().join(", "),
                });
            }
            let args = Args::of_leaf(text, table::PATH_OPTIONS)?;
            return Ok(LeafSpec::Bare { at: At::parse(&args)? });
        };
        let args = Args::of_leaf(text.get(head.len() + 1..).unwrap_or(""), kind.options)?;
        match kind.parse {
            None => Ok(LeafSpec::Offered { kind: kind.name, at: At::parse(&args)? }),
            Some(parse) => {
                let path = args.value().filter(|_| kind.path).map(PathBuf::from);
                Ok(LeafSpec::Own { open: parse(&args)?, path })
            }
        }
    }
}

impl At {
    fn parse(args: &Args<'_>) -> Result<At, ArgError> {
        Ok(At {
            path: args.required("a path", |text| Some(text.to_owned()))?,
            create_bytes: args.option("size", "a size such as 1G", parse_bytes)?,
            direct: args.option("direct", "yes or no", parse_switch)?,
        })
    }

    fn options(&self, outer: &OpenOptions) -> OpenOptions {
        OpenOptions {
            create_bytes: self.create_bytes.or(outer.create_bytes),
            direct: self.direct.unwrap_or(outer.direct),
            ..*outer
        }
    }

    fn open_bare(
        &self,
        outer: &OpenOptions,
        unparker: &Arc<dyn Unpark>,
        leaves: &mut [&mut dyn Leaf],
    ) -> Result<Box<dyn BlockDevice>, OpenError> {
        let options = self.options(outer);
        let note = match leaves.iter_mut().find(|leaf| leaf.kind() == "uring") {
            None => "io_uring is not offered here: pread and pwrite on threads".to_owned(),
            Some(ring) => match ring.open(&self.path, &options) {
                Err(OpenError { cause: cause @ OpenCause::UringRefused { .. }, .. }) => {
                    format!("{cause}")
                }
                answer => return answer,
            },
        };
        let threads = crate::file::THREADS_DEFAULT;
        let file = crate::File::open(&self.path, &options, threads, Arc::clone(unparker))?;
        Ok(Box::new(file.with_note(note)))
    }
}

/// Every kind with its one-line summary: layers, then leaves.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    let layers = LAYERS.iter().map(|kind| (kind.name, kind.summary));
    layers.chain(LEAVES.iter().map(|kind| (kind.name, kind.summary)))
}

/// The text for `--help`: the syntax, each kind with its options, and an example.
pub fn help() -> String {
    let mut text = String::from(
        "A device is a leaf, or layers over one, from the outside in:\n  \
         layer:value:option=value,layer:…,leaf:value?option=value:option=value\n\
         The leaf takes the rest of the text, so a path may hold commas and colons. A bare path\n\
         is driven by io_uring where that can be had, otherwise by `file`.\n",
    );
    let mut kind = |name: &str, summary: &str, options: &[OptionHelp], example: &str| {
        text.push_str(&format!("\n  {name:<8} {summary}\n"));
        for option in options {
            let shape = format!("{}={}", option.name, option.value);
            text.push_str(&format!("           {shape:<22} {}\n", option.meaning));
        }
        text.push_str(&format!("           e.g. {example}\n"));
    };
    for layer in LAYERS {
        kind(layer.name, layer.summary, layer.options, layer.example);
    }
    for leaf in LEAVES {
        kind(leaf.name, leaf.summary, leaf.options, leaf.example);
    }
    text
}

#[cfg(test)]
mod tests;
