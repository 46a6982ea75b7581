//! The shipped base lanes of a rebuild: a target to which any extent is offered at any moment, as of any moment, beside
//! live records; and a source that gets any answer.

use seawall_recovery::base::{Admitted, BaseLimits, BaseSource, BaseTarget};
use seawall_wal::names::{Extent, Lsn};

use crate::cases::Cases;
use crate::search::{Breach, Model, Report, rule};

const BLOCKS: u64 = 3;
/// Base blocks are as of here or later: one record, of block 0, is settled and home below.
const FLOOR: u64 = 1;
const RECORDS: usize = 3;

/// The target's model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Targets;

/// A target, its home, and the truth.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Home {
    target: BaseTarget,
    /// For each block how many records had been settled when its last one was, as the home area has it.
    home: [u64; 3],
    /// The block of each settled record.
    settled: Vec<u64>,
    /// Settled records that are not home.
    live: Vec<usize>,
    /// Base blocks that are being written, as of when they were read.
    writing: Vec<(Extent, Vec<Extent>, u64)>,
}

/// One thing that happens to a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetStep {
    /// A record of this block settles.
    Settle(u64),
    /// The oldest live record goes home.
    GoHome,
    /// Base blocks come, as of so many records.
    Offer(Extent, u64),
    /// A base write ends.
    Written(usize),
    /// Another session goes on.
    Begin,
}

impl Home {
    /// The version of a block as of so many records.
    fn version(&self, block: u64, records: u64) -> u64 {
        let below = self.settled.iter().enumerate().take(usize::try_from(records).expect("few"));
        below.filter(|(_, of)| **of == block).map(|(at, _)| at as u64 + 1).next_back().unwrap_or(0)
    }

    fn put(&mut self, block: u64, version: u64) -> Result<(), Breach> {
        let at = usize::try_from(block).expect("small");
        let Some(here) = self.home.get_mut(at) else {
            return Err(Breach::new("writes-stay-in-the-volume", format!("block {block}")));
        };
        let newer = *here;
        rule("base-never-over-newer", version >= newer, || {
            format!("block {block} as of {version} over {newer}")
        })?;
        *here = version;
        Ok(())
    }

    fn check(&self) -> Result<(), Breach> {
        for block in 0..self.target.held().min(BLOCKS) {
            let waits = self.live.iter().any(|at| self.settled[*at] == block);
            let truth = self.version(block, self.settled.len() as u64);
            let here = self.home[usize::try_from(block).expect("small")];
            rule("what-is-held-is-the-volume", waits || here == truth, || {
                format!("block {block} is held as of {here}, and is of {truth}")
            })?;
        }
        Ok(())
    }
}

impl Model for Targets {
    type State = Home;
    type Step = TargetStep;

    fn name(&self) -> &'static str {
        "base target"
    }

    fn starts(&self) -> Vec<Home> {
        let target = BaseTarget::new(BLOCKS, 0, Lsn(FLOOR));
        vec![Home { target, home: [0; 3], settled: vec![0], live: Vec::new(), writing: Vec::new() }]
    }

    fn steps(&self, home: &Home) -> Vec<TargetStep> {
        let mut steps = Vec::new();
        if home.settled.len() < RECORDS {
            steps.extend((0..BLOCKS).map(TargetStep::Settle));
        }
        if let Some(at) = home.live.first()
            && !home.target.is_writing(Extent::new(home.settled[*at], 1))
        {
            steps.push(TargetStep::GoHome);
        }
        if home.writing.len() < 2 {
            for start in 0..=BLOCKS {
                for blocks in 0..=2 {
                    let moments = 0..=home.settled.len() as u64;
                    steps.extend(moments.map(|as_of| TargetStep::Offer(Extent::new(start, blocks), as_of)));
                }
            }
        }
        steps.extend((0..home.writing.len()).map(TargetStep::Written));
        if home.writing.is_empty() {
            steps.push(TargetStep::Begin);
        }
        steps
    }

    fn take(&self, home: &Home, step: &TargetStep) -> Result<Home, Breach> {
        let mut home = home.clone();
        match *step {
            TargetStep::Settle(block) => {
                home.live.push(home.settled.len());
                home.settled.push(block);
                home.target.on_settled(Extent::new(block, 1));
            }
            TargetStep::GoHome => {
                let at = home.live.remove(0);
                home.put(home.settled[at], at as u64 + 1)?;
            }
            TargetStep::Offer(extent, as_of) => {
                let held = home.target.held();
                let admitted = home.target.admit(extent, Lsn(as_of));
                let again = !extent.is_empty() && extent.end() <= held && as_of >= FLOOR;
                rule("said-twice-is-no-fault", !again || admitted == Ok(Admitted::Held), || {
                    format!("{extent} with {held} blocks held")
                })?;
                if let Ok(Admitted::Write { runs }) = admitted {
                    home.writing.push((extent, runs, as_of));
                }
            }
            TargetStep::Written(at) => {
                let (extent, runs, as_of) = home.writing.remove(at);
                for block in runs.iter().flat_map(|run| run.start..run.end()) {
                    let version = home.version(block, as_of);
                    home.put(block, version)?;
                }
                home.target.on_written(extent);
            }
            TargetStep::Begin => home.target.on_begun(),
        }
        home.check()?;
        Ok(home)
    }

    fn heal(&self, home: &Home) -> Option<TargetStep> {
        if !home.writing.is_empty() {
            Some(TargetStep::Written(0))
        } else if !home.live.is_empty() {
            Some(TargetStep::GoHome)
        } else if !home.target.is_complete() {
            let extent = Extent::new(home.target.held(), 1);
            let begun = home.target.clone().admit(extent, Lsn(home.settled.len() as u64)).is_ok();
            // What waits above, written and not joined, is in the way until a session begins anew.
            let offer = TargetStep::Offer(extent, home.settled.len() as u64);
            Some(if begun { offer } else { TargetStep::Begin })
        } else {
            None
        }
    }
}

