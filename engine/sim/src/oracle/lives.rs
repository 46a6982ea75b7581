//! Frontiers and epochs never fall from one life to the next: what a superblock on the disk says after each crash,
//! compared with what it said after the crash before, and with what the replica told others meanwhile.

use seawall_engine::io::Area;
use seawall_wal::geometry::{Geometry, SUPER_SLOT_BYTES, Slot};
use seawall_wal::names::{Epoch, Lsn, ReplicaId};
use seawall_wal::superblock::{BaseState, SlotState, Superblock};

use crate::disk::{Crash, Disk};
use crate::oracle::Failure;

/// What the newest superblock of a disk said.
#[derive(Clone, Copy, Debug)]
struct Said {
    sequence: u64,
    promised: Epoch,
    campaigned: Epoch,
    checkpoint: Lsn,
    checkpoint_number: u64,
    generation: u32,
    boots: u32,
    complete: bool,
}

impl Said {
    fn new(superblock: &Superblock) -> Said {
        Said {
            sequence: superblock.sequence,
            promised: superblock.promised,
            campaigned: superblock.campaigned,
            checkpoint: superblock.checkpoint,
            checkpoint_number: superblock.checkpoint_number,
            generation: superblock.cut.map_or(0, |cut| cut.generation),
            boots: superblock.boots,
            complete: superblock.base == BaseState::Complete,
        }
    }
}

/// What each disk said last.
#[derive(Debug)]
pub(crate) struct Lives {
    said: Vec<Option<Said>>,
    /// The newest superblock that was written to the end.
    ended: Vec<u64>,
    forked: bool,
}

impl Lives {
    /// For that many replicas.
    pub(crate) fn new(replicas: usize) -> Lives {
        Lives { said: vec![None; replicas], ended: vec![0; replicas], forked: false }
    }

    /// A suffix of what was committed may be gone, by contract.
    pub(crate) fn on_forked(&mut self) {
        self.forked = true;
    }

    /// A superblock is durable.
    pub(crate) fn on_superblock(&mut self, node: usize, sequence: u64) {
        self.ended[node] = self.ended[node].max(sequence);
    }

    /// A copy was thrown away, by its replica or by an operator. Whoever fills it anew may know of less that is
    /// settled than it did.
    pub(crate) fn on_thrown_away(&mut self, node: usize) {
        if let Some(said) = &mut self.said[node] {
            said.complete = false;
        }
    }

    /// An empty device took the place of its own.
    pub(crate) fn on_replaced(&mut self, node: usize) {
        (self.said[node], self.ended[node]) = (None, 0);
    }

    /// A life begins on that disk. If the newest of its superblocks is damaged, it begins with the other one, and writes
    /// over the damage: all that binds is in both, the checkpoint is not.
    pub(crate) fn on_started(&mut self, node: usize, disk: &Disk) {
        if disk.wrong_sectors(Area::Super) == 0 {
            return;
        }
        let readable = [Slot::A, Slot::B].into_iter().filter_map(|slot| match read(disk, slot) {
            SlotState::Present(superblock) => Some(Said::new(&superblock)),
            SlotState::Empty | SlotState::Unreadable { .. } => None,
        });
        let newest = readable.max_by_key(|said| said.sequence);
        if let (Some(said), Some(found)) = (&mut self.said[node], newest) {
            said.checkpoint = said.checkpoint.min(found.checkpoint);
            said.checkpoint_number = said.checkpoint_number.min(found.checkpoint_number);
        }
    }

    /// A life ended: what is on the disk. `told`: the highest promise that it spoke of.
    pub(crate) fn on_crashed(
        &mut self,
        node: usize,
        crash: Crash,
        replica: ReplicaId,
        told: Epoch,
        disk: &Disk,
    ) -> Result<(), Failure> {
        let slots = [Slot::A, Slot::B].map(|slot| read(disk, slot));
        let readable = slots.iter().filter_map(|slot| match slot {
            SlotState::Present(superblock) => Some(superblock),
            SlotState::Empty | SlotState::Unreadable { .. } => None,
        });
        // A device may have lost one of the two.
        let wrong = disk.wrong_sectors(Area::Super) > 0;
        let Some(newest) = readable.clone().max_by_key(|superblock| superblock.sequence) else {
            if wrong {
                return Ok(());
            }
            return Err(Failure::new(
                "no-superblock",
                format!("node {node} has no superblock left: {slots:?}"),
            ));
        };
        if newest.replica != replica {
            let detail = format!("the disk of node {node} says {}, born as {replica}", newest.replica);
            return Err(Failure::new("identity-outlives-address", detail));
        }
        let promised = readable.clone().map(|superblock| superblock.promised).max().unwrap_or(Epoch::ZERO);
        if promised < told {
            let detail = format!("node {node} told of {told}, and its disk says {promised}");
            return Err(Failure::new("promised-never-falls", detail));
        }
        // An older copy may say less of all the rest.
        if !wrong && readable.count() == 2 {
            self.judge(node, crash, Said::new(newest))?;
        }
        Ok(())
    }

