//! TLS between nodes: who is believed, who is not and what is said of it, and what becomes of bytes that were changed,
//! repeated or sent back on their way.

use std::sync::Mutex;

use rcgen::date_time_ymd;
use seawall_sender::greeting::Proven;
use seawall_wal::names::ReplicaId;

use super::mint::{Ca, tls};
use super::site::Site;
use super::*;
use crate::net::credentials::{Credentials, CredentialsError};
use crate::net::identity::uri;
use crate::net::session::Took;

const NEAR: u64 = 1;
const FAR: u64 = 2;
const CALL: LinkId = LinkId(2);

/// Two nodes.
struct Two {
    near: Site,
    far: Site,
}

impl Two {
    fn new(near: Security, far: Security) -> Two {
        Two { near: Site::new(near), far: Site::new(far) }
    }

    fn of(ca: &Ca) -> Two {
        Two::new(ca.security(VOLUME, NEAR), ca.security(VOLUME, FAR))
    }

    fn dial(&mut self, name: LinkId, address: &str) {
        let Site { gear, links, inputs, .. } = &mut self.near;
        assert!(!links.connect(0, name, address, gear, inputs));
    }

    fn until(&mut self, holds: impl Fn(&Two) -> bool) {
        while !holds(self) {
            self.near.turn();
            self.far.turn();
        }
    }

    /// Calls the far node, or whoever stands between, and gives who is proven to have answered.
    fn connect(&mut self, name: LinkId, address: &str) -> Proven {
        self.dial(name, address);
        self.until(|two| !two.near.inputs.is_empty());
        match self.near.inputs.pop_front() {
            Some((0, Input::Connected { link, proven })) if link == name => proven,
            other => panic!("not connected: {other:?}; {:?} {:?}", self.near.refusals(), self.far.refusals()),
        }
    }

    /// Frames from the near node to the far one come through. Who is proven to have sent them, if they are the first.
    fn pass(&mut self, name: LinkId, mark: u8) -> Option<Proven> {
        let received = |two: &Two| {
            let received = two.far.inputs.iter().filter(|(_, input)| matches!(input, Input::Received { .. }));
            received.count()
        };
        self.near.send(name, frame(&[mark], &[]), 0, 0);
        self.near.send(name, frame(&[mark], &[mark; 4096]), mark, 1);
        self.until(|two| received(two) == 2);
        let mut accepted = None;
        while let Some((_, input)) = self.far.inputs.pop_front() {
            match input {
                Input::Accepted { proven, .. } => accepted = Some(proven),
                Input::Received { frame, payload, .. } => {
                    assert_eq!(frame.meta, [mark]);
                    payload.into_iter().for_each(|payload| self.far.gear.pool.release(payload.buf));
                }
                other => panic!("{other:?}"),
            }
        }
        accepted
    }
}

fn proven(replica: u64) -> Proven {
    Proven::Replica { volume: VOLUME, replica: ReplicaId(replica) }
}

#[test]
fn both_ends_hear_who_is_proven_to_be_at_the_other() {
    let mut two = Two::of(&Ca::new("ca"));
    let address = two.far.address.clone();
    assert_eq!(two.connect(CALL, &address), proven(FAR));
    assert_eq!(two.pass(CALL, 1), Some(proven(NEAR)));
    // Whoever listens is told as it is, whomever the machine wanted, and ourselves as well: that is for it to judge.
    let own = two.near.address.clone();
    assert_eq!(two.connect(LinkId(4), &own), proven(NEAR));
}

#[test]
fn a_certificate_for_several_volumes_proves_the_replica_of_the_one_that_is_spoken_of() {
    let ca = Ca::new("ca");
    let (elsewhere, both) = (VolumeId([9; 16]), [(VolumeId([9; 16]), 7), (VOLUME, FAR)]);
    let uris = both.map(|(volume, replica)| uri(volume, ReplicaId(replica)));
    let (certificate, key) = ca.issue(&uris, |_| {});
    let mut two = Two::new(ca.security(elsewhere, NEAR), tls(&ca.pem, &certificate, &key));
    let address = two.far.address.clone();
    assert_eq!(two.connect(CALL, &address), proven(FAR));
    // Not of this volume at all: the machine hears of which it is.
    let stranger = Proven::Replica { volume: elsewhere, replica: ReplicaId(NEAR) };
    assert_eq!(two.pass(CALL, 1), Some(stranger));
}

