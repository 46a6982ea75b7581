//! What the disks say together: pure judgement, which refuses what it can't tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seawall_recovery::lineage;
use seawall_wal::configuration::{Configuration, Suffrage};
use seawall_wal::names::{ReplicaId, VolumeId};
use seawall_wal::superblock::Terms;

use super::evidence::Evidence;
use crate::fault::{Exit, Fault};

/// A member of the volume, as it is adopted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) id: ReplicaId,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) suffrage: Suffrage,
    /// Whether its disk was given.
    pub(super) found: bool,
}

/// The volume, as it is adopted.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) volume: VolumeId,
    pub(super) terms: Terms,
    /// The best evidence first: whole copies before others, those that forgot what they promised last, then by the epoch
    /// of the last record and the end of the log, as an election ranks them.
    pub(super) disks: Vec<Evidence>,
    pub(super) members: Vec<Member>,
    /// What is worth knowing, and refuses nothing.
    pub(super) notes: Vec<String>,
}

impl Finding {
    /// The member of that identity.
    pub(super) fn member(&self, id: ReplicaId) -> &Member {
        self.members.iter().find(|member| member.id == id).expect("every disk is a member's")
    }

    /// How many voters there are whose copy is whole, and how many it takes to elect a primary.
    pub(super) fn votes(&self) -> (usize, usize) {
        let voters = self.members.iter().filter(|member| member.votes()).count();
        let whole =
            self.disks.iter().filter(|disk| disk.is_whole() && self.member(disk.id()).votes()).count();
        (whole, voters / 2 + 1)
    }

    /// Members whose disks were not given.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.found)
    }
}

impl Member {
    pub(super) fn votes(&self) -> bool {
        self.suffrage.votes()
    }
}

impl Evidence {
    pub(super) fn id(&self) -> ReplicaId {
        self.superblock.replica
    }
}

/// Judge. `addresses` are an operator's word on where replicas listen from now on, by name; `name` on what the
/// volume is called.
///
/// # Errors
/// If the disks are of several volumes, two are of one replica, or they contradict each other.
pub(super) fn judge(
    mut disks: Vec<Evidence>,
    addresses: &BTreeMap<String, String>,
    name: Option<&str>,
) -> Result<Finding, Fault> {
    // What a disk that was made anew holds came from another copy, and it can't vouch for what it promised before.
    let word = |disk: &Evidence| (!disk.is_whole(), disk.superblock.promises_lost);
    let rank = |disk: &Evidence| (word(disk), std::cmp::Reverse((disk.tail_epoch, disk.end)));
    disks.sort_by_key(rank);
    let Some(best) = disks.first() else {
        return Err(Fault::new(Exit::NotFormatted, "there is no main device of a replica among these"));
    };
    let volume = best.superblock.volume;
    let mut terms = best.superblock.terms.clone();
    check_volume(&disks)?;
    check_twins(&disks)?;
    let mut notes = Vec::new();
    check_histories(&disks, &mut notes)?;
    let newest = newest_configuration(&disks)?;
    let newest = newest.clone();
    let members = members(&newest, &disks, addresses, &mut notes)?;
    // Of logs that end alike, those that writes waited for come first.
    disks.sort_by_key(|disk| (rank(disk), newest.lags(disk.id())));
    for disk in disks.iter().filter(|disk| newest.lags(disk.id())) {
        notes.push(format!(
            "{}: writes had stopped waiting for this copy by configuration {}; it may lack what clients were promised \
             since, which the copies of the in-sync set hold",
            disk.path.display(),
            newest.number
        ));
    }
    note_terms(&disks, &mut notes);
    if let Some(name) = name {
        name.clone_into(&mut terms.name);
    }
    if terms.name.is_empty() {
        return Err(Fault::new(Exit::Ambiguous, "the disks do not say what the volume is called")
            .expected("--name NAME, by which clients ask for it")
            .next("repeat the command with the name"));
    }
    for disk in &disks {
        if let Some(damage) = &disk.damage {
            notes.push(format!(
                "{}: its log is damaged, it will refuse to start: {damage}. Wipe it, so that it is rebuilt, once a \
                 majority of the others serves",
                disk.path.display()
            ));
        }
        if disk.superblock.promises_lost {
            notes.push(format!(
                "{}: it was made anew under an old identity and does not know what it promised before: it votes on \
                 nothing until a primary has rebuilt it and a majority of the others has answered",
                disk.path.display()
            ));
        }
    }
    Ok(Finding { volume, terms, disks, members, notes })
}

fn paths<'d>(disks: impl Iterator<Item = (&'d Path, String)>) -> String {
    disks.map(|(path, what)| format!("{} is {what}", path.display())).collect::<Vec<_>>().join("; ")
}

