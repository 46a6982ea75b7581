//! One pair of histories: what each side says of itself, and what comes of a plan.

use std::fmt;

use seawall_recovery::facts::{self, Facts};
use seawall_recovery::plan::{Decision, Plan, RefuseWhy, Resume, Trust, decide};
use seawall_wal::names::{Crc, Epoch, LineageRow, Lsn, LsnRange, ReplicaId, VolumeId};
use seawall_wal::superblock::BaseState;

use crate::history::{VOLUME, chain, epoch, lineage, lsn, shared, tail_epoch};
use crate::search::{Breach, rule};

const PEER: ReplicaId = ReplicaId(9);
const BLOCKS: u64 = 2;

/// The primary.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) log: Vec<u8>,
    pub(super) start: usize,
    pub(super) settled: usize,
}

/// A rebuild that was broken off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    pub(super) cut: usize,
    pub(super) held: u64,
    /// Its base is of a history that is nobody's any more.
    pub(super) stray: bool,
}

/// What a disk says that no disk can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    /// It is of another volume.
    OtherVolume,
    /// It is another replica.
    OtherReplica,
    /// Its log begins above what is home.
    HoleAboveHome,
    /// More is home than its log ever held.
    HomePastTheLog,
    /// Its base is as of a record that is not home.
    CutPastHome,
    /// It holds more blocks than there are.
    MoreBlocks,
    /// Its lineage is not that of its log.
    OtherTail,
    /// A reign begins elsewhere than it did.
    OtherStart,
}

impl Lie {
    pub(super) const ALL: [Lie; 8] = [
        Lie::OtherVolume,
        Lie::OtherReplica,
        Lie::HoleAboveHome,
        Lie::HomePastTheLog,
        Lie::CutPastHome,
        Lie::MoreBlocks,
        Lie::OtherTail,
        Lie::OtherStart,
    ];
}

/// The replica.
#[derive(Clone, Debug)]
pub(super) struct Theirs {
    pub(super) log: Vec<u8>,
    pub(super) start: usize,
    pub(super) checkpoint: usize,
    pub(super) promised: u8,
    /// Its last record is another than that of the same name.
    pub(super) twin: bool,
    pub(super) blank: bool,
    pub(super) copied: Option<Copied>,
    pub(super) lie: Option<Lie>,
}

impl Theirs {
    pub(super) fn new(log: Vec<u8>, start: usize, checkpoint: usize) -> Theirs {
        let promised = log.last().copied().unwrap_or(0);
        Theirs { log, start, checkpoint, promised, twin: false, blank: false, copied: None, lie: None }
    }

    fn facts(&self) -> Facts {
        let end = lsn(self.log.len());
        let tail = chain(&self.log);
        let mut facts = Facts {
            volume: VOLUME,
            replica: PEER,
            promised: epoch(self.promised),
            lineage: lineage(&self.log),
            log: LsnRange::new(lsn(self.start), end),
            tail_epoch: tail_epoch(&self.log),
            tail_chain: if self.twin { Crc(tail.0 ^ 1) } else { tail },
            checkpoint: lsn(self.checkpoint),
            base: self.base(),
            lossy: false,
            boots: 1,
            promises_lost: false,
        };
        match self.lie {
            None => {}
            Some(Lie::OtherVolume) => facts.volume = VolumeId([8; 16]),
            Some(Lie::OtherReplica) => facts.replica = ReplicaId(8),
            Some(Lie::HoleAboveHome) => {
                facts.log =
                    LsnRange { start: facts.checkpoint.next(), end: end.max(facts.checkpoint.next()) };
            }
            Some(Lie::HomePastTheLog) => facts.checkpoint = end.next(),
            Some(Lie::CutPastHome) => {
                let lineage = LineageRow { epoch: epoch(1), first: Lsn::ZERO };
                facts.base = BaseState::Rebuilding { cut: facts.checkpoint.next(), held: 0, lineage };
            }
            Some(Lie::MoreBlocks) => {
                let lineage = LineageRow { epoch: Epoch::ZERO, first: Lsn::ZERO };
                facts.base = BaseState::Rebuilding { cut: Lsn::ZERO, held: BLOCKS + 1, lineage };
            }
            Some(Lie::OtherTail) => facts.tail_epoch = epoch(7),
            Some(Lie::OtherStart) => {
                let last = facts.lineage.last_mut();
                let row = last.filter(|row| row.first.next() < end);
                row.into_iter().for_each(|row| row.first = row.first.next());
            }
        }
        facts
    }

