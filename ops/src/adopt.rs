//! `seawall adopt`: the configuration of a volume's nodes, made anew from the replicas' disks alone. Reads, judges,
//! writes configuration files where it is told to; never writes to a disk.

mod evidence;
mod judgement;
mod page;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Config;
use crate::fault::{Exit, Fault};

/// What it is given.
#[derive(Args, Debug)]
#[command(after_long_help = "\
The disks know which volume and replica they are, who the other replicas are and where they listened last, what was \
promised, and what the volume is called and promises. They do not know where clients are served, limits other than \
the lease, or keys: what is written uses defaults for these, and they are to be checked.

It refuses what is ambiguous: two disks of one replica, disks of different volumes, disks that disagree on who the \
members are, and histories that parted after both were settled. Leave out the disk that is not to count, by path.

No process may have the disks open. Nothing is written to a disk.")]
pub struct Options {
    /// The disks: main devices, and logs that have a device of their own.
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Write a configuration for each replica found into this directory. Nothing that is there is replaced.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where a replica listens for its peers from now on. May be repeated.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = parse_address)]
    address: Vec<(String, String)>,
    /// The volume's name, if the disks were never told one or it is to be another one.
    #[arg(long)]
    name: Option<String>,
    /// What was found, as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_address(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err("expected NAME=HOST:PORT, for example a=10.0.0.1:7001".to_owned()),
    }
}

/// Read, judge, write. What there is to say of it.
///
/// # Errors
/// If a disk can't be read, what they say together is ambiguous, or a file can't be written.
pub fn run(options: &Options) -> Result<String, Fault> {
    let evidence = evidence::gather(&options.disks)?;
    let addresses: BTreeMap<String, String> = options.address.iter().cloned().collect();
    let finding = judgement::judge(evidence, &addresses, options.name.as_deref())?;
    let mut written = Vec::new();
    if let Some(dir) = &options.out {
        written = write(dir, &finding)?;
    }
    Ok(if options.json { page::json(&finding, &written) } else { page::text(&finding, &written) })
}

fn write(dir: &Path, finding: &judgement::Finding) -> Result<Vec<PathBuf>, Fault> {
    fs::create_dir_all(dir).map_err(|error| Fault::io("make", dir, &error))?;
    let dir = fs::canonicalize(dir).map_err(|error| Fault::io("find", dir, &error))?;
    let files: Vec<(PathBuf, String)> = finding
        .disks
        .iter()
        .map(|disk| Ok((dir.join(page::file_name(finding, disk)), page::config(finding, disk)?)))
        .collect::<Result<_, Fault>>()?;
    // All of them are judged before the first is written.
    for (path, text) in &files {
        Config::parse(path, text.clone()).map_err(|fault| {
            fault.next(
                "what the disks say can't be used as it is; give --name or --address. Nothing was written",
            )
        })?;
        if path.exists() {
            return Err(Fault::new(Exit::Occupied, format!("{} is there already", path.display()))
                .expected("a directory without configurations of this volume")
                .next("give another --out, or move the file away. Nothing was written"));
        }
    }
    for (path, text) in &files {
        let file = File::options().write(true).create_new(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Fault::io("write", path, &error))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}
