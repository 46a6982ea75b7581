//! Three real replicas, each with a network and a file system of its own, and what can be done to them under a load.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use seawall_ops::admin;
use seawall_ops::load::ledger::Ledger;
use seawall_ops::load::{SECTOR_BYTES, Tally};
use seawall_ops::nbd::{self, Target};
use seawall_ops::report::Report;

use crate::cluster::{Cluster, Load, PATIENCE};
use crate::network::{self, Network};
use crate::room::Room;
use crate::script::{Fault, Round};
use crate::site::{NAMES, Shape, text};

const SHAPE: Shape = Shape { volume_mib: 32, log_mib: 32 };
const LEDGER_MIB: usize = 16;
/// Room for a whole replica.
const ROOM_MIB: u64 = 96;
/// After so long without a word a session ends.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a client waits for an answer before it goes elsewhere: longer than a primary looks for its quorum, and not
/// as long as a long pause, so that what it gave up may still sit in an old connection when it writes anew.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long the operator waits for a primary to come by itself.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);
/// Lines of the ledger about the first violation that are shown.
const LINES_MAX: usize = 40;

/// The world. Fields go away in their order: who runs before where it runs.
pub(crate) struct World {
    load: Option<Load>,
    cluster: Cluster,
    network: Network,
    rooms: Vec<Room>,
    dead: [bool; 3],
    ledger: PathBuf,
    seed: u64,
    rounds: usize,
    /// Blocks beside the ledger that were written.
    spread: u64,
    /// What was done so far.
    story: Vec<String>,
}

impl World {
    /// All in sync and under load; none if this process may not make what it needs.
    pub(crate) fn begin(seed: u64) -> Option<World> {
        let network = Network::new()?;
        let rooms: Vec<Room> = NAMES.iter().map_while(|_| Room::mount(ROOM_MIB)).collect();
        if rooms.len() < NAMES.len() {
            return None;
        }
        let cluster = Cluster::start_at(
            SHAPE,
            |index| network.prefix(index),
            |configs| {
                for (config, room) in configs.iter().zip(&rooms) {
                    rewrite(config, room.path());
                }
            },
        );
        let name = format!("history-{seed}-{}.ledger", std::process::id());
        let ledger = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let sectors = (LEDGER_MIB << 20) / SECTOR_BYTES;
        let book = Ledger::open(&ledger, seed, sectors).unwrap();
        let load = Load::begin_with(book, cluster.targets(&[0, 1, 2]), |plan| {
            plan.seed = seed;
            plan.connections = 3;
            plan.depth = 6;
            // So that the log holds what a follower misses until its silence has been noticed, but not for ever.
            plan.sectors_max = 16;
            plan.answer_patience = ANSWER_PATIENCE;
        });
        let (dead, story) = ([false; 3], Vec::new());
        Some(World {
            load: Some(load),
            cluster,
            network,
            rooms,
            dead,
            ledger,
            seed,
            rounds: 0,
            spread: 0,
            story,
        })
    }

    fn load(&self) -> &Load {
        self.load.as_ref().expect("it runs until the end")
    }

    fn tell(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("{what}");
        self.story.push(what);
    }

    /// One fault, what follows from it, and the ledger's word about it.
    pub(crate) fn pass(&mut self, number: usize, round: Round) {
        let begin = Instant::now();
        self.rounds = number + 1;
        self.load().await_done(round.requests);
        let primary = self.primary().expect("a healed world has a primary");
        self.tell(format!("round {number}: {round}; {} is the primary", NAMES[primary]));
        self.hurt(round, primary);
        if primary == round.victim || round.fault == Fault::KillAll {
            self.live_without_primary(round);
        } else {
            self.live_without_follower(round, primary);
        }
        self.heal();
        let primary = self.await_whole();
        self.check(primary);
        let took = begin.elapsed().as_millis();
        self.tell(format!(
            "    healed with {} as the primary, all explained, after {took} ms",
            NAMES[primary]
        ));
    }

    /// Who reigns.
    fn primary(&self) -> Option<usize> {
        let reigns = |index: &usize| {
            let report = (!self.dead[*index]).then(|| self.cluster.report(*index)).flatten();
            report.is_some_and(|report| report.role == "primary")
        };
        (0..NAMES.len()).find(reigns)
    }

