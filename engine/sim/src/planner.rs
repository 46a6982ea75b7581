//! The planner: which deeds a seed brings, and when. It decides by chance and by what it sees, and what it decides
//! is concrete. A run that follows a script has none.

use std::collections::BTreeMap;

use seawall_engine::io::Area;
use seawall_engine::replica::Replica;
use seawall_engine::setup::Ack;
use seawall_engine::status::{Role, Status};
use seawall_sender::frame::{FrameHeader, Kind as Frame};
use seawall_wal::names::Epoch;

use crate::clock::{MILLIS, Moment, SECOND};
use crate::deed::Act;
use crate::disk::damage::Rot;
use crate::forcing::Dead;
use crate::oracle::Failure;
use crate::prng::{Prng, Stream};
use crate::profile::{Every, Profile};
use crate::tally::Fault;
use crate::word::Span;
use crate::world::World;

/// What did nothing, and has never done anything in this run, is tried again after so many nanoseconds.
const AGAIN: u64 = 400 * MILLIS;
/// So many times rarer are faults after their time.
const RARER: u64 = 6;
/// So often clients look around after a promotion behind the primary's back.
const SPLIT_LOOKS: u32 = 30;

/// A kind of trouble that comes again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A process is killed.
    Kill,
    /// A node loses its power.
    Power,
    /// All nodes lose their power.
    Blackout,
    /// A process stands still.
    Pause,
    /// A node is cut off.
    Isolate,
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
    /// A replica's device is replaced by an empty one.
    Replace,
    /// A sector rots.
    Rot,
    /// A write is lost.
    Lose,
    /// A write goes astray.
    Misdirect,
    /// A disk operation hangs.
    Hang,
    /// There is no space.
    Fill,
    /// A frame is changed.
    Flip,
    /// Two names lead to each other's host.
    Swap,
    /// A node moves.
    Move,
    /// The membership changes.
    Change,
    /// Somebody works on a node.
    Maintain,
    /// Everybody but one is lost to it, and its promotion is forced.
    Force,
}

impl Kind {
    const ALL: [Kind; 22] = [
        Kind::Kill,
        Kind::Power,
        Kind::Blackout,
        Kind::Pause,
        Kind::Isolate,
        Kind::OneWay,
        Kind::Reset,
        Kind::Promote,
        Kind::Usurp,
        Kind::Wipe,
        Kind::Replace,
        Kind::Rot,
        Kind::Lose,
        Kind::Misdirect,
        Kind::Hang,
        Kind::Fill,
        Kind::Flip,
        Kind::Swap,
        Kind::Move,
        Kind::Change,
        Kind::Maintain,
        Kind::Force,
    ];

    /// What it counts as, if what was asked for is tried again until it has happened once.
    fn wanted(self) -> Option<Fault> {
        match self {
            Kind::Kill => Some(Fault::Kill),
            Kind::Power => Some(Fault::PowerLoss),
            Kind::Blackout => Some(Fault::Blackout),
            Kind::Pause => Some(Fault::Pause),
            Kind::Isolate => Some(Fault::Cut),
            Kind::OneWay => Some(Fault::OneWayCut),
            Kind::Reset => Some(Fault::Reset),
            Kind::Promote => Some(Fault::Promotion),
            Kind::Usurp => Some(Fault::Usurped),
            Kind::Wipe => Some(Fault::Wiped),
            Kind::Replace => Some(Fault::NewDisk),
            Kind::Rot | Kind::Lose | Kind::Misdirect | Kind::Hang | Kind::Fill => None,
            Kind::Flip | Kind::Swap | Kind::Move | Kind::Change | Kind::Maintain | Kind::Force => None,
        }
    }

