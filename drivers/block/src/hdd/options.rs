//! How a drive is configured: its stage of a spec string.
//!
//! ```text
//! hdd:exos-x24                                  the profile; all else as the drive ships
//! hdd:exos-x24:order=sptf:depth=16:cache=off    its queue and its write cache
//! hdd:exos-x24:slow=4:slow_for=2s/30s           4 times slower for 2 s in every 30 s
//! hdd:exos-x24:weak=40%+2%:retries=0            retries there, and nowhere else
//! ```

use std::sync::Arc;

use isotherm_seam::Nanos;

use super::Hdd;
use super::profile::{EXOS_X24, PROFILES, Profile};
use super::queue::{DEPTH_MAX, Order};
use super::trouble::Slow;
use crate::spec::{ArgError, Args, LayerKind, OptionHelp, Wrap, nearest, parse_switch, parse_time};

/// The layer's line in the table of specs.
pub const KIND: LayerKind = LayerKind {
    name: "hdd",
    summary: "a mechanical disk: exos-x24 (default), hc670 or future-200t, scaled to what is below",
    options: &[
        OptionHelp {
            name: "order",
            value: "fifo|sptf|aged",
            meaning: "how it orders its own queue; aged where absent",
        },
        OptionHelp { name: "age", value: "0.06", meaning: "order=aged: weight of a command's age" },
        OptionHelp {
            name: "depth",
            value: "1..32",
            meaning: "commands it queues; 32 where absent",
        },
        OptionHelp {
            name: "cache",
            value: "on|off",
            meaning: "whether it answers writes before they are on the medium; on where absent",
        },
        OptionHelp {
            name: "retries",
            value: "1",
            meaning: "times as many retries as is normal; 0 for none",
        },
        OptionHelp { name: "slow", value: "4", meaning: "takes so many times as long" },
        OptionHelp {
            name: "slow_for",
            value: "2s/30s",
            meaning: "slow only for the first 2 s of every 30 s",
        },
        OptionHelp {
            name: "weak",
            value: "40%+2%",
            meaning: "2 % of the capacity, from 40 % on, takes retries to read",
        },
    ],
    example: "hdd:exos-x24:cache=off,file:/srv/disk.img?size=1G",
    parse: |args| Ok(HddOptions::parse(args)?.into_wrap()),
};

/// How one drive behaves.
#[derive(Clone, PartialEq, Debug)]
pub struct HddOptions {
    /// Its mechanics.
    pub profile: Profile,
    /// How it orders its queue.
    pub order: Order,
    /// Commands that it queues; at most [`DEPTH_MAX`].
    pub depth: u32,
    /// Whether it answers writes before they are on the medium.
    pub write_cache: bool,
    /// Multiplies the chance of retries and recalibrations; 0 for none.
    pub retries: f64,
    /// Whether and when it is slow.
    pub slow: Option<Slow>,
    /// A region that takes retries to read: its start and its length, as fractions of the
    /// capacity.
    pub weak: Option<(f64, f64)>,
}

impl Default for HddOptions {
    fn default() -> HddOptions {
        HddOptions::of(&EXOS_X24)
    }
}

impl HddOptions {
    /// A healthy drive of this profile, as it ships.
    pub fn of(profile: &Profile) -> HddOptions {
        HddOptions {
            profile: profile.clone(),
            order: Order::Aged(Order::AGE_WEIGHT),
            depth: DEPTH_MAX,
            write_cache: true,
            retries: 1.0,
            slow: None,
            weak: None,
        }
    }

