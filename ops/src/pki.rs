//! `seawall pki`: keys for a cluster that has no other authority to make them.
//!
//! A directory holds the CA (`ca.pem`, `ca.key`) and, for each replica, its certificate and key (`NAME.pem`,
//! `NAME.key`). Certificates name a replica as [`identity::uri`] writes it; those of any other authority that do are as
//! good.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use seawall_blockdev::net::certificate::{self, Certificate};
use seawall_blockdev::net::{date, identity};

use crate::config::{Config, Replica};
use crate::fault::{Exit, Fault};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// How long a CA is valid if nothing else is asked for: 20 years.
const CA_DAYS: u64 = 20 * 365;
/// How long a replica's certificate is valid if nothing else is asked for: 10 years.
const REPLICA_DAYS: u64 = 10 * 365;

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum Act {
    /// Make a new CA in a directory: `ca.pem` and `ca.key`. Whoever has the key can make replicas.
    Init(Init),
    /// Make a certificate and a key for each replica of a volume, in the CA's directory. What is there is replaced.
    Issue(Issue),
    /// Show what certificates say.
    Show {
        /// A PEM file.
        file: PathBuf,
    },
}

/// How a CA is made.
#[derive(Args, Debug)]
pub struct Init {
    /// The directory.
    pub dir: PathBuf,
    /// Days until it expires.
    #[arg(long, default_value_t = CA_DAYS)]
    pub days: u64,
}

/// How replicas' certificates are made.
#[derive(Args, Debug)]
pub struct Issue {
    /// The CA's directory.
    pub dir: PathBuf,
    /// The configuration of any node of the volume.
    #[arg(long)]
    pub config: PathBuf,
    /// Only for the replica of this name.
    #[arg(long)]
    pub replica: Option<String>,
    /// Days until they expire.
    #[arg(long, default_value_t = REPLICA_DAYS)]
    pub days: u64,
}

/// Do what was asked. What there is to say of it.
///
/// # Errors
/// If it can't be done.
pub fn run(act: &Act) -> Result<String, Fault> {
    match act {
        Act::Init(Init { dir, days }) => {
            init(dir, *days)?;
            let (ca, key) = (dir.join("ca.pem"), dir.join("ca.key"));
            Ok(format!(
                "{}: every node gets a copy, as `ca` in [transport]\n{}: stays here, and secret: whoever has it can make \
                 replicas\n\nNext:  seawall pki issue {} --config VOLUME.toml\n",
                ca.display(),
                key.display(),
                dir.display()
            ))
        }
        Act::Issue(asked) => {
            let config = Config::load(&asked.config)?;
            let issued = issue(&asked.dir, &config, asked.replica.as_deref(), asked.days)?;
            Ok(show_issued(&config, &issued))
        }
        Act::Show { file } => show(file),
    }
}

/// The files of one replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// Its name.
    pub name: String,
    /// Where its certificate is.
    pub certificate: PathBuf,
    /// Where its key is.
    pub key: PathBuf,
}

