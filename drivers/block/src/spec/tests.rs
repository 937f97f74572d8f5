use super::*;

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

fn open(text: &str, options: OpenOptions) -> Result<Box<dyn BlockDevice>, OpenError> {
    let spec = Spec::parse(text)?;
    spec.open(OpenContext { options, unparker: Arc::new(Nobody), seed: 1, leaves: &mut [] })
}

fn why(text: &str) -> String {
    Spec::parse(text).expect_err(text).to_string()
}

#[test]
fn a_bad_spec_says_what_is_wrong_and_where() {
    for (text, parts) in [
        (
            "memroy:1G",
            &["stage 1, `memroy:1G`", "did you mean `memory`?", "null, memory, file"][..],
        ),
        ("memory:1Q", &["`1Q`: expected a size such as 1G"]),
        ("memory", &["expected a size such as 1G"]),
        ("null:1T?blok=4K", &["unknown option `blok`", "did you mean `block`?", "block, physical"]),
        ("null:1T?block=3K", &["`block=3K`: expected a power of two"]),
        ("null:1T?block=4K:block=512", &["`block` is given twice"]),
        ("file:", &["expected a path"]),
        ("file:/x?threads=0", &["`threads=0`: expected a number from 1 to 64"]),
        ("", &["expected a kind or a path"]),
        ("delay:8ms,", &["stage 2", "expected a kind or a path"]),
        ("delay:8ms", &["is a layer", "null, memory, file, uring, or a path"]),
        ("delay:8parsecs,null:1T", &["stage 1", "expected a time as in 8ms, 2ms-10ms"]),
        ("null:1T,delay:8ms", &["`1T,delay:8ms`: expected a size"]),
        ("fault:eoi=1e-4,null:1T", &["unknown option `eoi`", "did you mean `eio`?"]),
        ("zoned:4M,memory:1G", &["`4M` is not an option", "zone, cap, conv, open"]),
        ("hdd:exos-x42,memory:1G", &["did you mean `exos-x24`?"]),
    ] {
        let why = why(text);
        for part in parts {
            assert!(why.contains(part), "{text}: {part:?} is not in {why:?}");
        }
    }
}

#[test]
fn every_example_parses_and_every_option_is_read() {
    let layers = LAYERS.iter().map(|k| (k.name, k.options, k.example));
    let leaves = LEAVES.iter().map(|k| (k.name, k.options, k.example));
    for (name, options, example) in layers.chain(leaves) {
        Spec::parse(example).unwrap();
        assert!(example.contains(name), "{example} shows {name}");
        let leaf = LEAVES.iter().any(|k| k.name == name);
        for option in options {
            // No option takes a control character: one that is accepted is not read.
            let bad = format!("{}=\u{1}", option.name);
            let text = if leaf {
                format!("{}{}{bad}", example, if example.contains('?') { ":" } else { "?" })
            } else {
                let (layer, below) = example.split_once(',').unwrap();
                format!("{layer}:{bad},{below}")
            };
            assert!(Spec::parse(&text).is_err(), "{name} does not read {}", option.name);
        }
    }
}

#[test]
fn a_path_may_hold_commas_colons_and_question_marks() {
    let path = |text: &str| Spec::parse(text).unwrap().path().map(Path::to_path_buf);
    assert_eq!(path("file:/a,b:c?size=1G"), Some("/a,b:c".into()));
    assert_eq!(path("/a,b:c"), Some("/a,b:c".into()));
    assert_eq!(path("./what?.img?"), Some("./what?.img".into()));
    assert_eq!(path("uring:/dev/sdb"), Some("/dev/sdb".into()));
    assert_eq!(path("memory:1M"), None);
}

#[test]
fn options_of_the_caller_reach_the_leaf() {
    let options = OpenOptions { write: true, depth: 7, ..OpenOptions::default() };
    let device = open("memory:1M?block=4K", options).unwrap();
    let geometry = device.geometry();
    assert_eq!((geometry.depth_max, geometry.blocks, geometry.logical.bytes()), (7, 256, 4096));
    let missing = open("file:/no/such/file", options).err().unwrap();
    assert_eq!(missing.cause, OpenCause::NotFound);
    assert_eq!(missing.device, "file:/no/such/file");
    let small = OpenOptions { create_bytes: Some(2 << 20), ..options };
    assert!(matches!(open("memory:1M", small).err().unwrap().cause, OpenCause::TooSmall { .. }));
}

/// A ring that is refused, and counts how often it was asked.
struct Refused {
    asked: u32,
}

impl Leaf for Refused {
    fn kind(&self) -> &'static str {
        "uring"
    }
    fn open(&mut self, path: &str, _: &OpenOptions) -> Result<Box<dyn BlockDevice>, OpenError> {
        self.asked += 1;
        Err(OpenError::new(path, OpenCause::UringRefused { errno: libc::EPERM }))
    }
}

#[test]
fn a_bare_path_falls_back_to_file_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let text = format!("{}?size=1M", path.display());
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    let mut ring = Refused { asked: 0 };
    let mut open = |text: &str| {
        Spec::parse(text).unwrap().open(OpenContext {
            options,
            unparker: Arc::new(Nobody),
            seed: 1,
            leaves: &mut [&mut ring],
        })
    };
    let info = open(&text).unwrap().info();
    assert_eq!(info.driver, "file");
    assert!(info.notes.iter().any(|n| n.contains("io_uring is refused")), "{:?}", info.notes);
    // Asked for by name, it is not replaced behind the user's back.
    let refused = open(&format!("uring:{text}")).err().unwrap();
    assert!(matches!(refused.cause, OpenCause::UringRefused { .. }));
    assert_eq!(ring.asked, 2);
}

#[test]
fn help_names_every_kind_and_option() {
    let help = help();
    for leaf in LEAVES {
        assert!(help.contains(leaf.example) && help.contains(leaf.summary));
        assert!(leaf.options.iter().all(|o| help.contains(o.meaning)));
    }
}

#[test]
fn the_documentation_names_every_kind_and_option() {
    let docs = include_str!("../../../../docs/DRIVERS.md");
    let layers = LAYERS.iter().map(|k| (k.name, k.options));
    for (name, options) in layers.chain(LEAVES.iter().map(|k| (k.name, k.options))) {
        let line = docs.lines().find(|line| line.starts_with(&format!("| `{name}")));
        assert!(line.is_some(), "{name} has a line");
        for option in options {
            let known = [format!("`{}`", option.name), format!("`{}=", option.name)];
            assert!(known.iter().any(|k| docs.contains(k)), "{name}: {}", option.name);
        }
    }
}
