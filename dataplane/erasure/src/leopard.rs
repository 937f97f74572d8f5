//! Codec 2: the Leopard code of `reed-solomon-simd`, for stripes of more than 256 cells.
//!
//! Its bytes depend on which of two rates coded them, so the rate is part of the descriptor and
//! the rule that chooses it is ours. Chunks of 64 bytes are coded independently of each other,
//! which lets a stripe be worked on in slices; cells are whole chunks.
//!
//! Two properties of the library shape this file. It copies every cell into work space of its
//! own. And each decode begins with a transform over 65,536 elements that depends only on which
//! cells are lost: here its result is computed for the cells alone where that is faster
//! ([`locate`]) and kept from one decode to the next ([`Located`]), so that a slice after the
//! first, or a stripe with the same loss pattern, does not pay for it again.

use crate::codec::Lost;
use reed_solomon_simd::engine::tables::get_exp_log;
use reed_solomon_simd::engine::{
    DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, ShardsRefMut,
};
use reed_solomon_simd::rate::{
    HighRate, HighRateDecoder, HighRateEncoder, LowRate, LowRateDecoder, LowRateEncoder, Rate as _,
    RateDecoder, RateEncoder,
};
use std::cell::RefCell;
use std::ops::Range;

/// Which of the two Leopard constructions coded a stripe, as recorded in its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Rate {
    /// The construction for more data than parity cells.
    High = 1,
    /// The construction for more parity than data cells.
    Low = 2,
}

impl Rate {
    /// The rate of that geometry: frozen, as stored bytes depend on it. Of two that round up to
    /// the same power of two, the seemingly wrong one decodes faster.
    pub(crate) fn of(data: u16, parity: u16) -> Rate {
        let (data_pow2, parity_pow2) =
            (u32::from(data).next_power_of_two(), u32::from(parity).next_power_of_two());
        match data_pow2.cmp(&parity_pow2) {
            std::cmp::Ordering::Less => Rate::Low,
            std::cmp::Ordering::Greater => Rate::High,
            std::cmp::Ordering::Equal if data <= parity => Rate::High,
            std::cmp::Ordering::Equal => Rate::Low,
        }
    }

    /// Whether the code exists for that geometry.
    pub(crate) fn supports(data: u16, parity: u16) -> bool {
        let (data_cells, parity_cells) = (data.into(), parity.into());
        data > 0
            && parity > 0
            && match Rate::of(data, parity) {
                Rate::High => HighRate::<Located>::supports(data_cells, parity_cells),
                Rate::Low => LowRate::<Located>::supports(data_cells, parity_cells),
            }
    }
}

/// The library's engine, with the last error locator kept.
struct Located(DefaultEngine);

/// The last loss pattern of this thread and its locator.
struct Locator {
    truncated: usize,
    erasures: Vec<GfElement>,
    logarithms: Vec<GfElement>,
}

thread_local! {
    // The library asks for locators by a function without a receiver: there is no other place.
    static LAST: RefCell<Locator> =
        const { RefCell::new(Locator { truncated: 0, erasures: Vec::new(), logarithms: Vec::new() }) };
}

impl Engine for Located {
    fn fft(&self, cells: &mut ShardsRefMut, at: usize, size: usize, truncated: usize, skew: usize) {
        self.0.fft(cells, at, size, truncated, skew);
    }

    fn ifft(
        &self,
        cells: &mut ShardsRefMut,
        at: usize,
        size: usize,
        truncated: usize,
        skew: usize,
    ) {
        self.0.ifft(cells, at, size, truncated, skew);
    }

    fn mul(&self, x: &mut [[u8; 64]], logarithm: GfElement) {
        self.0.mul(x, logarithm);
    }

    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated: usize) {
        LAST.with_borrow_mut(|last| {
            if last.truncated != truncated || last.erasures != *erasures {
                last.truncated = truncated;
                last.erasures.clear();
                last.erasures.extend_from_slice(erasures);
                if !locate(erasures, truncated) {
                    DefaultEngine::eval_poly(erasures, truncated);
                }
                last.logarithms.clear();
                last.logarithms.extend_from_slice(erasures);
            } else {
                erasures.copy_from_slice(&last.logarithms);
            }
        });
    }
}

/// Look-ups that [`locate`] makes at most: as long as the transform takes.
const LOOK_UPS_MAX: usize = 400_000;