    fn base(&self) -> BaseState {
        match self.copied {
            _ if self.blank => BaseState::Blank,
            None => BaseState::Complete,
            Some(Copied { cut, held, stray }) => {
                let before = lineage(&self.log[..cut]).last().copied();
                let beginning = LineageRow { epoch: Epoch::ZERO, first: Lsn::ZERO };
                let strange = LineageRow { epoch: epoch(8), first: Lsn::ZERO };
                let row = if stray { strange } else { before.unwrap_or(beginning) };
                BaseState::Rebuilding { cut: lsn(cut), held, lineage: row }
            }
        }
    }
}

/// Both, and what earlier sessions showed of the replica's bytes.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) ours: Ours,
    pub(super) theirs: Theirs,
    pub(super) trust: Trust,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pair { ours, theirs, trust } = self;
        write!(f, "ours {:?} from {} on, settled {}; ", ours.log, ours.start, ours.settled)?;
        write!(f, "theirs {:?} from {} on, home {}", theirs.log, theirs.start, theirs.checkpoint)?;
        write!(f, ", promised {}, twin {}, blank {}", theirs.promised, theirs.twin, theirs.blank)?;
        write!(f, ", {:?}, {:?}, trust {trust:?}", theirs.copied, theirs.lie)
    }
}

impl Pair {
    fn reign(&self) -> u8 {
        self.ours.log.last().copied().expect("a primary has its start")
    }

    pub(super) fn decide(&self) -> Decision {
        let Ours { log, start, settled } = &self.ours;
        let lineage = lineage(log);
        let range = LsnRange::new(lsn(*start), lsn(log.len()));
        let chain_at = |at: Lsn| {
            let held = range.start <= at && at <= range.end;
            held.then(|| chain(&log[..usize::try_from(at.0).expect("small")]))
        };
        let ours = facts::Ours {
            volume: VOLUME,
            peer: PEER,
            epoch: epoch(self.reign()),
            lineage: &lineage,
            log: range,
            tail_epoch: tail_epoch(log),
            settled: lsn(*settled),
            volume_blocks: BLOCKS,
            chain_at: &chain_at,
        };
        decide(&ours, &self.theirs.facts(), self.trust)
    }

    /// What the replica holds of our history from the first record on: its twin is not of it.
    fn fork(&self) -> usize {
        let shared = shared(&self.ours.log, &self.theirs.log);
        if self.is_twin() { shared - 1 } else { shared }
    }

    /// Whether its last record has the name of one of ours, and is another.
    fn is_twin(&self) -> bool {
        self.theirs.twin && shared(&self.ours.log, &self.theirs.log) == self.theirs.log.len()
    }

    /// Whether what they say of themselves can't be, or is said by somebody else.
    fn lies(&self) -> bool {
        match self.theirs.lie {
            None => false,
            Some(
                Lie::OtherStart
                | Lie::OtherVolume
                | Lie::OtherReplica
                | Lie::HoleAboveHome
                | Lie::HomePastTheLog
                | Lie::CutPastHome
                | Lie::MoreBlocks
                | Lie::OtherTail,
            ) => true,
        }
    }

    fn contradicts(&self) -> bool {
        let ours = lineage(&self.ours.log);
        let theirs = self.theirs.facts().lineage;
        theirs.iter().any(|row| ours.iter().any(|our| our.epoch == row.epoch && our.first != row.first))
    }

    /// What is home there and is said to prove that it was settled is a part of our history.
    pub(super) fn check_settled(&self, proves: bool) -> Result<(), Breach> {
        if self.theirs.lie == Some(Lie::OtherStart) {
            // Nobody can see from here that such a lineage is not that of its log.
            return Ok(());
        }
        let home = self.theirs.checkpoint;
        let shared = shared(&self.ours.log, &self.theirs.log);
        rule("what-is-settled-is-of-our-history", !proves || home <= shared, || {
            format!("home below {home}, {shared} records are shared")
        })?;
        rule("who-showed-other-bytes-proves-nothing", !proves || self.trust == Trust::Full, || {
            format!("{:?}", self.trust)
        })?;
        let foreign = matches!(self.theirs.lie, Some(Lie::OtherVolume | Lie::OtherReplica));
        rule("a-foreign-disk-proves-nothing", !proves || !foreign, || format!("{:?}", self.theirs.lie))
    }

