//! Whatever a client does, it reads what it wrote.

use proptest::prelude::*;
use seawall_blockdev::export::Limits;

use crate::requests::{BLOCK_STATUS, DF, FUA, READ, TRIM, WRITE, WRITE_ZEROES};
use crate::rig::{BLOCK, Rig, serving};
use crate::wire::{chunk, request, simple_reply, u32_at, u64_at};

const BLOCKS: u64 = 200;
const SECTORS: u64 = BLOCKS * 8;

#[derive(Clone, Debug)]
enum Step {
    Write { sector: u64, sectors: u64, fill: u8 },
    Zero { sector: u64, sectors: u64 },
    Trim { sector: u64, sectors: u64 },
    Read { sector: u64, sectors: u64, whole: bool },
    Status { sector: u64, sectors: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let long = (0..SECTORS, 0..SECTORS).prop_map(|(a, b)| (a.min(b), a.max(b) - a.min(b)));
    let short = (0..SECTORS - 20, 0u64..20);
    let range = prop_oneof![long, short];
    (range, 0..6u8, 1..=255u8).prop_map(|((sector, sectors), kind, fill)| match kind {
        0 | 1 => Step::Write { sector, sectors, fill },
        2 => Step::Zero { sector, sectors },
        3 => Step::Trim { sector, sectors },
        4 => Step::Read { sector, sectors, whole: fill > 128 },
        _ => Step::Status { sector, sectors: sectors.max(1) },
    })
}

/// A client that remembers what it wrote.
struct Client {
    rig: Rig,
    structured: bool,
    mirror: Vec<u8>,
}

impl Client {
    fn range(sector: u64, sectors: u64) -> std::ops::Range<usize> {
        usize::try_from(sector * 512).unwrap()..usize::try_from((sector + sectors) * 512).unwrap()
    }

    fn good(&mut self) {
        let wire = self.rig.taken();
        let (error, _, _, rest) = simple_reply(&wire, 0);
        assert_eq!((error, rest.len()), (0, 0));
    }

    fn take(&mut self, step: Step) {
        let bytes = |sectors: u64| u32::try_from(sectors * 512).unwrap();
        match step {
            Step::Write { sector, sectors, fill } => {
                let payload: Vec<u8> =
                    (0..sectors * 512).map(|i| fill ^ u8::try_from(i / 512 % 256).unwrap()).collect();
                self.rig.feed(&request(WRITE, sector * 512, bytes(sectors)).with(&payload));
                self.mirror[Self::range(sector, sectors)].copy_from_slice(&payload);
                self.good();
            }
            Step::Zero { sector, sectors } => {
                self.rig.feed(&request(WRITE_ZEROES, sector * 512, bytes(sectors)).flags(FUA).encode());
                self.mirror[Self::range(sector, sectors)].fill(0);
                self.good();
            }
            Step::Trim { sector, sectors } => {
                self.rig.feed(&request(TRIM, sector * 512, bytes(sectors)).encode());
                let (first, end) = (sector.div_ceil(8), (sector + sectors) / 8);
                self.mirror[Self::range(first * 8, end.saturating_sub(first) * 8)].fill(0);
                self.good();
            }
            Step::Read { sector, sectors, whole } => self.read(sector, sectors, whole && self.structured),
            Step::Status { sector, sectors } if self.structured => self.status(sector, sectors),
            Step::Status { .. } => {}
        }
    }

    fn read(&mut self, sector: u64, sectors: u64, whole: bool) {
        let bytes = usize::try_from(sectors * 512).unwrap();
        let read = request(READ, sector * 512, u32::try_from(bytes).unwrap());
        self.rig.feed(&read.flags(if whole { DF } else { 0 }).encode());
        let wire = self.rig.taken();
        let expected = &self.mirror[Self::range(sector, sectors)];
        if !self.structured {
            let (error, _, data, rest) = simple_reply(&wire, bytes);
            assert!(error == 0 && data == expected && rest.is_empty());
            return;
        }
        let (mut left, mut data, mut chunks) = (&wire[..], Vec::new(), 0);
        loop {
            let (next, rest) = chunk(left);
            left = rest;
            chunks += 1;
            match next.kind {
                0 => assert_eq!(bytes, 0),
                1 | 2 => {
                    assert_eq!(
                        u64_at(&next.data, 0),
                        sector * 512 + data.len() as u64,
                        "in order, without gaps"
                    );
                    if next.kind == 1 {
                        data.extend_from_slice(&next.data[8..]);
                    } else {
                        data.resize(data.len() + u32_at(&next.data, 8) as usize, 0);
                    }
                }
                kind => panic!("a chunk of type {kind}"),
            }
            if next.flags == 1 {
                break;
            }
        }
        assert!(left.is_empty() && data == expected && (!whole || chunks == 1));
    }

    fn status(&mut self, sector: u64, sectors: u64) {
        self.rig.feed(&request(BLOCK_STATUS, sector * 512, u32::try_from(sectors * 512).unwrap()).encode());
        let wire = self.rig.taken();
        let (chunk, rest) = chunk(&wire);
        assert!(chunk.kind == 5 && chunk.flags == 1 && rest.is_empty());
        let mut at = usize::try_from(sector * 512).unwrap();
        let mut before = None;
        for run in chunk.data[4..].chunks(8) {
            let (bytes, flags) = (u32_at(run, 0) as usize, u32_at(run, 4));
            assert!(bytes > 0 && before.replace(flags) != Some(flags), "runs are merged");
            for sector in (at..at + bytes).step_by(512) {
                assert_eq!(flags == 3, self.rig.holes[sector / BLOCK]);
                assert!(flags == 0 || self.mirror[sector..sector + 512].iter().all(|byte| *byte == 0));
            }
            at += bytes;
        }
        assert_eq!(at, usize::try_from((sector + sectors) * 512).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_client_reads_what_it_wrote(steps in proptest::collection::vec(step(), 1..40), structured in any::<bool>()) {
        let rig = serving(BLOCKS, Limits::DEFAULT, structured);
        let mut client = Client { rig, structured, mirror: vec![0; usize::try_from(SECTORS * 512).unwrap()] };
        for step in steps {
            client.take(step);
        }
        client.read(0, SECTORS, false);
        prop_assert!(client.rig.volume == client.mirror);
        client.rig.finish();
    }
}