/// Extents that all come above the first one, which never comes: what a target keeps of them is bounded.
#[must_use]
pub fn ahead() -> Report {
    const OFFERED: u64 = 4200;
    let mut cases = Cases::new("base target: the wrong order");
    let mut target = BaseTarget::new(2 * OFFERED + 1, 0, Lsn::ZERO);
    let empty = target.bytes();
    for number in 1..=OFFERED {
        let extent = Extent::new(2 * number, 1);
        let go_on = cases.judge(
            1,
            || vec![format!("{number} extents, none of them the first")],
            || {
                if target.admit(extent, Lsn::ZERO).is_ok() {
                    target.on_written(extent);
                }
                let kept = target.bytes() - empty;
                rule("memory-is-bounded", kept <= KEPT_BYTES_MAX, || format!("{kept} bytes"))
            },
        );
        if !go_on {
            break;
        }
    }
    cases.report()
}

/// What the largest window of a source takes, at 48 bytes an extent.
const KEPT_BYTES_MAX: u64 = 4096 * 48;

/// The source's model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources;

const SOURCE_BLOCKS: u64 = 130;
const LIMITS: BaseLimits = BaseLimits { extents_max: 2, blocks_max: 65 };

/// One thing that happens to a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceStep {
    /// So many blocks are taken, with or without data.
    Take(u32, bool),
    /// The target says that it holds the blocks below.
    Ack(u64),
}

impl Model for Sources {
    type State = BaseSource;
    type Step = SourceStep;

    fn name(&self) -> &'static str {
        "base source"
    }

    fn starts(&self) -> Vec<BaseSource> {
        vec![BaseSource::new(SOURCE_BLOCKS, 0, LIMITS), BaseSource::new(SOURCE_BLOCKS, 64, LIMITS)]
    }

    fn steps(&self, source: &BaseSource) -> Vec<SourceStep> {
        let mut steps = Vec::new();
        if source.wants().is_some() {
            let sizes = [1, 64].into_iter().filter(|blocks| *blocks <= source.reach().blocks);
            steps.extend(sizes.flat_map(|blocks| [true, false].map(|data| SourceStep::Take(blocks, data))));
        }
        let answers = [0, 1, 2, 63, 64, 65, 66, 128, 129, 130, 131];
        steps.extend(answers.map(SourceStep::Ack));
        steps
    }

    fn take(&self, source: &BaseSource, step: &SourceStep) -> Result<BaseSource, Breach> {
        let mut after = source.clone();
        match *step {
            SourceStep::Take(blocks, data) => {
                let extent = Extent::new(after.next(), blocks);
                after.on_taken(extent, if data { blocks } else { 0 });
            }
            SourceStep::Ack(held) => {
                let (before, sent) = (after.held(), after.next());
                match after.on_acked(held) {
                    Ok(new) => {
                        rule("base-frontier-moves-on", held >= before && new == held - before, || {
                            format!("{held} after {before}")
                        })?;
                        rule("acked-never-past-log", held <= sent, || {
                            format!("{held} of {sent} blocks sent")
                        })?;
                    }
                    Err(_) => {
                        rule("a-refusal-changes-nothing", after == *source, || format!("{held}"))?;
                        rule("a-right-answer-counts", held < before || held > sent, || format!("{held}"))?;
                    }
                }
            }
        }
        let bounded =
            after.in_flight() <= LIMITS.extents_max && after.in_flight_blocks() <= LIMITS.blocks_max;
        rule("what-is-under-way-is-bounded", bounded, || {
            format!("{} extents with {} blocks", after.in_flight(), after.in_flight_blocks())
        })?;
        Ok(after)
    }

    fn heal(&self, source: &BaseSource) -> Option<SourceStep> {
        if source.in_flight() > 0 {
            Some(SourceStep::Ack(source.next()))
        } else if source.is_complete() {
            None
        } else {
            Some(SourceStep::Take(if source.reach().blocks == 64 { 64 } else { 1 }, true))
        }
    }
}
