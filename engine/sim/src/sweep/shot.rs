//! What was the case at one disk operation of the subject: everything that a crash there leaves, and everything that
//! must be so after it.

use seawall_engine::ballot::Promise;
use seawall_engine::io::Area;
use seawall_recovery::facts::Facts;
use seawall_recovery::messages::{Begin, Begun};
use seawall_sender::codec;
use seawall_sender::feed::{Ack, PulseAck};
use seawall_sender::frame::{Frame, Kind};
use seawall_wal::names::{Epoch, Lsn};

use super::drive::{Drive, Write};
use super::history::History;

/// What the subject has said to others that its disk has to bear out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spoken {
    /// The highest epoch that it said it promised.
    pub(super) promised: Epoch,
    /// Records below this it said to have on stable storage; lowered by a plan that has it cut.
    pub(super) durable: Lsn,
    /// Its base is being copied: it said so, and did not yet say that it is whole.
    pub(super) rebuilding: bool,
    /// It said that its rebuilt base is whole.
    pub(super) proven: bool,
    /// The plan that it was told last copies a base.
    base: bool,
}

impl Default for Spoken {
    fn default() -> Spoken {
        Spoken { promised: Epoch::ZERO, durable: Lsn::ZERO, rebuilding: false, proven: false, base: false }
    }
}

impl Spoken {
    /// It says something.
    pub(super) fn on_said(&mut self, frame: &Frame) {
        let said = |spoken: &mut Spoken, durable: Lsn| spoken.durable = spoken.durable.max(durable);
        match frame.header.kind {
            Kind::Promise => {
                let Ok(promise) = codec::decode::<Promise>(&frame.meta) else { return };
                if !promise.sounding {
                    self.promised = self.promised.max(promise.epoch);
                }
                said(self, promise.log.end);
            }
            Kind::Facts => {
                let Ok(facts) = codec::decode::<Facts>(&frame.meta) else { return };
                self.promised = self.promised.max(facts.promised);
                said(self, facts.log.end);
            }
            Kind::Begun => {
                let Ok(begun) = codec::decode::<Begun>(&frame.meta) else { return };
                self.durable = begun.end;
                self.rebuilding = self.base;
                self.proven &= !self.base;
            }
            Kind::Ack => {
                if let Ok(ack) = Ack::decode(&frame.meta) {
                    said(self, ack.durable);
                }
            }
            Kind::PulseAck => {
                if let Ok(pulse) = PulseAck::decode(&frame.meta) {
                    said(self, pulse.ack.durable);
                }
            }
            Kind::Digest => self.proven |= self.base,
            _ => {}
        }
    }

    /// It is told something.
    pub(super) fn on_heard(&mut self, frame: &Frame) {
        match frame.header.kind {
            Kind::Begin => {
                let Ok(begin) = codec::decode::<Begin>(&frame.meta) else { return };
                self.durable = self.durable.min(begin.plan.feed_from());
                self.base = begin.plan.base_from().is_some();
            }
            // From here on the copy may prove to be whole at any moment.
            Kind::DigestAsk => self.rebuilding = false,
            _ => {}
        }
    }
}

/// One disk operation, about to be carried out.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    /// Which one of its run.
    pub(super) index: usize,
    /// For people.
    pub(super) what: String,
    /// What it writes, if it does.
    pub(super) write: Option<Write>,
    /// What it flushes: the area, and what had been written there when it was given.
    pub(super) flush: Option<(Area, u64)>,
    /// Writes that were given to the disk too.
    pub(super) others: Vec<Write>,
    /// Everybody's devices.
    pub(super) drives: Vec<Drive>,
    /// Names the machine's boot.
    pub(super) boot: u8,
    pub(super) history: History,
    pub(super) spoken: Spoken,
}
