//! A read: located when it comes, filled when its records have committed, shown while the primary holds its lease.

use alloc::vec::Vec;

use seawall_sender::time::Instant;
use seawall_wal::names::Extent;

use crate::core::{Core, Purpose};
use crate::forward::{Good, Owner};
use crate::io::{Area, Buf, DiskDone, DiskError, DiskOp, Done, Refusal};
use crate::notice::{AreaName, Notice};
use crate::primary::{ReadProgress, Reading};
use crate::served::filled;

/// Reads of one thing before its mismatch is believed.
const TRIES_MAX: u32 = 8;

impl Core {
    /// A read comes: it will show the newest bytes admitted before it, or newer ones.
    pub(crate) fn admit_read(&mut self, owner: Owner, extent: Extent, buf: Option<Buf>, since: Instant) {
        let proof = self.proof_of_reign();
        let moves = self.mover.moves();
        let located = self.locate(extent);
        let pin = self.pin_read(located.oldest);
        let progress = if located.is_hole() { ReadProgress::Filled } else { ReadProgress::Waiting };
        let crcs = Vec::new();
        let reading =
            Reading { owner, extent, buf, crcs, located, pin, since, proof, progress, tries: 0, moves };
        self.numbers += 1;
        let number = self.numbers;
        let primary = self.primary.as_mut().expect("a primary was asked");
        primary.reads.insert(number, reading);
        self.start_read(number);
    }

    fn start_read(&mut self, number: u64) {
        let readable = self.committed.min(self.log.written());
        let Some(primary) = self.primary.as_mut() else { return };
        let Some(reading) = primary.reads.get_mut(&number) else { return };
        if reading.progress != ReadProgress::Waiting || reading.located.needs > readable {
            return;
        }
        reading.progress = ReadProgress::UnderWay;
        let (extent, buf) = (reading.extent, reading.buf);
        let located = reading.located.clone();
        let pieces = self.pieces(extent, &located);
        let what = DiskOp::Read { pieces, into: buf, blocks: extent.blocks };
        self.disk(Purpose::Read { number }, what);
    }

    /// Start what has become readable, show what is filled if we may.
    pub(crate) fn serve_reads(&mut self) {
        let readable = self.committed.min(self.log.written());
        let Some(primary) = self.primary.as_ref() else { return };
        if primary.reads.is_empty() {
            return;
        }
        // Invariant: reads-need-a-lease. Checked when the answer leaves, not when the question came.
        let hold = self.hold();
        let mut start = Vec::new();
        let mut show = Vec::new();
        for (number, reading) in &primary.reads {
            match reading.progress {
                ReadProgress::Waiting if reading.located.needs <= readable => start.push(*number),
                ReadProgress::Filled
                    if reading.located.needs <= self.committed && hold.satisfies(reading.proof) =>
                {
                    show.push(*number);
                }
                ReadProgress::Waiting | ReadProgress::UnderWay | ReadProgress::Filled => {}
            }
        }
        for number in start {
            self.start_read(number);
        }
        for number in show {
            let reading = self.primary.as_mut().and_then(|primary| primary.reads.remove(&number));
            let reading = reading.expect("it was just there");
            self.unpin(reading.pin);
            let holes = reading.located.holes();
            let done = match reading.owner {
                Owner::Ours { .. } => Good::Done(Done::Read { holes }),
                Owner::Peer { .. } => filled(reading.buf, reading.crcs, holes),
            };
            self.respond(reading.owner, Ok(done));
        }
    }

    /// The disk is done with a read.
    pub(crate) fn on_read(&mut self, number: u64, result: Result<DiskDone, DiskError>) {
        let Some(mut reading) = self.primary.as_mut().and_then(|primary| primary.reads.remove(&number))
        else {
            panic!("a read whose reign ended is an orphan");
        };
        let wrong = match &result {
            Ok(DiskDone::Read { crcs, .. }) => self.mismatch(reading.extent, &reading.located, crcs),
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(error) => {
                let home = AreaName(Area::Home);
                self.notice(Notice::ReadFailed { area: home, extent: reading.extent, errno: error.errno });
                self.unpin(reading.pin);
                self.respond(reading.owner, Err(Refusal::Unreadable));
                return;
            }
        };
        if let (Owner::Peer { .. }, Ok(DiskDone::Read { buf, crcs })) = (reading.owner, result) {
            // The driver brought the buffer.
            if wrong.is_none() {
                (reading.buf, reading.crcs) = (Some(buf), crcs);
            } else {
                self.release(buf);
            }
        }
        match wrong {
            None => {
                reading.progress = ReadProgress::Filled;
                self.primary.as_mut().expect("it reigns").reads.insert(number, reading);
                self.serve_reads();
            }
            Some(_) if reading.moves != self.mover.moves() && reading.tries < TRIES_MAX => {
                // A checkpoint moved blocks under it: look again where they are now.
                self.unpin(reading.pin.take());
                reading.tries += 1;
                reading.moves = self.mover.moves();
                reading.located = self.locate(reading.extent);
                reading.pin = self.pin_read(reading.located.oldest);
                let hole = reading.located.is_hole();
                reading.progress = if hole { ReadProgress::Filled } else { ReadProgress::Waiting };
                self.primary.as_mut().expect("it reigns").reads.insert(number, reading);
                self.serve_reads();
            }
            Some((area, extent)) => {
                self.notice(Notice::Corrupt { area: AreaName(area), extent });
                self.unpin(reading.pin);
                self.respond(reading.owner, Err(Refusal::Unreadable));
            }
        }
    }

    /// Runs of an extent and whether each is a hole, at most `runs_max`; the last may end early.
    pub(crate) fn hole_runs(&self, extent: Extent, runs_max: u32) -> Vec<(u64, bool)> {
        let mut runs = Runs { runs: Vec::new(), max: usize::try_from(runs_max.max(1)).unwrap_or(usize::MAX) };
        for (part, cover) in self.recent.lookup(extent) {
            let went_on = match cover {
                Some(cover) => runs.push(part.blocks, cover.zero),
                None => self.settled_hole_runs(part, &mut runs),
            };
            if !went_on {
                break;
            }
        }
        runs.runs
    }

    fn settled_hole_runs(&self, extent: Extent, runs: &mut Runs) -> bool {
        self.overlay.lookup(extent).all(|(part, cover)| match cover {
            Some(cover) => runs.push(part.blocks, cover.zero),
            None => self.table.holes(part).all(|(run, hole)| runs.push(run.blocks, hole)),
        })
    }
}

/// Runs of blocks, joined where they are alike, up to a number.
struct Runs {
    runs: Vec<(u64, bool)>,
    max: usize,
}

impl Runs {
    /// False when it is full.
    fn push(&mut self, blocks: u32, hole: bool) -> bool {
        let blocks = u64::from(blocks);
        if let Some((length, _)) = self.runs.last_mut().filter(|(_, same)| *same == hole) {
            *length += blocks;
            return true;
        }
        let fits = self.runs.len() < self.max;
        if fits {
            self.runs.push((blocks, hole));
        }
        fits
    }
}