    /// From its stage of a spec.
    pub fn parse(args: &Args<'_>) -> Result<HddOptions, ArgError> {
        let mut options = match args.value() {
            None => HddOptions::default(),
            Some(name) => HddOptions::of(Profile::named(name).ok_or_else(|| no_such_drive(name))?),
        };
        let order = args.option("order", "fifo, sptf or aged", |text| match text {
            "fifo" => Some(Order::Fifo),
            "sptf" => Some(Order::Sptf),
            "aged" => Some(Order::Aged(Order::AGE_WEIGHT)),
            _ => None,
        })?;
        options.order = order.unwrap_or(options.order);
        let age = args.option("age", "a weight from 0 to 1000", |t| number(t, 0.0, 1e3))?;
        match (age, options.order) {
            (None, _) => {}
            (Some(weight), Order::Aged(_)) => options.order = Order::Aged(weight),
            (Some(weight), _) => return Err(misplaced("age", weight, "only with order=aged")),
        }
        let depth = args.option("depth", "1 to 32", |text| {
            text.parse().ok().filter(|depth| (1..=DEPTH_MAX).contains(depth))
        })?;
        options.depth = depth.unwrap_or(options.depth);
        let cache = args.option("cache", "on or off", parse_switch)?;
        options.write_cache = cache.unwrap_or(options.write_cache);
        let retries = args.option("retries", "a factor from 0 to 1000", |t| number(t, 0.0, 1e3))?;
        options.retries = retries.unwrap_or(options.retries);
        let slow = args.option("slow", "a factor from 1 to 1000", |t| number(t, 1.0, 1e3))?;
        let slow_for = args.option("slow_for", "ON/EVERY, such as 2s/30s", |text| {
            let (on, every) = text.split_once('/')?;
            let (on, every) = (parse_time(on)?, parse_time(every)?);
            (Nanos::ZERO < on && on <= every).then_some((on, every))
        })?;
        options.slow = match (slow, slow_for) {
            (Some(factor), Some((on, every))) => Some(Slow { factor, on, every }),
            (Some(factor), None) => Some(Slow::always(factor)),
            (None, Some(_)) => return Err(misplaced("slow_for", "...", "only with slow=FACTOR")),
            (None, None) => None,
        };
        options.weak = args.option("weak", "START%+LENGTH%, such as 40%+2%", |text| {
            let (start, length) = text.split_once('+')?;
            let (start, length) = (percent(start)?, percent(length)?);
            (start + length <= 1.0).then_some((start, length))
        })?;
        Ok(options)
    }

    fn into_wrap(self) -> Wrap {
        Arc::new(move |inner, seed| Ok(Box::new(Hdd::new(inner, &self, seed)?)))
    }
}

fn no_such_drive(name: &str) -> ArgError {
    let names = || PROFILES.iter().map(|profile| profile.name);
    ArgError::UnknownName {
        text: name.into(),
        hint: nearest(name, names()),
        known: names().collect::<Vec<_>>().join(", "),
    }
}

fn misplaced(option: &str, value: impl std::fmt::Display, expected: &str) -> ArgError {
    ArgError::BadValue { text: format!("{option}={value}"), expected: expected.into() }
}

fn number(text: &str, least: f64, most: f64) -> Option<f64> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

fn percent(text: &str) -> Option<f64> {
    number(text.strip_suffix('%')?, 0.0, 100.0).map(|n| n / 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::profile::HC670;
    use super::*;

    fn parse(text: &str) -> Result<HddOptions, ArgError> {
        HddOptions::parse(&Args::of_layer(text, KIND.options)?)
    }

    #[test]
    fn a_spec_says_everything() {
        let options = parse(
            "hc670:order=aged:age=0.2:depth=4:cache=off:retries=0:slow=4:slow_for=500ms/30s:\
             weak=40%+2%",
        );
        let slow = Slow { factor: 4.0, on: Nanos::from_millis(500), every: Nanos::from_secs(30) };
        let expected = HddOptions {
            profile: HC670,
            order: Order::Aged(0.2),
            depth: 4,
            write_cache: false,
            retries: 0.0,
            slow: Some(slow),
            weak: Some((0.4, 0.02)),
        };
        assert_eq!(options, Ok(expected));
        assert_eq!(parse(""), Ok(HddOptions::default()));
        let always = parse("slow=2").unwrap().slow.unwrap();
        assert_eq!(always.on, always.every);
    }

    #[test]
    fn nothing_is_silently_ignored() {
        for bad in [
            "exos-x25",
            "exos-x24:hc670",
            "order=lifo",
            "order=sptf:age=0.1",
            "age=-1",
            "age=NaN",
            "depth=0",
            "depth=33",
            "cache=maybe",
            "retries=lots",
            "slow=0.5",
            "slow_for=1s/2s",
            "slow=2:slow_for=2s/1s",
            "slow=2:slow_for=0s/1s",
            "slow=2:slow_for=1/2",
            "weak=10+1",
            "weak=99%+2%",
            "colour=red",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("exos-x25").unwrap_err().to_string();
        assert!(error.contains("did you mean `exos-x24`"), "{error}");
    }
}
