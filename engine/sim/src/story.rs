//! A scenario as it comes to pass: which step is next, whether its condition is met, what was seen and answered.

mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use seawall_engine::io::{Command, Done, Refusal};
use seawall_engine::notice::Notice;
use seawall_engine::status::{Role, Status};

use crate::birth::replica;
use crate::client::Wish;
use crate::clock::Moment;
use crate::deed::Act;
use crate::node::{Request, State};
use crate::oracle::Failure;
use crate::oracle::ledger::Place;
use crate::pool::BLOCK;
use crate::scenario::{Condition, Do, Event, Outcome, Question, Script, Step, What, When, kebab};
use crate::sign::{DiskEnd, Sign};
use crate::stamp::{Stamp, judge};
use crate::world::{self, Hand, World};

/// Where a scenario is.
#[derive(Debug)]
pub(crate) struct Story {
    script: Arc<Script>,
    next: usize,
    /// When the step before was done.
    since: Moment,
    /// How often what the next step waits for was seen since then.
    count: u64,
    /// When its condition was met.
    met: Option<Moment>,
    /// Writes that had completed by then.
    written: u64,
    notices: Vec<Said>,
    asked: Vec<Asked>,
    /// The first of the hands that ask by name.
    first_slot: usize,
    /// When the world healed, and when it had come to rest.
    healed: Moment,
    rested: Option<Moment>,
}

#[derive(Debug)]
struct Said {
    node: usize,
    notice: Notice,
}

#[derive(Debug)]
struct Asked {
    line: usize,
    question: Question,
    stamp: Stamp,
    outcome: Outcome,
}

impl Story {
    pub(crate) fn new(script: Arc<Script>) -> Story {
        Story {
            next: 0,
            since: Moment(0),
            count: 0,
            met: None,
            written: 0,
            notices: Vec::new(),
            asked: Vec::new(),
            first_slot: script.profile.load.outstanding,
            healed: Moment(0),
            rested: None,
            script,
        }
    }

    fn step(&self) -> Option<&Step> {
        self.script.steps.get(self.next)
    }

    /// When there is something to do for it.
    pub(crate) fn due(&self) -> Option<Moment> {
        Some(match &self.step()?.when {
            When::At(at) => Moment(*at).max(self.since),
            When::After(nanos) => self.since.plus(*nanos),
            When::If(_, within) => self.met.map_or(self.since.plus(*within), |met| met.plus(1)),
        })
    }

    pub(crate) fn on_sign(&mut self, now: Moment, node: usize, sign: Sign<'_>) {
        if let Sign::Notice(notice) = sign {
            self.notices.push(Said { node, notice: notice.clone() });
        }
        if let Some(Step { when: When::If(Condition::Seen(event, times), _), .. }) = self.step()
            && matches(event, node, sign)
        {
            let times = *times;
            self.count += 1;
            if self.count >= times && self.met.is_none() {
                self.met = Some(now);
            }
        }
    }

    fn asked(&self, name: &str) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.question.name == name)
    }
}

/// Whether a sign is that event.
fn matches(event: &Event, node: usize, sign: Sign<'_>) -> bool {
    let any = |which: &Option<usize>, this: Option<usize>| which.is_none() || *which == this;
    match (event, sign) {
        (Event::Notice { kind, node: at, saying }, Sign::Notice(notice)) => {
            notice.kind() == kind
                && any(at, Some(node))
                && saying.as_ref().is_none_or(|words| notice.to_string().contains(words.as_str()))
        }
        (Event::Sends { node: by, kind, to }, Sign::Sends(peer, header)) => {
            *by == node && *kind == header.kind && any(to, peer)
        }
        (Event::Hears { node: by, kind, from }, Sign::Hears(peer, header)) => {
            *by == node && *kind == header.kind && any(from, peer)
        }
        (Event::Disk { node: by, does, area, ended }, Sign::Disk(verb, where_, end)) => {
            let as_far = if *ended { end == DiskEnd::Done } else { end == DiskEnd::Given };
            *by == node && *does == verb && *area == where_ && as_far
        }
        (Event::Notice { .. } | Event::Sends { .. } | Event::Hears { .. } | Event::Disk { .. }, _) => false,
    }
}

fn fail(line: usize, why: &str) -> Failure {
    Failure::new("scenario", format!("line {line}: {why}"))
}

impl World {
    /// Whether a scenario has steps that are not done yet.
    pub(crate) fn has_steps(&self) -> bool {
        self.story.as_ref().is_some_and(|story| story.step().is_some())
    }

    /// When the world heals: when its profile says so, or when what the steps did has passed.
    pub(crate) fn heals(&self) -> Moment {
        if self.profile.chaos > 0 { Moment(self.profile.chaos) } else { self.mended }
    }

    /// Something happened: perhaps the next step's condition is met now.
    pub(crate) fn look_at_story(&mut self) {
        let Some(story) = &self.story else { return };
        if let Some(Step { when: When::If(condition, _), .. }) = story.step()
            && story.met.is_none()
            && !matches!(condition, Condition::Seen(..))
            && self.holds(condition)
        {
            let now = self.now;
            self.story.as_mut().expect("looked at").met = Some(now);
        }
    }

