//! Loss patterns decode to the exact bytes, under every kernel that runs here.
//!
//! Every pattern of the small geometries is tried and 2,000 random ones of the large;
//! `ISOTHERM_SOAK=1` tries 40,000 of each, and every one of a few more geometries.

mod support;

use isotherm_erasure::{Kernel, ReconstructError};
use support::{Random, choices, codec, rebuild, soak, stripe};

/// Odd, so that every kernel also runs its tail; and large enough for its widest step.
const CELL_BYTES: usize = 256 + 64 + 37;

fn must_rebuild(text: &str, kernel: Kernel, cells: &[Vec<u8>], patterns: &[Vec<usize>]) {
    let mut codec = codec(text, cells[0].len(), kernel);
    for lost in patterns {
        let rebuilt = rebuild(&mut codec, cells, lost, lost)
            .unwrap_or_else(|error| panic!("{text} on {kernel} without {lost:?}: {error}"));
        for (cell, bytes) in lost.iter().zip(&rebuilt) {
            assert_eq!(bytes, &cells[*cell], "{text} on {kernel}: cell {cell} of {lost:?}");
        }
    }
}

fn made_by_scalar(text: &str, cell_bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    stripe(&mut codec(text, cell_bytes, Kernel::Scalar), &mut Random(seed))
}

#[test]
fn every_pattern_of_the_small_geometries() {
    let small = [("3x", 3, 2), ("4+2", 6, 2), ("8+3", 11, 3), ("10+4", 14, 4)];
    let more = [("6+3", 9, 3), ("8+4", 12, 4), ("17+3", 20, 3), ("16+5", 21, 5)];
    for (text, n, m) in small.into_iter().chain(more.into_iter().filter(|_| soak())) {
        let patterns: Vec<_> = (0..=m).flat_map(|lost| choices(lost, n)).collect();
        if text == "10+4" {
            assert_eq!(patterns.iter().filter(|p| p.len() == 4).count(), 1001);
        }
        let cells = made_by_scalar(text, CELL_BYTES, 1);
        for kernel in Kernel::available() {
            must_rebuild(text, kernel, &cells, &patterns);
        }
    }
}

#[test]
fn random_patterns_of_the_large_geometries() {
    let seed = 20_260_101;
    println!("seed {seed}");
    for text in ["6+3", "8+4", "17+3", "20+8", "32+8", "16+16", "3+5", "100+30"] {
        let mut random = Random(seed);
        let cells = made_by_scalar(text, CELL_BYTES, seed);
        let (k, m) = text.split_once('+').unwrap();
        let (k, m): (usize, usize) = (k.parse().unwrap(), m.parse().unwrap());
        let count = if k >= 100 { 200 } else { 2000 };
        let count = if soak() { 20 * count } else { count };
        let patterns: Vec<_> = (0..count)
            .map(|i| {
                // Half of them lose all that may be lost.
                let lost = if i % 2 == 0 { m } else { 1 + random.below(m) };
                random.pattern(lost, k + m)
            })
            .collect();
        for kernel in Kernel::available() {
            must_rebuild(text, kernel, &cells, &patterns);
        }
    }
}

#[test]
fn lrc_solves_all_that_any_such_code_could() {
    let cells = made_by_scalar("lrc12+2+2", CELL_BYTES, 3);
    let mut four = choices(4, 16);
    assert_eq!(four.len(), 1820);
    let solvable = |lost: &Vec<usize>| {
        // Each group solves one loss of its own by its local parity, the globals the rest.
        let globals = 2 - lost.iter().filter(|&&cell| cell >= 14).count();
        let beyond_local = |group: usize| {
            let data = lost.iter().filter(|&&cell| cell < 12 && cell / 6 == group).count();
            data.saturating_sub(usize::from(!lost.contains(&(12 + group))))
        };
        beyond_local(0) + beyond_local(1) <= globals
    };
    let hopeless: Vec<_> = four.iter().filter(|lost| !solvable(lost)).cloned().collect();
    four.retain(solvable);
    assert_eq!(four.len(), 1568);
    let patterns: Vec<_> = (0..4).flat_map(|lost| choices(lost, 16)).chain(four).collect();
    for kernel in Kernel::available() {
        must_rebuild("lrc12+2+2", kernel, &cells, &patterns);
    }
    let mut codec = codec("lrc12+2+2", CELL_BYTES, Kernel::fastest());
    for lost in hopeless {
        let error = rebuild(&mut codec, &cells, &lost, &lost).unwrap_err();
        assert!(matches!(error, ReconstructError::TooFewCells { survivors: 12, .. }), "{lost:?}");
    }
}

#[test]
fn leopard_patterns() {
    let seed = 7;
    println!("seed {seed}");
    let mut random = Random(seed);
    for text in ["250+10", "40+300", "leopard10+4"] {
        let mut codec = codec(text, 192, Kernel::Scalar);
        let cells = stripe(&mut codec, &mut random);
        let (n, m) =
            (codec.descriptor().scheme().cells(), codec.descriptor().scheme().parity_cells());
        for i in 0..20 {
            let count = if i == 0 { m } else { 1 + random.below(m) };
            let lost = random.pattern(count, n);
            let rebuilt = rebuild(&mut codec, &cells, &lost, &lost).unwrap();
            for (cell, bytes) in lost.iter().zip(&rebuilt) {
                assert_eq!(bytes, &cells[*cell], "{text}: cell {cell} of {lost:?}");
            }
        }
        let lost = random.pattern(m + 1, n);
        assert!(matches!(
            rebuild(&mut codec, &cells, &lost, &lost),
            Err(ReconstructError::TooFewCells { .. })
        ));
    }
}

#[test]
fn only_what_is_needed_from_any_that_suffice() {
    let seed = 11;
    println!("seed {seed}");
    let mut random = Random(seed);
    for text in ["10+4", "20+8", "lrc12+2+2", "3x"] {
        for kernel in Kernel::available() {
            let mut codec = codec(text, CELL_BYTES, kernel);
            let cells = stripe(&mut codec, &mut random);
            let (n, most) = (cells.len(), codec.descriptor().scheme().tolerated_losses());
            for _ in 0..100 {
                let count = 1 + random.below(most);
                let missing = random.pattern(count, n);
                let wanted: Vec<_> =
                    missing.iter().copied().filter(|_| random.below(2) == 0).collect();
                let rebuilt = rebuild(&mut codec, &cells, &missing, &wanted).unwrap();
                for (cell, bytes) in wanted.iter().zip(&rebuilt) {
                    assert_eq!(bytes, &cells[*cell], "{text}: {wanted:?} of {missing:?}");
                }
            }
        }
    }
}
