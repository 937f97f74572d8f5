//! The arrow check: `cargo run -p isotherm-arrows` reads every manifest and fails when a crate
//! depends on one that does not lie below it, when a crate names a concrete driver that only
//! the outermost crates may name, or when a crate outside the islands allows `unsafe`.
//!
//! The floors below are the house as docs/ARCHITECTURE.md draws it. A new crate is one line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One crate of the house.
struct Room {
    name: &'static str,
    floor: u32,
    /// May hold `unsafe` in named modules.
    island: bool,
}

const fn room(name: &'static str, floor: u32) -> Room {
    Room { name, floor, island: false }
}

const fn island(name: &'static str, floor: u32) -> Room {
    Room { name, floor, island: true }
}

const HOUSE: &[Room] = &[
    island("seam", 0),
    room("verify", 0),
    island("erasure", 1),
    room("reactor", 1),
    island("block", 1),
    island("uring", 1),
    island("host", 1),
    room("sim", 1),
    room("workload", 1),
    room("wire", 1),
    room("store", 2),
    room("transport", 2),
    room("client", 3),
    room("node", 4),
    room("heat", 2),
    room("placement", 2),
    room("load", 5),
    room("objects", 5),
    room("fleet", 5),
    room("report", 5),
    room("serve", 5),
    room("simulator", 5),
    room("cli", 6),
    room("arrows", 0),
];

/// Concrete drivers: below this floor nobody may name them.
const DRIVERS: &[&str] = &["uring", "block", "host"];
const DRIVERS_FROM_FLOOR: u32 = 5;

/// What is wrong with one manifest.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    NotInHouse { name: String },
    FolderDiffers { name: String, folder: String },
    ArrowUp { from: String, to: String },
    DevArrowUp { from: String, to: String },
    NamesDriver { from: String, driver: String },
    UnsafeOutsideIslands { name: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotInHouse { name } => {
                write!(f, "{name} is not in the house: give it a floor in scripts/arrows")
            }
            Fault::FolderDiffers { name, folder } => {
                write!(f, "isotherm-{name} stands in folder {folder}: the two names are the same")
            }
            Fault::ArrowUp { from, to } => {
                write!(f, "{from} -> {to} does not point down")
            }
            Fault::DevArrowUp { from, to } => {
                write!(f, "{from} -> {to} (dev-dependency) points up")
            }
            Fault::NamesDriver { from, driver } => write!(
                f,
                "{from} -> {driver}: only crates from floor {DRIVERS_FROM_FLOOR} on name a concrete driver"
            ),
            Fault::UnsafeOutsideIslands { name } => {
                write!(f, "{name} does not inherit the workspace lints, and is no unsafe island")
            }
        }
    }
}

/// What the check needs of a manifest.
struct Manifest {
    name: String,
    folder: String,
    inherits_lints: bool,
    /// Crates of the house it depends on, and whether only for its own tests.
    arrows: Vec<(String, bool)>,
}

fn main() -> ExitCode {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    let manifests = match read_all(&root) {
        Ok(manifests) => manifests,
        Err(error) => {
            eprintln!("arrows: {error}");
            return ExitCode::from(2);
        }
    };
    let faults: Vec<Fault> = manifests.iter().flat_map(check).collect();
    for fault in &faults {
        eprintln!("arrows: {fault}");
    }
    let arrows: usize = manifests.iter().map(|m| m.arrows.len()).sum();
    println!("arrows: {} crates, {arrows} arrows, {} faults", manifests.len(), faults.len());
    if faults.is_empty() && !manifests.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(manifest: &Manifest) -> Vec<Fault> {
    let name = &manifest.name;
    let Some(room) = find(name) else {
        return vec![Fault::NotInHouse { name: name.clone() }];
    };
    let mut faults = Vec::new();
    if manifest.folder != *name {
        faults.push(Fault::FolderDiffers { name: name.clone(), folder: manifest.folder.clone() });
    }
    if !manifest.inherits_lints && !room.island {
        faults.push(Fault::UnsafeOutsideIslands { name: name.clone() });
    }
    for (to, dev) in &manifest.arrows {
        let (from, to) = (name.clone(), to.clone());
        match find(&to) {
            None => faults.push(Fault::NotInHouse { name: to }),
            // Tests may look sideways: the reactor is tested over the simulator's disks.
            Some(target) if *dev && target.floor > room.floor => {
                faults.push(Fault::DevArrowUp { from, to });
            }
            Some(_) if *dev => {}
            Some(target) if target.floor >= room.floor => faults.push(Fault::ArrowUp { from, to }),
            Some(_) if DRIVERS.contains(&to.as_str()) && room.floor < DRIVERS_FROM_FLOOR => {
                faults.push(Fault::NamesDriver { from, driver: to });
            }
            Some(_) => {}
        }
    }
    faults
}

fn find(name: &str) -> Option<&'static Room> {
    HOUSE.iter().find(|room| room.name == name)
}

