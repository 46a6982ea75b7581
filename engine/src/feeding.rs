//! A primary's stream to its peers: records from memory while they are on their way to the log, from the log for
//! those who are behind, and pulses when there is nothing else to say.

use alloc::vec::Vec;

use seawall_sender::feed::{Ack, Append, Pulse};
use seawall_sender::frame::Kind;
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{BLOCK_BYTES, Crc, Extent, Lsn, ReplicaId};

use crate::bait::Bait;
use crate::core::{Core, Purpose};
use crate::io::{Area, Buf, DiskDone, DiskError, DiskOp, ReadPiece};
use crate::lane::Lane;
use crate::notice::{AreaName, Notice};
use crate::setup::Ack as AckMode;

impl Core {
    /// What a peer may hear to be settled.
    fn settled_for(&self, lane: &Lane) -> Lsn {
        lane.digest_at.map_or(self.settled, |at| at.min(self.settled))
    }

    /// Send pulses that are due to all peers that are fed.
    pub(crate) fn pulse(&mut self) {
        let now = self.now;
        let interval = self.setup.limits.pulse_interval;
        let Some(primary) = self.primary.as_mut() else { return };
        if primary.pulses.last.after(interval) <= now {
            primary.pulses.want();
            if self.setup.ack == AckMode::Written {
                // What nobody flushes settles all the same, a little later.
                self.flush_to = self.flush_to.max(self.log.end());
            }
        } else if !primary.pulses.is_due() {
            return;
        }
        let epoch = primary.epoch;
        let seq = primary.pulses.on_sent(now, &self.electorate);
        let confirmed = primary.pulses.confirmed();
        self.renew_lease();
        let end = self.log.end();
        let flush_to = if self.setup.ack == AckMode::Written { self.flush_to } else { Lsn::ZERO };
        let fed: Vec<(ReplicaId, SessionId, Lsn)> = self
            .lanes
            .iter()
            .filter_map(|(replica, lane)| Some((*replica, lane.sender.session()?, self.settled_for(lane))))
            .collect();
        for (replica, session, settled) in fed {
            let pulse = Pulse { seq, end, settled, flush_to, confirmed }.encode();
            self.send_lane(replica, Kind::Pulse, epoch, session, &pulse, None);
        }
        self.serve();
    }

