//! The mutations: short histories that make one replica's disk go through everything that it ever goes through.

use seawall_engine::format::{both_slots, newborn};
use seawall_engine::io::{Answered, Command};
use seawall_engine::setup::Ack;
use seawall_engine::status::Role;
use seawall_wal::geometry::Geometry;
use seawall_wal::log::Position;
use seawall_wal::names::Extent;

use super::drive::{Drive, Write};
use super::history::{History, Wish};
use super::maker::wipe;
use super::plan::{Order, Plan};
use super::stage::{SUBJECT, Stage, Wrong};

/// Blocks of the volume: three pages of the checksum table.
const VOLUME_BLOCKS: u64 = 2100;

/// A mutation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Script {
    /// Records, alone and in batches, each on stable storage when it completes.
    AppendDurable,
    /// The same with completions before the flush, flushes and FUA writes.
    AppendWritten,
    /// A log of 4096-byte units on a device of its own.
    AppendSeparate,
    /// Zeroes, trims and parts of blocks.
    Holes,
    /// The end of the ring: padding, and on at its beginning.
    Wrap,
    /// Checkpoints in a row: both places of pages, both slots, discards.
    Checkpoint,
    /// The same with a disk that ends last first what it was given.
    CheckpointReordered,
    /// A ring that is full again and again: the log's start moves, old laps are overwritten.
    Lap,
    /// Restarts: a new epoch each time, and the restart on record.
    Restart,
    /// Clean shutdowns.
    Shutdown,
    /// A voter promises, follows, and promises again.
    Promise,
    /// A follower: appends, checkpoints and lineage from elsewhere.
    Follow,
    /// A follower whose completions come before the flush.
    FollowWritten,
    /// A deposed primary's tail is cut.
    Cut,
    /// A candidate takes records from a voter with a better log.
    Adopt,
    /// A wiped copy is rebuilt, with live writes beside it.
    Rebuild,
    /// A rebuild that is broken off twice and resumed.
    RebuildResumed,
}

