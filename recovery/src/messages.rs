//! The words of a recovery session. Each is the whole meta part of the frame of its name; the frame's header
//! names volume, epoch and session. `PROTOCOL.md` of the sender says how values become bytes.
//!
//! | primary | replica | |
//! |---|---|---|
//! | `Greet` | | who we are and what our log holds |
//! | | [`Facts`](crate::facts::Facts) or `Refuse` | what the replica's disk proves, once its log is flushed |
//! | `Begin` | | the plan, for the replica to make true |
//! | | `Begun` or `Refuse` | it is true, durably: the feed starts at `Begun::end` |
//! | `Base` ... | | rebuild only: base blocks, with the live feed beside them |
//! | | `BaseAck` ... | how far the base is at home |
//! | `BaseDone` | | the base is whole once the log is durable below its frontier |
//! | `DigestAsk` | | our digest at an LSN |
//! | | `Digest` | the replica's; if equal, its base is durably complete before this leaves |

use alloc::vec::Vec;

use bincode::{Decode, Encode};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::configuration::Configuration;
use seawall_wal::maintenance::Leases;
use seawall_wal::names::{BLOCK_BYTES, Crc, Epoch, Extent, LineageRow, Lsn, LsnRange};

use crate::facts::Ours;
use crate::lineage;

/// The most blocks of payload in one [`Base`].
pub const BASE_BLOCKS_MAX: u32 = 64;
/// The most blocks of one message that says only holes: what a step may walk at once.
pub const BASE_HOLES_MAX: u32 = 1 << 20;

/// The primary's opening. A replica that takes it ends every older session, makes all that its log holds durable,
/// remembers the epoch as its promise if that is higher, and only then answers with its facts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Greet {
    /// The session that it opens.
    pub session: SessionId,
    /// The primary's reign.
    pub epoch: Epoch,
    /// The newest rows of the primary's history, [`ROWS_MAX`](crate::lineage::ROWS_MAX) at the most.
    pub lineage: Vec<LineageRow>,
    /// What the primary's log holds.
    pub log: LsnRange,
    /// Below here, records are durable on a commit quorum.
    pub settled: Lsn,
    /// The number of the newest configuration in the primary's log.
    pub configuration: u64,
}

/// What the replica is to make true of its log and its base.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum BeginPlan {
    /// Its log ends at `from` already.
    Feed {
        /// Where the feed starts.
        from: Lsn,
    },
    /// Drop the records from `to` on, none of which was ever promised to anyone.
    Cut {
        /// Where the log ends then, and the feed starts.
        to: Lsn,
    },
    /// Forget everything: all blocks become holes that are not held, the log becomes empty and starts at `cut`.
    Rebuild {
        /// Base blocks are as of here or later; the feed starts here.
        cut: Lsn,
    },
    /// Go on with a rebuild that was broken off: the base below `held` is kept, records from `from` on are dropped.
    Resume {
        /// The cut of the rebuild that is resumed.
        cut: Lsn,
        /// The base is copied from this block on.
        held: u64,
        /// Where the log ends then, and the feed starts.
        from: Lsn,
    },
}

impl BeginPlan {
    /// Where the replica's log ends when the plan is true, and the feed starts.
    #[must_use]
    pub const fn feed_from(&self) -> Lsn {
        match *self {
            BeginPlan::Feed { from } | BeginPlan::Resume { from, .. } => from,
            BeginPlan::Cut { to } => to,
            BeginPlan::Rebuild { cut } => cut,
        }
    }

    /// The first block that the base lane will bring, if there is a base lane.
    #[must_use]
    pub const fn base_from(&self) -> Option<u64> {
        match *self {
            BeginPlan::Feed { .. } | BeginPlan::Cut { .. } => None,
            BeginPlan::Rebuild { .. } => Some(0),
            BeginPlan::Resume { held, .. } => Some(held),
        }
    }
}

