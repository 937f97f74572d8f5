//! From the file names of a job to the disks that it works on.
//!
//! What must always hold: a name means one thing. It is the spec of a device if it begins with
//! a kind of device (`hdd:`, `null:`, …) or holds a `?`; otherwise it is what fio takes it for,
//! a list of paths joined by `:`, where `\:` is a colon of the path.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use isotherm_block::{Spec, spec};
use isotherm_seam::{BlockSize, Lba};
use isotherm_workload::{Content, Engine, Extent, Job};

use crate::setup::{SetupCause, TimeSource};

/// What a file that is laid out to be read is filled with; any seed does.
const LAY_OUT_SEED: u64 = 0x6c61_796f_7574;
const LAY_OUT_CHUNK: usize = 1 << 20;

/// The devices of one copy of a job, on the `disk`-th of `disks` sets of them, which may have
/// names of their own.
pub(crate) fn targets(
    job: &Job,
    copy: u32,
    disk: u32,
    disks: u32,
    names: &[String],
) -> Result<Vec<Spec>, SetupCause> {
    if let Some(name) = names.get(disk as usize) {
        let texts = match &job.filenames[..] {
            [] => split(name, job),
            // A name stands where its number would.
            around if around.iter().all(|text| text.contains("{}")) => {
                around.iter().map(|text| text.replace("{}", name)).collect()
            }
            _ => return Err(SetupCause::NamedTwice),
        };
        return texts.iter().map(|text| Ok(Spec::parse(text)?)).collect();
    }
    let texts = if let Engine::Null = job.engine {
        vec![null_text(job)?]
    } else if job.filenames.is_empty() {
        // As fio names the file of a job that names none.
        let sized = matches!(job.size, Some(Extent::Bytes(_)));
        let name = job.own_file(copy, disk);
        if !sized {
            return Err(SetupCause::NoTarget);
        }
        vec![path_text(&name, job)]
    } else {
        job.filenames.iter().flat_map(|name| split(name, job)).collect()
    };
    let specs = texts.iter().map(|text| {
        let spec = Spec::parse(&text.replace("{}", &disk.to_string()))?;
        if disks > 1 && spec.path().is_some() && !text.contains("{}") && !job.filenames.is_empty() {
            return Err(SetupCause::SameDisk { disks, spec: text.clone() });
        }
        Ok(spec)
    });
    specs.collect()
}

/// Refuses a device that does not live in the time of the run.
pub(crate) fn check_time(spec: &Spec, time: TimeSource) -> Result<(), SetupCause> {
    let modelled = spec.text().split(',').any(|stage| {
        let kind = stage.split([':', '?']).next();
        matches!(kind, Some("hdd" | "delay"))
    });
    if time == TimeSource::Virtual && (!modelled || spec.path().is_some()) {
        return Err(SetupCause::NotVirtual { spec: spec.text().to_owned() });
    }
    Ok(())
}

fn null_text(job: &Job) -> Result<String, SetupCause> {
    match job.size {
        Some(Extent::Bytes(bytes)) => Ok(format!("null:{}", bytes + job.offset.of(0))),
        _ => Err(SetupCause::NoTarget),
    }
}

/// One spec, or the paths of a list as specs.
fn split(name: &str, job: &Job) -> Vec<String> {
    let head = name.split([':', ',', '?']).next().unwrap_or(name);
    if name.contains('?') || spec::kinds().any(|(kind, _)| kind == head && head.len() < name.len())
    {
        return vec![name.to_owned()];
    }
    let mut paths = vec![String::new()];
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let path = paths.last_mut().expect("there is always one");
        match letter {
            '\\' if letters.peek() == Some(&':') => path.push(letters.next().expect("peeked")),
            ':' => paths.push(String::new()),
            _ => path.push(letter),
        }
    }
    paths.iter().filter(|path| !path.is_empty()).map(|path| path_text(path, job)).collect()
}

