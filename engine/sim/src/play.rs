//! Scenario files played: each over its seeds, and again with each of its baits, which must make it fail.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use seawall_engine::bait::Bait;

use crate::options::Options;
use crate::run::{Report, run};
use crate::scenario::Script;

/// How a scenario went.
#[derive(Clone, Debug)]
pub struct Played {
    /// What it shows, or the file's name if it could not be read.
    pub title: String,
    /// Runs, those with baits included.
    pub runs: u64,
    /// The first thing that was not as expected, with the seed where there is one.
    pub failure: Option<(Option<u64>, String)>,
    /// At which seed each bait was caught.
    pub caught: Vec<(Bait, u64)>,
}

/// All scenario files in a folder and the folders within, by name; a file is itself.
///
/// # Errors
/// What the file system says.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "scenario") {
            files.extend(self::files(&path)?);
        }
    }
    files.sort();
    Ok(files)
}

/// Read a script from a file.
///
/// # Errors
/// What the file system says, or what is wrong with the text, by line.
pub fn open(path: &Path) -> Result<Script, String> {
    let text = fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    Script::read(&text).map_err(|why| format!("{}: {why}", path.display()))
}

/// Play a file; of a scenario, only that seed if one is named.
#[must_use]
pub fn play(path: &Path, seed: Option<u64>) -> Played {
    match open(path) {
        Ok(script) => play_script(&Arc::new(script), seed),
        Err(why) => Played {
            title: path.display().to_string(),
            runs: 0,
            failure: Some((None, why)),
            caught: Vec::new(),
        },
    }
}

/// Play a script.
#[must_use]
pub fn play_script(script: &Arc<Script>, seed: Option<u64>) -> Played {
    let mut played = Played { title: script.title.clone(), runs: 0, failure: None, caught: Vec::new() };
    let seeds = seed.map_or(script.seeds.clone(), |seed| seed..seed + 1);
    for seed in seeds.clone() {
        let report = run_script(script, seed, script.plant);
        played.runs += 1;
        if let Err(why) = script.judge(&report) {
            played.failure = Some((Some(seed), why));
            return played;
        }
    }
    for (bait, check) in &script.baits {
        let caught = seeds.clone().find(|seed| {
            played.runs += 1;
            run_script(script, *seed, Some(*bait)).failure.is_some_and(|failure| failure.check == check)
        });
        match caught {
            Some(seed) => played.caught.push((*bait, seed)),
            None => {
                let why = format!("with bait {} it does not fail by {check}", bait.name());
                played.failure = Some((None, why));
                return played;
            }
        }
    }
    played
}

/// One run of a script.
#[must_use]
pub fn run_script(script: &Arc<Script>, seed: u64, bait: Option<Bait>) -> Report {
    run(&Options { bait, script: Some(Arc::clone(script)), ..Options::seed(seed) })
}

/// Play many files, several at once; `told` hears of each in their order.
pub fn play_all(files: &[PathBuf], seed: Option<u64>, jobs: usize, mut told: impl FnMut(&Path, &Played)) {
    let next = AtomicUsize::new(0);
    let (sent, received) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sent, next) = (sent.clone(), &next);
            scope.spawn(move || {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(file) = files.get(index)
                    && sent.send((index, play(file, seed))).is_ok()
                {}
            });
        }
        drop(sent);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, played) in received {
            early.insert(index, played);
            while let Some(played) = early.remove(&due) {
                told(&files[due], &played);
                due += 1;
            }
        }
    });
}
