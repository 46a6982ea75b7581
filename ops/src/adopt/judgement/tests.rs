use seawall_wal::geometry::Geometry;
use seawall_wal::names::{Epoch, LineageRow, Lsn};
use seawall_wal::superblock::{BaseState, Member as Listed, Superblock};

use super::*;

const VOLUME: VolumeId = VolumeId([7; 16]);

fn listed(id: u64, suffrage: Suffrage) -> Listed {
    let name = ["a", "b", "c", "d"][usize::try_from(id).unwrap() - 1].to_owned();
    Listed { replica: ReplicaId(id), address: format!("{name}.example:7001"), name, suffrage }
}

/// A disk whose log has these reigns (counter, first record), ends at `end` and is settled to `settled`.
fn disk(id: u64, reigns: &[(u64, u64)], end: u64, settled: u64) -> Evidence {
    let geometry = Geometry { volume_blocks: 100, log_bytes: 4 << 20, unit_bytes: 512, separate_log: false };
    let members = (1..=3).map(|id| listed(id, Suffrage::Voter)).collect();
    let mut superblock = Superblock::newborn(VOLUME, ReplicaId(id), geometry, members);
    superblock.terms.name = "vol".into();
    superblock.settled = Lsn(settled);
    let epoch = |counter| Epoch { counter, replica: ReplicaId(1) };
    let row = |(counter, first): &(u64, u64)| LineageRow { epoch: epoch(*counter), first: Lsn(*first) };
    let lineage: Vec<LineageRow> = reigns.iter().map(row).collect();
    Evidence {
        path: format!("/disks/{id}").into(),
        log: None,
        superblock,
        end: Lsn(end),
        tail_epoch: lineage.last().map_or(Epoch::ZERO, |row| row.epoch),
        lineage,
        damage: None,
    }
}

fn adopt(disks: Vec<Evidence>) -> Result<Finding, Fault> {
    judge(disks, &BTreeMap::new(), None)
}

/// What is refused says all of these.
fn check_refused(disks: Vec<Evidence>, said: &[&str]) {
    let fault = adopt(disks).expect_err(said[0]).to_string();
    for part in said {
        assert!(fault.contains(part), "{part:?} is not in {fault}");
    }
}

#[test]
fn a_newer_epoch_is_better_evidence_than_a_longer_log_and_a_whole_copy_than_either() {
    let mut half = disk(3, &[(1, 0), (9, 50)], 90, 50);
    half.superblock.base = BaseState::Blank;
    let finding = adopt(vec![half, disk(2, &[(1, 0)], 70, 40), disk(1, &[(1, 0), (2, 50)], 60, 40)]).unwrap();
    let order: Vec<u64> = finding.disks.iter().map(|disk| disk.id().0).collect();
    assert_eq!(order, [1, 2, 3]);
    assert_eq!(finding.votes(), (2, 2));
}

#[test]
fn a_disk_that_was_made_anew_is_the_last_evidence_and_no_vote_and_that_is_told() {
    let mut half = disk(2, &[(1, 0)], 30, 20);
    half.superblock.base = BaseState::Blank;
    let mut anew = disk(3, &[(1, 0), (9, 50)], 90, 50);
    anew.superblock.base = BaseState::Blank;
    anew.superblock.promises_lost = true;
    let finding = adopt(vec![anew, half, disk(1, &[(1, 0)], 60, 40)]).unwrap();
    let order: Vec<u64> = finding.disks.iter().map(|disk| disk.id().0).collect();
    assert_eq!((order, finding.votes()), (vec![1, 2, 3], (1, 2)));
    assert_eq!(finding.disks[2].copy(), "forgetful");
    assert_eq!(finding.notes.len(), 1, "{:?}", finding.notes);
    assert!(finding.notes[0].starts_with("/disks/3: it was made anew"), "{:?}", finding.notes);
}

#[test]
fn a_tail_that_was_never_settled_is_no_ambiguity_but_is_told() {
    let finding = adopt(vec![disk(1, &[(1, 0), (2, 50)], 60, 55), disk(2, &[(1, 0)], 70, 40)]).unwrap();
    assert_eq!(finding.notes.len(), 1, "{:?}", finding.notes);
    assert!(finding.notes[0].starts_with("/disks/2: its log leaves the history of /disks/1 at 50"));
}

#[test]
fn a_copy_that_is_behind_has_not_left_the_history() {
    let finding = adopt(vec![disk(1, &[(1, 0), (2, 50)], 60, 55), disk(2, &[(1, 0)], 30, 20)]).unwrap();
    assert!(finding.notes.is_empty(), "{:?}", finding.notes);
}

#[test]
fn histories_that_parted_below_what_both_settled_are_refused_with_the_fork() {
    check_refused(
        vec![disk(1, &[(1, 0), (2, 50)], 60, 55), disk(2, &[(1, 0), (3, 45)], 70, 60)],
        &["error[ambiguous]: two histories parted at 45", "/disks/2", "/disks/1", "leave it out"],
    );
    let contradiction = vec![disk(1, &[(1, 0), (2, 50)], 60, 0), disk(2, &[(1, 0), (2, 45)], 70, 0)];
    check_refused(contradiction, &["two histories parted"]);
}

