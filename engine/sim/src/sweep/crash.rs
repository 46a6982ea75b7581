//! Every crash at one disk operation: what of it was done, what of its neighbours, and what the power took back.

use super::drive::{Drive, Write};
use super::medium::Loss;
use super::shot::Shot;
use crate::device::SECTOR;

/// What of the operation reached the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaves {
    /// Nothing.
    Before,
    /// All.
    After,
    /// The first sectors, this many.
    Prefix(usize),
    /// All but the first, this many.
    Suffix(usize),
    /// Every other sector, the even or the odd ones.
    Alternating(usize),
    /// Only this one.
    Single(usize),
    /// All but this one.
    AllBut(usize),
    /// All before a sector, and of that sector this many bytes.
    Within(usize, usize),
}

impl Leaves {
    fn part(self, sector: usize) -> usize {
        let whole = match self {
            Leaves::Before => false,
            Leaves::After => true,
            Leaves::Prefix(count) | Leaves::Within(count, _) => sector < count,
            Leaves::Suffix(count) => sector >= count,
            Leaves::Alternating(phase) => sector % 2 == phase,
            Leaves::Single(one) => sector == one,
            Leaves::AllBut(one) => sector != one,
        };
        match self {
            Leaves::Within(at, bytes) if sector == at => bytes,
            _ => {
                if whole {
                    SECTOR
                } else {
                    0
                }
            }
        }
    }

    /// In the table.
    pub(super) fn class(self) -> &'static str {
        match self {
            Leaves::Before => "before",
            Leaves::After => "after",
            Leaves::Prefix(_) | Leaves::Suffix(_) | Leaves::Alternating(_) => "torn",
            Leaves::Single(_) | Leaves::AllBut(_) | Leaves::Within(..) => "torn",
        }
    }
}

/// How the life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The process is killed; the device keeps its cache.
    Kill,
    /// The power is gone.
    Power(Loss),
}

/// One crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Crash {
    pub(super) leaves: Leaves,
    /// Whether what was in flight beside it was done.
    pub(super) others: bool,
    pub(super) end: End,
}

/// Some of `0..count`: all if they are few, else both ends, around the first block, and some between.
fn some(count: usize, most: usize) -> Vec<usize> {
    if count <= most {
        return (0..count).collect();
    }
    let step = count.div_ceil(most.saturating_sub(8).max(1));
    let mut picked: Vec<usize> = (0..count).step_by(step).collect();
    let ends = [9, 2, 1].into_iter().filter_map(|back| count.checked_sub(back));
    picked.extend([1, 2, 7, 8, 9].into_iter().chain(ends).filter(|at| *at < count));
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// All crashes at an operation. `most` bounds how many sectors are looked at one by one.
pub(super) fn crashes(shot: &Shot, subject: &Drive, most: usize) -> Vec<Crash> {
    let mut all = Vec::new();
    let mut whole = vec![Leaves::Before];
    if shot.write.is_some() || shot.flush.is_some() {
        whole.push(Leaves::After);
    }
    for leaves in whole {
        for others in [false, true] {
            if others && shot.others.is_empty() {
                continue;
            }
            let mut drive = subject.clone();
            leave(&mut drive, shot, leaves, others);
            for end in ends(drive.unsure(), most) {
                all.push(Crash { leaves, others, end });
            }
        }
    }
    for leaves in shot.write.as_ref().map(|write| tears(write, most)).unwrap_or_default() {
        for end in [End::Kill, End::Power(Loss::Nothing), End::Power(Loss::Everything)] {
            all.push(Crash { leaves, others: false, end });
        }
    }
    all
}

fn ends(unsure: usize, most: usize) -> Vec<End> {
    let mut ends = vec![End::Kill, End::Power(Loss::Nothing)];
    if unsure == 0 {
        return ends;
    }
    let mut losses = vec![Loss::Everything, Loss::Alternating(0), Loss::Alternating(1)];
    losses.extend([1, 2, 3].map(Loss::Scattered));
    losses.extend([1, 256, 511].map(Loss::TornAt));
    for one in some(unsure, most) {
        losses.extend([Loss::OnlyLost(one), Loss::OnlyKept(one)]);
    }
    ends.extend(losses.into_iter().map(End::Power));
    ends
}

fn tears(write: &Write, most: usize) -> Vec<Leaves> {
    let sectors = write.bytes.len() / SECTOR;
    let mut tears = Vec::new();
    if sectors > 1 {
        tears.extend([Leaves::Alternating(0), Leaves::Alternating(1)]);
        for one in some(sectors, most) {
            if one > 0 {
                tears.extend([Leaves::Prefix(one), Leaves::Suffix(one)]);
            }
            tears.extend([Leaves::Single(one), Leaves::AllBut(one)]);
        }
    }
    for sector in some(sectors, 12) {
        tears.extend([1, 64, 256, 511].map(|bytes| Leaves::Within(sector, bytes)));
    }
    tears
}

/// What there is on the device when the operation is broken off.
fn leave(drive: &mut Drive, shot: &Shot, leaves: Leaves, others: bool) {
    if others {
        shot.others.iter().for_each(|write| drive.write(&Write { durable: false, ..write.clone() }));
    }
    match (leaves, &shot.write, shot.flush) {
        (Leaves::After, Some(write), _) => drive.write(write),
        (Leaves::After, None, Some((area, mark))) => drive.flush(area, mark),
        (Leaves::Before, ..) | (Leaves::After, None, None) => {}
        (torn, Some(write), _) => drive.write_torn(write, |sector| torn.part(sector)),
        (torn, None, _) => unreachable!("{torn:?} of something that writes nothing"),
    }
}

impl Crash {
    /// The subject's devices after it.
    pub(super) fn strike(self, shot: &Shot, subject: &Drive) -> Drive {
        let mut drive = subject.clone();
        leave(&mut drive, shot, self.leaves, self.others);
        if let End::Power(loss) = self.end {
            drive.lose(loss);
        }
        drive
    }

    /// Whether the machine went off.
    pub(super) fn is_power(self) -> bool {
        matches!(self.end, End::Power(_))
    }
}