impl Script {
    /// All of them.
    pub const ALL: [Script; 17] = [
        Script::AppendDurable,
        Script::AppendWritten,
        Script::AppendSeparate,
        Script::Holes,
        Script::Wrap,
        Script::Checkpoint,
        Script::CheckpointReordered,
        Script::Lap,
        Script::Restart,
        Script::Shutdown,
        Script::Promise,
        Script::Follow,
        Script::FollowWritten,
        Script::Cut,
        Script::Adopt,
        Script::Rebuild,
        Script::RebuildResumed,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Script::AppendDurable => "append, durable",
            Script::AppendWritten => "append, written",
            Script::AppendSeparate => "append, separate log, unit 4096",
            Script::Holes => "zeroes, trims, parts of blocks",
            Script::Wrap => "padding and wrap",
            Script::Checkpoint => "checkpoint rounds",
            Script::CheckpointReordered => "checkpoint rounds, newest first",
            Script::Lap => "full ring, released and overwritten",
            Script::Restart => "restart and epoch start",
            Script::Shutdown => "clean shutdown",
            Script::Promise => "promise",
            Script::Follow => "following: feed, checkpoint, lineage",
            Script::FollowWritten => "following, written",
            Script::Cut => "cut of a tail",
            Script::Adopt => "candidate adopts a log",
            Script::Rebuild => "rebuild",
            Script::RebuildResumed => "rebuild, broken off and resumed",
        }
    }

    /// Whether it moves so much that each of its cases takes long.
    pub(super) fn is_bulky(self) -> bool {
        match self {
            Script::Lap | Script::Rebuild | Script::RebuildResumed => true,
            Script::AppendDurable | Script::AppendWritten | Script::AppendSeparate | Script::Holes => false,
            Script::Wrap | Script::Checkpoint | Script::CheckpointReordered | Script::Restart => false,
            Script::Shutdown | Script::Promise | Script::Follow | Script::FollowWritten => false,
            Script::Cut | Script::Adopt => false,
        }
    }

    /// What it is played on.
    pub(super) fn plan(self) -> Plan {
        let geometry = Geometry {
            volume_blocks: VOLUME_BLOCKS,
            log_bytes: 4 << 20,
            unit_bytes: 512,
            separate_log: false,
        };
        let plan = Plan {
            geometry,
            nodes: 1,
            first_primary: SUBJECT,
            ack: Ack::Durable,
            order: Order::Oldest,
            checkpoint_sixteenths: 6,
            release_sixteenths: 3,
            bait: None,
            sabotage: None,
        };
        let three = Plan { nodes: 3, first_primary: 1, ..plan };
        match self {
            Script::AppendDurable | Script::Holes | Script::Wrap | Script::Restart | Script::Shutdown => plan,
            Script::AppendWritten => Plan { ack: Ack::Written, ..plan },
            Script::AppendSeparate => {
                Plan { geometry: Geometry { unit_bytes: 4096, separate_log: true, ..geometry }, ..plan }
            }
            Script::Checkpoint => Plan { checkpoint_sixteenths: 0, ..plan },
            Script::CheckpointReordered => Plan { checkpoint_sixteenths: 0, order: Order::Newest, ..plan },
            Script::Lap => plan,
            Script::Promise | Script::Adopt => three,
            Script::Follow | Script::Rebuild | Script::RebuildResumed => {
                Plan { checkpoint_sixteenths: 0, ..three }
            }
            Script::FollowWritten => Plan { ack: Ack::Written, ..three },
            Script::Cut => Plan { first_primary: SUBJECT, ..three },
        }
    }

    /// Its devices, formatted.
    pub(super) fn drives(self, plan: &Plan) -> Vec<Drive> {
        (0..plan.nodes)
            .map(|node| {
                let mut superblock = newborn(&plan.setup(node, 1), plan.geometry);
                if self == Script::Wrap {
                    // A log may begin anywhere in its ring: this one soon comes to the end.
                    superblock.log_start =
                        Position { offset: plan.geometry.log_bytes - 24 * 1024, ..Position::ORIGIN };
                }
                let mut drive = Drive::new(plan.geometry);
                for (area, offset, bytes) in both_slots(&superblock) {
                    drive.write(&Write { area, offset, bytes, durable: true });
                }
                drive
            })
            .collect()
    }

    /// A stage before it.
    pub(super) fn stage(self, plan: Plan) -> Stage {
        Stage::new(plan, self.drives(&plan), 1, History::new())
    }

    /// Play it.
    pub(super) fn play(self, stage: &mut Stage) -> Result<(), Wrong> {
        if self != Script::Rebuild && self != Script::RebuildResumed {
            stage.start_all();
            stage.serve()?;
        }
        match self {
            Script::AppendDurable | Script::AppendSeparate => appends(stage),
            Script::AppendWritten => written(stage),
            Script::Holes => holes(stage),
            Script::Wrap => wrap(stage),
            Script::Checkpoint | Script::CheckpointReordered => checkpoints(stage),
            Script::Lap => lap(stage),
            Script::Restart => restarts(stage),
            Script::Shutdown => shutdowns(stage),
            Script::Promise => promises(stage),
            Script::Follow | Script::FollowWritten => follow(stage),
            Script::Cut => cut(stage),
            Script::Adopt => adopt(stage),
            Script::Rebuild => rebuild(stage, false),
            Script::RebuildResumed => rebuild(stage, true),
        }
    }
}

fn write(start: u64, blocks: u32) -> Wish {
    Wish::Write { extent: Extent::new(start, blocks), fua: false }
}

fn all(stage: &mut Stage, node: usize, wishes: &[Wish]) -> Result<(), Wrong> {
    let ids: Vec<u64> = wishes.iter().map(|wish| stage.ask(node, *wish)).collect();
    stage.wait(&ids)
}

fn each(stage: &mut Stage, node: usize, wishes: &[Wish]) -> Result<(), Wrong> {
    wishes.iter().try_for_each(|wish| all(stage, node, &[*wish]))
}

fn flush(stage: &mut Stage, node: usize) -> Result<(), Wrong> {
    let id = stage.ask_flush(node);
    stage.wait(&[id])
}

fn appends(stage: &mut Stage) -> Result<(), Wrong> {
    each(stage, SUBJECT, &[write(0, 1), write(7, 3)])?;
    all(stage, SUBJECT, &[write(0, 1), write(1, 2), write(2, 2), write(1015, 2), write(0, 1)])?;
    all(stage, SUBJECT, &[write(7, 1), Wish::Write { extent: Extent::new(2099, 1), fua: true }])
}

