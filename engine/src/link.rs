//! Connections to peers: who is at the other end, and which machine its frames are for.

use seawall_recovery::facts::Facts;
use seawall_recovery::messages::{Base, BaseAck, BaseDone, Begin, Begun, Digest, DigestAsk, Greet, Refuse};
use seawall_sender::codec;
use seawall_sender::feed::{Ack, Append, Pulse, PulseAck};
use seawall_sender::frame::{Frame, Kind};
use seawall_sender::greeting::{
    Farewell, Hello, Identity, Parting, Proven, Welcome, check_guest, check_hello, check_proof, check_welcome,
};
use seawall_sender::session_id::SessionId;
use seawall_sender::time::Instant;
use seawall_sender::violation::Violation;
use seawall_wal::names::{Epoch, ReplicaId};

use crate::bait::Bait;
use crate::ballot::{Ask, Denied, Fetch, FetchEnd, Promise};
use crate::core::Core;
use crate::handover::{Keep, Release};
use crate::io::{LinkId, Payload};
use crate::notice::Notice;

/// Connections at a time; honest members need a few each.
const LINKS_MAX: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkUse {
    /// Accepted; it has yet to say who it is.
    Unknown { since: Instant, proven: Proven },
    /// Accepted, and it said who it is: a primary or a candidate.
    Inbound { peer: ReplicaId },
    /// Opened for a replica's recovery session.
    Session { replica: ReplicaId, welcomed: bool },
    /// Opened for a candidacy.
    Candidacy { replica: ReplicaId, welcomed: bool },
    /// Opened to the primary, for our clients.
    Forward { replica: ReplicaId, welcomed: bool },
    /// Opened for a session of a reign that ended by plan: the other end closes it when it has heard so.
    Leaving { since: Instant },
}

impl LinkUse {
    /// Since when it is of no use.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        match self {
            LinkUse::Unknown { since, .. } | LinkUse::Leaving { since } => Some(*since),
            LinkUse::Inbound { .. }
            | LinkUse::Session { .. }
            | LinkUse::Candidacy { .. }
            | LinkUse::Forward { .. } => None,
        }
    }
}

impl Core {
    pub(crate) fn identity(&self) -> Identity {
        Identity { volume: self.setup.volume, replica: self.me(), volume_blocks: self.setup.volume_blocks }
    }

    pub(crate) fn on_connected(&mut self, link: LinkId, proven: Proven) {
        let used = self.links.get(&link).copied();
        if let Some(
            LinkUse::Session { replica, .. }
            | LinkUse::Candidacy { replica, .. }
            | LinkUse::Forward { replica, .. },
        ) = used
            && let Err(violation) = check_proof(&self.identity(), replica, proven)
            && !self.setup.baited(Bait::AnyDiskWillDo)
        {
            // Before a word is said: whoever it is learns nothing of us.
            return self.violated(link, violation);
        }
        match used {
            Some(LinkUse::Session { replica, .. }) => self.lane_connected(link, replica),
            Some(LinkUse::Candidacy { replica, .. } | LinkUse::Forward { replica, .. }) => {
                self.candidacy_connected(link, replica);
            }
            Some(LinkUse::Unknown { .. } | LinkUse::Inbound { .. } | LinkUse::Leaving { .. }) => {
                panic!("an accepted link is open already")
            }
            // Disconnected meanwhile.
            None => {}
        }
    }

    /// Since when the oldest connection of no use is there: accepted, and it has not said who it is; or left.
    pub(crate) fn unknown_since(&self) -> Option<Instant> {
        self.links.values().filter_map(LinkUse::idle_since).min()
    }

    pub(crate) fn on_accepted(&mut self, link: LinkId, proven: Proven) {
        if self.links.len() >= LINKS_MAX {
            self.out.push(crate::io::Output::Disconnect { link });
            return;
        }
        let since = self.now;
        self.links.insert(link, LinkUse::Unknown { since, proven });
        let stranger = match proven {
            Proven::Replica { replica, .. } if !self.may_speak(replica) => Some(replica),
            Proven::Replica { .. } | Proven::Nobody => None,
        };
        let judged = check_guest(&self.identity(), proven)
            .and_then(|()| stranger.map_or(Ok(()), |replica| Err(Violation::NotMember { replica })));
        if let Err(violation) = judged {
            self.violated(link, violation);
        }
    }

