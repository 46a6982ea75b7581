//! What the log is worth after a restart: pure judgement over the superblock and what a scan of the ring found.
//!
//! The ring is scanned once around, from where the superblock says that the log begins. The chain is followed
//! strictly, record by record, each at the only place where it can be. Where it ends, everything else that was found
//! tells whether the end is what a crash leaves, or whether something that was durable is gone.

use core::fmt;

use crate::guard;
use crate::log::Log;
use crate::names::{Lsn, VolumeId};
use crate::record::Kind;
use crate::scan::{Found, Scanned};
use crate::superblock::{CleanMark, Cut, Superblock};

/// Which rule judged. The first three refuse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RestartRule {
    /// A record further on says that the missing one had been durable.
    InteriorDamage,
    /// The superblock relies on records that are missing: below its settled frontier or its cut.
    FloorMissing,
    /// The replica ended well, and the log ends before that.
    CleanMarkBroken,
    /// The replica ended well, and nothing follows.
    CleanShutdown,
    /// Records that nobody can have relied on are left over after the end, some of an append that was torn.
    TornTail,
    /// Nothing follows.
    CleanEnd,
}

impl RestartRule {
    /// All of them.
    pub const ALL: [RestartRule; 6] = [
        RestartRule::InteriorDamage,
        RestartRule::FloorMissing,
        RestartRule::CleanMarkBroken,
        RestartRule::CleanShutdown,
        RestartRule::TornTail,
        RestartRule::CleanEnd,
    ];

    /// Its name in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RestartRule::InteriorDamage => "interior-damage",
            RestartRule::FloorMissing => "floor-missing",
            RestartRule::CleanMarkBroken => "clean-mark-broken",
            RestartRule::CleanShutdown => "clean-shutdown",
            RestartRule::TornTail => "torn-tail",
            RestartRule::CleanEnd => "clean-end",
        }
    }

    /// Whether the replica must not start.
    #[must_use]
    pub fn refuses(self) -> bool {
        match self {
            RestartRule::InteriorDamage | RestartRule::FloorMissing | RestartRule::CleanMarkBroken => true,
            RestartRule::CleanShutdown | RestartRule::TornTail | RestartRule::CleanEnd => false,
        }
    }

    /// Whether it is the one for these facts. Exactly one is.
    #[must_use]
    pub fn fires(self, facts: Facts) -> bool {
        let Facts { clean, floor_missing, proven, strays } = facts;
        let intact = !proven && !floor_missing;
        match self {
            RestartRule::InteriorDamage => proven,
            RestartRule::FloorMissing => floor_missing && !proven,
            RestartRule::CleanMarkBroken => intact && clean == Clean::Missed,
            RestartRule::CleanShutdown => intact && clean == Clean::Met,
            // A log that goes on past the mark outdates it: then the superblock with the mark is an old copy.
            RestartRule::TornTail => intact && matches!(clean, Clean::Unmarked | Clean::Passed) && strays,
            RestartRule::CleanEnd => intact && matches!(clean, Clean::Unmarked | Clean::Passed) && !strays,
        }
    }
}

impl fmt::Display for RestartRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of the log against the mark of a clean shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clean {
    /// There is no mark.
    Unmarked,
    /// The log ends before it.
    Missed,
    /// The log ends there.
    Met,
    /// The log goes on past it.
    Passed,
}

/// What the judgement depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The end against the clean mark.
    pub clean: Clean,
    /// The log ends below the settled frontier or the cut of the superblock.
    pub floor_missing: bool,
    /// A record says that something at or after the end had been durable.
    pub proven: bool,
    /// There are records at or after the end.
    pub strays: bool,
}

/// What was dropped at the end of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The first record that is missing or broken: the end of the log now.
    pub lsn: Lsn,
    /// Where it should be in the log area. Bytes.
    pub offset: u64,
    /// How many records at or after it were found, and don't count.
    pub dropped: u64,
}

/// A log that is usable.
#[derive(Clone, Debug)]
pub struct Restarted {
    /// As found. All of it counts as durable: the caller flushes the device before it relies on that.
    pub log: Log,
    /// Why.
    pub rule: RestartRule,
    /// What was dropped, if the rule is [`RestartRule::TornTail`].
    pub torn: Option<TornTail>,
}

/// A log that lost something on which somebody may rely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Why.
    pub rule: RestartRule,
    /// The first record that is missing or broken.
    pub lsn: Lsn,
    /// Where it should be in the log area. Bytes.
    pub offset: u64,
    /// What proves that it had been durable: the record that says so, or the frontier in the superblock.
    pub proof_lsn: Lsn,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { rule, lsn, offset, proof_lsn } = self;
        write!(
            f,
            "{rule}: record {lsn} at log offset {offset} is broken, and {proof_lsn} proves that it was durable"
        )
    }
}

impl core::error::Error for Damage {}

