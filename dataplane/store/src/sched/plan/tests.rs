//! Decisions, one at a time: no disk, and time is a number.

use isotherm_seam::{BlockSize, Lba, Mono, Nanos};

use super::super::class::{Class, SchedConfig};
use super::super::profile::DiskProfile;
use super::{Item, Kind, Plan, Ticket, Unanswered};

const BLOCKS: u64 = 1 << 30;
const MS: u64 = 1_000_000;

fn plan_of(profile: DiskProfile) -> Plan {
    Plan::new(profile, SchedConfig::default(), BlockSize::B4096, BLOCKS, 32)
}

fn plan() -> Plan {
    plan_of(DiskProfile::nearline())
}

fn item(class: Class, kind: Kind, lba: u64, blocks: u64) -> Item {
    Item { class, kind, lba: Lba(lba), blocks, deadline: None }
}

fn read(plan: &mut Plan, now: u64, class: Class, lba: u64) -> Ticket {
    plan.offer(Mono(now), &item(class, Kind::Read, lba, 1)).unwrap()
}

fn write(plan: &mut Plan, now: u64, lba: u64) -> Ticket {
    plan.offer(Mono(now), &item(Class::Append, Kind::Write, lba, 16)).unwrap()
}

fn finish(plan: &mut Plan, now: u64, ticket: Ticket) {
    plan.done(Mono(now), ticket);
    plan.forget(ticket);
}

#[test]
fn one_is_in_the_drive_and_the_next_is_staged_before_the_earliest_end() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, BLOCKS / 2);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let second = read(&mut plan, 0, Class::ForegroundRead, BLOCKS / 2 + 100);
    let third = read(&mut plan, 0, Class::LateRead, BLOCKS / 2 + 200);
    assert_eq!(plan.next(Mono(0)), None);
    // Overhead, seek and settling are on the way; the next one comes 0.2 ms before their end.
    let profile = DiskProfile::nearline();
    let radius = profile.radius_of(0.5) as f32;
    let transfer = profile.transfer(4096, radius).0 / 8 * 7;
    let earliest = profile.access(radius).0 + transfer - profile.overhead.0;
    assert_eq!(plan.due(Mono(0)), Some(Mono(earliest)));
    assert_eq!(plan.next(Mono(earliest - 1)), None);
    assert_eq!(plan.next(Mono(earliest)), Some(second));
    // Two are there: the third waits until the first is done, however late that is.
    assert_eq!(plan.next(Mono(100 * MS)), None);
    assert_eq!(plan.due(Mono(earliest)), None);
    finish(&mut plan, 100 * MS, first);
    assert_eq!(plan.next(Mono(100 * MS)), None, "the second has only begun");
    let due = plan.due(Mono(100 * MS)).unwrap();
    assert_eq!(plan.next(due), Some(third));
}

#[test]
fn without_an_arm_order_is_that_of_arrival_and_depth_that_of_the_profile() {
    let mut plan = plan_of(DiskProfile::flat(2));
    let place = |i: u64| (i * 0x9e37_79b9) % BLOCKS;
    let tickets: Vec<Ticket> =
        (0..6).map(|i| read(&mut plan, i, Class::ForegroundRead, place(i))).collect();
    let mut order = Vec::new();
    while let Some(ticket) = plan.next(Mono(10)) {
        order.push(ticket);
    }
    assert_eq!(order, tickets[..2]);
    for i in 0..6 {
        finish(&mut plan, 20 + i, order[i as usize]);
        order.extend(plan.next(Mono(20 + i)));
    }
    assert_eq!(order, tickets);
}

#[test]
fn the_way_past_the_queue_is_open_only_without_a_queue() {
    let reading = |class| item(class, Kind::Read, 0, 1);
    let mut flat = plan_of(DiskProfile::flat(2));
    assert!(flat.pass(Mono(0), &reading(Class::Scrub)).is_none(), "it has a budget");
    let first = flat.pass(Mono(0), &reading(Class::ForegroundRead)).unwrap();
    assert!(flat.pass(Mono(0), &reading(Class::LateRead)).is_some());
    assert!(flat.pass(Mono(0), &reading(Class::ForegroundRead)).is_none(), "no room");
    let waiting = read(&mut flat, 0, Class::ForegroundRead, 5);
    finish(&mut flat, 1, first);
    assert!(flat.pass(Mono(1), &reading(Class::ForegroundRead)).is_none(), "one waits");
    assert_eq!(flat.next(Mono(1)), Some(waiting));
    assert!(plan().pass(Mono(0), &reading(Class::ForegroundRead)).is_none(), "it has an arm");
}

