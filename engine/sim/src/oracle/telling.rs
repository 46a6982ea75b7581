//! log-is-dense, judged by what replicas tell each other of their logs: the reigns that they name are those of the
//! records that they hold, up to the last one.

use seawall_engine::ballot::Promise;
use seawall_recovery::facts::Facts;
use seawall_recovery::lineage;
use seawall_sender::codec;
use seawall_sender::frame::{FRAME_BYTES, FrameHeader, Kind};
use seawall_wal::names::{Epoch, LineageRow, Lsn};

use crate::oracle::Failure;

/// A frame leaves a node.
pub(crate) fn check(node: usize, head: &[u8]) -> Result<(), Failure> {
    let Some(header) = head.first_chunk().and_then(|head| FrameHeader::decode(head).ok()) else {
        return Ok(());
    };
    let said = &head[FRAME_BYTES..];
    // That it can be read is judged by who takes it.
    if header.kind == Kind::Facts {
        let facts = codec::decode::<Facts>(said).ok();
        facts.map_or(Ok(()), |facts| covered(node, &facts.lineage, facts.log.end, facts.tail_epoch))
    } else if header.kind == Kind::Promise {
        let promise = codec::decode::<Promise>(said).ok();
        promise.map_or(Ok(()), |promise| covered(node, &promise.lineage, promise.log.end, promise.tail_epoch))
    } else {
        Ok(())
    }
}

fn covered(node: usize, rows: &[LineageRow], end: Lsn, tail: Epoch) -> Result<(), Failure> {
    if lineage::covers(rows, end, tail) {
        return Ok(());
    }
    let detail = format!(
        "node {node} tells of a log that ends at {end} with a record of epoch {tail}, and of these reigns: {rows:?}"
    );
    Err(Failure::new("log-is-dense", detail))
}

#[cfg(test)]
mod tests {
    use seawall_wal::names::ReplicaId;

    use super::*;

    fn epoch(counter: u64) -> Epoch {
        Epoch { counter, replica: ReplicaId(1) }
    }

    fn check(rows: &[(u64, u64)], end: u64, tail: u64, expected: Option<&'static str>) {
        let row = |(counter, first): &(u64, u64)| LineageRow { epoch: epoch(*counter), first: Lsn(*first) };
        let rows: Vec<LineageRow> = rows.iter().map(row).collect();
        let found = covered(0, &rows, Lsn(end), epoch(tail)).err();
        assert_eq!(found.map(|failure| failure.check), expected, "{rows:?} below {end} of {tail}");
    }

    #[test]
    fn a_log_whose_last_reign_is_not_named_is_found() {
        check(&[(1, 0), (2, 7)], 9, 2, None);
        check(&[(1, 0)], 9, 2, Some("log-is-dense"));
        check(&[(1, 0), (2, 7)], 7, 1, Some("log-is-dense"));
    }
}
