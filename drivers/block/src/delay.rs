//! `delay`: each completion comes later than the device below had it.
//!
//! What must always hold: requests go down at once and in order, so that zones and overlap are
//! kept; only the way back is longer. The latency is counted from the poll that finds the
//! completion below, in the time that the caller tells.

use std::sync::Arc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Domain, Draws, Due, Geometry, Mono, Nanos, OpKind,
    Request, Tag,
};

use crate::held::Held;
use crate::slots::Slots;
use crate::spec::{LayerKind, OptionHelp, parse_time};

pub(crate) const KIND: LayerKind = LayerKind {
    name: "delay",
    summary: "adds latency: 8ms fixed, 2ms-10ms uniform, 8ms~2ms normal (mean~deviation)",
    options: &[OptionHelp {
        name: "only",
        value: "read|write|flush",
        meaning: "delays only these; all where absent",
    }],
    example: "delay:8ms~2ms:only=read,memory:64M",
    parse: |args| {
        let latency = args.required("a time as in 8ms, 2ms-10ms or 8ms~2ms", Latency::parse)?;
        let only = args.option("only", "read, write or flush", |text| match text {
            "read" => Some(OpKind::Read),
            "write" => Some(OpKind::Write),
            "flush" => Some(OpKind::Flush),
            _ => None,
        })?;
        Ok(Arc::new(move |inner, seed| Ok(Box::new(Delay::new(inner, latency, only, seed)))))
    },
};

const LATENCY: Domain = Domain::new("block.delay.latency");

/// How much later a completion comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latency {
    /// Always the same.
    Fixed(Nanos),
    /// Uniform from the first to below the second.
    Uniform(Nanos, Nanos),
    /// Normal, cut off at zero.
    Normal {
        /// Its mean, before it is cut off.
        mean: Nanos,
        /// Its standard deviation.
        deviation: Nanos,
    },
}

impl Latency {
    /// Reads `8ms`, `2ms-10ms` or `8ms~2ms`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Latency> {
        if let Some((mean, deviation)) = text.split_once('~') {
            let (mean, deviation) = (parse_time(mean)?, parse_time(deviation)?);
            return Some(Latency::Normal { mean, deviation });
        }
        if let Some((from, to)) = text.split_once('-') {
            let (from, to) = (parse_time(from)?, parse_time(to)?);
            return (from < to).then_some(Latency::Uniform(from, to));
        }
        parse_time(text).map(Latency::Fixed)
    }

    fn draw(&self, draws: &mut Draws) -> Nanos {
        match *self {
            Latency::Fixed(always) => always,
            Latency::Uniform(from, to) => from + Nanos(draws.below(to.0 - from.0)),
            Latency::Normal { mean, deviation } => {
                // The sum of twelve uniforms less six: deviation 1, and the same bits on every
                // machine, which a logarithm of the C library would not promise.
                let normal = (0..12).map(|_| draws.next_f64()).sum::<f64>() - 6.0;
                Nanos((mean.0 as f64 + normal * deviation.0 as f64).max(0.0) as u64)
            }
        }
    }
}

/// A layer that delays completions.
pub struct Delay {
    inner: Box<dyn BlockDevice>,
    latency: Latency,
    only: Option<OpKind>,
    draws: Draws,
    /// Below, or held.
    slots: Slots<Flight>,
    below: usize,
    held: Held,
    arrived: Vec<Completion>,
}

struct Flight {
    tag: Tag,
    latency: Nanos,
}

impl Delay {
    /// Delays the completions of `inner`: all, or those of one kind.
    pub fn new(
        inner: Box<dyn BlockDevice>,
        latency: Latency,
        only: Option<OpKind>,
        seed: u64,
    ) -> Delay {
        let depth = inner.geometry().depth_max;
        Delay {
            inner,
            latency,
            only,
            draws: Draws::new(seed, LATENCY, 0),
            slots: Slots::new(depth),
            below: 0,
            held: Held::new(depth),
            arrived: Vec::with_capacity(depth as usize),
        }
    }
}

