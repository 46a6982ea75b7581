//! What a certificate says, for people. Nothing is believed because of it: that is for the TLS library to judge.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::net::date;
use crate::net::identity::{self, Name};

/// `id-at-commonName`, 2.5.4.3 (RFC 5280, appendix A.1).
const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
/// Tags of DER (X.690) as certificates use them.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What one certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The common name of whom it is for; empty if it has none.
    pub subject: String,
    /// The common name of who signed it.
    pub issuer: String,
    /// Valid from then on, in seconds since the beginning of 1970.
    pub from: u64,
    /// Valid until then.
    pub until: u64,
    /// The replicas that it names.
    pub names: Vec<Name>,
}

/// All certificates of a PEM file; nothing if one of them can't be read.
#[must_use]
pub fn read(pem: &[u8]) -> Option<Vec<Certificate>> {
    CertificateDer::pem_slice_iter(pem).map(|der| certificate(&der.ok()?)).collect()
}

/// Certificate, `TBSCertificate` (RFC 5280, section 4.1).
fn certificate(der: &CertificateDer<'_>) -> Option<Certificate> {
    let mut signed = Items(Items(der).one(SEQUENCE)?).one(SEQUENCE).map(Items)?;
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    let _serial_number = signed.next()?;
    let _signature = signed.next()?;
    let issuer = common_name(signed.one(SEQUENCE)?);
    let mut validity = Items(signed.one(SEQUENCE)?);
    let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
    let subject = common_name(signed.one(SEQUENCE)?);
    Some(Certificate { subject, issuer, from, until, names: identity::names(der) })
}

/// The common name among the relative names of a name; empty if there is none.
fn common_name(name: &[u8]) -> String {
    let mut sets = Items(name);
    while let Some((SET, set)) = sets.next() {
        let mut pair = Items(Items(set).one(SEQUENCE).unwrap_or_default());
        if pair.next().is_some_and(|(_, kind)| kind == COMMON_NAME) {
            return pair
                .next()
                .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
                .unwrap_or_default();
        }
    }
    String::new()
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5), as seconds since the beginning of 1970.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = date::days(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    Some(((days * 24 + number(8, 10)?) * 60 + number(10, 12)?) * 60 + number(12, 14)?)
}

/// Items of DER, one after the other: tag and contents.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut bytes = usize::from(first);
        if first & 0x80 != 0 {
            let digits = usize::from(first & 0x7f);
            if digits > 3 {
                return None;
            }
            bytes = rest.get(..digits)?.iter().fold(0, |bytes, digit| bytes << 8 | usize::from(*digit));
            rest = &rest[digits..];
        }
        let contents = rest.get(..bytes)?;
        self.0 = &rest[bytes..];
        Some((tag, contents))
    }

    /// The next one, if it has this tag.
    fn one(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};
    use seawall_wal::names::{ReplicaId, VolumeId};

    #[test]
    fn a_certificate_says_whose_it_is_and_how_long() {
        let name = (VolumeId([3; 16]), ReplicaId(5));
        for until in [2049, 2050, 2999] {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "who");
            params.not_before = date_time_ymd(1999, 12, 31);
            params.not_after = date_time_ymd(until, 2, 1);
            params.subject_alt_names =
                vec![SanType::URI(identity::uri(name.0, name.1).as_str().try_into().unwrap())];
            let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            let read = read(format!("{pem}{pem}").as_bytes()).unwrap();
            assert_eq!((read.len(), &read[0]), (2, &read[1]));
            assert_eq!((&*read[0].subject, &*read[0].issuer, &*read[0].names), ("who", "who", &[name][..]));
            assert_eq!(date::show(read[0].from), "1999-12-31 00:00:00 UTC");
            assert_eq!(date::show(read[0].until), format!("{until}-02-01 00:00:00 UTC"));
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_none() {
        let params = CertificateParams::default();
        let whole = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for cut in 0..whole.der().len() {
            assert_eq!(certificate(&CertificateDer::from(&whole.der()[..cut])), None);
        }
    }
}
