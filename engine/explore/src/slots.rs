//! The shipped choice between the two superblock copies, over all pairs of small ones, and what a copy may say.

use seawall_recovery::base::BaseTarget;
use seawall_wal::configuration::Suffrage;
use seawall_wal::crc::crc32c;
use seawall_wal::geometry::Geometry;
use seawall_wal::log::Log;
use seawall_wal::names::{Epoch, LineageRow, Lsn, ReplicaId, VolumeId};
use seawall_wal::superblock::{
    BaseState, Choice, Cut, MEMBERS_MAX, Member, SlotState, Superblock, Unreadable, choose,
};

use crate::cases::Cases;
use crate::search::{Breach, Report, rule};

pub(crate) const GEOMETRY: Geometry =
    Geometry { volume_blocks: 100, log_bytes: 4 << 20, unit_bytes: 512, separate_log: false };

pub(crate) fn superblock(sequence: u64, volume: VolumeId) -> Superblock {
    Superblock { sequence, ..Superblock::newborn(volume, ReplicaId(2), GEOMETRY, Vec::new()) }
}

fn states() -> Vec<SlotState> {
    let mut states = vec![SlotState::Empty, SlotState::Unreadable { why: Unreadable::Checksum }];
    for sequence in [4, 5, 6] {
        for boots in [1, 2] {
            for (volume, replica) in [(7, 2), (8, 2), (7, 3)] {
                let superblock = superblock(sequence, VolumeId([volume; 16]));
                let replica = ReplicaId(replica);
                states.push(SlotState::Present(Box::new(Superblock { boots, replica, ..superblock })));
            }
        }
    }
    states
}

/// All of them.
#[must_use]
pub fn slots() -> Report {
    let mut cases = Cases::new("superblock copies");
    for a in states() {
        for b in states() {
            let told = || vec![format!("{a:?} beside {b:?}")];
            if !cases.judge(1, told, || judge(&a, &b)) {
                return cases.report();
            }
        }
    }
    let good = superblock(4, VolumeId([7; 16]));
    let same = Superblock::decode(&sealed(&good)) == SlotState::Present(Box::new(good));
    let told = || vec!["a good copy".to_owned()];
    if !cases.judge(1, told, || rule("a-good-copy-is-read", same, String::new)) {
        return cases.report();
    }
    for absurd in Absurd::ALL {
        if !cases.judge(1, || vec![format!("{absurd:?}")], || absurd.judge()) {
            break;
        }
    }
    cases.report()
}

fn judge(a: &SlotState, b: &SlotState) -> Result<(), Breach> {
    let (by, choice) = choose(a.clone(), b.clone());
    let present = |state: &SlotState| match state {
        SlotState::Present(superblock) => Some(superblock.clone()),
        SlotState::Empty | SlotState::Unreadable { .. } => None,
    };
    let (a_says, b_says) = (present(a), present(b));
    let empty = *a == SlotState::Empty && *b == SlotState::Empty;
    match choice {
        Choice::Blank => rule("what-was-written-is-never-blank", empty, || by.to_string()),
        Choice::Refuse => {
            let one = a_says.is_some() != b_says.is_some();
            rule("one-good-copy-suffices", !one && !empty, || by.to_string())
        }
        Choice::Use { superblock, rewrite } => {
            let both = a_says.as_ref().zip(b_says.as_ref());
            rule("a-lost-copy-is-written-anew", rewrite.is_some() == both.is_none(), || by.to_string())?;
            let Some((a, b)) = both else { return Ok(()) };
            let one = (a.volume, a.replica) == (b.volume, b.replica);
            rule("strangers-are-not-chosen-between", one, || by.to_string())?;
            rule("rivals-are-not-chosen-between", a.sequence != b.sequence || a == b, || by.to_string())?;
            let newest = a.sequence.max(b.sequence);
            rule("promised-never-falls", superblock.sequence == newest, || {
                format!("copy {} although there is {newest}", superblock.sequence)
            })
        }
    }
}

/// A copy whose checksum is right and whose content is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Absurd {
    NoBlocks,
    LogPastItsEnd,
    LogBetweenUnits,
    HomePastSettled,
    TooManyMembers,
    LastRow,
    LastRecord,
    LastCheckpoint,
    LastEpoch,
    LastSequence,
    LastBoot,
    LastCut,
    MoreThanAllBlocks,
    WholeAndForgetful,
}

impl Absurd {
    const ALL: [Absurd; 14] = [
        Absurd::NoBlocks,
        Absurd::LogPastItsEnd,
        Absurd::LogBetweenUnits,
        Absurd::HomePastSettled,
        Absurd::TooManyMembers,
        Absurd::LastRow,
        Absurd::LastRecord,
        Absurd::LastCheckpoint,
        Absurd::LastEpoch,
        Absurd::LastSequence,
        Absurd::LastBoot,
        Absurd::LastCut,
        Absurd::MoreThanAllBlocks,
        Absurd::WholeAndForgetful,
    ];

