//! The shipped sender against a replica that answers anything, in any session.

use seawall_sender::feed::{Ack, Frontiers};
use seawall_sender::sender::{APPEND_BYTES_MAX, Limits, Sender};
use seawall_sender::session_id::SessionId;
use seawall_wal::names::{Lsn, ReplicaId};

use crate::search::{Breach, Model, rule};

const LOG_END: Lsn = Lsn(3);
const SESSIONS: u32 = 2;
const LIMITS: Limits = Limits { window_records: 3, window_bytes: 2 * APPEND_BYTES_MAX as u64 };

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers;

/// The sender, and the session that whoever watches knows of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Room {
    sender: Sender,
    present: Option<u32>,
    begun: u32,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A disk proves this, and a session begins there.
    Begin {
        /// Below here its log is durable.
        durable: u64,
        /// Below here it is at home.
        home: u64,
    },
    /// The next record is sent.
    Send,
    /// An answer comes.
    Ack(u32, Ack),
    /// A session ends.
    End(u32),
}

fn name(count: u32) -> SessionId {
    SessionId { boot: 1, count }
}

fn all_frontiers() -> impl Iterator<Item = Frontiers> {
    let each = || (0..=LOG_END.0).map(Lsn);
    each().flat_map(move |received| {
        each().flat_map(move |written| {
            each().flat_map(move |durable| {
                each().map(move |home| Frontiers { received, written, durable, home })
            })
        })
    })
}

impl Room {
    fn ack(&mut self, count: u32, ack: Ack) -> Result<(), Breach> {
        let before = self.sender.frontiers();
        let sent = self.sender.next();
        let taken = self.sender.on_acked(name(count), ack, LOG_END);
        let after = self.sender.frontiers();
        if self.present != Some(count) {
            let nothing = taken.is_err() && after == before && self.sender.next() == sent;
            return rule("stale-session-changes-nothing", nothing, || format!("{ack} in {}", name(count)));
        }
        let ordered =
            after.home <= after.durable && after.durable <= after.written && after.written <= after.received;
        rule("frontiers-are-ordered", ordered, || after.to_string())?;
        let within = sent.is_none_or(|sent| after.received <= sent);
        rule("acked-never-past-log", within, || format!("{after}, sent is {sent:?}"))?;
        rule("only-a-handshake-lowers-a-frontier", !after.moved_back_from(&before), || {
            format!("{after} after {before}")
        })
    }
}

impl Model for Answers {
    type State = Room;
    type Step = Step;

    fn name(&self) -> &'static str {
        "answers"
    }

    fn starts(&self) -> Vec<Room> {
        vec![Room { sender: Sender::new(ReplicaId(2), &LIMITS), present: None, begun: 0 }]
    }

    fn steps(&self, room: &Room) -> Vec<Step> {
        let mut steps = Vec::new();
        if room.present.is_none() && room.begun < SESSIONS {
            let proven = (0..=LOG_END.0).flat_map(|durable| (0..=LOG_END.0).map(move |home| (durable, home)));
            steps.extend(proven.map(|(durable, home)| Step::Begin { durable, home }));
        }
        if room.sender.next().is_some_and(|next| next < LOG_END) && room.sender.has_room(APPEND_BYTES_MAX) {
            steps.push(Step::Send);
        }
        for count in 1..=SESSIONS {
            steps.push(Step::End(count));
            steps.extend(all_frontiers().map(|ack| Step::Ack(count, ack)));
        }
        steps
    }

    fn take(&self, room: &Room, step: &Step) -> Result<Room, Breach> {
        let mut after = room.clone();
        match *step {
            Step::Begin { durable, home } => {
                let known = after.sender.set_known(Lsn(durable), Lsn(home));
                rule("what-a-disk-proves-is-sound", known.is_err() || home <= durable, || {
                    format!("home {home} in a log that is durable below {durable}")
                })?;
                if known.is_ok() {
                    after.begun += 1;
                    after.present = Some(after.begun);
                    after.sender.begin(name(after.begun), Lsn(durable));
                }
            }
            Step::Send => {
                let next = after.sender.next().expect("offered");
                after.sender.on_sent(name(after.begun), next, APPEND_BYTES_MAX);
            }
            Step::Ack(count, ack) => {
                after.ack(count, ack)?;
                if room.present != Some(count) {
                    // But for the count of such answers it is the same.
                    return Ok(room.clone());
                }
            }
            Step::End(count) => {
                after.sender.end(name(count));
                let present = room.present == Some(count);
                let ended = after.sender.session().is_none();
                rule("stale-session-changes-nothing", present || ended == room.present.is_none(), || {
                    format!("{} ended the present session", name(count))
                })?;
                if !present {
                    return Ok(room.clone());
                }
                after.present = None;
            }
        }
        Ok(after)
    }

    fn heal(&self, _: &Room) -> Option<Step> {
        None
    }
}