    /// The next step is due.
    pub(crate) fn on_story(&mut self) -> Result<(), Failure> {
        let Some(story) = &self.story else { return Ok(()) };
        let Some(step) = story.step().cloned() else { return Ok(()) };
        match &step.when {
            When::At(_) | When::After(_) => {}
            When::If(condition, _) if story.met.is_none() => {
                return Err(fail(step.line, &format!("not met in time: {condition:?}{}", self.survey())));
            }
            When::If(..) => {}
        }
        for what in step.what {
            self.do_step(step.line, what)?;
        }
        let (now, written) = (self.now, self.tally.written);
        let story = self.story.as_mut().expect("it has steps");
        story.next += 1;
        (story.since, story.count, story.met, story.written) = (now, 0, None, written);
        Ok(())
    }

    fn do_step(&mut self, line: usize, what: Do) -> Result<(), Failure> {
        let nodes = self.nodes.len();
        let acts: Vec<Act> = match what {
            Do::Act(act) => vec![act],
            Do::Isolate(node, long) => (0..nodes)
                .filter(|other| *other != node)
                .flat_map(|other| [(node, other), (other, node)])
                .map(|(from, to)| Act::Cut { from, to, long })
                .collect(),
            Do::Part(one, other, long) => {
                vec![Act::Cut { from: one, to: other, long }, Act::Cut { from: other, to: one, long }]
            }
            Do::Blackout(loss, down) => {
                let alive = (0..nodes).filter(|node| !matches!(self.nodes[*node].state, State::Down { .. }));
                alive.map(|node| Act::Power { node, loss, down }).collect()
            }
            Do::Ask(question, to) => return self.ask(line, question, to),
            Do::Load(on) => {
                self.load = on;
                for slot in 0..self.profile.load.outstanding {
                    let asked = self.hands[slot].asked;
                    self.queue.push(self.now, world::Event::Idle { slot, asked });
                }
                return Ok(());
            }
            Do::Check(condition) if self.holds(&condition) => return Ok(()),
            Do::Check(condition) => {
                return Err(fail(line, &format!("is not so: {condition:?}{}", self.survey())));
            }
            Do::Drain(node) if node >= nodes => return Err(fail(line, "there is no such node")),
            Do::Drain(node) => return self.command(node, Command::Drain).map(|_| ()),
        };
        for act in acts {
            let did = self.carry_out_deed(act)?;
            if did {
                self.tally.fired(act.fault(), u64::from(!act.waits()));
            } else if !self.is_loose() {
                return Err(fail(
                    line,
                    &format!("{act}: as things are, that does nothing or may not be survived"),
                ));
            }
        }
        Ok(())
    }

    fn is_loose(&self) -> bool {
        self.story.as_ref().is_some_and(|story| story.script.loose)
    }

    /// A client asks by name.
    fn ask(&mut self, line: usize, mut question: Question, to: Option<usize>) -> Result<(), Failure> {
        let node = to.or_else(|| self.serving()).unwrap_or(0);
        if node >= self.nodes.len() {
            return Err(fail(line, "there is no such node"));
        }
        let stamp = self.client.stamp();
        let wish = match question.what {
            What::Write { extent, fua } => Wish::Write { stamp, place: Place::Blocks(extent), fua },
            What::Part { block, sectors } => {
                let place = Place::Sectors { block, first: 0, count: sectors };
                Wish::Write { stamp, place, fua: false }
            }
            What::Zero { extent, trim } => Wish::Zero { stamp, extent, trim, fua: false },
            What::Read(extent) => Wish::Read(extent),
            What::Flush => Wish::Flush,
        };
        let story = self.story.as_mut().expect("a step of it");
        if question.name.is_empty() {
            question.name = format!("the request of line {line}");
        }
        let slot = story.first_slot + story.asked.len();
        story.asked.push(Asked { line, question, stamp, outcome: Outcome::Waits });
        self.hands.push(Hand::default());
        self.queue.push(self.now.plus(1_000), world::Event::Request { node, slot, asked: 0, wish });
        Ok(())
    }

    /// Whether a hand asks by name.
    pub(crate) fn is_named(&self, slot: usize) -> bool {
        slot >= self.profile.load.outstanding
    }

    /// What a client asked by name has ended.
    pub(crate) fn on_named(&mut self, slot: usize, outcome: Outcome) {
        if self.is_named(slot)
            && let Some(story) = &mut self.story
        {
            let index = slot - story.first_slot;
            story.asked[index].outcome = outcome;
        }
    }