    /// A connection is gone.
    pub(crate) fn lose(&mut self, link: LinkId) {
        match self.links.remove(&link) {
            Some(LinkUse::Session { replica, .. }) => self.lane_lost(link, replica),
            Some(LinkUse::Candidacy { replica, .. }) => self.candidacy_lost(link, replica),
            Some(LinkUse::Forward { .. }) => self.line_lost(link),
            Some(LinkUse::Inbound { .. }) => {
                self.served_lost(link);
                if self.feed.as_ref().is_some_and(|feed| feed.link == link) {
                    self.end_feed("the connection to the primary is gone");
                }
            }
            Some(LinkUse::Unknown { .. } | LinkUse::Leaving { .. }) | None => {}
        }
    }

    /// A frame came.
    pub(crate) fn on_received(&mut self, link: LinkId, frame: Frame, payload: Option<Payload>) {
        let Some(used) = self.links.get(&link).copied() else {
            self.drop_payload(payload);
            return;
        };
        let mut payload = payload;
        let judged = self.sort(link, used, &frame, &mut payload);
        self.drop_payload(payload);
        if let Err(violation) = judged {
            self.violated(link, violation);
        }
    }

    fn sort(
        &mut self,
        link: LinkId,
        used: LinkUse,
        frame: &Frame,
        payload: &mut Option<Payload>,
    ) -> Result<(), Violation> {
        let kind = frame.header.kind;
        let out_of_turn = |state: &'static str| Err(Violation::OutOfTurn { state, event: kind.name() });
        if kind != Kind::Hello && frame.header.volume != self.setup.volume {
            return Err(Violation::WrongVolume { expected: self.setup.volume, found: frame.header.volume });
        }
        if !frame.header.epoch.is_sound() {
            return Err(Violation::Contradictory { kind });
        }
        match used {
            LinkUse::Unknown { proven, .. } => match kind {
                Kind::Hello => self.on_hello(link, frame, proven),
                _ => out_of_turn("unknown"),
            },
            LinkUse::Inbound { peer } => match kind {
                Kind::Greet
                | Kind::Begin
                | Kind::Append
                | Kind::Pulse
                | Kind::Base
                | Kind::BaseDone
                | Kind::DigestAsk
                | Kind::Release
                | Kind::Keep => self.sort_feed(link, peer, frame, payload),
                Kind::Ask => {
                    let ask: Ask = codec::decode(&frame.meta)?;
                    if ask.epoch.replica != peer || ask.epoch != frame.header.epoch {
                        return Err(Violation::WrongEpoch { expected: ask.epoch, found: frame.header.epoch });
                    }
                    self.on_ask(link, ask);
                    Ok(())
                }
                Kind::Fetch => {
                    let fetch: Fetch = codec::decode(&frame.meta)?;
                    self.on_fetch(link, frame.header.epoch, fetch)
                }
                Kind::Forward => self.on_forward(link, peer, frame, payload),
                Kind::Farewell => {
                    self.lose(link);
                    self.out.push(crate::io::Output::Disconnect { link });
                    Ok(())
                }
                _ => out_of_turn("inbound"),
            },
            LinkUse::Session { replica, welcomed } => match (welcomed, kind) {
                (false, Kind::Welcome) => {
                    self.check_welcome(replica, frame)?;
                    self.links.insert(link, LinkUse::Session { replica, welcomed: true });
                    self.lane_welcomed(replica);
                    Ok(())
                }
                (_, Kind::Farewell) => self.on_farewell(link, frame),
                (true, Kind::Facts) => {
                    let facts: Facts = codec::decode(&frame.meta)?;
                    self.lane_facts(replica, frame.header.session, &facts)
                }
                (true, Kind::Begun) => {
                    let begun: Begun = codec::decode(&frame.meta)?;
                    self.lane_begun(replica, frame.header.session, begun)
                }
                (true, Kind::Ack) => {
                    let ack = Ack::decode(&frame.meta)?;
                    self.lane_acked(replica, frame.header.session, ack)
                }
                (true, Kind::PulseAck) => {
                    let ack = PulseAck::decode(&frame.meta)?;
                    self.lane_pulse_acked(replica, frame.header.session, ack)
                }
                (true, Kind::BaseAck) => {
                    let ack: BaseAck = codec::decode(&frame.meta)?;
                    self.lane_base_acked(replica, frame.header.session, ack)
                }
                (true, Kind::Digest) => {
                    let digest: Digest = codec::decode(&frame.meta)?;
                    self.lane_digest(replica, frame.header.session, digest)
                }
                (true, Kind::Cede) => {
                    self.on_cede(replica, frame.header.session);
                    Ok(())
                }
                (true, Kind::Refuse) => {
                    let refuse: Refuse = codec::decode(&frame.meta)?;
                    self.lane_refused(replica, frame.header.session, refuse)
                }
                _ => out_of_turn("session"),
            },
            // What was on its way when the reign ended.
            LinkUse::Leaving { .. } => Ok(()),
            LinkUse::Candidacy { replica, welcomed } => match (welcomed, kind) {
                (false, Kind::Welcome) => {
                    self.check_welcome(replica, frame)?;
                    self.links.insert(link, LinkUse::Candidacy { replica, welcomed: true });
                    self.candidacy_welcomed(link);
                    Ok(())
                }
                (_, Kind::Farewell) => self.on_farewell(link, frame),
                (true, Kind::Promise) => {
                    let promise: Promise = codec::decode(&frame.meta)?;
                    self.on_promise(replica, promise);
                    Ok(())
                }
                (true, Kind::Denied) => {
                    let denied: Denied = codec::decode(&frame.meta)?;
                    self.on_denied(replica, denied);
                    Ok(())
                }
                (true, Kind::Fetched) => {
                    let append = Append::decode(&frame.meta)?;
                    self.on_fetched(link, frame.header.epoch, append, payload.take())
                }
                (true, Kind::FetchEnd) => {
                    let end: FetchEnd = codec::decode(&frame.meta)?;
                    self.on_fetch_end(link, end);
                    Ok(())
                }
                _ => out_of_turn("candidacy"),
            },
            LinkUse::Forward { replica, welcomed } => match (welcomed, kind) {
                (false, Kind::Welcome) => {
                    self.check_welcome(replica, frame)?;
                    self.links.insert(link, LinkUse::Forward { replica, welcomed: true });
                    self.line_welcomed(link);
                    Ok(())
                }
                (_, Kind::Farewell) => self.on_farewell(link, frame),
                (true, Kind::Forwarded) => self.on_forwarded(link, frame, payload),
                _ => out_of_turn("forward"),
            },
        }
    }

