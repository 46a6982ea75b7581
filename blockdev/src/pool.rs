//! The buffer pool: every byte that travels through a node lies in one of its allocations, counted by references.
//!
//! Clients allocate from the top and never reach into the core's reserve at the bottom, so that what replication
//! and checkpoints need can't be used up by requests. Who finds no room waits in line, first come, first served;
//! while a client waits, the core keeps to its reserve, so that the room the client waits for does come.

mod space;

use std::collections::VecDeque;
use std::rc::Rc;

use seawall_engine::io::Buf;
use seawall_wal::names::BLOCK_BYTES;

use crate::ring::arena::{Arena, Span};
use space::Space;

/// Whom an allocation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Payload of clients' requests.
    Client,
    /// What replicas read for themselves, and what comes from peers.
    Core,
}

/// How large the pool is, in blocks of 4096 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolSettings {
    /// All of it.
    pub blocks: u32,
    /// The part that clients can't use.
    pub core_blocks: u32,
}

impl Default for PoolSettings {
    /// 64 MiB, of which 16 MiB are the core's.
    fn default() -> PoolSettings {
        PoolSettings { blocks: 16_384, core_blocks: 4096 }
    }
}

struct Slot {
    start: u32,
    blocks: u32,
    references: u32,
    purpose: Purpose,
}

struct Waiter<W> {
    token: W,
    sizes: Vec<u32>,
}

/// The pool. `W` names those who wait.
pub struct Pool<W> {
    arena: Rc<Arena>,
    space: Space,
    settings: PoolSettings,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    blocks_used: u32,
    clients: VecDeque<Waiter<W>>,
    core: VecDeque<Waiter<W>>,
}

impl<W> Pool<W> {
    /// A pool of this arena, all free.
    #[must_use]
    pub fn new(arena: Rc<Arena>, settings: PoolSettings) -> Pool<W> {
        assert!(settings.core_blocks < settings.blocks, "there is room for clients");
        assert!(settings.blocks as usize * BLOCK_BYTES as usize <= arena.bytes(), "the pool fits its arena");
        Pool {
            arena,
            space: Space::new(settings.blocks),
            settings,
            slots: Vec::new(),
            free_slots: Vec::new(),
            blocks_used: 0,
            clients: VecDeque::new(),
            core: VecDeque::new(),
        }
    }

