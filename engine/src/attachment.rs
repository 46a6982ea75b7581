//! Attachments: which node's clients may write. An attach record in the log begins one, its position names it, and
//! from then on nothing of an older one is admitted: what a client gave up on one node never lands after what it
//! wrote through another.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use seawall_wal::log::Log;
use seawall_wal::names::{Lsn, Origin};
use seawall_wal::record::Kind;

/// The attach records of a log that matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attachments {
    /// The newest of the settled ones; zero if there was none.
    settled: Lsn,
    /// Those that may yet be cut, in order.
    later: Vec<Lsn>,
}

impl Attachments {
    /// Those of a log whose superblock names `known`, and of which everything below `taken` is settled.
    pub(crate) fn found(known: Lsn, log: &Log, taken: Lsn) -> Attachments {
        let mut found = Attachments { settled: known, later: Vec::new() };
        let mut lsn = log.start();
        while lsn < log.end() {
            if log.entry(lsn).is_some_and(|entry| entry.kind == Kind::Attach) {
                found.on_appended(lsn);
            }
            lsn = lsn.next();
        }
        found.on_settled(taken);
        found
    }

    /// A log that begins anew, behind that attachment.
    pub(crate) fn anew(settled: Lsn) -> Attachments {
        Attachments { settled, later: Vec::new() }
    }

    /// One joins the log.
    pub(crate) fn on_appended(&mut self, lsn: Lsn) {
        if lsn > self.newest() {
            self.later.push(lsn);
        }
    }

    /// Everything below `taken` is settled.
    pub(crate) fn on_settled(&mut self, taken: Lsn) {
        let settled = self.later.iter().take_while(|lsn| **lsn < taken).count();
        if let Some(newest) = self.later.drain(..settled).next_back() {
            self.settled = self.settled.max(newest);
        }
    }

    /// The log was cut.
    pub(crate) fn on_cut(&mut self, to: Lsn) {
        self.later.retain(|lsn| *lsn < to);
    }

    /// The newest: what it fences is never admitted again.
    pub(crate) fn newest(&self) -> Lsn {
        self.later.last().copied().unwrap_or(self.settled)
    }

    /// The newest that no cut takes back: its name is never given again.
    pub(crate) fn settled(&self) -> Lsn {
        self.settled
    }
}

/// What a log says of a request that may be in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trace {
    /// It is there.
    Found(Lsn),
    /// It is not.
    Absent,
    /// The log does not reach back to where it would be.
    Unknown,
}

/// Where in the log which request is, built when somebody first asks.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// What was read of the log.
    read: Option<(Lsn, Lsn)>,
    found: BTreeMap<Origin, Lsn>,
}

impl Traces {
    /// Look for a request whose record is not below `seen`.
    pub(crate) fn find(&mut self, log: &Log, origin: Origin, seen: Lsn) -> Trace {
        let wanted = seen.clamp(log.start(), log.end());
        // Records that the log let go of meanwhile are remembered.
        let (from, to) = self.read.filter(|(from, _)| *from <= wanted).unwrap_or((wanted, wanted));
        self.read = Some((from, to));
        self.read_on(log, to.max(log.start()));
        // Invariant: request-lands-once. What can't be known is not taken for absent.
        match self.found.get(&origin) {
            Some(lsn) => Trace::Found(*lsn),
            None if from <= seen => Trace::Absent,
            None => Trace::Unknown,
        }
    }

    fn read_on(&mut self, log: &Log, mut lsn: Lsn) {
        while lsn < log.end() {
            if let Some(entry) = log.entry(lsn).filter(|entry| entry.origin != Origin::NONE) {
                self.found.insert(entry.origin, lsn);
            }
            lsn = lsn.next();
        }
        if let Some((_, to)) = self.read.as_mut() {
            *to = lsn.max(*to);
        }
    }
}

#[cfg(test)]
mod tests {
    use seawall_wal::geometry::Geometry;
    use seawall_wal::log::Position;
    use seawall_wal::names::{Epoch, Extent, ReplicaId, VolumeId};
    use seawall_wal::record::RecordHeader;

    use super::*;

    fn push(log: &mut Log, kind: Kind, origin: Origin) {
        let extent = if kind == Kind::Attach { Extent::default() } else { Extent::new(0, 1) };
        let header = RecordHeader {
            volume: VolumeId([7; 16]),
            epoch: Epoch { counter: 1, replica: ReplicaId(1) },
            lsn: log.end(),
            kind,
            extent,
            chain: log.tail_chain(),
            origin,
            body: Vec::new(),
        };
        log.push(&header).unwrap();
        log.on_written(log.end());
        log.on_durable(log.end());
    }

    fn log(records: u64) -> Log {
        let geometry =
            Geometry { volume_blocks: 100, log_bytes: 4 << 20, unit_bytes: 512, separate_log: false };
        let mut log = Log::new(&geometry, Position::ORIGIN);
        for lsn in 0..records {
            let kind = if lsn % 4 == 1 { Kind::Attach } else { Kind::Trim };
            push(&mut log, kind, origin(lsn));
        }
        log
    }

    fn origin(number: u64) -> Origin {
        Origin { incarnation: Lsn(1), number }
    }

    #[test]
    fn the_newest_attachment_is_in_the_log_or_below_it_and_a_cut_takes_back_what_is_not_settled() {
        let mut found = Attachments::found(Lsn(1), &log(12), Lsn(7));
        assert_eq!((found.newest(), found.settled()), (Lsn(9), Lsn(5)));
        found.on_cut(Lsn(9));
        assert_eq!(found.newest(), Lsn(5));
        found.on_appended(Lsn(10));
        found.on_settled(Lsn(10));
        assert_eq!((found.newest(), found.settled()), (Lsn(10), Lsn(5)));
        found.on_settled(Lsn(11));
        assert_eq!(found.settled(), Lsn(10));
        let none = Attachments::found(Lsn(3), &log(1), Lsn::ZERO);
        assert_eq!((none.newest(), none.settled()), (Lsn(3), Lsn(3)));
    }

    #[test]
    fn a_request_is_found_absent_or_unknown() {
        let mut log = log(12);
        log.release(Lsn(4));
        let mut traces = Traces::default();
        assert_eq!(traces.find(&log, origin(6), Lsn(5)), Trace::Found(Lsn(6)));
        assert_eq!(traces.find(&log, origin(99), Lsn(5)), Trace::Absent);
        assert_eq!(traces.find(&log, origin(99), Lsn(4)), Trace::Absent);
        assert_eq!(traces.find(&log, origin(2), Lsn(1)), Trace::Unknown, "the log starts above it");
        push(&mut log, Kind::Trim, origin(40));
        assert_eq!(traces.find(&log, origin(40), Lsn(5)), Trace::Found(Lsn(12)));
        log.release(Lsn(8));
        assert_eq!(traces.find(&log, origin(6), Lsn(5)), Trace::Found(Lsn(6)), "it was there");
    }
}
