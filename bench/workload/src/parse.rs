//! From sections to jobs.
//!
//! What must always hold: every error and every message says where its cause stands, as file
//! and line or as the flag; an option is applied, noted or refused, never dropped. Defaults
//! come first, then what is global, then the section's own, in the order of writing, as fio
//! sorts it within a section of a file.

use crate::environment::Environment;
use crate::error::{Message, ParseCause, ParseError, Place};
use crate::jobfile::{Section, Setting};
use crate::option::{self, Kind, OptionRow};
use crate::quantity;
use crate::value::Refusal;
use crate::{Job, Law, Script, SizeLaw, known};

/// Jobs, and what is to be said about how they were read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// In the order of writing.
    pub jobs: Vec<Job>,
    /// The settings of global sections, as written.
    pub global: Vec<(String, String)>,
    /// What was accepted and has no effect, or another than it seems.
    pub messages: Vec<Message>,
}

impl Parsed {
    /// Reads a command line and its job files; see [`Script::from_arguments`].
    pub fn from_arguments(
        arguments: &[String],
        environment: &Environment<'_>,
    ) -> Result<Parsed, ParseError> {
        Parsed::from_script(&Script::from_arguments(arguments, environment)?)
    }

    /// Reads the text of a job file; `file` is what messages call it.
    pub fn from_text(
        file: &str,
        text: &str,
        environment: &Environment<'_>,
    ) -> Result<Parsed, ParseError> {
        Parsed::from_script(&Script::from_text(file, text, environment)?)
    }

    /// Reads what was cut. Between the jobs of several files is a stonewall.
    pub fn from_script(script: &Script) -> Result<Parsed, ParseError> {
        let mut parsed = Parsed { messages: script.messages.clone(), ..Parsed::default() };
        let mut global = Vec::new();
        parsed.resolve(&script.flags, &mut global)?;
        for (index, sections) in script.files.iter().enumerate() {
            let first = parsed.jobs.len();
            parsed.resolve(sections, &mut global)?;
            // The next file begins with the defaults, whatever stood on the command line.
            global.clear();
            if let Some(job) = parsed.jobs.get_mut(first).filter(|_| index > 0) {
                job.stonewall = true;
            }
        }
        parsed.check_waits()?;
        if parsed.jobs.is_empty() {
            return Err(ParseError::new(script.last.clone(), ParseCause::NoJob));
        }
        Ok(parsed)
    }

    /// Turns sections into jobs. `global` is what holds so far, and grows.
    fn resolve(
        &mut self,
        sections: &[Section],
        global: &mut Vec<Setting>,
    ) -> Result<(), ParseError> {
        for section in sections {
            if section.is_global() {
                let mut sample = Job::new("");
                self.apply_silently(&mut sample, global)?;
                for setting in &section.settings {
                    // Read once for its errors and notes, whether or not a job follows.
                    self.apply(&mut sample, setting)?;
                    self.global.extend(as_written(setting));
                    global.push(setting.clone());
                }
                continue;
            }
            let mut job = Job::new(&section.name);
            self.apply_silently(&mut job, global)?;
            job.name.clone_from(&section.name);
            if section.settings.iter().any(|setting| setting.name == "filename") {
                // A section's own files replace the global ones.
                job.filenames.clear();
            }
            for setting in &section.settings {
                self.apply(&mut job, setting)?;
                job.given.extend(as_written(setting));
            }
            finish(&mut job, section)?;
            self.jobs.push(job);
        }
        Ok(())
    }

    /// A job waits for one that stands before it.
    fn check_waits(&self) -> Result<(), ParseError> {
        for (index, job) in self.jobs.iter().enumerate() {
            let Some(after) = &job.start.after else { continue };
            if !self.jobs[..index].iter().any(|other| other.name == *after) {
                let cause = ParseCause::WaitsForNobody { name: after.clone() };
                return Err(ParseError::new(job.places["wait_for"].clone(), cause));
            }
        }
        Ok(())
    }