/// What each side says of a connection that comes to nothing, if anything; nothing is told to the far machine, and to
/// the near one that it is lost.
fn check_refused(near: Security, far: Security, near_says: &str, far_says: &str) {
    let plaintext = matches!(near, Security::Plaintext);
    let mut two = Two::new(near, far);
    let address = two.far.address.clone();
    two.dial(CALL, &address);
    if plaintext {
        two.until(|two| !two.near.inputs.is_empty());
        two.near.send(CALL, frame(&[1], &[]), 0, 0);
    }
    let lost = |two: &Two| two.near.inputs.iter().any(|(_, input)| matches!(input, Input::Lost { .. }));
    two.until(|two| lost(two) && two.near.links.len() + two.far.links.len() == 0);
    assert!(two.far.inputs.is_empty(), "{:?}", two.far.inputs);
    let (near_said, far_said) = (two.near.refusals(), two.far.refusals());
    let check = |said: &[&str], says: &str| match said {
        [] => assert!(says.is_empty(), "nothing was said where {says:?}"),
        [why] => assert!(!says.is_empty() && why.contains(says), "{why:?} where {says:?}"),
        more => panic!("{more:?} where {says:?}"),
    };
    check(&near_said, near_says);
    check(&far_said, far_says);
}

/// A certificate with such dates.
fn dated(ca: &Ca, replica: u64, from: i32, to: i32) -> Security {
    let (certificate, key) = ca.issue(&[uri(VOLUME, ReplicaId(replica))], |params| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
    });
    let read = Credentials::read(ca.pem.as_bytes(), certificate.as_bytes(), key.as_bytes(), false);
    Security::Tls(Arc::new(read.unwrap()))
}

#[test]
fn who_is_signed_by_another_ca_is_refused_by_either_end() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let both = format!("{}{}", ours.pem, theirs.pem);
    let believing = |ca: &Ca, replica| {
        let (certificate, key) = ca.issue(&[uri(VOLUME, ReplicaId(replica))], |_| {});
        tls(&both, &certificate, &key)
    };
    let none = "signed by none of the CAs";
    check_refused(believing(&theirs, NEAR), ours.security(VOLUME, FAR), none, none);
    check_refused(ours.security(VOLUME, NEAR), believing(&theirs, FAR), none, none);
}

#[test]
fn a_certificate_out_of_its_time_is_refused_with_its_dates() {
    let ca = Ca::new("ca");
    let ours = |replica| ca.security(VOLUME, replica);
    let told = "refused our certificate as expired or not yet valid";
    check_refused(
        dated(&ca, NEAR, 2001, 2002),
        ours(FAR),
        told,
        "expired on 2002-01-01 00:00:00 UTC, and it is 20",
    );
    check_refused(ours(NEAR), dated(&ca, FAR, 2001, 2002), "expired on 2002-01-01 00:00:00 UTC", told);
    check_refused(
        dated(&ca, NEAR, 2901, 2902),
        ours(FAR),
        told,
        "valid only from 2901-01-01 00:00:00 UTC on",
    );
}

#[test]
fn who_names_no_replica_is_nobody() {
    let ca = Ca::new("ca");
    for uris in [vec![], vec![uri(VOLUME, ReplicaId(1)), uri(VOLUME, ReplicaId(2))]] {
        let (certificate, key) = ca.issue(&uris, |_| {});
        let read =
            |judged| Credentials::read(ca.pem.as_bytes(), certificate.as_bytes(), key.as_bytes(), judged);
        assert_eq!(read(true).err(), Some(CredentialsError::Nameless));
        let nameless = Security::Tls(Arc::new(read(false).unwrap()));
        check_refused(ca.security(VOLUME, NEAR), nameless, "names no replica", "");
    }
}

