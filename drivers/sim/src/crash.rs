//! All that a power cut may leave behind.
//!
//! What must always hold: each unsettled physical sector ends, independently of all others, as
//! its last durable content, as any later version of it, or unreadable; a settled sector stays
//! as it is. In a sequential zone the write pointer ends anywhere from what is durable to what
//! was submitted, and nothing lies beyond it.
//!
//! One cut is drawn with [`Unsettled::crash`]. All cuts are walked with [`Unsettled::images`]:
//! every combination while there are few of them, a sample in several styles otherwise; equal
//! images are shown once.

use std::collections::BTreeSet;

use isotherm_seam::{Domain, Draws, Lba, ZoneId};

use crate::cache::WriteCache;
use crate::{Image, Sector, hash64};

const STYLE: Domain = Domain::new("sim.crash.style");
const PICK: Domain = Domain::new("sim.crash.pick");

/// Which part of the unsettled writes a power cut keeps. Real caches fail in patterns, and a
/// pattern finds bugs that independent chance almost never produces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashStyle {
    /// Everything written.
    All,
    /// Nothing since the last flush.
    None,
    /// The oldest writes up to some point; the sector at that point may be unreadable.
    Prefix,
    /// The newest writes from some point on; the sector at that point may be unreadable.
    Suffix,
    /// All but one sector, which may be unreadable.
    OneHole,
    /// Each sector for itself.
    Random,
}

impl CrashStyle {
    /// Every style.
    pub const ALL: [CrashStyle; 6] = [
        CrashStyle::All,
        CrashStyle::None,
        CrashStyle::Prefix,
        CrashStyle::Suffix,
        CrashStyle::OneHole,
        CrashStyle::Random,
    ];

    /// A style by chance.
    #[must_use]
    pub fn drawn(seed: u64, entity: u64) -> CrashStyle {
        CrashStyle::ALL[Draws::new(seed, STYLE, entity).below(6) as usize]
    }
}

/// What a power cut did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrashReport {
    /// How it chose.
    pub style: CrashStyle,
    /// Sectors that kept their durable content although newer was written.
    pub old: u64,
    /// Sectors that got a version written later.
    pub newer: u64,
    /// Sectors that can't be read any more.
    pub unreadable: u64,
}

/// Everything that a power cut at this moment may decide.
#[derive(Clone, Debug)]
pub struct Unsettled {
    image: Image,
    forks: Vec<Fork>,
    zones: Vec<ZoneFork>,
    unreadable_p: f64,
}

/// A sector with several possible contents.
#[derive(Clone, Debug)]
struct Fork {
    index: u64,
    /// The durable content first; no two that read the same.
    candidates: Vec<Candidate>,
    /// Each version since: its write, and which candidate it is.
    versions: Vec<(u64, usize)>,
}

#[derive(Clone, Debug)]
struct Candidate {
    sector: Sector,
    hash: u64,
}

/// A zone with several possible write pointers: the durable one first, then onwards.
#[derive(Clone, Debug)]
struct ZoneFork {
    zone: ZoneId,
    pointers: Vec<Lba>,
}

/// A choice for each sector and each zone.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cut {
    sectors: Vec<usize>,
    zones: Vec<usize>,
}

impl Unsettled {
    /// What is unsettled in a cache and, on top, in writes that are still in flight: whole
    /// sectors, in the order of their submission.
    pub(crate) fn new(cache: &WriteCache, in_flight: Vec<(u64, Sector)>) -> Unsettled {
        let image = cache.image().clone();
        let mut unsettled =
            Unsettled { image, forks: Vec::new(), zones: Vec::new(), unreadable_p: 0.0 };
        for (&index, versions) in cache.dirty() {
            for version in versions {
                unsettled.add(index, version.write, version.sector.clone());
            }
        }
        for (number, (index, sector)) in (cache.writes() + 1..).zip(in_flight) {
            unsettled.add(index, number, sector);
        }
        unsettled
    }

    fn add(&mut self, index: u64, write: u64, sector: Sector) {
        let at = match self.forks.binary_search_by_key(&index, |fork| fork.index) {
            Ok(at) => at,
            Err(at) => {
                let old = self.image.sector(index).clone();
                let hash = self.image.sector_hash(index, &old);
                let candidates = vec![Candidate { sector: old, hash }];
                self.forks.insert(at, Fork { index, candidates, versions: Vec::new() });
                at
            }
        };
        let hash = self.image.sector_hash(index, &sector);
        let fork = &mut self.forks[at];
        let which = match fork.candidates.iter().position(|c| c.hash == hash) {
            Some(which) => which,
            None => {
                fork.candidates.push(Candidate { sector, hash });
                fork.candidates.len() - 1
            }
        };
        fork.versions.push((write, which));
    }