    /// Applies settings whose notes were taken when they were read.
    fn apply_silently(&mut self, job: &mut Job, settings: &[Setting]) -> Result<(), ParseError> {
        let noted = self.messages.len();
        let outcome = settings.iter().try_for_each(|setting| self.apply(job, setting));
        self.messages.truncate(noted);
        outcome
    }

    fn apply(&mut self, job: &mut Job, setting: &Setting) -> Result<(), ParseError> {
        let Setting { name, value, place } = setting;
        let fail = |cause| Err(ParseError::new(place.clone(), cause));
        let Some(row) = option::find(name) else {
            return fail(match known::is_known(name) {
                true => ParseCause::NotSupported { name: name.clone(), why: known::why(name) },
                false => {
                    ParseCause::UnknownOption { name: name.clone(), near: option::nearest(name) }
                }
            });
        };
        if let Err(refusal) = row.apply(job, value.as_deref()) {
            let option = row.name;
            let value = value.clone().unwrap_or_default();
            return fail(match refusal {
                Refusal::Bad(expected) => ParseCause::BadValue { option, value, expected },
                Refusal::NotSupported(expected) => {
                    ParseCause::ValueNotSupported { option, value, expected }
                }
                Refusal::Blank => {
                    ParseCause::BlankBeforeUnit { option, value: value.trim().to_owned() }
                }
            });
        }
        job.places.insert(row.name, place.clone());
        self.note(row, value.as_deref(), place, job.kb_base);
        Ok(())
    }

    fn note(&mut self, row: &OptionRow, value: Option<&str>, place: &Place, kb_base: u64) {
        let mut say = |text| self.messages.push(Message { place: place.clone(), text });
        if let Some(why) = row.without_effect() {
            say(format!("{} has no effect: {why}", row.name));
        }
        let sized = matches!(
            row.kind,
            Kind::Extent(_)
                | Kind::BlockSize(_)
                | Kind::Count(..)
                | Kind::Rates(_)
                | Kind::Pattern(_)
                | Kind::Own(..)
        );
        if sized
            && kb_base == quantity::KB_BASE
            && let Some(value) = value.filter(|value| quantity::is_decimal_trap(value))
        {
            let value = value.trim();
            say(format!("{}={value} counts in thousands, as in fio: kib is 1000", row.name));
        }
    }
}

/// What only all options together say.
fn finish(job: &mut Job, section: &Section) -> Result<(), ParseError> {
    if job.time_based && job.runtime.is_none() {
        return Err(ParseError::new(job.places["time_based"].clone(), ParseCause::Endless));
    }
    for (index, law) in job.size_laws.iter().enumerate() {
        job.sizes[index] = law.clone().unwrap_or(SizeLaw::Fixed(job.block_sizes[index]));
        if let Some(bytes) = job.sizes[index].fixed() {
            job.sizes[index] = SizeLaw::Fixed(bytes);
        }
    }
    job.block_bytes = job.sizes_used().map(SizeLaw::max).max().unwrap_or(0);
    let missing = |job: &Job, option, needs| {
        let place = job.places.get(option).cloned();
        let place = place.unwrap_or_else(|| section.place.clone());
        Err(ParseError::new(place, ParseCause::Needs { option, needs }))
    };
    if job.is_strided() {
        if job.zones.bytes == 0 {
            return missing(job, "zonemode", "a zonesize");
        }
        if job.law != Law::Even {
            return missing(job, "random_distribution", "zonemode=none");
        }
    }
    Ok(())
}

