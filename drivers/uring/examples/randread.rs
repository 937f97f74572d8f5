//! Random 4 KiB reads from one core, and what each cost: the driver without a load runner.
//!
//! `randread <path> <queue depth> <seconds> [direct] [batch=<events>,<µs>] [spin]`
//!
//! `direct` opens with O_DIRECT. `batch` sleeps until so many completions are there, or so long.
//! `spin` never sleeps. The loop is the one that a load runner or a reactor should have.

use std::time::Instant;

use isotherm_seam::{
    BlockDevice, BufPool, Due, IoBuf, Mono, Nanos, Op, OpenOptions, Park, PoolLayout, Request, Tag,
};
use isotherm_uring::{Ring, RingConfig};

const READ_BYTES: usize = 4096;

#[expect(clippy::disallowed_methods, reason = "it measures the real clock")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, depth, seconds, options @ ..] = &args[..] else {
        return Err("usage: randread <path> <queue depth> <seconds> [direct] \
                    [batch=<events>,<µs>] [spin]"
            .into());
    };
    let (depth, seconds): (u32, f64) = (depth.parse()?, seconds.parse()?);
    let has = |word: &str| options.iter().any(|o| o == word);
    let batch = match options.iter().find_map(|o| o.strip_prefix("batch=")) {
        Some(text) => {
            let (events, micros) = text.split_once(',').ok_or("batch=<events>,<µs>")?;
            Some((events.parse::<u32>()?, Nanos::from_micros(micros.parse()?)))
        }
        None => None,
    };
    let spin = has("spin");

    let pool = BufPool::new(&PoolLayout::uniform(READ_BYTES as u32, depth))?;
    let mut ring = Ring::new(&RingConfig::new(pool.clone()))?;
    let open = OpenOptions { direct: has("direct"), depth, ..OpenOptions::default() };
    let mut disk = ring.open(path, &open)?;
    for note in ring.notes().iter().chain(&disk.info().notes) {
        println!("note: {note}");
    }
    let size = disk.geometry().logical;
    let places = disk.geometry().capacity_bytes() / READ_BYTES as u64;
    let blocks_per_place = READ_BYTES as u64 / u64::from(size.bytes());

    let mut free: Vec<IoBuf> =
        (0..depth).map(|_| pool.alloc(READ_BYTES)).collect::<Result<_, _>>()?;
    let mut done = Vec::with_capacity(depth as usize);
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut reads = 0u64;
    let start = Instant::now();
    let cpu_start = cpu_seconds();
    let end = Mono((seconds * 1e9) as u64);
    loop {
        let now = Mono(start.elapsed().as_nanos() as u64);
        if now >= end {
            break;
        }
        while let Some(buf) = free.pop() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = ((u128::from(seed) * u128::from(places)) >> 64) as u64;
            let lba = isotherm_seam::Lba(place * blocks_per_place);
            let request = Request { tag: Tag(place), op: Op::Read { lba, buf } };
            disk.submit(now, request).map_err(|_| "the queue is full")?;
        }
        if !spin && disk.due() == Due::Event {
            match batch {
                Some((events, patience)) => ring.park_batch(now, Some(end), events, patience),
                None => ring.park(now, Some(end)),
            }
        }
        disk.poll(now, &mut done);
        for completion in done.drain(..) {
            completion.result?;
            free.push(completion.buf.ok_or("a read without its buffer")?);
            reads += 1;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let (user, system) = cpu_seconds();
    let (user, system) = (user - cpu_start.0, system - cpu_start.1);
    println!(
        "{}: {:.0} IOPS, {:.0} ns/IO, cpu {:.0} ns/IO, usr {:.1}% sys {:.1}%",
        disk.info().driver,
        reads as f64 / elapsed,
        elapsed * 1e9 / reads as f64,
        (user + system) * 1e9 / reads as f64,
        user / elapsed * 100.0,
        system / elapsed * 100.0,
    );
    Ok(())
}

/// Processor time of this process in user and kernel mode, in seconds.
fn cpu_seconds() -> (f64, f64) {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
        .expect("a process may ask for its own usage");
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    (seconds(usage.user_time()), seconds(usage.system_time()))
}
