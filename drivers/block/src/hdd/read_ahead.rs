//! The drive's read buffer: what the head has read beyond what was asked for.
//!
//! What must always hold: data is in the buffer only after the head has passed over it, so no
//! read is answered sooner than the medium allows. A read gains from the buffer only where it
//! begins exactly at the end of an earlier read: chance hits would depend on how small the
//! backing is, and a scaled drive must behave as the real one.
//!
//! After each read the head goes on reading until another command needs the arm or the buffer's
//! share is full. That is why back-to-back sequential reads never lose a turn.

use isotherm_seam::Mono;

use super::geometry::Span;

/// Sequential readers that the drive tells apart. [estimate]
const SEGMENTS: usize = 16;

/// The buffer's segments, and the one that the head is filling.
#[derive(Debug)]
pub(super) struct ReadAhead {
    segments: [Segment; SEGMENTS],
    stream: Option<Stream>,
    /// How far beyond the last read it goes, in stream time.
    ahead_ns: u64,
    uses: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Segment {
    /// The block after the last that was asked for.
    next: u64,
    /// Read up to this stream time.
    filled_ns: u64,
    /// When it was last of use, counted in uses.
    used: u64,
}

/// The head on its way: at `since` it was at `from_ns`, and it stops at `until_ns`.
#[derive(Clone, Copy, Debug)]
struct Stream {
    segment: usize,
    since: Mono,
    from_ns: u64,
    until_ns: u64,
}

/// How much of a read is in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Nothing of it.
    Nothing,
    /// Its beginning, up to this stream time.
    UpTo(u64),
    /// All of it.
    All,
}

impl ReadAhead {
    /// An empty buffer that reads `ahead_ns` of stream time ahead.
    pub(super) fn new(ahead_ns: u64) -> ReadAhead {
        let empty = Segment { next: u64::MAX, ..Segment::default() };
        ReadAhead { segments: [empty; SEGMENTS], stream: None, ahead_ns, uses: 0 }
    }

    /// What the buffer holds of a read, leaving aside the segment that is being filled. The
    /// segment then waits for the read after this one.
    pub(super) fn claim(&mut self, span: &Span) -> Held {
        let filling = self.stream.map(|stream| stream.segment);
        let Some(i) = self.segments.iter().position(|s| s.next == span.first) else {
            return Held::Nothing;
        };
        let segment = &mut self.segments[i];
        if Some(i) == filling || segment.filled_ns <= span.stream_ns {
            return Held::Nothing;
        }
        self.uses += 1;
        segment.used = self.uses;
        if segment.filled_ns >= span.stream_end_ns {
            segment.next = span.end;
            Held::All
        } else {
            let filled_ns = segment.filled_ns;
            segment.next = u64::MAX; // The read itself begins it anew.
            Held::UpTo(filled_ns)
        }
    }

    /// Whether a read goes on where the head is reading already.
    #[inline]
    pub(super) fn continues(&self, first: u64) -> bool {
        self.stream.is_some_and(|stream| self.segments[stream.segment].next == first)
    }

    /// Serves a read that [`continues`](Self::continues) the stream: when its last byte is in
    /// the buffer. If the head had stopped at a full buffer and has to go on, `resume` tells at
    /// what time it is back at a stream time. `pace` is 1, or more on a drive that is slow.
    pub(super) fn read_on(
        &mut self,
        now: Mono,
        span: &Span,
        pace: f64,
        resume: impl FnOnce(u64) -> Mono,
    ) -> Mono {
        let stream = self.stream.as_mut().expect("a read continues a stream");
        self.uses += 1;
        let segment = &mut self.segments[stream.segment];
        segment.next = span.end;
        segment.used = self.uses;
        let until_ns = span.stream_end_ns + self.ahead_ns;
        let stopped = stream.passes(stream.until_ns, pace) <= now;
        if !stopped {
            stream.until_ns = until_ns;
            return stream.passes(span.stream_end_ns, pace);
        }
        let buffered = stream.until_ns >= span.stream_end_ns;
        let passed = stream.passes(span.stream_end_ns, pace);
        // It waits for half of its share to be free, lest it lose a turn for every small read.
        if !buffered || until_ns - stream.until_ns >= self.ahead_ns / 2 {
            stream.since = resume(stream.until_ns);
            stream.from_ns = stream.until_ns;
            stream.until_ns = until_ns;
        }
        if buffered { passed } else { stream.passes(span.stream_end_ns, pace) }
    }

    /// The head has read `span` until `done` and goes on from there.
    pub(super) fn begin(&mut self, span: &Span, done: Mono) {
        debug_assert!(self.stream.is_none(), "left before another begins");
        let mut segment = 0;
        for (i, candidate) in self.segments.iter().enumerate() {
            if candidate.next == span.first {
                segment = i;
                break;
            }
            if candidate.used < self.segments[segment].used {
                segment = i;
            }
        }
        self.uses += 1;
        self.segments[segment] =
            Segment { next: span.end, filled_ns: span.stream_end_ns, used: self.uses };
        self.stream = Some(Stream {
            segment,
            since: done,
            from_ns: span.stream_end_ns,
            until_ns: span.stream_end_ns + self.ahead_ns,
        });
    }