/// Make a new CA in a directory, which is made if it is not there.
///
/// # Errors
/// If there is one, or it can't be written.
pub fn init(dir: &Path, days: u64) -> Result<(), Fault> {
    let (path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    if let Some(there) = [&path, &key_path].into_iter().find(|path| path.exists()) {
        return Err(Fault::new(Exit::Occupied, format!("{} is there already", there.display()))
            .expected("a directory without a CA")
            .next("to replace a CA, make the new one in another directory. Nothing was changed"));
    }
    fs::create_dir_all(dir).map_err(|error| Fault::io("make", dir, &error))?;
    let key = KeyPair::generate().map_err(|error| made(&error))?;
    let mut params = authority(&key);
    set_validity(&mut params, days)?;
    let certificate = params.self_signed(&key).map_err(|error| made(&error))?;
    write(&key_path, &key.serialize_pem(), 0o600)?;
    write(&path, &certificate.pem(), 0o644)
}

/// Make certificate and key of each replica of a volume, or of one of them.
///
/// # Errors
/// If there is no CA, no such replica, or a file can't be written.
pub fn issue(dir: &Path, config: &Config, only: Option<&str>, days: u64) -> Result<Vec<Issued>, Fault> {
    let path = dir.join("ca.key");
    let text = fs::read_to_string(&path).map_err(|error| {
        Fault::io("read the CA's key", &path, &error)
            .next(format!("make a CA first: seawall pki init {}", dir.display()))
    })?;
    let bad = |error: rcgen::Error| {
        Fault::new(Exit::Keys, format!("{} holds no private key that can be used", path.display()))
            .found(error.to_string())
            .expected("the file that `seawall pki init` made")
    };
    let key = KeyPair::from_pem(&text).map_err(bad)?;
    let issuer = Issuer::new(authority(&key), key);
    let chosen: Vec<&Replica> =
        config.replicas.iter().filter(|replica| only.is_none_or(|name| replica.name == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = config.replicas.iter().map(|replica| replica.name.as_str()).collect();
        return Err(Fault::new(Exit::Config, "the volume has no replica of that name")
            .found(format!("{:?}", only.unwrap_or_default()))
            .expected(format!("one of {}", names.join(", "))));
    }
    chosen.into_iter().map(|replica| issue_one(dir, config, replica, days, &issuer)).collect()
}

fn issue_one(
    dir: &Path,
    config: &Config,
    replica: &Replica,
    days: u64,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Issued, Fault> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, days)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let title = format!("replica {} of volume {}", replica.name, config.name);
    params.distinguished_name.push(DnType::CommonName, title);
    let uri = identity::uri(config.volume, replica.id);
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("a URI of plain letters"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A replica calls and is called.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|error| made(&error))?;
    let certificate = params.signed_by(&key, issuer).map_err(|error| made(&error))?;
    let stem = stem(replica);
    let issued = Issued {
        name: replica.name.clone(),
        certificate: dir.join(format!("{stem}.pem")),
        key: dir.join(format!("{stem}.key")),
    };
    write(&issued.key, &key.serialize_pem(), 0o600)?;
    write(&issued.certificate, &certificate.pem(), 0o644)?;
    Ok(issued)
}

/// The CA of this key. All but its dates follows from the key, so that the key alone makes certificates.
fn authority(key: &KeyPair) -> CertificateParams {
    let public = key.der_bytes();
    let tail: String = public[public.len() - 6..].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Seawall CA {tail}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From yesterday on, since clocks differ.
fn set_validity(params: &mut CertificateParams, days: u64) -> Result<(), Fault> {
    let today = now() / DAY;
    // The last year that a certificate's dates can say is 9999.
    let last = date::days(9999, 12, 31).expect("a date");
    if days == 0 || today + days > last {
        return Err(Fault::new(Exit::Config, "this is no time that a certificate can be valid")
            .found(format!("{days} days"))
            .expected(format!("1 to {} days", last - today)));
    }
    let moment = |days| {
        let (year, month, day) = date::civil(days);
        date_time_ymd(i32::try_from(year).expect("before 10000"), month, day)
    };
    (params.not_before, params.not_after) = (moment(today - 1), moment(today + days));
    Ok(())
}

/// What the files of a replica are called: as it is, if that is fit for a file.
fn stem(replica: &Replica) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if replica.name.chars().all(plain) && !replica.name.starts_with('.') && replica.name != "ca" {
        replica.name.clone()
    } else {
        replica.id.to_string()
    }
}

/// Whole or not at all: a running node may look at the file at any moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::io("write", path, &error);
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside).map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    fs::rename(&beside, path).map_err(fault)
}

fn made(error: &rcgen::Error) -> Fault {
    Fault::new(Exit::Other, "no key or certificate could be made").found(error.to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn show_issued(config: &Config, issued: &[Issued]) -> String {
    let mut text = String::new();
    for one in issued {
        let _ =
            writeln!(text, "{} and {}: replica {}", one.certificate.display(), one.key.display(), one.name);
    }
    let shown = issued.iter().find(|one| one.name == config.own().name).or(issued.first());
    if let Some(one) = shown {
        let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _ = write!(
            text,
            "\nCopy to each node its own two files and ca.pem, beside its configuration, and say there (replica {}):\n\n\
             [transport]\nca = \"ca.pem\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            one.name,
            file(&one.certificate),
            file(&one.key)
        );
    }
    text
}

fn show(path: &Path) -> Result<String, Fault> {
    let pem = fs::read(path).map_err(|error| Fault::io("read", path, &error))?;
    let certificates = certificate::read(&pem).filter(|found| !found.is_empty()).ok_or_else(|| {
        Fault::new(Exit::Keys, format!("{} holds no certificate that can be read", path.display()))
            .expected("certificates in PEM")
    })?;
    Ok(certificates.iter().map(|one| show_one(one, now())).collect::<Vec<_>>().join("\n"))
}

fn show_one(certificate: &Certificate, now: u64) -> String {
    let Certificate { subject, issuer, from, until, names } = certificate;
    let state = match (now < *from, now > *until) {
        (true, _) => "NOT YET".to_owned(),
        (_, true) => "EXPIRED".to_owned(),
        (false, false) => format!("for {} more days", (until - now) / DAY),
    };
    let mut text = format!(
        "{subject}\n  signed by  {issuer}\n  valid      {} to {}, {state}\n",
        date::show(*from),
        date::show(*until)
    );
    for (volume, replica) in names {
        let _ = writeln!(text, "  proves     replica {replica} of volume {volume}");
    }
    text
}
