//! Logs of a lane, in fio's formats: one line for each request, or for each stretch of time.
//!
//! What must always hold: nothing is allocated while a request is counted; room for a turn's
//! completions is made before the turn ([`LogBook::prepare`]). The ramp is logged too, as in
//! fio. A line of a stretch stands at its end, and a stretch in which nothing completed has none.
//!
//! ```text
//! NAME_bw.N.log, _iops, _slat, _clat, _lat   ms, value, direction, bytes[, offset], 0
//! NAME_clat_hist.N.log                       ms, direction, bytes, bucket, bucket, ...
//! values: KiB/s (of one request: kB/s, as fio has it), I/Os per second (of one: 1), nanoseconds
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use isotherm_seam::{Mono, Wall};
use isotherm_workload::{Direction, Logs};

use crate::histogram::{BUCKETS, Histogram};
use crate::tally::Moments;

/// Entries that are allocated at once.
const CHUNK: usize = 1 << 14;

/// One request, or the sum of those of one stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Entry {
    /// Since the lane began.
    at_ms: u64,
    direction: u8,
    /// Requests; 1 where each is logged.
    ios: u32,
    /// What they carried.
    bytes: u64,
    /// The first byte; 0 of a stretch.
    offset: u64,
    /// slat, clat and lat; of a stretch the mean or the greatest.
    times_ns: [u64; 3],
}

/// What came of one direction in the stretch that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Which stretch, counted from the beginning.
    number: u64,
    ios: u32,
    bytes: u64,
    sums_ns: [u64; 3],
    greatest_ns: [u64; 3],
}

/// What came of one direction since the last histogram.
#[derive(Clone, Debug)]
struct Fresh {
    counts: Histogram,
    ios: u64,
    from_ms: Option<u64>,
}

/// A histogram in a log: buckets that hold any.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Snap {
    at_ms: u64,
    direction: u8,
    bytes: u64,
    buckets: Vec<(u16, u64)>,
}

/// The logs of one lane.
#[derive(Clone, Debug)]
pub(crate) struct LogBook {
    order: Logs,
    began: Mono,
    chunks: Vec<Vec<Entry>>,
    windows: Vec<Window>,
    fresh: Vec<Fresh>,
    snaps: Vec<Snap>,
}

impl LogBook {
    /// Logs as ordered; none, if none are.
    pub(crate) fn new(order: &Logs) -> Option<Box<LogBook>> {
        let fresh = || Fresh { counts: Histogram::new(), ios: 0, from_ms: None };
        let with_histograms = order.histogram.is_some() && order.histogram_every.0 > 0;
        let histograms = if with_histograms { Direction::ALL.len() } else { 0 };
        order.any().then(|| {
            Box::new(LogBook {
                order: order.clone(),
                began: Mono::ZERO,
                chunks: Vec::new(),
                windows: vec![Window::default(); Direction::ALL.len()],
                fresh: (0..histograms).map(|_| fresh()).collect(),
                snaps: Vec::new(),
            })
        })
    }

    /// The lane begins.
    pub(crate) fn begin(&mut self, now: Mono) {
        self.began = now;
    }

    /// Makes room for so many requests.
    #[inline]
    pub(crate) fn prepare(&mut self, requests: usize) {
        let room = self.chunks.last().map_or(0, |chunk| chunk.capacity() - chunk.len());
        if room < requests {
            self.chunks.push(Vec::with_capacity(CHUNK.max(requests)));
        }
    }

    /// Logs a request that completed without error.
    pub(crate) fn note(&mut self, at: &Moments, direction: Direction, offset: u64, bytes: u64) {
        let at_ms = at.done.since(self.began).0 / 1_000_000;
        let clat = at.done.since(at.issued).0;
        let times_ns = [at.issued.since(at.start).0, clat, at.done.since(at.start).0];
        let index = direction.index();
        if !self.fresh.is_empty() {
            self.note_histogram(at_ms, index, bytes, clat);
        }
        if self.order.every.0 == 0 {
            self.push(Entry { at_ms, direction: index as u8, ios: 1, bytes, offset, times_ns });
            return;
        }
        let number = at.done.since(self.began).0 / self.order.every.0;
        if self.windows[index].number != number {
            self.close(index);
            self.windows[index].number = number;
        }
        let window = &mut self.windows[index];
        window.ios += 1;
        window.bytes += bytes;
        for (kind, time) in times_ns.into_iter().enumerate() {
            window.sums_ns[kind] += time;
            window.greatest_ns[kind] = window.greatest_ns[kind].max(time);
        }
    }

