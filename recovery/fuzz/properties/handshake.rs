//! A plan for whatever a replica says of itself: no panic, and no plan that our log can't keep, or that lets the
//! replica drop what is home.

use seawall_recovery::facts::{Facts, Ours};
use seawall_recovery::lineage::{below, contradict, row_before};
use seawall_recovery::messages::Begin;
use seawall_recovery::plan::{Plan, Trust, decide};
use seawall_wal::configuration::Configuration;
use seawall_wal::maintenance::Leases;
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange, ReplicaId, VolumeId};
use seawall_wal::superblock::BaseState;

use crate::script::Script;

const VOLUME: VolumeId = VolumeId([7; 16]);
const VOLUME_BLOCKS: u64 = 1000;

fn epoch(counter: u64) -> Epoch {
    Epoch { counter, replica: ReplicaId(2) }
}

/// The input is a script: our own history, which is sound, then their facts, which need not be.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let mut lineage = Vec::new();
    let (mut first, mut counter) = (0, 0);
    for _ in 0..=script.byte() % 6 {
        counter += 1 + u64::from(script.byte() % 2);
        lineage.push(LineageRow { epoch: epoch(counter), first: Lsn(first) });
        first += 1 + u64::from(script.byte() % 8);
    }
    let end = Lsn(first);
    let start = Lsn(script.below(end.0 + 1));
    let settled = Lsn(start.0 + script.below(end.since(start) + 1));
    let log = LsnRange::new(start, end);
    let chain =
        |lsn: Lsn| Crc(u32::try_from(lsn.0 * 31 + row_before(&lineage, lsn).epoch.counter).expect("small"));
    let chain_at = |lsn: Lsn| (log.start <= lsn && lsn <= log.end).then(|| chain(lsn));
    let ours = Ours {
        volume: VOLUME,
        peer: ReplicaId(3),
        epoch: epoch(counter + 1),
        lineage: &lineage,
        log,
        tail_epoch: epoch(counter),
        settled,
        volume_blocks: VOLUME_BLOCKS,
        chain_at: &chain_at,
    };
    let theirs = facts(&mut script, &lineage, &chain);
    for trust in [Trust::Full, Trust::Diverged, Trust::DigestDiffered] {
        check_decision(&ours, &theirs, trust);
    }
}

fn facts(script: &mut Script<'_>, ours: &[LineageRow], chain: &dyn Fn(Lsn) -> Crc) -> Facts {
    let kept = usize::from(script.byte()) % (ours.len() + 1);
    let mut lineage = ours[..kept].to_vec();
    for _ in 0..script.byte() % 4 {
        let after = lineage.last().map_or((0, 0), |row| (row.epoch.counter, row.first.0.saturating_add(1)));
        lineage.push(match script.byte() {
            by @ 0..=199 => LineageRow {
                epoch: epoch(after.0.saturating_add(1 + u64::from(by % 2))),
                first: Lsn(after.1.saturating_add(u64::from(by % 5))),
            },
            _ => LineageRow { epoch: epoch(script.number()), first: Lsn(script.number()) },
        });
    }
    let last = lineage.last().copied();
    let above = last.map_or(0, |row| row.first.0);
    let near = |script: &mut Script<'_>, base: u64| match script.byte() {
        by @ 0..=199 => Lsn(base.saturating_add(u64::from(by % 8))),
        _ => Lsn(script.number()),
    };
    let end = near(script, above);
    let start = Lsn(end.0 - script.below(end.0.min(20) + 1));
    let checkpoint = near(script, start.0);
    Facts {
        volume: VOLUME,
        replica: ReplicaId(3 + u64::from(script.byte() == 9)),
        promised: epoch(script.number()),
        tail_epoch: if script.byte() == 9 { epoch(4) } else { last.map_or(Epoch::ZERO, |row| row.epoch) },
        lineage,
        log: LsnRange { start, end },
        tail_chain: if script.byte() == 9 || end.0 > 1 << 20 { Crc(1) } else { chain(end) },
        checkpoint,
        base: match script.byte() % 4 {
            0 | 1 => BaseState::Complete,
            2 => BaseState::Blank,
            _ => BaseState::Rebuilding {
                cut: near(script, start.0),
                held: script.number(),
                lineage: ours[usize::from(script.byte()) % ours.len()],
            },
        },
        lossy: script.flag(),
        boots: 1,
        promises_lost: false,
    }
}

fn check_decision(ours: &Ours<'_>, theirs: &Facts, trust: Trust) {
    let decision = decide(ours, theirs, trust);
    let Some(plan) = decision.plan.begin() else { return };
    assert!(theirs.are_sound(ours.volume_blocks), "nonsense has no plan");
    assert!(!contradict(ours.lineage, &theirs.lineage) && theirs.promised <= ours.epoch);
    let from = plan.feed_from();
    assert!(ours.log.start <= from && from <= ours.log.end, "a plan starts in our log");
    match decision.plan {
        Plan::ZeroGap { at } => assert!(at == ours.log.end && at == theirs.log.end),
        Plan::CatchUp { from } => assert!(from == theirs.log.end && from < ours.log.end),
        Plan::CutThenCatchUp { to } => assert!(theirs.checkpoint <= to && to < theirs.log.end),
        Plan::Rebuild { resume: None, cut, .. } => assert!(cut <= ours.settled),
        Plan::Rebuild { resume: Some(resume), cut, .. } => {
            assert!(cut <= theirs.checkpoint && theirs.checkpoint <= resume.from);
            assert!(resume.held <= ours.volume_blocks && theirs.checkpoint <= ours.settled);
        }
        Plan::Refuse { .. } => unreachable!("what is refused does not begin"),
    }
    let begin =
        Begin::of(plan, ours.log.end, ours.settled, &Configuration::default(), &Leases::default(), ours);
    assert_eq!(begin.lineage, below(ours.lineage, from));
    assert_eq!(begin.epoch_before, row_before(ours.lineage, from).epoch);
}
