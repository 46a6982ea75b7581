//! The faults: when they come, what they do, when they pass.

use seawall_engine::replica::Replica;
use seawall_engine::setup::Ack;
use seawall_engine::status::Role;

use crate::birth::setup;
use crate::clock::{MILLIS, Moment, NodeClock, SECOND};
use crate::disk::Crash;
use crate::node::State;
use crate::oracle::Failure;
use crate::pool::Pool;
use crate::profile::Every;
use crate::tally::Fault;
use crate::world::{Event, PATIENCE, WATCH, World};

/// Something that goes wrong, or is mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// A process is killed.
    Kill,
    /// A node loses its power.
    Power,
    /// All nodes lose their power.
    Blackout,
    /// A process stands still.
    Pause,
    /// A node is cut off.
    Cut,
    /// One direction is cut.
    OneWay,
    /// A connection breaks.
    Reset,
    /// The operator promotes somebody.
    Promote,
    /// The operator promotes somebody of whom the primary does not hear.
    Usurp,
    /// A follower's copy is wiped.
    Wipe,
    /// The operator promotes that node.
    Crown {
        /// Which.
        node: usize,
        /// Its life.
        life: u32,
    },
    /// Clients look around for another primary.
    Split {
        /// So often again.
        left: u32,
    },
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
    Mend {
        /// From there.
        from: usize,
        /// To there.
        to: usize,
    },
}

impl World {
    /// The first of each kind.
    pub(crate) fn plan_troubles(&mut self) {
        let kinds = [
            Trouble::Kill,
            Trouble::Power,
            Trouble::Blackout,
            Trouble::Pause,
            Trouble::Cut,
            Trouble::OneWay,
            Trouble::Reset,
            Trouble::Promote,
            Trouble::Usurp,
            Trouble::Wipe,
        ];
        for kind in kinds {
            self.plan(kind);
        }
    }

    fn plan(&mut self, kind: Trouble) {
        let every = self.every(kind);
        let prng = match kind {
            Trouble::Cut | Trouble::OneWay | Trouble::Mend { .. } => &mut self.chances.partition,
            Trouble::Promote => &mut self.chances.operator,
            Trouble::Usurp | Trouble::Wipe | Trouble::Crown { .. } | Trouble::Split { .. } => {
                &mut self.chances.scenario
            }
            Trouble::Kill | Trouble::Power | Trouble::Blackout | Trouble::Pause | Trouble::Reset => {
                &mut self.chances.crash
            }
            Trouble::Start { .. } | Trouble::Resume { .. } => &mut self.chances.crash,
        };
        if let Some(every) = every {
            // However rare, each kind comes at least once.
            let mut after = every.draw(prng);
            if self.now == Moment(0) {
                after = after.min(prng.between(SECOND / 2, self.profile.chaos - SECOND / 2));
            }
            self.queue.push(self.now.plus(after), Event::Trouble(kind));
        }
    }

    fn every(&self, kind: Trouble) -> Option<Every> {
        let profile = &self.profile;
        match kind {
            Trouble::Kill => profile.kill,
            Trouble::Power => profile.power,
            Trouble::Blackout => profile.blackout,
            Trouble::Pause => profile.pause,
            Trouble::Cut => profile.cut,
            Trouble::OneWay => profile.one_way,
            Trouble::Reset => profile.reset,
            Trouble::Promote => profile.promote,
            Trouble::Usurp => profile.usurp,
            Trouble::Wipe => profile.wipe,
            Trouble::Crown { .. } | Trouble::Split { .. } => None,
            Trouble::Start { .. } | Trouble::Resume { .. } | Trouble::Mend { .. } => None,
        }
    }