/// What `eval_poly` computes, at the places that belong to cells: for each place x the logarithm
/// of the product of x ^ e over all erased places e. The transform does so for all 65,536 places,
/// in 200 µs; a few hundred cells are sooner done one by one. False, and nothing done, if they
/// are not.
fn locate(erasures: &mut [GfElement; GF_ORDER], truncated: usize) -> bool {
    // The low rate marks all places after its cells as erased. The product over all places being
    // 1, that over the erased ones is the inverse of that over the others.
    let inverted = erasures[GF_ORDER - 1] == 1;
    let places = match erasures.iter().rposition(|&erased| erased == 0) {
        Some(last) if inverted => last + 1,
        _ => truncated,
    };
    let listed = GfElement::from(!inverted);
    let count = erasures[..places].iter().filter(|&&erased| erased == listed).count();
    if places * count > LOOK_UPS_MAX {
        return false;
    }
    let log = &get_exp_log().log;
    // No more places than that can have been listed, or the look-ups would be too many.
    let mut list = [0u16; 1 << 10];
    let Some(list) = list.get_mut(..count) else { return false };
    let found = (0..places).filter(|&place| erasures[place] == listed);
    list.iter_mut().zip(found).for_each(|(slot, place)| *slot = place as u16);
    for place in 0..places {
        let sum: u64 = list.iter().map(|&other| u64::from(log[place ^ usize::from(other)])).sum();
        // A place has no part in its own product, but 0 has an entry among the logarithms.
        let own = if erasures[place] == listed { u64::from(log[0]) } else { 0 };
        let sum = ((sum - own) % u64::from(GF_MODULUS)) as GfElement;
        erasures[place] = if inverted { GF_MODULUS - sum } else { sum };
    }
    true
}

enum Encoder {
    High(HighRateEncoder<Located>),
    Low(LowRateEncoder<Located>),
}

enum Decoder {
    High(HighRateDecoder<Located>),
    Low(LowRateDecoder<Located>),
}

/// Calls the same method on whichever rate it is.
macro_rules! either {
    ($kind:ident, $of:expr, $inner:ident => $call:expr) => {
        match $of {
            $kind::High($inner) => $call,
            $kind::Low($inner) => $call,
        }
    };
}

/// Why the library can't refuse: shapes are checked before it is asked.
const CHECKED: &str = "the geometry and the cells were checked";

/// The code and its work space.
pub(crate) struct Leopard {
    data: usize,
    parity: usize,
    encoder: Encoder,
    encoder_bytes: usize,
    decoder: Decoder,
    decoder_bytes: usize,
    zeros: Vec<u8>,
}

impl Leopard {
    /// Work space for stripes of that geometry, which must be supported.
    pub(crate) fn new(data: u16, parity: u16) -> Leopard {
        let engine = || Located(DefaultEngine::new());
        let (k, m) = (usize::from(data), usize::from(parity));
        let (encoder, decoder) = match Rate::of(data, parity) {
            Rate::High => (
                Encoder::High(HighRateEncoder::new(k, m, 64, engine(), None).expect(CHECKED)),
                Decoder::High(HighRateDecoder::new(k, m, 64, engine(), None).expect(CHECKED)),
            ),
            Rate::Low => (
                Encoder::Low(LowRateEncoder::new(k, m, 64, engine(), None).expect(CHECKED)),
                Decoder::Low(LowRateDecoder::new(k, m, 64, engine(), None).expect(CHECKED)),
            ),
        };
        Leopard {
            data: k,
            parity: m,
            encoder,
            encoder_bytes: 64,
            decoder,
            decoder_bytes: 64,
            zeros: Vec::new(),
        }
    }

