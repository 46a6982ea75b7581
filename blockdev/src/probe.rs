//! Where a write's time goes: one write at a time is followed from the turn that brought its bytes to the send that
//! answers it, at its primary and at each peer. The stages are differences of one row of moments, so they add up.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use seawall_engine::io::{DiskOp, Input, LinkId, OpId, Output, Request, RequestId};
use seawall_sender::frame::Kind;
use seawall_sender::time::Instant;

use crate::counters::{Counters, add, count};

/// A write that takes longer is given up: its client may be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whose write it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    /// A client's of ours.
    Here { id: RequestId },
    /// A primary's, for our log.
    There { link: LinkId },
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The machine is told of it.
    Telling,
    /// It waits for an append.
    Queued { admitted: Instant },
    /// The append is under way.
    Logging { admitted: Instant, begun: Instant, op: OpId },
    /// Our log has it, enough others do not.
    Logged { admitted: Instant, begun: Instant, logged: Instant },
    /// The answer is to leave.
    Answering { admitted: Instant, begun: Instant, logged: Instant, decided: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    whose: Whose,
    volume: u32,
    /// The allocation that its body is in.
    slot: u32,
    /// When the loop woke that found its last byte.
    came: Instant,
    /// When the machine was told.
    told: Instant,
    stage: Stage,
}

/// The write that is followed, if any.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    watched: Option<Watched>,
}

impl Probe {
    /// The machine is about to be told something. `woke` is when the loop found it.
    pub(crate) fn on_input(&mut self, volume: u32, input: &Input, woke: Instant, now: Instant) {
        if self.watched.is_some_and(|watched| now.since(watched.came) < PATIENCE) {
            if let Input::DiskDone { op, .. } = input {
                self.on_done(volume, *op, now);
            }
            return;
        }
        let begins = match input {
            Input::Request { id, request: Request::Write { payload, .. }, .. } => {
                Some((Whose::Here { id: *id }, payload.buf.slot))
            }
            Input::Received { link, frame, payload: Some(payload) } if frame.header.kind == Kind::Append => {
                Some((Whose::There { link: *link }, payload.buf.slot))
            }
            Input::Request { .. }
            | Input::Received { .. }
            | Input::DiskDone { .. }
            | Input::Connected { .. }
            | Input::Accepted { .. }
            | Input::Lost { .. }
            | Input::Command { .. }
            | Input::Tick => None,
        };
        self.watched = begins.map(|(whose, slot)| Watched {
            whose,
            volume,
            slot,
            came: woke,
            told: now,
            stage: Stage::Telling,
        });
    }

    /// Whether it wants to hear what the machine put out.
    pub(crate) fn listens(&self) -> bool {
        self.watched.is_some()
    }

