//! What doesn't have the stripe's shape is refused, by name, and nothing is written.

mod support;

use isotherm_erasure::{
    Checksums, Codec, Descriptor, Kernel, Lost, ReconstructError, ShapeError, VerifyError,
};
use support::codec;

fn four_plus_two() -> Codec {
    codec("4+2", 100, Kernel::fastest())
}

#[test]
fn encode_refuses() {
    let (cell, short) = (vec![1u8; 100], vec![1u8; 99]);
    let mut codec = four_plus_two();
    let (mut p, mut q) = (vec![7u8; 100], vec![7u8; 100]);
    let mut encode = |data: &[&[u8]], parity: &mut [&mut [u8]]| codec.encode(data, parity);
    let three: [&[u8]; 3] = [&cell; 3];
    assert_eq!(
        encode(&three, &mut [&mut p, &mut q]),
        Err(ShapeError::CellCount { expected: 4, found: 3 })
    );
    let ragged: [&[u8]; 4] = [&cell, &cell, &short, &cell];
    assert_eq!(
        encode(&ragged, &mut [&mut p, &mut q]),
        Err(ShapeError::CellLength { cell: 2, expected: 100, found: 99 })
    );
    let four: [&[u8]; 4] = [&cell; 4];
    assert_eq!(encode(&four, &mut [&mut p]), Err(ShapeError::CellCount { expected: 2, found: 1 }));
    assert_eq!(
        encode(&four, &mut [&mut p, &mut q[..50]]),
        Err(ShapeError::CellLength { cell: 5, expected: 100, found: 50 })
    );
    assert!(p.iter().chain(&q).all(|&byte| byte == 7));
    assert_eq!(encode(&four, &mut [&mut p, &mut q]), Ok(()));
}

#[test]
fn foreign_checksums_are_refused() {
    let cell = [1u8; 100];
    let (mut p, mut q) = ([0u8; 100], [0u8; 100]);
    for other in ["5+1", "4+3"] {
        let other = Descriptor::new(other.parse().unwrap(), 100).unwrap();
        let result = four_plus_two().encode_with_checksums(
            &[&cell, &cell, &cell, &cell],
            &mut [&mut p, &mut q],
            &mut Checksums::new(&other),
        );
        assert_eq!(result, Err(ShapeError::ForeignChecksums));
    }
}

#[test]
fn update_refuses() {
    let (mut p, mut q) = ([0u8; 100], [0u8; 100]);
    let mut update = |cell, delta: &[u8], length: usize| {
        four_plus_two().update(cell, delta, &mut [&mut p[..length], &mut q[..length]])
    };
    assert_eq!(update(4, &[1; 100], 100), Err(ShapeError::NoSuchCell { cell: 4, cells: 4 }));
    assert_eq!(
        update(0, &[1; 100], 99),
        Err(ShapeError::CellLength { cell: 4, expected: 100, found: 99 })
    );
    assert_eq!(update(3, &[1; 40], 40), Ok(()));
}

#[test]
fn reconstruct_refuses() {
    let cell = [0u8; 100];
    let mut codec = four_plus_two();
    let mut buffers = [[9u8; 100]; 3];
    let mut reconstruct = |survivors: &[usize], wanted: &[usize]| {
        let survivors: Vec<Option<&[u8]>> =
            (0..6).map(|i| survivors.contains(&i).then_some(&cell[..])).collect();
        let mut lost: Vec<Lost<'_>> = wanted
            .iter()
            .zip(&mut buffers)
            .map(|(&cell, bytes)| Lost { cell, bytes: &mut bytes[..] })
            .collect();
        codec.reconstruct(&survivors, &mut lost)
    };
    assert_eq!(
        reconstruct(&[0, 1, 5], &[2]),
        Err(ReconstructError::TooFewCells { cell: 2, survivors: 3 })
    );
    assert_eq!(reconstruct(&[0, 1, 2, 3], &[2, 5]), Err(ReconstructError::NotLost(2)));
    assert_eq!(reconstruct(&[0, 1, 2, 3], &[4, 4]), Err(ReconstructError::WantedTwice(4)));
    assert_eq!(
        reconstruct(&[0, 1, 2, 3], &[6]),
        Err(ReconstructError::Shape(ShapeError::NoSuchCell { cell: 6, cells: 6 }))
    );
    assert_eq!(reconstruct(&[], &[]), Ok(()));
    assert_eq!(reconstruct(&[0, 1, 2, 3], &[4, 5]), Ok(()));
    assert!(buffers[0] == cell && buffers[1] == cell && buffers[2] == [9; 100]);

    let short = [0u8; 10];
    let survivors = [Some(&cell[..]), Some(&short[..]), None, None, None, None];
    assert_eq!(
        codec.reconstruct(&survivors, &mut []),
        Err(ReconstructError::Shape(ShapeError::CellLength { cell: 1, expected: 100, found: 10 }))
    );
}

#[test]
fn verify_refuses() {
    let cell = [0u8; 100];
    assert_eq!(
        four_plus_two().verify(&[&cell, &cell, &cell, &cell], &[&cell]),
        Err(VerifyError::Shape(ShapeError::CellCount { expected: 2, found: 1 }))
    );
}
