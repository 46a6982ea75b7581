//! The handshake, byte for byte.

use seawall_blockdev::export::Limits;
use seawall_blockdev::export::nbd::Attachment;

use crate::rig::Rig;
use crate::wire::{contexts, counted, info, option, option_replies, option_reply};

const ACK: u32 = 1;
const SERVER: u32 = 2;
const INFO: u32 = 3;
const META_CONTEXT: u32 = 4;
const ERR_UNSUP: u32 = 0x8000_0001;
const ERR_POLICY: u32 = 0x8000_0002;
const ERR_INVALID: u32 = 0x8000_0003;
const ERR_UNKNOWN: u32 = 0x8000_0006;
const ERR_SHUTDOWN: u32 = 0x8000_0007;
const ERR_TOO_BIG: u32 = 0x8000_0009;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const LIST: u32 = 3;
const STARTTLS: u32 = 5;
const OPT_INFO: u32 = 6;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const LIST_META_CONTEXT: u32 = 9;
const SET_META_CONTEXT: u32 = 10;
const EXTENDED_HEADERS: u32 = 11;

/// A volume of 16 blocks, and a client that has sent its flags.
fn greeted(flags: u32) -> Rig {
    let mut rig = Rig::new(16, Limits::DEFAULT);
    rig.feed(&flags.to_be_bytes());
    rig.taken();
    rig
}

/// Types of the replies to one option.
fn kinds(rig: &mut Rig, sent: &[u8]) -> Vec<u32> {
    rig.feed(sent);
    option_replies(&rig.taken()).into_iter().map(|(_, kind, _)| kind).collect()
}

#[test]
fn the_greeting_is_fixed_newstyle_without_zeroes() {
    assert_eq!(Rig::new(16, Limits::DEFAULT).taken(), b"NBDMAGICIHAVEOPT\x00\x03");
}

#[test]
fn an_unknown_client_flag_ends_the_session() {
    for flags in [4, 0x8000_0000, 7] {
        assert!(greeted(flags).closed, "{flags:#x}");
    }
}

#[test]
fn export_name_is_answered_with_size_flags_and_124_zeroes_unless_declined() {
    let size_and_flags = [0, 0, 0, 0, 0, 1, 0, 0, 0x0d, 0x6d];
    for (flags, zeroes) in [(0, 124), (1, 124), (3, 0), (2, 0)] {
        for name in ["vol0", ""] {
            let mut rig = greeted(flags);
            rig.feed(&option(EXPORT_NAME, name.as_bytes()));
            assert_eq!(rig.taken(), [&size_and_flags[..], &vec![0; zeroes]].concat());
            assert!(rig.connection.export().is_some());
        }
    }
}

#[test]
fn export_name_has_no_error_but_the_end() {
    for data in [&b"nothing"[..], b"\xff", b"vol0\0", &[b'a'; 5000], &[b'a'; 70_000]] {
        let mut rig = greeted(3);
        rig.feed(&option(EXPORT_NAME, data));
        assert!(rig.closed && rig.taken().is_empty());
    }
}

#[test]
fn go_answers_what_was_asked_and_info_the_same() {
    let asked = info("vol0", &[3, 1, 2, 3, 99]);
    let expected = |option| {
        [
            option_reply(option, INFO, b"\0\0\0\0\0\0\0\x01\0\0\x0d\x6d"),
            option_reply(option, INFO, b"\0\x01vol0"),
            option_reply(option, INFO, b"\0\x02the first"),
            option_reply(option, INFO, b"\0\x03\0\0\x02\0\0\0\x10\0\x02\0\0\0"),
            option_reply(option, ACK, b""),
        ]
        .concat()
    };
    let mut rig = greeted(3);
    rig.feed(&option(OPT_INFO, &asked));
    assert_eq!(rig.taken(), expected(OPT_INFO));
    rig.feed(&option(GO, &asked));
    assert_eq!(rig.taken(), expected(GO));
    assert!(rig.connection.export().is_some());
}

#[test]
fn a_read_only_export_does_not_say_that_it_can_be_changed() {
    let mut rig = greeted(3);
    rig.feed(&option(OPT_INFO, &info("frozen", &[])));
    assert_eq!(option_replies(&rig.taken())[0].2[10..], [0x05, 0x0f]);
}

#[test]
fn df_is_said_only_with_structured_replies() {
    let mut rig = greeted(3);
    assert_eq!(kinds(&mut rig, &option(STRUCTURED_REPLY, b"")), [ACK]);
    assert_eq!(kinds(&mut rig, &option(STRUCTURED_REPLY, b"")), [ERR_INVALID]);
    rig.feed(&option(OPT_INFO, &info("", &[])));
    assert_eq!(option_replies(&rig.taken())[0].2[10..], [0x0d, 0xed]);
}