    fn every(self, profile: &Profile) -> Option<Every> {
        match self {
            Kind::Kill => profile.kill,
            Kind::Power => profile.power,
            Kind::Blackout => profile.blackout,
            Kind::Pause => profile.pause,
            Kind::Isolate => profile.cut,
            Kind::OneWay => profile.one_way,
            Kind::Reset => profile.reset,
            Kind::Promote => profile.promote,
            Kind::Usurp => profile.usurp,
            Kind::Wipe => profile.wipe,
            Kind::Replace => profile.replace,
            Kind::Rot => profile.device.rot,
            Kind::Lose => profile.device.lose,
            Kind::Misdirect => profile.device.misdirect,
            Kind::Hang => profile.device.hang,
            Kind::Fill => profile.device.fill,
            Kind::Flip => profile.wire.flip,
            Kind::Swap => profile.wire.swap,
            Kind::Move => profile.wire.r#move,
            Kind::Change => profile.change,
            Kind::Maintain => profile.maintain,
            Kind::Force => profile.force,
        }
    }
}

/// Something that the planner means to do.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Trouble of that kind, and the next of it later.
    Trouble(Kind),
    /// Crown whom the primary does not hear of, if it still lives that life.
    Crown { node: usize, life: u32 },
    /// Hold back what a new primary says to that voter.
    HoldBack { node: usize, voter: usize },
    /// Have the operator force that node's promotion.
    Force { node: usize },
    /// See whether clients may turn to several primaries.
    Look { left: u32 },
}

/// Streams of chance of the planner alone, one per concern, and what it means to do.
#[derive(Debug)]
pub(crate) struct Planner {
    crash: Prng,
    partition: Prng,
    promotion: Prng,
    aim: Prng,
    damage: Prng,
    hang: Prng,
    names: Prng,
    members: Prng,
    maintenance: Prng,
    agenda: BTreeMap<(Moment, u64), Plan>,
    count: u64,
    /// Whether a script says what happens.
    scripted: bool,
    /// Who was promoted behind the primary's back, and does not reign yet.
    heir: Option<usize>,
}

impl Planner {
    /// The planner of a seed; if a script says what happens, it plans nothing.
    pub(crate) fn new(seed: u64, scripted: bool) -> Planner {
        let stream = |stream| Prng::new(seed, stream);
        Planner {
            crash: stream(Stream::Crash),
            partition: stream(Stream::Partition),
            promotion: stream(Stream::Promotion),
            aim: stream(Stream::Scenario),
            damage: stream(Stream::Mishap),
            hang: stream(Stream::Hang),
            names: stream(Stream::Names),
            members: stream(Stream::Members),
            maintenance: stream(Stream::Maintenance),
            agenda: BTreeMap::new(),
            count: 0,
            scripted,
            heir: None,
        }
    }

    fn push(&mut self, at: Moment, plan: Plan) {
        self.count += 1;
        self.agenda.insert((at, self.count), plan);
    }

    /// When it means to do the next thing.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// It does nothing any more.
    pub(crate) fn stop(&mut self) {
        self.agenda.clear();
    }
}

impl World {
    /// The first of each kind.
    pub(crate) fn plan_troubles(&mut self) {
        if !self.planner.scripted {
            for kind in Kind::ALL {
                self.plan(kind);
            }
        }
    }

    fn plan(&mut self, kind: Kind) {
        let Some(every) = kind.every(&self.profile) else { return };
        let prng = match kind {
            Kind::Kill | Kind::Power | Kind::Blackout | Kind::Pause | Kind::Reset => &mut self.planner.crash,
            Kind::Isolate | Kind::OneWay => &mut self.planner.partition,
            Kind::Promote => &mut self.planner.promotion,
            Kind::Usurp | Kind::Wipe | Kind::Replace => &mut self.planner.aim,
            Kind::Rot | Kind::Lose | Kind::Misdirect => &mut self.planner.damage,
            Kind::Hang | Kind::Fill => &mut self.planner.hang,
            Kind::Flip | Kind::Swap | Kind::Move => &mut self.planner.names,
            Kind::Change => &mut self.planner.members,
            Kind::Maintain => &mut self.planner.maintenance,
            Kind::Force => &mut self.planner.aim,
        };
        // However rare, each kind comes at least once.
        let mut after = every.draw(prng);
        if self.now == Moment(0) {
            after = after.min(prng.between(SECOND / 2, self.profile.chaos - SECOND / 2));
        }
        // Faults that go on because too little was written among them leave more room for that.
        if self.now >= Moment(self.profile.chaos) {
            after *= RARER;
        }
        self.planner.push(self.now.plus(after), Plan::Trouble(kind));
    }