    fn sort_feed(
        &mut self,
        link: LinkId,
        peer: ReplicaId,
        frame: &Frame,
        payload: &mut Option<Payload>,
    ) -> Result<(), Violation> {
        let (epoch, session) = (frame.header.epoch, frame.header.session);
        if frame.header.kind == Kind::Greet {
            let greet: Greet = codec::decode(&frame.meta)?;
            if greet.epoch != epoch || greet.session != session || epoch.replica != peer {
                return Err(Violation::WrongEpoch { expected: greet.epoch, found: epoch });
            }
            self.on_greet(link, greet);
            return Ok(());
        }
        // Every message of a session that is not the present one is refused and changes nothing.
        if !self.is_fed_by(link, epoch, session) {
            self.on_stale(link, session);
            return Ok(());
        }
        match frame.header.kind {
            Kind::Begin => {
                let begin: Begin = codec::decode(&frame.meta)?;
                self.on_begin(begin)
            }
            Kind::Append => {
                let append = Append::decode(&frame.meta)?;
                self.on_append(append, payload.take())
            }
            Kind::Pulse => {
                let pulse = Pulse::decode(&frame.meta)?;
                self.on_pulse(pulse);
                Ok(())
            }
            Kind::Base => {
                let base: Base = codec::decode(&frame.meta)?;
                self.on_base(base, payload.take())
            }
            Kind::BaseDone => {
                let done: BaseDone = codec::decode(&frame.meta)?;
                self.on_base_done(done)
            }
            Kind::DigestAsk => {
                let ask: DigestAsk = codec::decode(&frame.meta)?;
                self.on_digest_ask(ask)
            }
            Kind::Release => {
                let release: Release = codec::decode(&frame.meta)?;
                self.on_release(release);
                Ok(())
            }
            Kind::Keep => {
                let keep: Keep = codec::decode(&frame.meta)?;
                self.on_keep(keep);
                Ok(())
            }
            other => unreachable!("{other:?} is sorted elsewhere"),
        }
    }

