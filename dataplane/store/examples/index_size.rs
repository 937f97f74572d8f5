//! What the index takes of memory and time: bytes per entry by its own count and by what the
//! system says, nanoseconds per lookup and per insert, time to load after a restart.
//!
//! `cargo run --release -p isotherm-store --example index_size [MILLIONS [table|load]]`

use std::hint::black_box;

use isotherm_seam::{Domain, Draws, draw};
use isotherm_store::index::{
    CHUNK_BYTES_MAX, ChunkId, ChunkWriter, ChunkWritten, Delta, DeltaKind, Entry, Loaded, Loader,
    Merge, Merged, RunInfo, RunSource, Table,
};
use isotherm_store::{ExtentId, Key, Place};

const LOOKUPS: u64 = 4_000_000;
const DOMAIN: Domain = Domain::new("store.index.size");

fn main() {
    let millions = std::env::args().nth(1).map_or(25, |text| text.parse().expect("millions"));
    let entries: u64 = millions * 1_000_000;
    let wants = |what| std::env::args().nth(2).is_none_or(|only| only == what);
    if wants("table") {
        memory();
        table(entries);
    }
    if wants("load") {
        load(entries);
    }
}

/// What this machine takes for one read that misses all caches: the floor of a lookup.
fn memory() {
    let words: Vec<u64> = (0..48 << 20).map(|i| draw(3, DOMAIN, 0, i)).collect();
    let mut at = 0;
    let start = cpu_ns();
    for i in 0..LOOKUPS {
        at = words[((at ^ i) % words.len() as u64) as usize];
    }
    black_box(at);
    println!("{:.0} ns per read of memory", per(cpu_ns() - start, LOOKUPS));
}

fn table(entries: u64) {
    let mut table = Table::new(0);
    // In use before the first measurement, so that it does not count.
    let mut fingerprints = vec![1; 100_000];
    let before = resident_bytes();
    let mut worst: f64 = 0.0;
    let mut insert_ns = 0;
    for first in (0..entries).step_by(100_000) {
        fingerprints.clear();
        fingerprints.extend((first..first + 100_000).map(|i| draw(1, DOMAIN, 0, i)));
        let start = cpu_ns();
        for &fingerprint in &fingerprints {
            table.insert(fingerprint, Place::unpack(fingerprint >> 20));
        }
        insert_ns += cpu_ns() - start;
        if table.len() >= 1_000_000 {
            worst = worst.max(per(resident_bytes() - before, table.len()));
        }
    }
    println!(
        "{entries} entries: {:.2} bytes each by count, {:.2} resident, from a million on at most {worst:.2}",
        per(table.bytes(), entries),
        per(resident_bytes() - before, entries),
    );
    println!("{:.0} ns per insert", per(insert_ns, entries));

    let mut picks = Draws::new(2, DOMAIN, 0);
    let hits: Vec<u64> = (0..LOOKUPS).map(|_| draw(1, DOMAIN, 0, picks.below(entries))).collect();
    let misses: Vec<u64> = (0..LOOKUPS).map(|_| picks.next_u64()).collect();
    println!("{:.0} ns per hit", lookup_ns(&table, &hits));
    println!("{:.0} ns per miss", lookup_ns(&table, &misses));
}

fn lookup_ns(table: &Table, fingerprints: &[u64]) -> f64 {
    let start = cpu_ns();
    for &fingerprint in fingerprints {
        black_box(table.get(fingerprint));
    }
    per(cpu_ns() - start, LOOKUPS)
}

/// A restart from runs of three levels under keys in no order, and a restart at its worst: an old
/// run of all keys, and a quarter of them again in seven newer.
fn load(entries: u64) {
    let draw = |what, object| draw(4, DOMAIN, what, object);
    let levels = filled(entries, 18, |object, runs| match draw(0, object) % 400 {
        at @ 0..6 => runs.extend([at as usize]),
        at @ 6..62 => runs.extend([6 + at as usize % 7]),
        at => runs.extend([13 + at as usize % 5]),
    });
    loaded("18 runs", entries, levels);
    let worst = filled(entries, 8, |object, runs| {
        runs.extend([7]);
        let newer = draw(1, object) % 28;
        runs.extend((newer < 7).then_some(newer as usize));
    });
    loaded("8 runs with a quarter twice", entries, worst);
}