/// Manifests two folders down from `root`, in order of path.
fn read_all(root: &Path) -> std::io::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for top in ["drivers", "dataplane", "control", "bench", "scripts"] {
        let Ok(entries) = std::fs::read_dir(root.join(top)) else { continue };
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders {
            let path = folder.join("Cargo.toml");
            if path.is_file() {
                let folder = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                manifests.push(parse(&folder, &std::fs::read_to_string(path)?));
            }
        }
    }
    Ok(manifests)
}

/// Reads the few lines of TOML that matter: section headers, `name`, `workspace` under
/// `[lints]`, and keys that begin with `isotherm-`.
fn parse(folder: &str, text: &str) -> Manifest {
    let mut manifest = Manifest {
        name: String::new(),
        folder: folder.into(),
        inherits_lints: false,
        arrows: Vec::new(),
    };
    let mut section = String::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            // `[dependencies.isotherm-seam]` is an arrow as well.
            if let Some((kind, name)) = section.rsplit_once(".isotherm-")
                && kind.ends_with("dependencies")
            {
                manifest.arrows.push((name.to_owned(), kind.ends_with("dev-dependencies")));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().trim_matches('"'), value.trim());
        if section == "package" && key == "name" {
            manifest.name = value.trim_matches('"').trim_start_matches("isotherm-").to_owned();
        } else if section == "lints" && key == "workspace" {
            manifest.inherits_lints = value == "true";
        } else if section.ends_with("dependencies")
            && let Some(name) = key.strip_prefix("isotherm-")
        {
            let name = name.split('.').next().unwrap_or_default();
            manifest.arrows.push((name.to_owned(), section.ends_with("dev-dependencies")));
        }
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, body: &str) -> Vec<Fault> {
        let text =
            format!("[package]\nname = \"isotherm-{name}\"\n[lints]\nworkspace = true\n{body}");
        check(&parse(name, &text))
    }

    #[test]
    fn an_arrow_down_is_fine() {
        assert_eq!(faults("reactor", "[dependencies]\nisotherm-seam = { workspace = true }"), []);
        assert_eq!(faults("load", "[dependencies]\nisotherm-uring.workspace = true"), []);
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found_in_each_spelling() {
        let up = |from: &str, to: &str| [Fault::ArrowUp { from: from.into(), to: to.into() }];
        assert_eq!(
            faults("seam", "[dependencies]\nisotherm-uring = { path = \"x\" }"),
            up("seam", "uring")
        );
        assert_eq!(
            faults("sim", "[dependencies.isotherm-reactor]\npath = \"x\""),
            up("sim", "reactor")
        );
        assert_eq!(
            faults("uring", "[target.'cfg(unix)'.dependencies]\nisotherm-block.workspace = true"),
            up("uring", "block")
        );
        assert_eq!(
            faults("heat", "[build-dependencies]\nisotherm-load = \"1\""),
            up("heat", "load")
        );
    }

    #[test]
    fn tests_may_look_sideways_but_not_up() {
        assert_eq!(faults("reactor", "[dev-dependencies]\nisotherm-sim = \"1\""), []);
        assert_eq!(
            faults("reactor", "[dev-dependencies]\nisotherm-load = \"1\""),
            [Fault::DevArrowUp { from: "reactor".into(), to: "load".into() }]
        );
    }

    #[test]
    fn only_the_outermost_name_drivers() {
        assert_eq!(
            faults("heat", "[dependencies]\nisotherm-block = \"1\""),
            [Fault::NamesDriver { from: "heat".into(), driver: "block".into() }]
        );
    }

    #[test]
    fn unknown_crates_wrong_folders_and_loose_lints_are_found() {
        assert_eq!(faults("attic", ""), [Fault::NotInHouse { name: "attic".into() }]);
        let loose = check(&parse(
            "sim",
            "[package]\nname = \"isotherm-sim\"\n[lints.rust]\nunsafe_code = \"allow\"",
        ));
        assert_eq!(loose, [Fault::UnsafeOutsideIslands { name: "sim".into() }]);
        let moved =
            check(&parse("b", "[package]\nname = \"isotherm-sim\"\n[lints]\nworkspace = true"));
        assert_eq!(moved, [Fault::FolderDiffers { name: "sim".into(), folder: "b".into() }]);
    }
}
