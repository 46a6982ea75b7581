//! The messages, byte for byte and fault for fault.

use proptest::prelude::*;
use seawall_recovery::facts::Facts;
use seawall_recovery::messages::{
    BASE_HOLES_MAX, Base, BaseAck, BaseBody, BaseDone, BaseRun, Begin, BeginPlan, Begun, Digest, DigestAsk,
    Greet, Refusal, Refuse,
};
use seawall_sender::codec::{CodecError, decode, encode};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::configuration::{Configuration, Member, Suffrage};
use seawall_wal::maintenance::{Lease, Leases};
use seawall_wal::names::{
    BLOCK_BYTES, COUNT_MAX, Crc, Epoch, Extent, LineageRow, Lsn, LsnRange, ReplicaId, VolumeId,
};
use seawall_wal::superblock::BaseState;

const EPOCH: Epoch = Epoch { counter: 2, replica: ReplicaId(0xa1) };
const ROW: LineageRow = LineageRow { epoch: EPOCH, first: Lsn(5) };

fn check<T: bincode::Encode + bincode::Decode<()> + PartialEq + std::fmt::Debug>(message: &T, hex: &str) {
    let bytes = encode(message);
    let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, hex.replace([' ', '\n'], ""), "{message:?}");
    assert_eq!(&decode::<T>(&bytes).expect("what was encoded"), message);
}

#[test]
fn greet_and_facts_have_these_bytes() {
    check(
        &Greet {
            session: SessionId { boot: 3, count: 4 },
            epoch: EPOCH,
            lineage: vec![ROW],
            log: LsnRange::new(Lsn(1), Lsn(9)),
            settled: Lsn(8),
            configuration: 5,
        },
        "03000000 04000000  0200000000000000 a100000000000000
         0100000000000000  0200000000000000 a100000000000000 0500000000000000
         0100000000000000 0900000000000000  0800000000000000 0500000000000000",
    );
    check(
        &Facts {
            volume: VolumeId([0x11; 16]),
            replica: ReplicaId(0xb2),
            promised: EPOCH,
            lineage: vec![ROW],
            log: LsnRange::new(Lsn(1), Lsn(9)),
            tail_epoch: EPOCH,
            tail_chain: Crc(0xdead_beef),
            checkpoint: Lsn(7),
            base: BaseState::Rebuilding { cut: Lsn(6), held: 64, lineage: ROW },
            lossy: true,
            boots: 12,
            promises_lost: true,
        },
        "11111111111111111111111111111111 b200000000000000  0200000000000000 a100000000000000
         0100000000000000  0200000000000000 a100000000000000 0500000000000000
         0100000000000000 0900000000000000  0200000000000000 a100000000000000 efbeadde
         0700000000000000  01000000 0600000000000000 4000000000000000
         0200000000000000 a100000000000000 0500000000000000  01 0c000000 01",
    );
}

#[test]
fn begin_and_begun_have_these_bytes() {
    let begin = |plan| Begin {
        plan,
        chain: Crc(0xdead_beef),
        epoch_before: EPOCH,
        lineage: vec![],
        target: Lsn(9),
        settled: Lsn(8),
        attached: Lsn(4),
        configuration: Configuration::newborn(vec![Member {
            replica: ReplicaId(0xa2),
            name: "n".into(),
            address: "n:7".into(),
            suffrage: Suffrage::Learner,
        }]),
        maintenance: Leases {
            held: vec![Lease {
                replica: ReplicaId(0xa3),
                owner: "o".into(),
                reason: "r".into(),
                began_ms: 5,
                length_ms: 6,
            }],
            through: Lsn(3),
        },
    };
    let rest = "efbeadde 0200000000000000 a100000000000000 0000000000000000 0900000000000000 0800000000000000 0400000000000000 \
                0000000000000000 0100000000000000 a200000000000000 01000000000000006e 03000000000000006e3a37 02000000 0000000000000000 \
                0100000000000000 a300000000000000 01000000000000006f 010000000000000072 0500000000000000 0600000000000000 \
                0300000000000000";
    let check = |plan, hex: &str| check(&begin(plan), &format!("{hex}{rest}"));
    check(BeginPlan::Feed { from: Lsn(7) }, "00000000 0700000000000000");
    check(BeginPlan::Cut { to: Lsn(7) }, "01000000 0700000000000000");
    check(BeginPlan::Rebuild { cut: Lsn(7) }, "02000000 0700000000000000");
    check(
        BeginPlan::Resume { cut: Lsn(6), held: 64, from: Lsn(7) },
        "03000000 0600000000000000 4000000000000000 0700000000000000",
    );
    self::check(&Begun { end: Lsn(7), held: 64 }, "0700000000000000 4000000000000000");
}

