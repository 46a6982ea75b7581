//! The executor: what each deed does to the world, and how what it does passes.

use seawall_engine::io::{DiskOp, Input};
use seawall_engine::replica::Replica;
use seawall_engine::setup::Ack;
use seawall_engine::status::Role;

use seawall_wal::superblock::{BaseState, Superblock};

use crate::birth::setup;
use crate::clock::{MILLIS, Moment, NodeClock, SECOND, wall_at_zero};
use crate::coverage::Table;
use crate::deed::{Act, Deed};
use crate::disk::Crash;
use crate::forcing::STRANDED;
use crate::mishap::{Waiting, Way};
use crate::node::{Node, State};
use crate::oracle::Failure;
use crate::oracle::image::{choice, superblock};
use crate::pool::Pool;
use crate::scenario::Outcome;
use crate::sign::{Sign, verb};
use crate::tally::Fault;
use crate::word::Span;
use crate::world::{Event, PATIENCE, WATCH, World};

/// More starts than a replica makes before its device is replaced.
const LIVES: u32 = 1000;

/// What mends itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mend {
    /// A node that went down in that life starts.
    Start {
        /// Which.
        node: usize,
        /// Its last life.
        life: u32,
    },
    /// A process that stood still goes on.
    Resume {
        /// Which.
        node: usize,
        /// Its life.
        life: u32,
    },
    /// A direction is whole again.
    Join {
        /// From there.
        from: usize,
        /// To there.
        to: usize,
    },
    /// The names of two nodes lead to their own hosts again.
    Swap {
        /// The one.
        one: usize,
        /// The other.
        other: usize,
    },
    /// The operator corrects the configuration, and starts one after the other with it who has read another.
    Tell,
}

impl World {
    /// Carry out a deed now. `false`: as things are it would do nothing, or more than a run may survive; then nothing
    /// at all happened, and it is not among the deeds of the run.
    pub(crate) fn carry_out_deed(&mut self, act: Act) -> Result<bool, Failure> {
        if !self.chaos || !self.is_possible(act) {
            return Ok(false);
        }
        self.turn += 1;
        let deed = Deed { at: self.now, what: act };
        self.deeds.push(deed);
        self.transcript.line(self.now, &"deed", || act.to_string());
        self.sign(0, Sign::Deed(act));
        self.act(act)?;
        self.oracle.verdict()?;
        self.take_agenda();
        Ok(true)
    }

    fn is_possible(&self, act: Act) -> bool {
        let nodes = self.nodes.len();
        match act {
            // The kernel waits for the device before it lets a process go.
            Act::Kill { node, .. } => node < nodes && self.is_alive(node) && !self.hangs(node),
            // What was acknowledged before it was flushed must stay with all nodes but one.
            Act::Power { node, .. } => {
                node < nodes
                    && self.is_alive(node)
                    && (self.profile.ack == Ack::Durable || node == self.profile.fragile)
            }
            Act::Pause { node, .. } | Act::Promote { node } | Act::Handover { node } => {
                node < nodes && self.is_up(node)
            }
            Act::Force { node, .. } | Act::Foretell { node } => node < nodes && self.is_up(node),
            Act::Cut { from, to, .. } => from < nodes && to < nodes && from != to,
            Act::Reset { .. } => self.net.open_connections() > 0,
            Act::Wipe { node, .. } => node < nodes && self.may_wipe(node),
            Act::Replace { node, .. } => node < nodes && self.may_replace(node),
            Act::Split { .. } => self.reigning().len() > 1,
            Act::Rot { node, area, .. } | Act::Lose { node, area } | Act::Misdirect { node, area, .. } => {
                node < nodes && self.may_harm(node, area)
            }
            Act::Hang { node, .. } | Act::Fill { node, .. } => node < nodes,
            Act::Flip { from, to } => from < nodes && to < nodes && from != to,
            Act::Swap { one, other, .. } => {
                one < nodes
                    && other < nodes
                    && one != other
                    && self.directory.is_right(one)
                    && self.directory.is_right(other)
            }
            Act::Move { node, .. } => node < nodes && self.is_alive(node) && !self.hangs(node),
            Act::Add { node } => node < nodes && self.is_up(node) && self.may_join(node),
            Act::Remove { node } => node < nodes && self.may_leave(node),
            Act::Maintain { node, .. } | Act::EndMaintenance { node } => {
                node < nodes && self.serving().is_some()
            }
            Act::Readdress { node, .. } => {
                node < nodes && self.is_alive(node) && !self.hangs(node) && self.may_leave(node)
            }
            Act::Start { node } => node < nodes && matches!(self.nodes[node].state, State::Down { .. }),
            Act::Resume { node } => node < nodes && self.nodes[node].state == State::Paused,
            Act::Join { from, to } | Act::Stick { from, to, .. } => from < nodes && to < nodes && from != to,
            Act::Fail { node, .. } | Act::Stall { node, .. } => node < nodes,
        }
    }

