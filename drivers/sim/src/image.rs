//! What is on a medium: sparse, and cheap to copy.
//!
//! What must always hold: an image is a value. A copy shares its sectors with the original and
//! neither sees what is written to the other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{BlockSize, Domain, Lba, ZoneGeometry, ZoneId, draw};

use crate::hash64;

/// Sectors a chunk holds: what is copied when one sector of a shared chunk changes.
const CHUNK_SECTORS: u64 = 64;

const NOISE: Domain = Domain::new("sim.image.noise");

/// One physical sector.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Sector {
    /// Never written: reads as the image's [`Blank`].
    #[default]
    Blank,
    /// Written.
    Data(Rc<[u8]>),
    /// Reads as noise, the same each time, that depends on the key.
    Noise(u64),
    /// The medium can't be read here until it is rewritten.
    Unreadable,
}

/// How a medium reads where nothing was ever written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blank {
    /// As zeros.
    Zeros,
    /// As noise of this seed, so that nobody relies on zeros.
    Noise(u64),
}

/// The content of a medium, with the write pointers of its zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    physical: BlockSize,
    blank: Blank,
    chunks: BTreeMap<u64, Rc<Chunk>>,
    zones: Option<ZoneGeometry>,
    pointers: BTreeMap<ZoneId, Lba>,
}

type Chunk = [Sector; CHUNK_SECTORS as usize];

impl Image {
    /// A new medium of sectors of this size.
    #[must_use]
    pub fn new(physical: BlockSize, blank: Blank, zones: Option<ZoneGeometry>) -> Image {
        Image { physical, blank, chunks: BTreeMap::new(), zones, pointers: BTreeMap::new() }
    }

    /// Size of a sector.
    #[must_use]
    pub fn physical(&self) -> BlockSize {
        self.physical
    }

    /// A sector, by its index.
    #[must_use]
    pub fn sector(&self, index: u64) -> &Sector {
        const BLANK: &Sector = &Sector::Blank;
        match self.chunks.get(&(index / CHUNK_SECTORS)) {
            Some(chunk) => &chunk[(index % CHUNK_SECTORS) as usize],
            None => BLANK,
        }
    }

    /// Replaces a sector. Data must be one sector long.
    pub fn set(&mut self, index: u64, sector: Sector) {
        if let Sector::Data(bytes) = &sector {
            assert_eq!(bytes.len(), self.physical.bytes() as usize, "one whole sector");
        }
        let chunk = self
            .chunks
            .entry(index / CHUNK_SECTORS)
            .or_insert_with(|| Rc::new(std::array::from_fn(|_| Sector::Blank)));
        Rc::make_mut(chunk)[(index % CHUNK_SECTORS) as usize] = sector;
    }

    /// The sectors within `range` that are not blank, in order.
    pub fn written(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Sector)> {
        let chunks = range.start / CHUNK_SECTORS..range.end.div_ceil(CHUNK_SECTORS);
        self.chunks.range(chunks).flat_map(move |(&number, chunk)| {
            let range = range.clone();
            (number * CHUNK_SECTORS..).zip(chunk.iter()).filter(move |(index, sector)| {
                range.contains(index) && !matches!(sector, Sector::Blank)
            })
        })
    }

    /// Copies the bytes of a sector from `offset` on; `false` if it can't be read.
    #[must_use]
    pub fn read(&self, index: u64, offset: usize, out: &mut [u8]) -> bool {
        self.render(index, self.sector(index), offset, out)
    }

    /// As [`Image::read`], for a sector that may not be in the image yet.
    pub(crate) fn render(
        &self,
        index: u64,
        sector: &Sector,
        offset: usize,
        out: &mut [u8],
    ) -> bool {
        let key = match (sector, self.blank) {
            (Sector::Data(bytes), _) => {
                out.copy_from_slice(&bytes[offset..offset + out.len()]);
                return true;
            }
            (Sector::Unreadable, _) => return false,
            (Sector::Blank, Blank::Zeros) => {
                out.fill(0);
                return true;
            }
            (Sector::Blank, Blank::Noise(seed)) => seed,
            (Sector::Noise(key), _) => *key,
        };
        noise(draw(key, NOISE, index, 0), offset, out);
        true
    }

    /// A hash of a sector as it reads: equal for sectors that no reader can tell apart.
    pub(crate) fn sector_hash(&self, index: u64, sector: &Sector) -> u64 {
        match sector {
            Sector::Data(bytes) => hash64(bytes),
            Sector::Unreadable => 0xdead,
            Sector::Blank | Sector::Noise(_) => {
                let mut bytes = vec![0; self.physical.bytes() as usize];
                let readable = self.render(index, sector, 0, &mut bytes);
                assert!(readable, "neither blank nor noise is unreadable");
                hash64(&bytes)
            }
        }
    }

    /// The zones, on a host-managed disk.
    #[must_use]
    pub fn zones(&self) -> Option<&ZoneGeometry> {
        self.zones.as_ref()
    }