#[test]
fn adjacent_appends_go_together_and_in_order() {
    let mut plan = plan();
    let writes: Vec<Ticket> = [0, 16, 32, 1000, 1016].map(|lba| write(&mut plan, 0, lba)).into();
    assert_eq!(plan.next(Mono(0)), Some(writes[0]));
    assert_eq!(plan.next(Mono(0)), Some(writes[1]));
    assert_eq!(plan.next(Mono(0)), Some(writes[2]));
    // What lies elsewhere is another unit: it is staged.
    assert_eq!(plan.next(Mono(0)), None);
    let due = plan.due(Mono(0)).unwrap();
    assert_eq!(plan.next(due), Some(writes[3]));
    assert_eq!(plan.next(due), Some(writes[4]));
    assert_eq!(plan.next(due), None);
}

#[test]
fn a_batch_has_an_end() {
    let mut plan = plan();
    // 64 KiB each: 64 of them are 4 MiB.
    for i in 0..100 {
        write(&mut plan, 0, i * 16);
    }
    let mut together = 0;
    while plan.next(Mono(0)).is_some() {
        together += 1;
    }
    assert_eq!(together, 32, "as many as the device takes");
    let mut plan =
        Plan::new(DiskProfile::nearline(), SchedConfig::default(), BlockSize::B4096, BLOCKS, 256);
    for i in 0..100 {
        write(&mut plan, 0, i * 16);
    }
    let mut together = 0;
    while plan.next(Mono(0)).is_some() {
        together += 1;
    }
    assert_eq!(together, 64);
}

/// With reads waiting: an append is not due, then old enough; a flush is due at once; after it
/// a read has its turn.
#[test]
fn appends_and_reads_take_turns() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let append = write(&mut plan, 0, 500_000);
    let reads: Vec<Ticket> =
        (0..4).map(|i| read(&mut plan, 0, Class::ForegroundRead, 100 + i * 10)).collect();
    finish(&mut plan, 10 * MS, first);
    let young = plan.next(Mono(10 * MS)).unwrap();
    assert!(reads.contains(&young));
    finish(&mut plan, 50 * MS, young);
    assert_eq!(plan.next(Mono(50 * MS)), Some(append), "50 ms old");
    let flush = plan.offer(Mono(51 * MS), &item(Class::Append, Kind::Flush, 0, 0)).unwrap();
    finish(&mut plan, 60 * MS, append);
    let between = plan.next(Mono(60 * MS)).unwrap();
    assert!(reads.contains(&between), "a read between two appends");
    finish(&mut plan, 70 * MS, between);
    assert_eq!(plan.next(Mono(70 * MS)), Some(flush), "19 ms old, and due");
}

/// Nothing of a class's share is lost, and nothing comes before it is due.
#[test]
fn background_waits_for_a_gap_and_its_share() {
    let mut plan = plan();
    // The foreground was here just now.
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let scrub = read(&mut plan, 0, Class::Scrub, 1000);
    finish(&mut plan, MS, first);
    assert_eq!(plan.next(Mono(MS)), None, "no credit yet, and not quiet");
    // 11 ms at 3 % would be 370 ms; quiet comes first.
    let quiet = MS + 250 * MS;
    assert_eq!(plan.due(Mono(MS)), Some(Mono(quiet)));
    assert_eq!(plan.next(Mono(quiet - 1)), None);
    assert_eq!(plan.next(Mono(quiet)), Some(scrub));
}

/// 40 % are soon together: the gap is used as soon as they are, and nothing has to happen then.
#[test]
fn a_share_that_is_due_is_taken_at_its_time() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let repair = read(&mut plan, 0, Class::CriticalRepair, 1000);
    finish(&mut plan, MS, first);
    assert_eq!(plan.next(Mono(MS)), None);
    // 11 ms of a random read at 40 % are 27.5 ms.
    let due = plan.due(Mono(MS)).unwrap();
    assert!((26 * MS..30 * MS).contains(&due.0), "{due:?}");
    assert_eq!(plan.next(Mono(due.0 - MS)), None);
    assert_eq!(plan.next(due), Some(repair));
}

