//! The line: the connection over which the forwarder gives our clients' requests to a primary elsewhere, and hears the
//! answers.

use core::time::Duration;

use seawall_sender::codec;
use seawall_sender::frame::{Frame, Kind};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, ReplicaId};

use crate::core::{Core, Purpose};
use crate::forward::{Place, Wanted, writes};
use crate::forwarding::{ForwardAnswer, Forwarded};
use crate::io::{DiskOp, Done, LinkId, Payload, Request};
use crate::link::LinkUse;

/// Rest before a lost connection to a primary is opened anew. Another one, or the same in another reign, need not wait.
const REST: Duration = Duration::from_millis(100);

/// The connection to a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) link: LinkId,
    pub(crate) to: ReplicaId,
    pub(crate) epoch: Epoch,
    pub(crate) session: SessionId,
    pub(crate) open: bool,
    /// It said something then, or was given the oldest request then.
    pub(crate) heard: Instant,
    pub(crate) given: usize,
}

impl Core {
    pub(crate) fn open_line(&mut self, to: ReplicaId, epoch: Epoch) {
        let Some(address) = self.address_of(to, self.forwarder.lines.into()) else { return };
        let link = self.connect(to, address, LinkUse::Forward { replica: to, welcomed: false });
        self.forwarder.lines += 1;
        let session = SessionId { boot: self.scribe.content().boots, count: self.forwarder.lines };
        let heard = self.now;
        self.forwarder.line = Some(Line { link, to, epoch, session, open: false, heard, given: 0 });
    }

    /// The primary said who it is.
    pub(crate) fn line_welcomed(&mut self, link: LinkId) {
        let now = self.now;
        if let Some(line) = self.forwarder.line.as_mut().filter(|line| line.link == link) {
            (line.open, line.heard) = (true, now);
        }
    }

    /// Another primary is to be given our requests, or the same one once more.
    pub(crate) fn drop_line(&mut self) {
        if let Some(line) = self.forwarder.line {
            self.disconnect(line.link);
            self.line_lost(line.link);
            self.forwarder.rests_until = self.now;
        }
    }

    /// The connection is gone: what was given over it is given again.
    pub(crate) fn line_lost(&mut self, link: LinkId) {
        let now = self.now;
        let forwarder = &mut self.forwarder;
        let Some(line) = forwarder.line.take_if(|line| line.link == link) else { return };
        forwarder.rests_until = now.after(REST);
        forwarder.lost = Some((line.to, line.epoch));
        for (number, kept) in &mut forwarder.kept {
            if kept.place == Place::There {
                kept.place = Place::Waiting;
                forwarder.waiting.insert(*number);
            }
        }
    }

    /// The primary answered.
    pub(crate) fn on_forwarded(
        &mut self,
        link: LinkId,
        frame: &Frame,
        bytes: &mut Option<Payload>,
    ) -> Result<(), Violation> {
        let Forwarded { number, answer } = codec::decode(&frame.meta)?;
        let now = self.now;
        let Some(line) = self.forwarder.line.as_mut().filter(|line| line.link == link) else { return Ok(()) };
        if frame.header.epoch != line.epoch {
            return Err(Violation::WrongEpoch { expected: line.epoch, found: frame.header.epoch });
        }
        line.heard = now;
        line.given = line.given.saturating_sub(1);
        let Some(kept) = self.forwarder.kept.get_mut(&number).filter(|kept| kept.place == Place::There)
        else {
            // Nobody waits for it any more.
            return Ok(());
        };
        let strange = Err(Violation::Contradictory { kind: Kind::Forwarded });
        match (answer, &kept.wanted) {
            (ForwardAnswer::Read { holes, crcs }, Wanted::Request { request, .. }) => {
                let Request::Read { extent, buf } = request else { return strange };
                let (buf, blocks) = (*buf, extent.blocks);
                let Some(came) = bytes.take() else {
                    let all = u64::MAX >> (64 - blocks.min(64));
                    if holes & all != all {
                        return strange;
                    }
                    self.end_ours(number, Ok(Done::Read { holes }));
                    return Ok(());
                };
                let told = |at: usize| holes >> at & 1 == 1 || crcs.get(at) == came.crcs.get(at);
                let equal = came.buf.blocks == blocks && (0..blocks as usize).all(told);
                if !equal || crcs.len() != blocks as usize {
                    *bytes = Some(came);
                    return strange;
                }
                kept.place = Place::Busy;
                self.disk(Purpose::Brought { number, holes }, DiskOp::Copy { from: came.buf, to: buf });
                self.release(came.buf);
            }
            (ForwardAnswer::Written, Wanted::Request { request, .. }) if writes(request) => {
                self.end_ours(number, Ok(Done::Written));
            }
            (ForwardAnswer::Flushed, Wanted::Request { request: Request::Flush, .. }) => {
                self.end_ours(number, Ok(Done::Flushed));
            }
            (ForwardAnswer::Status(runs), Wanted::Request { request: Request::Status { .. }, .. }) => {
                self.end_ours(number, Ok(Done::Status(runs)));
            }
            (ForwardAnswer::Attached { incarnation }, Wanted::Attach { .. }) => {
                self.on_attached(number, incarnation);
            }
            (ForwardAnswer::Refused(refusal), _) => self.on_refused(number, refusal),
            (
                ForwardAnswer::Written
                | ForwardAnswer::Flushed
                | ForwardAnswer::Status(_)
                | ForwardAnswer::Read { .. }
                | ForwardAnswer::Attached { .. },
                Wanted::Request { .. } | Wanted::Attach { .. },
            ) => return strange,
        }
        Ok(())
    }

    /// A line that nobody answers on is opened anew.
    pub(crate) fn line_tick(&mut self) {
        let (now, silence) = (self.now, self.setup.limits.silence_max);
        let silent = |line: &Line| (!line.open || line.given > 0) && line.heard.after(silence) <= now;
        if self.forwarder.line.as_ref().is_some_and(silent) {
            self.drop_line();
            self.forwarder.rests_until = now.after(REST);
        }
    }

    /// When the forwarder must act by itself.
    pub(crate) fn forward_deadline(&self) -> Option<Instant> {
        let silence = self.setup.limits.silence_max;
        let silent = self
            .forwarder
            .line
            .filter(|line| !line.open || line.given > 0)
            .map(|line| line.heard.after(silence));
        let rests =
            self.forwarder.line.is_none() && !self.forwarder.waiting.is_empty() && self.feed.is_some();
        let rest = Some(self.forwarder.rests_until).filter(|until| rests && *until > self.now);
        [self.next_impatient(), silent, rest].into_iter().flatten().min()
    }
}
