//! Three voters, the shipped rules of a vote and of commit, and disks that forget what was not flushed: no two reigns
//! of one epoch, and nothing committed is ever lost.
//!
//! The rules that live in the engine's one big machine, and can't be driven alone, are said here by guards of the same
//! names; what they keep out is shown all the same.

use seawall_engine::ballot::{Ask, Promise, Standing, is_elected};
use seawall_engine::commit::committed;
use seawall_engine::setup::CommitRule;
use seawall_wal::guard;
use seawall_wal::names::{Crc, Epoch, LsnRange, ReplicaId};

use crate::history::lsn;
use crate::search::{Breach, Model, rule};

const VOTERS: usize = 3;

/// What may happen at most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Votes {
    /// Its name.
    pub name: &'static str,
    /// Candidacies.
    pub campaigns: u8,
    /// Restarts.
    pub restarts: u8,
    /// Writes.
    pub writes: u8,
    /// Copies that are given up, to be rebuilt.
    pub rebuilds: u8,
}

/// A candidate: whose promises it has, with the log that each came with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Candidacy {
    epoch: Epoch,
    promises: [Option<Vec<Epoch>>; VOTERS],
}

/// A primary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Reign {
    epoch: Epoch,
    /// Where its start is in its log.
    start: usize,
    /// How far the others say they are.
    acked: [usize; VOTERS],
}

/// One replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Voter {
    /// As it stands in memory, and as it stands on both copies of the superblock.
    promised: Epoch,
    stored: Epoch,
    /// The epochs of its records; what is in it is durable.
    log: Vec<Epoch>,
    whole: bool,
    candidacy: Option<Candidacy>,
    reign: Option<Reign>,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Volume {
    voters: [Voter; VOTERS],
    /// What was ever committed.
    committed: Vec<Epoch>,
    /// In which reign.
    committed_in: Epoch,
    /// Epochs in which somebody reigned.
    reigned: Vec<Epoch>,
    left: Votes,
}

/// One thing that happens. Voters are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It wants to reign.
    Campaign(usize),
    /// A candidate asks a voter; the answer arrives, or not.
    Ask(usize, usize, bool),
    /// It has promises enough.
    Win(usize),
    /// A client writes.
    Write(usize),
    /// A primary greets a replica, and brings it to its own end; or only to where its own reign starts.
    Feed(usize, usize, bool),
    /// It restarts.
    Restart(usize),
    /// Its copy is to be rebuilt from nothing.
    Rebuild(usize),
}

fn id(voter: usize) -> ReplicaId {
    ReplicaId(voter as u64 + 1)
}

fn promise(epoch: Epoch, log: &[Epoch]) -> Promise {
    Promise {
        epoch,
        sounding: false,
        lineage: Vec::new(),
        log: LsnRange::new(lsn(0), lsn(log.len())),
        tail_epoch: log.last().copied().unwrap_or(Epoch::ZERO),
        tail_chain: Crc(0),
        lossy: false,
    }
}

impl Voter {
    fn new() -> Voter {
        Voter {
            promised: Epoch::ZERO,
            stored: Epoch::ZERO,
            log: Vec::new(),
            whole: true,
            candidacy: None,
            reign: None,
        }
    }

    /// It promises; what it was before, below that epoch, it is no more.
    fn promise(&mut self, epoch: Epoch) {
        self.promised = epoch;
        let kept_in_memory = guard!("promise-is-durable-first", false);
        if !kept_in_memory {
            self.stored = epoch;
        }
        self.reign.take_if(|reign| reign.epoch < epoch);
        self.candidacy.take_if(|candidacy| candidacy.epoch < epoch);
    }
}

impl Volume {
    fn ask(&mut self, candidate: usize, voter: usize, heard: bool) {
        let Some(epoch) = self.voters[candidate].candidacy.as_ref().map(|it| it.epoch) else { return };
        let asked = &mut self.voters[voter];
        let standing = Standing {
            able: true,
            promised: asked.promised,
            whole: asked.whole,
            hears_a_primary: false,
            leased: false,
        };
        if standing.denial(&Ask { epoch, sounding: false, planned: true, configuration: 0 }).is_some() {
            return;
        }
        asked.promise(epoch);
        let log = asked.log.clone();
        if let Some(candidacy) = self.voters[candidate].candidacy.as_mut().filter(|_| heard) {
            candidacy.promises[voter] = Some(log);
        }
    }

    /// What a candidate would reign with, if it is elected.
    fn elected(&self, candidate: usize) -> Option<Vec<Epoch>> {
        let candidacy = self.voters[candidate].candidacy.as_ref()?;
        let others = candidacy.promises.iter().flatten();
        if !is_elected(others.clone().count() + 1, 0, VOTERS) {
            return None;
        }
        let mut best = &self.voters[candidate].log;
        for log in others {
            let better = promise(candidacy.epoch, log).outranks(&promise(candidacy.epoch, best));
            let own_is_good_enough = guard!("best-history-of-a-majority", !better);
            if !own_is_good_enough {
                best = log;
            }
        }
        Some(best.clone())
    }

    fn win(&mut self, candidate: usize) -> Result<(), Breach> {
        let Some(mut log) = self.elected(candidate) else { return Ok(()) };
        let voter = &mut self.voters[candidate];
        let Some(Candidacy { epoch, .. }) = voter.candidacy.take() else { return Ok(()) };
        rule("one-primary-per-epoch", !self.reigned.contains(&epoch), || format!("{epoch} twice"))?;
        self.reigned.push(epoch);
        self.reigned.sort();
        // A reign that was superseded before it began commits nothing any more.
        let late = epoch < self.committed_in;
        rule("committed-is-never-lost", late || log.starts_with(&self.committed), || {
            format!("{epoch} begins without {:?}", self.committed)
        })?;
        let start = log.len();
        log.push(epoch);
        voter.log = log;
        voter.reign = Some(Reign { epoch, start, acked: [0; VOTERS] });
        Ok(())
    }

