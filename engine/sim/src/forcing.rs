//! The operator who forces a promotion: has a look at what it would mean, then does it with the token that was shown. Who
//! does not answer at that moment he takes for dead, whether that is true or not.

use std::collections::{BTreeMap, BTreeSet};

use seawall_engine::commit::confirmers;
use seawall_engine::foretold::{Foretold, Standing, Token, Wish};
use seawall_engine::io::{Answered, Command, CommandId};
use seawall_wal::names::{Epoch, Era, Lsn, ReplicaId};

use crate::birth::replica;
use crate::clock::{MILLIS, Moment, SECOND};
use crate::node::State;
use crate::oracle::Failure;
use crate::oracle::image::Image;
use crate::word::Word;
use crate::world::{Event, World};

/// So long nobody serves before he repeats what may have been begun and not finished, in nanoseconds.
pub(crate) const STRANDED: u64 = 8 * SECOND;
/// Between an answer and what he does next, in nanoseconds.
const THINKS: u64 = 20 * MILLIS;
/// Between two attempts, in nanoseconds.
const AGAIN: u64 = 300 * MILLIS;
/// He tries for so long, in nanoseconds.
const TRIES: u64 = 6 * SECOND;

/// Whom an operator declares dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dead {
    /// Those who do not answer.
    Silent,
    /// These: one bit per node.
    These(u8),
}

impl Word for Dead {
    const WHAT: &'static str = "nodes like bc, nobody or silent";

    fn shown(&self) -> String {
        match self {
            Dead::Silent => "silent".to_owned(),
            Dead::These(0) => "nobody".to_owned(),
            Dead::These(bits) => {
                (0..8_usize).filter(|node| bits >> node & 1 == 1).map(|node| node.shown()).collect()
            }
        }
    }

    fn read(word: &str) -> Option<Dead> {
        match word {
            "silent" => Some(Dead::Silent),
            "nobody" => Some(Dead::These(0)),
            letters => {
                let bit = |letter: char| {
                    usize::read(&letter.to_string()).filter(|node| *node < 8).map(|node| 1_u8 << node)
                };
                letters.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?)).map(Dead::These)
            }
        }
    }
}

/// What the operator is about.
#[derive(Clone, Copy, Debug)]
struct Errand {
    node: usize,
    dead: Dead,
    /// He only has a look.
    looks: bool,
    /// He tries again until then.
    until: Moment,
}

/// What the operator knows.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    asked: BTreeMap<CommandId, Errand>,
    /// What he was shown last, and has not named yet.
    shown: BTreeMap<usize, Token>,
    /// What he named last, and whom he declared dead.
    named: BTreeMap<usize, (Token, BTreeSet<usize>)>,
    /// Nodes that were declared dead and run, or ran since.
    lively: BTreeSet<usize>,
    declared: BTreeSet<usize>,
    /// Whether he ever tried.
    pub(crate) tried: bool,
}

impl World {
    /// The operator looks what a forced promotion would mean.
    pub(crate) fn foretell_force(&mut self, node: usize) -> Result<(), Failure> {
        let errand = Errand { node, dead: Dead::Silent, looks: true, until: self.now };
        self.look_first(errand)
    }

    /// The operator forces a promotion: with what he was shown before, or after a look.
    pub(crate) fn force(&mut self, node: usize, dead: Dead) -> Result<(), Failure> {
        self.operator.tried = true;
        let until = if dead == Dead::Silent { self.now.plus(TRIES) } else { self.now };
        let errand = Errand { node, dead, looks: false, until };
        match (self.operator.shown.remove(&node), dead) {
            (Some(token), Dead::These(bits)) => {
                let dead = (0..self.nodes.len()).filter(|node| bits >> node & 1 == 1).collect();
                self.do_force(errand, token, dead)
            }
            (None, _) | (Some(_), Dead::Silent) => self.look_first(errand),
        }
    }

    fn look_first(&mut self, errand: Errand) -> Result<(), Failure> {
        if !self.is_up(errand.node) {
            return Ok(());
        }
        let id = self.command_name();
        self.operator.asked.insert(id, errand);
        self.say_command(errand.node, id, Command::Force(Wish::Foretell))
    }

    fn do_force(&mut self, errand: Errand, token: Token, dead: BTreeSet<usize>) -> Result<(), Failure> {
        if !self.is_up(errand.node) {
            return Ok(());
        }
        let declared: Vec<ReplicaId> = dead.iter().map(|node| replica(*node)).collect();
        self.operator.named.insert(errand.node, (token, dead));
        let id = self.command_name();
        self.operator.asked.insert(id, errand);
        let wish = Wish::Act { token, dead: declared, lossy: true };
        self.say_command(errand.node, id, Command::Force(wish))
    }

