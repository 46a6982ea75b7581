//! `seawall branch`: what cuts and rebuilds took out of this replica's log, and was kept. Works on files alone, whether
//! the replica runs or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use seawall_blockdev::branches::KeptBranch;
use seawall_wal::branch::LABEL_BYTES;
use seawall_wal::crc::crc32c;
use seawall_wal::names::BLOCK_BYTES;
use seawall_wal::record::Kind;
use seawall_wal::scan::{Found, scan};
use serde_json::json;

use crate::config::Config;
use crate::fault::{Exit, Fault};
use crate::nbd::{self, Command, Target};
use crate::quantity::show_size;

/// How long the volume may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be done with branches.
#[derive(Subcommand, Debug)]
pub enum Act {
    /// All that are kept.
    List {
        /// Whose.
        #[command(flatten)]
        node: Node,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The records of one.
    Show(Named),
    /// Which blocks of the volume, as it is now, differ from what a branch wrote there.
    Diff {
        /// Which.
        #[command(flatten)]
        named: Named,
        /// The volume's export.
        #[arg(long)]
        uri: Target,
    },
    /// Write the blocks of a branch into a new, sparse file, each at its place in the volume.
    Export {
        /// Which.
        #[command(flatten)]
        named: Named,
        /// The file.
        file: PathBuf,
    },
    /// Throw one away.
    Discard {
        /// Which.
        #[command(flatten)]
        named: Named,
        /// What it is, as confirmation: as `list` shows it.
        #[arg(long, value_name = "EPOCH:LSN:BYTES")]
        token: Option<String>,
    },
}

/// Whose branches.
#[derive(Args, Debug)]
pub struct Node {
    /// The node's configuration.
    #[arg(long)]
    config: PathBuf,
}

/// Which branch.
#[derive(Args, Debug)]
pub struct Named {
    #[command(flatten)]
    node: Node,
    /// Its name, as `list` shows it.
    branch: String,
}

/// Do what was asked. What there is to say of it.
///
/// # Errors
/// If there is no such branch, it can't be read, or the token does not name it.
pub fn run(act: &Act) -> Result<String, Fault> {
    match act {
        Act::List { node, json } => list(&Config::load(&node.config)?, *json),
        Act::Show(named) => show(&find(named)?),
        Act::Diff { named, uri } => diff(&find(named)?, uri),
        Act::Export { named, file } => export(&find(named)?, file),
        Act::Discard { named, token } => discard(&find(named)?, token.as_deref()),
    }
}

fn name(branch: &KeptBranch) -> String {
    branch.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn token(branch: &KeptBranch) -> String {
    let label = &branch.label;
    format!("{}:{}:{}", label.tail_epoch, label.start, label.bytes)
}

fn kept(config: &Config) -> Result<(Vec<KeptBranch>, Vec<PathBuf>), Fault> {
    config.branches.list().map_err(|error| Fault::io("read", &config.branches.dir, &error))
}

fn find(named: &Named) -> Result<KeptBranch, Fault> {
    let config = Config::load(&named.node.config)?;
    let (kept, _) = kept(&config)?;
    let names: Vec<String> = kept.iter().map(name).collect();
    kept.into_iter().find(|branch| name(branch) == named.branch).ok_or_else(|| {
        Fault::new(Exit::Other, format!("there is no branch {}", named.branch))
            .found(if names.is_empty() { "none at all".to_owned() } else { names.join(", ") })
            .next(format!("seawall branch list --config {}", config.path.display()))
    })
}

fn list(config: &Config, json: bool) -> Result<String, Fault> {
    let (kept, unreadable) = kept(config)?;
    if json {
        let branch = |branch: &KeptBranch| {
            let l = &branch.label;
            json!({
                "name": name(branch), "path": branch.path, "from": l.start.0, "to": l.end.0, "fork": l.fork.0,
                "epoch": l.tail_epoch.to_string(), "successor": l.successor.to_string(), "bytes": l.bytes,
                "may_have_completed": l.relied_on, "kept_at": l.kept_at, "token": token(branch),
            })
        };
        let all: Vec<_> = kept.iter().map(branch).collect();
        return Ok(format!("{}\n", json!({ "branches": all, "unreadable": unreadable })));
    }
    let mut out = String::new();
    for branch in &kept {
        let l = &branch.label;
        let completed = if l.relied_on { "MAY HOLD WRITES THAT COMPLETED" } else { "never completed" };
        let _ = writeln!(
            out,
            "{}  records [{}, {}) of {}, fork at {}, cut for {}, {}, {completed}\n    token {}",
            name(branch),
            l.start,
            l.end,
            l.tail_epoch,
            l.fork,
            l.successor,
            show_size(l.bytes),
            token(branch)
        );
    }
    for path in &unreadable {
        let _ = writeln!(out, "{}  can't be read as a branch", path.display());
    }
    if out.is_empty() {
        let _ = writeln!(out, "nothing was cut and kept in {}", config.branches.dir.display());
    }
    Ok(out)
}

/// The records of a branch, each with where its body is in the file. All of them must be there and whole.
fn records(branch: &KeptBranch) -> Result<(File, Vec<Found>), Fault> {
    let io = |error| Fault::io("read", &branch.path, &error);
    let file = File::open(&branch.path).map_err(io)?;
    let mut bytes = vec![0; usize::try_from(branch.label.bytes).expect("shorter than the address space")];
    file.read_exact_at(&mut bytes, u64::from(LABEL_BYTES)).map_err(io)?;
    let found = scan(&bytes, 0, branch.label.unit_bytes, crc32c).records;
    let mut next = branch.label.start;
    let whole: Vec<Found> = found
        .into_iter()
        .filter(|found| {
            let follows = found.header.lsn == next && found.body_ok;
            if follows {
                next = next.next();
            }
            follows
        })
        .collect();
    if next != branch.label.end {
        return Err(Fault::new(Exit::Damaged, format!("{} is damaged", branch.path.display()))
            .found(format!("whole records up to {next}"))
            .expected(format!("up to {}", branch.label.end))
            .next("look for another copy of the file; nothing was changed"));
    }
    Ok((file, whole))
}

fn show(branch: &KeptBranch) -> Result<String, Fault> {
    let (_, records) = records(branch)?;
    let mut out = String::new();
    for found in records {
        let h = &found.header;
        let _ = writeln!(out, "{:>12}  {} {:?} {} of {}", h.lsn, h.epoch, h.kind, h.extent, h.origin);
    }
    Ok(out)
}

/// The newest bytes that a branch has of each block: where its body is in the file, or nothing for zeroes.
fn blocks(branch: &KeptBranch) -> Result<(File, BTreeMap<u64, Option<u64>>), Fault> {
    let (file, records) = records(branch)?;
    let mut blocks = BTreeMap::new();
    for found in records {
        let h = &found.header;
        let body = u64::from(LABEL_BYTES) + found.offset + u64::from(branch.label.unit_bytes);
        for (index, block) in (0_u64..).zip(h.extent.start..h.extent.end()) {
            match h.kind {
                Kind::Write => {
                    blocks.insert(block, Some(body + index * u64::from(BLOCK_BYTES)));
                }
                Kind::WriteZeroes | Kind::Trim => {
                    blocks.insert(block, None);
                }
                Kind::EpochStart | Kind::Attach | Kind::Padding => {}
                Kind::Configuration | Kind::Maintenance => {}
            }
        }
    }
    Ok((file, blocks))
}

fn read_block(file: &File, path: &Path, at: Option<u64>) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    if let Some(at) = at {
        file.read_exact_at(&mut bytes, at).map_err(|error| Fault::io("read", path, &error))?;
    }
    Ok(bytes)
}

fn diff(branch: &KeptBranch, uri: &Target) -> Result<String, Fault> {
    let (file, blocks) = blocks(branch)?;
    let unreachable = |error: std::io::Error| {
        Fault::new(Exit::Unreachable, format!("the volume at {uri} can't be read")).found(error.to_string())
    };
    let (mut stream, _) = nbd::connect(uri, PATIENCE).map_err(unreachable)?;
    let mut differing: Vec<(u64, u64)> = Vec::new();
    for (cookie, (block, at)) in (1_u64..).zip(&blocks) {
        let offset = block * u64::from(BLOCK_BYTES);
        nbd::send(&mut stream, Command::Read, 0, cookie, offset, BLOCK_BYTES, &[]).map_err(unreachable)?;
        let reply = nbd::receive(&mut stream).map_err(unreachable)?;
        let mut there = vec![0; BLOCK_BYTES as usize];
        if reply.error == 0 {
            std::io::Read::read_exact(&mut stream, &mut there).map_err(unreachable)?;
        } else {
            return Err(unreachable(std::io::Error::from_raw_os_error(reply.error.cast_signed())));
        }
        if there != read_block(&file, &branch.path, *at)? {
            match differing.last_mut() {
                Some((first, count)) if *first + *count == *block => *count += 1,
                Some(_) | None => differing.push((*block, 1)),
            }
        }
    }
    let mut out = String::new();
    for (first, count) in &differing {
        let _ = writeln!(out, "blocks [{first}, {}) differ", first + count);
    }
    let count: u64 = differing.iter().map(|(_, count)| count).sum();
    let _ = writeln!(
        out,
        "{count} of the {} blocks that the branch wrote differ from the volume now",
        blocks.len()
    );
    Ok(out)
}

fn export(branch: &KeptBranch, to: &Path) -> Result<String, Fault> {
    let (file, blocks) = blocks(branch)?;
    let io = |error| Fault::io("write", to, &error);
    let image = File::options().write(true).create_new(true).open(to).map_err(io)?;
    let end = blocks.last_key_value().map_or(0, |(block, _)| (block + 1) * u64::from(BLOCK_BYTES));
    image.set_len(end).map_err(io)?;
    for (block, at) in &blocks {
        if at.is_some() {
            let bytes = read_block(&file, &branch.path, *at)?;
            image.write_all_at(&bytes, block * u64::from(BLOCK_BYTES)).map_err(io)?;
        }
    }
    image.sync_all().map_err(io)?;
    let mut out = String::new();
    for (block, at) in &blocks {
        let _ = writeln!(out, "block {block} {}", if at.is_some() { "data" } else { "zeroes" });
    }
    let _ = writeln!(out, "{} blocks in {}", blocks.len(), to.display());
    Ok(out)
}

fn discard(branch: &KeptBranch, given: Option<&str>) -> Result<String, Fault> {
    let expected = token(branch);
    if given != Some(&*expected) {
        let found = given.map_or("no token".to_owned(), |given| format!("--token {given}"));
        return Err(Fault::new(Exit::Refused, format!("this throws branch {} away for good", name(branch)))
            .found(found)
            .expected(format!("--token {expected}"))
            .next("repeat the command with the token as confirmation. Nothing was changed"));
    }
    fs::remove_file(&branch.path).map_err(|error| Fault::io("remove", &branch.path, &error))?;
    Ok(format!("branch {} is gone\n", name(branch)))
}
