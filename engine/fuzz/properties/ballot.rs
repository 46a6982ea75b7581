//! The messages of a candidacy, and those between a replica with clients and the primary: whatever the bytes, no panic; and what can be read is written again as the same bytes.

use bincode::{Decode, Encode};
use seawall_engine::ballot::{Ask, Denied, Fetch, FetchEnd, Promise};
use seawall_engine::forwarding::{Forward, Forwarded};
use seawall_sender::codec;

/// The input is the meta part of a frame.
pub(crate) fn check(input: &[u8]) {
    check_control::<Ask>(input);
    check_control::<Promise>(input);
    check_control::<Denied>(input);
    check_control::<Fetch>(input);
    check_control::<FetchEnd>(input);
    check_control::<Forward>(input);
    check_control::<Forwarded>(input);
    if let Ok(forward) = codec::decode::<Forward>(input) {
        let _ = forward.what.is_sound(1000);
    }
}

fn check_control<T: Encode + Decode<()>>(meta: &[u8]) {
    if let Ok(message) = codec::decode::<T>(meta) {
        assert!(codec::encode(&message) == meta, "the same bytes");
    }
}
