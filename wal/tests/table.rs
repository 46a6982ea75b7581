//! The checksum table against a flat list, and its crash consistency against every crash.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seawall_wal::names::{Crc, Extent};
use seawall_wal::table::{PAGE_ENTRIES, Table, TableError, TableMark, mix, pages, stored};

const BLOCKS: u64 = 3 * PAGE_ENTRIES - 100;
const AREA: usize = 3 * 8192;

type Model = BTreeMap<u64, Crc>;

#[derive(Clone, Debug)]
enum Op {
    Set { block: u64, crc: u32 },
    Holes { extent: Extent },
}

fn ops() -> impl Strategy<Value = Op> {
    let crc = prop_oneof![Just(0), Just(u32::MAX), Just(1), any::<u32>()];
    prop_oneof![
        8 => (0..BLOCKS, crc).prop_map(|(block, crc)| Op::Set { block, crc }),
        1 => (0..BLOCKS, 1..2000_u32).prop_map(|(start, blocks)| {
            let most = u32::try_from(BLOCKS - start).expect("small");
            Op::Holes { extent: Extent::new(start, blocks.min(most)) }
        }),
    ]
}

fn apply(op: &Op, table: &mut Table, model: &mut Model) {
    match op {
        Op::Set { block, crc } => {
            table.set(*block, Some(Crc(*crc)));
            model.insert(*block, stored(Crc(*crc)));
        }
        Op::Holes { extent } => {
            table.set_holes(*extent);
            model.retain(|block, _| !extent.contains(*block));
        }
    }
}

fn check(table: &Table, model: &Model) {
    for block in 0..BLOCKS {
        assert_eq!(table.get(block), model.get(&block).copied(), "block {block}");
    }
    let digest = model.iter().fold(0_u128, |sum, (block, crc)| sum.wrapping_add(mix(*block, *crc)));
    assert_eq!(table.digest(), digest);
    assert_eq!(table.held_blocks(), model.len() as u64);
    let all = Extent::new(0, u32::try_from(BLOCKS).expect("small"));
    let mut at = 0;
    let mut last = None;
    for (run, hole) in table.holes(all) {
        assert!(run.start == at && run.blocks > 0 && last != Some(hole), "runs are as long as they can be");
        assert!((run.start..run.end()).all(|block| model.contains_key(&block) != hole));
        (at, last) = (run.end(), Some(hole));
    }
    assert_eq!(at, BLOCKS);
}

fn load(area: &[u8], mark: TableMark, pairs: usize) -> Result<Table, TableError> {
    let mut table = Table::new(BLOCKS, mark);
    for (piece, offset) in area.chunks(pairs * 8192).zip((0..).step_by(pairs * 8192)) {
        table.load(offset, piece)?;
    }
    table.on_loaded()?;
    Ok(table)
}

