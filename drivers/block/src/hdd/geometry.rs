//! Where each block lies: its track, and when it passes under the head.
//!
//! What must always hold: every block lies on exactly one track; tracks follow each other from
//! rim to hub; a head that streams through them in order never loses a turn.
//!
//! Bands are what vendors call recording zones (a word that here means SMR): within one, each
//! track holds as many blocks. From track to track the first block is skewed by the time of a
//! switch, so streaming is uniform, and one figure places a block in the turn as well: the
//! *stream time*, which a head that starts at block 0 and never stops needs to reach it.
//!
//! ```text
//! stream time = band.stream + track in band x (turn + switch) + block in track x block time
//! angle       = stream time mod turn
//! ```
//!
//! A small backing gets fewer tracks over the same stroke, each as long as on the real drive.

use isotherm_seam::BlockSize;

use super::profile::Profile;

/// Tracks on one drive are grouped into at most so many bands. [estimate]: drives have dozens.
const BANDS_MAX: u64 = 64;

/// From so many tracks on it no longer matters how many there are.
const TRACKS_AS_REAL: f64 = 4_096.0;

/// Bands are found by the high bits of a block's address: below this many of them.
const GUESSES_MAX: u64 = 512;

/// Tracks and bands of one drive over so many blocks.
#[derive(Debug)]
pub struct Tracks {
    bands: Vec<Band>,
    /// The band of the first block with these high bits.
    guess: Vec<u8>,
    guess_shift: u32,
    tracks: u32,
    /// One over their number.
    track_share: f64,
    near_blocks: u64,
    turn_ns: u64,
    switch_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Band {
    first_block: u64,
    first_track: u32,
    track_blocks: u32,
    /// One over `track_blocks`.
    block_share: f64,
    /// Stream time of its first block.
    stream_ns: u64,
}

/// Where a run of blocks lies.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Span {
    /// First block.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Stream time at which the first block begins.
    pub stream_ns: u64,
    /// Stream time at which the last block ends.
    pub stream_end_ns: u64,
    /// Track of the first block.
    pub track: u32,
    /// Track of the last.
    pub track_end: u32,
    /// Where in the turn the first block begins.
    pub angle_ns: u32,
    /// Radius of the first block (0 the rim, 1 the hub).
    pub radius: f32,
    /// Radius of the end of the last.
    pub radius_end: f32,
}

impl Tracks {
    /// Lays out `blocks` blocks on the stroke of `profile`.
    pub fn new(profile: &Profile, block: BlockSize, blocks: u64) -> Tracks {
        assert!(blocks > 0, "an empty drive has no tracks");
        let bytes = f64::from(block.bytes());
        let turn_ns = profile.turn().0;
        let switch_ns = profile.switch().0;
        let wanted = (blocks as f64 * bytes / profile.track_bytes_mean()).ceil().max(1.0) as u64;
        let band_count = wanted.min(BANDS_MAX);
        let mut bands = Vec::with_capacity(band_count as usize);
        let (mut first_block, mut stream_ns) = (0, 0);
        for i in 0..band_count {
            let first_track = wanted * i / band_count;
            let count = wanted * (i + 1) / band_count - first_track;
            let radius = (first_track as f64 + count as f64 / 2.0) / wanted as f64;
            let track_blocks = (profile.track_bytes_at(radius) / bytes).round().max(1.0) as u32;
            bands.push(Band {
                first_block,
                first_track: u32::try_from(first_track).expect("fewer than 2^32 tracks"),
                track_blocks,
                stream_ns,
                block_share: 1.0 / f64::from(track_blocks),
            });
            first_block += count * u64::from(track_blocks);
            stream_ns += count * (turn_ns + switch_ns);
        }
        // Rounding leaves the last band some tracks short or long; it takes what is needed.
        while bands.len() > 1 && bands[bands.len() - 1].first_block >= blocks {
            bands.pop();
        }
        let last = bands[bands.len() - 1];
        let last_tracks = (blocks - last.first_block).div_ceil(u64::from(last.track_blocks));
        let tracks = u32::try_from(u64::from(last.first_track) + last_tracks)
            .expect("fewer than 2^32 tracks");
        let mut guess_shift = 0;
        while (blocks - 1) >> guess_shift >= GUESSES_MAX {
            guess_shift += 1;
        }
        let guess = (0..=(blocks - 1) >> guess_shift)
            .map(|high| {
                let block = high << guess_shift;
                (bands.partition_point(|band| band.first_block <= block) - 1) as u8
            })
            .collect();
        let scale = (f64::from(tracks) / TRACKS_AS_REAL).min(1.0);
        Tracks {
            near_blocks: (f64::from(bands[0].track_blocks) * scale).ceil() as u64,
            track_share: 1.0 / f64::from(tracks),
            bands,
            guess,
            guess_shift,
            tracks,
            turn_ns,
            switch_ns,
        }
    }

    /// How many tracks there are.
    pub fn count(&self) -> u32 {
        self.tracks
    }

    /// Where `count` blocks from `first` on lie; they are within the drive.
    #[inline]
    pub fn span(&self, first: u64, count: u64) -> Span {
        debug_assert!(count > 0);
        let band = self.band_of(first);
        let (track, block) = band.locate(first);
        let (stream_ns, radius) = self.place(band, track, block);
        let end = first + count;
        let (end_band, track_end, end_block) = if block + count <= u64::from(band.track_blocks) {
            (band, track, block + count)
        } else {
            let band = self.band_of(end - 1);
            let (track, block) = band.locate(end - 1);
            (band, track, block + 1)
        };
        let (stream_end_ns, radius_end) = self.place(end_band, track_end, end_block);
        Span {
            first,
            end,
            stream_ns,
            stream_end_ns,
            track: band.first_track + track as u32,
            track_end: end_band.first_track + track_end as u32,
            angle_ns: (stream_ns % self.turn_ns) as u32,
            radius,
            radius_end,
        }
    }