/// As fio's results repeat it: by the option's own name, and only if it has a value.
fn as_written(setting: &Setting) -> Option<(String, String)> {
    let name = option::find(&setting.name).map_or(setting.name.as_str(), |row| row.name);
    Some((name.to_owned(), setting.value.as_deref()?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Extent, Pattern};
    use isotherm_seam::Nanos;

    fn flags(line: &str) -> Result<Parsed, ParseError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::from_arguments(&arguments, &Environment::empty())
    }

    #[test]
    fn a_plain_job_file() {
        let text = "[global]\nioengine=libaio\nbs=8k\n[one]\nrw=randread\nsize=50%\niodepth=32\n\
                    [global2]\nruntime=10\n[two]\nrw=write\nbs=1m\nstonewall\ntime_based\n";
        let parsed = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap();
        let [one, two] = &parsed.jobs[..] else { panic!("{parsed:?}") };
        assert_eq!((one.name.as_str(), one.block_bytes, one.depth), ("one", 8192, 32));
        assert_eq!(one.size, Some(Extent::Percent(50)));
        assert_eq!(one.engine, Engine::Async("libaio"));
        assert_eq!((one.runtime, two.runtime), (None, Some(Nanos::from_secs(10))));
        assert_eq!((two.block_bytes, two.stonewall, two.time_based), (1 << 20, true, true));
        assert_eq!(two.pattern, Pattern { random: false, reads: false, writes: true });
        let given: Vec<&str> = two.given.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(given, ["rw", "bs"], "what has no value is not repeated, as in fio");
        assert_eq!(parsed.global.len(), 3);
        assert_eq!(one.place("rw").unwrap().to_string(), "a.fio:5");
    }

    #[test]
    fn a_command_line_is_a_job() {
        let parsed = flags("--rw=randread --bs 4k --filename=null:1t --time_based --runtime=1");
        let parsed = parsed.unwrap();
        let [job] = &parsed.jobs[..] else { panic!("{parsed:?}") };
        assert_eq!((job.name.as_str(), job.time_based), ("bench", true));
        assert_eq!(job.filenames, ["null:1t"]);
        assert_eq!(job.given.len(), 4);
        assert!(parsed.global.is_empty());
    }

    #[test]
    fn flags_before_the_first_name_are_global() {
        let parsed = flags("--bs=8k --name=a --rw=write --name=b --bs=16k").unwrap();
        let sizes: Vec<(String, u64)> =
            parsed.jobs.into_iter().map(|j| (j.name, j.block_bytes)).collect();
        assert_eq!(sizes, [("a".to_owned(), 8192), ("b".to_owned(), 16_384)]);
        assert_eq!(parsed.global, [("bs".to_owned(), "8k".to_owned())]);
    }

    #[test]
    fn several_files_are_walled_off_and_share_the_flags() {
        let dir = std::env::temp_dir().join(format!("isotherm-workload-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let paths = ["a", "b"].map(|name| {
            let path = dir.join(name);
            std::fs::write(&path, format!("[{name}]\nrw=read\n")).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let mut arguments = vec!["--iodepth=7".to_owned()];
        arguments.extend(paths);
        let parsed = Parsed::from_arguments(&arguments, &Environment::empty());
        std::fs::remove_dir_all(&dir).unwrap();
        let parsed = parsed.unwrap();
        assert!(parsed.messages[0].text.contains("the first job file only"));
        assert_eq!(
            parsed.jobs.iter().map(|j| (j.depth, j.stonewall)).collect::<Vec<_>>(),
            [(7, false), (1, true)],
            "options before the first --name hold for the first file"
        );
    }

    #[test]
    fn files_add_up_and_a_sections_own_replace_the_global_ones() {
        let text = "[global]\nfilename=g\n[a]\n[b]\nfilename=x\nfilename=y:z\n";
        let jobs = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap().jobs;
        assert_eq!(jobs[0].filenames, ["g"]);
        assert_eq!(jobs[1].filenames, ["x", "y:z"]);
    }

    #[test]
    fn what_has_no_effect_is_said_once() {
        let text = "[global]\nthread\n[a]\nbs=4kib\n[b]\n";
        let messages = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap().messages;
        let texts: Vec<String> = messages.iter().map(Message::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("a.fio:2: thread has no effect"), "{texts:?}");
        assert_eq!(texts[1], "a.fio:4: bs=4kib counts in thousands, as in fio: kib is 1000");
    }

    #[test]
    fn each_error_names_its_place() {
        let cases = [
            ("[a]\niodpeth=3\n", "a.fio:2: unknown option \"iodpeth\": did you mean iodepth?"),
            ("[a]\nxyzzy=3\n", "a.fio:2: unknown option \"xyzzy\""),
            (
                "[a]\nverify_state_load=1\n",
                "a.fio:2: the option \"verify_state_load\" of fio is not supported",
            ),
            (
                "[a]\n\nbs=4x\n",
                "a.fio:3: bs=4x is not understood: a size such as 4096, 4k or 1m is expected",
            ),
            (
                "[global]\niodepth=0\n[a]",
                "a.fio:2: iodepth=0 is not understood: a whole number from 1 to 4096 is expected",
            ),
            ("[a]\nruntime=0\ntime_based=1\n", "a.fio:3: time_based needs a runtime"),
            ("[global]\nbs=4k\n", "a.fio: there is no job in it"),
            ("[a]\nverfiy=1\n", "a.fio:2: unknown option \"verfiy\": did you mean verify?"),
            (
                "[a]\nbs= 4k\n",
                "a.fio:2: after the blank, fio drops the unit of bs= 4k: write bs=4k",
            ),
            ("[a]\nzonemode=strided\n", "a.fio:2: zonemode needs a zonesize"),
            ("[a]\n\nwait_for=b\n[b]\n", "a.fio:3: no job before this one is called \"b\""),
            (
                "[a]\nexec_prerun=x\n",
                "a.fio:2: the option \"exec_prerun\" of fio is not supported: a job file does not run programs here",
            ),
            ("[a]\ndirect\n", "a.fio:2: direct= is not understood: a value is expected"),
        ];
        for (text, expected) in cases {
            let error = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let error = Parsed::from_text("a.fio", "[a]\nrw=trim\n", &Environment::empty())
            .unwrap_err()
            .to_string();
        assert!(error.contains("one of read, write, randread"), "{error}");
        assert_eq!(
            flags("--iodpeth=3").unwrap_err().to_string(),
            "--iodpeth=3: unknown option \"iodpeth\": did you mean iodepth?"
        );
        assert_eq!(
            flags("nowhere.fio").unwrap_err().to_string(),
            "nowhere.fio: can't read the job file: entity not found"
        );
        assert!(flags("-rw=read").is_err());
        let error = flags("--ioengine=rbd").unwrap_err().to_string();
        assert!(
            error.starts_with("--ioengine=rbd: ioengine=rbd of fio is not supported"),
            "{error}"
        );
    }

    #[test]
    fn the_base_of_a_section_counts_wherever_it_stands() {
        let text = "[global]\nsize=1m\nkb_base=1000\n[a]\nbs=4kib\n[b]\nbs=4k\nkb_base=1024\n";
        let parsed = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap();
        let sizes: Vec<u64> = parsed.jobs.iter().map(|job| job.block_bytes).collect();
        assert_eq!(sizes, [4096, 4096]);
        assert_eq!(parsed.jobs[1].size, Some(Extent::Bytes(1_000_000)));
        assert!(parsed.messages.is_empty(), "no trap where kib is 1024: {:?}", parsed.messages);
        // On a command line it counts for what follows only.
        let jobs = flags("--bs=4k --size=4k --kb_base=1000 --size=4k").unwrap().jobs;
        assert_eq!((jobs[0].block_bytes, jobs[0].size), (4096, Some(Extent::Bytes(4000))));
    }

    #[test]
    fn the_block_size_is_the_longest_of_the_directions() {
        let size = |rw: &str| {
            let text = format!("[a]\nbs=4k,8k\nrw={rw}\n");
            Parsed::from_text("a.fio", &text, &Environment::empty()).unwrap().jobs[0].block_bytes
        };
        assert_eq!((size("randread"), size("write:-16k")), (4096, 8192));
    }

    #[test]
    fn the_sections_name_gives_way_to_its_own_option_only() {
        let text = "[global]\nname=g\n[a]\n[b]\nname=c\n";
        let jobs = Parsed::from_text("a.fio", text, &Environment::empty()).unwrap().jobs;
        assert_eq!((jobs[0].name.as_str(), jobs[1].name.as_str()), ("a", "c"));
    }

    #[test]
    fn a_file_without_a_job_may_stand_beside_one_with() {
        let script = Script::from_text("a.fio", "[a]\n", &Environment::empty());
        let mut script = script.unwrap();
        script.files.insert(0, Vec::new());
        assert_eq!(Parsed::from_script(&script).unwrap().jobs.len(), 1);
    }
}