#[test]
fn an_overdue_share_goes_ahead_unless_paused() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let scrub = read(&mut plan, 0, Class::Scrub, 1000);
    // In the drive for long; nobody else waits for long when it ends.
    let later = 2_000 * MS;
    let young = read(&mut plan, later, Class::ForegroundRead, 2000);
    finish(&mut plan, later, first);
    assert_eq!(plan.next(Mono(later)), Some(scrub), "overdue by more than a second");

    // The same, and a read has waited for 150 ms: background is paused.
    finish(&mut plan, later, scrub);
    assert_eq!(plan.next(Mono(later)), Some(young));
    let other = read(&mut plan, later, Class::Scrub, 3000);
    let now = later + 3_000 * MS;
    let old = read(&mut plan, now - 150 * MS, Class::ForegroundRead, 4000);
    finish(&mut plan, now, young);
    assert_eq!(plan.next(Mono(now)), Some(old));
    // And it has waited for 150 ms at a time when the share is late by 5 s more.
    let now = later + 8_000 * MS;
    let old = (old, read(&mut plan, now - 150 * MS, Class::ForegroundRead, 5000));
    finish(&mut plan, now, old.0);
    assert_eq!(plan.next(Mono(now)), Some(other));
}

/// A read does not wait outside for background that is in the drive; the next one does.
#[test]
fn a_read_joins_background_in_the_drive() {
    let mut plan = plan();
    let now = 1_000 * MS;
    for i in 0..20 {
        read(&mut plan, now, Class::Throughput, i * 1_000_000);
    }
    let mut deep = 0;
    while plan.next(Mono(now)).is_some() {
        deep += 1;
    }
    assert_eq!(deep, 8);
    let mine = read(&mut plan, now, Class::ForegroundRead, 77);
    let next = read(&mut plan, now, Class::ForegroundRead, 78);
    assert_eq!(plan.next(Mono(now)), Some(mine));
    assert_eq!(plan.next(Mono(now)), None);
    assert_eq!(plan.stats().of(Class::ForegroundRead).waiting, 1);
    plan.withdraw(next);
    plan.forget(next);
    assert_eq!(plan.next(Mono(now + 50 * MS)), None, "no background beside a read");
}

#[test]
fn late_is_who_waits_at_the_deadline_and_nobody_else() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let with = |plan: &mut Plan, deadline| {
        let read = item(Class::ForegroundRead, Kind::Read, 9, 1);
        plan.offer(Mono(0), &Item { deadline: Some(Mono(deadline)), ..read })
    };
    let soon = with(&mut plan, 30 * MS).unwrap();
    let later = with(&mut plan, 40 * MS).unwrap();
    let refused = with(&mut plan, 20 * MS).unwrap_err();
    assert!(refused.expected > Nanos::from_millis(20), "{refused:?}");
    // The drive is stuck in a retry.
    let staged = plan.next(Mono(25 * MS)).unwrap();
    assert_eq!(staged, soon);
    assert_eq!(plan.expired(Mono(39 * MS)), None, "what is in the drive is not late");
    assert_eq!(plan.due(Mono(39 * MS)), Some(Mono(40 * MS)));
    assert_eq!(plan.expired(Mono(40 * MS)), Some(later));
    assert_eq!(plan.expired(Mono(40 * MS)), None);
    assert_eq!(plan.due(Mono(40 * MS)), None);
}

/// A drive that does not answer makes the wait look as long as it has been silent.
#[test]
fn silence_is_expected_to_last() {
    let mut plan = plan();
    let first = read(&mut plan, 0, Class::ForegroundRead, 0);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let expected =
        |plan: &Plan, ms| plan.expected_wait(Class::ForegroundRead, Mono(ms * MS)).as_millis_f64();
    assert!(expected(&plan, 0) < 12.0);
    assert!((980.0..1_000.0).contains(&expected(&plan, 1_000)), "{}", expected(&plan, 1_000));
    finish(&mut plan, 1_000 * MS, first);
    assert_eq!(expected(&plan, 1_000), 0.0);
}

