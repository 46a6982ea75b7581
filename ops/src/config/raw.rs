//! The configuration file as it is written: names and shapes, nothing judged yet.

use serde::Deserialize;
use toml::Spanned;

/// The file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) node: Spanned<RawNode>,
    pub(super) volume: RawVolume,
    pub(super) replica: Vec<RawReplica>,
    pub(super) transport: Option<Spanned<RawTransport>>,
    #[serde(default)]
    pub(super) nbd: Vec<RawNbd>,
    #[serde(default)]
    pub(super) limits: RawLimits,
}

/// `[node]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) replica: Spanned<String>,
    pub(super) home: Spanned<String>,
    pub(super) log: Option<Spanned<String>>,
    pub(super) log_size: Option<Spanned<String>>,
    pub(super) branches: Option<Spanned<String>>,
    pub(super) admin: Spanned<String>,
    pub(super) metrics: Option<Spanned<String>>,
}

/// `[volume]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVolume {
    pub(super) name: Spanned<String>,
    pub(super) id: Spanned<String>,
    pub(super) size: Spanned<String>,
    pub(super) commit: Option<Spanned<String>>,
    pub(super) ack: Option<Spanned<String>>,
    pub(super) failover: Option<Spanned<String>>,
    pub(super) no_quorum: Option<Spanned<String>>,
    pub(super) all_patience: Option<Spanned<String>>,
    pub(super) first_primary: Spanned<String>,
}

/// One `[[replica]]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReplica {
    pub(super) name: Spanned<String>,
    pub(super) id: Spanned<String>,
    pub(super) address: Spanned<String>,
    pub(super) voter: Option<bool>,
}

/// `[transport]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTransport {
    pub(super) security: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
}

/// One `[[nbd]]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNbd {
    pub(super) listen: Spanned<String>,
}

/// `[limits]`.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) buffers: Option<Spanned<String>>,
    pub(super) window: Option<Spanned<String>>,
    pub(super) requests: Option<Spanned<usize>>,
    pub(super) quorum_patience: Option<Spanned<String>>,
    pub(super) silence: Option<Spanned<String>>,
    pub(super) lease: Option<Spanned<String>>,
    pub(super) branch_bytes: Option<Spanned<String>>,
    pub(super) branch_time: Option<Spanned<String>>,
}
