//! Certificates of all kinds, for tests.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use seawall_wal::names::ReplicaId;

use super::*;
use crate::net::credentials::Credentials;
use crate::net::identity::uri;

/// A CA.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, changed before it is signed.
    pub(super) fn issue(
        &self,
        uris: &[String],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What that replica of that volume proves itself with, and believes this CA alone.
    pub(super) fn security(&self, volume: VolumeId, replica: u64) -> Security {
        let (certificate, key) = self.issue(&[uri(volume, ReplicaId(replica))], |_| {});
        tls(&self.pem, &certificate, &key)
    }
}

/// TLS with these files.
pub(super) fn tls(ca: &str, certificate: &str, key: &str) -> Security {
    Security::Tls(Arc::new(Credentials::new(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()))
}