/// The judgement while it is fed.
#[derive(Clone, Debug)]
pub struct Restart {
    volume: VolumeId,
    volume_blocks: u64,
    unit_bytes: u32,
    log: Log,
    cut: Option<Cut>,
    settled: Lsn,
    clean: Option<CleanMark>,
    /// Of the last record that was followed.
    generation: u32,
    /// Records at or after the end at the time when they were met.
    strays: u64,
    /// The highest frontier that any stray states as durable, and that stray.
    stated_durable: Option<(Lsn, Lsn)>,
}

impl Restart {
    /// Begin where the superblock says.
    #[must_use]
    pub fn new(superblock: &Superblock) -> Restart {
        Restart {
            volume: superblock.volume,
            volume_blocks: superblock.geometry.volume_blocks,
            unit_bytes: superblock.geometry.unit_bytes,
            log: Log::new(&superblock.geometry, superblock.log_start),
            cut: superblock.cut,
            settled: superblock.settled,
            clean: superblock.clean,
            generation: 0,
            strays: 0,
            stated_durable: None,
        }
    }

    /// What the next piece of the ring holds. Pieces come in ring order: from the offset of the superblock's
    /// `log_start` to the end of the ring, then from 0 to that offset.
    pub fn feed(&mut self, scanned: Scanned) {
        for found in &scanned.records {
            self.on_found(found);
        }
    }

    /// Everything was fed.
    ///
    /// # Errors
    /// If something that was durable is gone; the replica must not start from this log.
    pub fn finish(self) -> Result<Restarted, Damage> {
        let tail = self.log.tail();
        let end = tail.lsn;
        // A followed record of a higher generation says that a later cut went lower.
        let cut =
            self.cut.filter(|cut| guard!("restart-later-cut-outdates", cut.generation >= self.generation));
        let floor = cut.map_or(self.settled, |cut| self.settled.max(cut.lsn));
        let proof = self.stated_durable.filter(|(durable_before, _)| *durable_before > end);
        let facts = Facts {
            clean: match self.clean {
                None => Clean::Unmarked,
                Some(mark) if !guard!("restart-reaches-the-mark", end >= mark.end) => Clean::Missed,
                Some(mark) if end == mark.end => Clean::Met,
                Some(_) => Clean::Passed,
            },
            floor_missing: !guard!("restart-reaches-the-floor", end >= floor),
            proven: !guard!("restart-proof-is-heard", proof.is_none()),
            strays: self.strays > 0,
        };
        let rule = RestartRule::ALL.into_iter().find(|rule| rule.fires(facts)).expect("one rule fires");
        let damage = |proof_lsn| Err(Damage { rule, lsn: end, offset: tail.offset, proof_lsn });
        let torn = match rule {
            RestartRule::InteriorDamage => return damage(proof.map_or(end, |(_, lsn)| lsn)),
            RestartRule::FloorMissing => return damage(floor),
            RestartRule::CleanMarkBroken => return damage(self.clean.map_or(end, |mark| mark.end)),
            RestartRule::CleanShutdown | RestartRule::CleanEnd => None,
            RestartRule::TornTail => Some(TornTail { lsn: end, offset: tail.offset, dropped: self.strays }),
        };
        let generation = self.generation.max(self.cut.map_or(0, |cut| cut.generation));
        let mut log = self.log.with_generation(generation);
        log.on_written(end);
        log.on_durable(end);
        Ok(Restarted { log, rule, torn })
    }

    fn on_found(&mut self, found: &Found) {
        let Found { header, trailer, .. } = found;
        let void = self.cut.is_some_and(|cut| header.lsn >= cut.lsn && trailer.generation < cut.generation);
        let counts = guard!("restart-of-the-volume", header.volume == self.volume)
            && header.kind != Kind::Padding
            && guard!("restart-cut-is-void", !void)
            && guard!("restart-states-its-past", trailer.durable_before <= header.lsn);
        if !counts {
            return;
        }
        if self.follows(found) && self.log.push(header).is_ok() {
            self.generation = trailer.generation;
            return;
        }
        // A record that was followed proves that there was a cut at or below it, even if the superblock copy that
        // knew of the cut is lost.
        if !guard!("restart-older-cuts-prove-nothing", trailer.generation >= self.generation) {
            return;
        }
        if !guard!("restart-strays-are-told", header.lsn < self.log.end()) {
            self.strays += 1;
            let stated = (trailer.durable_before, header.lsn);
            self.stated_durable = self.stated_durable.max(Some(stated));
        }
    }

    /// Whether it is the next record of the log, at the place where that must be.
    fn follows(&self, found: &Found) -> bool {
        let Found { offset, header, trailer, body_ok } = found;
        guard!("restart-body-is-whole", *body_ok)
            && guard!("restart-record-is-next", header.lsn == self.log.end())
            && guard!("restart-chain-continues", header.chain == self.log.tail_chain())
            && guard!("restart-epoch-never-falls", header.epoch >= self.log.tail_epoch())
            && guard!("restart-generation-never-falls", trailer.generation >= self.generation)
            && guard!("restart-extent-in-the-volume", header.extent.end() <= self.volume_blocks)
            && guard!(
                "restart-record-in-its-place",
                *offset == self.log.place(header.disk_bytes(self.unit_bytes))
            )
    }
}