fn write(area: &mut [u8], offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).expect("small");
    area[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes what is dirty, and ends the checkpoint.
fn checkpoint(table: &mut Table, area: &mut [u8]) {
    for page in table.dirty().collect::<Vec<_>>() {
        let (offset, bytes) = table.encode(page);
        write(area, offset, &bytes);
    }
    table.on_checkpointed();
    assert_eq!(table.dirty().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_says_what_was_set_and_comes_back_as_of_the_checkpoint(
        rounds in prop::collection::vec(prop::collection::vec(ops(), 0..30), 1..6),
        pairs in 1..4_usize,
    ) {
        let mut area = vec![0; AREA];
        let mut table = Table::new(BLOCKS, TableMark::default());
        let mut model = Model::new();
        for round in &rounds {
            round.iter().for_each(|op| apply(op, &mut table, &mut model));
            check(&table, &model);
            checkpoint(&mut table, &mut area);
            check(&load(&area, table.mark(), pairs).unwrap(), &model);
        }
    }

    /// Every page write of every checkpoint may be the last one, torn at any sector, and the superblock is not
    /// written then. What is loaded is the state as of the checkpoint before, also after several such crashes.
    #[test]
    fn a_crash_within_a_checkpoint_changes_nothing(
        rounds in prop::collection::vec((prop::collection::vec(ops(), 1..20), prop::option::of((0..4_usize, 0..8_usize))), 1..12),
    ) {
        let mut area = vec![0; AREA];
        let mut table = Table::new(BLOCKS, TableMark::default());
        let mut model = Model::new();
        for (ops, crash) in &rounds {
            let mut next = model.clone();
            ops.iter().for_each(|op| apply(op, &mut table, &mut next));
            let Some((whole, sectors)) = crash else {
                checkpoint(&mut table, &mut area);
                model = next;
                continue;
            };
            let mark = table.mark();
            for (page, index) in table.dirty().collect::<Vec<_>>().into_iter().zip(0..) {
                let (offset, bytes) = table.encode(page);
                if index < *whole {
                    write(&mut area, offset, &bytes);
                } else if index == *whole {
                    write(&mut area, offset, &bytes[..sectors * 512]);
                }
            }
            table = load(&area, mark, 3).unwrap();
            check(&table, &model);
        }
    }
}

#[test]
fn a_page_that_is_all_holes_again_is_written_too() {
    let mut area = vec![0; AREA];
    let mut table = Table::new(BLOCKS, TableMark::default());
    table.set(5, Some(Crc(1)));
    checkpoint(&mut table, &mut area);
    table.set_holes(Extent::new(0, 100));
    assert_eq!(table.dirty().collect::<Vec<_>>(), [0]);
    checkpoint(&mut table, &mut area);
    assert_eq!(load(&area, table.mark(), 1).expect("whole").get(5), None);
    table.set_holes(Extent::new(0, 2000));
    assert_eq!(table.dirty().count(), 0, "holes that were holes change nothing");
}

#[test]
fn rot_never_brings_an_older_page_back() {
    let mut area = vec![0; AREA];
    let mut table = Table::new(BLOCKS, TableMark::default());
    for generation in 1..4_u32 {
        table.set(5, Some(Crc(generation)));
        checkpoint(&mut table, &mut area);
    }
    // The first and third generation went to place A, the second to place B.
    for byte in (0..4096).step_by(97) {
        let mut rotten = area.clone();
        rotten[byte] ^= 0x10;
        assert_eq!(
            load(&rotten, table.mark(), 1).err(),
            Some(TableError::Stale { suspect: Some(0) }),
            "{byte}"
        );
        let mut harmless = area.clone();
        harmless[4096 + byte] ^= 0x10;
        assert_eq!(load(&harmless, table.mark(), 1).expect("the other place counts").get(5), Some(Crc(3)));
    }
}

#[test]
fn a_lost_or_misdirected_page_write_is_seen() {
    let mut area = vec![0; AREA];
    let mut table = Table::new(BLOCKS, TableMark::default());
    table.set(5, Some(Crc(1)));
    table.set(1020, Some(Crc(1)));
    checkpoint(&mut table, &mut area);
    let before = area.clone();
    table.set(5, Some(Crc(2)));
    checkpoint(&mut table, &mut area);
    assert_eq!(load(&before, table.mark(), 1).err(), Some(TableError::Stale { suspect: None }), "lost");
    let mut misdirected = before.clone();
    misdirected[8192 + 4096..16384].copy_from_slice(&area[4096..8192]);
    assert_eq!(load(&misdirected, table.mark(), 1).err(), Some(TableError::Stale { suspect: Some(1) }));
}

#[test]
fn pages_that_an_unfinished_checkpoint_left_never_count_later() {
    let mut area = vec![0; AREA];
    let mut table = Table::new(BLOCKS, TableMark::default());
    table.set(5, Some(Crc(1)));
    checkpoint(&mut table, &mut area);
    let mark = table.mark();
    table.set(5, Some(Crc(2)));
    let (offset, bytes) = table.encode(0);
    write(&mut area, offset, &bytes);
    // A crash; then a life in which block 5 does not change.
    let mut table = load(&area, mark, 1).expect("as of the checkpoint");
    assert_eq!(table.get(5), Some(Crc(1)));
    table.set(1020, Some(Crc(9)));
    assert_eq!(table.dirty().collect::<Vec<_>>(), [0, 1], "what was left is overwritten");
    checkpoint(&mut table, &mut area);
    assert_eq!(load(&area, table.mark(), 1).expect("whole").get(5), Some(Crc(1)));
}

#[test]
fn an_abandoned_checkpoint_is_written_again() {
    let mut area = vec![0; AREA];
    let mut table = Table::new(BLOCKS, TableMark::default());
    table.set(5, Some(Crc(1)));
    let _ = table.encode(0);
    assert_eq!(table.dirty().count(), 0);
    table.on_abandoned();
    checkpoint(&mut table, &mut area);
    assert_eq!(load(&area, table.mark(), 1).expect("whole").get(5), Some(Crc(1)));
}

#[test]
fn a_table_is_loaded_whole_or_not_at_all() {
    let mut table = Table::new(BLOCKS, TableMark::default());
    table.load(8192, &[0; 8192]).expect("empty");
    assert_eq!(table.on_loaded(), Err(TableError::Incomplete { loaded: 1, pages: pages(BLOCKS) }));
}