    /// Computes all parity cells over `columns` and hands each to `parity`.
    pub(crate) fn encode<'a>(
        &mut self,
        data: impl Fn(usize) -> &'a [u8],
        columns: Range<usize>,
        mut parity: impl FnMut(usize, &[u8]),
    ) {
        let (k, m) = (self.data, self.parity);
        if self.encoder_bytes != columns.len() {
            self.encoder_bytes = columns.len();
            either!(Encoder, &mut self.encoder, e => e.reset(k, m, columns.len())).expect(CHECKED);
        }
        for cell in 0..k {
            let bytes = &data(cell)[columns.clone()];
            either!(Encoder, &mut self.encoder, e => e.add_original_shard(bytes)).expect(CHECKED);
        }
        let result = either!(Encoder, &mut self.encoder, e => e.encode()).expect(CHECKED);
        for (cell, bytes) in result.recovery_iter().enumerate() {
            parity(cell, bytes);
        }
    }

    /// Adds what `delta` in data cell `cell` changes to every parity cell.
    pub(crate) fn update(
        &mut self,
        cell: usize,
        delta: &[u8],
        columns: Range<usize>,
        parity: &mut [&mut [u8]],
    ) {
        // The code is linear: parity of the change is the change of parity.
        let mut zeros = std::mem::take(&mut self.zeros);
        zeros.resize(columns.len().max(zeros.len()), 0);
        let delta = &delta[columns.clone()];
        let change = |c| if c == cell { delta } else { &zeros[..columns.len()] };
        self.encode(change, 0..columns.len(), |p, bytes| {
            for (old, new) in parity[p][columns.clone()].iter_mut().zip(bytes) {
                *old ^= new;
            }
        });
        self.zeros = zeros;
    }

    /// Makes the error locator for those survivors; whether it was not the last one made.
    pub(crate) fn locate(&mut self, survivors: &[Option<&[u8]>]) -> bool {
        let (k, m) = (self.data, self.parity);
        let missing = survivors[..k].iter().filter(|cell| cell.is_none()).count();
        if missing == 0 {
            return false;
        }
        // The places of the library: the smaller kind of cell, up to a power of two, then the
        // other. Were they others, all that is lost is what was made here.
        let high = matches!(self.decoder, Decoder::High(_));
        let first = if high { m } else { k };
        let second_at = first.next_power_of_two();
        let end = second_at + k + m - first;
        let mut erasures = [0; GF_ORDER];
        erasures[first..second_at].fill(high.into());
        erasures[end..].fill((!high).into());
        let (data_at, parity_at) = if high { (second_at, 0) } else { (0, second_at) };
        for (cell, bytes) in survivors[..k].iter().enumerate() {
            erasures[data_at + cell] = bytes.is_none().into();
        }
        let mut needed = missing;
        for (cell, bytes) in survivors[k..].iter().enumerate() {
            let used = bytes.is_some() && needed > 0;
            needed -= usize::from(used);
            erasures[parity_at + cell] = (!used).into();
        }
        let truncated = if high { end } else { GF_ORDER };
        let is_kept = |last: &Locator| last.truncated == truncated && last.erasures == erasures;
        if LAST.with_borrow(is_kept) {
            return false;
        }
        Located::eval_poly(&mut erasures, truncated);
        true
    }

    /// Rebuilds `lost`, sorted and none of which is among `survivors`, over `columns`. At least as many
    /// cells as there are data cells must survive.
    pub(crate) fn reconstruct(
        &mut self,
        survivors: &[Option<&[u8]>],
        lost: &mut [Lost<'_>],
        columns: Range<usize>,
    ) {
        let (k, m, bytes) = (self.data, self.parity, columns.len());
        if self.decoder_bytes != bytes {
            self.decoder_bytes = bytes;
            either!(Decoder, &mut self.decoder, d => d.reset(k, m, bytes)).expect(CHECKED);
        }
        let mut parities = k;
        for (cell, bytes) in survivors[..k].iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            parities -= 1;
            let bytes = &bytes[columns.clone()];
            either!(Decoder, &mut self.decoder, d => d.add_original_shard(cell, bytes))
                .expect(CHECKED);
        }
        let spare = survivors[k..].iter().enumerate().filter_map(|(p, bytes)| Some((p, (*bytes)?)));
        for (cell, bytes) in spare.take(parities) {
            let bytes = &bytes[columns.clone()];
            either!(Decoder, &mut self.decoder, d => d.add_recovery_shard(cell, bytes))
                .expect(CHECKED);
        }
        let result = either!(Decoder, &mut self.decoder, d => d.decode()).expect(CHECKED);
        let data = |cell: usize| match survivors[cell] {
            Some(bytes) => &bytes[columns.clone()],
            None => result.restored_original(cell).expect("every lost data cell is restored"),
        };
        let (lost_data, lost_parity) = lost.split_at_mut(lost.partition_point(|l| l.cell < k));
        for lost in lost_data {
            lost.bytes[columns.clone()].copy_from_slice(data(lost.cell));
        }
        if lost_parity.is_empty() {
            return;
        }
        if self.encoder_bytes != bytes {
            self.encoder_bytes = bytes;
            either!(Encoder, &mut self.encoder, e => e.reset(k, m, bytes)).expect(CHECKED);
        }
        for cell in 0..k {
            either!(Encoder, &mut self.encoder, e => e.add_original_shard(data(cell)))
                .expect(CHECKED);
        }
        let encoded = either!(Encoder, &mut self.encoder, e => e.encode()).expect(CHECKED);
        for lost in lost_parity {
            let bytes = encoded.recovery(lost.cell - k).expect("every parity cell is encoded");
            lost.bytes[columns.clone()].copy_from_slice(bytes);
        }
    }
}