    fn push(&mut self, entry: Entry) {
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(entry);
        }
    }

    /// Makes an entry of the stretch that is over.
    fn close(&mut self, index: usize) {
        let window = std::mem::take(&mut self.windows[index]);
        if window.ios == 0 {
            return;
        }
        let mean = |sum: u64| (sum + u64::from(window.ios) / 2) / u64::from(window.ios);
        self.push(Entry {
            at_ms: (window.number + 1) * self.order.every.0 / 1_000_000,
            direction: index as u8,
            ios: window.ios,
            bytes: window.bytes,
            offset: 0,
            times_ns: match self.order.greatest {
                true => window.greatest_ns,
                false => window.sums_ns.map(mean),
            },
        });
    }

    fn note_histogram(&mut self, at_ms: u64, index: usize, bytes: u64, clat_ns: u64) {
        let fresh = &mut self.fresh[index];
        fresh.counts.record(clat_ns);
        fresh.ios += 1;
        let from_ms = *fresh.from_ms.get_or_insert(at_ms);
        let every_ms = self.order.histogram_every.0 / 1_000_000;
        if at_ms - from_ms >= every_ms {
            self.snap(at_ms, index, bytes);
            self.fresh[index].from_ms = Some(at_ms - at_ms % every_ms);
        }
    }

    /// Once in a long while: it allocates.
    #[cold]
    fn snap(&mut self, at_ms: u64, index: usize, bytes: u64) {
        let fresh = &mut self.fresh[index];
        let buckets = fresh.counts.held().collect();
        fresh.counts = Histogram::new();
        fresh.ios = 0;
        self.snaps.push(Snap { at_ms, direction: index as u8, bytes, buckets });
    }

    /// The lane has ended: what is not over is closed.
    pub(crate) fn end(&mut self, now: Mono) {
        self.prepare(self.windows.len());
        for index in 0..self.windows.len() {
            self.close(index);
        }
        let at_ms = now.since(self.began).0 / 1_000_000;
        for index in 0..self.fresh.len() {
            if self.fresh[index].ios > 0 {
                self.snap(at_ms, index, 0);
            }
        }
    }

    /// Writes the files of the `number`-th lane, counted from 1, and returns their names.
    pub(crate) fn write(
        &self,
        folder: &Path,
        job: &str,
        number: usize,
        began: Wall,
    ) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        let epoch_ms = if self.order.unix_epoch { began.0.max(0) as u64 / 1_000_000 } else { 0 };
        let mut entries: Vec<Entry> = self.chunks.iter().flatten().copied().collect();
        entries.sort_by_key(|entry| entry.at_ms);
        let mut paths = Vec::new();
        for (kind, wanted) in self.kinds() {
            let Some(prefix) = wanted else { continue };
            let prefix = if prefix.is_empty() { job } else { prefix };
            let path = folder.join(match self.order.per_job {
                true => format!("{prefix}_{}.{number}.log", kind.word()),
                false => format!("{prefix}_{}.log", kind.word()),
            });
            let written = self.open(&path).and_then(|file| {
                let mut file = BufWriter::new(file);
                match kind {
                    LogKind::Histogram => self.write_histograms(&mut file, epoch_ms)?,
                    _ => self.write_values(&mut file, kind, &entries, epoch_ms)?,
                }
                file.flush()
            });
            match written {
                Ok(()) => paths.push(path),
                Err(error) => return Err((path, error)),
            }
        }
        Ok(paths)
    }

    fn kinds(&self) -> [(LogKind, Option<&str>); 6] {
        let Logs { bandwidth, iops, latency, histogram, .. } = &self.order;
        [
            (LogKind::Bandwidth, bandwidth.as_deref()),
            (LogKind::Iops, iops.as_deref()),
            (LogKind::Time(0), latency.as_deref()),
            (LogKind::Time(1), latency.as_deref()),
            (LogKind::Time(2), latency.as_deref()),
            (LogKind::Histogram, histogram.as_deref()),
        ]
    }

    /// Jobs that share a file add to it, as in fio.
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        match self.order.per_job {
            true => options.write(true).create(true).truncate(true).open(path),
            false => options.append(true).create(true).open(path),
        }
    }

    fn write_values(
        &self,
        out: &mut dyn Write,
        kind: LogKind,
        entries: &[Entry],
        epoch_ms: u64,
    ) -> io::Result<()> {
        let every_ms = self.order.every.0 / 1_000_000;
        for entry in entries {
            let value = match kind {
                LogKind::Bandwidth if every_ms == 0 => {
                    entry.bytes * 1_000_000 / entry.times_ns[1].max(1)
                }
                LogKind::Bandwidth => entry.bytes * 1000 / every_ms / 1024,
                LogKind::Iops if every_ms == 0 => 1,
                LogKind::Iops => u64::from(entry.ios) * 1000 / every_ms,
                LogKind::Time(which) => entry.times_ns[which],
                LogKind::Histogram => continue,
            };
            let bytes = if every_ms == 0 { entry.bytes } else { 0 };
            write!(out, "{}, {value}, {}, {bytes}", epoch_ms + entry.at_ms, entry.direction)?;
            if self.order.offset {
                write!(out, ", {}", entry.offset)?;
            }
            writeln!(out, ", 0")?;
        }
        Ok(())
    }

    fn write_histograms(&self, out: &mut dyn Write, epoch_ms: u64) -> io::Result<()> {
        let mut snaps: Vec<&Snap> = self.snaps.iter().collect();
        snaps.sort_by_key(|snap| snap.at_ms);
        let mut row = vec![0u64; BUCKETS >> self.order.coarseness];
        for snap in snaps {
            row.fill(0);
            for (bucket, count) in &snap.buckets {
                row[usize::from(*bucket) >> self.order.coarseness] += count;
            }
            write!(out, "{}, {}, {}", epoch_ms + snap.at_ms, snap.direction, snap.bytes)?;
            for count in &row {
                write!(out, ", {count}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// What a log is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LogKind {
    Bandwidth,
    Iops,
    /// slat, clat, lat.
    Time(usize),
    Histogram,
}

impl LogKind {
    fn word(self) -> &'static str {
        match self {
            LogKind::Bandwidth => "bw",
            LogKind::Iops => "iops",
            LogKind::Time(which) => ["slat", "clat", "lat"][which],
            LogKind::Histogram => "clat_hist",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Nanos;

    const MS: u64 = 1_000_000;

    fn at(start_ms: u64, done_ms: u64) -> Moments {
        let start = Mono(start_ms * MS);
        Moments { intended: start, start, issued: start + Nanos(1_000), done: Mono(done_ms * MS) }
    }

    fn lines(order: Logs, notes: &[(u64, u64)], file: &str) -> Vec<String> {
        let mut book = LogBook::new(&order).unwrap();
        book.begin(Mono(0));
        for (i, (start, done)) in notes.iter().enumerate() {
            book.prepare(1);
            book.note(&at(*start, *done), Direction::Read, 4096 * i as u64, 4096);
        }
        book.end(Mono(5_000 * MS));
        let dir = tempfile::tempdir().unwrap();
        book.write(dir.path(), "job", 3, Wall(0)).unwrap();
        let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_for_each_request_is_as_fio_writes_it() {
        let order = Logs {
            bandwidth: Some("x".into()),
            iops: Some("x".into()),
            latency: Some(String::new()),
            offset: true,
            ..Logs::default()
        };
        let notes = [(1, 3), (2, 12)];
        let of = |file| lines(order.clone(), &notes, file);
        assert_eq!(
            of("job_lat.3.log"),
            ["3, 2000000, 0, 4096, 0, 0", "12, 10000000, 0, 4096, 4096, 0"]
        );
        assert_eq!(of("job_slat.3.log")[0], "3, 1000, 0, 4096, 0, 0");
        assert_eq!(of("job_clat.3.log")[1], "12, 9999000, 0, 4096, 4096, 0");
        assert_eq!(of("x_iops.3.log")[1], "12, 1, 0, 4096, 4096, 0");
        assert_eq!(of("x_bw.3.log")[1], "12, 409, 0, 4096, 4096, 0");
    }

    #[test]
    fn a_stretch_of_time_is_one_line_at_its_end() {
        let mut order =
            Logs { latency: Some("x".into()), iops: Some("x".into()), ..Logs::default() };
        order.every = Nanos::from_millis(500);
        let notes = [(10, 12), (20, 24), (480, 484), (2_000, 2_007)];
        assert_eq!(
            lines(order.clone(), &notes, "x_lat.3.log"),
            ["500, 3333333, 0, 0, 0", "2500, 7000000, 0, 0, 0"]
        );
        assert_eq!(
            lines(order.clone(), &notes, "x_iops.3.log"),
            ["500, 6, 0, 0, 0", "2500, 2, 0, 0, 0"]
        );
        order.greatest = true;
        assert_eq!(lines(order, &notes, "x_lat.3.log")[0], "500, 4000000, 0, 0, 0");
    }

    #[test]
    fn histograms_hold_every_request_at_any_coarseness() {
        for coarseness in [0, 3, 6] {
            let order = Logs {
                histogram: Some("x".into()),
                histogram_every: Nanos::from_millis(100),
                coarseness,
                ..Logs::default()
            };
            let notes: Vec<(u64, u64)> = (0..50).map(|i| (i * 10, i * 10 + 1 + i)).collect();
            let rows = lines(order, &notes, "x_clat_hist.3.log");
            assert!(rows.len() >= 5, "{}", rows.len());
            let mut sum = 0;
            for row in rows {
                let fields: Vec<u64> = row.split(", ").map(|f| f.parse().unwrap()).collect();
                assert_eq!(fields.len(), 3 + (BUCKETS >> coarseness));
                sum += fields[3..].iter().sum::<u64>();
            }
            assert_eq!(sum, 50);
        }
    }

    #[test]
    fn nothing_ordered_nothing_kept() {
        assert!(LogBook::new(&Logs::default()).is_none());
    }
}