    fn hurt(&mut self, round: Round, primary: usize) {
        let victim = round.victim;
        match round.fault {
            Fault::Kill => self.kill(victim),
            Fault::KillAll => (0..NAMES.len()).for_each(|index| self.kill(index)),
            Fault::PauseShort | Fault::PauseLong => self.cluster.signal(victim, Signal::SIGSTOP),
            Fault::Cut => self.network.cut(victim),
            Fault::Mute => self.network.mute(victim),
            Fault::Deafen => self.network.deafen(victim),
            Fault::Full => self.fill(victim),
            Fault::Promote => {
                let to = if victim == primary { round.stand_in } else { victim };
                assert!(self.promote(&[to], PATIENCE), "{} can't be promoted in a healthy world", NAMES[to]);
            }
        }
    }

    fn kill(&mut self, index: usize) {
        self.cluster.kill(index);
        self.dead[index] = true;
    }

    /// Whatever room there is goes, until the replica has noticed: it needs some where it had none before.
    fn fill(&mut self, index: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.rooms[index].fill();
            if self.cluster.report(index).is_some_and(|report| report.role == "faulted") {
                return;
            }
            assert!(Instant::now() < deadline, "{} has not noticed that its disk is full", NAMES[index]);
            let spread = |target: &Target| spread(target, self.spread).is_ok();
            if self.cluster.targets(&[0, 1, 2]).iter().any(spread) {
                self.spread += 1;
            }
            thread::sleep(GLANCE);
        }
    }

    /// A follower is away: nobody waits for it.
    fn live_without_follower(&mut self, round: Round, primary: usize) {
        let victim = round.victim;
        match round.fault {
            Fault::KillAll | Fault::Promote => {}
            Fault::PauseShort => self.load().await_done(20),
            Fault::Kill | Fault::PauseLong | Fault::Cut | Fault::Mute | Fault::Deafen | Fault::Full => {
                let gone = |report: &Report| {
                    report.peers.iter().any(|peer| peer.replica == NAMES[victim] && !peer.counts)
                };
                let report = self.cluster.wait(primary, "a primary that misses its follower", gone);
                let peer = report.peers.iter().find(|peer| peer.replica == NAMES[victim]).unwrap();
                self.tell(format!("    missed: {}, {}", peer.state, peer.last_end));
                self.load().await_done(100);
            }
        }
    }

    /// The primary is away: clients wait, until it comes back or another one takes over.
    fn live_without_primary(&mut self, round: Round) {
        match round.fault {
            Fault::KillAll | Fault::Promote => {}
            // A disk without room makes no primary.
            Fault::Full => self.relieve(round),
            Fault::Kill | Fault::PauseLong | Fault::Cut | Fault::Mute | Fault::Deafen if round.relieve => {
                self.relieve(round);
            }
            Fault::Kill => {}
            // How long it lasts is what the fault is.
            Fault::PauseShort => thread::sleep(SILENCE / 4),
            Fault::PauseLong => thread::sleep(SILENCE * 2),
            Fault::Cut | Fault::Mute | Fault::Deafen => {
                let alone = |report: &Report| !report.peers.iter().any(|peer| peer.counts);
                self.cluster.wait(round.victim, "a primary that knows that it is alone", alone);
            }
        }
    }

    /// The stand-in takes over, or the third one if it is not fit to. If that one is not either (two copies are needed
    /// that hold everything, and one that fell behind under the load is none), all wait for the primary.
    fn relieve(&mut self, round: Round) {
        let third = NAMES.len() - round.victim - round.stand_in;
        if self.promote(&[round.stand_in, third], OPERATOR_PATIENCE) {
            self.load().await_done(100);
        }
    }

    /// The operator's command, to one after the other until one obeys; whether one did.
    fn promote(&mut self, candidates: &[usize], patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        for index in candidates.iter().cycle() {
            let output = self.cluster.run(*index, &["promote"]);
            if output.status.success() {
                break;
            }
            let said = text(&output);
            self.tell(format!(
                "    {} would not: {}",
                NAMES[*index],
                said.lines().last().unwrap_or("").trim()
            ));
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(SILENCE / 4);
        }
        true
    }

    /// All of these at once, and then the end.
    pub(crate) fn break_off(&mut self, rounds: &[Round]) {
        for round in rounds {
            self.hurt(*round, round.stand_in);
        }
        panic!("broken off");
    }

    /// No fault is left.
    fn heal(&mut self) {
        self.network.heal();
        for index in 0..NAMES.len() {
            self.rooms[index].clear();
            if !self.dead[index] {
                self.cluster.signal(index, Signal::SIGCONT);
                if self.cluster.report(index).is_some_and(|report| report.role == "faulted") {
                    assert!(self.cluster.terminate(index).code().is_some(), "a faulted replica ends");
                    self.dead[index] = true;
                }
            }
            if self.dead[index] {
                self.cluster.begin(index);
                self.dead[index] = false;
            }
        }
    }

    /// Wait for a primary and two followers in sync. Without a primary for long, the operator makes one.
    fn await_whole(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut alone_since = Instant::now();
        loop {
            let primary = self.primary();
            if let Some(primary) = primary {
                alone_since = Instant::now();
                let report = self.cluster.report(primary);
                let whole = |report: &Report| {
                    report.role == "primary" && report.peers.iter().filter(|peer| peer.counts).count() == 2
                };
                if report.as_ref().is_some_and(whole) {
                    return primary;
                }
            }
            if alone_since.elapsed() > OPERATOR_PATIENCE {
                self.tell("    no primary by itself: the operator makes one");
                self.promote(&[0, 1, 2], PATIENCE);
                alone_since = Instant::now();
            }
            let reports = || (0..NAMES.len()).map(|index| self.cluster.report(index)).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "the world does not get well: {:#?}", reports());
            thread::sleep(GLANCE);
        }
    }

    /// Every byte is explained, under load, and the copies are the same at one LSN.
    fn check(&self, primary: usize) {
        self.load().check();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.cluster.await_in_sync(primary);
            let digests =
                admin::digests(&self.cluster.admin(primary)).unwrap_or_else(|fault| panic!("{fault}"));
            assert!(digests.are_equal(), "copies in sync hold different bytes: {digests:?}");
            // One may have fallen behind again under the load, before it had answered.
            if digests.digests.len() == NAMES.len() {
                return;
            }
            assert!(Instant::now() < deadline, "never three in sync for long enough: {digests:?}");
        }
    }

    /// The load ends; once more everything is judged, with nothing under way.
    pub(crate) fn end(mut self) -> Tally {
        let tally = self.load.take().expect("it runs until the end").end();
        let primary = self.await_whole();
        self.cluster.assert_equal(primary);
        fs::remove_file(&self.ledger).unwrap();
        tally
    }

    /// The lines of the ledger that speak of these sectors' writes.
    fn ledger_lines(&self) -> Vec<String> {
        let sectors: Vec<u64> = self.load.iter().flat_map(Load::violations).map(|one| one.sector).collect();
        let Some(sector) = sectors.first() else { return Vec::new() };
        let text = fs::read_to_string(&self.ledger).unwrap_or_default();
        let mut versions = Vec::new();
        let speaks = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            if matches!(words[0], "w" | "z") && (number(2)..number(2) + number(3)).contains(sector) {
                versions.push(number(1));
            }
            versions.contains(&number(1))
        };
        let lines: Vec<&str> = text.lines().skip(1).filter(speaks).collect();
        lines[lines.len().saturating_sub(LINES_MAX)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        eprintln!("-- seed {}; what was done:\n{}", self.seed, self.story.join("\n"));
        eprintln!("-- again: SEAWALL_SEED={} SEAWALL_ROUNDS={}", self.seed, self.rounds);
        let lines = self.ledger_lines();
        if !lines.is_empty() {
            eprintln!("-- the ledger about the first violation's sector:\n{}", lines.join("\n"));
        }
        eprintln!("-- the ledger is kept: {}", self.ledger.display());
        eprintln!("-- network namespaces:\n{}", network::namespaces());
    }
}

