//! A report as one screen of text.

use std::fmt::Write as _;
use std::time::Duration;

use crate::outlook::next_failure;
use crate::quantity::{show_duration, show_size};
use crate::report::{InSyncSet, Peer, Report, Risk};

/// The whole of it; at most 25 lines for a volume of five replicas.
#[must_use]
pub fn show(report: &Report) -> String {
    let r = report;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "volume {} ({}, commit {}, ack {})   replica {} ({}), pid {}",
        r.volume.name,
        show_size(r.volume.bytes),
        r.volume.commit,
        r.volume.ack,
        r.replica,
        r.role,
        r.pid
    );
    let primary = r.primary.as_deref().unwrap_or("none");
    let _ = writeln!(
        out,
        "  epoch {}   promised {}   primary {primary}   start {}   configuration {}{}",
        r.epoch,
        r.promised,
        r.boots,
        r.members.number,
        if r.members.pending { " (pending)" } else { "" }
    );
    if let Some(fault) = &r.fault {
        let _ = writeln!(out, "  FAULTED: {fault}");
    }
    if let Some(forced) = &r.forced {
        let _ = writeln!(out, "  {forced}");
    }
    let f = &r.frontiers;
    let _ = writeln!(
        out,
        "  log [{}, {})   durable {}   committed {}   settled {}   home {}",
        f.start, f.end, f.durable, f.committed, f.settled, f.checkpoint
    );
    let _ = writeln!(
        out,
        "  log {} of {} in use   index {}   {} requests in flight   last restart: {}",
        show_size(r.log.used_bytes),
        show_size(r.log.bytes),
        show_size(r.index_bytes as u64),
        r.requests,
        r.restart_rule
    );
    if !r.base_complete {
        let _ = writeln!(out, "  this copy is not whole: {} blocks of its base are held", r.base_held_blocks);
    }
    if let Some(risk) = &r.risk {
        let _ = writeln!(out, "  {}", show_risk(risk));
    }
    if let Some(set) = &r.in_sync_set {
        let _ = writeln!(out, "  {}", show_set(set));
    }
    if let Some(text) = show_quorum(r) {
        let _ = writeln!(out, "  {text}");
    }
    for lease in &r.maintenance {
        let _ = writeln!(out, "  {}", lease.show());
    }
    for sentence in next_failure(&r.outlook) {
        let _ = writeln!(out, "  {sentence}");
    }
    for peer in &r.peers {
        show_peer(peer, &mut out);
    }
    out
}

/// Since when the volume has taken no writes, as far as this replica knows, and who is missing.
fn show_quorum(report: &Report) -> Option<String> {
    let quorum = &report.quorum;
    let since = show_duration(Duration::from_secs_f64(quorum.missing_seconds?));
    let end = match report.volume.quorum_patience_seconds {
        _ if quorum.shrinks => "writes go on without them before long".to_owned(),
        Some(seconds) => {
            format!("requests wait {} and end with an error", show_duration(Duration::from_secs_f64(seconds)))
        }
        None => "requests wait until there is one".to_owned(),
    };
    Some(match report.role.as_str() {
        "primary" | "starting" => {
            let lease = if quorum.leased { "" } else { ", no lease" };
            let missing = quorum.missing.join(", ");
            let (present, needed) = (quorum.present, quorum.needed);
            format!(
                "NO QUORUM for {since}: {present} of {needed} copies{lease}; not in sync: {missing}; {end}"
            )
        }
        _ => format!("NO PRIMARY for {since}, as far as this replica knows; {end}"),
    })
}

/// For whom writes wait under commit rule `all`, and who fell out of that.
fn show_set(set: &InSyncSet) -> String {
    let mut text = format!("all: {} of {} in the in-sync set", set.members.len(), set.voters);
    for dropped in &set.dropped {
        let _ = write!(text, ", {} dropped", dropped.replica);
        match (dropped.seconds, &dropped.why) {
            (Some(seconds), Some(why)) => {
                let _ = write!(text, " {} ago: {why}", show_duration(Duration::from_secs_f64(seconds)));
            }
            (Some(_), None) | (None, _) => text.push_str(" by an earlier primary"),
        }
        if dropped.in_sync {
            text.push_str("; it is in sync, and joins again");
        }
    }
    text
}

fn show_risk(risk: &Risk) -> String {
    let Risk { copies, copies_wanted, losses_survived, alone, volatile } = risk;
    let mut text = format!("{copies} of {copies_wanted} copies hold everything promised: ");
    match losses_survived {
        0 => text.push_str("DATA AT RISK, no copy may be lost"),
        n => {
            let _ = write!(text, "any {n} may be lost without losing data");
        }
    }
    if let Some(alone) = alone.show() {
        let _ = write!(text, "; on this copy alone: {alone}");
    }
    if let Some(volatile) = volatile.show() {
        let _ = write!(text, "; not on stable storage of a quorum: {volatile}");
    }
    text
}

fn show_peer(peer: &Peer, out: &mut String) {
    let votes = match (peer.voter, peer.counts) {
        (true, true) => "counts",
        (true, false) => "does not count",
        (false, _) => "no voter",
    };
    let rule = if peer.rule.is_empty() { "none yet" } else { &peer.rule };
    let _ = writeln!(
        out,
        "peer {} ({votes})   {}   session {}   plan by rule: {rule}",
        peer.replica,
        peer.state,
        peer.session.as_deref().unwrap_or("none")
    );
    let _ = writeln!(
        out,
        "  durable {}   home {}   lacks {} records, {}   {} on the way",
        peer.durable,
        peer.home,
        peer.lag_records,
        show_size(peer.lag_bytes),
        show_size(peer.in_flight_bytes)
    );
    if let Some(p) = &peer.progress {
        let percent = u128::from(p.done) * 100 / u128::from(p.total.max(1));
        let eta = p.eta_seconds.map_or("standing still".to_owned(), |seconds| {
            format!("{} to go", show_duration(Duration::from_secs(seconds)))
        });
        let _ = writeln!(
            out,
            "  {}: {} of {} {} ({percent} %), {} per second, {eta}",
            p.phase, p.done, p.total, p.unit, p.per_second
        );
    }
    if !peer.last_end.is_empty() {
        let _ = writeln!(out, "  last session ended: {}", peer.last_end);
    }
}

/// The same in one line, for logs.
#[must_use]
pub fn show_line(report: &Report) -> String {
    let mut line = format!(
        "{} {} epoch {} committed {}",
        report.replica, report.role, report.epoch, report.frontiers.committed
    );
    for peer in &report.peers {
        let _ = write!(line, " | {} {} durable {}", peer.replica, peer.state, peer.durable);
        if let Some(p) = &peer.progress {
            let _ = write!(line, " ({}: {}/{} {})", p.phase, p.done, p.total, p.unit);
        }
    }
    line
}