    /// The write pointer of a zone may end at any of these.
    pub(crate) fn add_zone(&mut self, zone: ZoneId, pointers: Vec<Lba>) {
        assert_eq!(pointers[0], self.image.pointer(zone), "the durable one comes first");
        self.zones.push(ZoneFork { zone, pointers });
    }

    /// Lets a sector also end unreadable, with this probability where a style leaves it to
    /// chance; [`Unsettled::images`] then walks those images too.
    #[must_use]
    pub fn with_unreadable(mut self, p: f64) -> Unsettled {
        self.unreadable_p = p;
        self
    }

    /// How many sectors a power cut would decide on.
    #[must_use]
    pub fn sectors(&self) -> usize {
        self.forks.len()
    }

    /// Their indexes, ascending.
    pub fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        self.forks.iter().map(|fork| fork.index)
    }

    /// How many combinations there are; `u64::MAX` stands for that many or more.
    #[must_use]
    pub fn combinations(&self) -> u64 {
        let sectors = self.forks.iter().map(|fork| self.outcomes(fork) as u64);
        let zones = self.zones.iter().map(|zone| zone.pointers.len() as u64);
        sectors.chain(zones).fold(1, u64::saturating_mul)
    }

    fn outcomes(&self, fork: &Fork) -> usize {
        fork.candidates.len() + usize::from(self.unreadable_p > 0.0)
    }

    /// One power cut.
    #[must_use]
    pub fn crash(&self, style: CrashStyle, draws: &mut Draws) -> (Image, CrashReport) {
        let cut = self.cut(style, draws);
        let mut report = CrashReport { style, old: 0, newer: 0, unreadable: 0 };
        for (fork, &pick) in self.forks.iter().zip(&cut.sectors) {
            let count = match pick {
                0 => &mut report.old,
                pick if pick == fork.candidates.len() => &mut report.unreadable,
                _ => &mut report.newer,
            };
            *count += 1;
        }
        (self.image_of(&cut), report)
    }

    /// The images that a power cut may leave: all of them if there are at most `images_max`
    /// combinations, otherwise that many drawn cuts. No image comes twice.
    #[must_use]
    pub fn images(&self, images_max: u64, seed: u64) -> Images<'_> {
        let exhaustive = self.combinations() <= images_max;
        let first = Cut { sectors: vec![0; self.forks.len()], zones: vec![0; self.zones.len()] };
        Images {
            unsettled: self,
            next: exhaustive.then_some(first),
            exhaustive,
            draws: Draws::new(seed, PICK, 0),
            left: images_max,
            seen: BTreeSet::new(),
        }
    }

    fn cut(&self, style: CrashStyle, draws: &mut Draws) -> Cut {
        let mut order: Vec<(u64, usize)> = Vec::new();
        for (at, fork) in self.forks.iter().enumerate() {
            order.extend(fork.versions.iter().map(|&(write, _)| (write, at)));
        }
        order.sort_unstable();
        let versions = order.len() as u64;
        let split = match style {
            CrashStyle::OneHole if versions > 0 => draws.below(versions),
            _ => draws.below(versions + 1),
        } as usize;
        let keeps = |at: usize| match style {
            CrashStyle::All | CrashStyle::Random => true,
            CrashStyle::None => false,
            CrashStyle::Prefix => at < split,
            CrashStyle::Suffix => at >= split,
            CrashStyle::OneHole => at != split,
        };
        let mut sectors = vec![0; self.forks.len()];
        // Versions of a sector come in the order of their writes, so the last one kept stays.
        let mut seen = vec![0; self.forks.len()];
        for (at, &(_, fork)) in order.iter().enumerate() {
            if keeps(at) {
                sectors[fork] = self.forks[fork].versions[seen[fork]].1;
            }
            seen[fork] += 1;
        }
        match style {
            CrashStyle::All | CrashStyle::None => {}
            CrashStyle::Prefix | CrashStyle::Suffix | CrashStyle::OneHole => {
                if let Some(&(_, fork)) = order.get(split)
                    && draws.happens(self.unreadable_p)
                {
                    sectors[fork] = self.forks[fork].candidates.len();
                }
            }
            CrashStyle::Random => {
                for (fork, pick) in self.forks.iter().zip(&mut sectors) {
                    *pick = if draws.happens(self.unreadable_p) {
                        fork.candidates.len()
                    } else {
                        draws.below(fork.candidates.len() as u64) as usize
                    };
                }
            }
        }
        let zones = self.zones.iter().map(|zone| self.pointer(zone, style, &sectors, draws));
        Cut { zones: zones.collect(), sectors }
    }

    fn pointer(
        &self,
        zone: &ZoneFork,
        style: CrashStyle,
        sectors: &[usize],
        draws: &mut Draws,
    ) -> usize {
        let last = zone.pointers.len() - 1;
        match style {
            CrashStyle::All => last,
            CrashStyle::None => 0,
            CrashStyle::Prefix => {
                let zones = self.image.zones().expect("it has zone forks");
                let mut kept = self.forks.iter().zip(sectors).filter(|(fork, pick)| {
                    **pick != 0 && zones.zone_of(Lba(fork.index)) == zone.zone
                });
                let end = kept.next_back().map(|(fork, _)| Lba(fork.index + 1));
                zone.pointers.iter().position(|&p| Some(p) >= end).unwrap_or(last)
            }
            CrashStyle::Suffix | CrashStyle::OneHole | CrashStyle::Random => {
                draws.below(zone.pointers.len() as u64) as usize
            }
        }
    }

    fn image_of(&self, cut: &Cut) -> Image {
        let mut image = self.image.clone();
        for (fork, &pick) in self.forks.iter().zip(&cut.sectors) {
            let sector = fork.candidates.get(pick).map_or(Sector::Unreadable, |c| c.sector.clone());
            if pick != 0 {
                image.set(fork.index, sector);
            }
        }
        for (zone, &pick) in self.zones.iter().zip(&cut.zones) {
            image.set_pointer(zone.zone, zone.pointers[pick]);
        }
        image
    }

    /// Equal for cuts that no reader can tell apart.
    fn hash_of(&self, cut: &Cut) -> u64 {
        let mut words: Vec<u64> = Vec::with_capacity(self.forks.len() + self.zones.len());
        for (fork, &pick) in self.forks.iter().zip(&cut.sectors) {
            let beyond = self.zones.iter().zip(&cut.zones).any(|(zone, &pointer)| {
                let zones = self.image.zones().expect("it has zone forks");
                zones.zone_of(Lba(fork.index)) == zone.zone
                    && Lba(fork.index) >= zone.pointers[pointer]
            });
            let hash = fork.candidates.get(pick).map_or(u64::MAX, |c| c.hash);
            words.push(if beyond { 0 } else { hash });
        }
        words.extend(self.zones.iter().zip(&cut.zones).map(|(zone, &p)| zone.pointers[p].0));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        hash64(&bytes)
    }

    /// The combination after `cut`, counting up; `None` after the last.
    fn after(&self, mut cut: Cut) -> Option<Cut> {
        let outcomes: Vec<usize> = self.forks.iter().map(|fork| self.outcomes(fork)).collect();
        let pointers = self.zones.iter().map(|zone| zone.pointers.len());
        let digits = cut.sectors.iter_mut().zip(outcomes).chain(cut.zones.iter_mut().zip(pointers));
        for (digit, base) in digits {
            *digit += 1;
            if *digit < base {
                return Some(cut);
            }
            *digit = 0;
        }
        None
    }
}

