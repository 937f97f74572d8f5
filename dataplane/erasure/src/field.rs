//! GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D) and the generator 2.
//!
//! Every stripe on every disk is written in this field: the tables below may never change.
//! They are computed at compile time from the polynomial alone, and a test multiplies bit by
//! bit to check all 65,536 products.

/// The field's polynomial, its x^8 term included.
pub(crate) const POLYNOMIAL: u16 = 0x11D;

/// `EXP[i]` is 2^i; written twice over so that a sum of two logarithms needs no reduction.
static EXP: [u8; 512] = exponentials();
/// `LOG[x]` is the i < 255 with 2^i = x. `LOG[0]` is never read.
static LOG: [u8; 256] = logarithms();

/// `PRODUCT[a][b]` is a·b.
pub(crate) static PRODUCT: [[u8; 256]; 256] = products();

/// `AFFINE[c]` is multiplication by c as the 8×8 bit matrix that GF2P8AFFINEQB takes.
///
/// The instruction computes bit i of its result as the parity of (byte 7-i of the matrix AND
/// the operand), so byte 7-i holds, at bit j, bit i of c·2^j.
pub(crate) static AFFINE: [u64; 256] = affine_matrices();

/// `NIBBLES[c]` is c·n for the sixteen low nibbles n, then c·(n << 4) for the high ones, as
/// four little-endian words: two tables for a byte shuffle.
pub(crate) static NIBBLES: [[u64; 4]; 256] = nibble_tables();

/// a·b.
pub(crate) const fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[LOG[a as usize] as usize + LOG[b as usize] as usize]
}

/// 1/a.
///
/// # Panics
/// If `a` is 0.
pub(crate) const fn inv(a: u8) -> u8 {
    assert!(a != 0, "0 has no inverse");
    EXP[255 - LOG[a as usize] as usize]
}

/// The i < 255 with 2^i = a.
///
/// # Panics
/// If `a` is 0.
pub(crate) fn log(a: u8) -> u32 {
    assert!(a != 0, "0 is no power of 2");
    LOG[a as usize].into()
}

/// 2^exponent.
pub(crate) fn exp(exponent: u32) -> u8 {
    EXP[(exponent % 255) as usize]
}

/// `target[i] ^= factor · row[i]`, for the short rows of coefficient matrices.
pub(crate) fn add_scaled(target: &mut [u8], factor: u8, row: &[u8]) {
    if factor == 0 {
        return;
    }
    let products = &PRODUCT[factor as usize];
    for (t, &r) in target.iter_mut().zip(row) {
        *t ^= products[r as usize];
    }
}

const fn exponentials() -> [u8; 512] {
    let mut exp = [0u8; 512];
    let mut x = 1u16;
    let mut i = 0;
    while i < 512 {
        exp[i] = x as u8;
        x <<= 1;
        if x & 0x100 != 0 {
            x ^= POLYNOMIAL;
        }
        i += 1;
    }
    exp
}

const fn logarithms() -> [u8; 256] {
    let mut log = [0u8; 256];
    let mut i = 0;
    while i < 255 {
        log[EXP[i] as usize] = i as u8;
        i += 1;
    }
    log
}

const fn products() -> [[u8; 256]; 256] {
    let mut table = [[0u8; 256]; 256];
    let mut a = 1;
    while a < 256 {
        let mut b = 1;
        while b < 256 {
            table[a][b] = EXP[LOG[a] as usize + LOG[b] as usize];
            b += 1;
        }
        a += 1;
    }
    table
}

const fn affine_matrices() -> [u64; 256] {
    let mut matrices = [0u64; 256];
    let mut c = 0;
    while c < 256 {
        let mut i = 0;
        while i < 8 {
            let mut j = 0;
            while j < 8 {
                let bit = (mul(c as u8, 1 << j) >> i) & 1;
                matrices[c] |= (bit as u64) << ((7 - i) * 8 + j);
                j += 1;
            }
            i += 1;
        }
        c += 1;
    }
    matrices
}

const fn nibble_tables() -> [[u64; 4]; 256] {
    let mut tables = [[0u64; 4]; 256];
    let mut c = 0;
    while c < 256 {
        let mut n = 0;
        while n < 16 {
            let (low, high) = (mul(c as u8, n as u8), mul(c as u8, (n << 4) as u8));
            tables[c][n / 8] |= (low as u64) << (n % 8 * 8);
            tables[c][2 + n / 8] |= (high as u64) << (n % 8 * 8);
            n += 1;
        }
        c += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shift and add, reducing as the school book says: shares nothing with the tables.
    fn slow_mul(a: u8, b: u8) -> u8 {
        let mut product = 0u16;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= POLYNOMIAL << (bit - 8);
            }
        }
        product as u8
    }

    #[test]
    fn every_product_and_every_form_of_it() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let want = slow_mul(a, b);
                assert_eq!(mul(a, b), want);
                assert_eq!(PRODUCT[a as usize][b as usize], want);
                let mut affine = 0u8;
                for i in 0..8 {
                    let row = (AFFINE[a as usize] >> ((7 - i) * 8)) as u8;
                    affine |= ((row & b).count_ones() as u8 & 1) << i;
                }
                assert_eq!(affine, want);
                let tables = &NIBBLES[a as usize];
                let nibble = |t: usize, n: usize| (tables[t + n / 8] >> (n % 8 * 8)) as u8;
                assert_eq!(nibble(0, (b & 15) as usize) ^ nibble(2, (b >> 4) as usize), want);
            }
            if a != 0 {
                assert_eq!(slow_mul(a, inv(a)), 1);
                assert_eq!((exp(log(a)), exp(log(a) + 255 * 3)), (a, a));
            }
        }
    }
}