#[test]
fn the_words_of_the_base_have_these_bytes() {
    let base = |body| Base { extent: Extent::new(64, 3), as_of: Lsn(8), body };
    let head = "4000000000000000 03000000 0800000000000000";
    check(&base(BaseBody::Holes), &format!("{head} 00000000"));
    check(
        &base(BaseBody::Blocks { holes: 0b010, crcs: vec![Crc(1), Crc(2)] }),
        &format!("{head} 01000000 0200000000000000 0200000000000000 01000000 02000000"),
    );
    check(&BaseAck { held: 64 }, "4000000000000000");
    check(&BaseDone { frontier: Lsn(8) }, "0800000000000000");
    check(&DigestAsk { at: Lsn(8), digest: 0x0102 }, "0800000000000000 02010000000000000000000000000000");
    check(&Digest { at: Lsn(8), digest: 0x0102 }, "0800000000000000 02010000000000000000000000000000");
}

#[test]
fn a_refusal_has_these_bytes() {
    let all = [
        Refusal::Promised,
        Refusal::ChainDiffers,
        Refusal::CutBelowHome,
        Refusal::PlanOutdated,
        Refusal::Faulted,
        Refusal::ShuttingDown,
        Refusal::BranchNotKept,
    ];
    for (code, why) in all.into_iter().enumerate() {
        check(
            &Refuse { promised: EPOCH, why },
            &format!("0200000000000000 a100000000000000 {code:02x}000000"),
        );
    }
}

#[test]
fn the_longest_history_that_travels_fits_a_message() {
    let rows: Vec<_> = (0..5000).map(|n| LineageRow { epoch: EPOCH, first: Lsn(n) }).collect();
    let lineage = seawall_recovery::lineage::newest(&rows).to_vec();
    assert_eq!(lineage.last(), rows.last());
    let log = LsnRange::default();
    let (session, settled) = (SessionId::NONE, Lsn(0));
    let bytes = encode(&Greet { session, epoch: EPOCH, lineage, log, settled, configuration: 0 });
    decode::<Greet>(&bytes).expect("within the limit");
}

fn blocks(blocks: u32, holes: u64, crcs: usize) -> Base {
    let body = BaseBody::Blocks { holes, crcs: vec![Crc(0); crcs] };
    Base { extent: Extent::new(64, blocks), as_of: Lsn(8), body }
}

