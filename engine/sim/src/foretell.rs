//! Whether what the primary foretells comes true. A swarm's world goes through its faults, heals, perhaps loses a
//! follower for good, and at some moment one of its nodes is killed for good: before that the primary's own status is
//! asked what will follow, by the engine's rules for it, and after that nobody helps, and what follows is seen.

use core::fmt::Write as _;
use core::ops::Range;
use std::collections::BTreeMap;
use std::process::ExitCode;

use seawall_engine::outlook::{Deed, Facts, Outlook};
use seawall_engine::status::Role;
use seawall_wal::names::{Epoch, ReplicaId};

use crate::birth::replica;
use crate::clock::{MILLIS, Moment, SECOND};
use crate::disk::Crash;
use crate::options::Options;
use crate::oracle::Failure;
use crate::prng::{Prng, Stream};
use crate::profile::Profile;
use crate::world::World;

/// The volume has so long to become healthy enough for a prediction, in nanoseconds.
const SETTLES_MAX: u64 = 20 * SECOND;
/// The same when a follower is gone. All of what follows is over before an oracle takes a session with a node that is
/// gone for one that stands still.
const SETTLES_AGAIN_MAX: u64 = 4 * SECOND;
/// Whether clients can write is judged by what they write after so long, in nanoseconds.
const FOLLOWS: u64 = 12 * SECOND;
/// For so long, in nanoseconds.
const JUDGED: u64 = 4 * SECOND;
/// So often one looks who serves, in nanoseconds.
const GLANCE: u64 = 10 * MILLIS;
/// What must come true of a hundred predictions.
const TRUE_MIN_PERCENT: usize = 99;

/// A prediction, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The run.
    pub seed: u64,
    /// What its volume is like.
    pub volume: String,
    /// What was foretold.
    pub foretold: Outlook,
    /// Whether clients could write in the end.
    pub writable: bool,
    /// Who first served after the primary was killed, if somebody did; who serves in the end after a follower was.
    pub primary: Option<ReplicaId>,
    /// How long no write completed after the deed, in nanoseconds, if any did later.
    pub pause: Option<u64>,
}

impl Case {
    /// Whether it came true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        let effect = self.foretold.rule.effect();
        let named = self.primary.is_none_or(|primary| self.foretold.primaries.contains(&primary));
        self.writable == effect.is_writable() && (named || !self.writable)
    }
}

/// What is seen of one seed; none if its volume was never healthy enough.
///
/// # Errors
/// What the oracles found.
pub fn foretell(seed: u64) -> Result<Option<Case>, Failure> {
    let mut world = World::new(&Options::seed(seed));
    let mut prng = Prng::new(seed, Stream::Forecast);
    world.begin()?;
    let until = Moment(prng.between(world.profile.chaos / 4, world.profile.chaos));
    while world.advance(until)? {}
    world.heal()?;
    world.leave_alone();
    world.pass(prng.below(3 * SECOND))?;
    if !world.settles(SETTLES_MAX, &mut prng)? {
        return Ok(None);
    }
    let nodes = world.nodes.len();
    if nodes > 2 && prng.coin() {
        let primary = world.serving().unwrap_or(0);
        world.end((primary + 1 + prng.index(nodes - 1)) % nodes);
        world.pass(prng.below(2 * SECOND))?;
        if !world.settles(SETTLES_AGAIN_MAX, &mut prng)? {
            return Ok(None);
        }
    }
    let Some(facts) = world.serving().and_then(|node| Facts::of(&world.status(node)?)) else {
        return Ok(None);
    };
    let alive: Vec<usize> = (0..nodes).filter(|node| world.is_up(*node)).collect();
    let struck = prng.pick(&alive);
    let Some(foretold) = facts.outlook(Deed::Kill, replica(struck)) else { return Ok(None) };
    world.end(struck);
    let (primary, writable, pause) = world.follow(facts.epoch)?;
    let volume = format!(
        "{:?} of {}, {:?}, {}",
        world.profile.commit,
        nodes,
        world.profile.ack,
        if world.profile.automatic { "automatic" } else { "manual" }
    );
    Ok(Some(Case { seed, volume, foretold, writable, primary, pause }))
}

impl World {
    /// Nothing goes wrong by itself any more, and no operator comes.
    fn leave_alone(&mut self) {
        self.chaos = true;
        self.profile.operator = false;
        self.profile.disk = Profile::calm().disk;
        self.profile.stuck = 0;
    }

    fn pass(&mut self, nanos: u64) -> Result<(), Failure> {
        let until = self.now.plus(nanos);
        while self.advance(until)? {}
        Ok(())
    }

    /// A process is killed, and nobody starts it again.
    fn end(&mut self, node: usize) {
        if self.nodes[node].replica.is_some() {
            self.crash(node, Crash::Kill);
        }
        // Whoever meant to start it again means another life.
        self.nodes[node].life += 1;
    }

    /// Until the volume takes writes, and the primary is in touch with every process that runs and is unharmed. Now and
    /// then a little longer.
    fn settles(&mut self, most: u64, prng: &mut Prng) -> Result<bool, Failure> {
        let late = self.now.plus(most);
        while !self.is_healthy_enough() {
            if self.now >= late {
                return Ok(false);
            }
            self.pass(20 * MILLIS)?;
        }
        if prng.coin() {
            self.pass(prng.below(SECOND))?;
        }
        Ok(self.is_healthy_enough())
    }

