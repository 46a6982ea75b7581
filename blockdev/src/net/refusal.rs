//! Why a connection of two nodes came to nothing, in words that name what both sides have to have.

use rustls::{AlertDescription, CertificateError, Error};

use crate::net::date;

/// What a plaintext node is told when the other end speaks TLS.
pub(crate) const SPEAKS_TLS: &str = "it speaks TLS and this node plaintext: [transport] security is \"tls\" there and \
                                     \"plaintext\" here; make both the same";
/// What a TLS node is told when the other end speaks plaintext.
pub(crate) const SPEAKS_PLAINTEXT: &str = "it speaks plaintext and this node TLS: [transport] security is \"plaintext\" \
                                           there and \"tls\" here; make both the same";
/// What a TLS node is told when a connection that it opened ends before it knows with whom.
pub(crate) const ENDED_EARLY: &str =
    "it ended the connection before it had proven who it is; if it is a replica, its log says why";
/// What a TLS node is told when the other end takes too long.
pub(crate) const TOOK_TOO_LONG: &str = "it did not prove in time who it is";
/// What a TLS node is told of a certificate without a name.
pub(crate) const NAMELESS: &str =
    "its certificate names no replica (seawall://volume/replica): issue one with `seawall pki issue`";
/// What a TLS node is told of a peer that wants to speak something else.
pub(crate) const OTHER_PROTOCOL: &str = "it does not say that it speaks Seawall's protocol";

/// What is wrong with a certificate, by the error with which it was judged.
pub(crate) fn of_certificate(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "it expired on {}, and it is {} here",
            date::show(not_after.as_secs()),
            date::show(time.as_secs())
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "it is valid only from {} on, and it is {} here: compare the clocks",
            date::show(not_before.as_secs()),
            date::show(time.as_secs())
        ),
        CertificateError::UnknownIssuer => String::from(
            "it is signed by none of the CAs in this node's CA file; while CAs change, that file holds both",
        ),
        other => other.to_string(),
    }
}

/// What a peer said when it ended the handshake.
fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => String::from(
            "it refused our certificate as expired or not yet valid; its log says by which dates",
        ),
        AlertDescription::UnknownCA => {
            String::from("it refused our certificate: it is signed by none of the CAs in its CA file")
        }
        AlertDescription::CertificateRequired => String::from("it wants a certificate of us"),
        AlertDescription::ProtocolVersion => {
            String::from("it speaks no TLS 1.3, or it did not take what we said for TLS")
        }
        other => format!("it ended the connection with the TLS alert {other:?}; its log says why"),
    }
}

/// Why TLS gave up.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(_) => format!("its certificate is refused: {}", of_certificate(error)),
        Error::NoCertificatesPresented => String::from("it presents no certificate"),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::DecryptError => {
            String::from("what came was changed on its way, or was not meant for this connection")
        }
        other => format!("it does not keep to TLS: {other}"),
    }
}
