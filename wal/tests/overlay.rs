//! The overlay against one cell per block.

use proptest::prelude::*;
use seawall_wal::names::{Extent, Lsn};
use seawall_wal::overlay::{Cover, Overlay};

const BLOCKS: u64 = 120;

#[derive(Clone, Debug)]
enum Op {
    Insert { extent: Extent, zero: bool },
    Remove { extent: Extent, back: u64 },
    DiscardBelow { back: u64 },
}

fn extents() -> impl Strategy<Value = Extent> {
    (0..BLOCKS, 1..40_u32).prop_map(|(start, blocks)| {
        let most = u32::try_from(BLOCKS - start).expect("small");
        Extent::new(start, blocks.min(most))
    })
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (extents(), any::<bool>()).prop_map(|(extent, zero)| Op::Insert { extent, zero }),
        3 => (extents(), 0..8_u64).prop_map(|(extent, back)| Op::Remove { extent, back }),
        1 => (3..20_u64).prop_map(|back| Op::DiscardBelow { back }),
    ]
}

type Cells = Vec<Option<Cover>>;

fn expected(cells: &Cells, extent: Extent) -> Vec<(u64, Option<Cover>)> {
    (extent.start..extent.end()).map(|block| (block, cells[usize::try_from(block).expect("small")])).collect()
}

/// Block by block what runs say.
fn spread(runs: impl Iterator<Item = (Extent, Option<Cover>)>) -> Vec<(u64, Option<Cover>)> {
    let blocks = |(run, cover): (Extent, Option<Cover>)| {
        (0..run.blocks).map(move |i| {
            let cover = cover.map(|c| Cover { first: if c.zero { 0 } else { c.first + i }, ..c });
            (run.start + u64::from(i), cover)
        })
    };
    runs.flat_map(blocks).collect()
}

proptest! {
    #[test]
    fn every_block_knows_its_newest_record(ops in prop::collection::vec(ops(), 1..60), probes in prop::collection::vec(extents(), 8)) {
        let mut overlay = Overlay::new();
        let mut cells: Cells = vec![None; 120];
        for (op, number) in ops.iter().zip(10..) {
            match op {
                Op::Insert { extent, zero } => {
                    overlay.insert(*extent, Lsn(number), *zero);
                    for i in 0..extent.blocks {
                        let first = if *zero { 0 } else { i };
                        cells[usize::try_from(extent.start).unwrap() + i as usize] = Some(Cover { lsn: Lsn(number), zero: *zero, first });
                    }
                }
                Op::Remove { extent, back } => {
                    // Only what the named record holds goes, and only there.
                    let lsn = Lsn(number - back);
                    overlay.remove(*extent, lsn);
                    let within = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
                    for cell in cells[within].iter_mut().filter(|c| c.is_some_and(|c| c.lsn == lsn)) {
                        *cell = None;
                    }
                }
                Op::DiscardBelow { back } => {
                    let target = Lsn(number.saturating_sub(*back));
                    overlay.discard_below(target);
                    cells.iter_mut().filter(|c| c.is_some_and(|c| c.lsn < target)).for_each(|c| *c = None);
                }
            }
            for probe in &probes {
                prop_assert_eq!(spread(overlay.lookup(*probe)), expected(&cells, *probe));
                let newest = expected(&cells, *probe).iter().filter_map(|(_, c)| c.map(|c| c.lsn)).max();
                prop_assert_eq!(overlay.newest_in(*probe), newest);
            }
        }
    }
}

#[test]
fn a_small_write_in_the_middle_of_a_large_one_leaves_both_ends() {
    let mut overlay = Overlay::new();
    overlay.insert(Extent::new(10, 10), Lsn(1), false);
    overlay.insert(Extent::new(13, 2), Lsn(2), true);
    let found: Vec<_> = overlay.lookup(Extent::new(8, 14)).collect();
    let cover = |lsn, zero, first| Some(Cover { lsn: Lsn(lsn), zero, first });
    let expected = [
        (Extent::new(8, 2), None),
        (Extent::new(10, 3), cover(1, false, 0)),
        (Extent::new(13, 2), cover(2, true, 0)),
        (Extent::new(15, 5), cover(1, false, 5)),
        (Extent::new(20, 2), None),
    ];
    assert_eq!(found, expected);
    overlay.remove(Extent::new(0, 17), Lsn(1));
    let left: Vec<_> =
        overlay.lookup(Extent::new(10, 10)).filter_map(|(run, c)| c.map(|c| (run, c.lsn))).collect();
    assert_eq!(left, [(Extent::new(13, 2), Lsn(2)), (Extent::new(17, 3), Lsn(1))]);
}

#[test]
fn a_trim_of_everything_is_one_cover() {
    let mut overlay = Overlay::new();
    for block in 0..1000 {
        overlay.insert(Extent::new(block * 2, 1), Lsn(block), false);
    }
    assert_eq!(overlay.len(), 1000);
    overlay.insert(Extent::new(0, u32::MAX), Lsn(1000), true);
    assert_eq!(overlay.len(), 1);
    let found: Vec<_> = overlay.lookup(Extent::new(5, 3)).collect();
    assert_eq!(found, [(Extent::new(5, 3), Some(Cover { lsn: Lsn(1000), zero: true, first: 0 }))]);
}

#[test]
#[should_panic(expected = "records come in the order of the log")]
fn an_older_record_never_covers_a_newer_one() {
    let mut overlay = Overlay::new();
    overlay.insert(Extent::new(10, 10), Lsn(5), false);
    overlay.insert(Extent::new(15, 10), Lsn(4), false);
}
