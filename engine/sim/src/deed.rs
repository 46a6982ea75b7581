//! Faults made concrete: one deed says what is done to whom, for how long, and when. The planner of a run draws
//! deeds from its seed, a script names them; one executor carries them out. Chances per operation (a read that fails, a
//! frame that takes long) are no deeds: they stay streams of the seed.
//!
//! To add one: a row in the table below, an arm in the executor, and, if the swarm is to draw it, a kind in the planner.

use core::fmt;

use seawall_engine::io::Area;

use crate::clock::Moment;
use crate::device::Loss;
use crate::disk::damage::Rot;
use crate::forcing::Dead;
use crate::scenario::DiskVerb;
use crate::tally::Fault;
use crate::word::{Span, Word, next};

/// Acts by one table: name in texts, what it counts as, and its fields with the word before each and what is meant
/// when it is left out.
macro_rules! acts {
    ($( $(#[$doc:meta])* $act:ident $name:literal $fault:ident
        { $( $(#[$fdoc:meta])* $field:ident : $ty:ty = $word:literal $( or $default:expr )? ),* $(,)? } )*) => {
        /// Something that is done to the world.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Act {
            $( $(#[$doc])* $act { $( $(#[$fdoc])* $field: $ty ),* }, )*
        }

        impl Act {
            /// The forms of all acts, for people.
            pub const FORMS: &'static [&'static str] =
                &[ $( concat!($name $(, " ", $word, "<", stringify!($field), ">")* ) ),* ];

            /// What it counts as, where nobody says so better.
            pub(crate) fn fault(self) -> Fault {
                match self { $( Act::$act { .. } => Fault::$fault, )* }
            }

            /// The act that these words say, without time.
            ///
            /// # Errors
            /// What is wrong with them.
            pub fn read(text: &str) -> Result<Act, String> {
                let (name, rest) = next(text);
                match name {
                    $( $name => {
                        let mut rest = rest;
                        $(
                            #[allow(unused_mut, unused_assignments)]
                            let mut left_out: Option<$ty> = None;
                            $( left_out = Some($default); )?
                            let $field: $ty = field(&mut rest, $word, left_out)
                                .map_err(|why| format!("{}: {why}", $name))?;
                        )*
                        if rest.is_empty() {
                            Ok(Act::$act { $( $field ),* })
                        } else {
                            Err(format!("{}: what is {rest:?}?", $name))
                        }
                    } )*
                    _ => Err(format!("{name:?} is no act; there are: {}", Act::FORMS.join(", "))),
                }
            }
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $( Act::$act { $( $field ),* } => {
                    f.write_str($name)?;
                    $( write!(f, " {}{}", $word, $field.shown())?; )*
                    Ok(())
                } )* }
            }
        }
    };
}

impl Act {
    /// Whether it does something only when an operation comes that it waits for, and counts then.
    pub(crate) fn waits(self) -> bool {
        match self {
            Act::Rot { .. } | Act::Lose { .. } | Act::Misdirect { .. } => true,
            Act::Hang { .. } | Act::Fill { .. } | Act::Flip { .. } => true,
            Act::Kill { .. } | Act::Power { .. } | Act::Pause { .. } | Act::Cut { .. } => false,
            Act::Reset { .. }
            | Act::Promote { .. }
            | Act::Handover { .. }
            | Act::Force { .. }
            | Act::Foretell { .. }
            | Act::Wipe { .. }
            | Act::Replace { .. }
            | Act::Split { .. } => false,
            Act::Swap { .. } | Act::Move { .. } => false,
            Act::Add { .. } | Act::Remove { .. } | Act::Readdress { .. } => false,
            Act::Maintain { .. } | Act::EndMaintenance { .. } => false,
            Act::Start { .. } | Act::Resume { .. } | Act::Join { .. } | Act::Stick { .. } => false,
            Act::Fail { .. } | Act::Stall { .. } => false,
        }
    }
}

const MILLI: u64 = crate::clock::MILLIS;

acts! {
    /// A process is killed, and starts again.
    Kill "kill" Kill {
        /// Whose.
        node: usize = "",
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
    }
    /// A node loses its power, and starts again.
    Power "power" PowerLoss {
        /// Which.
        node: usize = "",
        /// What becomes of what was not flushed.
        loss: Loss = "with " or Loss::TornSectors,
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
    }
    /// A process does not run, and goes on.
    Pause "pause" Pause {
        /// Whose.
        node: usize = "",
        /// For so long.
        long: Span = "for " or Span(3_000 * MILLI),
    }
    /// One direction is cut.
    Cut "cut" OneWayCut {
        /// From there.
        from: usize = "",
        /// To there.
        to: usize = "to ",
        /// For so long.
        long: Span = "for " or Span(3_000 * MILLI),
    }
    /// One of the open connections breaks.
    Reset "reset" Reset {
        /// The how many-th of them, counted round.
        nth: u32 = "",
    }
    /// The operator has a node take over.
    Promote "promote" Promotion {
        /// Which.
        node: usize = "",
    }
    /// The operator has the primary hand over to a node.
    Handover "handover" Handover {
        /// To which.
        node: usize = "",
    }
    /// The operator forces a promotion.
    Force "force" Forced {
        /// Of which node.
        node: usize = "",
        /// Whom he declares dead.
        dead: Dead = "dead " or Dead::Silent,
    }
    /// The operator looks what a forced promotion would mean, and names what he saw when he forces it.
    Foretell "foretell" Foretold {
        /// Of which node.
        node: usize = "",
    }
    /// A follower's copy is wiped, as an operator does it: its process is killed, and starts again.
    Wipe "wipe" Wiped {
        /// Whose.
        node: usize = "",
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
    }
    /// A replica's device is lost, and an empty one takes its place, formatted for the same identity: what it promised
    /// is forgotten.
    Replace "replace" NewDisk {
        /// Whose.
        node: usize = "",
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
    }
    /// A sector of a disk rots.
    Rot "rot" Rot {
        /// Whose.
        node: usize = "",
        /// In which area.
        area: Area = "in ",
        /// How.
        rot: Rot = "of " or Rot::Bits,
        /// Which, counted round.
        nth: u32 = "at " or 0,
    }
    /// A device calls its next write to an area done, and does not do it.
    Lose "lose" LostWrite {
        /// Whose.
        node: usize = "",
        /// Which area.
        area: Area = "in ",
    }
    /// A device carries out its next write to an area at another place of that area.
    Misdirect "misdirect" Misdirected {
        /// Whose.
        node: usize = "",
        /// Which area.
        area: Area = "in ",
        /// Where to, counted round.
        nth: u32 = "at " or 0,
    }
    /// A disk's next operation hangs, and the process that waits for it can't be killed.
    Hang "hang" Hung {
        /// Whose.
        node: usize = "",
        /// For so long, or until its power goes.
        long: Span = "for " or Span(8_000 * MILLI),
    }
    /// Writes to an area find no space.
    Fill "fill" Full {
        /// Whose.
        node: usize = "",
        /// Which area.
        area: Area = "in " or Area::Home,
        /// For so long.
        long: Span = "for " or Span(1_000 * MILLI),
    }
    /// The next frame in a direction arrives with bits flipped.
    Flip "flip" FlippedHead {
        /// From there.
        from: usize = "",
        /// To there.
        to: usize = "to ",
    }
    /// The names of two nodes lead to each other's host, and their connections break.
    Swap "swap" Swapped {
        /// The one.
        one: usize = "",
        /// The other.
        other: usize = "with ",
        /// For so long.
        long: Span = "for " or Span(2_000 * MILLI),
    }
    /// A node moves to a new address: its process starts there, and later the others start anew with a configuration
    /// that knows of it.
    Move "move" Moved {
        /// Which.
        node: usize = "",
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
        /// The others hear of it after so long.
        known: Span = "known after " or Span(2_000 * MILLI),
    }
    /// The operator has a spare node join.
    Add "add" Added {
        /// Which.
        node: usize = "",
    }
    /// The operator has a node leave.
    Remove "remove" Removed {
        /// Which.
        node: usize = "",
    }
    /// A node moves to a new address, and the operator tells the primary at once.
    Readdress "readdress" Readdressed {
        /// Which.
        node: usize = "",
        /// It stays down for so long.
        down: Span = "for " or Span(300 * MILLI),
    }
    /// The operator says that somebody works on a node.
    Maintain "maintain" Maintained {
        /// On which.
        node: usize = "",
        /// For so long.
        long: Span = "for " or Span(3_000 * MILLI),
    }
    /// The operator says that the work on a node is done.
    EndMaintenance "end-maintenance" Maintained {
        /// On which.
        node: usize = "",
    }
    /// A node that is down starts.
    Start "start" Kill {
        /// Which.
        node: usize = "",
    }
    /// A process that stands still goes on.
    Resume "resume" Pause {
        /// Whose.
        node: usize = "",
    }
    /// A direction that was cut is whole again.
    Join "join" OneWayCut {
        /// From there.
        from: usize = "",
        /// To there.
        to: usize = "to ",
    }
    /// All open connections stand still in that direction, and newer ones overtake them.
    Stick "stick" Stuck {
        /// From there.
        from: usize = "",
        /// To there.
        to: usize = "to ",
        /// For so long.
        long: Span = "for " or Span(3_000 * MILLI),
    }
    /// The next disk operation of that kind fails.
    Fail "fail" WriteError {
        /// Whose disk.
        node: usize = "",
        /// What it does.
        does: DiskVerb = "",
        /// On what.
        area: Area = "",
    }
    /// What a disk is given to do ends no sooner.
    Stall "stall" Stall {
        /// Whose disk.
        node: usize = "",
        /// For so long.
        long: Span = "for " or Span(3_000 * MILLI),
    }
    /// If several nodes take themselves for primary, clients turn to them in turn.
    Split "split" Usurped {
        /// The first client's, counted round.
        nth: u32 = "",
    }
}

/// A field's value, at the front of `rest`; without the word before it, what is meant when it is left out.
fn field<T: Word>(rest: &mut &str, word: &str, left_out: Option<T>) -> Result<T, String> {
    let missing = || format!("{}{} is missing", word, T::WHAT);
    let Some(after) = rest.strip_prefix(word).filter(|after| !after.is_empty()) else {
        return left_out.ok_or_else(missing);
    };
    let (value, after) = next(after);
    *rest = after;
    T::read(value).ok_or_else(|| format!("{value:?} is no {}", T::WHAT))
}

/// An act and its moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deed {
    /// When it is done: before everything else of that moment.
    pub at: Moment,
    /// What is done.
    pub what: Act,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} {}", Span(self.at.0).shown(), self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_deed_says_is_read_as_that_deed() {
        let acts = [
            Act::Kill { node: 1, down: Span(300 * MILLI) },
            Act::Power { node: 0, loss: Loss::Sectors, down: Span(1) },
            Act::Pause { node: 4, long: Span(1_234_567_891) },
            Act::Cut { from: 2, to: 0, long: Span(MILLI) },
            Act::Reset { nth: 77 },
            Act::Promote { node: 2 },
            Act::Handover { node: 1 },
            Act::Force { node: 1, dead: Dead::Silent },
            Act::Force { node: 0, dead: Dead::These(6) },
            Act::Force { node: 0, dead: Dead::These(0) },
            Act::Foretell { node: 2 },
            Act::Wipe { node: 2, down: Span(5) },
            Act::Replace { node: 1, down: Span(6) },
            Act::Split { nth: 3 },
            Act::Rot { node: 0, area: Area::Super, rot: Rot::Sector, nth: 9 },
            Act::Lose { node: 1, area: Area::Log },
            Act::Misdirect { node: 1, area: Area::Table, nth: 123_456 },
            Act::Hang { node: 2, long: Span(3) },
            Act::Fill { node: 0, area: Area::Home, long: Span(MILLI) },
            Act::Flip { from: 0, to: 2 },
            Act::Swap { one: 1, other: 2, long: Span(MILLI) },
            Act::Move { node: 1, down: Span(7), known: Span(MILLI) },
            Act::Add { node: 3 },
            Act::Remove { node: 0 },
            Act::Readdress { node: 1, down: Span(9) },
            Act::Maintain { node: 2, long: Span(5) },
            Act::EndMaintenance { node: 2 },
            Act::Join { from: 0, to: 1 },
            Act::Fail { node: 1, does: DiskVerb::Write, area: Area::Super },
            Act::Stall { node: 1, long: Span::EVER },
        ];
        for act in acts {
            assert_eq!(Act::read(&act.to_string()), Ok(act), "{act}");
        }
        let deed = Deed { at: Moment(1_200_345_678), what: acts[3] };
        assert_eq!(deed.to_string(), "at 1200.345678ms cut c to a for 1ms");
    }

    #[test]
    fn what_may_be_left_out_has_a_meaning_and_what_may_not_is_named() {
        assert_eq!(Act::read("kill b"), Ok(Act::Kill { node: 1, down: Span(300 * MILLI) }));
        let power = Act::Power { node: 2, loss: Loss::TornSectors, down: Span(1_000 * MILLI) };
        assert_eq!(Act::read("power c for 1s"), Ok(power));
        assert_eq!(Act::read("cut a"), Err("cut: to node is missing".to_owned()));
        assert_eq!(Act::read("kill 7"), Err("kill: \"7\" is no node".to_owned()));
        assert_eq!(Act::read("promote a now"), Err("promote: what is \"now\"?".to_owned()));
        assert!(Act::read("dance").is_err_and(|why| why.starts_with("\"dance\" is no act")));
    }
}
