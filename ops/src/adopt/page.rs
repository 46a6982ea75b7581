//! What was found, for people, for programs, and as configuration files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use seawall_wal::superblock::{CommitRule, Failover};
use serde_json::{Value, json};

use super::evidence::Evidence;
use super::judgement::Finding;
use crate::fault::{Exit, Fault};
use crate::quantity::show_size;

/// For people.
pub(super) fn text(finding: &Finding, written: &[PathBuf]) -> String {
    let best = &finding.disks[0].superblock;
    let mut out = format!(
        "volume {} ({}), {}, commit {}, ack {}\n\nfound, the best evidence first:\n",
        finding.terms.name,
        finding.volume,
        show_size(best.geometry.home_bytes()),
        commit(finding),
        ack(finding)
    );
    for disk in &finding.disks {
        let member = finding.member(disk.id());
        let _ = writeln!(
            out,
            "  {:<8} {:<12} log to {} in epoch {}, settled to {}, promised {}  {}",
            member.name,
            disk.copy(),
            disk.end,
            disk.tail_epoch,
            disk.superblock.settled,
            disk.superblock.promised,
            disk.path.display()
        );
    }
    out += "\nmembers:\n";
    for member in &finding.members {
        let vote = member.suffrage.name();
        let found = if member.found { "" } else { ", its disk is not here" };
        let _ = writeln!(out, "  {:<8} {} at {}, {vote}{found}", member.name, member.id, member.address);
    }
    for note in &finding.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    if !written.is_empty() {
        out += "\nwritten:\n";
        for path in written {
            let _ = writeln!(out, "  {}", path.display());
        }
    }
    out += "\nnext:\n";
    for step in next(finding, written) {
        let _ = writeln!(out, "  * {step}");
    }
    out
}

/// For programs.
pub(super) fn json(finding: &Finding, written: &[PathBuf]) -> String {
    let (whole, needed) = finding.votes();
    let disk = |disk: &Evidence| {
        let s = &disk.superblock;
        json!({
            "path": disk.path,
            "log": disk.log,
            "replica": disk.id().to_string(),
            "name": finding.member(disk.id()).name,
            "copy": disk.copy(),
            "end": disk.end.0,
            "epoch": disk.tail_epoch.to_string(),
            "settled": s.settled.0,
            "checkpoint": s.checkpoint.0,
            "promised": s.promised.to_string(),
            "lineage": disk.lineage.iter().map(|row| json!({ "epoch": row.epoch.to_string(), "from": row.first.0 }))
                .collect::<Vec<Value>>(),
            "clean": s.clean.is_some(),
            "starts": s.boots,
            "damage": disk.damage,
        })
    };
    let members = finding.members.iter().map(|member| {
        json!({
            "name": member.name,
            "replica": member.id.to_string(),
            "address": member.address,
            "suffrage": member.suffrage.name(),
            "found": member.found,
        })
    });
    let found = json!({
        "volume": finding.volume.to_string(),
        "name": finding.terms.name,
        "bytes": finding.disks[0].superblock.geometry.home_bytes(),
        "commit": commit(finding),
        "ack": ack(finding),
        "disks": finding.disks.iter().map(disk).collect::<Vec<Value>>(),
        "members": members.collect::<Vec<Value>>(),
        "whole_voters": whole,
        "needed_voters": needed,
        "notes": finding.notes,
        "written": written,
        "next": next(finding, written),
    });
    format!("{found}\n")
}

