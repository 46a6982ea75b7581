use seawall_wal::names::{Epoch, Lsn, LsnRange};

use super::*;

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("seawall-branches-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn branch(generation: u32, relied_on: bool) -> Branch {
    let epoch = Epoch { counter: 1, replica: ReplicaId(1) };
    Branch {
        range: LsnRange::new(Lsn(10), Lsn(12)),
        fork: Lsn(10),
        tail_epoch: epoch,
        successor: epoch,
        generation,
        relied_on,
        pieces: vec![(8192, 4096), (0, 4096)],
    }
}

/// Keep these (generation, relied on) one after the other in a place with room for two. Which of them are there then,
/// and how the last one ended.
fn check(name: &str, kept: &[(u32, bool)], keep_for: Duration, there: &[u32], good: bool) {
    let scratch = Scratch::new(name);
    let log = scratch.0.join("log");
    let bytes: Vec<u8> = (0..4_u8).flat_map(|n| vec![n; 4096]).collect();
    fs::write(&log, [vec![9; 4096], bytes].concat()).unwrap();
    let place = Branches { dir: scratch.0.join("branches"), room_bytes: 3 * 8192 + 1, keep_for };
    let mut last = true;
    for (generation, relied_on) in kept {
        let source = Source {
            volume: VolumeId([7; 16]),
            replica: ReplicaId(1),
            unit_bytes: 4096,
            device: File::open(&log).unwrap().into(),
            log_offset: 4096,
        };
        last = place.keep(&branch(*generation, *relied_on), &source).is_ok();
    }
    assert_eq!(last, good);
    let (kept, unreadable) = place.list().unwrap();
    assert!(unreadable.is_empty());
    let mut generations: Vec<u32> = kept.iter().map(|branch| branch.label.generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, there);
    for branch in kept {
        let bytes = fs::read(branch.path).unwrap();
        assert_eq!(bytes[4096..], [vec![2; 4096], vec![0; 4096]].concat(), "the pieces, in order");
    }
    let left = fs::read_dir(&place.dir).unwrap().count();
    assert_eq!(left, there.len(), "nothing else is left behind");
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_branch_is_there_as_it_stood_in_the_log() {
    check("there", &[(1, true)], LONG, &[1], true);
}

#[test]
fn what_nobody_relied_on_makes_room_the_oldest_first() {
    check("room", &[(1, false), (2, true), (3, false)], LONG, &[2, 3], true);
}

#[test]
fn what_somebody_may_have_relied_on_stays_and_there_is_no_room() {
    check("full", &[(1, true), (2, true), (3, true)], LONG, &[1, 2], false);
}
