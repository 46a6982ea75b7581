//! Both ends of a base lane, and a peer that says anything: no panic, no block is written twice or over a newer
//! one, and what is held grows without a hole.

use std::collections::BTreeSet;

use seawall_recovery::base::{Admitted, BaseLimits, BaseSource, BaseTarget};
use seawall_recovery::block_set::BlockSet;
use seawall_recovery::messages::BASE_BLOCKS_MAX;
use seawall_wal::names::{Extent, Lsn};

use crate::script::Script;

const VOLUME_BLOCKS: u64 = 9000;
const STEPS_MAX: usize = 200;
const FLOOR: Lsn = Lsn(5);

/// The input is a script: what the peer says and what the world does.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script::new(input);
    match script.byte() % 3 {
        0 => check_target(&mut script),
        1 => check_source(&mut script),
        _ => check_set(&mut script),
    }
}

fn extent(script: &mut Script<'_>) -> Extent {
    let start = script.number();
    Extent::new(start, u32::try_from(script.number() & 0xffff_ffff).expect("masked"))
}

fn inside(script: &mut Script<'_>) -> Extent {
    let start = script.below(VOLUME_BLOCKS);
    Extent::new(start, u32::try_from(1 + script.below(VOLUME_BLOCKS - start)).expect("small"))
}

fn check_target(script: &mut Script<'_>) {
    let mut target = BaseTarget::new(VOLUME_BLOCKS, script.below(VOLUME_BLOCKS + 1), FLOOR);
    let mut live = BTreeSet::new();
    let mut writing: Vec<Extent> = Vec::new();
    for _ in 0..STEPS_MAX {
        let held = target.held();
        match script.byte() % 6 {
            _ if script.is_over() => break,
            0 => {
                let extent = inside(script);
                if !target.is_writing(extent) {
                    target.on_settled(extent);
                    live.extend(extent.start..extent.end());
                }
            }
            1 => {
                let (extent, as_of) = (extent(script), Lsn(script.number()));
                admit(&mut target, extent, as_of, &live, &mut writing);
            }
            2 | 3 => {
                let next = writing.iter().map(Extent::end).max().unwrap_or(0).max(held);
                let start = if script.flag() { next } else { script.below(VOLUME_BLOCKS) };
                let extent = Extent::new(start, u32::from(script.byte()));
                admit(&mut target, extent, FLOOR, &live, &mut writing);
            }
            4 if !writing.is_empty() => {
                let done = writing.swap_remove(usize::from(script.byte()) % writing.len());
                let moved = target.on_written(done);
                assert_eq!(moved, target.held() > held);
            }
            _ if writing.is_empty() => target.on_begun(),
            _ => (),
        }
        assert!(held <= target.held() && target.held() <= VOLUME_BLOCKS);
        assert!(writing.iter().all(|extent| target.held() <= extent.start), "what is held was written");
    }
}

fn admit(
    target: &mut BaseTarget,
    extent: Extent,
    as_of: Lsn,
    live: &BTreeSet<u64>,
    writing: &mut Vec<Extent>,
) {
    match target.admit(extent, as_of) {
        Ok(Admitted::Held) => assert!(extent.end() <= target.held()),
        Ok(Admitted::Write { runs }) => {
            assert!(as_of >= FLOOR && extent.end() <= VOLUME_BLOCKS);
            let written: BTreeSet<u64> = runs.iter().flat_map(|run| run.start..run.end()).collect();
            let expected = (extent.start..extent.end()).filter(|block| !live.contains(block)).collect();
            assert_eq!(written, expected, "all but what newer records hold");
            assert!(writing.iter().all(|other| !other.overlaps(&extent)));
            assert!(target.is_writing(extent));
            writing.push(extent);
        }
        Err(_) => (),
    }
}

fn check_source(script: &mut Script<'_>) {
    let limits = BaseLimits { extents_max: 4, blocks_max: 2 * u64::from(BASE_BLOCKS_MAX) };
    let mut source = BaseSource::new(VOLUME_BLOCKS, script.below(VOLUME_BLOCKS + 1), limits);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        let (held, next) = (source.held(), source.next());
        match source.wants() {
            Some(from) if script.flag() => {
                let reach = source.reach();
                assert!(from == reach.start && reach.blocks > 0);
                let blocks = 1 + u32::from(script.byte()) % reach.blocks;
                source.on_taken(Extent::new(from, blocks), u32::from(script.byte()) % (blocks + 1));
            }
            Some(_) | None => match source.on_acked(script.number()) {
                Ok(new) => assert_eq!(source.held(), held + new),
                Err(_) => assert_eq!((source.held(), source.next()), (held, next)),
            },
        }
        assert!(source.held() <= source.next() && source.next() <= VOLUME_BLOCKS);
        assert!(source.in_flight() <= 4 && source.in_flight_blocks() <= limits.blocks_max);
    }
}

/// Against a set of blocks one by one.
fn check_set(script: &mut Script<'_>) {
    let mut set = BlockSet::new();
    let mut expected = BTreeSet::new();
    for _ in 0..STEPS_MAX.min(40) {
        if script.is_over() {
            break;
        }
        let extent = inside(script);
        match script.byte() % 4 {
            0 | 1 => {
                set.insert(extent);
                expected.extend(extent.start..extent.end());
            }
            2 => {
                set.remove(extent);
                expected.retain(|block| !extent.contains(*block));
            }
            _ => (),
        }
        assert_eq!(set.len(), expected.len() as u64);
        assert_eq!(set.touches(extent), expected.range(extent.start..extent.end()).next().is_some());
        let gaps = set.gaps(extent);
        assert!(gaps.windows(2).all(|pair| pair[0].end() < pair[1].start), "runs are as long as can be");
        let free: u64 = gaps.iter().map(|gap| u64::from(gap.blocks)).sum();
        let held = expected.range(extent.start..extent.end()).count() as u64;
        assert_eq!(free + held, u64::from(extent.blocks));
        assert!(
            gaps.iter()
                .all(|gap| !set.touches(*gap) && extent.start <= gap.start && gap.end() <= extent.end())
        );
    }
}