/// Walks crash images; see [`Unsettled::images`].
pub struct Images<'a> {
    unsettled: &'a Unsettled,
    /// The next combination, when walking all.
    next: Option<Cut>,
    exhaustive: bool,
    draws: Draws,
    left: u64,
    seen: BTreeSet<u64>,
}

impl Images<'_> {
    /// Whether every possible image comes.
    #[must_use]
    pub fn is_exhaustive(&self) -> bool {
        self.exhaustive
    }

    fn next_cut(&mut self) -> Option<Cut> {
        if self.exhaustive {
            let cut = self.next.take()?;
            self.next = self.unsettled.after(cut.clone());
            return Some(cut);
        }
        let drawn = self.left.checked_sub(1)?;
        self.left = drawn;
        // The two sure styles once, then the others in turn.
        let style = match self.seen.len() {
            0 => CrashStyle::None,
            1 => CrashStyle::All,
            _ => CrashStyle::ALL[2 + (drawn % 4) as usize],
        };
        Some(self.unsettled.cut(style, &mut self.draws))
    }
}

impl Iterator for Images<'_> {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        loop {
            let cut = self.next_cut()?;
            if self.seen.insert(self.unsettled.hash_of(&cut)) {
                return Some(self.unsettled.image_of(&cut));
            }
        }
    }
}