#[test]
fn plaintext_and_tls_tell_each_other_apart_and_name_both_settings() {
    let ca = Ca::new("ca");
    let ours = |replica| ca.security(VOLUME, replica);
    let (tls, plaintext) = ("it speaks TLS and this node plaintext", "it speaks plaintext and this node TLS");
    check_refused(Security::Plaintext, ours(FAR), tls, plaintext);
    check_refused(ours(NEAR), Security::Plaintext, plaintext, tls);
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let ca = Ca::new("ca");
    let uris = [uri(VOLUME, ReplicaId(NEAR))];
    let ((certificate, key), (_, other)) = (ca.issue(&uris, |_| {}), ca.issue(&uris, |_| {}));
    let read = |ca: &str, certificate: &str, key: &str| {
        Credentials::new(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).err()
    };
    assert_eq!(read(&ca.pem, &certificate, &key), None);
    assert_eq!(read("", &certificate, &key), Some(CredentialsError::Ca));
    assert_eq!(read(&ca.pem, &key, &key), Some(CredentialsError::Certificate));
    assert_eq!(read(&ca.pem, &certificate, &certificate), Some(CredentialsError::Key));
    assert_eq!(read(&ca.pem, &certificate, &other), Some(CredentialsError::Mismatch));
    let strange = read(&Ca::new("another").pem, &certificate, &key);
    assert!(
        matches!(strange, Some(CredentialsError::Unbelievable { why }) if why.contains("none of the CAs"))
    );
}

/// Stands between two nodes, for one connection: passes everything on, keeps what the near one sent, and may flip a bit
/// of that.
struct Relay {
    address: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    fn to(address: &str, flip: Option<usize>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, target) = (listener.local_addr().unwrap().to_string(), address.to_owned());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        std::thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(target).unwrap();
            let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || copy(back_from, back_to, |_| {}));
            copy(near, far, |bytes| {
                let mut kept = kept.lock().unwrap();
                let from = kept.len();
                kept.extend_from_slice(bytes);
                if let Some(at) = flip.filter(|at| (from * 8..kept.len() * 8).contains(at)) {
                    bytes[at / 8 - from] ^= 1 << (at % 8);
                }
            });
        });
        Relay { address: own, sent }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&mut [u8])) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        see(&mut bytes[..read]);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

#[test]
fn who_only_passes_bytes_on_proves_nothing_of_itself() {
    let mut two = Two::of(&Ca::new("ca"));
    let relay = Relay::to(&two.far.address, None);
    assert_eq!(two.connect(CALL, &relay.address), proven(FAR));
    assert_eq!(two.pass(CALL, 7), Some(proven(NEAR)));
    let sent = relay.sent.lock().unwrap();
    assert!(!sent.windows(16).any(|window| window == [7; 16]), "it can't read what it passes on");
}

#[test]
fn a_bit_that_is_flipped_on_the_way_ends_the_connection_wherever_it_is() {
    let ca = Ca::new("ca");
    let mut two = Two::of(&ca);
    let relay = Relay::to(&two.far.address, None);
    two.connect(CALL, &relay.address);
    let before = |relay: &Relay| relay.sent.lock().unwrap().len() * 8;
    let proving = before(&relay);
    two.pass(CALL, 7);
    let all = before(&relay);
    // Of the handshake some; of the record that carries the frames its header, what is sealed, and the seal. Signatures
    // vary by some bytes, and what is sent with them.
    let handshake = (0..proving).step_by(proving / 12);
    let record = (proving..all - 80).step_by((all - proving) / 40).chain([all - 80]);
    let flips = handshake.chain(record);
    for flip in flips {
        let mut two = Two::of(&ca);
        let relay = Relay::to(&two.far.address, Some(flip));
        two.dial(CALL, &relay.address);
        let mut spoke = false;
        while !two.near.inputs.iter().any(|(_, input)| matches!(input, Input::Lost { .. })) {
            two.near.turn();
            two.far.turn();
            if !spoke && two.near.inputs.iter().any(|(_, input)| matches!(input, Input::Connected { .. })) {
                two.near.send(CALL, frame(&[7], &[]), 0, 0);
                two.near.send(CALL, frame(&[7], &[7; 4096]), 7, 1);
                spoke = true;
            }
            let said = two.far.links.refusals.len() + two.near.links.refusals.len();
            let taken = |input: &Input| matches!(input, Input::Received { payload: Some(_), .. });
            if said == 0 && two.far.inputs.iter().any(|(_, input)| taken(input)) {
                panic!("bit {flip} of {all} was flipped, and the frame was taken");
            }
        }
        two.until(|two| two.near.links.len() + two.far.links.len() == 0);
    }
}