#[test]
fn list_names_every_export() {
    let mut rig = greeted(3);
    rig.feed(&option(LIST, b""));
    let expected = [
        option_reply(LIST, SERVER, b"\0\0\0\x04vol0the first"),
        option_reply(LIST, SERVER, b"\0\0\0\x06frozen"),
        option_reply(LIST, ACK, b""),
    ];
    assert_eq!(rig.taken(), expected.concat());
    assert_eq!(kinds(&mut rig, &option(LIST, b"x")), [ERR_INVALID]);
}

#[test]
fn what_is_not_known_is_refused_and_the_handshake_goes_on() {
    let mut rig = greeted(3);
    for unknown in [0, 4, STARTTLS, EXTENDED_HEADERS, 12, u32::MAX] {
        assert_eq!(kinds(&mut rig, &option(unknown, b"whatever")), [ERR_UNSUP], "{unknown}");
    }
    assert_eq!(kinds(&mut rig, &option(GO, &info("other", &[]))), [ERR_UNKNOWN]);
    assert_eq!(kinds(&mut rig, &option(GO, &info("vol0", &[]))), [INFO, ACK]);
}

#[test]
fn without_the_fixed_flag_only_export_name_is_understood() {
    let mut rig = greeted(0);
    for early in [ABORT, LIST, GO, STRUCTURED_REPLY, 77] {
        assert_eq!(kinds(&mut rig, &option(early, b"")), [ERR_INVALID]);
    }
    rig.feed(&option(EXPORT_NAME, b"vol0"));
    assert_eq!(rig.taken().len(), 10 + 124);
}

#[test]
fn abort_is_acknowledged_before_the_end() {
    let mut rig = greeted(3);
    assert_eq!(kinds(&mut rig, &option(ABORT, b"")), [ACK]);
    assert!(rig.closing && !rig.closed && rig.connection.is_closed());
}

#[test]
fn lengths_that_lie_are_refused_and_exactly_their_bytes_are_taken() {
    let mut rig = greeted(3);
    let lies: [&[u8]; 7] = [
        b"",
        b"\0\0\0",
        b"\0\0\0\x05vol0\0\0",
        b"\xff\xff\xff\xffvol0\0\0",
        b"\0\0\0\x04vol0\0\x01",
        b"\0\0\0\x04vol0\0\0\0",
        b"\0\0\0\x03vol0\0\0",
    ];
    for lie in lies {
        for asks in [OPT_INFO, GO] {
            assert_eq!(kinds(&mut rig, &option(asks, lie)), [ERR_INVALID], "{lie:?}");
        }
    }
    assert_eq!(kinds(&mut rig, &option(STRUCTURED_REPLY, b"")), [ACK]);
    for lie in
        [&b"\0\0\0\x04vol0\0\0\0\x01"[..], b"\0\0\0\x04vol0\xff\xff\xff\xff", b"\0\0\0\x04vol0\0\0\0\0!"]
    {
        for asks in [LIST_META_CONTEXT, SET_META_CONTEXT] {
            assert_eq!(kinds(&mut rig, &option(asks, lie)), [ERR_INVALID], "{lie:?}");
        }
    }
    assert_eq!(kinds(&mut rig, &option(GO, &info("vol0", &[]))), [INFO, ACK]);
}

#[test]
fn names_are_bounded_utf8_without_nul() {
    let mut rig = greeted(3);
    let long = "a".repeat(4097);
    let raw = |name: &[u8]| [&u32::try_from(name.len()).unwrap().to_be_bytes()[..], name, b"\0\0"].concat();
    for name in [&b"vol0\0"[..], b"\xc3\x28", long.as_bytes()] {
        assert_eq!(kinds(&mut rig, &option(OPT_INFO, &raw(name))), [ERR_INVALID]);
    }
    assert_eq!(kinds(&mut rig, &option(OPT_INFO, &raw(&long.as_bytes()[1..]))), [ERR_UNKNOWN]);
}

#[test]
fn a_long_option_is_drained_and_a_longer_one_ends_the_session() {
    let mut rig = greeted(3);
    assert_eq!(kinds(&mut rig, &option(OPT_INFO, &vec![0; 65_536])), [ERR_INVALID]);
    assert_eq!(kinds(&mut rig, &option(OPT_INFO, &vec![0; 65_537])), [ERR_TOO_BIG]);
    assert_eq!(kinds(&mut rig, &option(LIST, &vec![0; 1 << 20])), [ERR_TOO_BIG]);
    let header = &option(LIST, &vec![0; (1 << 20) + 1])[..16];
    assert_eq!(kinds(&mut rig, header), [ERR_TOO_BIG]);
    assert!(rig.closing);
}

