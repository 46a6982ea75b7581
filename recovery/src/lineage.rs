//! Who wrote which part of a log: ascending rows of (epoch, first record), and what two such histories share.
//!
//! (epoch, LSN) names a record for ever, and each record is chained to the one before it; so two histories that
//! hold the same row are the same below it, and they part where the first of them leaves that row's epoch.

use seawall_wal::names::{Epoch, LineageRow, Lsn};

/// The most rows that travel in one message. Of a longer history only the newest rows are sent: rows that are
/// missing at the front can only make two histories look more different than they are.
pub const ROWS_MAX: usize = 1024;

/// The newest rows of a history, as many as travel.
#[must_use]
pub fn newest(rows: &[LineageRow]) -> &[LineageRow] {
    &rows[rows.len().saturating_sub(ROWS_MAX)..]
}

/// The rows of the records below `frontier`.
#[must_use]
pub fn below(rows: &[LineageRow], frontier: Lsn) -> &[LineageRow] {
    &rows[..rows.partition_point(|row| row.first < frontier)]
}

/// The row of the last record below `frontier`: that of [`Epoch::ZERO`] if there is none.
#[must_use]
pub fn row_before(rows: &[LineageRow], frontier: Lsn) -> LineageRow {
    const BEGINNING: LineageRow = LineageRow { epoch: Epoch::ZERO, first: Lsn::ZERO };
    below(rows, frontier).last().copied().unwrap_or(BEGINNING)
}

/// Whether `rows` are the history of a log that ends at `end`, its last record of `tail_epoch`: each reign starts
/// above the one before it, at one record, and the last one is that of the last record.
#[must_use]
pub fn covers(rows: &[LineageRow], end: Lsn, tail_epoch: Epoch) -> bool {
    let ascending =
        rows.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].first < pair[1].first);
    let tail = match rows.last() {
        Some(row) => row.first < end && row.epoch == tail_epoch && row.epoch > Epoch::ZERO,
        None => end == Lsn::ZERO && tail_epoch == Epoch::ZERO,
    };
    ascending && tail
}

/// Whether a reign starts at different records in the two histories, which no two true histories do.
#[must_use]
pub fn contradict(ours: &[LineageRow], theirs: &[LineageRow]) -> bool {
    theirs.iter().any(|their| match ours.binary_search_by_key(&their.epoch, |our| our.epoch) {
        Ok(at) => ours[at].first != their.first,
        Err(_) => false,
    })
}

/// Where two histories part: they hold the same records below it, and it is not above either end.
#[must_use]
pub fn fork(ours: &[LineageRow], our_end: Lsn, theirs: &[LineageRow], their_end: Lsn) -> Lsn {
    let shared = ours.iter().enumerate().rev().find_map(|(at, our)| {
        let there = theirs.binary_search_by_key(&our.epoch, |their| their.epoch).ok()?;
        (theirs[there].first == our.first).then_some((at, there))
    });
    match shared {
        Some((here, there)) => leaves(ours, here, our_end).min(leaves(theirs, there, their_end)),
        None => Lsn::ZERO,
    }
}