    fn copy(self) -> Superblock {
        let mut copy = superblock(4, VolumeId([7; 16]));
        let last = Lsn(u64::MAX);
        let epoch = Epoch { counter: u64::MAX, replica: ReplicaId(1) };
        let row = LineageRow { epoch: Epoch::ZERO, first: Lsn::ZERO };
        match self {
            Absurd::NoBlocks => copy.geometry.volume_blocks = 0,
            Absurd::LogPastItsEnd => copy.log_start.offset = GEOMETRY.log_bytes,
            Absurd::LogBetweenUnits => copy.log_start.offset = 100,
            Absurd::HomePastSettled => copy.checkpoint = Lsn(1),
            Absurd::TooManyMembers => {
                let member = |id| Member {
                    replica: ReplicaId(id),
                    name: String::new(),
                    address: String::new(),
                    suffrage: Suffrage::Voter,
                };
                copy.configuration.members = (0..=MEMBERS_MAX as u64).map(member).collect();
            }
            Absurd::LastRow => copy.lineage = vec![LineageRow { first: last, ..row }],
            Absurd::LastRecord => copy.log_start.lsn = last,
            Absurd::LastCheckpoint => (copy.checkpoint, copy.settled) = (last, last),
            Absurd::LastEpoch => copy.promised = epoch,
            Absurd::LastSequence => copy.sequence = u64::MAX,
            Absurd::LastBoot => copy.boots = u32::MAX,
            Absurd::LastCut => copy.cut = Some(Cut { lsn: Lsn::ZERO, generation: u32::MAX }),
            Absurd::MoreThanAllBlocks => {
                let held = GEOMETRY.volume_blocks + 1;
                copy.base = BaseState::Rebuilding { cut: Lsn::ZERO, held, lineage: row };
            }
            Absurd::WholeAndForgetful => copy.promises_lost = true,
        }
        copy
    }

    /// Whoever reads a copy goes on from what it says.
    fn judge(self) -> Result<(), Breach> {
        let SlotState::Present(found) = Superblock::decode(&sealed(&self.copy())) else { return Ok(()) };
        let Superblock { geometry, log_start, .. } = *found;
        let placed = geometry.check().is_ok()
            && log_start.offset < geometry.log_bytes
            && log_start.offset.is_multiple_of(u64::from(geometry.unit_bytes));
        rule("offsets-can-be-relied-on", placed, || format!("log from byte {} on", log_start.offset))?;
        let settled = found.checkpoint <= found.settled;
        rule("only-committed-goes-home", settled, || format!("home below {}", found.checkpoint))?;
        // A whole copy votes.
        let votes = found.base == BaseState::Complete;
        let told = || "it votes, and does not know what it promised".to_owned();
        rule("forgotten-promises-bind", !(votes && found.promises_lost), told)?;
        let positions = found.lineage.iter().map(|row| row.first).chain([log_start.lsn, found.checkpoint]);
        positions.for_each(|lsn| assert!(lsn.next() > lsn, "a position goes on"));
        assert!(found.promised.successor(found.replica) > found.promised, "an epoch goes on");
        let log = Log::new(&geometry, log_start).with_generation(found.generation());
        assert!(log.cut_mark(log_start.lsn).generation > found.generation(), "a cut goes on");
        if let BaseState::Rebuilding { held, .. } = found.base {
            assert!(
                BaseTarget::new(geometry.volume_blocks, held, found.checkpoint).held() == held,
                "a base goes on"
            );
        }
        let counted = found.sequence.checked_add(1).zip(found.boots.checked_add(1));
        let (sequence, boots) = counted.expect("writes and starts are counted");
        assert!(!Superblock { sequence, boots, ..*found }.encode().is_empty(), "it is written anew");
        Ok(())
    }
}

/// As it would stand on a device, whoever wrote it: see the floor's document of formats.
fn sealed(superblock: &Superblock) -> Vec<u8> {
    let config = bincode::config::standard().with_little_endian().with_fixed_int_encoding();
    let value = bincode::encode_to_vec(superblock, config).expect("it can be encoded");
    // Magic and version are those of a good copy.
    let mut bytes = crate::slots::superblock(4, superblock.volume).encode()[..12].to_vec();
    bytes.extend_from_slice(&u32::try_from(value.len()).expect("small").to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&value);
    let crc = crc32c(&bytes);
    bytes[16..20].copy_from_slice(&crc.0.to_le_bytes());
    bytes
}