#[test]
fn haggling_is_bounded_but_more_is_allowed_after_a_list() {
    for (listed, allowed) in [(false, 64), (true, 64 + 2 * 32)] {
        let mut rig = greeted(3);
        for i in 0..allowed {
            let next = if listed && i < 2 { option(LIST, b"") } else { option(99, b"") };
            assert_eq!(kinds(&mut rig, &next).last(), Some(if listed && i < 2 { &ACK } else { &ERR_UNSUP }));
        }
        assert_eq!(kinds(&mut rig, &option(OPT_INFO, &info("vol0", &[]))), [ERR_POLICY]);
        assert!(rig.closing);
    }
}

#[test]
fn contexts_need_structured_replies() {
    let mut rig = greeted(3);
    let all = contexts("vol0", &["base:allocation"]);
    for asks in [LIST_META_CONTEXT, SET_META_CONTEXT] {
        assert_eq!(kinds(&mut rig, &option(asks, &all)), [ERR_INVALID]);
    }
}

#[test]
fn contexts_are_listed_by_wildcard_and_selected_by_name() {
    const NONE: &[u32] = &[ACK];
    const ONE: &[u32] = &[META_CONTEXT, ACK];
    let cases: [(&[&str], &[u32], &[u32]); 6] = [
        (&[], ONE, NONE),
        (&["base:"], ONE, NONE),
        (&["base:allocation"], ONE, ONE),
        (&["base:allocation", "base:allocation", "x:y"], ONE, ONE),
        (&["x-unknown:whatever", "base", "base:other", ""], NONE, NONE),
        (&["x:", "base:"], ONE, NONE),
    ];
    for (queries, listed, set) in cases {
        let mut rig = greeted(3);
        rig.feed(&option(STRUCTURED_REPLY, b""));
        rig.taken();
        assert_eq!(
            kinds(&mut rig, &option(LIST_META_CONTEXT, &contexts("vol0", queries))),
            listed,
            "{queries:?}"
        );
        assert_eq!(
            kinds(&mut rig, &option(SET_META_CONTEXT, &contexts("vol0", queries))),
            set,
            "{queries:?}"
        );
    }
    let mut rig = greeted(3);
    rig.feed(&option(STRUCTURED_REPLY, b""));
    rig.taken();
    rig.feed(&option(SET_META_CONTEXT, &contexts("vol0", &["base:allocation"])));
    let expected = [
        option_reply(SET_META_CONTEXT, META_CONTEXT, b"\0\0\0\x01base:allocation"),
        option_reply(SET_META_CONTEXT, ACK, b""),
    ];
    assert_eq!(rig.taken(), expected.concat());
    assert_eq!(kinds(&mut rig, &option(SET_META_CONTEXT, &contexts("none", &[]))), [ERR_UNKNOWN]);
}

#[test]
fn a_client_waits_to_attach_and_hears_why_it_may_not() {
    let refusals = [
        (Attachment::NotPrimary { primary: Some("node-b".into()) }, ERR_SHUTDOWN, "node-b"),
        (Attachment::NotPrimary { primary: None }, ERR_SHUTDOWN, "no primary"),
        (Attachment::TooMany, ERR_POLICY, "too many"),
        (Attachment::ShuttingDown, ERR_SHUTDOWN, "shutting down"),
    ];
    let mut rig = greeted(3);
    rig.holds.attach = true;
    for (refusal, error, text) in refusals {
        rig.feed(&option(GO, &info("vol0", &[])));
        assert!(rig.taken().is_empty() && !rig.connection.wants_bytes());
        rig.attach(refusal);
        let replies = option_replies(&rig.taken());
        assert_eq!((replies.len(), replies[0].0, replies[0].1), (1, GO, error));
        assert!(String::from_utf8(replies[0].2.clone()).unwrap().contains(text));
    }
    rig.feed(&option(EXPORT_NAME, b"vol0"));
    rig.attach(Attachment::TooMany);
    assert!(rig.closed);
}

#[test]
fn a_handshake_has_ten_seconds_and_a_wait_to_attach_ten_of_its_own() {
    let mut rig = greeted(3);
    let start = rig.now;
    rig.holds.attach = true;
    rig.now.0 += 4_000_000_000;
    rig.feed(&option(GO, &info("vol0", &[])));
    rig.deadline();
    assert_eq!(rig.now.since(start).as_secs(), 14);
    assert_eq!(option_replies(&rig.taken())[0].1, ERR_SHUTDOWN);
    rig.attach(Attachment::Granted);
    assert!(rig.connection.export().is_none(), "an answer that comes late is no answer");
    rig.deadline();
    assert_eq!(rig.now.since(start).as_secs(), 20);
    assert!(rig.closed);
}

#[test]
fn noise_instead_of_an_option_ends_the_session() {
    let mut rig = greeted(3);
    rig.feed(b"GET / HTTP/1.1\r\n");
    assert!(rig.closed);
    assert_eq!(counted("x"), b"\0\0\0\x01x");
}
