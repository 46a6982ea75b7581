//! The admin interface: one JSON object per line and way, over a unix socket.
//!
//! A request is `{"ask":"status"}`, `"promote"`, `"digest"` or `"stop"`, or `{"ask":{"remove":{"replica":…}}}`; its answer is `{"ok":…}` or
//! `{"error":{"code":…,"what":…}}`. Requests of one connection are answered in order.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall_engine::change::Change;
use seawall_engine::foretold::Wish;
use seawall_engine::io::{Answered, Command};
use seawall_engine::maintenance::Maintain;
use seawall_engine::status::Status;
use seawall_wal::names::ReplicaId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::fault::{Exit, Fault};
use crate::force::{self, Preview};
use crate::quantity;
use crate::report::Report;
use crate::serve::Plane;

/// A longer line is no request.
const REQUEST_BYTES_MAX: u64 = 4096;

/// What can be asked of a daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The [`Report`].
    Status,
    /// Become primary, by the present one's handing over if there is one.
    Promote,
    /// Become primary without asking the present one.
    TakeOver,
    /// What a forced promotion of this replica would mean: the [`Preview`].
    ForetellForce,
    /// Become primary without a majority.
    Force {
        /// What would be the history, as the preview shows it.
        token: String,
        /// Names or identities of voters that are declared dead.
        dead: Vec<String>,
        /// Whether a copy that may have lost records will do.
        lossy: bool,
    },
    /// Hand over to a replica that is in sync.
    HandOver,
    /// The [`Digests`].
    Digest,
    /// Have a new replica join.
    Add {
        /// Its identity.
        id: String,
        /// Its name.
        name: String,
        /// Where it listens: host and port.
        address: String,
    },
    /// Have a replica leave.
    Remove {
        /// Its name or identity.
        replica: String,
    },
    /// A replica listens elsewhere.
    Move {
        /// Its name or identity.
        replica: String,
        /// Host and port.
        address: String,
    },
    /// Somebody works on a replica.
    BeginMaintenance {
        /// Its name or identity.
        replica: String,
        /// Who.
        owner: String,
        /// Why.
        reason: String,
        /// For so many milliseconds.
        for_ms: u64,
    },
    /// The work on a replica is done.
    EndMaintenance {
        /// Its name or identity.
        replica: String,
        /// Who says so.
        owner: String,
    },
    /// Drain and end; answered when it is drained.
    Stop,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ask: Ask,
}

/// Digests of the volume's bytes at one LSN.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digests {
    /// The LSN.
    pub at: u64,
    /// Replica and digest, in hexadecimal digits.
    pub digests: Vec<(String, String)>,
}

impl Digests {
    /// Whether all are the same.
    #[must_use]
    pub fn are_equal(&self) -> bool {
        self.digests.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }
}

/// What a line asks for.
///
/// # Errors
/// Says why it is no request.
pub fn request(line: &str) -> Result<Ask, String> {
    let request: Request = serde_json::from_str(line).map_err(|error| format!("not a request: {error}"))?;
    Ok(request.ask)
}