/// The plan, and what the replica needs to make it true and to check it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Begin {
    /// What to make true.
    pub plan: BeginPlan,
    /// Digest of the primary's record below [`BeginPlan::feed_from`]. A replica that keeps its log checks it against
    /// its own before it cuts anything, and refuses with [`Refusal::ChainDiffers`]; one that forgets its log starts
    /// the new one with it.
    pub chain: Crc,
    /// Epoch of the primary's record below [`BeginPlan::feed_from`].
    pub epoch_before: Epoch,
    /// The primary's history of the records below [`BeginPlan::feed_from`]: the replica's own from now on.
    pub lineage: Vec<LineageRow>,
    /// Once durable below here in this session, a lossy replica is lossy no more.
    pub target: Lsn,
    /// Below here, records are durable on a commit quorum.
    pub settled: Lsn,
    /// The newest settled attach record: what a replica that forgets its log could not know otherwise.
    pub attached: Lsn,
    /// The newest settled configuration, for the same reason. As formatted and without members where the replica keeps
    /// its log.
    pub configuration: Configuration,
    /// The settled maintenance leases, for the same reason. None where the replica keeps its log.
    pub maintenance: Leases,
}

impl Begin {
    /// The message for a plan that was decided on `ours`, with the newest settled attachment and configuration, and
    /// the settled maintenance leases.
    #[must_use]
    pub fn of(
        plan: BeginPlan,
        target: Lsn,
        attached: Lsn,
        configuration: &Configuration,
        maintenance: &Leases,
        ours: &Ours<'_>,
    ) -> Begin {
        let forgets = matches!(plan, BeginPlan::Rebuild { .. });
        let from = plan.feed_from();
        let lineage = lineage::below(ours.lineage, from);
        Begin {
            plan,
            // Invariant: pinned-log-stays.
            chain: (ours.chain_at)(from).expect("a plan starts in our log"),
            epoch_before: lineage::row_before(ours.lineage, from).epoch,
            lineage: lineage::newest(lineage).to_vec(),
            target,
            settled: ours.settled,
            attached,
            configuration: if forgets { configuration.clone() } else { Configuration::default() },
            maintenance: if forgets { maintenance.clone() } else { Leases::default() },
        }
    }
}

/// The plan is true, durably.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Begun {
    /// Where the replica's log ends: [`BeginPlan::feed_from`].
    pub end: Lsn,
    /// The first base block that is not held; the volume's size in blocks if the base is complete.
    pub held: u64,
}

/// Base blocks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Base {
    /// Which blocks.
    pub extent: Extent,
    /// They hold every record below here, and no record that isn't durable on a commit quorum.
    pub as_of: Lsn,
    /// Their contents.
    pub body: BaseBody,
}

/// What base blocks hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum BaseBody {
    /// Nothing: all of them are holes. There is no payload, and the extent has any length.
    Holes,
    /// Up to [`BASE_BLOCKS_MAX`] blocks; those that are no holes follow as payload, back to back.
    Blocks {
        /// Bit per block of the extent, the lowest for the first: whether it is a hole.
        holes: u64,
        /// One per block of payload.
        crcs: Vec<Crc>,
    },
}

/// A run of base blocks that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BaseRun {
    /// Which blocks.
    pub extent: Extent,
    /// Where in the payload they are, in blocks; `None` for holes.
    pub at: Option<u32>,
}