impl BlockDevice for Delay {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under("delay")
    }

    fn submit(&mut self, now: Mono, mut request: Request) -> Result<(), Request> {
        if self.inflight() >= self.geometry().depth_max as usize {
            return Err(request);
        }
        let tag = request.tag;
        let delayed = self.only.is_none_or(|kind| kind == request.op.kind());
        let latency = if delayed { self.latency.draw(&mut self.draws) } else { Nanos::ZERO };
        let slot = self.slots.fill(Flight { tag, latency });
        request.tag = Tag(slot.into());
        match self.inner.submit(now, request) {
            Ok(()) => {
                self.below += 1;
                Ok(())
            }
            Err(mut back) => {
                self.slots.empty(back.tag.0);
                back.tag = tag;
                Err(back)
            }
        }
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        if self.below > 0 {
            self.below -= self.inner.poll(now, &mut self.arrived);
            for mut completion in self.arrived.drain(..) {
                let flight = self.slots.empty(completion.tag.0);
                completion.tag = flight.tag;
                self.held.push(now + flight.latency, completion);
            }
        }
        let before = done.len();
        self.held.release(now, done);
        done.len() - before
    }

    fn due(&self) -> Due {
        self.inner.due().min(self.held.due())
    }

    fn inflight(&self) -> usize {
        self.slots.len() + self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Shape};
    use isotherm_seam::Op;

    #[test]
    fn latencies_read_as_people_write_them() {
        let ms = Nanos::from_millis;
        assert_eq!(Latency::parse("8ms"), Some(Latency::Fixed(ms(8))));
        assert_eq!(Latency::parse("2ms-10ms"), Some(Latency::Uniform(ms(2), ms(10))));
        let normal = Latency::Normal { mean: ms(8), deviation: ms(2) };
        assert_eq!(Latency::parse("8ms~2ms"), Some(normal));
        for bad in ["", "8", "10ms-2ms", "8ms~", "8ms~x"] {
            assert_eq!(Latency::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_completion_comes_at_its_time_and_not_before() {
        let inner = Box::new(Memory::new(&Shape::new(1 << 20)).unwrap());
        let latency = Latency::Fixed(Nanos::from_millis(8));
        let mut device = Delay::new(inner, latency, Some(OpKind::Flush), 1);
        let start = Mono(5_000);
        let mut done = Vec::with_capacity(2);
        device.submit(start, Request { tag: Tag(3), op: Op::Flush }).unwrap();
        assert_eq!(device.poll(start, &mut done), 0);
        let due = start + Nanos::from_millis(8);
        assert_eq!(device.due(), Due::At(due));
        assert_eq!(device.poll(Mono(due.0 - 1), &mut done), 0);
        assert_eq!(device.poll(due, &mut done), 1);
        assert_eq!((done[0].tag, device.due()), (Tag(3), Due::Idle));
    }

    #[test]
    fn drawn_latencies_have_their_mean_and_spread() {
        let mut draws = Draws::new(1, LATENCY, 0);
        let ms = Nanos::from_millis;
        let mut sample = |latency: Latency| -> (f64, f64) {
            let all: Vec<f64> =
                (0..20_000).map(|_| latency.draw(&mut draws).as_millis_f64()).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let square = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            (mean, square.sqrt())
        };
        // Of 20,000 samples the mean is within 0.06 at four deviations of its error.
        let (mean, deviation) = sample(Latency::Normal { mean: ms(8), deviation: ms(2) });
        assert!((7.94..8.06).contains(&mean) && (1.95..2.05).contains(&deviation));
        let (mean, deviation) = sample(Latency::Uniform(ms(2), ms(10)));
        assert!((5.93..6.07).contains(&mean) && (2.25..2.37).contains(&deviation));
    }
}
