//! Reads that are reserved at several disks and served by some: each is claimed a little before
//! the arm falls free, and goes to the device when the claim has been granted.
//!
//! What must always hold: nothing that is reserved reaches the device without a grant; a claim
//! that nobody answers costs a bounded time, three of them end the reservation; what is parked
//! is neither claimed nor waited for until it is woken.
//!
//! ```text
//!             ┌──── no answer: asked again later, thrice at most
//! reserve ─> asked ──claim──> claimed ──grant──> granted ─> in the device
//!             ^  └─────── park ──┴─> parked
//!             └────────── wake ────────┘
//! ```

use isotherm_seam::{Mono, Nanos};

use super::super::class::Class;
use super::choice::READS;
use super::{Item, NEVER, Plan, Refused, State, Ticket};

/// How far a reserved read has come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Late {
    /// It was not reserved: it goes when it is its turn.
    No,
    Asked(Terms),
    Claimed(Terms),
    Granted,
    Parked(Terms),
}

/// What is known of a reservation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Terms {
    /// That it is served here, before anything else is known.
    chance: f32,
    /// Claims that nobody answered.
    unanswered: u8,
    /// Asked: not to be claimed before. Claimed: no answer is waited for after.
    at: Mono,
}

/// Claims that nobody answers, after which a reservation is gone.
const UNANSWERED_MAX: u8 = 3;

/// Reservations as a whole.
#[derive(Debug, Default)]
pub(super) struct Lates {
    pub(super) parked: Vec<Ticket>,
    asked: u32,
    claimed: u32,
    granted: u32,
    /// Chances of those asked and claimed.
    chances: f64,
}

impl Lates {
    fn enters(&mut self, late: &Late) {
        match late {
            Late::Asked(terms) => {
                self.asked += 1;
                self.chances += f64::from(terms.chance);
            }
            Late::Claimed(terms) => {
                self.claimed += 1;
                self.chances += f64::from(terms.chance);
            }
            Late::Granted => self.granted += 1,
            Late::No | Late::Parked(_) => {}
        }
    }

    /// One of those that wait leaves this state.
    pub(super) fn leaves(&mut self, late: &Late) {
        match late {
            Late::Asked(terms) => {
                self.asked -= 1;
                self.chances -= f64::from(terms.chance);
            }
            Late::Claimed(terms) => {
                self.claimed -= 1;
                self.chances -= f64::from(terms.chance);
            }
            Late::Granted => self.granted -= 1,
            Late::No | Late::Parked(_) => {}
        }
        if self.asked + self.claimed == 0 {
            self.chances = 0.0;
        }
    }
}

/// A claim that nobody answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sched) enum Unanswered {
    /// It will be claimed again.
    Again,
    /// It is gone.
    Gone(Ticket),
}

impl Plan {
    /// Takes a reservation into the queue, unless it would wait for too long. `chance`: that it
    /// is served here.
    pub(in crate::sched) fn reserve(
        &mut self,
        now: Mono,
        item: &Item,
        chance: f32,
    ) -> Result<Ticket, Refused> {
        debug_assert!(item.class == Class::LateRead);
        let ticket = self.offer(now, item)?;
        self.turns(ticket, Late::Asked(Terms { chance, unanswered: 0, at: now }));
        Ok(ticket)
    }

    /// The reservation that is to be claimed now, so that the answer is there when the arm is.
    pub(in crate::sched) fn claim(&mut self, now: Mono) -> Option<Ticket> {
        if self.lates.asked == 0 || now < self.claims_from() || self.append_is_due(now) {
            return None;
        }
        let ticket = self.best_of(now, &READS)?;
        let Late::Asked(terms) = self.entries[ticket as usize].late else { return None };
        // The arm may still be busy for a while; the answer is not waited for before it is not.
        let until = now.max(self.hands_over_at()) + self.config.claim_patience;
        self.turns(ticket, Late::Claimed(Terms { at: until, ..terms }));
        Some(ticket)
    }

    /// Whoever reserved wants it from this disk. Also one that was not claimed, or parked.
    pub(in crate::sched) fn grant(&mut self, now: Mono, ticket: Ticket) {
        self.unpark(now, ticket);
        self.turns(ticket, Late::Granted);
    }

    /// Whoever reserved does not want it for now.
    pub(in crate::sched) fn park(&mut self, ticket: Ticket) {
        let entry = &self.entries[ticket as usize];
        let (Late::Asked(terms) | Late::Claimed(terms)) = entry.late else { return };
        self.remove(ticket);
        self.entries[ticket as usize].late = Late::Parked(terms);
        self.lates.parked.push(ticket);
    }

    /// Whoever reserved wants it after all, from whichever disk is next.
    pub(in crate::sched) fn wake(&mut self, now: Mono, ticket: Ticket) {
        self.unpark(now, ticket);
    }

    /// A claim whose answer is not waited for any more.
    pub(in crate::sched) fn unanswered(&mut self, now: Mono) -> Option<Unanswered> {
        if self.lates.claimed == 0 {
            return None;
        }
        let (ticket, terms) = self.claims().find(|(_, terms)| terms.at <= now)?;
        let unanswered = terms.unanswered + 1;
        if unanswered >= UNANSWERED_MAX {
            self.remove(ticket);
            let class = self.end(ticket);
            self.stats.of_mut(class).unanswered += 1;
            return Some(Unanswered::Gone(ticket));
        }
        // Others first.
        let at = now + Nanos(self.config.claim_again.0 * u64::from(unanswered));
        self.turns(ticket, Late::Asked(Terms { unanswered, at, ..terms }));
        Some(Unanswered::Again)
    }

