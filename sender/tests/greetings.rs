//! Greetings: who may talk to whom, and what a refusal names.

use seawall_sender::frame::{VERSION_MAX, VERSION_MIN};
use seawall_sender::greeting::{
    Hello, Identity, Mismatch, Proven, Welcome, check_guest, check_hello, check_proof, check_welcome,
    negotiate,
};
use seawall_sender::violation::Violation;
use seawall_wal::names::{ReplicaId, VolumeId};

const VOLUME: VolumeId = VolumeId([7; 16]);
const CALLER: Identity = Identity { volume: VOLUME, replica: ReplicaId(1), volume_blocks: 1000 };
const ANSWERER: Identity = Identity { volume: VOLUME, replica: ReplicaId(2), volume_blocks: 1000 };

#[test]
fn two_that_fit_agree_on_the_newest_version() {
    let hello = Hello::new(&CALLER, ANSWERER.replica);
    let version = check_hello(&ANSWERER, VOLUME, &hello).expect("they fit");
    let welcome = Welcome::new(&ANSWERER, version);
    assert_eq!(check_welcome(&CALLER, ANSWERER.replica, VOLUME, &welcome), Ok(VERSION_MAX));
}

#[test]
fn a_version_is_agreed_exactly_when_both_speak_one() {
    for theirs_min in 0..4 {
        for theirs_max in 0..4 {
            let hello = Hello {
                version_min: theirs_min,
                version_max: theirs_max,
                ..Hello::new(&CALLER, ReplicaId(2))
            };
            let newest = (theirs_min..=theirs_max).filter(|v| (VERSION_MIN..=VERSION_MAX).contains(v)).max();
            let (ours_min, ours_max) = (VERSION_MIN, VERSION_MAX);
            let mismatch = Mismatch::Version { ours_min, ours_max, theirs_min, theirs_max };
            assert_eq!(negotiate(&hello), newest.ok_or(mismatch), "they speak {theirs_min} to {theirs_max}");
        }
    }
}

/// One way in which a caller does not fit.
type Flaw = (fn(&mut Hello, &mut VolumeId), Mismatch);

fn flaws() -> [Flaw; 6] {
    [
        (
            |hello, _| (hello.version_min, hello.version_max) = (8, 9),
            Mismatch::Version { ours_min: VERSION_MIN, ours_max: VERSION_MAX, theirs_min: 8, theirs_max: 9 },
        ),
        (|_, volume| volume.0[0] = 8, {
            let mut theirs = VOLUME;
            theirs.0[0] = 8;
            Mismatch::Volume { ours: VOLUME, theirs }
        }),
        (|hello, _| hello.to = ReplicaId(3), Mismatch::Replica { wanted: ReplicaId(3), found: ReplicaId(2) }),
        (|hello, _| hello.block_bytes = 512, Mismatch::BlockBytes { ours: 4096, theirs: 512 }),
        (|hello, _| hello.volume_blocks = 999, Mismatch::VolumeBlocks { ours: 1000, theirs: 999 }),
        (|hello, _| hello.auth = vec![1, 2, 3], Mismatch::Authentication { ours: 0, theirs: 3 }),
    ]
}

#[test]
fn of_all_flaws_of_a_hello_the_first_is_named_with_both_values() {
    for flawed in 0_u32..1 << 6 {
        let (mut hello, mut volume) = (Hello::new(&CALLER, ANSWERER.replica), VOLUME);
        let mut expected = Ok(VERSION_MAX);
        for (i, (spoil, mismatch)) in flaws().into_iter().enumerate() {
            if flawed & 1 << i != 0 {
                spoil(&mut hello, &mut volume);
                expected = expected.and(Err(mismatch));
            }
        }
        assert_eq!(check_hello(&ANSWERER, volume, &hello), expected, "flaws {flawed:06b}");
    }
}

#[test]
fn the_wrong_disk_at_the_right_address_is_not_welcomed() {
    let check = |volume: VolumeId, welcome: Welcome, expected: Mismatch| {
        assert_eq!(check_welcome(&CALLER, ANSWERER.replica, volume, &welcome), Err(expected));
    };
    let good = Welcome::new(&ANSWERER, 1);
    let other = VolumeId([8; 16]);
    check(other, good.clone(), Mismatch::Volume { ours: VOLUME, theirs: other });
    check(
        VOLUME,
        Welcome { replica: ReplicaId(5), ..good.clone() },
        Mismatch::Replica { wanted: ReplicaId(2), found: ReplicaId(5) },
    );
    check(VOLUME, Welcome { auth: vec![1], ..good.clone() }, Mismatch::Authentication { ours: 0, theirs: 1 });
    check(
        VOLUME,
        Welcome { version: 2, ..good },
        Mismatch::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 2 },
    );
}

const OTHERS: VolumeId = VolumeId([9; 16]);

fn proven(volume: VolumeId, replica: ReplicaId) -> Proven {
    Proven::Replica { volume, replica }
}

#[test]
fn a_peer_is_whom_its_certificate_names_and_nobody_else() {
    let (us, wanted, other) = (CALLER, ANSWERER.replica, ReplicaId(77));
    assert_eq!(check_proof(&us, wanted, proven(VOLUME, wanted)), Ok(()));
    assert_eq!(
        check_proof(&us, wanted, Proven::Nobody),
        Ok(()),
        "plaintext proves nothing, by configuration"
    );
    for found in [proven(VOLUME, other), proven(OTHERS, wanted), proven(VOLUME, us.replica)] {
        let refused = Violation::Unproven { claimed: wanted, proven: found };
        assert_eq!(check_proof(&us, wanted, found), Err(refused));
    }
}

#[test]
fn a_guest_of_another_volume_or_with_our_own_certificate_is_turned_away_before_it_speaks() {
    let us = ANSWERER;
    assert_eq!(check_guest(&us, proven(VOLUME, CALLER.replica)), Ok(()));
    assert_eq!(check_guest(&us, Proven::Nobody), Ok(()));
    let elsewhere = Violation::WrongVolume { expected: VOLUME, found: OTHERS };
    assert_eq!(check_guest(&us, proven(OTHERS, CALLER.replica)), Err(elsewhere));
    let mirrored = Violation::Reflected { replica: us.replica };
    assert_eq!(check_guest(&us, proven(VOLUME, us.replica)), Err(mirrored));
}