    /// A command was answered: whether the operator thinks about it.
    pub(crate) fn on_answered(&mut self, id: CommandId) {
        if self.operator.asked.contains_key(&id) {
            self.queue.push(self.now.plus(THINKS), Event::Thinks { id });
        }
    }

    /// The operator has read an answer.
    pub(crate) fn on_thought(&mut self, id: CommandId) -> Result<(), Failure> {
        let Some(errand) = self.operator.asked.remove(&id) else { return Ok(()) };
        match self.answers.get(&id).cloned() {
            Some(Ok(Answered::Foretold(foretold))) if errand.looks => {
                self.operator.shown.insert(errand.node, foretold.token);
                Ok(())
            }
            Some(Ok(Answered::Foretold(foretold))) if foretold.objection.is_none() => {
                let dead = self.declared(errand.dead, &foretold);
                self.do_force(errand, foretold.token, dead)
            }
            Some(Ok(Answered::Foretold(_)) | Err(_)) if self.now < errand.until => {
                self.operator.asked.insert(id, errand);
                self.answers.remove(&id);
                self.queue.push(self.now.plus(AGAIN), Event::Thinks { id });
                Ok(())
            }
            // It is time for the next attempt.
            None => self.look_first(errand),
            Some(Ok(_) | Err(_)) => Ok(()),
        }
    }

    fn declared(&self, dead: Dead, foretold: &Foretold) -> BTreeSet<usize> {
        let silent = |node: &usize| foretold.voters.contains(&(replica(*node), Standing::Silent));
        let named = |node: &usize| match dead {
            Dead::Silent => silent(node),
            Dead::These(bits) => bits >> node & 1 == 1,
        };
        (0..self.nodes.len()).filter(named).collect()
    }

    /// A forced reign begins: what was promised before holds as far as it has it.
    pub(crate) fn on_forced(
        &mut self,
        node: usize,
        epoch: Epoch,
        first: Lsn,
        before: Epoch,
    ) -> Result<(), Failure> {
        let (token, dead) = self.operator.named.get(&node).cloned().ok_or_else(|| {
            Failure::new("forced-as-told", format!("node {node} forces epoch {epoch}, and nobody told it to"))
        })?;
        if (token.epoch, token.end) != (before, first) {
            let detail = format!(
                "node {node} forces epoch {epoch} behind record {first} of {before}, and the operator named {token}"
            );
            return Err(Failure::new("forced-as-told", detail));
        }
        if epoch.era() <= self.oracle.era {
            // A higher one was forced elsewhere already, and whoever declared its primary dead was wrong.
            self.oracle.reigns.excuse_from = 0;
            return Ok(());
        }
        let runs = |node: &usize| !matches!(self.nodes[*node].state, State::Down { .. });
        self.operator.lively.extend(dead.iter().copied().filter(runs));
        self.operator.declared.extend(dead);
        let voters = self.voter_nodes().len();
        self.oracle.reigns.excuse_from = confirmers(voters);
        self.oracle.on_forced(epoch.era());
        self.note_lively();
        let image = Image::read(node, &self.nodes[node].disk)?;
        self.oracle.history.on_forced(node, first, image.log.tail_chain());
        self.oracle.members.on_forced(&self.oracle.history, first);
        self.turn += 1;
        self.oracle.ledger.on_forced(image.blocks(), self.turn)
    }

    /// A node runs: whether it was declared dead, and the declaration is false.
    pub(crate) fn note_running(&mut self, node: usize) {
        if self.operator.declared.contains(&node) {
            self.operator.lively.insert(node);
            self.note_lively();
        }
    }

    fn note_lively(&mut self) {
        self.oracle.reigns.lively = self.operator.lively.len();
    }

    /// Whether what a node says of the volume is void: it is of an era below the one that was forced.
    pub(crate) fn is_void(&self, node: usize) -> bool {
        self.oracle.era > Era::FIRST
            && self.status(node).is_some_and(|status| {
                let tail = status.lineage.last().map_or(Epoch::ZERO, |row| row.epoch);
                let speaks = if status.epoch == Epoch::ZERO { tail } else { status.epoch };
                speaks.era() < self.oracle.era
            })
    }

    /// Nobody serves, and a promotion was forced once: perhaps one was begun and not finished.
    pub(crate) fn force_again(&mut self) -> Result<(), Failure> {
        let node = self.chances.operator.index(self.nodes.len());
        if self.is_up(node) { self.force(node, Dead::Silent) } else { Ok(()) }
    }
}