    /// The most blocks that an allocation for `purpose` may ever have.
    #[must_use]
    pub fn blocks_max(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Client => self.settings.blocks - self.settings.core_blocks,
            Purpose::Core => self.settings.core_blocks,
        }
    }

    /// One buffer per size, all or none, each with one reference. None as well while others wait for the same
    /// purpose: nobody overtakes.
    pub fn alloc(&mut self, purpose: Purpose, sizes: &[u32]) -> Option<Vec<Buf>> {
        if self.line(purpose).is_empty() { self.place(purpose, sizes) } else { None }
    }

    /// As [`Pool::alloc`]; when there is no room, `token` is put in line, and [`Pool::granted`] will name it.
    pub fn alloc_or_wait(&mut self, purpose: Purpose, sizes: Vec<u32>, token: W) -> Option<Vec<Buf>> {
        let wanted: u32 = sizes.iter().sum();
        assert!(wanted <= self.blocks_max(purpose), "nobody waits for what can never be");
        let placed = self.alloc(purpose, &sizes);
        if placed.is_none() {
            self.line(purpose).push_back(Waiter { token, sizes });
        }
        placed
    }

    /// The next one in line whose buffers there is room for now.
    pub fn granted(&mut self) -> Option<(W, Vec<Buf>)> {
        for purpose in [Purpose::Core, Purpose::Client] {
            let Some(first) = self.line(purpose).pop_front() else { continue };
            match self.place(purpose, &first.sizes) {
                Some(placed) => return Some((first.token, placed)),
                None => self.line(purpose).push_front(first),
            }
        }
        None
    }

    /// Takes those out of the line for whom `gone` holds.
    pub fn forget(&mut self, gone: impl Fn(&W) -> bool) {
        self.clients.retain(|waiter| !gone(&waiter.token));
        self.core.retain(|waiter| !gone(&waiter.token));
    }

    /// Takes one more reference to the allocation of `buf`.
    pub fn retain(&mut self, buf: Buf) {
        self.retain_times(buf, 1);
    }

    /// Takes `times` more references to the allocation of `buf`.
    pub fn retain_times(&mut self, buf: Buf, times: u32) {
        let slot = self.slot(buf.slot);
        slot.references = slot.references.checked_add(times).expect("fewer than 2^32 references");
    }

    /// Gives one reference to the allocation of `buf` back; the last one frees it.
    pub fn release(&mut self, buf: Buf) {
        let slot = self.slot(buf.slot);
        // Invariant: buffers-come-home.
        slot.references -= 1;
        if slot.references == 0 {
            let run = slot.start..slot.start + slot.blocks;
            self.blocks_used -= slot.blocks;
            self.free_slots.push(buf.slot);
            self.space.mark(run, true);
        }
    }

    /// The memory of a buffer.
    #[must_use]
    pub fn span(&self, buf: Buf) -> Span {
        let slot = &self.slots[buf.slot as usize];
        assert!(slot.references > 0, "a buffer is used while it is referred to");
        assert!(buf.first + buf.blocks <= slot.blocks, "a buffer lies within its allocation");
        let block = BLOCK_BYTES as usize;
        Span { start: (slot.start + buf.first) as usize * block, bytes: buf.blocks as usize * block }
    }

    /// The memory behind it all.
    #[must_use]
    pub fn arena(&self) -> &Rc<Arena> {
        &self.arena
    }

    /// How many allocations there are. None when everything has come home.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.slots.len() - self.free_slots.len()
    }

    /// How many blocks are allocated.
    #[must_use]
    pub fn blocks_used(&self) -> u32 {
        self.blocks_used
    }

    /// How many wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.clients.len() + self.core.len()
    }

    fn line(&mut self, purpose: Purpose) -> &mut VecDeque<Waiter<W>> {
        match purpose {
            Purpose::Client => &mut self.clients,
            Purpose::Core => &mut self.core,
        }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        let slot = &mut self.slots[slot as usize];
        assert!(slot.references > 0, "a buffer is referred to by those who hold a reference");
        slot
    }

    fn place(&mut self, purpose: Purpose, sizes: &[u32]) -> Option<Vec<Buf>> {
        let mut placed = Vec::with_capacity(sizes.len());
        for &blocks in sizes {
            assert!(blocks > 0, "a buffer has room for something");
            let start = match purpose {
                Purpose::Client => {
                    self.space.highest(blocks, self.settings.core_blocks..self.settings.blocks)
                }
                Purpose::Core if self.clients.is_empty() => {
                    self.space.lowest(blocks, 0..self.settings.blocks)
                }
                Purpose::Core => self.space.lowest(blocks, 0..self.settings.core_blocks),
            };
            let Some(start) = start else {
                for buf in placed {
                    self.release(buf);
                }
                return None;
            };
            self.space.mark(start..start + blocks, false);
            self.blocks_used += blocks;
            let slot = Slot { start, blocks, references: 1, purpose };
            let name = match self.free_slots.pop() {
                Some(name) => {
                    self.slots[name as usize] = slot;
                    name
                }
                None => {
                    self.slots.push(slot);
                    u32::try_from(self.slots.len() - 1).expect("no more slots than blocks")
                }
            };
            placed.push(Buf { slot: name, first: 0, blocks });
        }
        Some(placed)
    }

    /// How many allocations there are for `purpose`.
    #[must_use]
    pub fn allocations_for(&self, purpose: Purpose) -> usize {
        self.slots.iter().filter(|slot| slot.references > 0 && slot.purpose == purpose).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;
    use std::collections::BTreeMap;

    fn pool(blocks: u32, core_blocks: u32) -> Pool<u32> {
        Pool::new(Rc::new(Arena::map(blocks).unwrap()), PoolSettings { blocks, core_blocks })
    }

    fn drain(pool: &mut Pool<u32>) -> Vec<u32> {
        std::iter::from_fn(|| pool.granted()).map(|(token, _)| token).collect()
    }

    #[test]
    fn clients_can_not_use_up_what_the_core_needs() {
        let mut pool = pool(16, 4);
        while pool.alloc(Purpose::Client, &[1]).is_some() {}
        assert_eq!(pool.blocks_used(), 12);
        assert!(pool.alloc(Purpose::Core, &[4]).is_some());
        assert!(pool.alloc(Purpose::Core, &[1]).is_none());
    }

    #[test]
    fn all_or_none_leaves_nothing_behind() {
        let mut pool = pool(16, 4);
        assert!(pool.alloc(Purpose::Client, &[6, 6, 1]).is_none());
        assert_eq!((pool.blocks_used(), pool.allocations()), (0, 0));
        assert!(pool.alloc(Purpose::Client, &[6, 6]).is_some());
    }

    #[test]
    fn the_line_is_kept_and_a_large_wish_is_not_starved_by_small_ones() {
        let mut pool = pool(16, 4);
        let held = pool.alloc(Purpose::Client, &[6, 5]).unwrap();
        assert!(pool.alloc_or_wait(Purpose::Client, vec![12], 1).is_none());
        assert!(pool.alloc_or_wait(Purpose::Client, vec![1], 2).is_none(), "nobody overtakes");
        assert!(pool.alloc(Purpose::Core, &[4]).is_some());
        assert!(
            pool.alloc(Purpose::Core, &[1]).is_none(),
            "nor does the core take the room that is waited for"
        );
        pool.release(held[0]);
        assert_eq!(drain(&mut pool), []);
        pool.release(held[1]);
        assert_eq!(pool.granted().map(|(token, bufs)| (token, bufs[0].blocks)), Some((1, 12)));
        assert!(pool.granted().is_none());
        pool.forget(|token| *token == 2);
        assert_eq!(pool.waiting(), 0);
    }

    #[test]
    fn the_last_reference_frees_whatever_part_it_names() {
        let mut pool = pool(16, 4);
        let buf = pool.alloc(Purpose::Client, &[8]).unwrap()[0];
        pool.retain_times(buf.part(3, 2), 2);
        pool.release(buf);
        pool.release(buf.part(0, 1));
        assert_eq!(pool.allocations(), 1);
        assert_eq!(pool.span(buf.part(3, 2)).bytes, 8192);
        pool.release(buf.part(7, 1));
        assert_eq!((pool.allocations(), pool.blocks_used()), (0, 0));
    }

    proptest! {
        #[test]
        fn buffers_come_home_and_never_overlap(
            acts in proptest::collection::vec((0u32..3, 1u32..9, 0usize..64), 1..400),
        ) {
            let mut pool = pool(64, 16);
            let mut held: Vec<Buf> = Vec::new();
            let mut owner: BTreeMap<usize, u32> = BTreeMap::new();
            for (act, blocks, which) in acts {
                let placed = match act {
                    0 => pool.alloc(Purpose::Client, &[blocks, 1]).unwrap_or_default(),
                    1 => pool.alloc(Purpose::Core, &[blocks]).unwrap_or_default(),
                    _ => {
                        if !held.is_empty() {
                            let buf = held.swap_remove(which % held.len());
                            owner.retain(|_, slot| *slot != buf.slot);
                            pool.release(buf);
                        }
                        Vec::new()
                    }
                };
                for buf in placed {
                    let start = pool.span(buf).start / 4096;
                    for block in start..start + buf.blocks as usize {
                        assert_eq!(owner.insert(block, buf.slot), None, "two own one block");
                    }
                    held.push(buf);
                }
                assert_eq!(owner.len(), pool.blocks_used() as usize);
            }
            for buf in held {
                pool.release(buf);
            }
            assert_eq!((pool.allocations(), pool.blocks_used()), (0, 0));
            assert!(pool.alloc(Purpose::Client, &[48]).is_some() && pool.alloc(Purpose::Core, &[16]).is_some());
        }
    }
}