/// Answer whoever connects, for ever.
pub async fn serve(listener: UnixListener, plane: Arc<Plane>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let plane = Arc::clone(&plane);
                tokio::spawn(async move {
                    // A client that goes away in the middle is its own business.
                    let _ = converse(stream, &plane).await;
                });
            }
            Err(error) => {
                tracing::warn!("the admin socket refused a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: tokio::net::UnixStream, plane: &Plane) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = tokio::io::BufReader::new(read);
    let mut line = String::new();
    loop {
        line.clear();
        let bytes = (&mut read).take(REQUEST_BYTES_MAX).read_line(&mut line).await?;
        if bytes == 0 {
            return Ok(());
        }
        let reply = match request(&line) {
            Ok(ask) => answer(ask, plane).await,
            Err(why) => Err((Exit::Refused, why)),
        };
        let reply = match reply {
            Ok(value) => json!({ "ok": value }),
            Err((exit, what)) => json!({ "error": { "code": exit.name(), "what": what } }),
        };
        write.write_all(format!("{reply}\n").as_bytes()).await?;
    }
}

async fn answer(ask: Ask, plane: &Plane) -> Result<Value, (Exit, String)> {
    let refused = |what| (Exit::Refused, what);
    match ask {
        Ask::Status => {
            let report = plane.report().await.ok_or_else(|| refused("the replica is gone".to_owned()))?;
            Ok(json!(report))
        }
        Ask::HandOver => match plane.node.command(Command::HandOver { to: None }).await.map_err(refused)? {
            Answered::HandedOver(to) => Ok(json!({ "to": plane.config.name_of(to) })),
            other => Err(refused(format!("an answer to something else: {other:?}"))),
        },
        Ask::Promote | Ask::TakeOver => {
            let take_over = ask == Ask::TakeOver;
            match plane.node.command(Command::Promote { take_over }).await.map_err(refused)? {
                Answered::Promoted(epoch) => Ok(json!({ "epoch": epoch })),
                other => Err(refused(format!("an answer to something else: {other:?}"))),
            }
        }
        Ask::ForetellForce => {
            match plane.node.command(Command::Force(Wish::Foretell)).await.map_err(refused)? {
                Answered::Foretold(foretold) => Ok(json!(Preview::new(&foretold, &plane.config))),
                other => Err(refused(format!("an answer to something else: {other:?}"))),
            }
        }
        Ask::Force { token, dead, lossy } => {
            let status =
                plane.node.status().await.ok_or_else(|| refused("the replica is gone".to_owned()))?;
            let wish = force::wish(&token, &dead, lossy, |name| member(&status, name)).map_err(refused)?;
            match plane.node.command(Command::Force(wish)).await.map_err(refused)? {
                Answered::Promoted(epoch) => Ok(json!({ "epoch": epoch })),
                other => Err(refused(format!("an answer to something else: {other:?}"))),
            }
        }
        Ask::Digest => match plane.node.command(Command::Digest).await.map_err(refused)? {
            Answered::Digest { at, digests } => {
                let name = |(replica, digest)| (plane.config.name_of(replica), format!("{digest:032x}"));
                Ok(json!(Digests { at: at.0, digests: digests.into_iter().map(name).collect() }))
            }
            other => Err(refused(format!("an answer to something else: {other:?}"))),
        },
        Ask::Add { .. } | Ask::Remove { .. } | Ask::Move { .. } => {
            let change = change(ask, plane).await.map_err(refused)?;
            match plane.node.command(Command::Change(change)).await.map_err(refused)? {
                Answered::Configured(number) => Ok(json!({ "configuration": number })),
                other => Err(refused(format!("an answer to something else: {other:?}"))),
            }
        }
        Ask::BeginMaintenance { replica, owner, reason, for_ms } => {
            let replica = named(&replica, plane).await.map_err(refused)?;
            let length = Duration::from_millis(for_ms);
            maintain(Maintain::Begin { replica, owner, reason, length }, plane).await
        }
        Ask::EndMaintenance { replica, owner } => {
            let replica = named(&replica, plane).await.map_err(refused)?;
            maintain(Maintain::End { replica, owner }, plane).await
        }
        Ask::Stop => {
            let mut drained = plane.drained.subscribe();
            plane.stop.notify_one();
            let ended = match drained.wait_for(Option::is_some).await {
                Ok(ended) => ended.clone(),
                Err(_) => None,
            };
            match ended {
                Some(Ok(())) => Ok(json!({ "drained": true })),
                Some(Err(why)) => Err((Exit::Unclean, why)),
                None => Err((Exit::Unclean, "the process ended first".to_owned())),
            }
        }
    }
}

/// Who is meant by a name or an identity.
fn member(status: &Status, named: &str) -> Option<ReplicaId> {
    let member = status.configuration.members.iter().find(|member| member.name == named);
    member.map(|member| member.replica).or_else(|| quantity::replica_id(named))
}

/// The change of the membership that is asked for; who is not told by identity is told by name.
async fn change(ask: Ask, plane: &Plane) -> Result<Change, String> {
    let no_id =
        |text: &str| format!("{text:?} is no identity: r- and up to 16 hexadecimal digits, not all zero");
    let (replica, address) = match ask {
        Ask::Add { id, name, address } => {
            let replica = quantity::replica_id(&id).ok_or_else(|| no_id(&id))?;
            return Ok(Change::Add { replica, name, address });
        }
        Ask::Remove { replica } => (replica, None),
        Ask::Move { replica, address } => (replica, Some(address)),
        Ask::Status | Ask::Promote | Ask::TakeOver | Ask::ForetellForce | Ask::Force { .. } => {
            return Err("no change of the membership".to_owned());
        }
        Ask::HandOver | Ask::Digest | Ask::Stop => {
            return Err("no change of the membership".to_owned());
        }
        Ask::BeginMaintenance { .. } | Ask::EndMaintenance { .. } => {
            return Err("no change of the membership".to_owned());
        }
    };
    let replica = named(&replica, plane).await?;
    Ok(match address {
        Some(address) => Change::Move { replica, address },
        None => Change::Remove { replica },
    })
}

async fn maintain(maintain: Maintain, plane: &Plane) -> Result<Value, (Exit, String)> {
    let refused = |what| (Exit::Refused, what);
    match plane.node.command(Command::Maintain(maintain)).await.map_err(refused)? {
        Answered::Maintained { warnings } => Ok(json!({ "warnings": warnings })),
        other => Err(refused(format!("an answer to something else: {other:?}"))),
    }
}

/// The member of that name or identity.
async fn named(replica: &str, plane: &Plane) -> Result<ReplicaId, String> {
    let status = plane.node.status().await.ok_or("the replica is gone")?;
    member(&status, replica).ok_or_else(|| {
        let names: Vec<&str> = status.configuration.members.iter().map(|m| m.name.as_str()).collect();
        format!("{replica} is no member; members are {}", names.join(", "))
    })
}

/// Ask a daemon, and wait at most `patience` for its answer.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub fn ask(socket: &Path, ask: Ask, patience: Duration) -> Result<Value, Fault> {
    let unreachable = |error: &std::io::Error| {
        Fault::new(Exit::Unreachable, format!("no daemon answers at {}", socket.display()))
            .found(error.to_string())
            .expected("a running seawall serve with this admin socket")
            .next("start it, or give the path of its admin socket")
    };
    let exchange = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(format!("{}\n", json!(Request { ask })).as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        if line.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
    };
    let line = exchange().map_err(|error| unreachable(&error))?;
    let mut reply: Value = serde_json::from_str(&line).map_err(|error| {
        Fault::new(Exit::Refused, "the daemon's answer is not JSON").found(error.to_string())
    })?;
    if let Some(value) = reply.get_mut("ok") {
        return Ok(value.take());
    }
    let what = reply["error"]["what"].as_str().unwrap_or("no reason given").to_owned();
    if reply["error"]["code"] == Exit::Unclean.name() {
        return Err(Fault::new(Exit::Unclean, "the replica ended, but not cleanly").found(what));
    }
    Err(Fault::new(Exit::Refused, "the daemon refused").found(what))
}

/// A daemon's report.
///
/// # Errors
/// As [`ask`].
pub fn report(socket: &Path) -> Result<Report, Fault> {
    let value = ask(socket, Ask::Status, Duration::from_secs(5))?;
    serde_json::from_value(value).map_err(|error| {
        Fault::new(Exit::Refused, "the daemon's report has another shape").found(error.to_string())
    })
}

/// Digests of all replicas that are in sync with a primary.
///
/// # Errors
/// As [`ask`].
pub fn digests(socket: &Path) -> Result<Digests, Fault> {
    let value = ask(socket, Ask::Digest, Duration::from_secs(120))?;
    serde_json::from_value(value).map_err(|error| {
        Fault::new(Exit::Refused, "the daemon's digests have another shape").found(error.to_string())
    })
}