fn written(stage: &mut Stage) -> Result<(), Wrong> {
    all(stage, SUBJECT, &[write(0, 1), write(1, 2), write(0, 1)])?;
    flush(stage, SUBJECT)?;
    each(stage, SUBJECT, &[write(1, 1), write(5, 2)])?;
    let fua = Wish::Write { extent: Extent::new(9, 1), fua: true };
    all(stage, SUBJECT, &[write(5, 1), fua, write(9, 1)])?;
    all(stage, SUBJECT, &[write(0, 2), write(1, 1)])?;
    flush(stage, SUBJECT)
}

fn holes(stage: &mut Stage) -> Result<(), Wrong> {
    let part = |block, first, sectors| Wish::Part { block, first, sectors };
    let zero = |start, blocks, fua| Wish::Zero { extent: Extent::new(start, blocks), fua };
    let trim = |start, blocks| Wish::Trim { extent: Extent::new(start, blocks) };
    all(stage, SUBJECT, &[write(0, 8), write(1010, 8)])?;
    each(stage, SUBJECT, &[part(2, 3, 2), part(20, 0, 1), part(2, 4, 4)])?;
    all(stage, SUBJECT, &[trim(1, 2), zero(5, 3, false), write(6, 1), zero(1014, 2, true)])?;
    each(stage, SUBJECT, &[part(1, 1, 6), trim(0, 64), part(6, 7, 1)])?;
    end(stage, SUBJECT)?;
    stage.start(SUBJECT);
    stage.serve()?;
    all(stage, SUBJECT, &[trim(1008, 20), write(1012, 1), zero(6, 2, false)])
}

fn wrap(stage: &mut Stage) -> Result<(), Wrong> {
    // 24 KiB are left: the epoch's start takes 512 bytes, two records of 9 KiB fit, the next one does not.
    each(stage, SUBJECT, &[write(0, 2), write(1, 2), write(2, 2), write(3, 1)])?;
    all(stage, SUBJECT, &[write(0, 1), write(4, 2), write(0, 1)])
}

fn checkpoints(stage: &mut Stage) -> Result<(), Wrong> {
    all(stage, SUBJECT, &[write(0, 2), write(1014, 4), write(2040, 1)])?;
    rest(stage)?;
    all(stage, SUBJECT, &[write(1, 2), write(1015, 1)])?;
    all(stage, SUBJECT, &[Wish::Trim { extent: Extent::new(1014, 1) }, write(2040, 1)])?;
    rest(stage)?;
    all(stage, SUBJECT, &[write(0, 1), Wish::Zero { extent: Extent::new(1015, 3), fua: false }])?;
    rest(stage)?;
    all(stage, SUBJECT, &[write(2040, 3), write(0, 1)])?;
    rest(stage)
}

/// Until there is nothing more to do, as far as the disk goes.
fn rest(stage: &mut Stage) -> Result<(), Wrong> {
    stage.reach("a checkpoint", |stage| {
        stage.nodes[SUBJECT].failed
            || stage.status(SUBJECT).is_some_and(|status| status.checkpoint == status.log_end)
    })
}

fn lap(stage: &mut Stage) -> Result<(), Wrong> {
    for round in 0..10 {
        all(stage, SUBJECT, &[write(round * 40, 64), write(round * 10 + 700, 64), write(3, 1)])?;
    }
    Ok(())
}

fn restarts(stage: &mut Stage) -> Result<(), Wrong> {
    for round in 0..3 {
        all(stage, SUBJECT, &[write(round, 2), write(9, 1)])?;
        stage.kill(SUBJECT);
        stage.start(SUBJECT);
        stage.serve()?;
    }
    Ok(())
}

fn end(stage: &mut Stage, node: usize) -> Result<(), Wrong> {
    match stage.command(node, Command::Drain)? {
        Ok(Answered::Drained) => {
            stage.kill(node);
            Ok(())
        }
        other => Err(Wrong::new("it-drains", format!("{other:?}"))),
    }
}

fn shutdowns(stage: &mut Stage) -> Result<(), Wrong> {
    for round in 0..3 {
        all(stage, SUBJECT, &[write(round, 2), write(1016 * (round % 2), 1)])?;
        end(stage, SUBJECT)?;
        stage.start(SUBJECT);
        stage.serve()?;
    }
    end(stage, SUBJECT)
}

fn promote(stage: &mut Stage, node: usize) -> Result<(), Wrong> {
    if let Err(why) = stage.command(node, Command::Promote { take_over: true })? {
        return Err(Wrong::new("it-is-promoted", why));
    }
    stage.reach("the reign of who was promoted", |stage| stage.serving() == Some(node))
}