    fn on_hello(&mut self, link: LinkId, frame: &Frame, proven: Proven) -> Result<(), Violation> {
        let mut hello: Hello = codec::decode(&frame.meta)?;
        let us = self.identity();
        let whoever = self.setup.baited(Bait::AnyDiskWillDo);
        if whoever {
            hello.to = us.replica;
        }
        check_proof(&us, hello.from, proven)?;
        // What we know of the members may be of a branch that is void.
        let above = frame.header.epoch.era() > self.era();
        let why = match check_hello(&us, frame.header.volume, &hello) {
            Ok(version)
                if (hello.from != us.replica || whoever)
                    && (above || self.may_speak(hello.from) && !self.is_retired(hello.from)) =>
            {
                self.links.insert(link, LinkUse::Inbound { peer: hello.from });
                let welcome = codec::encode(&Welcome::new(&us, version));
                self.send(link, Kind::Welcome, Epoch::ZERO, SessionId::NONE, &welcome, None);
                return Ok(());
            }
            Ok(_) if self.is_retired(hello.from) => Parting::Removed,
            Ok(_) => Parting::NotMember,
            Err(mismatch) => Parting::Mismatched(mismatch),
        };
        // It hears why and closes the connection; if it does not, the silence deadline does.
        let farewell = codec::encode(&Farewell { why });
        self.send(link, Kind::Farewell, Epoch::ZERO, SessionId::NONE, &farewell, None);
        let violation = match why {
            Parting::Mismatched(mismatch) => Violation::Mismatched(mismatch),
            Parting::NotMember
            | Parting::Removed
            | Parting::ShuttingDown
            | Parting::Superseded
            | Parting::Violated => Violation::NotMember { replica: hello.from },
        };
        self.notice(Notice::PeerViolated { violation });
        Ok(())
    }

    /// Whether a replica is heard at all: a member; one that was, to be told so; any, while no primary is heard of, since
    /// then a change may have been missed. What that one says must show it.
    fn may_speak(&self, replica: ReplicaId) -> bool {
        self.is_member(replica) || self.is_retired(replica) || !self.hears_a_primary()
    }

    fn check_welcome(&self, replica: ReplicaId, frame: &Frame) -> Result<(), Violation> {
        let welcome: Welcome = codec::decode(&frame.meta)?;
        let replica = if self.setup.baited(Bait::AnyDiskWillDo) { welcome.replica } else { replica };
        check_welcome(&self.identity(), replica, frame.header.volume, &welcome)
            .map(|_| ())
            .map_err(Violation::Mismatched)
    }

    fn on_farewell(&mut self, link: LinkId, frame: &Frame) -> Result<(), Violation> {
        let farewell: Farewell = codec::decode(&frame.meta)?;
        match farewell.why {
            Parting::Mismatched(mismatch) => return Err(Violation::Mismatched(mismatch)),
            Parting::Removed => self.on_removed(),
            Parting::ShuttingDown | Parting::Superseded | Parting::Violated | Parting::NotMember => {}
        }
        self.lose(link);
        self.out.push(crate::io::Output::Disconnect { link });
        Ok(())
    }
}