/// A path as a spec, driven by what the job asks for.
fn path_text(path: &str, job: &Job) -> String {
    let path = match &job.directory {
        Some(directory) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ if path.contains('/') => path.to_owned(),
        _ => format!("./{path}"),
    };
    match job.engine {
        Engine::Threads => format!("file:{path}"),
        _ => path,
    }
}

/// A file to be made before anything is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LayOut {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// With holes only, as the spec of a device says it; otherwise filled.
    pub(crate) sparse: bool,
}

/// The file that a reading job wants and that is not there. Drivers make files for writing
/// only. The size may stand in the spec, which makes a sparse file, or in the job, which makes a
/// full one, as fio does: reading a hole is not reading a disk.
pub(crate) fn missing(spec: &Spec, job: &Job) -> Option<LayOut> {
    let path = spec.path()?;
    if job.pattern.writes || path.exists() || path.starts_with("/dev") {
        return None;
    }
    let options = spec.text().rsplit_once('?').map_or("", |(_, options)| options);
    let sized = options.split(':').find_map(|option| option.strip_prefix("size="));
    let (bytes, sparse) = match (sized.and_then(spec::parse_bytes), job.size) {
        (Some(bytes), _) => (bytes, true),
        (None, Some(Extent::Bytes(size))) => (size + job.offset.of(0), false),
        (None, _) => return None,
    };
    Some(LayOut { path: path.to_owned(), bytes, sparse })
}

impl LayOut {
    /// Makes the file; none is left where that fails.
    pub(crate) fn make(&self) -> Result<(), SetupCause> {
        let outcome = match self.sparse {
            true => new_file(&self.path).and_then(|file| file.set_len(self.bytes)),
            false => write_new(&self.path, self.bytes),
        };
        outcome.map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&self.path);
            }
            SetupCause::LayOut { path: self.path.clone(), kind: error.kind() }
        })
    }

    /// What is to be said about it.
    pub(crate) fn message(&self) -> String {
        let path = self.path.display();
        if self.sparse {
            format!("{path} was made, sparse: reading what was never written reads no disk")
        } else {
            format!("{path} was laid out, {} bytes", self.bytes)
        }
    }
}

fn new_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

