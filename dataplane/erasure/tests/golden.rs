//! The bytes of every codec, for ever: a stripe on a disk was written by some version of this
//! code, and every later one must read it. If one of these vectors fails, the change that made
//! it fail must go, not the vector: new bytes need a new codec id or matrix version.

mod support;

use isotherm_erasure::{Kernel, crc32c};
use support::{Random, codec, stripe};

fn parity_of(text: &str, cell_bytes: usize, kernel: Kernel) -> Vec<Vec<u8>> {
    let mut codec = codec(text, cell_bytes, kernel);
    let k = codec.descriptor().scheme().data_cells();
    stripe(&mut codec, &mut Random(0x15_07_4E_12)).split_off(k)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parity of cells of eight bytes, in full.
const SHORT: &[(&str, &[&str])] = &[
    ("3x", &["ec6427b74133606a", "ec6427b74133606a"]),
    ("4+2", &["3a4fd52b24ca2568", "f32a75dd3de12a37"]),
    ("8+3", &["c8b9940f4bdba221", "7aa79fa30f248b2b", "59ea38314a155c07"]),
    ("10+4", &["db1f5f8724f42744", "45e4265a569664af", "9c7ebf2758651505", "46dad016ec17ed47"]),
    (
        "lrc12+2+2",
        &["a4b8c69e5011682c", "82b030fdb5a53cb5", "77c03b8cbfe3326f", "a952e5034e3dddaa"],
    ),
];

/// CRC32C of all parity cells one after the other, of cells of the given length.
const LONG: &[(&str, usize, u32)] = &[
    ("3x", 1000, 0x36b52014),
    ("4+2", 4096, 0x1b92dc62),
    ("6+3", 4096, 0xed1bc061),
    ("8+3", 4096, 0x25977b8f),
    ("8+4", 4096, 0x293a6fc0),
    ("10+4", 4096, 0x197b2f62),
    ("10+4", 65536, 0x794f7938),
    ("17+3", 4096, 0x766e2482),
    ("20+8", 4096, 0x9c62f2d6),
    ("32+8", 4096, 0xda83954f),
    ("100+30", 512, 0x2653ad7e),
    ("128+128", 512, 0xe2e656db),
    ("lrc12+2+2", 4096, 0xd0b63cf2),
    ("lrc16+4+3", 1000, 0x7521af2f),
    ("leopard10+4", 1024, 0xa93086d5),
    ("250+10", 512, 0x2df5f0fa),
    ("40+300", 512, 0xfd221e14),
    ("200+130", 192, 0x87329194),
];

#[test]
fn short_vectors() {
    for &(text, expected) in SHORT {
        for kernel in Kernel::available() {
            let parity: Vec<String> =
                parity_of(text, 8, kernel).iter().map(|cell| hex(cell)).collect();
            assert_eq!(parity, expected, "{text} on {kernel}");
        }
    }
}

#[test]
fn long_vectors() {
    for &(text, cell_bytes, expected) in LONG {
        for kernel in Kernel::available() {
            let parity = parity_of(text, cell_bytes, kernel).concat();
            let found = crc32c(&parity);
            assert_eq!(found, expected, "{text} of {cell_bytes} on {kernel}: {found:#010x}");
        }
    }
}

/// Two bytes of 2+2 by pencil: p = a ^ b, q = C(1,0)·a ^ C(1,1)·b with C(1,0) = 255/254 and
/// C(1,1) = 254/255.
#[test]
fn a_stripe_by_pencil() {
    let mut codec = codec("2+2", 1, Kernel::Scalar);
    let mut encode = |a: u8, b: u8| {
        let (mut p, mut q) = ([0], [0]);
        codec.encode(&[&[a], &[b]], &mut [&mut p, &mut q]).unwrap();
        (p[0], q[0])
    };
    // 254·c = 255 and 255·d = 254, checked by shifting and adding.
    let slow = |a: u8, b: u8| {
        let mut product =
            (0..8).fold(0u16, |sum, i| sum ^ ((u16::from(a) << i) * u16::from(b >> i & 1)));
        for i in (8..16).rev() {
            product ^= (0x11D << (i - 8)) * (product >> i & 1);
        }
        product as u8
    };
    let ((one, c), (other, d)) = (encode(1, 0), encode(0, 1));
    assert_eq!((one, other), (1, 1));
    assert_eq!((slow(254, c), slow(255, d)), (255, 254));
}