fn next(finding: &Finding, written: &[PathBuf]) -> Vec<String> {
    let mut steps = Vec::new();
    let config = match written.first() {
        Some(path) => path.clone(),
        None => {
            steps.push(
                "repeat this with --out DIR, to write a configuration for each replica found".to_owned(),
            );
            PathBuf::from(format!("DIR/{}", file_name(finding, &finding.disks[0])))
        }
    };
    let keys = config.parent().unwrap_or(Path::new("")).join("keys");
    steps.push(format!(
        "make new keys: seawall pki init {0} && seawall pki issue {0} --config {1}",
        keys.display(),
        config.display()
    ));
    steps.push(
        "check what no disk tells: where clients are served ([[nbd]]), admin sockets, [limits] other than the lease"
            .to_owned(),
    );
    for member in finding.missing() {
        steps.push(format!(
            "replica {} was not found: if it still lives, give it a configuration with the same [volume] and \
             [[replica]] entries; if its disk is lost, never format another one under its identity",
            member.name
        ));
    }
    let (whole, needed) = finding.votes();
    if whole < needed {
        steps.push(format!(
            "{whole} of the {needed} voters with a whole copy that a primary needs are here: find another disk. Until \
             then the replicas start, and serve nobody"
        ));
    }
    steps.push("start each: seawall serve --config FILE".to_owned());
    steps
}

/// The configuration's file name of one replica.
pub(super) fn file_name(finding: &Finding, disk: &Evidence) -> String {
    let name = &finding.member(disk.id()).name;
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if plain { format!("{name}.toml") } else { format!("{}.toml", disk.id()) }
}

/// The configuration of one replica. Paths to sockets and keys are relative to where it is written.
///
/// # Errors
/// If a path can't be written down.
pub(super) fn config(finding: &Finding, disk: &Evidence) -> Result<String, Fault> {
    let s = &disk.superblock;
    let own = finding.member(disk.id());
    let stem = file_name(finding, disk).trim_end_matches(".toml").to_owned();
    let first = finding.disks.iter().map(|disk| finding.member(disk.id())).find(|member| member.votes());
    let first = first.or_else(|| finding.members.iter().find(|member| member.votes())).unwrap_or(own);
    let failover = match finding.terms.failover {
        Failover::Automatic => "automatic",
        Failover::Manual => "manual",
    };
    let mut out = format!(
        "# Made by `seawall adopt` from what the disks say. To be checked: [[nbd]], admin, [limits].\n\n\
         [node]\nreplica = {}\nhome = {}\n",
        quoted(&own.name),
        quoted_path(&disk.path)?
    );
    if let Some(log) = &disk.log {
        let _ = writeln!(out, "log = {}", quoted_path(log)?);
    }
    let _ = write!(
        out,
        "log_size = \"{}B\"\nadmin = \"{stem}.admin\"\n\n[[nbd]]\nlisten = \"unix:{stem}.nbd\"\n\n\
         [transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/{stem}.pem\"\nkey = \"keys/{stem}.key\"\n\n\
         [volume]\nname = {}\nid = \"{}\"\nsize = \"{}B\"\ncommit = \"{}\"\nack = \"{}\"\nfailover = \"{failover}\"\n\
         first_primary = {}\n",
        s.geometry.log_bytes,
        quoted(&finding.terms.name),
        finding.volume,
        s.geometry.home_bytes(),
        commit(finding),
        ack(finding),
        quoted(&first.name)
    );
    for member in &finding.members {
        let _ = write!(
            out,
            "\n[[replica]]\nname = {}\nid = \"{}\"\naddress = {}\n",
            quoted(&member.name),
            member.id,
            quoted(&member.address)
        );
        if !member.votes() {
            out += "voter = false\n";
        }
    }
    if finding.terms.lease_ms > 0 {
        let _ = write!(out, "\n[limits]\nlease = \"{}ms\"\n", finding.terms.lease_ms);
    }
    Ok(out)
}

/// As a basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn quoted_path(path: &Path) -> Result<String, Fault> {
    path.to_str().map(quoted).ok_or_else(|| {
        Fault::new(Exit::Config, format!("the path {} can't stand in a configuration", path.display()))
            .expected("UTF-8")
            .next("give the disk by another path, for example a link to it")
    })
}

fn commit(finding: &Finding) -> &'static str {
    match finding.terms.commit {
        CommitRule::Majority => "majority",
        CommitRule::All => "all",
        CommitRule::One => "one",
    }
}

fn ack(finding: &Finding) -> &'static str {
    if finding.disks[0].superblock.ack_durable { "durable" } else { "written" }
}
