//! Turns written values into judged ones, or points at what is wrong.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_blockdev::branches::Branches;
use seawall_engine::setup::{Ack, CommitRule, Failover};
use seawall_wal::names::{BLOCK_BYTES, VolumeId};
use seawall_wal::superblock::MEMBERS_MAX;
use toml::Spanned;

use super::page::Page;
use super::raw::{Raw, RawReplica, RawTransport, RawVolume};
use super::shape::nearest;
use super::{
    AllPatience, BRANCH_BYTES_DEFAULT, BRANCH_TIME_DEFAULT, BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MIN, Config,
    KeyFiles, LOG_BYTES_DEFAULT, LOG_BYTES_MIN, Limits, Listen, NAME_BYTES_MAX, NoQuorum, Replica,
    SILENCE_MIN, SOCKET_PATH_BYTES_MAX, Transport, VOLUME_BYTES_MIN, WINDOW_BYTES_MIN,
};
use crate::fault::Fault;
use crate::quantity;

/// The page, and the directory that its paths are relative to.
pub(super) struct Judge<'a> {
    pub(super) page: &'a Page,
    pub(super) base: &'a Path,
}

impl Judge<'_> {
    pub(super) fn config(&self, path: &Path, raw: &Raw) -> Result<Config, Fault> {
        let node = raw.node.get_ref();
        let replicas = self.replicas(&raw.replica, raw.node.span())?;
        let own = self.replica_named(&replicas, &node.replica)?;
        let first = self.replica_named(&replicas, &raw.volume.first_primary)?;
        if !first.voter {
            return Err(self
                .fault(&raw.volume.first_primary, "the first primary must be a voter")
                .next(format!("name a voter, or make {} one with `voter = true`", first.name)));
        }
        let (replica, first_primary) = (own.id, first.id);
        let limits = &raw.limits;
        Ok(Config {
            path: path.to_owned(),
            replica,
            home: self.path(&node.home)?,
            log: node.log.as_ref().map(|log| self.path(log)).transpose()?,
            log_bytes: self.log_bytes(node.log_size.as_ref())?,
            branches: self.branches(raw)?,
            admin: self.socket(&node.admin, node.admin.get_ref())?,
            metrics: node.metrics.as_ref().map(|text| self.address(text)).transpose()?,
            transport: raw.transport.as_ref().map_or(Ok(Transport::Unsaid), |raw| self.transport(raw))?,
            nbd: raw.nbd.iter().map(|nbd| self.listen(&nbd.listen)).collect::<Result<_, _>>()?,
            name: self.volume_name(&raw.volume.name)?,
            volume: self.volume_id(&raw.volume)?,
            volume_bytes: self.volume_bytes(&raw.volume)?,
            commit: self.commit(raw)?,
            ack: self
                .choice(raw.volume.ack.as_ref(), &[("durable", Ack::Durable), ("written", Ack::Written)])?,
            failover: self.choice(
                raw.volume.failover.as_ref(),
                &[("automatic", Failover::Automatic), ("manual", Failover::Manual)],
            )?,
            no_quorum: self.no_quorum(raw)?,
            all_patience: self.all_patience(raw)?,
            first_primary,
            replicas,
            limits: Limits {
                buffer_bytes: self.buffer_bytes(limits.buffers.as_ref())?,
                window_bytes: limits
                    .window
                    .as_ref()
                    .map(|text| self.size_within(text, WINDOW_BYTES_MIN))
                    .transpose()?,
                requests: limits.requests.as_ref().map(|number| self.count(number)).transpose()?,
                quorum_patience: limits.quorum_patience.as_ref().map(|t| self.duration(t)).transpose()?,
                silence: limits.silence.as_ref().map(|t| self.silence(t)).transpose()?,
                lease: limits.lease.as_ref().map(|t| self.silence(t)).transpose()?,
            },
        })
    }

    fn commit(&self, raw: &Raw) -> Result<CommitRule, Fault> {
        let rules = [("majority", CommitRule::Majority), ("all", CommitRule::All), ("one", CommitRule::One)];
        self.choice(raw.volume.commit.as_ref(), &rules)
    }

    /// Clients would be told of a missing quorum before the set is without the copy that is missing.
    fn all_patience(&self, raw: &Raw) -> Result<AllPatience, Fault> {
        let Some(text) = &raw.volume.all_patience else { return Ok(AllPatience::Usual) };
        if self.commit(raw)? != CommitRule::All {
            return Err(self
                .fault(text, "only commit rule \"all\" waits for each copy")
                .found("all_patience without commit = \"all\"")
                .next("leave it out, or say commit = \"all\""));
        }
        if text.get_ref() == "wait" {
            return Ok(AllPatience::Wait);
        }
        let patience = self.duration(text)?;
        let quorum = raw.limits.quorum_patience.as_ref().map(|t| self.duration(t)).transpose()?;
        let quorum = quorum.or(seawall_engine::setup::Limits::default().quorum_patience);
        match quorum.filter(|_| raw.volume.no_quorum.as_ref().is_none_or(|policy| policy.get_ref() != "wait"))
        {
            Some(quorum) if patience >= quorum => Err(self
                .fault(text, "requests would end with an error before the copy they wait for is dropped")
                .found(format!("{patience:?}"))
                .expected(format!("less than quorum_patience, which is {quorum:?}; or \"wait\""))
                .next("choose a shorter time")),
            Some(_) | None => Ok(AllPatience::For(patience)),
        }
    }

    fn no_quorum(&self, raw: &Raw) -> Result<NoQuorum, Fault> {
        let policies = [("error", NoQuorum::Error), ("wait", NoQuorum::Wait)];
        let policy = self.choice(raw.volume.no_quorum.as_ref(), &policies)?;
        match &raw.limits.quorum_patience {
            Some(patience) if policy == NoQuorum::Wait => Err(self
                .fault(patience, "requests that wait for ever have no patience")
                .found("quorum_patience beside no_quorum = \"wait\"")
                .expected("one of them")
                .next("leave quorum_patience out, or say no_quorum = \"error\"")),
            Some(_) | None => Ok(policy),
        }
    }

    fn fault<T>(&self, value: &Spanned<T>, what: &str) -> Fault {
        self.page.fault(value.span(), what)
    }

    fn replicas(&self, raw: &[RawReplica], node: Range<usize>) -> Result<Vec<Replica>, Fault> {
        let mut replicas: Vec<Replica> = Vec::new();
        for entry in raw {
            let name = entry.name.get_ref();
            let Some(id) = quantity::replica_id(entry.id.get_ref()) else {
                return Err(self
                    .fault(&entry.id, "this is no replica identity")
                    .found(format!("{:?}", entry.id.get_ref()))
                    .expected("r- and up to 16 hexadecimal digits, not all zero")
                    .next("write the identity that the replica's disk was formatted with"));
            };
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                return Err(self
                    .fault(&entry.name, "this name can't be used")
                    .found(format!("{name:?}"))
                    .expected(format!("1 to {NAME_BYTES_MAX} bytes, no control characters")));
            }
            let address = self.address(&entry.address)?;
            for other in &replicas {
                let twice = [
                    (&entry.name, "name", other.name == *name),
                    (&entry.id, "id", other.id == id),
                    (&entry.address, "address", other.address == address),
                ];
                if let Some((value, key, _)) = twice.into_iter().find(|(_, _, same)| *same) {
                    return Err(self
                        .fault(value, &format!("two replicas have the same {key}"))
                        .found(format!("{:?}, which replica {:?} has too", value.get_ref(), other.name))
                        .next(format!("give each replica its own {key}")));
                }
            }
            replicas.push(Replica { name: name.clone(), id, address, voter: entry.voter.unwrap_or(true) });
        }
        if replicas.len() > MEMBERS_MAX {
            return Err(self
                .page
                .fault(node, "too many replicas")
                .found(replicas.len().to_string())
                .expected(format!("at most {MEMBERS_MAX} [[replica]] entries")));
        }
        if replicas.iter().any(|r| r.voter) {
            return Ok(replicas);
        }
        Err(self.page.fault(node, "no replica votes").expected("at least one [[replica]] with voter = true"))
    }

    fn replica_named<'r>(
        &self,
        replicas: &'r [Replica],
        name: &Spanned<String>,
    ) -> Result<&'r Replica, Fault> {
        replicas.iter().find(|r| r.name == *name.get_ref()).ok_or_else(|| {
            let names: Vec<&str> = replicas.iter().map(|r| r.name.as_str()).collect();
            self.fault(name, "no [[replica]] has this name")
                .found(format!("{:?}", name.get_ref()))
                .expected(format!("one of {}", names.join(", ")))
                .next("correct the name, or add a [[replica]] of that name")
        })
    }

    fn transport(&self, raw: &Spanned<RawTransport>) -> Result<Transport, Fault> {
        let RawTransport { security, ca, certificate, key } = raw.get_ref();
        let files = [("ca", ca), ("certificate", certificate), ("key", key)];
        if !self.choice(security.as_ref(), &[("tls", true), ("plaintext", false)])? {
            let given = files.iter().find_map(|(name, path)| Some((name, path.as_ref()?)));
            return given.map_or(Ok(Transport::Plaintext), |(name, path)| {
                Err(self
                    .fault(path, "plaintext needs no keys")
                    .found(format!("`{name}` beside security = \"plaintext\""))
                    .next("remove the keys; or, to use them, the line with `security`"))
            });
        }
        let path = |(name, path): (&str, &Option<Spanned<String>>)| match path {
            Some(path) => self.path(path),
            None => {
                Err(self.page.fault(raw.span(), "a key is missing").expected(format!("`{name}`")).next(
                    "name the three files that `seawall pki issue` makes: `ca`, `certificate` and `key`",
                ))
            }
        };
        let [ca, certificate, key] = files.map(path);
        Ok(Transport::Tls(KeyFiles { ca: ca?, certificate: certificate?, key: key? }))
    }

    fn path(&self, value: &Spanned<String>) -> Result<PathBuf, Fault> {
        if value.get_ref().is_empty() {
            return Err(self.fault(value, "a path is empty").expected("a file or a block device"));
        }
        Ok(self.base.join(value.get_ref()))
    }

    fn socket(&self, value: &Spanned<String>, path: &str) -> Result<PathBuf, Fault> {
        let full = self.base.join(path);
        let bytes = full.as_os_str().len();
        if path.is_empty() || bytes > SOCKET_PATH_BYTES_MAX {
            return Err(self
                .fault(value, "this can't be the path of a unix socket")
                .found(format!("{bytes} bytes: {}", full.display()))
                .expected(format!("1 to {SOCKET_PATH_BYTES_MAX} bytes, the file's directory included"))
                .next("use a shorter path"));
        }
        Ok(full)
    }

    fn address(&self, value: &Spanned<String>) -> Result<String, Fault> {
        let text = value.get_ref();
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            return Err(self
                .fault(value, "this is no address")
                .found(format!("{text:?}"))
                .expected("host:port, for example 10.0.0.7:7001 or [::1]:7001")
                .next("write host and port"));
        }
        Ok(text.clone())
    }

    fn listen(&self, value: &Spanned<String>) -> Result<Listen, Fault> {
        match value.get_ref().strip_prefix("unix:") {
            Some(path) => self.socket(value, path).map(Listen::Unix),
            None => self.address(value).map(Listen::Tcp),
        }
    }

    fn size(&self, value: &Spanned<String>) -> Result<u64, Fault> {
        quantity::size(value.get_ref()).ok_or_else(|| {
            self.fault(value, "this is no size")
                .found(format!("{:?}", value.get_ref()))
                .expected("a whole number with B, KiB, MiB, GiB or TiB, for example \"10GiB\"")
                .next("write the size with one of these units")
        })
    }

    fn size_within(&self, value: &Spanned<String>, min: u64) -> Result<u64, Fault> {
        let bytes = self.size(value)?;
        if bytes < min || !bytes.is_multiple_of(u64::from(BLOCK_BYTES)) {
            return Err(self
                .fault(value, "this size can't be used")
                .found(format!("{bytes} bytes"))
                .expected(format!(
                    "at least {}, and a multiple of {BLOCK_BYTES} bytes",
                    quantity::show_size(min)
                ))
                .next("choose another size"));
        }
        Ok(bytes)
    }

    /// Beside the home area; of a block device, where the system keeps such things.
    fn branches(&self, raw: &Raw) -> Result<Branches, Fault> {
        let (node, limits) = (raw.node.get_ref(), &raw.limits);
        let home = self.path(&node.home)?;
        let beside = |home: &Path| {
            let mut name = home.as_os_str().to_owned();
            name.push(".branches");
            PathBuf::from(name)
        };
        let dir = match &node.branches {
            Some(dir) => self.path(dir)?,
            None if home.starts_with("/dev") => {
                beside(&Path::new("/var/lib/seawall").join(node.replica.get_ref()))
            }
            None => beside(&home),
        };
        let bytes = limits.branch_bytes.as_ref().map(|text| self.size(text)).transpose()?;
        let time = limits.branch_time.as_ref().map(|text| self.duration(text)).transpose()?;
        Ok(Branches {
            dir,
            room_bytes: bytes.unwrap_or(BRANCH_BYTES_DEFAULT),
            keep_for: time.unwrap_or(BRANCH_TIME_DEFAULT),
        })
    }

    fn log_bytes(&self, value: Option<&Spanned<String>>) -> Result<u64, Fault> {
        value.map_or(Ok(LOG_BYTES_DEFAULT), |value| self.size_within(value, LOG_BYTES_MIN))
    }

    fn buffer_bytes(&self, value: Option<&Spanned<String>>) -> Result<u64, Fault> {
        value.map_or(Ok(BUFFER_BYTES_DEFAULT), |value| self.size_within(value, BUFFER_BYTES_MIN))
    }

    fn volume_bytes(&self, volume: &RawVolume) -> Result<u64, Fault> {
        self.size_within(&volume.size, VOLUME_BYTES_MIN)
    }

    fn volume_name(&self, value: &Spanned<String>) -> Result<String, Fault> {
        let name = value.get_ref();
        if name.is_empty() || name.len() > 64 || name.chars().any(|c| c.is_control() || c == '/') {
            return Err(self
                .fault(value, "this can't be a volume's name")
                .found(format!("{name:?}"))
                .expected("1 to 64 bytes without slashes and control characters")
                .next("choose another name"));
        }
        Ok(name.clone())
    }

    fn volume_id(&self, volume: &RawVolume) -> Result<VolumeId, Fault> {
        quantity::volume_id(volume.id.get_ref()).ok_or_else(|| {
            self.fault(&volume.id, "this is no volume identity")
                .found(format!("{:?}", volume.id.get_ref()))
                .expected("a UUID: 32 hexadecimal digits, with hyphens after the 8th, 12th, 16th and 20th")
                .next("write the identity that the volume was created with; for a new one, run uuidgen")
        })
    }

    fn duration(&self, value: &Spanned<String>) -> Result<Duration, Fault> {
        quantity::duration(value.get_ref()).filter(|d| !d.is_zero()).ok_or_else(|| {
            self.fault(value, "this is no duration")
                .found(format!("{:?}", value.get_ref()))
                .expected("a whole number above zero with ms, s, min or h, for example \"500ms\"")
                .next("write the duration with one of these units")
        })
    }

    /// Shorter ones take every hiccup of a disk or a network for a death.
    fn silence(&self, value: &Spanned<String>) -> Result<Duration, Fault> {
        let silence = self.duration(value)?;
        if silence < SILENCE_MIN {
            return Err(self
                .fault(value, "this is too short")
                .found(format!("{:?}", value.get_ref()))
                .expected("at least 100ms"));
        }
        Ok(silence)
    }

    fn count(&self, value: &Spanned<usize>) -> Result<usize, Fault> {
        match *value.get_ref() {
            0 => Err(self.fault(value, "this must be above zero").found("0").expected("1 or more")),
            number => Ok(number),
        }
    }

    /// One of several words; the first is the default.
    fn choice<T: Copy>(&self, value: Option<&Spanned<String>>, words: &[(&str, T)]) -> Result<T, Fault> {
        let Some(value) = value else { return Ok(words[0].1) };
        words.iter().find(|(word, _)| word == value.get_ref()).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let fault = self.fault(value, "this word means nothing here");
            let fault = fault.found(format!("{:?}", value.get_ref())).expected(names.join(" or "));
            match nearest(value.get_ref(), words.iter().map(|(word, _)| *word)) {
                Some(word) => fault.next(format!("it may have meant \"{word}\"")),
                None => fault.next("write one of these words"),
            }
        })
    }
}