    /// A fault happens, or passes.
    pub(crate) fn on_trouble(&mut self, trouble: Trouble) -> Result<(), Failure> {
        match trouble {
            Trouble::Start { node, life } => {
                let down = matches!(self.nodes[node].state, State::Down { .. });
                return if down && self.nodes[node].life == life { self.start(node) } else { Ok(()) };
            }
            Trouble::Resume { node, life } => {
                return if self.nodes[node].lives(life) { self.resume(node) } else { Ok(()) };
            }
            Trouble::Mend { from, to } => {
                self.net.set_cut(self.now, from, to, false);
                return Ok(());
            }
            Trouble::Kill | Trouble::Power | Trouble::Blackout | Trouble::Pause | Trouble::Cut => {}
            Trouble::OneWay | Trouble::Reset | Trouble::Promote => {}
            Trouble::Usurp | Trouble::Wipe | Trouble::Crown { .. } | Trouble::Split { .. } => {}
        }
        if !self.chaos {
            return Ok(());
        }
        if !matches!(trouble, Trouble::Crown { .. } | Trouble::Split { .. }) {
            self.plan(trouble);
        }
        self.strike(trouble)
    }

    fn strike(&mut self, trouble: Trouble) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        match trouble {
            Trouble::Kill => {
                let node = self.chances.crash.index(nodes);
                self.go_down(node, Crash::Kill, Fault::Kill);
            }
            Trouble::Power => {
                // What was acknowledged before it was flushed must stay with all nodes but one.
                let any = self.chances.crash.index(nodes);
                let node = if self.profile.ack == Ack::Durable { any } else { self.profile.fragile };
                self.go_down(node, Crash::Power(self.profile.loss), Fault::PowerLoss);
            }
            Trouble::Blackout => {
                let crash = match self.profile.ack {
                    Ack::Durable => Crash::Power(self.profile.loss),
                    Ack::Written => Crash::Kill,
                };
                for node in 0..nodes {
                    self.go_down(node, crash, Fault::Blackout);
                }
            }
            Trouble::Pause => {
                let node = self.chances.crash.index(nodes);
                let long = self.chances.crash.between(10 * MILLIS, 6 * SECOND);
                if self.is_up(node) {
                    self.tally.fired(Fault::Pause, 1);
                    self.transcript.line(self.now, &node, || "=== stands still".to_owned());
                    self.nodes[node].state = State::Paused;
                    let life = self.nodes[node].life;
                    self.queue.push(self.now.plus(long), Event::Trouble(Trouble::Resume { node, life }));
                }
            }
            Trouble::Cut => {
                let node = self.chances.partition.index(nodes);
                self.tally.fired(Fault::Cut, 1);
                for other in (0..nodes).filter(|other| *other != node) {
                    self.cut(node, other);
                    self.cut(other, node);
                }
            }
            Trouble::OneWay => {
                let from = self.chances.partition.index(nodes);
                let to = (from + 1 + self.chances.partition.index(nodes - 1)) % nodes;
                self.tally.fired(Fault::OneWayCut, 1);
                self.cut(from, to);
            }
            Trouble::Reset => {
                if let Some(unsent) = self.net.on_reset(self.now) {
                    self.tally.fired(Fault::Reset, 1);
                    for (node, buf) in unsent {
                        self.nodes[node].pool.release(buf);
                    }
                }
            }
            Trouble::Promote => {
                let node = self.chances.operator.index(nodes);
                if self.is_up(node) {
                    self.tally.fired(Fault::Promotion, 1);
                    self.promote(node)?;
                }
            }
            Trouble::Usurp => self.usurp(),
            Trouble::Crown { node, life } => return self.crown(node, life),
            Trouble::Wipe => self.wipe(),
            Trouble::Split { left } => self.split(left),
            Trouble::Start { .. } | Trouble::Resume { .. } | Trouble::Mend { .. } => {}
        }
        Ok(())
    }

    fn cut(&mut self, from: usize, to: usize) {
        let long = self.chances.partition.between(50 * MILLIS, 8 * SECOND);
        self.cut_for(from, to, long);
    }

    /// A direction is cut for so many nanoseconds.
    pub(crate) fn cut_for(&mut self, from: usize, to: usize, long: u64) {
        self.transcript
            .line(self.now, &from, || format!("=== cut off from here to {to} for {} ms", long / MILLIS));
        self.net.set_cut(self.now, from, to, true);
        self.queue.push(self.now.plus(long), Event::Trouble(Trouble::Mend { from, to }));
    }

    fn go_down(&mut self, node: usize, crash: Crash, fault: Fault) {
        let down = self.profile.down.draw(&mut self.chances.crash);
        if let State::Down { .. } = self.nodes[node].state {
            return;
        }
        self.tally.fired(fault, 1);
        self.crash(node, crash);
        let life = self.nodes[node].life;
        self.queue.push(self.now.plus(down), Event::Trouble(Trouble::Start { node, life }));
    }

    /// A life ends.
    pub(crate) fn crash(&mut self, node: usize, crash: Crash) {
        self.transcript.line(self.now, &node, || format!("=== down by {crash:?}"));
        let here = &mut self.nodes[node];
        self.oracle.copies.on_crashing(node, &here.disk, &here.pool);
        let lost = here.disk.on_crash(crash, &here.pool, &mut self.chances.loss);
        self.oracle.on_crashed(node, crash, &here.disk);
        self.tally.fired(Fault::SectorsLost, lost);
        here.replica = None;
        here.inbox.clear();
        here.pool = Pool::default();
        here.deadline = None;
        here.faulted = false;
        here.state = State::Down { powered: crash == Crash::Kill };
        here.boot += u32::from(crash != Crash::Kill);
        let requests = core::mem::take(&mut here.requests);
        let life = here.life;
        self.net.on_crash(self.now, node, life, crash == Crash::Kill);
        for request in requests.into_values() {
            self.tally.refused += 1;
            self.settle(&request, false);
            self.free(request.slot, request.asked, 20 * MILLIS);
        }
    }

    /// A life begins, from the disk alone.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Failure> {
        let limit = self.profile.clock_ppm;
        let ppm = self.chances.clock.between(0, 2 * limit).cast_signed() - limit.cast_signed();
        let origin = self.chances.clock.below(1_000 * SECOND);
        let here = &mut self.nodes[node];
        let booted = here.life == 0 || here.state == State::Down { powered: false };
        if booted {
            here.clock = NodeClock::new(self.now, origin, ppm);
        }
        here.state = State::Up;
        here.life += 1;
        here.accepted = 0;
        here.busy = (self.now, 0);
        let now = here.clock.shows(self.now);
        let setup = setup(&self.profile, node, here.machine_boot(), self.options.bait);
        self.transcript.line(self.now, &node, || format!("=== up, life {}", self.nodes[node].life));
        self.nodes[node].replica = Some(Replica::new(now, setup));
        self.hear(node, seawall_engine::io::Input::Tick)
    }

    fn resume(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].state != State::Paused {
            return Ok(());
        }
        self.transcript.line(self.now, &node, || "=== goes on".to_owned());
        self.nodes[node].state = State::Up;
        for input in core::mem::take(&mut self.nodes[node].inbox) {
            self.step(node, input)?;
        }
        self.net.on_resumed(self.now, node);
        Ok(())
    }

    /// The operator has a look: replaces what failed, promotes if nobody reigns.
    pub(crate) fn on_watch(&mut self) -> Result<(), Failure> {
        self.queue.push(self.now.plus(WATCH), Event::Watch);
        let mut reigns = false;
        for node in 0..self.nodes.len() {
            if self.nodes[node].faulted && self.is_up(node) {
                self.crash(node, Crash::Kill);
                let life = self.nodes[node].life;
                self.queue.push(self.now.plus(SECOND), Event::Trouble(Trouble::Start { node, life }));
            }
            if !self.is_up(node) {
                continue;
            }
            let here = &self.nodes[node];
            let status = here.replica.as_ref().expect("a process that runs").status();
            self.oracle.sessions.on_look(node, WATCH, &status, here.requests.keys().copied())?;
            reigns |= matches!(status.role, Role::Primary | Role::Starting);
        }
        // A primary under which nothing is written any more is none.
        let served = !self.load || self.now.since(self.served_last) < PATIENCE;
        if reigns && served {
            self.reigned_last = self.now;
        } else if self.now.since(self.reigned_last) > PATIENCE {
            self.reigned_last = self.now;
            let node = self.chances.operator.index(self.nodes.len());
            return self.promote(node);
        }
        Ok(())
    }

    /// No more faults: everything is mended and runs.
    pub(crate) fn heal(&mut self) -> Result<(), Failure> {
        self.transcript.line(self.now, &"run", || "=== the world heals".to_owned());
        self.chaos = false;
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.net.set_cut(self.now, from, to, false);
            }
        }
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