    /// Send every fed peer what it lacks and has room for.
    pub(crate) fn feed_lanes(&mut self) {
        if self.primary.is_none() {
            return;
        }
        let fed: Vec<ReplicaId> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.sender.next().is_some())
            .map(|(replica, _)| *replica)
            .collect();
        for replica in fed {
            self.feed_lane(replica);
            self.pump_base(replica);
        }
    }

    fn feed_lane(&mut self, replica: ReplicaId) {
        loop {
            let Some(lane) = self.lanes.get(&replica) else { return };
            let Some(lsn) = lane.sender.next().filter(|next| *next < self.log.end()) else { return };
            if lane.reading {
                return;
            }
            let entry = self.log.entry(lsn).expect("a fed lane's log is pinned");
            let blocks = entry.body_blocks();
            let bytes = append_bytes(blocks);
            if !lane.sender.has_room(bytes) {
                return;
            }
            if self.setup.baited(Bait::SkipRecord) && lane.counts() && lsn.0 % 64 == 63 {
                let session = lane.sender.session().expect("a fed lane has a session");
                self.lane_mut(replica).sender.on_sent(session, lsn, bytes);
                continue;
            }
            if blocks == 0 {
                self.send_record(replica, lsn, None);
            } else if let Some(body) = self.appender.pending(lsn).and_then(|pending| pending.body) {
                self.send_record(replica, lsn, Some(body));
            } else {
                let (what, records) = self.read_of_records(lsn, u64::MAX);
                let what = what.expect("there is a body to read");
                let lane = self.lane_mut(replica);
                lane.reading = true;
                let session = lane.sender.session().expect("a fed lane has a session");
                self.disk(Purpose::FeedRead { replica, session, first: lsn, records }, what);
                return;
            }
        }
    }

    fn send_record(&mut self, replica: ReplicaId, lsn: Lsn, body: Option<Buf>) {
        let header = self.header(lsn).expect("a fed lane's log is pinned");
        let bytes = append_bytes(header.body_blocks());
        let lane = &self.lanes[&replica];
        let session = lane.sender.session().expect("a fed lane has a session");
        let meta = Append::encode(self.settled_for(lane), &header);
        self.send_lane(replica, Kind::Append, self.epoch(), session, &meta, body);
        self.lane_mut(replica).sender.on_sent(session, lsn, bytes);
    }

    /// One read of the bodies of records from `first` on: as many as fit into one buffer, `records` at the most.
    /// No read if they have no bodies.
    pub(crate) fn read_of_records(&self, first: Lsn, records: u64) -> (Option<DiskOp>, u64) {
        let blocks_max =
            u32::try_from(self.setup.limits.feed_read_bytes / u64::from(BLOCK_BYTES)).unwrap_or(64);
        let mut pieces: Vec<ReadPiece> = Vec::new();
        let (mut blocks, mut count, mut lsn) = (0, 0, first);
        while count < records && lsn < self.log.written() {
            let entry = self.log.entry(lsn).expect("what is read is in the log");
            let body = entry.body_blocks();
            if count > 0 && blocks + body > blocks_max {
                break;
            }
            if body > 0 {
                let offset = self.log.body_offset(&entry);
                pieces.push(ReadPiece { area: Area::Log, offset, blocks: body, at: blocks });
            }
            blocks += body;
            count += 1;
            lsn = lsn.next();
        }
        let what = (blocks > 0).then_some(DiskOp::Read { pieces, into: None, blocks });
        (what, count)
    }

    /// What the first record writes whose body is not what was read.
    pub(crate) fn body_mismatch(&self, first: Lsn, records: u64, crcs: &[Crc]) -> Option<Extent> {
        let mut at = 0;
        let mut lsn = first;
        for _ in 0..records {
            for crc in self.log.body_crcs(lsn) {
                if crcs.get(at) != Some(crc) {
                    return self.log.entry(lsn).map(|entry| entry.extent);
                }
                at += 1;
            }
            lsn = lsn.next();
        }
        None
    }

    /// A body of our log is not what was written there.
    pub(crate) fn log_is_corrupt(&mut self, extent: Extent) {
        self.notice(Notice::Corrupt { area: AreaName(Area::Log), extent });
        self.fail(Area::Log, DiskError { errno: 5 });
    }

    /// Old records for a peer came.
    pub(crate) fn on_feed_read(
        &mut self,
        replica: ReplicaId,
        session: SessionId,
        first: Lsn,
        records: u64,
        result: Result<DiskDone, DiskError>,
    ) {
        let current = self
            .lanes
            .get(&replica)
            .is_some_and(|lane| lane.sender.session() == Some(session) && lane.sender.next() == Some(first));
        if !current {
            return self.drop_read(result);
        }
        self.lane_mut(replica).reading = false;
        let (buf, crcs) = match result {
            Ok(DiskDone::Read { buf, crcs }) => (buf, crcs),
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(error) => return self.fail(Area::Log, error),
        };
        if let Some(extent) = self.body_mismatch(first, records, &crcs) {
            self.release(buf);
            return self.log_is_corrupt(extent);
        }
        let (mut at, mut lsn) = (0, first);
        for _ in 0..records {
            let blocks = self.log.entry(lsn).expect("pinned").body_blocks();
            let fits = self.lanes[&replica].sender.has_room(append_bytes(blocks));
            if !fits {
                break;
            }
            let body = (blocks > 0).then(|| buf.part(at, blocks));
            self.send_record(replica, lsn, body);
            at += blocks;
            lsn = lsn.next();
        }
        self.release(buf);
        if self.setup.baited(Bait::SentIsHeld) {
            let home = self.lanes[&replica].sender.frontiers().home;
            let held = Ack { received: lsn, written: lsn, durable: lsn, home };
            let _ = self.lane_acked(replica, session, held);
        }
    }
}

/// What a record counts for in a window.
fn append_bytes(body_blocks: u32) -> u32 {
    body_blocks * BLOCK_BYTES + 512
}