#[test]
fn what_was_recorded_gets_nowhere_when_it_is_said_again() {
    let mut two = Two::of(&Ca::new("ca"));
    let relay = Relay::to(&two.far.address, None);
    two.connect(CALL, &relay.address);
    two.pass(CALL, 7);
    let recorded = relay.sent.lock().unwrap().clone();
    let mut again = TcpStream::connect(&two.far.address).unwrap();
    again.write_all(&recorded).unwrap();
    two.until(|two| !two.far.links.refusals.is_empty());
    assert!(two.far.inputs.is_empty(), "the machine heard of it: {:?}", two.far.inputs);
    assert_eq!(two.far.refusals().len(), 1);
}

#[test]
fn what_comes_back_from_a_mirror_is_no_peer() {
    let mut two = Two::of(&Ca::new("ca"));
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mirror.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (socket, _) = mirror.accept().unwrap();
        copy(socket.try_clone().unwrap(), socket, |_| {});
    });
    two.dial(CALL, &address);
    two.until(|two| !two.near.inputs.is_empty());
    assert!(matches!(two.near.inputs.pop_front(), Some((0, Input::Lost { link: CALL }))));
    assert_eq!(two.near.refusals().len(), 1);
}

#[test]
fn who_says_nothing_is_waited_for_so_long_and_no_longer() {
    let mut two = Two::of(&Ca::new("ca"));
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpStream::connect(&two.far.address).unwrap();
    two.dial(CALL, &deaf.local_addr().unwrap().to_string());
    two.until(|two| two.far.links.len() == 1 && two.near.links.deadline().is_some());
    let (_held, _) = deaf.accept().unwrap();
    for site in [&mut two.near, &mut two.far] {
        let Site { gear, links, inputs, .. } = site;
        links.expire(clock::now().after(Duration::from_secs(11)), gear, inputs);
    }
    assert!(matches!(two.near.inputs.pop_front(), Some((0, Input::Lost { link: CALL }))));
    assert!(two.near.refusals()[0].contains("did not prove in time"), "{:?}", two.near.refusals());
    drop(silent);
    drop(deaf);
    two.until(|two| two.far.links.len() == 0);
}

#[test]
fn keys_and_then_the_ca_are_replaced_while_connections_live_on() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let both = format!("{}{}", old.pem, new.pem);
    let with = |ca: &Ca, roots: &str, replica| {
        let (certificate, key) = ca.issue(&[uri(VOLUME, ReplicaId(replica))], |_| {});
        tls(roots, &certificate, &key)
    };
    let mut two = Two::of(&old);
    let address = two.far.address.clone();
    two.connect(CALL, &address);
    two.pass(CALL, 1);
    // One node and one file at a time: a new leaf, both CAs, leaves of the new CA, the new CA alone.
    let steps: [(Security, Security); 4] = [
        (with(&old, &old.pem, NEAR), with(&old, &old.pem, FAR)),
        (with(&old, &both, NEAR), with(&old, &both, FAR)),
        (with(&new, &both, NEAR), with(&new, &both, FAR)),
        (with(&new, &new.pem, NEAR), with(&new, &new.pem, FAR)),
    ];
    let mut name = 2;
    for (near, far) in steps {
        for (site, security) in [(&mut two.near, near), (&mut two.far, far)] {
            site.links.secure(security);
        }
        name += 2;
        assert_eq!(two.connect(LinkId(name), &address), proven(FAR));
        assert_eq!(two.pass(LinkId(name), 3), Some(proven(NEAR)));
        assert_eq!(two.pass(CALL, 2), None, "the first connection lives on");
    }
    assert!(two.near.refusals().is_empty() && two.far.refusals().is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// From anybody who can reach the listener.
    #[test]
    fn whatever_comes_instead_of_a_handshake_is_refused_or_waited_for(
        from in 0usize..2048,
        changed in proptest::collection::vec(0u8.., 0..64),
        cut in 0usize..4096,
    ) {
        let Security::Tls(credentials) = Ca::new("ca").security(VOLUME, NEAR) else { unreachable!("it is TLS") };
        let mut hello = Session::dial(&credentials).sealed();
        let from = from % hello.len();
        for (byte, change) in hello[from..].iter_mut().zip(&changed) {
            *byte ^= change;
        }
        hello.truncate(cut);
        let mut answerer = Session::accept(&credentials);
        let mut bytes = &hello[..];
        let took = answerer.take(&mut bytes);
        proptest::prop_assert!(matches!(took, Err(_) | Ok(Took::Hungry | Took::Ended)), "{took:?}");
    }
}
