//! Whether what is left of a stripe was deleted so long ago that nobody has a tombstone any more,
//! and was forgotten where the harm is.
//!
//! Once all members have the tombstone it is released, and dropped when nothing is left that it
//! kills. A disk that loses its own to harm then has the only trace of the object.
//!
//! What must always hold: *deleted* is said only if a member that is to be trusted, and that was
//! given its cell when the stripe was put, has none, and nobody who is to be trusted has one. If the
//! stripe was not deleted, then each member has found harm, or has lost its cell, or has come since
//! and was not filled yet: more than the code survives.
//!
//! Which members were given their cells follows from the epoch of the cells that are left: it is
//! that of the put, whoever has put them again since ([`isotherm_placement::Group::since`]). For the
//! one that a put has left out there is a note.

/// What a member says of its cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// It has it, put under this epoch.
    Has { epoch: u64 },
    /// It has it, and can't read it.
    Unreadable,
    /// It has none.
    Absent,
    /// It has the tombstone.
    Deleted,
    /// It says nothing now.
    Silent,
    /// The map calls its disk out: it will never say anything.
    Out,
}

/// One member's word, and what it is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Testimony {
    pub(crate) word: Word,
    /// Its disk has found no harm.
    pub(crate) is_trusted: bool,
    /// From which epoch of the group on it has its part of what was put.
    pub(crate) since: u64,
}

/// What follows from all members' words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It was deleted.
    Deleted,
    /// It was deleted, if there is no note of a cell that its put has left out.
    DeletedUnlessNoted,
    /// Nothing says so.
    NotDeleted,
    /// Later: who could say so is silent.
    Unknown,
}

/// No group has had an epoch below this one, and who has been filled is a member since then.
const EPOCH_FIRST: u64 = 1;

/// What follows from the words of all members of a stripe.
pub(crate) fn judge(members: &[Testimony]) -> Verdict {
    let is = |word: Word| members.iter().any(|member| member.word == word);
    if is(Word::Deleted) {
        return Verdict::Deleted;
    }
    let has_cell = |member: &Testimony| matches!(member.word, Word::Has { .. } | Word::Unreadable);
    if members.iter().any(|member| member.is_trusted && has_cell(member)) || is(Word::Out) {
        return Verdict::NotDeleted;
    }
    if is(Word::Silent) {
        return Verdict::Unknown;
    }
    // The earliest: who was a member then was given its cell, whatever was put again since.
    let put = members.iter().filter_map(|member| match member.word {
        Word::Has { epoch } => Some(epoch),
        _ => None,
    });
    // Where none can be read it is not known, but for this: it was the first or a later one.
    let put = put.min().unwrap_or(EPOCH_FIRST);
    let is_witness = |member: &Testimony| {
        member.is_trusted && member.word == Word::Absent && member.since <= put
    };
    match members.iter().any(is_witness) {
        true => Verdict::DeletedUnlessNoted,
        false => Verdict::NotDeleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAS: Word = Word::Has { epoch: 3 };

    fn harmed(word: Word) -> Testimony {
        Testimony { word, is_trusted: false, since: 1 }
    }

    fn sound(word: Word, since: u64) -> Testimony {
        Testimony { word, is_trusted: true, since }
    }

    #[test]
    fn who_was_given_a_cell_and_has_none_tells_that_it_was_deleted() {
        let verdict = judge(&[harmed(HAS), sound(Word::Absent, 3), sound(Word::Absent, 1)]);
        assert_eq!(verdict, Verdict::DeletedUnlessNoted);
        // Full seed 103: one has the cell, one has come since, one has dropped its tombstone.
        let verdict = judge(&[harmed(HAS), sound(Word::Absent, 4), sound(Word::Absent, 3)]);
        assert_eq!(verdict, Verdict::DeletedUnlessNoted);
    }

    #[test]
    fn who_came_later_or_found_harm_tells_nothing() {
        for other in [sound(Word::Absent, 4), harmed(Word::Absent), harmed(HAS)] {
            let verdict = judge(&[harmed(HAS), other, sound(Word::Absent, 4)]);
            assert_eq!(verdict, Verdict::NotDeleted, "{other:?}");
        }
    }

    #[test]
    fn one_cell_on_a_disk_that_found_no_harm_is_enough() {
        for word in [HAS, Word::Unreadable] {
            let verdict = judge(&[harmed(HAS), sound(word, 1), sound(Word::Absent, 1)]);
            assert_eq!(verdict, Verdict::NotDeleted);
            // Whoever else is silent.
            let verdict = judge(&[harmed(HAS), sound(word, 1), sound(Word::Silent, 1)]);
            assert_eq!(verdict, Verdict::NotDeleted);
        }
    }

    #[test]
    fn the_earliest_epoch_of_the_cells_is_that_of_the_put() {
        let later = harmed(Word::Has { epoch: 5 });
        let verdict = judge(&[later, harmed(HAS), sound(Word::Absent, 4)]);
        assert_eq!(verdict, Verdict::NotDeleted, "it came between the put and a repair");
        let verdict = judge(&[later, harmed(HAS), sound(Word::Absent, 2)]);
        assert_eq!(verdict, Verdict::DeletedUnlessNoted);
    }

    #[test]
    fn a_tombstone_decides_and_silence_does_not() {
        let cells = [harmed(HAS), sound(Word::Absent, 1)];
        let with = |word| judge(&[cells[0], cells[1], sound(word, 1)]);
        assert_eq!(with(Word::Deleted), Verdict::Deleted);
        assert_eq!(with(Word::Silent), Verdict::Unknown);
        assert_eq!(with(Word::Out), Verdict::NotDeleted);
        // A tombstone on a disk that found harm is one, too.
        assert_eq!(judge(&[cells[0], harmed(Word::Deleted)]), Verdict::Deleted);
    }

    #[test]
    fn of_what_nobody_can_read_only_who_has_its_part_of_everything_can_tell() {
        // Full seed 12008: the tombstone was lost to harm, and the cell that it had killed too.
        let unreadable = harmed(Word::Unreadable);
        let verdict = judge(&[unreadable, sound(Word::Absent, 1)]);
        assert_eq!(verdict, Verdict::DeletedUnlessNoted);
        let verdict = judge(&[unreadable, sound(Word::Absent, 2)]);
        assert_eq!(verdict, Verdict::NotDeleted, "it may have been put before it came");
    }
}