    /// Two blocks on one track whose addresses differ by less need no seek between them.
    ///
    /// On the real drive that is a track. On a scaled one it is less, by as much as there are
    /// fewer tracks: two random requests are to meet on one track as rarely as on the real drive.
    pub fn near_blocks(&self) -> u64 {
        self.near_blocks
    }

    #[inline]
    fn band_of(&self, block: u64) -> &Band {
        let mut i = usize::from(self.guess[(block >> self.guess_shift) as usize]);
        while i + 1 < self.bands.len() && self.bands[i + 1].first_block <= block {
            i += 1;
        }
        &self.bands[i]
    }

    /// Stream time and radius of the start of a block, or of the end of a track.
    #[inline]
    fn place(&self, band: &Band, track: u64, block: u64) -> (u64, f32) {
        let part = block as f64 * band.block_share;
        let in_turn = (part * self.turn_ns as f64) as u64;
        let stream_ns = band.stream_ns + track * (self.turn_ns + self.switch_ns) + in_turn;
        let radius = ((u64::from(band.first_track) + track) as f64 + part) * self.track_share;
        (stream_ns, radius as f32)
    }
}

impl Band {
    /// Track within the band and block within the track.
    #[inline]
    fn locate(&self, block: u64) -> (u64, u64) {
        let inside = block - self.first_block;
        let track_blocks = u64::from(self.track_blocks);
        let track = inside / track_blocks;
        (track, inside - track * track_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::{EXOS_X24, FUTURE_200T, PROFILES};
    use super::*;

    const BLOCK: BlockSize = BlockSize::B4096;

    fn blocks(bytes: u64) -> u64 {
        bytes >> BLOCK.shift()
    }

    #[test]
    fn tracks_follow_each_other_without_gap_or_overlap() {
        for bytes in [64 << 20, 256 << 20, 10 << 30] {
            let tracks = Tracks::new(&EXOS_X24, BLOCK, blocks(bytes));
            let mut before = tracks.span(0, 1);
            assert_eq!((before.track, before.angle_ns, before.stream_ns), (0, 0, 0));
            for block in 1..blocks(bytes).min(200_000) {
                let span = tracks.span(block, 1);
                let gap = span.stream_ns - before.stream_end_ns;
                match span.track - before.track {
                    0 => assert_eq!(gap, 0, "{block}"),
                    // The rest of the turn is less than a block, then the switch.
                    1 => assert!((1_000_000..1_000_002).contains(&gap), "{block}: {gap}"),
                    n => panic!("{n} tracks between {block} and the block before"),
                }
                before = span;
            }
        }
    }

    #[test]
    fn a_long_span_ends_where_its_last_block_ends() {
        let tracks = Tracks::new(&EXOS_X24, BLOCK, blocks(256 << 20));
        for first in (0..60_000).step_by(97) {
            for count in [1, 7, 256, 1_000, 5_000] {
                let span = tracks.span(first, count);
                let last = tracks.span(first + count - 1, 1);
                assert_eq!(span.stream_end_ns, last.stream_end_ns);
                assert_eq!(span.track_end, last.track);
            }
        }
    }

    #[test]
    fn the_last_block_lies_at_the_hub_whatever_the_size() {
        for profile in PROFILES {
            for bytes in [64 << 20, 1 << 30, profile.capacity_bytes] {
                let tracks = Tracks::new(profile, BLOCK, blocks(bytes));
                let last = tracks.span(blocks(bytes) - 1, 1);
                assert_eq!(last.track, tracks.count() - 1, "{} {bytes}", profile.name);
                let wanted = bytes as f64 / profile.track_bytes_mean();
                let off = (f64::from(tracks.count()) - wanted).abs();
                assert!(off < 2.0 + wanted * 1e-3, "{} {bytes}: off by {off}", profile.name);
            }
        }
    }

    #[test]
    fn a_block_lies_at_the_radius_that_the_profile_says() {
        let all = blocks(FUTURE_200T.capacity_bytes);
        let tracks = Tracks::new(&FUTURE_200T, BLOCK, all);
        for i in 0..100 {
            let span = tracks.span(all / 100 * i, 1);
            let radius = f64::from(span.track) / f64::from(tracks.count());
            let expected = FUTURE_200T.radius_of(i as f64 / 100.0);
            assert!((radius - expected).abs() < 2e-3, "{i} %: {radius} for {expected}");
        }
    }

    #[test]
    fn streaming_runs_at_the_published_rate_at_rim_and_hub() {
        let all = blocks(EXOS_X24.capacity_bytes);
        let tracks = Tracks::new(&EXOS_X24, BLOCK, all);
        let rate = |first: u64| {
            let span = tracks.span(first, 100_000);
            409.6e6 / ((span.stream_end_ns - span.stream_ns) as f64 / 1e9) / 1e6
        };
        assert!((280.0..290.0).contains(&rate(0)), "{}", rate(0));
        assert!((134.0..142.0).contains(&rate(all - 100_000)), "{}", rate(all - 100_000));
    }
}