fn check_volume(disks: &[Evidence]) -> Result<(), Fault> {
    let of = |disk: &Evidence| (disk.superblock.volume, disk.superblock.geometry.volume_blocks);
    if disks.iter().all(|disk| of(disk) == of(&disks[0])) {
        return Ok(());
    }
    let what = |disk: &Evidence| {
        format!("of volume {}, {} bytes", disk.superblock.volume, disk.superblock.geometry.home_bytes())
    };
    Err(Fault::new(Exit::OtherVolume, "these are disks of more than one volume")
        .found(paths(disks.iter().map(|disk| (&*disk.path, what(disk)))))
        .expected("the disks of one volume")
        .next("adopt one volume at a time"))
}

fn check_twins(disks: &[Evidence]) -> Result<(), Fault> {
    for (at, disk) in disks.iter().enumerate() {
        let twins: Vec<&Evidence> = disks[at..].iter().filter(|other| other.id() == disk.id()).collect();
        if twins.len() == 1 {
            continue;
        }
        let age = |disk: &Evidence| {
            let s = &disk.superblock;
            (s.boots, s.sequence, disk.end)
        };
        let newest = twins.iter().max_by_key(|disk| age(disk)).expect("two or more");
        let what = |disk: &Evidence| {
            let (boots, sequence, end) = age(disk);
            format!(
                "in its start {boots}, superblock {sequence}, log to {end}, promised {}",
                disk.superblock.promised
            )
        };
        let same = twins.iter().all(|disk| age(disk) == age(newest));
        let hint = if same {
            "they are equally old".to_owned()
        } else {
            format!("{} has the newer one", newest.path.display())
        };
        return Err(Fault::new(Exit::Ambiguous, format!("two disks are replica {}", disk.id()))
            .found(paths(twins.iter().map(|disk| (&*disk.path, what(disk)))))
            .expected(
                "one disk of each replica: an older copy has forgotten promises and acknowledged writes",
            )
            .next(format!("leave out the one that is a copy; {hint}")));
    }
    Ok(())
}

/// Two histories that parted after both were settled are two volumes of one name. A tail that nothing relied on is
/// cut when its replica comes back, as after any failover.
fn check_histories(disks: &[Evidence], notes: &mut Vec<String>) -> Result<(), Fault> {
    // A half rebuilt copy's log is that of its source, which is what counts.
    let told: Vec<&Evidence> = disks.iter().filter(|disk| disk.is_whole() || disk.damage.is_some()).collect();
    for (at, one) in told.iter().enumerate() {
        for other in &told[at + 1..] {
            let fork = lineage::fork(&one.lineage, one.end, &other.lineage, other.end);
            let parted = fork < one.end && fork < other.end;
            let settled = |disk: &Evidence| disk.superblock.settled > fork;
            let contradict = lineage::contradict(&one.lineage, &other.lineage);
            let (above, below) =
                if one.tail_epoch.era() < other.tail_epoch.era() { (other, one) } else { (one, other) };
            if parted && !contradict && below.tail_epoch.era() < above.tail_epoch.era() {
                notes.push(format!(
                    "{}: a promotion was forced without it ({}, epoch {}): it is on the losing branch from {fork} on, and                      follows when it comes back; what only it has is kept beside its disk",
                    below.path.display(),
                    above.path.display(),
                    above.tail_epoch,
                ));
                continue;
            }
            if contradict || (parted && settled(one) && settled(other)) {
                let what = |disk: &Evidence| {
                    format!(
                        "settled to {}, ends at {} in epoch {}",
                        disk.superblock.settled, disk.end, disk.tail_epoch
                    )
                };
                let found = paths([one, other].into_iter().map(|disk| (&*disk.path, what(disk))));
                return Err(Fault::new(
                    Exit::Ambiguous,
                    format!("two histories parted at {fork}, and both were relied on"),
                )
                .found(found)
                .expected("one history: all below the fork is the same on both, nothing above it is")
                .next(format!(
                    "decide which one is the volume, keep the other disk as it is, and leave it out; to compare: \
                     seawall inspect log --records {}",
                    other.path.display()
                )));
            }
            if parted {
                let loser = if settled(other) { one } else { other };
                notes.push(format!(
                    "{}: its log leaves the history of {} at {fork}; that tail was never settled, and is cut when it \
                     comes back",
                    loser.path.display(),
                    if settled(other) { other } else { one }.path.display(),
                ));
            }
        }
    }
    Ok(())
}

