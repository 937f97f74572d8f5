//! The reading of job files, against an installed fio.
//!
//! What must always hold: where fio is absent, a test says so and passes; where it is present,
//! what `--showcmd` prints is compared letter by letter, and a job file that fio refuses is
//! refused here too. The reverse does not hold: options that are not built are refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use isotherm_workload::{Environment, Machine, ParseCause, Parsed, Script};

/// Where Debian puts fio's example files.
const EXAMPLES: &str = "/usr/share/doc/fio/examples";

/// A directory to run fio in, gone when the test is over.
struct Fio {
    directory: PathBuf,
}

impl Fio {
    /// None, and a word about it, where fio can't be run.
    fn new(test: &str) -> Option<Fio> {
        match Command::new("fio").arg("--version").output() {
            Ok(output) if output.status.success() => {}
            _ => {
                println!("skipped {test}: fio is not installed");
                return None;
            }
        }
        let name = format!("isotherm-fio-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Fio { directory })
    }

    fn write(&self, file: &str, text: &str) -> String {
        let path = self.directory.join(file);
        std::fs::create_dir_all(path.parent().expect("it has one")).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("fio");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DISK", "/dev/x").env("EMPTY", "");
        command.current_dir(&self.directory).args(arguments).output().unwrap()
    }
}

impl Drop for Fio {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn variable(name: &str) -> Option<String> {
    match name {
        "DISK" => Some("/dev/x".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// The machine as fio sees it: what it makes of the keywords.
fn environment(fio: &Fio) -> Environment<'static> {
    let file = fio.write("machine.fio", "[$]\ndescription=$ncpus $pagesize $mb_memory\n");
    let line = String::from_utf8(fio.run(&["--showcmd", &file]).stdout).unwrap();
    let numbers: Vec<u64> =
        line.split('"').nth(1).unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    let [cpus, page_bytes, memory_mib] = numbers[..] else { panic!("{line}") };
    Environment { variable: &variable, machine: Machine { cpus, page_bytes, memory_mib } }
}

/// Our `--showcmd`, if everything in it is understood.
fn ours(
    arguments: &[String],
    keep: &[String],
    environment: &Environment<'_>,
) -> Result<Vec<String>, String> {
    let mut script = Script::from_arguments(arguments, environment).map_err(|e| e.to_string())?;
    script.keep(keep).map_err(|e| e.to_string())?;
    Parsed::from_script(&script).map_err(|e| e.to_string())?;
    Ok(script.command_lines().iter().map(|line| normal(line)).collect())
}

/// Without what neither side means: blanks at the end.
fn normal(line: &str) -> String {
    line.trim_end().to_owned()
}

/// fio's `--showcmd`, if it succeeds.
fn theirs(fio: &Fio, arguments: &[&str]) -> Option<Vec<String>> {
    let output = fio.run(&[&["--showcmd"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().filter(|line| !line.is_empty()).map(normal).collect())
}

#[test]
fn snippets_are_shown_as_fio_shows_them() {
    let Some(fio) = Fio::new("snippets") else { return };
    let environment = environment(&fio);
    fio.write("one.inc", "bs=2k ; c\n\n  direct=1\ninclude sub/two.inc\n");
    fio.write("sub/two.inc", "iodepth=3\n");
    let snippets = [
        "[a]\nrw=read\nbs=4k ;x\nsize=1m#y\nstonewall\n",
        "; c\n# d\n\n[global]\nbs=8k\n[a] b]\nrw=write\n[globalfoo]\nbs=16k\n[b] ; c\nrw=randread\n",
        "[global]\nfilename=f\nbs=4k\nkb_base=1000\n[a]\nsize=1m\nfilename=${DISK}1:${DISK}2\n",
        "[a]\nsize=10*10*$mb_memory\nbs=$pagesize/4\nnumjobs=(2+$ncpus)*4\n",
        "[a]\ndescription=$ncpus disks of ${DISK}\nbs=${EMPTY}4k\n",
        "[a]\nfilename_format=$jobname.$jobnum.$filenum\nsize=$ncpusk\n",
        "[a]\nrw=randrw:8\nrw_sequencer=identical\n[b]\nrw=write:-4k\n[c]\nrw=read:4kib\n",
        "[a]\nfilename=a\\:b:c\nrate_iops=100,50\n",
        "[a]\nbs=4k,8k\n[b]\nbs=4k-8k\nrw=write\n[c]\nbs=,8k,16k\n",
        "[a]\nname=b\nthreads=1\nthread=0\ntime_based=1\nruntime=5m\n",
        "[a]\nfilename = x\niodepth = 4\n",
        " [a]\n\trw=read\r\n[abc\nbs=0x1000\n[]\nsize=50%\nio_size=1t\n",
        "[a]\nsize=1m\ninclude one.inc # c\nrw=read\n[b]\ninclude=one.inc\n",
        "[a]\nloops=2\ncpus_allowed=0\ncpus_allowed_policy=split\n",
        "[a]\nruntime=500ms\nramp_time=1h\n[a]\nloops=2k\n",
        "[a]\nblocksize=4k\nratemin=1k,2k\nratecycle=500\nrate=1m,2m,3m\nblockalign=4k,8k\n",
        "[a]\nbsrange=8k-4k\n[b]\nbssplit=4k/50:8k:16k,64k\n[c]\nblocksize_range=4k-8k,2k-4k\n",
        "[a]\nss=iops:10%\nss_dur=30s\nss_ramp=5\n[b]\nsteadystate=bw_slope:1k\n",
        "[a]\nstartdelay=1-3\nthinktime=2ms\nthinktime_blocks=4\nlatency_target=10ms\n",
        "[a]\nrw=randread\nrandom_distribution=zoned:50/5:30/15:20/\npercentage_random=50,20\n",
        "[a]\nrw=randread\nrandom_distribution=zoned_abs:60/4m:40/12m\nfile_service_type=zipf:1.2\n",
        "[a]\nbuffer_pattern=\"ab\"0x12-5\"c\"\nbuffer_compress_percentage=25\nnr_files=3\n",
        "[a]\nexitall\nexit_what=all\nfallocate=keep\nsync=dsync\niodepth_batch_submit=4\n",
        "[a]\nzonesize=1m\nzoneskip=50%\nzonerange=2m\noffset_increment=10%\nfilesize=4k-1m\n",
    ];
    for snippet in snippets {
        let file = fio.write("t.fio", snippet);
        let expected = theirs(&fio, &[&file]);
        let got = ours(&[file], &[], &environment);
        assert_eq!(got.as_ref().ok(), expected.as_ref(), "{snippet}\nours: {got:?}");
    }
    println!("{} snippets are shown as by fio", snippets.len());
}

#[test]
fn what_fio_refuses_is_refused() {
    let Some(fio) = Fio::new("refused") else { return };
    let environment = environment(&fio);
    fio.write("section.inc", "bs=4k\n[x]\n");
    let snippets = [
        "bs=4k\n[a]\nrw=read\n",
        "[a]\niodpeth=3\n",
        "[a]\nRW=read\n",
        "[a]\nrw=rand\n",
        "[a]\nrw=READ\n",
        "[a]\nrw = read\n",
        "[a]\nrw=readx\n",
        "[a]\ndirect\n",
        "[a]\ndirect=2\n",
        "[a]\ndirect=true\n",
        "[a]\nstonewall=yes\n",
        "[a]\nrandrepeat=\n",
        "[a]\nfilename=${NOPE}\n",
        "[a]\nsize=2*$mb_memory*3m\n",
        "[a]\n=4k\n",
        "[a]\nio_size=120%\n",
        "[a]\nkb_base=1\n",
        "[a]\nfallocate=2\n",
        "[a]\nsync=2\n",
        "[a]\nrw=randread\nrandom_distribution=zipf:1\n",
        "[a]\nrw=randread\nrandom_distribution=zipf:1.2:5\n",
        "[a]\nrw=randread\nrandom_distribution=zoned:50/50\n",
        "[a]\nrw=randread\nrandom_distribution=zoned:50/5:30/\n",
        "[a]\nfile_service_type=zipf:1.2:5\n",
        "[a]\npercentage_random=101\n",
        "[a]\nss=iops\n",
        "[a]\nss=lat:3\n",
        "[a]\nbuffer_pattern=abcd\n",
        "[a]\nbuffer_pattern=4294967295\n",
        "[a]\nbsrange=4k,8k\n",
        "[a]\nio_submit_mode=x\n",
        "[a]\nrandom_generator=x\n",
        "[a]\noverwrite\n",
        "[a]\nflow_id=x\n",
        "[a]\nexit_what=some\n",
        "[a]\ncontinue_on_error=some\n",
        "[a]\ndedupe_percentage=101\n",
    ];
    for snippet in snippets {
        let file = fio.write("t.fio", snippet);
        assert_eq!(theirs(&fio, &[&file]), None, "fio takes this: {snippet}");
        assert!(ours(&[file], &[], &environment).is_err(), "{snippet}");
    }
    // Of these fio says that they are wrong, and yet that it succeeded.
    for include in ["section.inc", "nowhere.inc"] {
        let file = fio.write("t.fio", &format!("[a]\ninclude {include}\n"));
        let said = fio.run(&["--showcmd", &file]).stderr;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("while parsing include file"), "{said}");
        assert!(ours(&[file], &[], &environment).is_err(), "{include}");
    }
    println!("{} snippets are refused as by fio", snippets.len() + 2);
}

#[test]
fn several_files_and_sections_are_those_of_fio() {
    let Some(fio) = Fio::new("files") else { return };
    let environment = environment(&fio);
    let a = fio.write("a.fio", "[global]\nbs=1k\n[a]\nrw=read\n[ab]\n[global2]\nbs=2k\n");
    let b = fio.write("b.fio", "[c]\nbs=1k\n[b]\nrw=write\n");
    let cases: [(&[&str], &[&str]); 5] = [
        (&[&a], &[]),
        (&[&a, &b], &[]),
        (&["--bs=8k", &a, &b], &[]),
        (&[&a], &["a"]),
        (&[&b], &["b", "c"]),
    ];
    for (arguments, keep) in cases {
        let flags: Vec<String> = keep.iter().map(|name| format!("--section={name}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let expected = theirs(&fio, &[&flags[..], arguments].concat()).expect("fio takes it");
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let keep: Vec<String> = keep.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(ours(&arguments, &keep, &environment), Ok(expected), "{arguments:?} {keep:?}");
    }
}

/// Sizes and times as fio's own trace of its parser has them.
#[test]
fn numbers_are_those_of_fio() {
    let Some(fio) = Fio::new("numbers") else { return };
    let sizes = "4096 4k 4K 4kb 4KiB 4ki 1m 1mb 1mib 2g 1gib 1t 1p 512b 0x10 0x1F 010 7";
    let mut compared = 0;
    for (option, base) in [("size", 1024), ("size", 1000)] {
        for text in sizes.split(' ') {
            let jobs = format!("[a]\n{option}={text}\nkb_base={base}\n");
            let parsed = Parsed::from_text("t.fio", &jobs, &Environment::empty()).unwrap();
            let ours = parsed.jobs[0].size.map(|size| size.of(0));
            assert_eq!(ours, traced(&fio, &jobs, option), "{option}={text}, base {base}");
            compared += 1;
        }
    }
    for text in "1 10s 5ms 7us 2m 1h 1d 100msec 8usec 1H".split(' ') {
        let jobs = format!("[a]\nruntime={text}\n");
        let parsed = Parsed::from_text("t.fio", &jobs, &Environment::empty()).unwrap();
        let ours = parsed.jobs[0].runtime.map(|time| time.0 / 1000);
        assert_eq!(ours, traced(&fio, &jobs, "runtime"), "{text}");
        compared += 1;
    }
    println!("{compared} numbers are those of fio");
}

fn traced(fio: &Fio, jobs: &str, option: &str) -> Option<u64> {
    let file = fio.write("t.fio", jobs);
    let output = fio.run(&["--parse-only", "--debug=parse", &file]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut lines =
        text.lines().skip_while(|line| !line.contains(&format!("__handle_option={option},")));
    lines.next();
    lines.next()?.split("out=").nth(1)?.trim().parse().ok()
}

#[test]
fn every_option_of_fio_is_known() {
    let Some(fio) = Fio::new("names") else { return };
    let text = |arguments: &[&str]| String::from_utf8(fio.run(arguments).stdout).unwrap();
    let mut names: Vec<String> = option_names(&text(&["--cmdhelp=all"]));
    let core = names.len();
    let engines = text(&["--enghelp"]);
    let engines = engines.lines().filter_map(|line| line.strip_prefix('\t'));
    engines.clone().for_each(|e| names.extend(option_names(&text(&[&format!("--enghelp={e}")]))));
    assert!(core > 150, "fio has said its options: {core}");
    let unknown = names.iter().filter(|name| cause(&format!("{name}=\u{1}")).is_unknown());
    let unknown: Vec<&String> = unknown.collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let unknown = engines.filter(|engine| match cause(&format!("ioengine={engine}")) {
        Cause::Other(ParseCause::BadValue { .. }) => true,
        Cause::None | Cause::Unknown | Cause::Other(_) => false,
    });
    let unknown: Vec<&str> = unknown.collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    println!("{} names of fio are known", names.len());
}

fn option_names(help: &str) -> Vec<String> {
    let before_colon =
        help.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    before_colon.filter(|name| !name.is_empty() && !name.contains(' ')).map(str::to_owned).collect()
}

enum Cause {
    None,
    Unknown,
    Other(ParseCause),
}

impl Cause {
    fn is_unknown(&self) -> bool {
        matches!(self, Cause::Unknown)
    }
}

fn cause(setting: &str) -> Cause {
    match Parsed::from_text("t.fio", &format!("[a]\n{setting}\n"), &Environment::empty()) {
        Ok(_) => Cause::None,
        Err(error) => match error.cause {
            ParseCause::UnknownOption { .. } => Cause::Unknown,
            other => Cause::Other(other),
        },
    }
}

/// Every example file is read as fio shows it, or refused for an option that is known.
#[test]
fn examples_are_read_or_refused_by_name() {
    let Some(fio) = Fio::new("examples") else { return };
    let environment = environment(&fio);
    let Ok(directory) = std::fs::read_dir(EXAMPLES) else {
        println!("skipped: there are no examples in {EXAMPLES}");
        return;
    };
    let paths = directory.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "fio")).collect();
    paths.sort();
    let (mut read, mut same) = (0, 0);
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in &paths {
        let name = Path::file_name(path).unwrap().to_string_lossy().into_owned();
        let argument = path.to_str().unwrap().to_owned();
        let parsed = Parsed::from_arguments(std::slice::from_ref(&argument), &environment);
        let reason = match parsed.map_err(|error| error.cause) {
            Ok(_) => {
                read += 1;
                // An engine that this fio was not built with is no reason to differ here.
                if let Some(expected) = theirs(&fio, &[&argument]) {
                    assert_eq!(ours(&[argument], &[], &environment), Ok(expected), "{name}");
                    same += 1;
                }
                continue;
            }
            Err(ParseCause::NotSupported { name, .. }) => name,
            Err(ParseCause::ValueNotSupported { option, value, .. }) => format!("{option}={value}"),
            // Some examples want variables from those who run them.
            Err(ParseCause::UndefinedVariable { name }) => format!("${{{name}}}"),
            Err(cause) => panic!("{name}: {cause}"),
        };
        refused.entry(reason).or_default().push(name);
    }
    println!(
        "{} examples: {read} are read, {same} of them shown as by fio; the others:",
        paths.len()
    );
    for (reason, names) in &refused {
        println!("  {reason}: {}", names.join(" "));
    }
    assert!(read > 0 && same > 0);
}
