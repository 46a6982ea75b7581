//! After the faults: whether everything came back, and whether all copies are the volume that clients know.

use seawall_engine::status::{Role, Status};

use crate::clock::MILLIS;
use crate::oracle::Failure;
use crate::oracle::image::Image;
use crate::world::World;

impl World {
    /// What is still missing for rest: nothing in flight, one primary, all copies in sync.
    pub(crate) fn unrest(&self) -> Option<String> {
        let mut statuses = Vec::new();
        for node in self.member_nodes() {
            let here = &self.nodes[node];
            match &here.replica {
                Some(replica) if self.is_up(node) => statuses.push(replica.status()),
                Some(_) | None => return Some(format!("node {node} is {:?}", here.state)),
            }
        }
        let primaries: Vec<&Status> = statuses.iter().filter(|status| status.role == Role::Primary).collect();
        let [primary] = primaries[..] else {
            return Some(format!("{} nodes are primary", primaries.len()));
        };
        if let Some(node) = (0..self.nodes.len()).find(|node| self.nodes[*node].sick) {
            return Some(format!("node {node} is damaged and was not replaced"));
        }
        if let Some(node) = (0..self.nodes.len()).find(|node| !self.directory.is_informed(*node)) {
            return Some(format!("node {node} has yet to hear of a new address"));
        }
        if let Some(change) = self.change_under_way(primary) {
            return Some(change);
        }
        if let Some(peer) = primary.peers.iter().find(|peer| !peer.counts) {
            return Some(format!(
                "{} is {} (rule {}, last end {}, durable {} of {})",
                peer.replica, peer.state, peer.rule, peer.last_end, peer.durable, primary.log_end
            ));
        }
        let behind =
            |status: &&Status| status.durable != primary.log_end || status.committed != primary.log_end;
        if let Some(status) = statuses.iter().find(behind) {
            return Some(format!(
                "{} has durable {}, committed {} of {}",
                status.replica, status.durable, status.committed, primary.log_end
            ));
        }
        if let Some((node, here)) = self.nodes.iter().enumerate().find(|(_, here)| !here.requests.is_empty())
        {
            return Some(format!("node {node} owes answers to {:?}", here.requests.keys()));
        }
        // Invariant: buffers-come-home.
        let held = self.nodes.iter().enumerate().find(|(_, here)| here.pool.held() > 0);
        held.map(|(node, here)| format!("node {node} holds {} buffers (buffers-come-home)", here.pool.held()))
    }

    /// What every node says of itself, for a report.
    pub(crate) fn survey(&self) -> String {
        let mut survey = String::new();
        for (node, here) in self.nodes.iter().enumerate() {
            for (at, notice) in self.recent[node].iter().rev() {
                survey.push_str(&format!("\n    {} ms, node {node}: {notice}", at.0 / MILLIS));
            }
            let Some(replica) = &here.replica else {
                survey.push_str(&format!("\n    node {node}: {:?}", here.state));
                continue;
            };
            let s = replica.status();
            survey.push_str(&format!(
                "\n    node {node}: {} epoch {} promised {} log [{}, {}) durable {} committed {} settled {} checkpoint {} base {} held {}, {} requests, {} buffers{}",
                s.role.name(), s.epoch, s.promised, s.log_start, s.log_end, s.durable, s.committed, s.settled,
                s.checkpoint, if s.base_complete { "complete" } else { "incomplete" }, s.base_held,
                here.requests.len(), here.pool.held(),
                s.fault.map(|fault| format!(" fault: {fault}")).unwrap_or_default(),
            ));
            for peer in s.peers {
                survey.push_str(&format!(
                    "\n        {} {} {:?} rule {} last end {} received {} durable {} home {}",
                    peer.replica,
                    peer.state,
                    peer.session,
                    peer.rule,
                    peer.last_end,
                    peer.received,
                    peer.durable,
                    peer.home
                ));
            }
        }
        survey
    }

    /// All copies, read from the disks alone, are equal, and are what clients know.
    pub(crate) fn check_images(&mut self) -> Result<(), Failure> {
        let mut first: Option<Image<'_>> = None;
        for node in self.member_nodes() {
            let image = Image::read(node, &self.nodes[node].disk)?;
            image.check_history(node, &self.oracle.history)?;
            match &first {
                None => first = Some(image),
                Some(first) => first.check_equal(&image, node)?,
            }
        }
        let first = first.expect("there is a node");
        self.turn += 1;
        self.oracle.ledger.on_read_began(self.turn);
        let began = self.turn;
        self.turn += 1;
        self.oracle.ledger.on_read(0, first.blocks(), began, self.turn)
    }
}
