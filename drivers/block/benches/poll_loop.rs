//! What the drivers without a kernel cost: one poll-mode loop, no time stamps, no histogram.
//! `cargo bench -p isotherm-block`; per I/O is the time of a batch over its depth.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isotherm_block::{Memory, Null, Shape};
use isotherm_seam::{
    BlockDevice, BufPool, Completion, Domain, Draws, IoBuf, Lba, Mono, Op, Persist, PoolLayout,
    Request, Tag,
};

/// Reads of 4 KiB at random over the whole device, `depth` at a time.
struct Load<'a> {
    device: &'a mut dyn BlockDevice,
    free: Vec<IoBuf>,
    done: Vec<Completion>,
    draws: Draws,
    slots: u64,
}

impl<'a> Load<'a> {
    fn new(device: &'a mut dyn BlockDevice, depth: usize) -> Load<'a> {
        let pool = BufPool::new(&PoolLayout::uniform(4096, depth as u32)).expect("memory");
        let free = (0..depth).map(|_| pool.alloc(4096).expect("as many as the depth")).collect();
        let slots = device.geometry().blocks / 8;
        let draws = Draws::new(1, Domain::new("bench"), 0);
        Load { device, free, done: Vec::with_capacity(depth), draws, slots }
    }

    fn batch(&mut self) {
        while let Some(buf) = self.free.pop() {
            let lba = Lba(self.draws.below(self.slots) * 8);
            let request = Request { tag: Tag(lba.0), op: Op::Read { lba, buf } };
            assert!(self.device.submit(Mono::ZERO, request).is_ok(), "as many as the depth");
        }
        self.device.poll(Mono::ZERO, &mut self.done);
        for completion in self.done.drain(..) {
            black_box(completion.tag);
            self.free.push(completion.buf.expect("a read's buffer"));
        }
    }
}

fn null(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("null");
    for depth in [1, 32, 128] {
        let mut device = Null::new(&Shape::new(1 << 40).with_depth(depth));
        let mut load = Load::new(&mut device, depth as usize);
        group.throughput(Throughput::Elements(depth.into()));
        group.bench_function(BenchmarkId::from_parameter(depth), |b| b.iter(|| load.batch()));
    }
    group.finish();
}

fn memory(criterion: &mut Criterion) {
    const BYTES: u64 = 2 << 30;
    let mut group = criterion.benchmark_group("memory-4k-random-read");
    let mut device = Memory::new(&Shape::new(BYTES)).expect("two gigabytes of memory");
    fill(&mut device);
    for depth in [1, 32, 128] {
        let mut load = Load::new(&mut device, depth as usize);
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(BenchmarkId::from_parameter(depth), |b| b.iter(|| load.batch()));
    }
    group.finish();
}

/// Memory never written is one page of zeros, which no cache misses.
fn fill(device: &mut Memory) {
    const CHUNK: usize = 1 << 20;
    let pool = BufPool::new(&PoolLayout::uniform(CHUNK as u32, 1)).expect("memory");
    let mut done = Vec::with_capacity(1);
    for chunk in 0..device.geometry().capacity_bytes() / CHUNK as u64 {
        let mut buf = pool.alloc(CHUNK).expect("the one buffer");
        buf.fill(chunk as u8 | 1);
        let lba = Lba(chunk * (CHUNK as u64 / 512));
        let op = Op::Write { lba, buf, persist: Persist::Flush };
        assert!(device.submit(Mono::ZERO, Request { tag: Tag(0), op }).is_ok());
        device.poll(Mono::ZERO, &mut done);
        done.clear();
    }
}

criterion_group! {
    name = poll_loop;
    config = Criterion::default().sample_size(30);
    targets = null, memory
}
criterion_main!(poll_loop);