    /// What a client asked by name is answered.
    pub(crate) fn on_named_answer(
        &mut self,
        node: usize,
        request: &Request,
        result: &Result<Done, Refusal>,
    ) -> Result<(), Failure> {
        if !self.is_named(request.slot) || self.story.is_none() {
            return Ok(());
        }
        let outcome = match result {
            Ok(_) => Outcome::Completed,
            Err(refusal) => Outcome::Refused(kebab(&format!("{refusal:?}"))),
        };
        if let (Wish::Read(extent), Ok(Done::Read { holes })) = (request.wish, result) {
            let bytes = self.nodes[node].pool.bytes(request.buf.expect("a read has a buffer"));
            let shown = |index: usize| {
                let hole = holes >> (index / 8) & 1 == 1;
                let sector = &bytes[index * 512..(index + 1) * 512];
                if hole {
                    Some(Stamp::ZERO)
                } else {
                    judge(sector, extent.start + (index / 8) as u64, index % 8).ok()
                }
            };
            let shown: Vec<Option<Stamp>> = (0..extent.blocks as usize * BLOCK / 512).map(shown).collect();
            self.check_read(request.slot, &shown)?;
        }
        self.on_named(request.slot, outcome);
        Ok(())
    }

    fn check_read(&self, slot: usize, shown: &[Option<Stamp>]) -> Result<(), Failure> {
        let story = self.story.as_ref().expect("it asked");
        let Asked { line, question, .. } = &story.asked[slot - story.first_slot];
        if question.is.is_empty() {
            return Ok(());
        }
        let stamps: BTreeMap<Stamp, &str> = story
            .asked
            .iter()
            .map(|asked| (asked.stamp, asked.question.name.as_str()))
            .chain([(Stamp::ZERO, "zeroes")])
            .collect();
        let name = |stamp: &Option<Stamp>| match stamp {
            None => "what nobody wrote".to_owned(),
            Some(stamp) => stamps.get(stamp).map_or(format!("write {}", stamp.0), |name| (*name).to_owned()),
        };
        match shown.iter().map(name).find(|name| !question.is.contains(name)) {
            None => Ok(()),
            Some(other) => {
                Err(fail(*line, &format!("the read shows {other}, not {}", question.is.join(" or "))))
            }
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        let story = self.story.as_ref().expect("only scenarios have conditions");
        match condition {
            Condition::Not(condition) => !self.holds(condition),
            Condition::Is(node, state) => *node < self.nodes.len() && self.is(*node, state),
            Condition::AllInSync => self.serving().and_then(|node| self.status(node)).is_some_and(|status| {
                self.change_under_way(&status).is_none() && status.peers.iter().all(|peer| peer.counts)
            }),
            Condition::Serves(somebody) => self.serving().is_some() == *somebody,
            Condition::Writes(number) => self.tally.written - story.written >= *number,
            Condition::Number(node, name, least, number) => {
                let status = (*node < self.nodes.len()).then(|| self.status(*node)).flatten();
                status.is_some_and(|status| {
                    let shown = number_of(&status, name);
                    if *least { shown >= *number } else { shown <= *number }
                })
            }
            Condition::Outcome(name, outcome) => story.asked(name).is_some_and(|asked| match outcome {
                Some(outcome) => asked.outcome == *outcome,
                None => asked.outcome != Outcome::Waits,
            }),
            Condition::Seen(event, times) => {
                let seen =
                    story.notices.iter().filter(|said| matches(event, said.node, Sign::Notice(&said.notice)));
                seen.count() as u64 >= *times
            }
        }
    }

    /// Whether a node is that: its role, whether it runs, or the state of the session that feeds it.
    fn is(&self, node: usize, state: &str) -> bool {
        let here = &self.nodes[node];
        let status = self.status(node);
        match (state, here.state) {
            ("up", is) => is == State::Up,
            ("paused", is) => is == State::Paused,
            ("down", is) => matches!(is, State::Down { .. }),
            ("lossy", _) => status.is_some_and(|status| status.lossy),
            ("whole", _) => status.is_some_and(|status| status.base_complete),
            ("rebuilding", _) => status.is_some_and(|status| !status.base_complete),
            (state, _) => {
                status.is_some_and(|status| status.role.name() == state) || self.is_fed(node, state)
            }
        }
    }

    fn is_fed(&self, node: usize, state: &str) -> bool {
        let reigning = (0..self.nodes.len())
            .filter_map(|node| self.status(node))
            .filter(|status| matches!(status.role, Role::Starting | Role::Primary));
        let latest = reigning.max_by_key(|status| status.epoch);
        let peer =
            latest.and_then(|status| status.peers.into_iter().find(|peer| peer.replica == replica(node)));
        peer.is_some_and(|peer| peer.state == state)
    }

    /// The world heals, or has come to rest.
    pub(crate) fn on_healed(&mut self) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.healed = now;
        }
    }
}

fn number_of(status: &Status, name: &str) -> u64 {
    match name {
        "committed" => status.committed.0,
        "durable" => status.durable.0,
        "settled" => status.settled.0,
        "checkpoint" => status.checkpoint.0,
        "log-start" => status.log_start.0,
        "log-end" => status.log_end.0,
        "base-held" => status.base_held,
        "boots" => u64::from(status.boots),
        name => unreachable!("{name} was read as a number's name"),
    }
}