    /// Up to where a sequential zone is written for good.
    #[must_use]
    pub fn pointer(&self, zone: ZoneId) -> Lba {
        let zones = self.zones.as_ref().expect("a zoned image");
        self.pointers.get(&zone).copied().unwrap_or_else(|| zones.start(zone))
    }

    /// The sequential zones that are not empty, with their write pointers.
    pub fn pointers(&self) -> impl Iterator<Item = (ZoneId, Lba)> {
        self.pointers.iter().map(|(&zone, &pointer)| (zone, pointer))
    }

    /// Sets a zone's write pointer and forgets what lies beyond it.
    pub(crate) fn set_pointer(&mut self, zone: ZoneId, pointer: Lba) {
        let zones = self.zones.as_ref().expect("a zoned image");
        let start = zones.start(zone);
        // A block of a zoned disk is a whole sector: asserted where the disk is made.
        self.forget(pointer.0..start.0 + zones.zone_blocks);
        if pointer == start {
            self.pointers.remove(&zone);
        } else {
            self.pointers.insert(zone, pointer);
        }
    }

    /// Makes sectors blank again.
    pub(crate) fn forget(&mut self, sectors: Range<u64>) {
        let written: Vec<u64> = self.written(sectors).map(|(index, _)| index).collect();
        for index in written {
            self.set(index, Sector::Blank);
        }
    }

    /// Puts a durable sector: in a sequential zone the write pointer is then past it.
    pub(crate) fn settle(&mut self, index: u64, sector: Sector) {
        self.set(index, sector);
        if let Some(zones) = &self.zones {
            let zone = zones.zone_of(Lba(index));
            if zones.is_sequential(zone) {
                let pointer = self.pointer(zone).max(Lba(index + 1));
                self.pointers.insert(zone, pointer);
            }
        }
    }
}

/// Between two words of noise.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes of a stream that all follow from `base`, from `offset` on.
fn noise(base: u64, offset: usize, out: &mut [u8]) {
    // No two words of a sector are alike. That is all that garbage needs; what can be computed two
    // or more at a time matters more, as most of what a simulated disk reads is this.
    let word = |index: usize| {
        let z = base.wrapping_add((index as u64).wrapping_mul(GOLDEN));
        (z ^ (z >> 29)).to_le_bytes()
    };
    // Up to the next whole word, whole words, and the rest.
    let head = out.len().min(offset.next_multiple_of(8) - offset);
    let within = offset % 8;
    let (first, whole) = out.split_at_mut(head);
    first.copy_from_slice(&word(offset / 8)[within..within + head]);
    let start = offset.div_ceil(8);
    let count = whole.len() / 8;
    let (words, rest) = whole.as_chunks_mut::<8>();
    // Sums instead of products, eight side by side: a processor does these several at a time.
    let (eights, last) = words.as_chunks_mut::<8>();
    let golden = |times: usize| GOLDEN.wrapping_mul(times as u64);
    let mut lanes: [u64; 8] = std::array::from_fn(|lane| base.wrapping_add(golden(start + lane)));
    for eight in eights {
        for (bytes, lane) in eight.iter_mut().zip(&mut lanes) {
            *bytes = (*lane ^ (*lane >> 29)).to_le_bytes();
            *lane = lane.wrapping_add(golden(8));
        }
    }
    for (index, bytes) in (start + count / 8 * 8..).zip(last) {
        *bytes = word(index);
    }
    rest.copy_from_slice(&word(start + count)[..rest.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image::new(BlockSize::B512, Blank::Noise(4), None)
    }

    fn data(byte: u8) -> Sector {
        Sector::Data(Rc::from([byte; 512]))
    }

    #[test]
    fn a_copy_is_its_own_value() {
        let mut one = image();
        one.set(100, data(1));
        let mut two = one.clone();
        two.set(100, data(2));
        two.set(1 << 40, data(3));
        assert_eq!(one.sector(100), &data(1));
        assert_eq!(one.sector(1 << 40), &Sector::Blank);
        assert_eq!(two.sector(100), &data(2));
    }

    #[test]
    fn blank_noise_is_stable_at_any_offset_and_not_zero() {
        let image = image();
        let (mut whole, mut part) = ([0; 512], [0; 100]);
        assert!(image.read(7, 0, &mut whole) && image.read(7, 133, &mut part));
        assert_eq!(whole[133..233], part);
        assert_ne!(whole, [0; 512]);
        let mut other = [0; 512];
        assert!(image.read(8, 0, &mut other));
        assert_ne!(whole, other);
    }

    #[test]
    fn written_lists_the_range_and_no_more() {
        let mut image = image();
        for index in [3, 63, 64, 200] {
            image.set(index, data(index as u8));
        }
        image.set(64, Sector::Blank);
        let listed: Vec<u64> = image.written(4..200).map(|(index, _)| index).collect();
        assert_eq!(listed, [63]);
        assert_eq!(image.written(0..u64::MAX).count(), 3);
    }
}
