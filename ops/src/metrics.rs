//! The numbers of a node in the Prometheus text format, gathered when they are asked for.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use seawall_blockdev::counters::Kind;

use crate::report::Report;

/// A number of the driver: name, behaviour, help, value.
pub type Number = (&'static str, Kind, &'static str, u64);

/// All numbers of a node as one page.
///
/// # Panics
/// If two of them have the same name, which is a mistake of ours.
#[must_use]
pub fn page(report: &Report, numbers: &[Number], notices: &BTreeMap<&'static str, u64>) -> String {
    let registry = Registry::new();
    for (name, kind, help, value) in numbers {
        match kind {
            Kind::Counter => {
                let counter =
                    IntCounter::new(format!("seawall_{name}_total"), *help).expect("names are plain");
                counter.inc_by(*value);
                add(&registry, counter);
            }
            Kind::Gauge => add(&registry, gauge(name, help, *value)),
        }
    }
    let kinds = labelled_counter("notices", "Notices by kind", "kind");
    for (kind, count) in notices {
        kinds.with_label_values(&[kind]).inc_by(*count);
    }
    add(&registry, kinds);
    own(&registry, report);
    peers(&registry, report);
    let mut page = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut page).expect("a vector takes everything");
    String::from_utf8(page).expect("the text format is UTF-8")
}

fn own(registry: &Registry, report: &Report) {
    let role = labelled_gauge("role", "1 for what the replica is", &["role"]);
    role.with_label_values(&[report.role.as_str()]).set(1);
    add(registry, role);
    let frontiers = labelled_gauge("frontier", "The replica's own frontiers, as LSNs", &["frontier"]);
    let f = &report.frontiers;
    for (name, lsn) in [
        ("start", f.start),
        ("end", f.end),
        ("written", f.written),
        ("durable", f.durable),
        ("committed", f.committed),
        ("settled", f.settled),
        ("checkpoint", f.checkpoint),
    ] {
        frontiers.with_label_values(&[name]).set(clamped(lsn));
    }
    add(registry, frontiers);
    add(registry, gauge("log_used_bytes", "Bytes of the log ring in use", report.log.used_bytes));
    add(registry, gauge("log_bytes", "Size of the log ring", report.log.bytes));
    add(registry, gauge("index_bytes", "Memory that the index of the log takes", report.index_bytes as u64));
    add(registry, gauge("requests", "Requests admitted and not yet completed", report.requests as u64));
    add(
        registry,
        gauge("base_complete", "1 if the replica's copy is whole", u64::from(report.base_complete)),
    );
    let quorum = &report.quorum;
    add(
        registry,
        gauge("quorum", "1 if the replica has part in a volume that takes writes", quorum.has.into()),
    );
    add(
        registry,
        real_gauge(
            "quorum_missing_seconds",
            "For how long it has had none",
            quorum.missing_seconds.unwrap_or_default(),
        ),
    );
    let label = &["replica", "owner"];
    let help = "For how many seconds more somebody works on a replica; no series where nobody does";
    let maintenance = real_gauges("maintenance_seconds", help, label);
    for lease in &report.maintenance {
        maintenance.with_label_values(&[&lease.replica, &lease.owner]).set(lease.left_seconds);
    }
    add(registry, maintenance);
    if let Some(set) = &report.in_sync_set {
        let help = "Voters that a write waits for under commit rule all";
        add(registry, gauge("in_sync_set", help, set.members.len() as u64));
        add(registry, gauge("in_sync_set_dropped", "Voters that it does not", set.dropped.len() as u64));
    }
    if let Some(risk) = &report.risk {
        let alone = "Promised and on no other copy's stable storage";
        add(registry, gauge("at_risk_alone_bytes", alone, risk.alone.bytes));
        add(registry, real_gauge("at_risk_alone_seconds", alone, risk.alone.seconds));
        let volatile = "Promised and not on stable storage of a commit quorum";
        add(registry, gauge("at_risk_volatile_bytes", volatile, risk.volatile.bytes));
        add(registry, real_gauge("at_risk_volatile_seconds", volatile, risk.volatile.seconds));
        add(registry, gauge("copies", "Voting copies that hold everything promised", risk.copies as u64));
        add(registry, gauge("copies_wanted", "Voting copies there should be", risk.copies_wanted as u64));
    }
}

fn peers(registry: &Registry, report: &Report) {
    let label = &["peer"];
    let states =
        labelled_gauge("peer_state", "1 for the state of the peer's session", &["peer", "state", "rule"]);
    let counts = labelled_gauge("peer_counts", "1 if the peer's durable frontier counts for commit", label);
    let durable = labelled_gauge("peer_durable_lsn", "The peer's durable frontier", label);
    let lag = labelled_gauge("peer_lag_bytes", "Bytes that the peer lacks", label);
    let flight =
        labelled_gauge("peer_in_flight_bytes", "Bytes sent to the peer and not yet acknowledged", label);
    let behind =
        labelled_gauge("peer_at_risk_bytes", "Promised and not known to be durable at the peer", label);
    let age = real_gauges("peer_at_risk_seconds", "How long the oldest of that has been promised", label);
    let done = labelled_gauge(
        "recovery_done",
        "Units of the peer's recovery that are done",
        &["peer", "phase", "unit"],
    );
    let total =
        labelled_gauge("recovery_total", "Units of the peer's recovery in all", &["peer", "phase", "unit"]);
    let rate = labelled_gauge("recovery_per_second", "Units of the peer's recovery per second", label);
    let eta = real_gauges("recovery_eta_seconds", "Seconds until the peer is recovered", label);
    for peer in &report.peers {
        let name = peer.replica.as_str();
        states.with_label_values(&[name, &peer.state, &peer.rule]).set(1);
        counts.with_label_values(&[name]).set(i64::from(peer.counts));
        durable.with_label_values(&[name]).set(clamped(peer.durable));
        lag.with_label_values(&[name]).set(clamped(peer.lag_bytes));
        flight.with_label_values(&[name]).set(clamped(peer.in_flight_bytes));
        behind.with_label_values(&[name]).set(clamped(peer.behind.bytes));
        age.with_label_values(&[name]).set(peer.behind.seconds);
        if let Some(p) = &peer.progress {
            let labels = &[name, p.phase.as_str(), p.unit.as_str()];
            done.with_label_values(labels).set(clamped(p.done));
            total.with_label_values(labels).set(clamped(p.total));
            rate.with_label_values(&[name]).set(clamped(p.per_second));
            let seconds = p.eta_seconds.and_then(|seconds| u32::try_from(seconds).ok());
            eta.with_label_values(&[name]).set(seconds.map_or(f64::INFINITY, f64::from));
        }
    }
    add(registry, eta);
    add(registry, age);
    for family in [states, counts, durable, lag, flight, behind, done, total, rate] {
        add(registry, family);
    }
}

fn add(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect("names are unique");
}

fn gauge(name: &str, help: &str, value: u64) -> IntGauge {
    let gauge = IntGauge::new(format!("seawall_{name}"), help).expect("names are plain");
    gauge.set(clamped(value));
    gauge
}

fn real_gauge(name: &str, help: &str, value: f64) -> Gauge {
    let gauge = Gauge::new(format!("seawall_{name}"), help).expect("names are plain");
    gauge.set(value);
    gauge
}

fn real_gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(format!("seawall_{name}"), help), labels).expect("names are plain")
}

fn labelled_gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(format!("seawall_{name}"), help), labels).expect("names are plain")
}

fn labelled_counter(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(format!("seawall_{name}_total"), help), &[label]).expect("names are plain")
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
