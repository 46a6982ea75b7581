//! Keeps the superblock: what is to be on disk, what is, and who waits for it.
//!
//! Writes alternate between the two slots, one at a time, so that a torn write leaves the other slot whole.

use alloc::vec::Vec;

use seawall_wal::superblock::{Slot, Superblock};

/// A state of the superblock's content; later ones include earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version(u64);

/// How safe a version must be before something may be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Safety {
    /// In one slot.
    Once,
    /// In both slots, written one after the other: rot of one copy can't undo it.
    Twice,
}

/// The superblock's keeper. `W` is what waits.
#[derive(Debug)]
pub(crate) struct Scribe<W> {
    content: Superblock,
    version: Version,
    /// The version in slots A and B.
    stored: [Version; 2],
    writing: Option<(usize, Version)>,
    waiting: Vec<(Version, Safety, W)>,
}

impl<W> Scribe<W> {
    /// The keeper of `content`, as it was read; nothing about the slots is taken for granted.
    pub(crate) fn new(content: Superblock) -> Scribe<W> {
        Scribe { content, version: Version(1), stored: [Version(0); 2], writing: None, waiting: Vec::new() }
    }

    /// What is, or is about to be, on disk.
    pub(crate) fn content(&self) -> &Superblock {
        &self.content
    }

    /// Whether somebody waits for a change that is not yet as safe as asked.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Change the content. `then` waits until the change is as safe as asked.
    pub(crate) fn change(&mut self, safety: Safety, then: W, edit: impl FnOnce(&mut Superblock)) {
        edit(&mut self.content);
        self.version = Version(self.version.0 + 1);
        self.waiting.push((self.version, safety, then));
    }

    /// The next write, if one is due and none is under way: slot and encoded content.
    pub(crate) fn next_write(&mut self) -> Option<(Slot, Vec<u8>)> {
        if self.writing.is_some() {
            return None;
        }
        let durable = self.stored[0].max(self.stored[1]);
        let twice = self.stored[0].min(self.stored[1]);
        let due = self.waiting.iter().any(|(version, safety, _)| match safety {
            Safety::Once => *version > durable,
            Safety::Twice => *version > twice,
        });
        if !due {
            return None;
        }
        self.content.sequence += 1;
        let slot = Slot::of(self.content.sequence);
        self.writing = Some((usize::from(slot == Slot::B), self.version));
        Some((slot, self.content.encode()))
    }

    /// The write under way is on stable storage: what is told now.
    pub(crate) fn on_stored(&mut self) -> Vec<W> {
        let (index, version) = self.writing.take().expect("a superblock write was under way");
        self.stored[index] = version;
        let durable = self.stored[0].max(self.stored[1]);
        let twice = self.stored[0].min(self.stored[1]);
        let mut told = Vec::new();
        let mut rest = Vec::new();
        for (wanted, safety, then) in self.waiting.drain(..) {
            let safe = match safety {
                Safety::Once => wanted <= durable,
                Safety::Twice => wanted <= twice,
            };
            if safe { told.push(then) } else { rest.push((wanted, safety, then)) }
        }
        self.waiting = rest;
        told
    }
}