    /// The machine has put something out.
    pub(crate) fn on_outputs(&mut self, volume: u32, outputs: &[Output], now: Instant) {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.volume == volume) else { return };
        if watched.stage == Stage::Telling {
            watched.stage = Stage::Queued { admitted: now };
        }
        for output in outputs {
            if let Output::Disk { op, what: DiskOp::Append { parts, .. } } = output
                && let Stage::Queued { admitted } = watched.stage
                && parts.iter().filter_map(|part| part.body).any(|body| body.slot == watched.slot)
            {
                watched.stage = Stage::Logging { admitted, begun: now, op: *op };
            }
            if let Output::Complete { id, .. } = output
                && watched.whose == (Whose::Here { id: *id })
            {
                watched.stage = match watched.stage {
                    Stage::Logging { admitted, begun, .. } => {
                        Stage::Answering { admitted, begun, logged: now, decided: now }
                    }
                    Stage::Logged { admitted, begun, logged } => {
                        Stage::Answering { admitted, begun, logged, decided: now }
                    }
                    // It never was in our log: refused, or handed on.
                    Stage::Telling | Stage::Queued { .. } | Stage::Answering { .. } => {
                        self.watched = None;
                        return;
                    }
                };
            }
        }
    }

    /// A disk operation is over.
    fn on_done(&mut self, volume: u32, done: OpId, now: Instant) {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.volume == volume) else { return };
        let Stage::Logging { admitted, begun, op } = watched.stage else { return };
        if op == done {
            watched.stage = match watched.whose {
                Whose::Here { .. } => Stage::Logged { admitted, begun, logged: now },
                Whose::There { .. } => Stage::Answering { admitted, begun, logged: now, decided: now },
            };
        }
    }

    /// A send to a client is over.
    pub(crate) fn on_client_sent(&mut self, client: u32, now: Instant, counters: &Counters) {
        if self
            .watched
            .is_some_and(|w| matches!(w.whose, Whose::Here { id } if id.0 >> 32 == u64::from(client)))
        {
            self.on_left(now, counters);
        }
    }

    /// A send to a peer is over.
    pub(crate) fn on_link_sent(&mut self, link: Option<LinkId>, now: Instant, counters: &Counters) {
        if self.watched.is_some_and(|w| matches!(w.whose, Whose::There { link: to } if Some(to) == link)) {
            self.on_left(now, counters);
        }
    }

    fn on_left(&mut self, now: Instant, counters: &Counters) {
        let Some(watched) = self.watched else { return };
        let Stage::Answering { admitted, begun, logged, decided } = watched.stage else { return };
        self.watched = None;
        let spent = |counter: &AtomicU64, from: Instant, to: Instant| {
            add(counter, to.0.saturating_sub(from.0));
        };
        let c = counters;
        match watched.whose {
            Whose::Here { .. } => {
                count(&c.probes_here);
                spent(&c.here_receive, watched.came, watched.told);
                spent(&c.here_admit, watched.told, admitted);
                spent(&c.here_queue, admitted, begun);
                spent(&c.here_log, begun, logged);
                spent(&c.here_peers, logged, decided);
                spent(&c.here_answer, decided, now);
                spent(&c.here_whole, watched.came, now);
            }
            Whose::There { .. } => {
                count(&c.probes_there);
                spent(&c.there_receive, watched.came, watched.told);
                spent(&c.there_admit, watched.told, admitted);
                spent(&c.there_queue, admitted, begun);
                spent(&c.there_log, begun, logged);
                spent(&c.there_answer, logged, now);
                spent(&c.there_whole, watched.came, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use seawall_engine::io::{AppendPart, Buf, DiskDone, LetIn, Payload};
    use seawall_wal::names::Extent;

    use super::*;

    const BUF: Buf = Buf { slot: 3, first: 0, blocks: 1 };

    fn request() -> Input {
        let payload = Payload { buf: BUF, crcs: Vec::new() };
        let request = Request::Write { extent: Extent::new(0, 1), payload, fua: false };
        Input::Request { id: RequestId(5 << 32 | 1), knows: LetIn::default(), request }
    }

    fn append(body: Buf) -> Output {
        let parts = vec![AppendPart { header: Box::new([0; 512]), body: Some(body) }];
        Output::Disk { op: OpId(9), what: DiskOp::Append { offset: 0, parts, durable: true } }
    }

    fn complete() -> Output {
        Output::Complete { id: RequestId(5 << 32 | 1), result: Ok(seawall_engine::io::Done::Written) }
    }

    fn at(nanos: u64) -> Instant {
        Instant(1_000_000 + nanos)
    }

    #[test]
    fn the_stages_of_a_write_add_up_to_the_whole() {
        let (mut probe, counters) = (Probe::default(), Counters::default());
        probe.on_input(0, &request(), at(0), at(10));
        probe.on_outputs(0, &[append(Buf { slot: 4, ..BUF })], at(12));
        probe.on_outputs(0, &[append(BUF)], at(30));
        // Somebody else's send says nothing of it, nor does one of before its answer.
        probe.on_client_sent(5, at(31), &counters);
        let done = Input::DiskDone { op: OpId(9), result: Ok(DiskDone::Done) };
        probe.on_input(0, &done, at(90), at(100));
        probe.on_outputs(0, &[complete()], at(170));
        probe.on_client_sent(4, at(171), &counters);
        probe.on_client_sent(5, at(200), &counters);
        let c = &counters;
        let stages =
            [&c.here_receive, &c.here_admit, &c.here_queue, &c.here_log, &c.here_peers, &c.here_answer];
        assert_eq!(stages.map(|stage| stage.load(Relaxed)), [10, 2, 18, 70, 70, 30]);
        assert_eq!(c.here_whole.load(Relaxed), 200);
        assert_eq!(c.probes_here.load(Relaxed), 1);
        assert!(!probe.listens());
    }

    #[test]
    fn a_write_that_others_have_first_waited_for_nobody_but_them() {
        let (mut probe, counters) = (Probe::default(), Counters::default());
        probe.on_input(0, &request(), at(0), at(1));
        probe.on_outputs(0, &[append(BUF)], at(2));
        probe.on_outputs(0, &[complete()], at(50));
        probe.on_client_sent(5, at(60), &counters);
        assert_eq!(counters.here_peers.load(Relaxed), 0);
        assert_eq!(counters.here_log.load(Relaxed), 48);
        assert_eq!(counters.here_whole.load(Relaxed), 60);
    }

    #[test]
    fn a_write_that_is_refused_or_lost_makes_room_for_the_next() {
        let (mut probe, counters) = (Probe::default(), Counters::default());
        probe.on_input(0, &request(), at(0), at(1));
        probe.on_outputs(0, &[complete()], at(2));
        assert!(!probe.listens());
        probe.on_input(0, &request(), at(10), at(11));
        let later = Instant(at(10).0 + 2_000_000_000);
        probe.on_input(0, &request(), later, later);
        probe.on_outputs(0, &[append(BUF), complete()], later);
        probe.on_client_sent(5, later, &counters);
        assert_eq!(counters.probes_here.load(Relaxed), 1);
        assert_eq!(counters.here_whole.load(Relaxed), 0);
    }
}