/// Where a history leaves the reign of its row `at`.
fn leaves(rows: &[LineageRow], at: usize, end: Lsn) -> Lsn {
    rows.get(at + 1).map_or(end, |next| next.first.min(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use seawall_wal::names::ReplicaId;

    fn row(counter: u64, first: u64) -> LineageRow {
        LineageRow { epoch: epoch(counter), first: Lsn(first) }
    }

    fn epoch(counter: u64) -> Epoch {
        Epoch { counter, replica: ReplicaId(1) }
    }

    #[test]
    fn histories_part_where_the_first_of_them_leaves_the_last_reign_that_they_share() {
        let check = |ours: &[LineageRow], our_end, theirs: &[LineageRow], their_end, fork_at| {
            assert_eq!(fork(ours, Lsn(our_end), theirs, Lsn(their_end)), Lsn(fork_at));
            assert_eq!(fork(theirs, Lsn(their_end), ours, Lsn(our_end)), Lsn(fork_at), "either way round");
        };
        let one = [row(1, 0)];
        let two = [row(1, 0), row(2, 10)];
        let other = [row(1, 0), row(3, 7)];
        check(&[], 0, &[], 0, 0);
        check(&one, 5, &[], 0, 0);
        check(&one, 5, &one, 3, 3);
        check(&two, 12, &one, 9, 9);
        check(&two, 12, &one, 10, 10);
        check(&two, 12, &one, 11, 10);
        check(&two, 12, &two, 11, 11);
        check(&two, 12, &other, 20, 7);
        check(&[row(2, 0)], 12, &one, 20, 0);
        check(&two[1..], 12, &two, 11, 11);
    }

    #[test]
    fn a_history_covers_its_log_only_if_it_ascends_to_the_last_record() {
        let rows = [row(1, 0), row(2, 10)];
        assert!(covers(&rows, Lsn(11), epoch(2)));
        assert!(!covers(&rows, Lsn(10), epoch(2)), "its last reign has no record");
        assert!(!covers(&rows, Lsn(11), epoch(1)), "its last record is of another reign");
        assert!(!covers(&[row(2, 0), row(1, 10)], Lsn(11), epoch(1)));
        assert!(!covers(&[row(1, 10), row(2, 10)], Lsn(11), epoch(2)));
        assert!(!covers(&[], Lsn(1), Epoch::ZERO));
        assert!(covers(&[], Lsn(0), Epoch::ZERO));
    }

    #[test]
    fn a_reign_that_starts_twice_is_a_contradiction() {
        assert!(contradict(&[row(1, 0), row(2, 10)], &[row(1, 0), row(2, 11)]));
        assert!(!contradict(&[row(1, 0), row(2, 10)], &[row(1, 0), row(3, 11)]));
    }

    #[test]
    fn the_row_before_a_frontier_is_that_of_the_record_under_it() {
        let rows = [row(1, 0), row(2, 10)];
        assert_eq!(row_before(&rows, Lsn(0)).epoch, Epoch::ZERO);
        assert_eq!(row_before(&rows, Lsn(10)), rows[0]);
        assert_eq!(row_before(&rows, Lsn(11)), rows[1]);
        assert_eq!(below(&rows, Lsn(10)), &rows[..1]);
    }

    proptest! {
        /// Against the record-by-record truth: histories that branch from a common one.
        #[test]
        fn the_fork_is_the_end_of_the_longest_common_run_of_records(
            common in prop::collection::vec(1u64..5, 1..4),
            ours in prop::collection::vec(1u64..5, 0..4),
            theirs in prop::collection::vec(1u64..5, 0..4),
            more in 0u64..4,
        ) {
            let history = |branch: u64, tail: &[u64]| {
                let mut records = Vec::new();
                let lengths = common.iter().map(|n| (0, n)).chain(tail.iter().map(|n| (branch, n)));
                for (counter, (owner, length)) in (1u64..).zip(lengths) {
                    let epoch = Epoch { counter, replica: ReplicaId(owner + 1) };
                    records.extend((0..*length).map(|_| epoch));
                }
                records
            };
            let (mut ours, mut theirs) = (history(1, &ours), history(2, &theirs));
            // One of them may end within the reign that both share.
            let shorter = if more % 2 == 0 { &mut ours } else { &mut theirs };
            shorter.truncate(shorter.len() - usize::try_from(more / 2).expect("small"));
            let rows = |records: &[Epoch]| {
                let mut rows: Vec<LineageRow> = Vec::new();
                for (lsn, &epoch) in (0u64..).zip(records) {
                    if rows.last().is_none_or(|row| row.epoch != epoch) {
                        rows.push(LineageRow { epoch, first: Lsn(lsn) });
                    }
                }
                rows
            };
            let same = ours.iter().zip(&theirs).take_while(|(our, their)| our == their).count();
            let end = |records: &[Epoch]| Lsn(records.len() as u64);
            prop_assert_eq!(fork(&rows(&ours), end(&ours), &rows(&theirs), end(&theirs)), Lsn(same as u64));
        }
    }
}
