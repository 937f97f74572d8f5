//! What goes next, and when there is room for it.
//!
//! What must always hold: a rotating drive has one unit and the staged one in it, and more only
//! where it is quiet or where a foreground request finds background in it; a background class
//! passes the foreground only when its share is overdue.

use isotherm_seam::{Mono, Nanos};

use super::super::class::{Class, Tier};
use super::super::order;
use super::{Batch, Kind, NEVER, Plan, Ticket};

/// The classes that have a budget.
const BACKGROUND: [Class; 5] =
    [Class::CriticalRepair, Class::Repair, Class::Rebalance, Class::Scrub, Class::Throughput];

/// The classes of reads that somebody waits for, and those on the account of appends.
pub(super) const READS: [Class; 3] = [Class::ForegroundRead, Class::LateRead, Class::Append];

impl Plan {
    /// The next request, and whether it goes on where the one before it ends.
    pub(super) fn choose(&mut self, now: Mono) -> Option<(Ticket, bool)> {
        if let Some(ticket) = self.next_of_batch() {
            return Some((ticket, true));
        }
        if self.background_waits() {
            self.accrue(now);
        }
        let ticket = if self.is_quiet(now) {
            self.choose_quiet(now)?
        } else if !self.is_open(now) {
            return None;
        } else if self.foreground_waits() {
            match self.overdue(now) {
                Some(class) => self.of_background(now, class)?,
                None => self.of_foreground(now)?,
            }
        } else {
            let class = self.in_the_gap()?;
            self.of_background(now, class)?
        };
        Some((ticket, false))
    }

    /// When the drive may have room, or a class its share, if nothing happens until then.
    pub(super) fn opens_at(&self, now: Mono) -> Mono {
        let mut at = NEVER;
        let mut consider = |candidate: Option<Mono>| {
            // What lies behind waits for a completion, not for time.
            if let Some(candidate) = candidate.filter(|&candidate| candidate > now) {
                at = at.min(candidate);
            }
        };
        if self.foreground_waits() {
            if self.profile.rotating && self.config.stage_ahead && self.drive.units() == 1 {
                consider(Some(self.stages_at()));
            }
        } else {
            consider(Some(self.foreground_at + self.config.quiet_after));
            if self.profile.rotating && self.drive.units() == 0 {
                for class in BACKGROUND {
                    let cost = self.cost_of_next(class);
                    consider(cost.and_then(|cost| self.budgets.lags_at(class, cost, Nanos::ZERO)));
                }
            }
        }
        at
    }

    /// Nobody in the foreground has wanted anything for a while.
    pub(super) fn is_quiet(&self, now: Mono) -> bool {
        !self.foreground_waits()
            && self.drive.only_background()
            && now >= self.foreground_at + self.config.quiet_after
    }

    pub(super) fn accrue(&mut self, now: Mono) {
        let costs = Class::ALL.map(|class| self.cost_of_next(class));
        self.budgets.accrue(now, |class| costs[class.index()]);
    }

    pub(super) fn foreground_waits(&self) -> bool {
        !(self.is_idle(Class::ForegroundRead)
            && self.is_idle(Class::LateRead)
            && self.is_idle(Class::Append))
    }

    /// Whether a background class has something to do. Where none has, nothing is to be known of
    /// their credit: it grows all the same.
    fn background_waits(&self) -> bool {
        self.with_work().next().is_some()
    }

    /// Whether the drive may be given another unit while the foreground is busy.
    fn is_open(&self, now: Mono) -> bool {
        if !self.profile.rotating {
            return self.drive.requests() < u32::from(self.profile.depth_latency);
        }
        let staged = || self.config.stage_ahead && now >= self.stages_at();
        match self.drive.units() {
            0 => true,
            // What is in the drive is not waited for: the drive puts them in order.
            _ if self.drive.only_background() && self.foreground_waits() => true,
            1 => self.foreground_waits() && staged(),
            _ => false,
        }
    }

    /// From when on the next unit is handed over although one is still in the drive: so late
    /// that the drive has nothing to reorder, so early that it never stands still.
    pub(super) fn stages_at(&self) -> Mono {
        Mono(self.drive.earliest_end().0.saturating_sub(self.profile.overhead.0))
    }

    /// A write that waits and begins where the one just handed over ends.
    fn next_of_batch(&mut self) -> Option<Ticket> {
        let batch = self.batch.take()?;
        let &ticket = self.writes[batch.class.index()].front()?;
        let entry = &self.entries[ticket as usize];
        let goes_on = entry.kind == Kind::Write && entry.lba == batch.next;
        if !goes_on || batch.bytes_left == 0 {
            return None;
        }
        self.batch = Some(self.batch_after(ticket, batch.bytes_left));
        Some(ticket)
    }

    fn batch_after(&self, ticket: Ticket, bytes_left: u64) -> Batch {
        let entry = &self.entries[ticket as usize];
        let bytes = entry.blocks << self.block.shift();
        Batch {
            class: entry.class,
            next: entry.lba + entry.blocks,
            bytes_left: bytes_left.saturating_sub(bytes),
        }
    }

    /// The first write of a class; those that follow it come with it.
    fn first_write(&mut self, class: Class) -> Option<Ticket> {
        let &ticket = self.writes[class.index()].front()?;
        if self.entries[ticket as usize].kind == Kind::Write {
            self.batch = Some(self.batch_after(ticket, self.config.append_batch_bytes));
        }
        Some(ticket)
    }