#[test]
fn two_disks_of_one_replica_are_refused_and_the_newer_one_is_named() {
    let mut newer = disk(1, &[(1, 0)], 50, 40);
    newer.superblock.boots = 3;
    newer.path = "/disks/new".into();
    check_refused(
        vec![disk(1, &[(1, 0)], 60, 40), newer],
        &["two disks are replica r-0000000000000001", "leave out", "/disks/new has the newer one"],
    );
}

#[test]
fn disks_of_two_volumes_are_refused() {
    let mut other = disk(2, &[(1, 0)], 60, 40);
    other.superblock.volume = VolumeId([8; 16]);
    check_refused(
        vec![disk(1, &[(1, 0)], 60, 40), other],
        &["error[other-volume]", "/disks/2 is of volume 0808"],
    );
}

#[test]
fn members_on_which_the_disks_do_not_agree_are_refused() {
    let mut more = disk(1, &[(1, 0)], 60, 40);
    more.superblock.configuration.members.push(listed(4, Suffrage::Learner));
    check_refused(
        vec![more, disk(2, &[(1, 0)], 60, 40)],
        &["who the members are", "a disk of a, b, c, d (learner)"],
    );
    let mut foreign = disk(1, &[(1, 0)], 60, 40);
    foreign.superblock.configuration.members.remove(0);
    check_refused(vec![foreign], &["/disks/1 is not among the volume's members"]);
}

#[test]
fn a_disk_that_was_away_when_the_members_changed_has_nothing_to_say_of_them() {
    let mut newer = disk(1, &[(1, 0)], 60, 40);
    newer.superblock.configuration.number = 2;
    newer.superblock.configuration.members.push(listed(4, Suffrage::Voter));
    newer.superblock.configuration.members[1].address = "moved.example:7001".into();
    let finding = adopt(vec![newer.clone(), disk(2, &[(1, 0)], 90, 40)]).unwrap();
    assert_eq!(finding.members.len(), 4);
    assert_eq!(finding.members[1].address, "moved.example:7001", "what was changed since it was told");
    assert_eq!(finding.votes(), (2, 3));
    newer.superblock.configuration.members.remove(1);
    check_refused(vec![newer, disk(2, &[(1, 0)], 90, 40)], &["/disks/2 is not among the volume's members"]);
}

#[test]
fn a_copy_that_writes_did_not_wait_for_comes_after_one_that_they_waited_for_and_is_told_of() {
    let (mut one, mut other) = (disk(2, &[(1, 0)], 60, 40), disk(1, &[(1, 0)], 60, 40));
    for disk in [&mut one, &mut other] {
        disk.superblock.configuration.number = 1;
        disk.superblock.configuration.members[1].suffrage = Suffrage::Lagging;
    }
    let finding = adopt(vec![one, other.clone()]).unwrap();
    let order: Vec<u64> = finding.disks.iter().map(|disk| disk.id().0).collect();
    assert_eq!(order, [1, 2]);
    assert_eq!(finding.votes(), (2, 2), "it votes all the same");
    assert!(finding.notes.iter().any(|note| note.starts_with("/disks/2: writes had stopped waiting")));
    // It was dropped after its own superblock was written, and does not know.
    let ignorant = disk(2, &[(1, 0)], 50, 40);
    let finding = adopt(vec![ignorant, other]).unwrap();
    assert_eq!(finding.disks[0].id().0, 1);
    assert!(finding.notes.iter().any(|note| note.contains("/disks/2")), "{:?}", finding.notes);
}

#[test]
fn a_replica_knows_best_where_it_listens_and_of_one_that_is_not_here_the_others_must_agree() {
    let mut moved = disk(1, &[(1, 0)], 60, 40);
    moved.superblock.configuration.members[0].address = "new.example:7001".into();
    let finding = adopt(vec![disk(2, &[(1, 0)], 70, 40), moved.clone()]).unwrap();
    assert_eq!(finding.members[0].address, "new.example:7001");
    assert_eq!(finding.notes.len(), 1, "{:?}", finding.notes);
    moved.superblock.configuration.members[2].address = "elsewhere:7001".into();
    let disks = vec![disk(2, &[(1, 0)], 70, 40), moved];
    check_refused(
        disks.clone(),
        &["where replica c listens", "c.example:7001 or elsewhere:7001", "--address c="],
    );
    let given = BTreeMap::from([("c".to_owned(), "c2.example:7001".to_owned())]);
    let finding = judge(disks.clone(), &given, None).unwrap();
    assert_eq!(finding.members[2].address, "c2.example:7001");
    assert!(!finding.members[2].found);
    let wrong = ["c", "x"].map(|name| (name.to_owned(), format!("{name}.example:7002"))).into();
    assert!(judge(disks, &wrong, None).expect_err("x").to_string().contains("no replica is called x"));
}

#[test]
fn a_volume_without_a_name_needs_one() {
    let mut nameless = disk(1, &[], 0, 0);
    nameless.superblock.terms.name.clear();
    check_refused(vec![nameless.clone()], &["--name NAME"]);
    let finding = judge(vec![nameless], &BTreeMap::new(), Some("v")).unwrap();
    assert_eq!(finding.terms.name, "v");
    assert_eq!(finding.votes(), (1, 2));
}
