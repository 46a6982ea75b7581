//! Every pair of superblock slots.

use seawall_wal::geometry::{Geometry, Slot};
use seawall_wal::names::{Epoch, Lsn, ReplicaId, VolumeId};
use seawall_wal::superblock::{Choice, ChoiceRule, SlotState, Superblock, Unreadable, choose};

fn superblock(sequence: u64) -> Box<Superblock> {
    let geometry = Geometry { volume_blocks: 100, log_bytes: 4 << 20, unit_bytes: 512, separate_log: false };
    let newborn = Superblock::newborn(VolumeId([7; 16]), ReplicaId(2), geometry, vec![]);
    Box::new(Superblock { sequence, ..newborn })
}

/// Every kind of thing that a slot may hold, as far as the choice can tell.
fn slots() -> Vec<SlotState> {
    let mut rival = superblock(4);
    rival.boots = 1;
    let mut stranger = superblock(5);
    stranger.volume = VolumeId([8; 16]);
    let mut sibling = superblock(5);
    sibling.replica = ReplicaId(3);
    let mut resized = superblock(5);
    resized.geometry.volume_blocks = 200;
    let present = [superblock(4), superblock(5), rival, stranger, sibling, resized].map(SlotState::Present);
    let mut slots = vec![SlotState::Empty, SlotState::Unreadable { why: Unreadable::Checksum }];
    slots.extend(present);
    slots
}

#[test]
fn every_pair_of_slots_has_one_rule_whichever_way_round() {
    use SlotState as S;
    let identity = |s: &Superblock| (s.volume, s.replica, s.geometry);
    let mut fired = std::collections::BTreeSet::new();
    for a in slots() {
        for b in slots() {
            let (rule, choice) = choose(a.clone(), b.clone());
            fired.insert(rule);
            assert_eq!(choose(b.clone(), a.clone()).0, rule, "{a:?} {b:?}");
            let expected = match (&a, &b) {
                (S::Empty, S::Empty) => ChoiceRule::NeverFormatted,
                (S::Present(a), S::Present(b)) if identity(a) != identity(b) => ChoiceRule::Strangers,
                (S::Present(a), S::Present(b)) if a == b => ChoiceRule::Twins,
                (S::Present(a), S::Present(b)) if a.sequence == b.sequence => ChoiceRule::Rivals,
                (S::Present(_), S::Present(_)) => ChoiceRule::Newest,
                (S::Present(_), _) | (_, S::Present(_)) => ChoiceRule::OnlyOne,
                _ => ChoiceRule::NoneReadable,
            };
            assert_eq!(rule, expected, "{a:?} {b:?}");
            match choice {
                Choice::Blank => {
                    assert!(a == S::Empty && b == S::Empty, "blank is what was never written, only")
                }
                Choice::Refuse => assert!(a != S::Empty || b != S::Empty),
                Choice::Use { superblock, rewrite } => {
                    let sequences =
                        [&a, &b].map(|s| if let S::Present(s) = s { Some(s.sequence) } else { None });
                    assert_eq!(Some(superblock.sequence), sequences.into_iter().max().flatten());
                    let lost = [Slot::A, Slot::B].into_iter().zip(sequences).find(|(_, s)| s.is_none());
                    assert_eq!(rewrite, lost.map(|(slot, _)| slot));
                }
            }
        }
    }
    assert_eq!(fired.len(), 7, "every rule fires for something: {fired:?}");
}

#[test]
fn the_largest_superblock_fits_its_slot() {
    use seawall_wal::configuration::{RETIRED_MAX, Suffrage};
    use seawall_wal::names::LineageRow;
    use seawall_wal::superblock::{LINEAGE_ROWS_MAX, MEMBER_TEXT_BYTES_MAX, MEMBERS_MAX, Member, SLOT_BYTES};
    let text = "n".repeat(MEMBER_TEXT_BYTES_MAX);
    let name = text.clone();
    let member = |id| Member {
        replica: ReplicaId(id),
        name: text.clone(),
        address: text.clone(),
        suffrage: Suffrage::Voter,
    };
    let mut largest = superblock(4);
    largest.configuration.members = (0..MEMBERS_MAX as u64).map(member).collect();
    largest.configuration.retired = (0..RETIRED_MAX as u64).map(ReplicaId).collect();
    largest.lineage = vec![LineageRow { epoch: Epoch::ZERO, first: Lsn(0) }; LINEAGE_ROWS_MAX];
    largest.terms.name = name;
    let bytes = largest.encode();
    assert!(bytes.len() <= SLOT_BYTES as usize);
    assert_eq!(Superblock::decode(&bytes), SlotState::Present(largest));
}