    /// When `claim` or `unanswered` may have something although nothing happens until then.
    pub(super) fn claims_at(&self, now: Mono) -> Mono {
        let answers = match self.lates.claimed {
            0 => NEVER,
            _ => self.claims().map(|(_, terms)| terms.at).min().unwrap_or(NEVER),
        };
        let from = match self.lates.asked {
            0 => NEVER,
            _ => {
                let asked = self.reads[Class::LateRead.index()].iter();
                let eligible =
                    asked.filter_map(|&ticket| match self.entries[ticket as usize].late {
                        Late::Asked(terms) => Some(terms.at),
                        _ => None,
                    });
                self.claims_from().max(eligible.min().unwrap_or(NEVER))
            }
        };
        // What could be claimed now waits for something else than time.
        answers.min(if from > now { from } else { NEVER })
    }

    /// How many reads are expected before one that comes now: a reservation is as much of one as
    /// it is likely to be served here.
    pub(super) fn reads_ahead(&self) -> f64 {
        let reserved = self.lates.asked + self.lates.claimed;
        f64::from(self.foreground_waiting() - reserved) + self.lates.chances
    }

    /// Whether most of so many reads were reserved.
    pub(super) fn is_mostly_reserved(&self, n: u32) -> bool {
        (self.lates.asked + self.lates.claimed + self.lates.granted) * 2 > n
    }

    /// The oldest read whose claim was granted.
    pub(in crate::sched) fn granted(&self) -> Option<Ticket> {
        if self.lates.granted == 0 {
            return None;
        }
        let mut reads = self.reads[Class::LateRead.index()].iter().copied();
        reads.find(|&ticket| self.entries[ticket as usize].late == Late::Granted)
    }

    /// The arm waits for the answer to a claim.
    pub(super) fn waits_for_claim(&self) -> bool {
        self.profile.rotating && self.lates.claimed > 0
    }

    /// A read that may be chosen now, to go or to be claimed.
    pub(super) fn is_eligible(&self, now: Mono, ticket: Ticket) -> bool {
        match &self.entries[ticket as usize].late {
            Late::No | Late::Granted => true,
            Late::Asked(terms) => terms.at <= now,
            Late::Claimed(_) | Late::Parked(_) => false,
        }
    }

    /// A read that was not reserved.
    pub(super) fn is_plain(&self, ticket: Ticket) -> bool {
        self.entries[ticket as usize].late == Late::No
    }

    /// Takes what waits or is parked out.
    pub(super) fn take_out(&mut self, ticket: Ticket) {
        match self.entries[ticket as usize].late {
            Late::Parked(_) => self.lates.parked.retain(|&other| other != ticket),
            _ => self.remove(ticket),
        }
    }

    /// From when on the next reservation may be claimed.
    fn claims_from(&self) -> Mono {
        let bound = self.lates.claimed + self.lates.granted;
        if !self.profile.rotating {
            let has_room = self.drive.requests() + bound < u32::from(self.profile.depth_latency);
            return if has_room { Mono::ZERO } else { NEVER };
        }
        if bound > 0 {
            return NEVER;
        }
        match self.drive.units() {
            0 => Mono::ZERO,
            _ if self.drive.only_background() => Mono::ZERO,
            1 => Mono(self.hands_over_at().0.saturating_sub(self.config.claim_ahead.0)),
            _ => NEVER,
        }
    }

    /// When the arm can be given the next read.
    fn hands_over_at(&self) -> Mono {
        match self.profile.rotating && self.drive.units() > 0 {
            true => self.stages_at(),
            false => Mono::ZERO,
        }
    }

    fn claims(&self) -> impl Iterator<Item = (Ticket, Terms)> + '_ {
        let reads = self.reads[Class::LateRead.index()].iter();
        reads.filter_map(|&ticket| match self.entries[ticket as usize].late {
            Late::Claimed(terms) => Some((ticket, terms)),
            _ => None,
        })
    }

    /// What waits in the queue has come to this.
    fn turns(&mut self, ticket: Ticket, late: Late) {
        let entry = &mut self.entries[ticket as usize];
        debug_assert!(entry.state == State::Waiting);
        let before = std::mem::replace(&mut entry.late, late);
        self.lates.enters(&late);
        self.lates.leaves(&before);
    }

    /// What is parked goes back to its place in the queue: each is in order of arrival.
    fn unpark(&mut self, now: Mono, ticket: Ticket) {
        let entry = &mut self.entries[ticket as usize];
        let Late::Parked(terms) = entry.late else { return };
        let late = Late::Asked(Terms { at: now, ..terms });
        entry.late = late;
        let arrived = entry.arrived;
        self.lates.parked.retain(|&other| other != ticket);
        let queue = &mut self.reads[Class::LateRead.index()];
        let entries = &self.entries;
        let later = queue.iter().rposition(|&other| entries[other as usize].arrived <= arrived);
        queue.insert(later.map_or(0, |at| at + 1), ticket);
        self.waiting += 1;
        self.lates.enters(&late);
    }
}