#[test]
fn base_blocks_say_what_they_carry() {
    assert_eq!(blocks(64, 0, 64).check(128, 64), Ok(()));
    assert_eq!(blocks(64, u64::MAX, 0).check(128, 0), Ok(()));
    let outside = |extent, volume_blocks| Err(Violation::ExtentOutside { extent, volume_blocks });
    assert_eq!(blocks(64, 0, 64).check(127, 64), outside(Extent::new(64, 64), 127));
    assert_eq!(blocks(0, 0, 0).check(128, 0), outside(Extent::new(64, 0), 128));
    let bytes = 65 * BLOCK_BYTES;
    assert_eq!(blocks(65, 0, 65).check(1000, 65), Err(Violation::PayloadTooLong { bytes }));
    assert_eq!(blocks(u32::MAX, 0, 0).check(u64::MAX, 0), Err(Violation::PayloadTooLong { bytes: u32::MAX }));
    assert_eq!(blocks(3, 0b1000, 3).check(128, 3), Err(Violation::HolesOutside { holes: 0b1000, blocks: 3 }));
    let payload = |expected, found| Err(Violation::PayloadBlocks { expected, found });
    assert_eq!(blocks(3, 0b010, 3).check(128, 2), payload(2, 3));
    assert_eq!(blocks(3, 0b010, 2).check(128, 3), payload(2, 3));
    let holes = |blocks| Base { extent: Extent::new(0, blocks), as_of: Lsn(8), body: BaseBody::Holes };
    assert_eq!(holes(BASE_HOLES_MAX).check(1 << 40, 0), Ok(()));
    let many = BASE_HOLES_MAX + 1;
    assert_eq!(holes(many).check(1 << 40, 0), outside(Extent::new(0, many), 1 << 40));
    let holes = holes(1000);
    assert_eq!(holes.check(1000, 0), Ok(()));
    assert_eq!(holes.check(1000, 1), payload(0, 1));
    let far = Base { extent: Extent::new(u64::MAX, 2), ..holes };
    assert_eq!(far.check(1000, 0), outside(Extent::new(u64::MAX, 2), 1000));
}

#[test]
fn a_number_that_no_volume_reaches_is_malformed_before_anybody_counts_on_it() {
    let refuse = |counter| {
        let promised = Epoch { counter, replica: ReplicaId(1) };
        decode::<Refuse>(&encode(&Refuse { promised, why: Refusal::Promised })).map(|_| ())
    };
    let done = |lsn| decode::<BaseDone>(&encode(&BaseDone { frontier: Lsn(lsn) })).map(|_| ());
    for judge in [&refuse as &dyn Fn(u64) -> Result<(), CodecError>, &done] {
        let judged = [0, 1 << 29, COUNT_MAX + 1, u64::MAX].map(judge);
        assert_eq!(judged, [Ok(()), Ok(()), Err(CodecError::Malformed), Err(CodecError::Malformed)]);
    }
}

#[test]
fn runs_follow_the_holes() {
    let run = |start, blocks, at| BaseRun { extent: Extent::new(start, blocks), at };
    let runs = blocks(6, 0b011001, 3).runs();
    assert_eq!(runs, [run(64, 1, None), run(65, 2, Some(0)), run(67, 2, None), run(69, 1, Some(2))]);
    let holes = Base { extent: Extent::new(0, 1000), as_of: Lsn(8), body: BaseBody::Holes };
    assert_eq!(holes.runs(), [run(0, 1000, None)]);
}

proptest! {
    #[test]
    fn runs_cover_the_extent_and_the_payload_in_order(blocks in 1u32..=64, holes in any::<u64>()) {
        let holes = if blocks == 64 { holes } else { holes & ((1 << blocks) - 1) };
        let data = blocks - holes.count_ones();
        let base = self::blocks(blocks, holes, data as usize);
        prop_assert_eq!(base.check(128, data as usize), Ok(()));
        let (mut next, mut payload) = (base.extent.start, 0);
        for run in base.runs() {
            prop_assert_eq!(run.extent.start, next);
            next = run.extent.end();
            if let Some(at) = run.at {
                prop_assert_eq!(at, payload);
                payload += run.extent.blocks;
            }
        }
        prop_assert_eq!((next, payload), (base.extent.end(), data));
    }

    #[test]
    fn no_bytes_at_all_upset_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Facts>(&bytes);
        let _ = decode::<Greet>(&bytes);
        let _ = decode::<Begin>(&bytes);
        if let Ok(base) = decode::<Base>(&bytes) {
            let _ = base.check(1 << 20, 3).map(|()| base.runs());
        }
    }
}