    fn of_foreground(&mut self, now: Mono) -> Option<Ticket> {
        if self.append_is_due(now) { self.first_write(Class::Append) } else { self.best_read(now) }
    }

    /// Whether an append goes before the reads that wait, if any do.
    pub(super) fn append_is_due(&self, now: Mono) -> bool {
        let Some(&first) = self.writes[Class::Append.index()].front() else {
            // Reads on the account of appends have no order to keep; they are few.
            return false;
        };
        if self.foreground_waiting() == 0 {
            return true;
        }
        let entry = &self.entries[first as usize];
        let is_ripe = self.append_commands > 0
            || now.since(entry.arrived) >= self.config.append_age
            || self.append_bytes >= self.config.append_batch_bytes;
        is_ripe && !self.append_went
    }

    /// The read of the foreground that is next, if it may go now: one that is reserved goes when
    /// its claim has been granted, and then first.
    fn best_read(&self, now: Mono) -> Option<Ticket> {
        if let Some(granted) = self.granted() {
            return Some(granted);
        }
        if self.waits_for_claim() {
            return None;
        }
        if !self.profile.rotating {
            // Room that is there is for whoever can use it; claims are made beside it.
            let firsts = READS.iter().flat_map(|class| &self.reads[class.index()]).copied();
            let goes = firsts.filter(|&ticket| self.is_plain(ticket));
            return goes.min_by_key(|&ticket| self.entries[ticket as usize].arrived);
        }
        self.best_of(now, &READS).filter(|&ticket| self.is_plain(ticket))
    }

    pub(super) fn best_of(&self, now: Mono, classes: &[Class]) -> Option<Ticket> {
        let tickets = || {
            let all = classes.iter().flat_map(|class| &self.reads[class.index()]).copied();
            all.filter(|&ticket| self.is_eligible(now, ticket))
        };
        if !self.profile.rotating {
            // In order of arrival; each list is.
            return tickets().min_by_key(|&ticket| self.entries[ticket as usize].arrived);
        }
        let n = classes.iter().map(|class| self.reads[class.index()].len()).sum::<usize>() as u32;
        let reads = tickets().map(|ticket| self.waiting_read(ticket));
        let mean = Nanos(self.mean_ns as u64);
        let reserved = self.is_mostly_reserved(n);
        let at = order::choose(&self.profile, self.place, now, mean, n, reserved, reads)?;
        tickets().nth(at)
    }

    /// The class that may go ahead of the foreground: its share is overdue, the most lagging one.
    fn overdue(&self, now: Mono) -> Option<Class> {
        let allowed = match self.is_paused(now) {
            true => self.config.pause_max,
            false => self.config.overdue_after,
        };
        self.most_lagging(allowed)
    }

    /// A foreground read has waited for too long.
    fn is_paused(&self, now: Mono) -> bool {
        let oldest = |class: Class| self.reads[class.index()].front();
        [Class::ForegroundRead, Class::LateRead].into_iter().filter_map(oldest).any(|&ticket| {
            now.since(self.entries[ticket as usize].arrived) >= self.config.pause_after
        })
    }

    /// The class that may go as nobody in the foreground waits.
    fn in_the_gap(&self) -> Option<Class> {
        if self.profile.rotating {
            return self.most_lagging(Nanos::ZERO);
        }
        // Without an arm a gap is a gap: what goes in costs the foreground nothing but room.
        let room = u32::from(self.profile.depth_throughput).div_ceil(2);
        if self.drive.background() >= room {
            return None;
        }
        self.budgets.by_weight(self.with_work())
    }

    fn most_lagging(&self, least: Nanos) -> Option<Class> {
        let lags = BACKGROUND.into_iter().filter_map(|class| {
            let lag = self.budgets.lag(class, self.cost_of_next(class)?)?;
            (lag >= least).then_some((lag, class))
        });
        // Of equals the first class.
        lags.max_by_key(|&(lag, class)| (lag, core::cmp::Reverse(class))).map(|(_, class)| class)
    }

    fn choose_quiet(&mut self, now: Mono) -> Option<Ticket> {
        if self.drive.requests() >= u32::from(self.profile.depth_throughput) {
            return None;
        }
        let class = self.budgets.by_weight(self.with_work())?;
        self.of_background(now, class)
    }

    fn with_work(&self) -> impl Iterator<Item = Class> + '_ {
        BACKGROUND.into_iter().filter(|&class| !self.is_idle(class))
    }

    /// The next request of a background class: its oldest write, or a read if one is older.
    fn of_background(&mut self, now: Mono, class: Class) -> Option<Ticket> {
        debug_assert!(class.tier() == Tier::Background);
        let arrived = |ticket: Option<&Ticket>| {
            ticket.map_or(NEVER, |&ticket| self.entries[ticket as usize].arrived)
        };
        let write = arrived(self.writes[class.index()].front());
        let read = arrived(self.reads[class.index()].front());
        if write <= read { self.first_write(class) } else { self.best_of(now, &[class]) }
    }

    /// About what the next request of a background class will cost; `None` if it has none.
    fn cost_of_next(&self, class: Class) -> Option<Nanos> {
        let read = self.reads[class.index()].front();
        let &ticket = read.or(self.writes[class.index()].front())?;
        Some(self.rough(self.entries[ticket as usize].blocks << self.block.shift()))
    }
}