    fn is_healthy_enough(&self) -> bool {
        let Some(status) = self.serving().and_then(|node| self.status(node)) else { return false };
        let well = |node: usize| !self.atlas.is_harmed(node) && !self.nodes[node].faulted;
        let met = |node: usize| {
            let here = replica(node);
            here == status.replica
                || status.peers.iter().any(|peer| peer.replica == here && peer.speaks == self.is_up(node))
        };
        status.quorum.missing_since.is_none() && (0..self.nodes.len()).all(|node| well(node) && met(node))
    }

    /// Who serves first in a newer epoch, or who serves in the end; whether clients can write in the end; and how long
    /// they could not.
    fn follow(&mut self, before: Epoch) -> Result<(Option<ReplicaId>, bool, Option<u64>), Failure> {
        let (began, written) = (self.now, self.tally.written);
        let mut successor = None;
        let (mut first, mut held) = (None, written);
        while self.now < began.plus(FOLLOWS) {
            self.pass(GLANCE)?;
            // What was under way may still be answered at once.
            let early = self.now < began.plus(2 * GLANCE);
            if self.tally.written > held && !early && first.is_none() {
                first = Some(self.now.since(began));
            }
            held = if early { self.tally.written } else { held };
            let reigns = self.serving().and_then(|node| self.status(node));
            let newer = reigns.filter(|status| status.role == Role::Primary && status.epoch > before);
            successor = successor.or(newer.map(|status| status.replica));
        }
        let last = self.tally.written;
        self.pass(JUDGED)?;
        let ends = self.serving().map(replica);
        Ok((successor.or(ends), self.tally.written > last, first))
    }
}

/// What many seeds showed, as a document.
#[must_use]
pub fn report(seeds: &Range<u64>, cases: &[Case]) -> String {
    let mut rules: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let row = rules.entry(case.foretold.rule.name()).or_default();
        row.0 += 1;
        row.1 += usize::from(case.is_true());
    }
    let right = cases.iter().filter(|case| case.is_true()).count();
    let over = || cases.iter().filter(|case| case.foretold.rule.name() == "fails-over" && case.is_true());
    let likely = over().filter(|case| case.primary == case.foretold.likely).count();
    let mut ratios: Vec<u64> = over()
        .filter_map(|case| {
            let foretold = u64::try_from(case.foretold.pause?.as_nanos()).ok()?;
            Some(case.pause? * 100 / foretold.max(1))
        })
        .collect();
    ratios.sort_unstable();
    let mut text = format!(
        "# What is foretold of a killed replica, and what follows\n\nWritten by `sim --whatif {}..{} --table FILE`.\n\n\
         {} runs; {} in which the volume was healthy enough for a prediction; {right} of those came true ({:.1} %).\n\n\
         | rule | foretold | came true |\n|---|---|---|\n",
        seeds.start,
        seeds.end,
        seeds.end - seeds.start,
        cases.len(),
        percent(right, cases.len())
    );
    for (rule, (foretold, right)) in rules {
        let _ = writeln!(text, "| {rule} | {foretold} | {right} |");
    }
    if let Some(median) = ratios.get(ratios.len() / 2) {
        let _ = write!(
            text,
            "\nOf {} that found themselves another primary, {likely} found the likely one. The pause was {median} % of what \
             was foretold in the median, and {} % at the most.\n",
            over().count(),
            ratios.last().unwrap_or(median)
        );
    }
    text.push_str("\nMismatches:\n");
    for case in cases.iter().filter(|case| !case.is_true()) {
        let _ = writeln!(
            text,
            "* seed {} ({}): kill {}: foretold {} with {:?}; writable {}, primary {:?}",
            case.seed,
            case.volume,
            case.foretold.replica,
            case.foretold.rule.name(),
            case.foretold.primaries,
            case.writable,
            case.primary
        );
    }
    if right == cases.len() {
        text.push_str("none.\n");
    }
    text
}

fn percent(part: usize, whole: usize) -> f64 {
    let thousandth = (part * 1000).checked_div(whole).unwrap_or(0);
    f64::from(u32::try_from(thousandth).unwrap_or(0)) / 10.0
}

/// `sim --whatif A..B [--table FILE]`.
#[must_use]
pub fn command(arguments: &[String]) -> ExitCode {
    let (range, file) = match arguments {
        [range] => (range, None),
        [range, option, file] if option == "--table" => (range, Some(file)),
        _ => {
            eprintln!("usage: sim --whatif A..B [--table FILE]");
            return ExitCode::from(2);
        }
    };
    let bounds = range.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    let Some(seeds) = bounds else {
        eprintln!("{range} is no range A..B");
        return ExitCode::from(2);
    };
    let mut cases = Vec::new();
    let mut failed = false;
    for seed in seeds.clone() {
        match foretell(seed) {
            Ok(case) => cases.extend(case),
            Err(failure) => {
                println!("seed {seed} FAILED: {failure}");
                failed = true;
            }
        }
    }
    let text = report(&seeds, &cases);
    print!("{text}");
    if let Some(file) = file
        && let Err(why) = std::fs::write(file, text)
    {
        eprintln!("{file}: {why}");
        return ExitCode::from(2);
    }
    let right = cases.iter().filter(|case| case.is_true()).count();
    let enough = !cases.is_empty() && right * 100 >= cases.len() * TRUE_MIN_PERCENT;
    if failed || !enough { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