/// The configuration of the highest number among those that the disks of the highest era know to be settled: whoever has a lower one was
/// away when the members changed. Those of one number are the same, or of two volumes that began alike.
fn newest_configuration(disks: &[Evidence]) -> Result<&Configuration, Fault> {
    let of = |disk: &Evidence| (disk.tail_epoch.era(), disk.superblock.configuration.number);
    let list = |disk: &Evidence| -> BTreeSet<(ReplicaId, Suffrage)> {
        disk.superblock.configuration.members.iter().map(|member| (member.replica, member.suffrage)).collect()
    };
    let show = |disk: &Evidence| {
        let members = disk.superblock.configuration.members.iter();
        let names = members.map(|m| match m.suffrage {
            Suffrage::Voter => m.name.clone(),
            Suffrage::Observer | Suffrage::Learner | Suffrage::Lagging => {
                format!("{} ({})", m.name, m.suffrage.name())
            }
        });
        format!("a disk of {}, configuration {}", names.collect::<Vec<_>>().join(", "), of(disk).1)
    };
    let newest = disks.iter().max_by_key(|disk| of(disk)).expect("there is a disk");
    let configuration = &newest.superblock.configuration;
    if let Some(disk) = disks.iter().find(|disk| configuration.member(disk.id()).is_none()) {
        return Err(Fault::new(
            Exit::Ambiguous,
            format!("{} is not among the volume's members", disk.path.display()),
        )
        .found(format!("replica {}; {} is {}", disk.id(), newest.path.display(), show(newest)))
        .expected("disks of members")
        .next("leave it out; to have it back, add it as a new replica once the volume serves"));
    }
    let same = |disk: &&Evidence| of(disk) == of(newest);
    if disks.iter().filter(same).all(|disk| list(disk) == list(newest)) {
        return Ok(configuration);
    }
    Err(Fault::new(Exit::Ambiguous, "the disks do not agree on who the members are")
        .found(paths(disks.iter().filter(same).map(|disk| (&*disk.path, show(disk)))))
        .expected("the same members and voters on every disk that knows the same configuration")
        .next("decide which of them is the volume, and leave out the others"))
}

/// Each replica knows best where it listens itself; of one whose disk is not here, the others must agree.
fn members(
    newest: &Configuration,
    disks: &[Evidence],
    addresses: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<Vec<Member>, Fault> {
    let mut members = Vec::new();
    for listed in &newest.members {
        let id = listed.replica;
        let own = disks.iter().find(|disk| disk.id() == id);
        let found = own.is_some();
        let said_by = |disk: &Evidence| {
            let entry = disk.superblock.configuration.member(id);
            entry.map(|member| (member.name.clone(), member.address.clone())).unwrap_or_default()
        };
        // Whoever was away when the members changed has nothing to say of them.
        let told = disks.iter().filter(|disk| disk.superblock.configuration.number == newest.number);
        let said: BTreeSet<String> = told.map(|disk| said_by(disk).1).collect();
        let own = own.filter(|disk| disk.superblock.configuration.number == newest.number);
        let (name, mut address) = own.map_or_else(|| (listed.name.clone(), listed.address.clone()), said_by);
        if let Some(given) = addresses.get(&name) {
            address.clone_from(given);
        } else if own.is_none() && said.len() > 1 {
            let all = said.into_iter().collect::<Vec<_>>().join(" or ");
            return Err(Fault::new(Exit::Ambiguous, format!("it is not clear where replica {name} listens"))
                .found(all)
                .expected("one address: its own disk is not here, and the others differ")
                .next(format!("add --address {name}=HOST:PORT")));
        } else if said.len() > 1 {
            notes.push(format!(
                "replica {name} listens at {address} by its own disk; others had heard otherwise"
            ));
        }
        members.push(Member { id, name, address, suffrage: listed.suffrage, found });
    }
    if let Some((name, _)) = addresses.iter().find(|(name, _)| members.iter().all(|m| m.name != **name)) {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        return Err(Fault::new(Exit::Ambiguous, format!("no replica is called {name}"))
            .expected(format!("one of {}", names.join(", ")))
            .next("correct --address"));
    }
    Ok(members)
}

fn note_terms(disks: &[Evidence], notes: &mut Vec<String>) {
    let best = &disks[0].superblock;
    for disk in &disks[1..] {
        let s = &disk.superblock;
        if s.terms != best.terms || s.ack_durable != best.ack_durable {
            notes.push(format!(
                "{}: it was told other terms of the volume ({:?}) than the best disk, whose terms are taken",
                disk.path.display(),
                s.terms
            ));
        }
    }
    let lossy = disks.iter().filter(|disk| disk.superblock.lossy);
    notes.extend(lossy.map(|disk| {
        format!(
            "{}: it may have lost what it had acknowledged without flushing; it counts only as the contract of \
             `written` says, until it was refilled",
            disk.path.display()
        )
    }));
}

#[cfg(test)]
mod tests;