    /// A primary brings a replica to its own end, or its start, if that one follows it.
    fn feed(&mut self, primary: usize, replica: usize, all: bool) -> Result<(), Breach> {
        let Some(Reign { epoch, start, .. }) = self.voters[primary].reign else { return Ok(()) };
        let whole = &self.voters[primary].log;
        // What it has of our history already it keeps.
        let shared = crate::history::shared(whole, &self.voters[replica].log);
        let log = if all { whole.clone() } else { whole[..start.max(shared)].to_vec() };
        let follower = &mut self.voters[replica];
        if !guard!("follow-nobody-below-the-promise", epoch >= follower.promised) {
            // The refused primary hears of the higher epoch.
            self.voters[primary].reign = None;
            return Ok(());
        }
        follower.promise(follower.promised.max(epoch));
        follower.log.clone_from(&log);
        // Half a copy is no copy.
        follower.whole |= all;
        if follower.whole
            && let Some(reign) = self.voters[primary].reign.as_mut()
        {
            reign.acked[replica] = log.len();
        }
        self.commit(primary)
    }

    /// What a primary may tell its clients.
    fn commit(&mut self, primary: usize) -> Result<(), Breach> {
        let voter = &self.voters[primary];
        let Some(reign) = &voter.reign else { return Ok(()) };
        let others = (0..VOTERS).filter(|other| *other != primary).map(|other| lsn(reign.acked[other]));
        let frontier = committed(CommitRule::Majority, lsn(voter.log.len()), others);
        let frontier = usize::try_from(frontier.0).expect("small");
        if !guard!("own-start-commits-first", frontier > reign.start) {
            return Ok(());
        }
        let told = &voter.log[..frontier];
        let one = told.starts_with(&self.committed) || self.committed.starts_with(told);
        rule("committed-is-never-lost", one, || format!("{told:?} and {:?}", self.committed))?;
        if told.len() > self.committed.len() {
            (self.committed, self.committed_in) = (told.to_vec(), reign.epoch);
        }
        Ok(())
    }
}

impl Model for Votes {
    type State = Volume;
    type Step = Step;

    fn name(&self) -> &'static str {
        self.name
    }

    fn starts(&self) -> Vec<Volume> {
        let voters = core::array::from_fn(|_| Voter::new());
        let (committed, reigned) = (Vec::new(), Vec::new());
        vec![Volume { voters, committed, committed_in: Epoch::ZERO, reigned, left: *self }]
    }

    fn steps(&self, volume: &Volume) -> Vec<Step> {
        let mut steps = Vec::new();
        let Votes { campaigns, restarts, writes, rebuilds, .. } = volume.left;
        for (at, voter) in volume.voters.iter().enumerate() {
            let idle = voter.reign.is_none() && voter.candidacy.is_none();
            if campaigns > 0 && idle && voter.whole {
                steps.push(Step::Campaign(at));
            }
            let others = (0..VOTERS).filter(|other| *other != at);
            if let Some(candidacy) = &voter.candidacy {
                let open = others.clone().filter(|other| candidacy.promises[*other].is_none());
                steps.extend(open.flat_map(|other| [true, false].map(|heard| Step::Ask(at, other, heard))));
                if volume.elected(at).is_some() {
                    steps.push(Step::Win(at));
                }
            }
            if let Some(reign) = &voter.reign {
                if writes > 0 {
                    steps.push(Step::Write(at));
                }
                let behind = others.clone().filter(|other| reign.acked[*other] < voter.log.len());
                steps.extend(behind.flat_map(|other| [true, false].map(|all| Step::Feed(at, other, all))));
            }
            if restarts > 0 {
                steps.push(Step::Restart(at));
            }
            if rebuilds > 0 && idle && voter.whole {
                steps.push(Step::Rebuild(at));
            }
        }
        steps
    }

    fn take(&self, volume: &Volume, step: &Step) -> Result<Volume, Breach> {
        let mut volume = volume.clone();
        match *step {
            Step::Campaign(at) => {
                volume.left.campaigns -= 1;
                let voter = &mut volume.voters[at];
                let epoch = voter.promised.successor(id(at));
                voter.promise(epoch);
                voter.candidacy = Some(Candidacy { epoch, promises: [const { None }; VOTERS] });
            }
            Step::Ask(candidate, voter, heard) => volume.ask(candidate, voter, heard),
            Step::Win(at) => volume.win(at)?,
            Step::Write(at) => {
                volume.left.writes -= 1;
                let voter = &mut volume.voters[at];
                voter.log.extend(voter.reign.as_ref().map(|reign| reign.epoch));
            }
            Step::Feed(primary, replica, all) => volume.feed(primary, replica, all)?,
            Step::Restart(at) => {
                volume.left.restarts -= 1;
                let voter = &mut volume.voters[at];
                voter.promised = voter.stored;
                (voter.candidacy, voter.reign) = (None, None);
            }
            Step::Rebuild(at) => {
                volume.left.rebuilds -= 1;
                let voter = &mut volume.voters[at];
                (voter.whole, voter.log) = (false, Vec::new());
                let rest = (0..VOTERS).filter(|other| *other != at);
                for other in rest {
                    // Whoever rebuilds it counts it no more.
                    if let Some(reign) = volume.voters[other].reign.as_mut() {
                        reign.acked[at] = 0;
                    }
                }
            }
        }
        Ok(volume)
    }

    fn heal(&self, _: &Volume) -> Option<Step> {
        None
    }
}