fn write_new(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = new_file(path)?;
    let content = Content::new(LAY_OUT_SEED, 0);
    let mut chunk = vec![0; LAY_OUT_CHUNK];
    let mut at = 0;
    while at < bytes {
        content.fill(BlockSize::B512, Lba(at / 512), &mut chunk);
        let len = chunk.len().min((bytes - at) as usize);
        file.write_all(&chunk[..len])?;
        at += len as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(set: impl Fn(&mut Job)) -> Result<Vec<String>, SetupCause> {
        let mut job = Job::new("j");
        set(&mut job);
        let specs = targets(&job, 1, 2, 1, &[])?;
        Ok(specs.iter().map(|spec| spec.text().to_owned()).collect())
    }

    fn of(name: &str) -> Vec<String> {
        texts(|job| job.filenames = vec![name.to_owned()]).unwrap()
    }

    #[test]
    fn a_list_of_paths_splits_as_in_fio_and_a_spec_does_not() {
        assert_eq!(of("/dev/sda:/dev/sdb"), ["/dev/sda", "/dev/sdb"]);
        assert_eq!(of(r"/dev/disk/by-path/pci-0000\:00\:1f"), ["/dev/disk/by-path/pci-0000:00:1f"]);
        assert_eq!(of("x"), ["./x"]);
        let spec = "hdd:exos-x24,memory:1G";
        assert_eq!(of(spec), [spec]);
        assert_eq!(of("/tmp/x?size=1G:direct=no"), ["/tmp/x?size=1G:direct=no"]);
        assert!(texts(|job| job.filenames = vec!["hdd:nonsense,null:1T".into()]).is_err());
    }

    #[test]
    fn directory_and_engine_apply_to_paths() {
        let made = texts(|job| {
            job.filenames = vec!["a:/b".into()];
            job.directory = Some("/d".into());
            job.engine = Engine::Threads;
        });
        assert_eq!(made.unwrap(), ["file:/d/a", "file:/b"]);
    }

    #[test]
    fn a_job_without_a_file_makes_one_of_its_own_if_it_has_a_size() {
        assert!(matches!(texts(|_| {}), Err(SetupCause::NoTarget)));
        assert_eq!(texts(|job| job.size = Some(Extent::Bytes(4096))).unwrap(), ["./j.1.2"]);
        let null = texts(|job| {
            job.size = Some(Extent::Bytes(4096));
            job.engine = Engine::Null;
        });
        assert_eq!(null.unwrap(), ["null:4096"]);
    }

    #[test]
    fn many_disks_of_one_path_need_a_number() {
        let mut job = Job::new("j");
        let mut count = |name: &str| {
            job.filenames = vec![name.to_owned()];
            targets(&job, 0, 7, 8, &[]).map(|specs| specs[0].text().to_owned())
        };
        assert_eq!(count("null:1T").unwrap(), "null:1T");
        assert_eq!(count("hdd:exos-x24,file:/tmp/d{}").unwrap(), "hdd:exos-x24,file:/tmp/d7");
        assert!(matches!(count("/tmp/d"), Err(SetupCause::SameDisk { disks: 8, .. })));
    }

    #[test]
    fn named_disks_take_the_place_of_the_filename_or_of_its_number() {
        let names = ["/dev/sda".to_owned(), "null:1T".to_owned()];
        let mut job = Job::new("j");
        let text = |job: &Job, disk| {
            targets(job, 0, disk, 2, &names).map(|specs| specs[0].text().to_owned())
        };
        assert_eq!(text(&job, 0).unwrap(), "/dev/sda");
        assert_eq!(text(&job, 1).unwrap(), "null:1T");
        job.filenames = vec!["fault:eio=1e-4,{}".into()];
        assert_eq!(text(&job, 1).unwrap(), "fault:eio=1e-4,null:1T");
        job.filenames = vec!["/dev/sdz".into()];
        assert!(matches!(text(&job, 0), Err(SetupCause::NamedTwice)));
    }

    #[test]
    fn only_models_over_memory_live_in_virtual_time() {
        let check = |text| check_time(&Spec::parse(text).unwrap(), TimeSource::Virtual);
        assert!(check("hdd:exos-x24,memory:1G").is_ok());
        for not in ["null:1T", "memory:1G", "hdd:exos-x24,file:/tmp/x", "/tmp/x"] {
            assert!(matches!(check(not), Err(SetupCause::NotVirtual { .. })), "{not}");
        }
        assert!(check_time(&Spec::parse("null:1T").unwrap(), TimeSource::Host).is_ok());
    }

    #[test]
    fn a_missing_file_is_laid_out_for_reading_only() {
        let dir = std::env::temp_dir().join(format!("isotherm-load-target-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("x");
        let spec = Spec::parse(path.to_str().unwrap()).unwrap();
        let mut job = Job::new("j");
        assert_eq!(missing(&spec, &job), None, "no size is known");
        job.size = Some(Extent::Bytes(1_500_000));
        let lay_out = missing(&spec, &job).unwrap();
        assert!(!lay_out.sparse);
        lay_out.make().unwrap();
        let bytes = fs::read(&path).unwrap();
        let content = Content::new(LAY_OUT_SEED, 0);
        let whole = bytes.len() / 512 * 512;
        assert_eq!(content.check(BlockSize::B512, Lba(0), &bytes[..whole]), Ok(()));
        assert_eq!(missing(&spec, &job), None);
        assert!(lay_out.make().is_err() && path.exists(), "never over a file that is there");
        fs::remove_file(&path).unwrap();
        let sized = Spec::parse(&format!("file:{}?size=1M:direct=no", path.display())).unwrap();
        let sparse = missing(&sized, &job).unwrap();
        assert_eq!((sparse.bytes, sparse.sparse), (1 << 20, true));
        sparse.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        job.pattern.writes = true;
        fs::remove_file(&path).unwrap();
        assert_eq!(missing(&spec, &job), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