/// Write a block beside the ledger, where there was none before: only so many, and from the first one again.
fn spread(target: &Target, turn: u64) -> io::Result<()> {
    let (mut stream, export) = nbd::connect(target, ANSWER_PATIENCE)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let begin = (LEDGER_MIB as u64) << 20;
    let place = begin + turn * 4096 % (export.bytes - begin);
    nbd::send(&mut stream, nbd::Command::Write, 0, 1, place, 4096, &[0xaa; 4096])?;
    nbd::receive(&mut stream)?;
    nbd::send(&mut stream, nbd::Command::Disconnect, 0, 2, 0, 0, &[])
}

/// Addresses in a network of its own, and the home on a file system of its own.
fn rewrite(config: &Path, room: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let mut replica = 0;
    let line = |line: &str| {
        if line.starts_with("address = ") {
            replica += 1;
            return format!("address = \"{}:7000\"\n", network::address(replica - 1));
        }
        match line.strip_prefix("home = \"") {
            Some(home) => format!("home = \"{}/{home}\n", room.display()),
            None => format!("{line}\n"),
        }
    };
    let text: String = text.lines().map(line).collect();
    let limits = format!("silence = \"{}s\"\nquorum_patience = \"1s\"", SILENCE.as_secs());
    assert!(text.contains("silence = \"2s\""));
    fs::write(config, text.replace("silence = \"2s\"", &limits)).unwrap();
}