    fn judge(&mut self, node: usize, crash: Crash, now: Said) -> Result<(), Failure> {
        let before = self.said[node];
        // What a process was about to write when it was killed may be in its device's cache alone: until the next one has
        // written, a power loss may take it.
        if crash != Crash::Kill || now.sequence <= self.ended[node] {
            self.said[node] = Some(now);
        }
        let Some(before) = before else { return Ok(()) };
        let fell = |what: &str| {
            let detail = format!("{what} on the disk of node {node} fell: {before:?}, then {now:?}");
            Err(Failure::new("frontiers-never-fall", detail))
        };
        if now.sequence < before.sequence {
            return fell("the sequence");
        }
        if now.promised < before.promised || now.campaigned < before.campaigned {
            return fell("an epoch");
        }
        if now.boots < before.boots || now.generation < before.generation {
            return fell("a count");
        }
        let whole = now.complete && before.complete && !self.forked;
        if whole && (now.checkpoint < before.checkpoint || now.checkpoint_number < before.checkpoint_number) {
            return fell("the checkpoint");
        }
        Ok(())
    }
}

fn read(disk: &Disk, slot: Slot) -> SlotState {
    let bytes = usize::try_from(SUPER_SLOT_BYTES).expect("64 KiB");
    Superblock::decode(&disk.view(Area::Super, Geometry::super_offset(slot), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::birth::{formatted, replica};
    use crate::device::Loss;
    use crate::disk::damage::Rot;
    use crate::oracle::image::superblock;
    use crate::prng::{Prng, Stream};
    use crate::profile::Profile;

    fn said() -> Said {
        Said {
            sequence: 10,
            promised: Epoch { counter: 3, replica: ReplicaId(1) },
            campaigned: Epoch { counter: 2, replica: ReplicaId(1) },
            checkpoint: Lsn(50),
            checkpoint_number: 6,
            generation: 1,
            boots: 4,
            complete: true,
        }
    }

    fn check(now: Said, falls: bool) {
        let mut lives = Lives::new(1);
        lives.on_superblock(0, said().sequence);
        lives.judge(0, Crash::Kill, said()).unwrap();
        assert_eq!(lives.judge(0, Crash::Kill, now).is_err(), falls, "{now:?}");
    }

    #[test]
    fn what_was_being_written_when_a_process_was_killed_may_be_taken_by_a_power_loss() {
        let power = Crash::Power(Loss::Everything);
        for (ended, falls) in [(10, false), (11, true)] {
            let mut lives = Lives::new(1);
            lives.on_superblock(0, ended);
            lives.judge(0, Crash::Kill, said()).unwrap();
            lives.judge(0, Crash::Kill, Said { sequence: 11, checkpoint: Lsn(60), ..said() }).unwrap();
            assert_eq!(lives.judge(0, power, said()).is_err(), falls);
        }
    }

    #[test]
    fn nothing_that_the_disk_said_falls_over_a_restart() {
        check(said(), false);
        check(Said { sequence: 9, ..said() }, true);
        check(Said { promised: Epoch { counter: 2, replica: ReplicaId(9) }, ..said() }, true);
        check(Said { campaigned: Epoch::ZERO, ..said() }, true);
        check(Said { checkpoint: Lsn(49), ..said() }, true);
        check(Said { checkpoint: Lsn(49), complete: false, ..said() }, false);
        check(Said { boots: 3, ..said() }, true);
        check(Said { generation: 0, ..said() }, true);
    }

    #[test]
    fn who_begins_with_the_older_superblock_may_begin_below_the_newest_checkpoint_and_below_nothing_that_binds()
     {
        let mut disk = formatted(&Profile::draw(0), 0);
        let mut lives = Lives::new(1);
        let older = superblock(&disk).expect("a formatted disk");
        lives.on_superblock(0, older.sequence);
        lives
            .judge(0, Crash::Kill, Said { checkpoint: Lsn(7), checkpoint_number: 3, ..Said::new(&older) })
            .unwrap();
        lives.on_started(0, &disk);
        let lower = |lives: &mut Lives| lives.judge(0, Crash::Kill, Said::new(&older)).is_err();
        assert!(lower(&mut lives), "both are as they were written");
        lives
            .judge(0, Crash::Kill, Said { checkpoint: Lsn(7), checkpoint_number: 3, ..Said::new(&older) })
            .unwrap();
        disk.on_rot(Area::Super, Geometry::super_offset(Slot::B), Rot::Bits, &mut Prng::new(1, Stream::Net));
        lives.on_started(0, &disk);
        assert!(!lower(&mut lives), "the newest may have been the damaged one");
        lives.judge(0, Crash::Kill, Said { boots: 9, ..Said::new(&older) }).unwrap();
        lives.on_started(0, &disk);
        assert!(lower(&mut lives), "a count of restarts is in both");
    }

    #[test]
    fn a_promise_that_was_told_and_is_not_on_the_disk_is_found() {
        let disk = formatted(&Profile::draw(0), 0);
        let mut lives = Lives::new(1);
        assert_eq!(lives.on_crashed(0, Crash::Kill, replica(0), Epoch::ZERO, &disk), Ok(()));
        let told = Epoch { counter: 1, replica: replica(0) };
        assert_eq!(
            lives.on_crashed(0, Crash::Kill, replica(0), told, &disk).unwrap_err().check,
            "promised-never-falls"
        );
        let other = lives.on_crashed(0, Crash::Kill, replica(1), Epoch::ZERO, &disk).unwrap_err();
        assert_eq!(other.check, "identity-outlives-address");
    }
}