fn in_sync(stage: &mut Stage) -> Result<(), Wrong> {
    stage.reach("all in sync", Stage::is_in_sync)
}

fn promises(stage: &mut Stage) -> Result<(), Wrong> {
    in_sync(stage)?;
    all(stage, 1, &[write(0, 2), write(1, 1)])?;
    promote(stage, 2)?;
    all(stage, 2, &[write(1, 2)])?;
    in_sync(stage)?;
    promote(stage, 1)?;
    in_sync(stage)?;
    promote(stage, SUBJECT)?;
    all(stage, SUBJECT, &[write(0, 1)])?;
    in_sync(stage)
}

fn follow(stage: &mut Stage) -> Result<(), Wrong> {
    in_sync(stage)?;
    all(stage, 1, &[write(0, 2), write(1014, 4)])?;
    flush(stage, 1)?;
    all(stage, 1, &[write(1, 1), Wish::Trim { extent: Extent::new(1015, 1) }, write(0, 1)])?;
    in_sync(stage)?;
    stage.kill(SUBJECT);
    all(stage, 1, &[write(2, 2), write(1014, 1)])?;
    stage.start(SUBJECT);
    in_sync(stage)?;
    all(stage, 1, &[write(2, 1), write(0, 1)])?;
    flush(stage, 1)?;
    in_sync(stage)
}

fn cut(stage: &mut Stage) -> Result<(), Wrong> {
    in_sync(stage)?;
    all(stage, SUBJECT, &[write(0, 2), write(1, 1)])?;
    in_sync(stage)?;
    stage.isolate(SUBJECT);
    stage.history.part();
    let lost = [stage.ask(SUBJECT, write(0, 1)), stage.ask(SUBJECT, write(5, 2))];
    stage.reach("the end of what has no quorum", |stage| lost.iter().all(|id| stage.has_ended(*id)))?;
    stage.history.go_on_with(1);
    promote(stage, 2)?;
    all(stage, 2, &[write(1, 2), write(6, 1)])?;
    stage.heal(SUBJECT);
    in_sync(stage)?;
    all(stage, 2, &[write(0, 1), write(5, 1)])?;
    in_sync(stage)
}

fn adopt(stage: &mut Stage) -> Result<(), Wrong> {
    in_sync(stage)?;
    all(stage, 1, &[write(0, 2), write(1, 1)])?;
    in_sync(stage)?;
    stage.isolate(SUBJECT);
    all(stage, 1, &[write(2, 2), write(0, 1), write(3, 2)])?;
    stage.kill(1);
    stage.heal(SUBJECT);
    promote(stage, SUBJECT)?;
    all(stage, SUBJECT, &[write(3, 1)])?;
    stage.start(1);
    in_sync(stage)
}

fn rebuild(stage: &mut Stage, resumed: bool) -> Result<(), Wrong> {
    (1..stage.nodes.len()).for_each(|node| stage.start(node));
    stage.serve()?;
    for start in [0, 200, 900, 1010, 2000] {
        all(stage, 1, &[write(start, 40), write(start + 10, 4)])?;
    }
    // A copy that is thrown away, with something of an older life in it.
    wipe(&mut stage.nodes[SUBJECT].drive);
    stage.start(SUBJECT);
    if resumed {
        for blocks in [300, 1100] {
            broken_off(stage, blocks)?;
        }
    }
    let live = [stage.ask(1, write(205, 4)), stage.ask(1, Wish::Trim { extent: Extent::new(2000, 4) })];
    stage.wait(&live)?;
    in_sync(stage)?;
    all(stage, 1, &[write(0, 1), write(208, 2)])?;
    in_sync(stage)
}

/// Let the copy come so far, have it saved by a checkpoint of a live write, and break the connection.
fn broken_off(stage: &mut Stage, blocks: u64) -> Result<(), Wrong> {
    stage.reach("a part of the base", |stage| {
        stage.status(SUBJECT).is_some_and(|status| {
            status.role == Role::Faulted || status.base_complete || status.base_held >= blocks
        })
    })?;
    if stage.status(SUBJECT).is_some_and(|status| status.role == Role::Faulted) {
        return Err(Wrong::new("it-goes-on", "its disk failed"));
    }
    let id = stage.ask(1, write(blocks, 1));
    stage.wait(&[id])?;
    stage.kill(SUBJECT);
    stage.start(SUBJECT);
    Ok(())
}
