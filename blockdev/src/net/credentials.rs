//! What a node proves itself with, and by what it knows its peers: a certificate, its key, and the cluster's CAs.
//!
//! Mutual TLS 1.3 and nothing older. No session is resumed and nothing is said early: every connection proves anew who
//! is at its ends, with the files as they were when it began.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, ServerConfig,
    SignatureScheme, version,
};

use crate::net::identity::{self, Name};
use crate::net::{certificate, refusal};

/// What both ends say that they speak inside of TLS (RFC 7301), so that no other service's connection is taken for one.
pub(crate) const PROTOCOL: &[u8] = b"seawall";

/// How a node speaks with its peers.
#[derive(Clone, Debug)]
pub enum Security {
    /// As it is: who is at the other end is only claimed, and everybody on the way can read and change it.
    Plaintext,
    /// Mutual TLS.
    Tls(Arc<Credentials>),
}

/// A file that can't be used, or that does not fit the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialsError {
    /// There is no certificate of a CA in the CA file, or one that can't be read.
    Ca,
    /// There is no certificate in the certificate file, or it can't be read.
    Certificate,
    /// There is no private key in the key file, or none that can be used.
    Key,
    /// The key is not that of the certificate.
    Mismatch,
    /// The certificate names no replica, or two of one volume.
    Nameless,
    /// Peers with the same CA file would not believe the certificate.
    Unbelievable {
        /// Why.
        why: String,
    },
    /// The TLS library accepts none of it.
    Library {
        /// Why.
        why: String,
    },
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialsError::Ca => "the CA file holds no certificate that can be read (PEM)",
            CredentialsError::Certificate => {
                "the certificate file holds no certificate that can be read (PEM)"
            }
            CredentialsError::Key => "the key file holds no private key that can be used (PEM, PKCS#8)",
            CredentialsError::Mismatch => "the key is not that of the certificate",
            CredentialsError::Nameless => {
                "the certificate names no replica (seawall://volume/replica), or two"
            }
            CredentialsError::Unbelievable { why } => {
                return write!(f, "peers would not believe the certificate: {why}");
            }
            CredentialsError::Library { why } => return write!(f, "TLS can't be set up: {why}"),
        })
    }
}

impl std::error::Error for CredentialsError {}

/// A certificate, its key, and the CAs that are believed.
pub struct Credentials {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    names: Vec<Name>,
    until: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the contents of the three files, each in PEM. The CA file may hold several CAs, while one replaces
    /// another; the certificate file may hold intermediate certificates after the node's own.
    ///
    /// # Errors
    /// If one can't be read, if they do not fit, or if peers would not believe the certificate at this moment.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Credentials, CredentialsError> {
        Credentials::read(ca, certificate, key, true)
    }

    /// As [`Credentials::new`]; what peers would think of the certificate only matters if it is to be `judged`.
    pub(crate) fn read(
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
        judged: bool,
    ) -> Result<Credentials, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(ca) {
            roots.add(ca.map_err(|_| CredentialsError::Ca)?).map_err(|_| CredentialsError::Ca)?;
        }
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| CredentialsError::Certificate)?;
        let Some((own, between)) = chain.split_first() else { return Err(CredentialsError::Certificate) };
        if roots.is_empty() {
            return Err(CredentialsError::Ca);
        }
        let names = identity::names(own);
        if names.is_empty() && judged {
            return Err(CredentialsError::Nameless);
        }
        let key = || PrivateKeyDer::from_pem_slice(key).map_err(|_| CredentialsError::Key);
        let provider = Arc::new(provider());
        let members = Members { roots: Arc::new(roots), provider: Arc::clone(&provider) };
        let now =
            UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        match members.judge(own, between, now) {
            Err(error) if judged => {
                return Err(CredentialsError::Unbelievable { why: refusal::of_certificate(&error) });
            }
            Ok(()) | Err(_) => {}
        }
        let library = |error: &dyn fmt::Display| CredentialsError::Library { why: error.to_string() };
        let keyed = |error: Error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CredentialsError::Mismatch,
            Error::General(_) => CredentialsError::Key,
            other => CredentialsError::Library { why: other.to_string() },
        };
        let guests =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&members.roots), Arc::clone(&provider))
                .build()
                .map_err(|error| library(&error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| library(&error))?
            .with_client_cert_verifier(guests)
            .with_single_cert(chain.clone(), key()?)
            .map_err(keyed)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| library(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(members))
            .with_client_auth_cert(chain, key()?)
            .map_err(keyed)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        // What can't be read here is valid for ever: the library has believed it.
        let until =
            certificate::read(certificate).and_then(|read| Some(read.first()?.until)).unwrap_or(u64::MAX);
        Ok(Credentials { client: Arc::new(client), server: Arc::new(server), names, until })
    }

    /// Until when the certificate is valid, in seconds since the beginning of 1970.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.until
    }

    /// The replicas that the certificate names.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.names
    }
}

/// AES-128 first: on processors with AES instructions a third cheaper than AES-256, and as far out of reach.
fn provider() -> CryptoProvider {
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ];
    CryptoProvider { cipher_suites, ..default_provider() }
}

/// Believes whoever has a certificate of one of the CAs. Not by its address: an address may change at any time. Whether
/// it is the replica that was wanted is judged by the machine that wanted it.
#[derive(Debug)]
struct Members {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Members {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(own)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, between, now, algorithms)
    }
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("nothing older than TLS 1.3 is spoken")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
