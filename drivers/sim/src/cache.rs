//! A volatile write cache over an image.
//!
//! What must always hold: a sector that was written and not yet settled has all its versions
//! since the last durable one, in order. A read sees the last; a power cut may leave any.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::{Image, Sector};

/// What is durable, and what is written on top of it.
#[derive(Clone)]
pub(crate) struct WriteCache {
    image: Image,
    dirty: BTreeMap<u64, Vec<Version>>,
    /// Every unsettled version once, oldest first; entries whose version is gone are skipped.
    log: VecDeque<(u64, u64)>,
    /// Versions it holds before it writes out the oldest of its own accord.
    versions_max: usize,
    writes: u64,
}

/// One unsettled content of a sector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    /// Which write it came with; later ones are greater.
    pub(crate) write: u64,
    pub(crate) sector: Sector,
}

impl WriteCache {
    pub(crate) fn new(image: Image, versions_max: usize) -> WriteCache {
        WriteCache { image, dirty: BTreeMap::new(), log: VecDeque::new(), versions_max, writes: 0 }
    }

    /// What is durable.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    pub(crate) fn image_mut(&mut self) -> &mut Image {
        &mut self.image
    }

    /// How many writes it has taken: a flush submitted now covers those and no later ones.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// A new write begins: the versions put from now on belong to it.
    pub(crate) fn begin_write(&mut self) {
        self.writes += 1;
    }

    /// A sector as a read sees it.
    pub(crate) fn visible(&self, index: u64) -> &Sector {
        match self.dirty.get(&index).and_then(|versions| versions.last()) {
            Some(version) => &version.sector,
            None => self.image.sector(index),
        }
    }

    /// Puts a sector that is durable only after a flush.
    pub(crate) fn put(&mut self, index: u64, sector: Sector) {
        self.dirty.entry(index).or_default().push(Version { write: self.writes, sector });
        self.log.push_back((self.writes, index));
        while self.log.len() > self.versions_max {
            self.settle_oldest();
        }
    }

    /// Puts a sector that is durable at once.
    pub(crate) fn put_durable(&mut self, index: u64, sector: Sector) {
        self.dirty.remove(&index);
        self.image.settle(index, sector);
    }

    /// Changes a sector where it lies, as damage does: not a write.
    pub(crate) fn corrupt(&mut self, index: u64, sector: Sector) {
        match self.dirty.get_mut(&index).and_then(|versions| versions.last_mut()) {
            Some(version) => version.sector = sector,
            None => self.image.set(index, sector),
        }
    }

    /// Makes the first `writes` writes durable.
    pub(crate) fn settle(&mut self, writes: u64) {
        while self.log.front().is_some_and(|&(write, _)| write <= writes) {
            self.settle_oldest();
        }
    }

    fn settle_oldest(&mut self) {
        let (write, index) = self.log.pop_front().expect("called with something to settle");
        let Some(versions) = self.dirty.get_mut(&index) else { return };
        if versions[0].write != write {
            return; // A durable write has overtaken it.
        }
        let version = versions.remove(0);
        if versions.is_empty() {
            self.dirty.remove(&index);
        }
        self.image.settle(index, version.sector);
    }

    /// Forgets unsettled versions, as a zone reset does.
    pub(crate) fn forget(&mut self, sectors: Range<u64>) {
        let gone: Vec<u64> = self.dirty.range(sectors).map(|(&index, _)| index).collect();
        for index in gone {
            self.dirty.remove(&index);
        }
    }

    /// The sectors with unsettled versions.
    pub(crate) fn dirty(&self) -> &BTreeMap<u64, Vec<Version>> {
        &self.dirty
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use isotherm_seam::BlockSize;

    use super::*;
    use crate::Blank;

    fn cache(versions_max: usize) -> WriteCache {
        WriteCache::new(Image::new(BlockSize::B512, Blank::Zeros, None), versions_max)
    }

    fn data(byte: u8) -> Sector {
        Sector::Data(Rc::from([byte; 512]))
    }

    fn write(cache: &mut WriteCache, index: u64, byte: u8) {
        cache.begin_write();
        cache.put(index, data(byte));
    }

    #[test]
    fn a_flush_settles_what_it_covers_and_no_more() {
        let mut cache = cache(100);
        write(&mut cache, 5, 1);
        write(&mut cache, 5, 2);
        let covered = cache.writes();
        write(&mut cache, 5, 3);
        cache.settle(covered);
        assert_eq!(cache.image().sector(5), &data(2));
        assert_eq!(cache.visible(5), &data(3));
        assert_eq!(cache.dirty()[&5].len(), 1);
    }

    #[test]
    fn a_durable_write_ends_all_older_versions() {
        let mut cache = cache(100);
        write(&mut cache, 5, 1);
        cache.begin_write();
        cache.put_durable(5, data(2));
        write(&mut cache, 5, 3);
        cache.settle(2);
        assert_eq!(cache.image().sector(5), &data(2));
        assert_eq!(cache.visible(5), &data(3));
        cache.settle(3);
        assert_eq!(cache.image().sector(5), &data(3));
        assert!(cache.dirty().is_empty());
    }

    #[test]
    fn a_full_cache_writes_out_its_oldest() {
        let mut cache = cache(2);
        for index in 0..4 {
            write(&mut cache, index, 9);
        }
        assert_eq!(cache.dirty().keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(cache.image().sector(1), &data(9));
    }
}