    /// The planner does what is due now.
    pub(crate) fn on_plan(&mut self) -> Result<(), Failure> {
        let Some((_, plan)) = self.planner.agenda.pop_first() else { return Ok(()) };
        match plan {
            Plan::Trouble(kind) => {
                self.strike(kind)?;
                if kind.wanted().is_some_and(|fault| !self.tally.faults.contains_key(&fault)) {
                    self.planner.push(self.now.plus(AGAIN), Plan::Trouble(kind));
                } else {
                    self.plan(kind);
                }
                Ok(())
            }
            Plan::Crown { node, life } => {
                if self.nodes[node].lives(life) && self.is_up(node) {
                    self.planner.heir = Some(node);
                    self.all(&[Act::Promote { node }], Fault::Usurped)?;
                }
                Ok(())
            }
            Plan::Force { node } => self.all(&[Act::Force { node, dead: Dead::Silent }], Fault::Forced),
            Plan::HoldBack { node, voter } => {
                let long = Span(self.planner.aim.between(50 * MILLIS, 1500 * MILLIS));
                self.all(&[Act::Cut { from: node, to: voter, long }], Fault::GreetHeldBack)
            }
            Plan::Look { left } => {
                let nth = u32::try_from(self.planner.aim.below(1 << 16)).expect("small");
                self.carry_out_deed(Act::Split { nth })?;
                if left > 0 {
                    self.planner.push(self.now.plus(100 * MILLIS), Plan::Look { left: left - 1 });
                }
                Ok(())
            }
        }
    }

    /// A disk is harmed: one that is harmed already, or any other that the run can bear.
    fn plan_damage(&mut self, kind: Kind) -> Result<(), Failure> {
        let prng = &mut self.planner.damage;
        let node = prng.index(self.nodes.len());
        let area = prng.pick(&[Area::Super, Area::Log, Area::Table, Area::Home, Area::Home]);
        let nth = u32::try_from(prng.below(1 << 20)).expect("small");
        let rot = prng.pick(&[Rot::Bits, Rot::Bits, Rot::Sector]);
        let act = match kind {
            Kind::Rot => Act::Rot { node, area, rot, nth },
            Kind::Lose => Act::Lose { node, area },
            Kind::Misdirect => Act::Misdirect { node, area, nth },
            other => unreachable!("{other:?} harms no disk"),
        };
        self.carry_out_deed(act).map(|_| ())
    }

    /// Carry them out; they count as one fault, if any of them did something.
    fn all(&mut self, acts: &[Act], fault: Fault) -> Result<(), Failure> {
        let mut did = false;
        for act in acts {
            // What waits for the next operation counts when it happens.
            did |= self.carry_out_deed(*act)? && !act.waits();
        }
        self.tally.fired(fault, u64::from(did));
        Ok(())
    }