    fn act(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Kill { node, down } => self.go_down(node, Crash::Kill, down.0),
            Act::Power { node, loss, down } => self.go_down(node, Crash::Power(loss), down.0),
            Act::Pause { node, long } => {
                self.nodes[node].state = State::Paused;
                let life = self.nodes[node].life;
                self.mend(long.0, Mend::Resume { node, life });
            }
            Act::Cut { from, to, long } => {
                self.net.set_cut(self.now, from, to, true);
                self.mend(long.0, Mend::Join { from, to });
            }
            Act::Reset { nth } => {
                for (node, buf) in self.net.on_reset(self.now, nth) {
                    self.nodes[node].pool.release(buf);
                }
            }
            Act::Promote { node } => return self.promote(node, true),
            Act::Handover { node } => return self.promote(node, false),
            Act::Force { node, dead } => return self.force(node, dead),
            Act::Foretell { node } => return self.foretell_force(node),
            Act::Wipe { node, down } => self.wipe(node, down.0),
            Act::Replace { node, down } => self.replace(node, down.0),
            Act::Split { nth } => self.split(nth),
            Act::Rot { node, area, rot, nth } => self.rot(node, area, rot, nth),
            Act::Lose { node, area } => self.nodes[node].waiting.write = Some((area, Way::Lost)),
            Act::Misdirect { node, area, nth } => {
                self.nodes[node].waiting.write = Some((area, Way::Astray { nth }));
            }
            Act::Flip { from, to } => self.net.flip_next(from, to),
            Act::Swap { one, other, long } => {
                self.swap_names(one, other);
                self.mend(long.0, Mend::Swap { one, other });
            }
            Act::Move { node, down, known } => {
                self.directory.on_moved(node);
                self.go_down(node, Crash::Kill, down.0);
                self.mend(known.0, Mend::Tell);
            }
            Act::Add { node } => return self.add(node),
            Act::Remove { node } => return self.remove(node),
            Act::Maintain { node, long } => return self.maintain(node, Some(long.0)),
            Act::EndMaintenance { node } => return self.maintain(node, None),
            Act::Readdress { node, down } => {
                self.directory.on_moved(node);
                self.go_down(node, Crash::Kill, down.0);
                return self.readdress(node);
            }
            Act::Hang { node, long } => self.nodes[node].waiting.hang = Some(long.0),
            Act::Fill { node, area, long } => {
                self.nodes[node].waiting.full = Some((area, self.now.plus(long.0)));
            }
            Act::Start { node } => return self.start(node),
            Act::Resume { node } => return self.resume(node),
            Act::Join { from, to } => self.net.set_cut(self.now, from, to, false),
            Act::Stick { from, to, long } => self.net.on_stick(self.now, from, to, long.0),
            Act::Fail { node, does, area } => self.rigged.push((node, does, area)),
            Act::Stall { node, long } => self.stalled[node] = self.now.plus(long.0),
        }
        Ok(())
    }

    /// What mends itself does so.
    pub(crate) fn on_mend(&mut self, mend: Mend) -> Result<(), Failure> {
        match mend {
            Mend::Start { node, life } => {
                let down = matches!(self.nodes[node].state, State::Down { .. });
                if down && self.nodes[node].life == life { self.start(node) } else { Ok(()) }
            }
            Mend::Resume { node, life } => {
                if self.nodes[node].lives(life) {
                    self.resume(node)
                } else {
                    Ok(())
                }
            }
            Mend::Swap { one, other } => {
                if !self.directory.is_right(one) {
                    self.swap_names(one, other);
                }
                Ok(())
            }
            Mend::Tell => {
                self.tell_addresses();
                Ok(())
            }
            Mend::Join { from, to } => {
                self.net.set_cut(self.now, from, to, false);
                Ok(())
            }
        }
    }

    fn is_alive(&self, node: usize) -> bool {
        matches!(self.nodes[node].state, State::Up | State::Paused)
    }

    pub(crate) fn go_down(&mut self, node: usize, crash: Crash, down: u64) {
        self.crash(node, crash);
        let life = self.nodes[node].life;
        self.mend(down, Mend::Start { node, life });
    }

    /// That comes by itself after so many nanoseconds, or when the world heals.
    fn mend(&mut self, after: u64, mend: Mend) {
        if after != Span::EVER.0 {
            let at = self.now.plus(after);
            self.mended = self.mended.max(at);
            self.queue.push(at, Event::Mend(mend));
        }
    }

    /// Whether this operation is one that was said to fail.
    pub(crate) fn is_rigged(&mut self, node: usize, what: &DiskOp) -> bool {
        let Some((does, area)) = verb(what) else { return false };
        let rigged = self.rigged.iter().position(|rigged| *rigged == (node, does, area));
        rigged.is_some_and(|index| {
            self.rigged.swap_remove(index);
            true
        })
    }

    /// Connections do not survive a change of address.
    fn swap_names(&mut self, one: usize, other: usize) {
        self.directory.swap(one, other);
        for node in [one, other] {
            for (node, buf) in self.net.on_moved(self.now, node) {
                self.nodes[node].pool.release(buf);
            }
        }
        self.take_agenda();
    }

    /// The configuration is corrected. Of those who run with an old one, one is started anew, then the next.
    fn tell_addresses(&mut self) {
        self.directory.write_down();
        let uninformed = |node: &usize| self.is_alive(*node) && !self.directory.is_informed(*node);
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(uninformed).collect();
        if nodes.is_empty() {
            return;
        }
        // Who hangs has to wait for its device first.
        if let Some(node) = nodes.into_iter().find(|node| !self.hangs(*node)) {
            self.go_down(node, Crash::Kill, 50 * MILLIS);
        }
        self.queue.push(self.now.plus(400 * MILLIS), Event::Mend(Mend::Tell));
    }

    fn reigning(&self) -> Vec<usize> {
        let reigns = |node: &usize| {
            self.is_up(*node) && self.status(*node).is_some_and(|status| status.role == Role::Primary)
        };
        (0..self.nodes.len()).filter(reigns).collect()
    }

    /// Clients turn to one primary or another, and those that wait ask again.
    fn split(&mut self, nth: u32) {
        let primaries = self.reigning();
        for (slot, hand) in self.hands.iter_mut().enumerate() {
            hand.guess = primaries[(slot + nth as usize) % primaries.len()];
            if hand.busy {
                self.queue.push(self.now, Event::Idle { slot, asked: hand.asked });
            }
        }
    }

    /// Once, and only when all copies are whole and in sync.
    fn may_wipe(&self, node: usize) -> bool {
        let Some(primary) = self.serving().filter(|primary| *primary != node) else { return false };
        let whole = |node: usize| {
            let status = self.status(node);
            self.is_up(node) && status.is_some_and(|status| status.base_complete && !status.lossy)
        };
        let in_sync = self.status(primary).is_some_and(|status| status.peers.iter().all(|peer| peer.counts));
        !self.wiped
            && self.atlas.bears(node)
            && in_sync
            && (0..self.nodes.len()).all(whole)
            && superblock(&self.nodes[node].disk).is_some()
    }

    /// As `seawall replica wipe` does it.
    fn wipe(&mut self, node: usize, down: u64) {
        let before = superblock(&self.nodes[node].disk).expect("looked at before");
        self.wiped = true;
        self.crash(node, Crash::Kill);
        // What the process had in flight when it ended may have changed the superblock.
        let before = superblock(&self.nodes[node].disk).unwrap_or(before);
        self.wipe_disk(node, &before);
        let life = self.nodes[node].life;
        self.mend(down, Mend::Start { node, life });
    }

    /// Once, and only when all copies are whole: whether they are in sync is another matter.
    fn may_replace(&self, node: usize) -> bool {
        let whole = |node: &Node| {
            superblock(&node.disk)
                .is_some_and(|superblock| superblock.base == BaseState::Complete && !superblock.lossy)
        };
        !self.wiped
            && self.atlas.bears(node)
            && self.is_alive(node)
            && !self.hangs(node)
            && self.nodes.iter().all(whole)
    }

    /// As `seawall format --rejoin` does it.
    fn replace(&mut self, node: usize, down: u64) {
        self.wiped = true;
        self.crash(node, Crash::Kill);
        let boots = superblock(&self.nodes[node].disk).map_or(0, |superblock| superblock.boots);
        self.oracle.on_wiping(node, &self.nodes[node].disk);
        let anew = crate::birth::rejoining_superblock(&self.profile, node, boots + LIVES);
        self.nodes[node].disk.replace(&anew);
        self.oracle.on_replaced(node, &self.nodes[node].disk);
        let held = self.oracle.frontiers.held(node);
        self.atlas.on_harmed(node, held);
        let life = self.nodes[node].life;
        self.mend(down, Mend::Start { node, life });
    }

    /// A copy is thrown away.
    pub(crate) fn wipe_disk(&mut self, node: usize, superblock: &Superblock) {
        self.oracle.on_wiping(node, &self.nodes[node].disk);
        self.nodes[node].disk.wipe(superblock);
        self.oracle.on_wiped(node, &self.nodes[node].disk);
        let held = self.oracle.frontiers.held(node);
        self.atlas.on_harmed(node, held);
    }

    /// A life ends.
    pub(crate) fn crash(&mut self, node: usize, crash: Crash) {
        self.transcript.line(self.now, &node, || format!("=== down by {crash:?}"));
        self.sign(node, Sign::Down(crash));
        let here = &mut self.nodes[node];
        self.oracle.copies.on_crashing(node, &here.disk, &here.pool);
        let lost = here.disk.on_crash(crash, &here.pool, &mut self.chances.loss);
        self.take_back_blind_damage(node);
        let here = &mut self.nodes[node];
        self.oracle.on_crashed(node, crash, &here.disk);
        self.tally.fired(Fault::SectorsLost, lost);
        here.replica = None;
        here.inbox.clear();
        here.pool = Pool::default();
        here.deadline = None;
        here.faulted = false;
        (here.waiting.hangs, here.waiting.stalls) = (Moment(0), Moment(0));
        here.state = State::Down { powered: crash == Crash::Kill };
        here.boot += u32::from(crash != Crash::Kill);
        let requests = core::mem::take(&mut here.requests);
        let life = here.life;
        self.net.on_crash(self.now, node, life, crash == Crash::Kill);
        for request in requests.into_values() {
            self.tally.refused += 1;
            self.settle(&request, false);
            self.sign(node, Sign::Refused);
            self.on_named(request.slot, Outcome::InDoubt);
            self.free(request.slot, request.asked, 20 * MILLIS);
        }
    }

    /// A life begins, from the disk alone.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Failure> {
        self.take_back_blind_damage(node);
        self.oracle.on_started(node, &self.nodes[node].disk);
        let limit = self.profile.clock_ppm;
        let ppm = self.chances.clock.between(0, 2 * limit).cast_signed() - limit.cast_signed();
        let origin = self.chances.clock.below(1_000 * SECOND);
        self.sign(node, Sign::Up);
        let here = &mut self.nodes[node];
        let booted = here.life == 0 || here.state == State::Down { powered: false };
        let jumps = self.profile.clock_jumps && self.chances.jump.coin();
        if booted {
            here.clock = NodeClock::new(self.now, origin, ppm);
        } else if jumps {
            // A new process has no memory of what the clock showed before.
            let shows = if self.chances.jump.coin() { here.clock.shows(self.now).0 } else { 0 };
            here.clock = NodeClock::new(self.now, shows + self.chances.jump.below(3_600 * SECOND), ppm);
            self.tally.fired(Fault::ClockJump, 1);
        }
        here.state = State::Up;
        here.life += 1;
        self.note_running(node);
        let here = &mut self.nodes[node];
        here.accepted = 0;
        here.read_errors = 0;
        here.busy = (self.now, 0);
        let now = here.clock.shows(self.now);
        self.tally.mark(Table::Choice, choice(&here.disk).0.name());
        let addresses = self.directory.on_start(node);
        let seed = self.chances.dice.below(u64::MAX);
        let wall = wall_at_zero(self.now, now);
        let setup =
            setup(&self.profile, &addresses, node, here.machine_boot(), seed, wall, self.options.bait);
        self.transcript.line(self.now, &node, || format!("=== up, life {}", self.nodes[node].life));
        self.nodes[node].replica = Some(Replica::new(now, setup));
        self.hear(node, Input::Tick)
    }

    fn resume(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].state != State::Paused {
            return Ok(());
        }
        self.transcript.line(self.now, &node, || "=== goes on".to_owned());
        self.sign(node, Sign::Resumed);
        self.nodes[node].state = State::Up;
        if self.profile.clock_jumps && self.chances.jump.coin() {
            // It looks at its clock before it hears of anything that came meanwhile.
            self.nodes[node].deadline = None;
            self.step(node, Input::Tick)?;
        }
        for input in core::mem::take(&mut self.nodes[node].inbox) {
            self.step(node, input)?;
        }
        self.net.on_resumed(self.now, node);
        Ok(())
    }

    /// The operator has a look: replaces what failed, promotes if nobody reigns.
    pub(crate) fn on_watch(&mut self) -> Result<(), Failure> {
        self.queue.push(self.now.plus(WATCH), Event::Watch);
        // Before the world heals, a scenario has the operator only if it says so.
        let helps = self.profile.operator || !self.chaos;
        let mut reigns = false;
        for node in 0..self.nodes.len() {
            if self.hangs(node) || !helps {
                // Nobody can do anything about its process.
            } else if self.care_for(node)? {
                continue;
            } else if self.nodes[node].faulted && self.is_up(node) {
                self.crash(node, Crash::Kill);
                let life = self.nodes[node].life;
                self.queue.push(self.now.plus(SECOND), Event::Mend(Mend::Start { node, life }));
            }
            if !self.is_up(node) {
                continue;
            }
            let here = &self.nodes[node];
            let status = here.replica.as_ref().expect("a process that runs").status();
            self.oracle.sessions.on_look(node, WATCH, &status, here.requests.keys().copied())?;
            reigns |= matches!(status.role, Role::Primary | Role::Starting);
        }
        self.correct_addresses()?;
        // A primary under which nothing is written any more is none.
        let served =
            !self.load || self.profile.load.outstanding == 0 || self.now.since(self.served_last) < PATIENCE;
        if reigns && served {
            self.reigned_last = self.now;
        } else if helps
            && !self.profile.finds_itself_a_primary()
            && self.now.since(self.reigned_last) > PATIENCE
        {
            self.reigned_last = self.now;
            if self.operator.tried && self.chances.operator.coin() {
                return self.force_again();
            }
            let node = self.chances.operator.index(self.nodes.len());
            return self.promote(node, true);
        } else if helps && self.operator.tried && self.now.since(self.reigned_last) > STRANDED {
            self.reigned_last = self.now;
            return self.force_again();
        }
        Ok(())
    }

    /// No more faults: everything is mended and runs.
    pub(crate) fn heal(&mut self) -> Result<(), Failure> {
        self.transcript.line(self.now, &"run", || "=== the world heals".to_owned());
        self.chaos = false;
        self.healed = Some(self.now);
        self.planner.stop();
        for here in &mut self.nodes {
            let Waiting { hangs, stalls, .. } = here.waiting;
            here.waiting = Waiting { hangs, stalls, ..Waiting::default() };
        }
        self.rigged.clear();
        self.stalled.fill(self.now);
        self.sign(0, Sign::Heals);
        self.on_healed();
        if !self.profile.operator {
            // The operator comes now, and waits before helping.
            self.reigned_last = self.now;
            self.served_last = self.now;
        }
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.net.set_cut(self.now, from, to, false);
            }
        }
        self.net.flip_nothing();
        self.directory.put_right();
        self.tell_addresses();
        for node in 0..self.nodes.len() {
            match self.nodes[node].state {
                State::Up => {}
                State::Paused => self.resume(node)?,
                State::Down { .. } => self.start(node)?,
            }
        }
        Ok(())
    }
}