    /// The head stands still for so long: the stream is later by it.
    pub(super) fn delay(&mut self, by: isotherm_seam::Nanos) {
        if let Some(stream) = &mut self.stream {
            stream.since = stream.since + by;
        }
    }

    /// Another command takes the arm away; what was read by now stays.
    #[inline]
    pub(super) fn leave(&mut self, now: Mono, pace: f64) {
        if let Some(stream) = self.stream.take() {
            let passed = (now.since(stream.since).0 as f64 / pace) as u64;
            self.segments[stream.segment].filled_ns =
                (stream.from_ns + passed).min(stream.until_ns);
        }
    }

    /// Blocks were written: what the buffer has of them is old.
    pub(super) fn forget(&mut self, span: &Span) {
        for segment in &mut self.segments {
            // The next read is all that can hit: it is stale where the write lies ahead of it.
            if segment.next < span.end && segment.filled_ns > span.stream_ns {
                segment.filled_ns = segment.filled_ns.min(span.stream_ns);
            }
        }
    }
}

impl Stream {
    /// When the head passes over a stream time.
    fn passes(&self, stream_ns: u64, pace: f64) -> Mono {
        let ahead = stream_ns as f64 - self.from_ns as f64;
        Mono(self.since.0.saturating_add_signed((ahead * pace) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stream time 100 ns a block, for hand calculation.
    fn span(first: u64, count: u64) -> Span {
        Span {
            first,
            end: first + count,
            stream_ns: first * 100,
            stream_end_ns: (first + count) * 100,
            ..Span::default()
        }
    }

    fn never(_: u64) -> Mono {
        panic!("the head has not stopped")
    }

    #[test]
    fn a_stream_goes_at_the_pace_of_the_medium() {
        let mut ahead = ReadAhead::new(1_000);
        ahead.begin(&span(0, 10), Mono(5_000));
        assert!(ahead.continues(10) && !ahead.continues(11));
        // Asked at once: 10 blocks more take 1,000 ns. Asked late: they are there already.
        assert_eq!(ahead.read_on(Mono(5_000), &span(10, 10), 1.0, never), Mono(6_000));
        assert_eq!(ahead.read_on(Mono(6_900), &span(20, 5), 1.0, never), Mono(6_500));
    }

    #[test]
    fn a_full_buffer_stops_the_head_and_a_reader_starts_it_again() {
        let mut ahead = ReadAhead::new(1_000);
        ahead.begin(&span(0, 10), Mono(0)); // at 1,000, reads to 2,000, stops at Mono(1,000)
        let seen = std::cell::Cell::new(0);
        let resume = |at| {
            seen.set(at);
            Mono(50_000)
        };
        // Half of the share is free again: the head goes on, the read is from the buffer.
        assert_eq!(ahead.read_on(Mono(9_000), &span(10, 5), 1.0, resume), Mono(500));
        assert_eq!(seen.get(), 2_000);
        // The next is beyond what is there: it waits for the head.
        assert_eq!(ahead.read_on(Mono(9_100), &span(15, 10), 1.0, never), Mono(50_500));
    }

    #[test]
    fn what_was_read_stays_when_the_arm_leaves() {
        let mut ahead = ReadAhead::new(1_000);
        ahead.begin(&span(0, 10), Mono(0));
        assert_eq!(ahead.claim(&span(10, 2)), Held::Nothing, "that is the stream's");
        ahead.leave(Mono(500), 1.0); // read up to 1,500: blocks 10 to 14
        assert!(!ahead.continues(10));
        assert_eq!(ahead.claim(&span(11, 2)), Held::Nothing, "not where the reader stopped");
        assert_eq!(ahead.claim(&span(10, 2)), Held::All);
        assert_eq!(ahead.claim(&span(12, 8)), Held::UpTo(1_500));
    }

    #[test]
    fn a_write_makes_the_buffer_old() {
        let mut ahead = ReadAhead::new(1_000);
        ahead.begin(&span(0, 10), Mono(0));
        ahead.leave(Mono(1_000), 1.0);
        ahead.forget(&span(12, 1));
        assert_eq!(ahead.claim(&span(10, 4)), Held::UpTo(1_200));
    }

    #[test]
    fn many_random_reads_do_not_evict_a_stream_that_is_in_use() {
        let mut ahead = ReadAhead::new(1_000);
        ahead.begin(&span(0, 10), Mono(0));
        ahead.leave(Mono(1_000), 1.0);
        for i in 0..10 {
            for j in 0..8 {
                ahead.begin(&span(1_000 + i * 100 + j * 10, 1), Mono(0));
                ahead.leave(Mono(0), 1.0);
            }
            assert_eq!(ahead.claim(&span(10 + i, 1)), Held::All, "{i}");
        }
    }
}
