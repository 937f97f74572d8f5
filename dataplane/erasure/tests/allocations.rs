//! Once a codec is warm, no operation allocates: counted by the allocator itself.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

mod support;

use isotherm_erasure::{Checksums, Codec, Cursor, Kernel, Lost};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Random, choices, codec, stripe};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One stripe through every operation.
fn every_operation(
    codec: &mut Codec,
    data: &[&[u8]],
    parity: &mut [&mut [u8]],
    survivors: &[Option<&[u8]>],
    lost: &mut [Lost<'_>],
    sums: &mut Checksums,
) {
    codec.encode(data, parity).unwrap();
    let _ = codec.encode_step(&mut Cursor::new(), data, parity).unwrap();
    codec.encode_with_checksums(data, parity, sums).unwrap();
    std::hint::black_box(sums.stripe());
    codec.reconstruct(survivors, lost).unwrap();
    codec.forget_plans();
    codec.reconstruct(survivors, lost).unwrap();
    codec.update(1, data[0], parity).unwrap();
    codec.update(1, data[0], parity).unwrap();
}

#[test]
fn no_operation_allocates_once_warm() {
    assert!({
        let before = ALLOCATIONS.get();
        std::hint::black_box(vec![1, 2, 3]);
        ALLOCATIONS.get() > before
    });
    for text in ["4+2", "10+4", "20+8", "12+20", "lrc12+2+2", "290+10"] {
        for kernel in Kernel::available() {
            let mut codec = codec(text, 4096, kernel);
            let cells = stripe(&mut codec, &mut Random(1));
            let k = codec.descriptor().scheme().data_cells();
            let most = codec.descriptor().scheme().tolerated_losses();
            let data: Vec<&[u8]> = cells[..k].iter().map(Vec::as_slice).collect();
            let checked: Vec<&[u8]> = cells[k..].iter().map(Vec::as_slice).collect();
            let mut parity = cells[k..].to_vec();
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            let survivors: Vec<Option<&[u8]>> =
                (0..cells.len()).map(|i| (i >= most).then_some(cells[i].as_slice())).collect();
            let mut rebuilt = vec![vec![0; 4096]; most];
            let rebuilt = rebuilt.iter_mut().enumerate();
            let mut lost: Vec<Lost<'_>> =
                rebuilt.map(|(cell, bytes)| Lost { cell, bytes }).collect();
            let mut sums = Checksums::new(&codec.descriptor());
            let mut round = |codec: &mut Codec| {
                every_operation(codec, &data, &mut parity, &survivors, &mut lost, &mut sums);
                codec.verify(&data, &checked).unwrap();
            };
            round(&mut codec);
            let before = ALLOCATIONS.get();
            for _ in 0..10 {
                round(&mut codec);
            }
            assert_eq!(ALLOCATIONS.get() - before, 0, "{text} on {kernel}");
        }
    }
}

#[test]
fn a_pattern_never_seen_before_allocates_nothing() {
    for text in ["4+2", "10+4", "8+12", "lrc12+2+2", "3x"] {
        for kernel in Kernel::available() {
            let mut codec = codec(text, 256, kernel);
            let cells = stripe(&mut codec, &mut Random(1));
            let most = codec.descriptor().scheme().tolerated_losses();
            let mut buffers = vec![vec![0; 256]; most];
            for lost in (1..=most.min(4)).flat_map(|count| choices(count, cells.len())) {
                let survivors: Vec<Option<&[u8]>> = (0..cells.len())
                    .map(|i| (!lost.contains(&i)).then_some(cells[i].as_slice()))
                    .collect();
                let mut wanted: Vec<Lost<'_>> = lost
                    .iter()
                    .zip(&mut buffers)
                    .map(|(&cell, bytes)| Lost { cell, bytes })
                    .collect();
                let before = ALLOCATIONS.get();
                codec.reconstruct(&survivors, &mut wanted).unwrap();
                assert_eq!(ALLOCATIONS.get() - before, 0, "{text} on {kernel} without {lost:?}");
            }
        }
    }
}