    fn strike(&mut self, kind: Kind) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        let Planner { crash, partition, promotion, hang, names, .. } = &mut self.planner;
        let profile = &self.profile;
        let down = |prng: &mut Prng| Span(profile.down.draw(prng));
        let cut_off = |prng: &mut Prng| Span(profile.outage.draw(prng));
        let (acts, fault) = match kind {
            Kind::Kill => {
                let act = Act::Kill { node: crash.index(nodes), down: down(crash) };
                (vec![act], Fault::Kill)
            }
            Kind::Power => {
                // What was acknowledged before it was flushed must stay with all nodes but one.
                let any = crash.index(nodes);
                let node = if profile.ack == Ack::Durable { any } else { profile.fragile };
                (vec![Act::Power { node, loss: profile.loss, down: down(crash) }], Fault::PowerLoss)
            }
            Kind::Blackout => {
                let act = |node| match profile.ack {
                    Ack::Durable => Act::Power { node, loss: profile.loss, down: down(crash) },
                    Ack::Written => Act::Kill { node, down: down(crash) },
                };
                ((0..nodes).map(act).collect(), Fault::Blackout)
            }
            Kind::Pause => {
                let node = crash.index(nodes);
                let long = Span(profile.outage.draw(crash));
                (vec![Act::Pause { node, long }], Fault::Pause)
            }
            Kind::Isolate => {
                let node = partition.index(nodes);
                let mut acts = Vec::new();
                for other in (0..nodes).filter(|other| *other != node) {
                    acts.push(Act::Cut { from: node, to: other, long: cut_off(partition) });
                    acts.push(Act::Cut { from: other, to: node, long: cut_off(partition) });
                }
                (acts, Fault::Cut)
            }
            Kind::OneWay => {
                let from = partition.index(nodes);
                let to = (from + 1 + partition.index(nodes - 1)) % nodes;
                (vec![Act::Cut { from, to, long: cut_off(partition) }], Fault::OneWayCut)
            }
            Kind::Reset => {
                let nth = u32::try_from(crash.below(1 << 16)).expect("small");
                (vec![Act::Reset { nth }], Fault::Reset)
            }
            Kind::Promote => {
                let node = promotion.index(nodes);
                if promotion.coin() {
                    (vec![Act::Promote { node }], Fault::Promotion)
                } else {
                    (vec![Act::Handover { node }], Fault::Handover)
                }
            }
            Kind::Usurp => return self.usurp(),
            Kind::Wipe => return self.plan_wipe(),
            Kind::Replace => return self.plan_replacement(),
            Kind::Change => return self.plan_change(),
            Kind::Maintain => return self.plan_maintenance(),
            Kind::Force => return self.plan_force(),
            Kind::Rot | Kind::Lose | Kind::Misdirect => return self.plan_damage(kind),
            Kind::Flip => {
                let (from, to) = two(names, nodes);
                (vec![Act::Flip { from, to }], Fault::FlippedHead)
            }
            Kind::Swap => {
                let (one, other) = two(names, nodes);
                let long = Span(names.between(200 * MILLIS, 3 * SECOND));
                (vec![Act::Swap { one, other, long }], Fault::Swapped)
            }
            Kind::Move => {
                let node = names.index(nodes);
                let down = Span(names.between(10 * MILLIS, SECOND));
                let known = Span(names.between(100 * MILLIS, 3 * SECOND));
                (vec![Act::Move { node, down, known }], Fault::Moved)
            }
            Kind::Hang => {
                let long_max = if profile.has_spare() { 20 * SECOND } else { 4 * SECOND };
                let long = Span(hang.between(3 * SECOND, long_max));
                (vec![Act::Hang { node: hang.index(nodes), long }], Fault::Hung)
            }
            Kind::Fill => {
                let area = hang.pick(&[Area::Home, Area::Home, Area::Log]);
                let long = Span(hang.between(300 * MILLIS, 4 * SECOND));
                (vec![Act::Fill { node: hang.index(nodes), area, long }], Fault::Full)
            }
        };
        self.all(&acts, fault)
    }

    /// Who serves, in the highest epoch.
    pub(crate) fn serving(&self) -> Option<usize> {
        let roles = self.nodes.iter().enumerate().filter_map(|(node, here)| {
            let status = here.replica.as_ref()?.status();
            (self.is_up(node) && status.role == Role::Primary).then_some((status.epoch, node))
        });
        roles.max().map(|(_, node)| node)
    }

    /// Somebody is to be promoted of whom the primary does not hear, while it goes on with the others.
    fn usurp(&mut self) -> Result<(), Failure> {
        let Some(primary) = self.serving() else { return Ok(()) };
        let prng = &mut self.planner.aim;
        let heir = (primary + 1 + prng.index(self.nodes.len() - 1)) % self.nodes.len();
        let long = Span(prng.between(SECOND, 4 * SECOND));
        let after = prng.between(0, 300 * MILLIS);
        // Half of the time it hears of nobody, and goes on in the belief that it reigns.
        let alone = prng.coin();
        if !self.is_up(heir) {
            return Ok(());
        }
        for other in (0..self.nodes.len()).filter(|other| *other == heir || alone && *other != primary) {
            self.carry_out_deed(Act::Cut { from: primary, to: other, long })?;
            self.carry_out_deed(Act::Cut { from: other, to: primary, long })?;
        }
        let life = self.nodes[heir].life;
        self.planner.push(self.now.plus(after), Plan::Crown { node: heir, life });
        Ok(())
    }

    /// A node says that it reigns. If it was promoted behind the primary's back, its voters hear of it late.
    pub(crate) fn on_reigning(&mut self, node: usize, epoch: Epoch) {
        self.oracle.on_reigning(epoch);
        self.tally.forked = u64::from(self.oracle.is_forked());
        if self.planner.heir != Some(node) || !self.chaos {
            return;
        }
        self.planner.heir = None;
        // After all that happens now, so that a script that names these deeds meets the same world.
        let soon = self.now.plus(1);
        self.planner.push(soon, Plan::Look { left: SPLIT_LOOKS });
        for voter in (0..self.nodes.len()).filter(|voter| *voter != node) {
            self.planner.push(soon, Plan::HoldBack { node, voter });
        }
    }

    /// Whether the connection of this frame stands still from now on, and for how many nanoseconds.
    pub(crate) fn stands_still(&mut self, head: &[u8]) -> Option<u64> {
        let header = head.first_chunk().and_then(|head| FrameHeader::decode(head).ok())?;
        let opens = matches!(header.kind, Frame::Greet | Frame::Begin | Frame::Ask | Frame::Promise);
        let prng = &mut self.chances.stuck;
        if !opens || !self.chaos || !prng.chance(self.profile.stuck) {
            return None;
        }
        self.tally.fired(Fault::Stuck, 1);
        Some(prng.between(SECOND, 6 * SECOND))
    }

    /// An operator is to wipe a follower's copy.
    fn plan_wipe(&mut self) -> Result<(), Failure> {
        let Some(primary) = self.serving() else { return Ok(()) };
        let prng = &mut self.planner.aim;
        let node = (primary + 1 + prng.index(self.nodes.len() - 1)) % self.nodes.len();
        let down = Span(prng.between(10 * MILLIS, SECOND));
        self.all(&[Act::Wipe { node, down }], Fault::Wiped)
    }

    /// A replica's device is to be lost and replaced, whoever serves at the moment.
    fn plan_replacement(&mut self) -> Result<(), Failure> {
        let prng = &mut self.planner.aim;
        let node = prng.index(self.nodes.len());
        let down = Span(prng.between(10 * MILLIS, SECOND));
        self.all(&[Act::Replace { node, down }], Fault::NewDisk)
    }

    fn plan_maintenance(&mut self) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        let primary = self.serving();
        let prng = &mut self.planner.maintenance;
        // The primary's is the one that matters most.
        let node = primary.filter(|_| prng.coin()).unwrap_or_else(|| prng.index(nodes));
        let long = Span(prng.between(SECOND, 4 * SECOND));
        let act =
            if prng.below(4) == 0 { Act::EndMaintenance { node } } else { Act::Maintain { node, long } };
        self.all(&[act], Fault::Maintained)
    }

    /// One node is to be alone, with the others dead or among themselves, and then the operator forces its promotion.
    fn plan_force(&mut self) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        let prng = &mut self.planner.aim;
        let node = prng.index(nodes);
        let long = Span(prng.between(SECOND, 6 * SECOND));
        let after = prng.between(0, 2500 * MILLIS);
        let mut acts = Vec::new();
        for other in (0..nodes).filter(|other| *other != node) {
            // Now and then one of them stays in touch.
            match prng.below(8) {
                0 => {}
                1 | 2 => acts.push(Act::Kill { node: other, down: long }),
                _ => {
                    acts.push(Act::Cut { from: node, to: other, long });
                    acts.push(Act::Cut { from: other, to: node, long });
                }
            }
        }
        self.planner.push(self.now.plus(after), Plan::Force { node });
        self.all(&acts, Fault::Cut)
    }

    /// Where the chances of changes come from.
    pub(crate) fn planner_members(&mut self) -> &mut Prng {
        &mut self.planner.members
    }

    /// What a node says of itself, if it runs.
    pub(crate) fn status(&self, node: usize) -> Option<Status> {
        self.nodes[node].replica.as_ref().map(Replica::status)
    }
}

/// Two nodes.
fn two(prng: &mut Prng, nodes: usize) -> (usize, usize) {
    let one = prng.index(nodes);
    (one, (one + 1 + prng.index(nodes - 1)) % nodes)
}
