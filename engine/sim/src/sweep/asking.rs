//! What clients and operators of a stage do: ask, wait, read everything.

use std::collections::BTreeMap;

use seawall_engine::io::{Answer, Command, CommandId, Done, Input, LetIn, Request, RequestId};
use seawall_engine::replica::Replica;
use seawall_wal::names::Extent;

use super::history::{History, Stamps, Wish};
use super::plan::replica;
use super::stage::{Asked, SUBJECT, Stage, Wrong};

impl Stage {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn request(&mut self, node: usize, asked: Asked, request: Request) -> u64 {
        let id = self.number();
        self.asked.insert(id, (node, asked));
        let known = self.nodes[node].replica.as_ref().map(Replica::attachment).unwrap_or_default();
        // Its client stays with that node: it was let in when the node started.
        let knows = LetIn { at: 0, ..known };
        self.hear(node, Input::Request { id: RequestId(id), knows, request });
        id
    }

    /// A client asks a node for a change.
    pub(super) fn ask(&mut self, node: usize, wish: Wish) -> u64 {
        let change = self.history.on_asked(wish);
        let pool = &mut self.nodes[node].pool;
        let bytes =
            |extent: Extent| (extent.start..extent.end()).flat_map(|block| History::block(change, block));
        let request = match wish {
            Wish::Write { extent, fua } => {
                Request::Write { extent, payload: pool.filled(&bytes(extent).collect::<Vec<_>>()), fua }
            }
            Wish::Part { block, first, sectors } => {
                let buf = pool.filled(&History::block(change, block)).buf;
                Request::WritePart { block, first_sector: first, sectors, buf, fua: false }
            }
            Wish::Zero { extent, fua } => Request::WriteZeroes { extent, fua },
            Wish::Trim { extent } => Request::Trim { extent, fua: false },
        };
        self.request(node, Asked::Change(change), request)
    }

    /// A client asks for a flush.
    pub(super) fn ask_flush(&mut self, node: usize) -> u64 {
        let acked = self.history.told.acked;
        self.request(node, Asked::Flush { acked }, Request::Flush)
    }

    /// Wait for all of these; they must end well.
    pub(super) fn wait(&mut self, ids: &[u64]) -> Result<(), Wrong> {
        self.reach("the end of a request", |stage| ids.iter().all(|id| stage.results.contains_key(id)))?;
        for id in ids {
            if let Some(Err(refusal)) = self.results.get(id) {
                return Err(Wrong::new("requests-end-well", format!("{refusal:?}")));
            }
        }
        Ok(())
    }

    /// Whether a request has ended, well or not.
    pub(super) fn has_ended(&self, id: u64) -> bool {
        self.results.contains_key(&id)
    }

    /// Everything that any change has touched, and the blocks beside it, as a client reads it.
    pub(super) fn read_all(&mut self, node: usize) -> Result<BTreeMap<u64, Stamps>, Wrong> {
        self.seen.clear();
        let mut ids = Vec::new();
        for extent in self.history.touched() {
            let buf = self.nodes[node].pool.take(extent.blocks);
            ids.push(self.request(node, Asked::Read { extent, buf }, Request::Read { extent, buf }));
        }
        self.wait(&ids)?;
        let mut seen = BTreeMap::new();
        for (block, stamps) in core::mem::take(&mut self.seen) {
            let Some(stamps) = stamps else {
                return Err(Wrong::new("wrong-bytes", format!("block {block} has bytes that nobody wrote")));
            };
            seen.insert(block, stamps);
        }
        self.check_holes(node, &seen)?;
        Ok(seen)
    }

    /// Nothing is allocated that nobody has asked for.
    fn check_holes(&mut self, node: usize, seen: &BTreeMap<u64, Stamps>) -> Result<(), Wrong> {
        let mut at = 0;
        while at < self.plan.geometry.volume_blocks {
            let left = u32::try_from(self.plan.geometry.volume_blocks - at).expect("a small volume");
            let request = Request::Status { extent: Extent::new(at, left), runs_max: 1024 };
            let acked = self.history.told.firm;
            let id = self.request(node, Asked::Flush { acked }, request);
            self.wait(&[id])?;
            let Some(Ok(Done::Status(runs))) = self.results.get(&id) else {
                return Err(Wrong::new("requests-end-well", "a status was answered with something else"));
            };
            for (blocks, hole) in runs {
                let stray = (at..at + blocks).find(|block| !hole && !seen.contains_key(block));
                if let Some(block) = stray {
                    let detail = format!("block {block} is allocated, and nobody wrote it");
                    return Err(Wrong::new("holes-are-zeroes", detail));
                }
                at += blocks;
            }
        }
        Ok(())
    }

    /// Give a command and wait for its answer.
    pub(super) fn command(&mut self, node: usize, command: Command) -> Result<Answer, Wrong> {
        let id = self.number();
        self.hear(node, Input::Command { id: CommandId(id), command });
        self.reach("an answer to a command", |stage| stage.answers.contains_key(&id))?;
        Ok(self.answers[&id].clone())
    }

    /// Some node serves.
    pub(super) fn serve(&mut self) -> Result<usize, Wrong> {
        self.reach("a primary that serves", |stage| {
            stage.serving().is_some()
                || (stage.nodes.len() == 1 && (stage.nodes[0].refused.is_some() || stage.nodes[0].failed))
        })?;
        self.serving().ok_or_else(|| {
            let why = self.nodes[SUBJECT].refused.clone().unwrap_or_else(|| "its disk failed".into());
            Wrong::new("it-opens", why)
        })
    }

    /// Every node that is there is in sync with the one that serves.
    pub(super) fn is_in_sync(&self) -> bool {
        if !self.inputs.is_empty() {
            return false;
        }
        let Some(node) = self.serving() else { return false };
        let Some(status) = self.status(node) else { return false };
        let away = |replica| {
            let node = self.nodes.iter().enumerate().find(|(at, _)| self::replica(*at) == replica);
            node.is_some_and(|(_, node)| node.away || node.replica.is_none())
        };
        status.peers.iter().all(|peer| away(peer.replica) || (peer.counts && peer.durable == status.log_end))
    }
}