/// So many runs, the newest first, with the keys that are to be in them.
fn filled(entries: u64, count: u64, place_in: impl Fn(u64, &mut Vec<usize>)) -> Vec<Run> {
    let mut runs: Vec<Run> = (0..count).map(Run::new).collect();
    let mut own = Vec::new();
    for object in 0..entries {
        let place = Place { extent: ExtentId(object as u32 >> 12), ..Place::unpack(0) };
        let key = Key { group: (object >> 16) as u32, object: object.into(), ..Key::MIN };
        own.clear();
        place_in(object, &mut own);
        for &run in &own {
            let (kind, sequence) = (DeltaKind::Live, count - run as u64);
            let delta = Delta { kind, flags: 0, wall_s: 0, place, sequence };
            runs[run].push(&Entry { key, delta });
        }
    }
    runs
}

fn loaded(name: &str, entries: u64, runs: Vec<Run>) {
    let (infos, chunks): (Vec<RunInfo>, Vec<Vec<Vec<u8>>>) =
        runs.into_iter().map(Run::finish).unzip();
    let rows: u64 = infos.iter().map(|run| run.entries).sum();

    for with_table in [false, true] {
        let before = resident_bytes();
        let start = cpu_ns();
        let sources = infos.iter().map(|info| RunSource::new(info.clone())).collect();
        let mut merge: Merge<RunSource<&[u8]>> = Merge::new(sources, true);
        let mut loader = Loader::new(5, u64::MAX, entries);
        loop {
            match merge.next() {
                Merged::Entry(entry) if with_table => loader.push(&entry),
                Merged::Entry(entry) => drop(black_box(entry)),
                Merged::NeedChunk(source) => {
                    let run = merge.source_mut(source);
                    let wanted = run.wants().expect("it is hungry").place.block as usize;
                    run.feed(&chunks[source][wanted]).expect("a good chunk");
                }
                Merged::Contradiction(entry) => panic!("{entry:?} is the older change"),
                Merged::End => break,
            }
        }
        let Loaded::Done(index) = loader.finish() else { panic!("two keys share a fingerprint") };
        let seconds = (cpu_ns() - start) as f64 / 1e9;
        if with_table {
            println!(
                "{name}: loaded in {seconds:.2} s: {:.2} bytes each by count, {:.2} resident",
                per(index.bytes(), index.len()),
                per(resident_bytes() - before, index.len()),
            );
        } else {
            println!("{name}: {rows} entries checked and merged in {seconds:.2} s");
        }
    }
}

/// A run that is being written to memory.
struct Run {
    id: u64,
    rows: Vec<Entry>,
    written: Vec<(ChunkWritten, Place)>,
    chunks: Vec<Vec<u8>>,
}

impl Run {
    fn new(id: u64) -> Run {
        Run { id, rows: Vec::new(), written: Vec::new(), chunks: Vec::new() }
    }

    fn push(&mut self, entry: &Entry) {
        self.rows.push(*entry);
        if self.rows.len() == isotherm_store::index::CHUNK_ENTRIES_MAX {
            self.write();
        }
    }

    fn write(&mut self) {
        let chunk = self.chunks.len() as u32;
        let mut bytes = vec![0; CHUNK_BYTES_MAX];
        let mut writer = ChunkWriter::new(&mut bytes, ChunkId { run: self.id, chunk });
        for row in self.rows.drain(..) {
            writer.push(&row);
        }
        let written = writer.finish().expect("entries");
        bytes.truncate(written.len_bytes);
        let place = Place { extent: ExtentId(0), block: chunk, blocks: 1, dead: false };
        self.written.push((written, place));
        self.chunks.push(bytes);
    }

    fn finish(mut self) -> (RunInfo, Vec<Vec<u8>>) {
        if !self.rows.is_empty() {
            self.write();
        }
        (RunInfo::new(self.id, 0, &self.written).expect("chunks"), self.chunks)
    }
}

fn per(total: u64, count: u64) -> f64 {
    total as f64 / count as f64
}

/// Time that this thread has had a processor: what others do on the machine counts less.
/// Right to some milliseconds.
fn cpu_ns() -> u64 {
    number("/proc/thread-self/schedstat", 0)
}

fn resident_bytes() -> u64 {
    number("/proc/self/statm", 1) * 4096
}

/// A number of a file of numbers, counted from 0.
fn number(path: &str, which: usize) -> u64 {
    let text = std::fs::read_to_string(path).expect("a Linux with /proc");
    text.split_ascii_whitespace().nth(which).and_then(|word| word.parse().ok()).expect("a number")
}