impl std::fmt::Debug for Leopard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leopard({}+{})", self.data, self.parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the library's decoders call it: k + m cells in their places, of which some are lost.
    #[test]
    fn places_are_those_of_the_transform() {
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        for (k, m, rate) in [
            (290usize, 10usize, Rate::High),
            (500, 30, Rate::High),
            (20, 300, Rate::Low),
            (128, 129, Rate::Low),
        ] {
            let (first, second) = if rate == Rate::High { (m, k) } else { (k, m) };
            let (chunk, end) = (first.next_power_of_two(), first.next_power_of_two() + second);
            let mut erasures = [0; GF_ORDER];
            for _ in 0..m {
                let cell = below(k + m);
                erasures[if cell < first { cell } else { chunk + cell - first }] = 1;
            }
            let truncated = match rate {
                Rate::High => {
                    erasures[first..chunk].fill(1);
                    end
                }
                Rate::Low => {
                    erasures[end..].fill(1);
                    GF_ORDER
                }
            };
            let mut transformed = erasures;
            DefaultEngine::eval_poly(&mut transformed, truncated);
            let received = erasures;
            assert!(locate(&mut erasures, truncated), "{k}+{m}");
            for place in (0..first).chain(chunk..end) {
                // Lost parity is never looked at.
                let parity = (place < first) == (rate == Rate::High);
                if !(parity && received[place] == 1) {
                    let (a, b) = (erasures[place] % GF_MODULUS, transformed[place] % GF_MODULUS);
                    assert_eq!(a, b, "{k}+{m} at {place}");
                }
            }
        }
        let mut half = std::array::from_fn(|place| (place % 2) as GfElement);
        assert!(!locate(&mut half, GF_ORDER), "too many");
    }

    /// Had the decoder asked for another locator, that would be the last one now.
    #[test]
    fn the_locator_made_ahead_is_the_one_that_decoding_asks_for() {
        for (k, m) in [(290usize, 10usize), (20, 300)] {
            let mut leopard = Leopard::new(k as u16, m as u16);
            let cells = vec![vec![0u8; 64]; k + m];
            let lost = |cell: usize| [3, 7, k, k + 4].contains(&cell);
            let survivors: Vec<Option<&[u8]>> = cells
                .iter()
                .enumerate()
                .map(|(cell, bytes)| (!lost(cell)).then_some(bytes.as_slice()))
                .collect();
            assert!(leopard.locate(&survivors), "{k}+{m}");
            let mut rebuilt = vec![1u8; 64];
            leopard.reconstruct(&survivors, &mut [Lost { cell: 7, bytes: &mut rebuilt }], 0..64);
            assert_eq!(rebuilt, [0; 64]);
            assert!(!leopard.locate(&survivors), "{k}+{m}");
        }
    }

    #[test]
    fn rates_are_those_of_the_library() {
        // The library's own choice is not public: its bytes tell.
        for (k, m) in [(300, 40), (40, 300), (200, 130), (130, 200), (129, 128), (5, 8), (8, 5)] {
            let cells: Vec<Vec<u8>> =
                (0..k).map(|i| (0..64).map(|b| (i * 37 + b * 11) as u8).collect()).collect();
            let theirs = reed_solomon_simd::encode(k, m, &cells).unwrap();
            let mut ours = Vec::new();
            Leopard::new(k as u16, m as u16).encode(
                |cell| cells[cell].as_slice(),
                0..64,
                |_, bytes| ours.push(bytes.to_vec()),
            );
            assert_eq!(ours, theirs, "{k}+{m}");
        }
    }
}