/// One retry is no limping disk; many slow reads are.
#[test]
fn the_mean_follows_the_disk_and_not_one_retry() {
    let mut plan = plan();
    let mut now = 0;
    let mut serve = |plan: &mut Plan, ms: u64, times: u32| {
        for _ in 0..times {
            let first = read(plan, now, Class::ForegroundRead, now % BLOCKS);
            assert_eq!(plan.next(Mono(now)), Some(first));
            now += ms * MS;
            finish(plan, now, first);
        }
        // With one in the drive and ten that wait.
        let all: Vec<Ticket> =
            (0..11).map(|i| read(plan, now, Class::ForegroundRead, i * 1000)).collect();
        let started = plan.next(Mono(now)).unwrap();
        let expected = plan.expected_wait(Class::ForegroundRead, Mono(now)).as_millis_f64();
        for ticket in all {
            if ticket != started {
                plan.withdraw(ticket);
                plan.forget(ticket);
            }
        }
        now += 11 * MS;
        finish(plan, now, started);
        expected
    };
    let sound = serve(&mut plan, 11, 100);
    let after_retry = serve(&mut plan, 2_000, 1);
    assert!(after_retry < sound * 1.2, "{sound} and then {after_retry} ms");
    let limping = serve(&mut plan, 55, 100);
    assert!((450.0..600.0).contains(&limping), "{limping} ms");
}

/// Reservations of one disk in the middle of the stroke, near each other.
fn reserve(plan: &mut Plan, now: u64, lba: u64) -> Ticket {
    plan.reserve(Mono(now), &item(Class::LateRead, Kind::Read, lba, 1), 0.7).unwrap()
}

/// When the next read may be handed over, with one in the drive since zero.
fn busy(plan: &mut Plan) -> u64 {
    let first = read(plan, 0, Class::ForegroundRead, BLOCKS / 2);
    assert_eq!(plan.next(Mono(0)), Some(first));
    let other = read(plan, 0, Class::ForegroundRead, BLOCKS / 2);
    let at = plan.due(Mono(0)).unwrap().0;
    plan.withdraw(other);
    plan.forget(other);
    at
}

#[test]
fn what_is_reserved_goes_only_when_its_claim_is_granted() {
    let mut plan = plan();
    let ticket = reserve(&mut plan, 0, 7);
    assert_eq!(plan.next(Mono(0)), None);
    assert_eq!(plan.claim(Mono(0)), Some(ticket));
    // The arm waits for the answer: nobody else goes, and no second claim is made.
    let other = read(&mut plan, 0, Class::ForegroundRead, 8);
    let second = reserve(&mut plan, 0, 9);
    assert_eq!((plan.next(Mono(MS)), plan.claim(Mono(MS))), (None, None));
    plan.grant(Mono(MS), ticket);
    assert_eq!(plan.next(Mono(MS)), Some(ticket));
    finish(&mut plan, 9 * MS, ticket);
    // The next one is chosen among all that wait.
    assert_eq!((plan.claim(Mono(9 * MS)), plan.next(Mono(9 * MS))), (None, Some(other)));
    finish(&mut plan, 18 * MS, other);
    assert_eq!(plan.claim(Mono(18 * MS)), Some(second));
    plan.withdraw(second);
    assert_eq!((plan.waiting(), plan.due(Mono(18 * MS))), (0, None));
}

#[test]
fn a_claim_comes_a_round_trip_before_the_arm_is_free() {
    let mut plan = plan();
    let free = busy(&mut plan);
    let ticket = reserve(&mut plan, 0, BLOCKS / 2 + 100);
    let ahead = SchedConfig::default().claim_ahead.0;
    assert_eq!(plan.due(Mono(0)), Some(Mono(free - ahead)));
    assert_eq!(plan.claim(Mono(free - ahead - 1)), None);
    assert_eq!(plan.claim(Mono(free - ahead)), Some(ticket));
    plan.grant(Mono(free - 1), ticket);
    assert_eq!(plan.next(Mono(free - 1)), None, "the drive is not free yet");
    assert_eq!(plan.next(Mono(free)), Some(ticket));
}