impl Base {
    /// Whether the message says what it carries: `payload_blocks` is what came with it.
    ///
    /// # Errors
    /// The peer's fault, if it doesn't.
    pub fn check(&self, volume_blocks: u64, payload_blocks: usize) -> Result<(), Violation> {
        let Extent { start, blocks } = self.extent;
        let inside = start.checked_add(u64::from(blocks)).is_some_and(|end| end <= volume_blocks);
        if blocks == 0 || !inside {
            return Err(Violation::ExtentOutside { extent: self.extent, volume_blocks });
        }
        let expected = match &self.body {
            BaseBody::Holes if blocks > BASE_HOLES_MAX => {
                return Err(Violation::ExtentOutside { extent: self.extent, volume_blocks });
            }
            BaseBody::Holes => 0,
            BaseBody::Blocks { holes, crcs } => {
                if blocks > BASE_BLOCKS_MAX {
                    return Err(Violation::PayloadTooLong { bytes: blocks.saturating_mul(BLOCK_BYTES) });
                }
                if blocks < BASE_BLOCKS_MAX && holes >> blocks != 0 {
                    return Err(Violation::HolesOutside { holes: *holes, blocks });
                }
                let expected = blocks - holes.count_ones();
                if crcs.len() != expected as usize {
                    return Err(Violation::PayloadBlocks { expected: expected as usize, found: crcs.len() });
                }
                expected
            }
        };
        if payload_blocks != expected as usize {
            return Err(Violation::PayloadBlocks { expected: expected as usize, found: payload_blocks });
        }
        Ok(())
    }

    /// The blocks as runs of holes and of data, in order. The message has been checked.
    #[must_use]
    pub fn runs(&self) -> Vec<BaseRun> {
        let BaseBody::Blocks { holes, .. } = &self.body else {
            return [BaseRun { extent: self.extent, at: None }].into();
        };
        let mut runs: Vec<BaseRun> = Vec::new();
        let mut payload = 0;
        for n in 0..self.extent.blocks {
            let hole = holes >> n & 1 == 1;
            match runs.last_mut() {
                Some(run) if run.at.is_none() == hole => run.extent.blocks += 1,
                Some(_) | None => runs.push(BaseRun {
                    extent: Extent::new(self.extent.start + u64::from(n), 1),
                    at: (!hole).then_some(payload),
                }),
            }
            payload += u32::from(!hole);
        }
        runs
    }
}

/// How far the base is at home, not yet durably.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct BaseAck {
    /// The first block that is not held.
    pub held: u64,
}

/// All base blocks were sent, and are held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct BaseDone {
    /// None of them holds a record at or above here: with the log durable below it, the base is whole.
    pub frontier: Lsn,
}

/// The primary's digest, for the replica to compare with its own. If they are equal, the replica makes its base
/// state complete, durably, before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct DigestAsk {
    /// The digest is of the volume's bytes with exactly the records below here. A replica computes its own when
    /// its settled frontier is there: it stops there on its way if it has to.
    pub at: Lsn,
    /// The primary's.
    pub digest: u128,
}

/// The replica's digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Digest {
    /// As it was asked.
    pub at: Lsn,
    /// The replica's.
    pub digest: u128,
}

/// The replica does not do what it was asked. The session ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Refuse {
    /// The highest epoch that the replica promised. A primary below it steps down.
    pub promised: Epoch,
    /// Why.
    pub why: Refusal,
}

/// Why a replica refuses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum Refusal {
    /// It promised a higher epoch.
    Promised,
    /// The record under the plan's start is another than the primary's: the plan is built on sand.
    ChainDiffers,
    /// The plan would drop records that are home already.
    CutBelowHome,
    /// The plan does not fit what its disk holds by now.
    PlanOutdated,
    /// Its disk failed.
    Faulted,
    /// It is shutting down.
    ShuttingDown,
    /// The plan would drop records that clients may rely on, and there is no room to keep them elsewhere first.
    BranchNotKept,
}

impl Refusal {
    /// Its name, for notices and status.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Refusal::Promised => "promised",
            Refusal::ChainDiffers => "chain-differs",
            Refusal::CutBelowHome => "cut-below-home",
            Refusal::PlanOutdated => "plan-outdated",
            Refusal::Faulted => "faulted",
            Refusal::ShuttingDown => "shutting-down",
            Refusal::BranchNotKept => "branch-not-kept",
        }
    }
}