    /// Carry a plan out, and look at what comes of it.
    pub(super) fn carry_out(&self, plan: &Plan) -> Result<(), Breach> {
        let Pair { ours, theirs, trust } = self;
        if theirs.lie == Some(Lie::OtherStart) && !self.contradicts() {
            // Nobody can see that from here: the replica itself compares digests before it cuts.
            return Ok(());
        }
        if self.lies() {
            let left =
                matches!(plan, Plan::Refuse { why: RefuseWhy::WrongIdentity | RefuseWhy::FactsAbsurd });
            return rule("what-cannot-be-is-left-alone", left, || format!("{plan:?}"));
        }
        let above = theirs.promised > self.reign();
        let refused = matches!(plan, Plan::Refuse { .. });
        rule("who-promised-higher-is-left-alone", !above || refused, || format!("{plan:?}"))?;
        // It goes on where we end, and holds some of that at home, where only what was committed goes.
        let extends = self.fork() == ours.log.len() && theirs.checkpoint > ours.log.len();
        let keeps = extends && !theirs.blank;
        rule("what-may-be-the-last-copy-is-kept", !keeps || refused, || format!("{plan:?}"))?;
        let whole = theirs.copied.is_none() && !theirs.blank && *trust == Trust::Full;
        let fork = self.fork();
        let by_log = whole && !self.is_twin() && !above && fork >= theirs.checkpoint && fork >= ours.start;
        let reaches = |from: Lsn| {
            rule("pinned-log-stays", from >= lsn(ours.start), || {
                format!("fed from {from}, our log begins at {}", ours.start)
            })
        };
        match *plan {
            Plan::Refuse { why } => {
                let early = theirs.copied.is_some() && theirs.checkpoint > ours.settled;
                let due = match why {
                    RefuseWhy::Promised => above,
                    RefuseWhy::AheadOfUs => keeps,
                    RefuseWhy::NotSettled => early,
                    RefuseWhy::WrongIdentity | RefuseWhy::FactsAbsurd => false,
                };
                rule("nobody-is-refused-without-need", due, || format!("{why:?}"))
            }
            Plan::ZeroGap { at } => {
                let equal = fork == ours.log.len() && fork == theirs.log.len() && at == lsn(fork);
                rule("zero-gap-has-no-gap", equal, || format!("at {at}"))?;
                self.fed(whole, fork)
            }
            Plan::CatchUp { from } => {
                reaches(from)?;
                let behind = fork == theirs.log.len() && fork < ours.log.len();
                rule("catch-up-cuts-nothing", behind && from == lsn(fork), || format!("from {from}"))?;
                self.fed(whole, fork)
            }
            Plan::CutThenCatchUp { to } => {
                reaches(to)?;
                rule("cut-only-above-checkpoint", to >= lsn(theirs.checkpoint), || {
                    format!("cut to {to}, home is {}", theirs.checkpoint)
                })?;
                let left = fork < theirs.log.len() && to == lsn(fork);
                rule("a-cut-drops-what-is-not-ours-and-no-more", left, || format!("to {to}, fork {fork}"))?;
                self.fed(whole, fork)
            }
            Plan::Rebuild { resume: None, cut, .. } => {
                reaches(cut)?;
                rule("base-is-of-what-is-settled", cut == lsn(ours.settled), || format!("as of {cut}"))?;
                let half = theirs.copied.is_some_and(|copied| !copied.stray)
                    && fork >= theirs.checkpoint
                    && fork >= ours.start;
                let kept = half && !theirs.blank && *trust == Trust::Full && !above;
                rule("no-rebuild-without-need", !by_log && !kept, || format!("fork {fork}"))
            }
            Plan::Rebuild { resume: Some(resume), .. } => self.resumed(resume, fork),
        }
    }

    /// After it is fed from the fork on its log and its home are ours.
    fn fed(&self, whole: bool, fork: usize) -> Result<(), Breach> {
        let Pair { ours, theirs, .. } = self;
        let home = theirs.checkpoint <= fork;
        let mut log = theirs.log[..fork].to_vec();
        log.extend_from_slice(&ours.log[fork..]);
        rule("in-sync-means-equal", whole && home && log == ours.log, || {
            format!("home below {} and log {log:?} beside ours {:?}", theirs.checkpoint, ours.log)
        })
    }

    /// What is held of the base is of our history, and the rest can be given as of where that is.
    fn resumed(&self, resume: Resume, fork: usize) -> Result<(), Breach> {
        let Pair { ours, theirs, trust } = self;
        let Some(copied) = theirs.copied else {
            return Err(Breach::new("only-a-broken-rebuild-goes-on", "there was none"));
        };
        let same = !copied.stray && fork >= theirs.checkpoint && *trust == Trust::Full && !self.is_twin();
        rule("in-sync-means-equal", same, || format!("base {copied:?}, fork {fork}"))?;
        rule("base-as-of-its-floor", ours.settled >= theirs.checkpoint, || {
            format!("base blocks as of {} under home {}", ours.settled, theirs.checkpoint)
        })?;
        let there = resume.held == copied.held && resume.from == lsn(fork) && fork >= ours.start;
        rule("a-rebuild-goes-on-where-it-was", there, || format!("{resume:?}"))
    }
}
