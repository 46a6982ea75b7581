//! A checksum table on a device that crashes and rots: what loads is the table of the superblock, to the block.

use std::collections::BTreeMap;

use seawall_wal::crc::crc32c;
use seawall_wal::names::{Crc, Extent};
use seawall_wal::table::{PAGE_ENTRIES, PAGE_PAIR_BYTES, Table, TableMark, pages, stored};

use crate::script::Script;

const BLOCKS: u64 = 2 * PAGE_ENTRIES + 5;
const STEPS_MAX: usize = 64;

struct World {
    table: Table,
    /// The device.
    area: Vec<u8>,
    /// What the table holds now, and what the durable superblock speaks of.
    now: BTreeMap<u64, Crc>,
    durable: BTreeMap<u64, Crc>,
    mark: TableMark,
}

/// The input is a script of changes, checkpoints, crashes, damages and loads.
pub(crate) fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let area = vec![0; usize::try_from(pages(BLOCKS) * PAGE_PAIR_BYTES).expect("small")];
    let mark = TableMark::default();
    let table = Table::new(BLOCKS, mark);
    let (now, durable) = (BTreeMap::new(), BTreeMap::new());
    let mut world = World { table, area, now, durable, mark };
    for _ in 0..STEPS_MAX {
        match script.byte() % 8 {
            _ if script.is_over() => break,
            0 | 1 => {
                let block = script.below(BLOCKS);
                let crc = u32::try_from(script.number() & 0xffff_ffff).expect("masked");
                world.set(block, script.flag().then_some(Crc(crc)));
            }
            2 => {
                let start = script.below(BLOCKS);
                let blocks = u32::try_from(script.below(BLOCKS - start)).expect("small");
                world.table.set_holes(Extent::new(start, blocks));
                world.now.retain(|block, _| *block < start || start + u64::from(blocks) <= *block);
            }
            3 => world.checkpoint(),
            4 => world.crash_within_a_checkpoint(&mut script),
            5 => {
                world.table.encode(0);
                world.table.on_abandoned();
            }
            6 => world.reload(),
            _ => return world.damage(&mut script),
        }
    }
    world.reload();
}

impl World {
    fn set(&mut self, block: u64, crc: Option<Crc>) {
        self.table.set(block, crc);
        self.now.remove(&block);
        self.now.extend(crc.map(|crc| (block, stored(crc))));
    }

    fn checkpoint(&mut self) {
        for index in self.table.dirty().collect::<Vec<_>>() {
            let (offset, bytes) = self.table.encode(index);
            let at = usize::try_from(offset).expect("small");
            self.area[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.mark = self.table.next_mark();
        self.table.on_checkpointed();
        self.durable = self.now.clone();
    }

    /// Some pages get to the device, one of them torn; the superblock does not.
    fn crash_within_a_checkpoint(&mut self, script: &mut Script<'_>) {
        for index in self.table.dirty().collect::<Vec<_>>() {
            let (offset, bytes) = self.table.encode(index);
            let at = usize::try_from(offset).expect("small");
            let kept = [0, 512, 2048, bytes.len()][usize::from(script.byte() % 4)];
            self.area[at..at + kept].copy_from_slice(&bytes[..kept]);
        }
        self.reload();
    }

    /// The process starts anew, from the device alone.
    fn reload(&mut self) {
        self.table = Table::new(BLOCKS, self.mark);
        self.table.load(0, &self.area).expect("a crash costs no page both of its places");
        self.table.on_loaded().expect("what the superblock counts on is there");
        self.check_content();
        self.now = self.durable.clone();
    }

    fn check_content(&self) {
        for block in 0..BLOCKS {
            assert_eq!(self.table.get(block), self.durable.get(&block).copied(), "block {block}");
        }
        assert_eq!(self.table.held_blocks(), self.durable.len() as u64);
        let runs: Vec<_> = self.table.holes(Extent::new(0, u32::try_from(BLOCKS).expect("small"))).collect();
        assert_eq!(runs.iter().map(|(run, _)| u64::from(run.blocks)).sum::<u64>(), BLOCKS);
        assert!(runs.windows(2).all(|pair| pair[0].0.end() == pair[1].0.start && pair[0].1 != pair[1].1));
        let mut fresh = Table::new(BLOCKS, TableMark::default());
        self.durable.iter().for_each(|(block, crc)| fresh.set(*block, Some(*crc)));
        assert_eq!(fresh.digest(), self.table.digest(), "a digest depends on the content alone");
    }

    /// A place is damaged, perhaps with its checksum put right; if the table loads, it is still the right one.
    fn damage(mut self, script: &mut Script<'_>) {
        let place = usize::try_from(script.below(2 * pages(BLOCKS))).expect("small") * 4096;
        let forged = script.flag();
        let page = &mut self.area[place..place + 4096];
        let at = usize::try_from(script.below(4096)).expect("small");
        for (byte, change) in page[at..].iter_mut().zip(script.bytes(4)) {
            *byte ^= change;
        }
        if forged {
            let after = crc32c(&page[28..]);
            let mut head = [0; 28];
            head[..24].copy_from_slice(&page[..24]);
            head[24..].copy_from_slice(&after.0.to_le_bytes());
            let crc = crc32c(&head);
            page[24..28].copy_from_slice(&crc.0.to_le_bytes());
        }
        self.table = Table::new(BLOCKS, self.mark);
        if self.table.load(0, &self.area).and_then(|()| self.table.on_loaded()).is_ok() {
            self.check_content();
            self.now = self.durable.clone();
            self.set(3, Some(Crc(7)));
            self.checkpoint();
            self.reload();
        }
    }
}
