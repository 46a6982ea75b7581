//! Clients that mean harm, or are broken. Whatever they send: no panic, nothing out of bounds, nothing leaked; and
//! how the bytes arrive makes no difference.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::corpus;
use crate::replay::{actions, cuts, replay};
use crate::rig::opening;
use crate::wire::{contexts, counted, info, option, request};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn the_kept_corpus_does_no_harm() {
    corpus::replay(&corpus("nbd_session"), replay);
}

#[test]
fn how_a_stream_of_the_kept_corpus_is_cut_makes_no_difference() {
    corpus::replay(&corpus("nbd_cuts"), cuts);
}

fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop_oneof![Just("vol0"), Just("frozen"), Just(""), Just("other")];
    let query = prop_oneof![Just("base:allocation"), Just("base:"), Just("x:y")];
    prop_oneof![
        Just(option(3, b"")),
        Just(option(8, b"")),
        (name(), proptest::collection::vec(0u16..5, 0..4))
            .prop_map(|(name, asked)| option(6, &info(name, &asked))),
        (9u32..11, name(), proptest::collection::vec(query, 0..3))
            .prop_map(|(kind, name, queries)| option(kind, &contexts(name, &queries))),
        (0u32..13, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, data)| option(kind, &data)),
        name().prop_map(|name| option(6, &counted(name))),
    ]
}

fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let offset =
        prop_oneof![4 => (0u64..1700).prop_map(|sector| sector * 512), 1 => 0u64..900_000, 1 => any::<u64>()];
    let bytes = prop_oneof![6 => (0u32..40).prop_map(|sectors| sectors * 512), 1 => 0u32..70_000];
    let flags = prop_oneof![6 => Just(0u16), 2 => 0u16..32, 1 => any::<u16>()];
    let command = prop_oneof![8 => 0u16..8, 1 => any::<u16>()];
    (flags, command, any::<u64>(), offset, bytes).prop_map(|(flags, command, cookie, offset, bytes)| {
        let command = if command == 2 { 1 } else { command };
        let header = request(command, offset, bytes).flags(flags).cookie(cookie);
        let payload = if command == 1 { vec![0x5a; bytes as usize] } else { Vec::new() };
        header.with(&payload)
    })
}

prop_compose! {
    /// A session as a client might have it: haggling, an export, requests, perhaps a leave.
    fn session()(
        options in proptest::collection::vec(any_option(), 0..6),
        structured in any::<bool>(),
        requests in proptest::collection::vec(any_request(), 0..20),
        leaves in any::<bool>(),
    ) -> Vec<u8> {
        let opening = opening("vol0", structured);
        let mut bytes = opening[..4].to_vec();
        bytes.extend(options.concat());
        bytes.extend(&opening[4..]);
        bytes.extend(requests.concat());
        if leaves {
            bytes.extend(request(2, 0, 0).encode());
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn how_a_stream_is_cut_makes_no_difference(
        stream in session(),
        mut cuts in proptest::collection::vec(any::<usize>(), 0..60),
    ) {
        cuts.iter_mut().for_each(|cut| *cut %= stream.len() + 1);
        cuts.sort_unstable();
        let whole = actions(&stream, &[]);
        prop_assert_eq!(&actions(&stream, &cuts), &whole);
        let every: Vec<usize> = (0..stream.len().min(3000)).collect();
        prop_assert_eq!(&actions(&stream, &every), &whole);
    }

    #[test]
    fn a_damaged_session_does_no_harm(
        mut stream in session(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        end in any::<prop::sample::Index>(),
        (holds, stride) in any::<(u8, u8)>(),
    ) {
        for (at, value) in damage {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        stream.truncate(end.index(stream.len()) + 1);
        replay(&[&[holds, stride][..], &stream].concat());
    }

    #[test]
    fn noise_does_no_harm(noise in proptest::collection::vec(any::<u8>(), 0..600), serving in any::<bool>(), structured in any::<bool>()) {
        let opening = if serving { opening("vol0", structured) } else { Vec::new() };
        replay(&[&[0, 255][..], &opening, &noise].concat());
    }
}
