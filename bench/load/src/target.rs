//! From the file names of a job to the disks that it works on.
//!
//! What must always hold: a name means one thing. It is the spec of a device if it begins with
//! a kind of device (`hdd:`, `null:`, …) or holds a `?`; otherwise it is what fio takes it for,
//! a list of paths joined by `:`, where `\:` is a colon of the path.

use isotherm_block::{Spec, spec};
use isotherm_workload::{Engine, Extent, Job, TraceSurvey, paths};

use crate::setup::{SetupCause, TimeSource};

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
        // As fio names the files of a job that names none.
        let sized = matches!(job.size, Some(Extent::Bytes(_))) || job.files.bytes.is_some();
        if !sized {
            return Err(SetupCause::NoTarget);
        }
        let count = job.files.count;
        (0..count).map(|file| path_text(&job.own_file(copy, disk * count + file), job)).collect()
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

/// The devices that a log names, on the `disk`-th of `disks` sets of them.
pub(crate) fn recorded(
    job: &Job,
    survey: &TraceSurvey,
    disk: u32,
    disks: u32,
) -> Result<Vec<Spec>, SetupCause> {
    let names = survey.files.iter().map(|file| {
        // A recorded name is one path, whatever colons it has; a device of ours has its kind.
        let text = match split(&file.name, job).as_slice() {
            [one] => one.clone(),
            _ => path_text(&file.name, job),
        };
        if disks > 1 && !text.contains("{}") {
            return Err(SetupCause::SameDisk { disks, spec: text });
        }
        Ok(Spec::parse(&text.replace("{}", &disk.to_string()))?)
    });
    names.collect()
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
    let bytes = match (job.files.bytes, job.size) {
        (Some((_, most)), _) => most,
        (None, Some(Extent::Bytes(bytes))) => bytes,
        _ => return Err(SetupCause::NoTarget),
    };
    let copies = u64::from(job.copies);
    let offset = job.offset.of(0) + job.files.offset_increment.of(0).saturating_mul(copies);
    // Whole blocks of it, whatever the size.
    Ok(format!("null:{}", (bytes.saturating_add(offset)).next_multiple_of(4096)))
}

/// Whether a path is one that takes all and gives zeros: `null` does the same.
pub(crate) fn is_void(path: &str) -> bool {
    matches!(path, "/dev/null" | "/dev/zero")
}

/// Whether what is written there is gone.
pub(crate) fn keeps_nothing(spec: &Spec) -> bool {
    spec.text().split(',').next_back().is_some_and(|leaf| leaf.starts_with("null:"))
}

/// One spec, or the paths of a list as specs.
fn split(name: &str, job: &Job) -> Vec<String> {
    let head = name.split([':', ',', '?']).next().unwrap_or(name);
    if name.contains('?') || spec::kinds().any(|(kind, _)| kind == head && head.len() < name.len())
    {
        return vec![name.to_owned()];
    }
    paths(name).iter().map(|path| path_text(path, job)).collect()
}

/// A path as a spec, driven by what the job asks for.
fn path_text(path: &str, job: &Job) -> String {
    let path = match &job.directory {
        Some(directory) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ if path.contains('/') => path.to_owned(),
        _ => format!("./{path}"),
    };
    match job.engine {
        _ if is_void(&path) => null_text(job).unwrap_or(path),
        Engine::Threads => format!("file:{path}"),
        _ => path,
    }
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
}
