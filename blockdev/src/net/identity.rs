//! The name of a replica in a certificate: a URI among the subject's alternative names.
//!
//! `seawall://<volume>/<replica>`: the volume's 32 and the replica's 16 hexadecimal digits, in small letters. A
//! certificate may name one replica of each of several volumes, for a node that keeps several.

use rustls::pki_types::CertificateDer;
use seawall_wal::names::{ReplicaId, VolumeId};

/// Which replica of which volume.
pub type Name = (VolumeId, ReplicaId);

/// The URI that names a replica.
#[must_use]
pub fn uri(volume: VolumeId, replica: ReplicaId) -> String {
    let volume: String = volume.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("seawall://{volume}/{:016x}", replica.0)
}

/// The replica that a URI names, if it names one.
#[must_use]
pub fn parse(uri: &str) -> Option<Name> {
    let (volume, replica) = uri.strip_prefix("seawall://")?.split_once('/')?;
    let small = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if volume.len() != 32 || replica.len() != 16 || !small(volume) || !small(replica) {
        return None;
    }
    let volume = u128::from_str_radix(volume, 16).ok()?.to_be_bytes();
    Some((VolumeId(volume), ReplicaId(u64::from_str_radix(replica, 16).ok()?)))
}

/// The replicas that a certificate names. None if it can't be read, or names two replicas of one volume: who could be
/// either is neither.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<Name> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names: Vec<Name> = parsed.valid_uri_names().filter_map(parse).collect();
    let twice = |(at, name): (usize, &Name)| names[..at].iter().any(|other| other.0 == name.0);
    if names.iter().enumerate().any(twice) { Vec::new() } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_uri_and_nothing_else_is_one() {
        let name = (VolumeId(*b"0123456789abcdef"), ReplicaId(0xb0b));
        let uri = uri(name.0, name.1);
        assert_eq!(uri, "seawall://30313233343536373839616263646566/0000000000000b0b");
        assert_eq!(parse(&uri), Some(name));
        for wrong in [
            uri.to_uppercase(),
            uri.replace("seawall", "https"),
            uri.replace('b', "B"),
            format!("{uri}/"),
            format!("{uri}0"),
            uri.replace("0b0b", "+b0b"),
            uri[..uri.len() - 1].to_owned(),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }
}