#[test]
fn an_unanswered_claim_lets_others_go_and_the_third_ends_the_reservation() {
    let mut plan = plan();
    let dead = reserve(&mut plan, 0, 7);
    let alive = reserve(&mut plan, 1, BLOCKS / 2);
    assert_eq!(plan.claim(Mono(1)), Some(dead), "the nearest");
    let patience = SchedConfig::default().claim_patience.0;
    assert_eq!(plan.due(Mono(1)), Some(Mono(1 + patience)));
    assert_eq!(plan.unanswered(Mono(patience)), None);
    let mut now = 1 + patience;
    assert_eq!(plan.unanswered(Mono(now)), Some(Unanswered::Again));
    assert_eq!(plan.claim(Mono(now)), Some(alive), "the other one, although it is farther");
    plan.grant(Mono(now), alive);
    assert_eq!(plan.next(Mono(now)), Some(alive));
    finish(&mut plan, now + 9 * MS, alive);
    for _ in 0..2 {
        now = plan.due(Mono(now + 9 * MS)).unwrap().0;
        assert_eq!(plan.claim(Mono(now)), Some(dead));
        now += patience;
        let unanswered = plan.unanswered(Mono(now)).unwrap();
        if unanswered == Unanswered::Gone(dead) {
            assert_eq!(plan.stats().of(Class::LateRead).unanswered, 1);
            assert_eq!((plan.waiting(), plan.due(Mono(now))), (0, None));
            return;
        }
    }
    panic!("three claims were not answered, and it is still there");
}

#[test]
fn what_is_parked_is_passed_over_until_it_is_woken() {
    let mut plan = plan();
    let first = reserve(&mut plan, 0, 7);
    let second = reserve(&mut plan, 1, 8);
    assert_eq!(plan.claim(Mono(1)), Some(first));
    plan.park(first);
    assert_eq!(plan.waiting(), 1);
    assert_eq!(plan.claim(Mono(1)), Some(second));
    plan.park(second);
    assert_eq!(
        (plan.claim(Mono(1)), plan.expected_wait(Class::LateRead, Mono(1))),
        (None, Nanos::ZERO)
    );
    // Woken in the other order, they have their places all the same.
    plan.wake(Mono(2), second);
    plan.wake(Mono(2), first);
    assert_eq!(plan.claim(Mono(2)), Some(first));
    // A parked one may be granted straight away, or given up.
    plan.grant(Mono(2), second);
    plan.park(first);
    assert_eq!(plan.next(Mono(2)), Some(second));
    plan.withdraw(first);
    finish(&mut plan, 9 * MS, second);
    assert_eq!((plan.waiting(), plan.due(Mono(9 * MS))), (0, None));
}

#[test]
fn a_reservation_ends_at_its_deadline_parked_or_not() {
    for parks in [false, true] {
        let mut plan = plan();
        busy(&mut plan);
        let late =
            Item { deadline: Some(Mono(50 * MS)), ..item(Class::LateRead, Kind::Read, 7, 1) };
        let ticket = plan.reserve(Mono(0), &late, 0.7).unwrap();
        if parks {
            plan.park(ticket);
        }
        assert!(plan.due(Mono(49 * MS)).is_some_and(|due| due <= Mono(50 * MS)));
        assert_eq!(plan.expired(Mono(50 * MS - 1)), None);
        assert_eq!(plan.expired(Mono(50 * MS)), Some(ticket), "parked: {parks}");
        assert_eq!(plan.waiting(), 0);
    }
}

#[test]
fn a_reservation_counts_as_its_chance_to_be_served() {
    let mut plan = plan();
    busy(&mut plan);
    let alone = plan.expected_wait(Class::LateRead, Mono(0)).0 as f64;
    for lba in 0..10 {
        reserve(&mut plan, 0, lba);
    }
    let waits = plan.expected_wait(Class::LateRead, Mono(0)).0 as f64 - alone;
    let mean = DiskProfile::nearline().mean_service(4096).0 as f64;
    assert!((6.9..7.1).contains(&(waits / mean)), "{}", waits / mean);
}

#[test]
fn without_an_arm_as_many_are_claimed_as_there_is_room_for() {
    let mut plan = plan_of(DiskProfile::flat(2));
    let tickets: Vec<Ticket> = (0..3).map(|i| reserve(&mut plan, i, i)).collect();
    assert_eq!(plan.claim(Mono(3)), Some(tickets[0]));
    assert_eq!(plan.claim(Mono(3)), Some(tickets[1]));
    assert_eq!(plan.claim(Mono(3)), None);
    // One that is not reserved need not wait for their answers.
    let plain = read(&mut plan, 4, Class::ForegroundRead, 9);
    assert_eq!(plan.next(Mono(4)), Some(plain));
    plan.grant(Mono(5), tickets[1]);
    assert_eq!(plan.next(Mono(5)), Some(tickets[1]));
    assert_eq!(plan.next(Mono(5)), None);
}
