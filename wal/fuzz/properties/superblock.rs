//! Both copies of a superblock, and a label: whatever the bytes, no panic; what can be read is written again as the
//! same bytes, and everything that starts from it can start.

use seawall_wal::crc::crc32c;
use seawall_wal::geometry::{SUPER_SLOT_BYTES, Slot};
use seawall_wal::label::{self, Label, LabelState};
use seawall_wal::restart::Restart;
use seawall_wal::superblock::{self, Choice, ChoiceRule, SlotState, Superblock, choose};

/// The first byte says what is put right, the next two how long the first slot is, the rest are the slots.
pub(crate) fn check(input: &[u8]) {
    let [repairs, low, high, slots @ ..] = input else { return };
    let first = usize::from(u16::from_le_bytes([*low, *high])).min(slots.len());
    let (a, b) = slots.split_at(first);
    let a = if repairs & 1 == 0 { a.to_vec() } else { sealed(a, superblock::MAGIC, superblock::VERSION) };
    let b = if repairs & 2 == 0 { b.to_vec() } else { sealed(b, superblock::MAGIC, superblock::VERSION) };
    check_label(&a);
    check_label(&sealed(&a, label::MAGIC, label::VERSION));
    let (a, b) = (check_slot(&a), check_slot(&b));
    check_choice(&a, &b);
}

fn check_slot(bytes: &[u8]) -> SlotState {
    let state = Superblock::decode(bytes);
    if let SlotState::Present(superblock) = &state {
        let written = superblock.encode();
        check_same(&written, bytes);
        assert!(written.len() as u64 <= SUPER_SLOT_BYTES);
        assert_eq!(&Superblock::decode(&written), &state);
        // An empty ring.
        let judged = Restart::new(superblock).finish();
        if let Ok(mut restarted) = judged {
            assert_eq!(restarted.log.end(), superblock.log_start.lsn);
            let mark = restarted.log.cut(superblock.log_start.lsn);
            assert!(mark.generation > superblock.generation(), "the next cut is a newer one");
        }
    }
    state
}

fn check_label(bytes: &[u8]) {
    if let LabelState::Present(label) = Label::decode(bytes) {
        check_same(&label.encode(), bytes);
    }
}

/// Bytes after the value are left over from longer ones, and don't count.
fn check_same(written: &[u8], read: &[u8]) {
    let stated = u32::from_le_bytes([written[12], written[13], written[14], written[15]]);
    let length = 32 + usize::try_from(stated).expect("small");
    assert!(written[..length] == read[..length], "what was read is written again as the same bytes");
    assert!(written[length..].iter().all(|byte| *byte == 0));
}

/// Which slot is which makes no difference, but for the name of the lost one.
fn check_choice(a: &SlotState, b: &SlotState) {
    let (rule, choice) = choose(a.clone(), b.clone());
    let (mirrored_rule, mirrored) = choose(b.clone(), a.clone());
    assert_eq!(rule, mirrored_rule);
    match (choice, mirrored) {
        (Choice::Blank, Choice::Blank) => assert_eq!(rule, ChoiceRule::NeverFormatted),
        (Choice::Refuse, Choice::Refuse) => (),
        (
            Choice::Use { superblock, rewrite },
            Choice::Use { superblock: mirrored, rewrite: mirrored_rewrite },
        ) => {
            assert_eq!(superblock, mirrored);
            assert_eq!(rewrite, mirrored_rewrite.map(Slot::other));
            for state in [a, b] {
                if let SlotState::Present(other) = state {
                    assert!(other.sequence <= superblock.sequence, "the newest counts");
                }
            }
        }
        (one, other) => panic!("{one:?} one way, {other:?} the other"),
    }
}

fn sealed(bytes: &[u8], magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 32 {
        return bytes;
    }
    let length = u32::try_from(bytes.len() - 32).expect("small");
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    bytes[16..20].fill(0);
    let crc = crc32c(&bytes).0.to_le_bytes();
    bytes[16..20].copy_from_slice(&crc);
    bytes
}
