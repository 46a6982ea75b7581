//! Who may speak: real nodes under TLS, one of which proves to be somebody else than it should be.

mod bench;

use std::sync::Arc;

use bench::{Client, Cluster, VOLUME, pattern};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use seawall_blockdev::net::credentials::{Credentials, Security};
use seawall_blockdev::net::identity::uri;
use seawall_blockdev::ring::RingSettings;
use seawall_engine::notice::Notice;
use seawall_sender::greeting::Proven;
use seawall_sender::violation::Violation;
use seawall_wal::names::{ReplicaId, VolumeId};

const OTHER: VolumeId = VolumeId([9; 16]);

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    fn of(&self, volume: VolumeId, replica: u64) -> Security {
        let mut params = CertificateParams::default();
        let uri = uri(volume, ReplicaId(replica));
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let read = Credentials::new(self.pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
        Security::Tls(Arc::new(read.unwrap()))
    }
}

/// Three nodes, of which each proves to be this replica of that volume. Node 0 is replica 1 and calls the others.
fn three(ca: &Ca, proves: [(VolumeId, u64); 3]) -> Cluster {
    let security = proves.map(|(volume, replica)| ca.of(volume, replica));
    Cluster::secure(RingSettings::default(), security.to_vec())
}

/// The first thing that a node finds wrong with a peer.
fn violation(cluster: &Cluster, index: usize) -> Violation {
    loop {
        let told = cluster.node(index).notices().recv().expect("the node runs");
        if let Notice::PeerViolated { violation } = told.notice {
            return violation;
        }
    }
}

#[test]
fn three_nodes_that_prove_who_they_are_keep_a_volume() {
    let cluster = three(&Ca::new(), [(VOLUME, 1), (VOLUME, 2), (VOLUME, 3)]);
    cluster.serving(0);
    cluster.in_sync(0, 2);
    let mut client = Client::connect(&cluster.socket(0));
    for chunk in 0..8 {
        client.write(chunk << 20, &pattern(chunk, 1 << 20));
    }
    assert!(client.read(0, 1 << 20) == pattern(0, 1 << 20));
    assert_eq!(cluster.counter(0, "peers_refused"), 0);
}

#[test]
fn who_answers_with_anothers_certificate_is_not_spoken_to() {
    // A swapped pair: replica 2's certificate where replica 3 was called.
    let cluster = three(&Ca::new(), [(VOLUME, 1), (VOLUME, 2), (VOLUME, 2)]);
    let proven = Proven::Replica { volume: VOLUME, replica: ReplicaId(2) };
    assert_eq!(violation(&cluster, 0), Violation::Unproven { claimed: ReplicaId(3), proven });
    // The other two are a majority, and go on.
    cluster.serving(0);
    cluster.in_sync(0, 1);
}

#[test]
fn who_claims_to_be_another_than_its_certificate_names_is_refused() {
    let cluster = three(&Ca::new(), [(VOLUME, 3), (VOLUME, 2), (VOLUME, 3)]);
    let proven = Proven::Replica { volume: VOLUME, replica: ReplicaId(3) };
    assert_eq!(violation(&cluster, 1), Violation::Unproven { claimed: ReplicaId(1), proven });
    assert_eq!(violation(&cluster, 2), Violation::Reflected { replica: ReplicaId(3) });
}

#[test]
fn who_is_no_member_or_of_another_volume_is_refused_whatever_it_claims() {
    let cluster = three(&Ca::new(), [(VOLUME, 9), (VOLUME, 2), (VOLUME, 3)]);
    // Who hears of no primary hears strangers out, since it may have missed a change; but not one that is somebody else.
    let proven = Proven::Replica { volume: VOLUME, replica: ReplicaId(9) };
    let stranger = Violation::NotMember { replica: ReplicaId(9) };
    let claims = Violation::Unproven { claimed: ReplicaId(1), proven };
    let refused = violation(&cluster, 1);
    assert!(refused == stranger || refused == claims, "{refused:?}");
    let cluster = three(&Ca::new(), [(OTHER, 1), (VOLUME, 2), (VOLUME, 3)]);
    assert_eq!(violation(&cluster, 2), Violation::WrongVolume { expected: VOLUME, found: OTHER });
}
