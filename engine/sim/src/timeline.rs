//! A readable account of a run: one line per event that somebody would tell, and what happens all the time in sums.

use std::collections::BTreeMap;

use seawall_engine::notice::Level;
use seawall_engine::status::{Role, Status};
use seawall_sender::frame::Kind;

use crate::birth::replica;
use crate::clock::Moment;
use crate::disk::Crash;
use crate::sign::Sign;
use crate::word::Word;

/// More nodes than any world has.
const NODES_MAX: usize = 8;

/// The account so far.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    lines: Vec<String>,
    /// What happened all the time since the last line.
    frames: BTreeMap<(usize, usize, &'static str), u64>,
    clients: BTreeMap<&'static str, u64>,
    roles: BTreeMap<usize, Role>,
    sessions: BTreeMap<(usize, u64), &'static str>,
}

impl Timeline {
    /// All lines.
    pub(crate) fn into_lines(mut self, now: Moment) -> Vec<String> {
        self.sum_up(now);
        self.lines
    }

    /// A line of its own.
    pub(crate) fn tell(&mut self, now: Moment, who: &str, what: &str, detail: &str) {
        self.sum_up(now);
        self.lines.push(line(now, who, what, detail));
    }

    /// A node shows something.
    pub(crate) fn on_sign(&mut self, now: Moment, node: usize, sign: Sign<'_>) {
        let who = node.shown();
        match sign {
            Sign::Notice(notice) if notice.kind() == "checkpointed" => {}
            Sign::Notice(notice) => {
                let loud = match notice.level() {
                    Level::Info => "",
                    Level::Warn => "! ",
                    Level::Error => "!! ",
                };
                self.tell(now, &who, notice.kind(), &format!("{loud}{notice}"));
            }
            Sign::Sends(None, _) | Sign::Disk(..) => {}
            Sign::Sends(Some(to), header) if is_daily(header.kind) => {
                *self.frames.entry((node, to, header.kind.name())).or_default() += 1;
            }
            Sign::Sends(Some(to), header) => {
                let detail = format!("to {} in {} {}", to.shown(), header.epoch, header.session);
                self.tell(now, &who, &format!("→ {}", header.kind), &detail);
            }
            Sign::Hears(_, header) if is_daily(header.kind) => {}
            Sign::Hears(from, header) => {
                let from = from.map_or("nobody any more".to_owned(), |from| from.shown());
                self.tell(now, &who, &format!("← {}", header.kind), &format!("from {from}"));
            }
            Sign::Down(Crash::Kill) => self.tell(now, &who, "DOWN", "killed"),
            Sign::Down(Crash::Power(loss)) => {
                self.tell(now, &who, "DOWN", &format!("without power; unflushed: {} is lost", loss.shown()));
            }
            Sign::Up => {
                self.sessions.retain(|(primary, _), _| *primary != node);
                self.tell(now, &who, "UP", "from the disk alone");
            }
            Sign::Resumed => self.tell(now, &who, "RESUMED", ""),
            Sign::Promoted { take_over } => {
                self.tell(now, &who, "command", if take_over { "take over" } else { "promote" })
            }
            Sign::Deed(act) => self.tell(now, "-", "DEED", &act.to_string()),
            Sign::Heals => self.tell(now, "-", "HEALS", "no more faults: everything is mended and runs"),
            Sign::Wrote => *self.clients.entry("writes done").or_default() += 1,
            Sign::Read => *self.clients.entry("reads done").or_default() += 1,
            Sign::Refused => *self.clients.entry("refused or cut off").or_default() += 1,
        }
    }

    /// What a node says of itself after a step: changes of its role and of the sessions that it feeds.
    pub(crate) fn on_status(&mut self, now: Moment, node: usize, status: &Status) {
        let before = self.roles.insert(node, status.role);
        if before != Some(status.role) {
            let was = before.map_or("", Role::name);
            let detail = format!("{was} → {} in {}", status.role.name(), status.epoch);
            self.tell(now, &node.shown(), "role", &detail);
        }
        for peer in &status.peers {
            let before = self.sessions.insert((node, peer.replica.0), peer.state);
            if before != Some(peer.state) {
                let session = peer.session.map_or(String::new(), |session| format!(" {session}"));
                let detail = format!(
                    "{}{session}: {} → {}, durable {} of {}",
                    peer.replica,
                    before.unwrap_or(""),
                    peer.state,
                    peer.durable,
                    status.log_end
                );
                self.tell(now, &node.shown(), "session", &detail);
            }
        }
    }

    fn sum_up(&mut self, now: Moment) {
        let mut pairs: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for ((from, to, kind), count) in core::mem::take(&mut self.frames) {
            pairs.entry((from, to)).or_default().push(format!("{count} {kind}"));
        }
        let mut parts: Vec<String> = pairs
            .into_iter()
            .map(|((from, to), kinds)| format!("{}→{} {}", from.shown(), to.shown(), kinds.join(", ")))
            .collect();
        parts.extend(
            core::mem::take(&mut self.clients).into_iter().map(|(what, count)| format!("{count} {what}")),
        );
        if !parts.is_empty() {
            self.lines.push(line(now, "", "…", &parts.join("; ")));
        }
    }
}

fn line(now: Moment, who: &str, what: &str, detail: &str) -> String {
    let mut detail = detail.to_owned();
    // Replicas by their nodes' letters.
    for node in 0..NODES_MAX {
        let name = replica(node).to_string();
        if detail.contains(&name) {
            detail = detail.replace(&name, &node.shown());
        }
    }
    format!("{now} {who:<2} {what:<18} {detail}").trim_end().to_owned()
}

/// Messages of which there are so many that only their number is told.
fn is_daily(kind: Kind) -> bool {
    match kind {
        Kind::Append | Kind::Ack | Kind::Pulse | Kind::PulseAck | Kind::Base | Kind::BaseAck => true,
        Kind::Fetched | Kind::Hello | Kind::Welcome => true,
        Kind::Farewell | Kind::Greet | Kind::Facts | Kind::Begin | Kind::Begun | Kind::BaseDone => false,
        Kind::DigestAsk | Kind::Digest | Kind::Refuse => false,
        Kind::Ask | Kind::Promise | Kind::Denied | Kind::Fetch | Kind::FetchEnd => false,
        Kind::Forward | Kind::Forwarded => false,
        Kind::Cede | Kind::Release | Kind::Keep => false,
    }
}
