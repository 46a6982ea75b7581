//! Three real replicas without an operator, each in a network of its own, and the rounds that they are put through under
//! a load whose ledger knows what was promised.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use seawall_ops::admin::{self, Ask};
use seawall_ops::load::ledger::Ledger;
use seawall_ops::load::{SECTOR_BYTES, Tally, Witness};
use seawall_ops::nbd::{self, Target};

use super::forecast::{Forecast, Outcome};
use super::record::Record;
use super::stages::{self, Said, Stages};
use super::{Drill, Step};
use crate::cluster::{Cluster, Load, PATIENCE};
use crate::network::{self, Network};
use crate::site::{NAMES, Shape};

const LEDGER_MIB: usize = 16;
/// How long a client waits for an answer before it goes elsewhere.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a node that has lost its place is given to say something wrong.
const PROBE_PATIENCE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(10);
/// Beside the ledger.
const PROBE_OFFSET: u64 = (LEDGER_MIB as u64) << 20;

/// Fields go away in their order: who runs before where it runs.
pub(crate) struct Theatre {
    load: Option<Load>,
    cluster: Cluster,
    network: Option<Network>,
    seed: u64,
    story: Vec<String>,
    records: Vec<Record>,
    /// Changes of primary that were meant.
    meant: usize,
    /// What came otherwise than foretold.
    mismatches: Vec<String>,
}

impl Theatre {
    /// All in sync and under load.
    pub(crate) fn open(seed: u64) -> Theatre {
        let network = Network::new();
        let prefix = |index| network.as_ref().map_or_else(Vec::new, |network| network.prefix(index));
        let apart = network.is_some();
        let cluster = Cluster::start_at(Shape::default(), prefix, |configs| rewrite(configs, apart));
        let targets = cluster.targets(&[0, 1, 2]);
        let load = Load::begin_with(Ledger::new(seed, (LEDGER_MIB << 20) / SECTOR_BYTES), targets, |plan| {
            plan.seed = seed;
            plan.sectors_max = 64;
            plan.answer_patience = ANSWER_PATIENCE;
        });
        load.await_done(500);
        let (story, records, mismatches) = (Vec::new(), Vec::new(), Vec::new());
        Theatre { load: Some(load), cluster, network, seed, story, records, meant: 0, mismatches }
    }

    fn load(&self) -> &Load {
        self.load.as_ref().expect("it runs until the end")
    }

    fn tell(&mut self, what: String) {
        println!("{what}");
        self.story.push(what);
    }

    /// One blow, what follows from it, and the ledger's word about it.
    pub(crate) fn round(&mut self, number: usize, step: Step) {
        if step.drill.is_cut() && self.network.is_none() {
            // Network::new() has said why.
            return;
        }
        let (old, epoch) = self.cluster.await_whole();
        let other = (old + 1 + step.other) % NAMES.len();
        let victim = if step.drill == Drill::KillFollower { other } else { old };
        let place = match step.drill {
            Drill::KillFollower => old,
            Drill::KillMajority => NAMES.len() - old - other,
            _ if step.attached => old,
            _ => other,
        };
        self.load().board().move_to(place);
        self.load().await_done(step.requests);
        let witness = self.witness(victim, number);
        if step.drill == Drill::KillMajority {
            self.cluster.kill(other);
            self.await_missed(old, other);
        }
        let forecast = Forecast::ask(&self.cluster, old, step.drill, victim);
        let said = self.logs();
        drop(self.load().board().lap());
        let (struck, begin) = (self.strike(step.drill, victim), Instant::now());
        let mut new = old;
        if step.drill == Drill::KillMajority {
            self.assert_nobody_serves(place);
            self.cluster.begin(other);
        } else if step.drill.moves_the_primary() {
            new = self.cluster.await_successor(old, epoch);
            let serves = Instant::now();
            self.load().await_writes(100);
            if step.drill.is_cut() {
                self.assert_refused(victim, &witness, serves);
            }
        } else {
            self.load().await_writes(500);
        }
        let wrote = step.drill != Drill::KillMajority;
        self.compare(number, &forecast, Outcome { wrote, primary: wrote.then_some(new) });
        self.meant += usize::from(step.drill != Drill::KillFollower);
        let lap = self.load().board().lap();
        self.relieve(step.drill, victim);
        self.cluster.await_whole();
        let whole = begin.elapsed();
        self.load().await_done(100);
        let (asked, open) = (witness.testimonies().len(), witness.open());
        drop(witness);
        self.load().check();
        let record = Record {
            drill: step.drill,
            attached: place == victim,
            stages: if step.drill.moves_the_primary() {
                self.stages(&said, struck, old, new, |moment| lap.first_write_after(moment))
            } else {
                None
            },
            pause: lap.longest_pause().map_or(Duration::ZERO, |pause| pause.length()),
            longest_request: lap.longest_request,
            whole,
        };
        self.records.push(record);
        self.tell(format!(
            "round {number}: {} {}, client at {}: {} serves, first write after {} ms, {} ms without a write; all \
             explained, {asked} reads at {} ({open} unanswered), whole after {} ms",
            NAMES[victim],
            step.drill.name(),
            NAMES[place],
            NAMES[new],
            record.stages.map_or_else(|| "?".to_owned(), |stages| stages.total().as_millis().to_string()),
            record.pause.as_millis(),
            NAMES[victim],
            whole.as_millis()
        ));
    }

    fn compare(&mut self, number: usize, forecast: &Forecast, outcome: Outcome) {
        if let Some(mismatch) = forecast.mismatch(outcome) {
            self.tell(format!("    not as foretold: {mismatch}"));
            self.mismatches.push(format!("round {number}: {mismatch}"));
        }
    }

    /// Wait until the primary knows that it can't count on that one.
    fn await_missed(&self, primary: usize, missed: usize) {
        self.cluster.wait(primary, "a primary that misses one", |report| {
            report.peers.iter().any(|peer| peer.replica == NAMES[missed] && !peer.counts)
        });
    }

    /// The last one of three: it asks for promises again and again, gets too few, and nothing completes.
    fn assert_nobody_serves(&self, last: usize) {
        let failed = || self.log(last).iter().filter(|said| said.kind == "campaign-failed").count();
        let await_failed = |more: usize| {
            let (wanted, deadline) = (failed() + more, Instant::now() + PATIENCE);
            while failed() < wanted {
                assert!(Instant::now() < deadline, "{} does not ask for promises", NAMES[last]);
                thread::sleep(GLANCE);
            }
        };
        // By then whatever had completed before is told.
        await_failed(1);
        let before = self.load().board().tally().done();
        await_failed(2);
        assert_eq!(self.load().board().tally().done(), before, "{} served alone", NAMES[last]);
        assert_eq!(self.cluster.reigning(None), None);
    }

    /// Somebody who reads at the node that will be struck, and goes on reading there.
    fn witness(&self, victim: usize, number: usize) -> Witness {
        let target = &self.cluster.targets(&[victim])[0];
        let seed = self.seed.wrapping_add(number as u64);
        let witness = Witness::begin(target, self.load().board(), seed, PATIENCE).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while witness.testimonies().len() < 3 {
            assert!(Instant::now() < deadline, "{} answers no reads", NAMES[victim]);
            thread::sleep(GLANCE);
        }
        witness
    }

    /// Returns when.
    fn strike(&mut self, drill: Drill, victim: usize) -> SystemTime {
        let network = || self.network.as_ref().expect("rounds without one are left out");
        let struck = SystemTime::now();
        match drill {
            Drill::Kill | Drill::KillFollower | Drill::KillMajority => self.cluster.kill(victim),
            Drill::Pause => self.cluster.signal(victim, Signal::SIGSTOP),
            Drill::Cut => network().cut(victim),
            Drill::Mute => network().mute(victim),
            Drill::Deafen => network().deafen(victim),
            Drill::HandOver => return self.hand_over(victim),
        }
        struck
    }

    /// Asked again if what was in flight could not be finished in time: it says so, and goes on.
    fn hand_over(&mut self, from: usize) -> SystemTime {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = SystemTime::now();
            match admin::ask(&self.cluster.admin(from), Ask::HandOver, PATIENCE) {
                Ok(_) => return asked,
                Err(fault) => self.tell(format!("    {} goes on: {fault}", NAMES[from])),
            }
            assert!(Instant::now() < deadline, "{} never hands over", NAMES[from]);
            thread::sleep(GLANCE);
        }
    }

    fn relieve(&mut self, drill: Drill, victim: usize) {
        match drill {
            Drill::Kill | Drill::KillFollower | Drill::KillMajority => self.cluster.begin(victim),
            Drill::Pause => self.cluster.signal(victim, Signal::SIGCONT),
            Drill::Cut | Drill::Mute | Drill::Deafen => {
                self.network.as_ref().expect("rounds without one are left out").heal();
            }
            Drill::HandOver => {}
        }
    }

    /// The old primary is cut off, another one has served since: nothing may succeed at the old one any more, whether
    /// its client was there before or comes now.
    fn assert_refused(&self, victim: usize, witness: &Witness, serves: Instant) {
        let target = &self.cluster.targets(&[victim])[0];
        let probe = probe(target);
        assert!(probe.is_err(), "{}, which was cut off, completed a client's request", NAMES[victim]);
        let late = witness.testimonies().into_iter().filter(|told| told.asked > serves).count();
        assert_eq!(late, 0, "{}, which was cut off, answered reads after another one served", NAMES[victim]);
    }

    fn log(&self, index: usize) -> Vec<Said> {
        let path = self.cluster.dir().join(format!("{}.log", NAMES[index]));
        stages::notices(&fs::read_to_string(path).unwrap())
    }

    fn logs(&self) -> Vec<Vec<Said>> {
        (0..NAMES.len()).map(|index| self.log(index)).collect()
    }

    fn stages(
        &self,
        before: &[Vec<Said>],
        struck: SystemTime,
        old: usize,
        new: usize,
        first_write_after: impl Fn(SystemTime) -> Option<SystemTime>,
    ) -> Option<Stages> {
        let logs = self.logs();
        let since = |index: usize| &logs[index][before[index].len()..];
        let others: Vec<Said> =
            (0..NAMES.len()).filter(|index| *index != old).flat_map(|index| since(index).to_vec()).collect();
        Stages::new(struck, &others, since(new), first_write_after)
    }

    /// The load ends; once more everything is judged, with nothing under way, and all copies hold the same bytes.
    pub(crate) fn close(mut self) -> (Tally, Vec<Record>) {
        let served: usize =
            self.logs().iter().map(|log| log.iter().filter(|said| said.kind == "serving").count()).sum();
        let more = served.saturating_sub(self.meant + 1);
        self.tell(format!("{} changes of primary were meant, {more} more came about", self.meant));
        let (rounds, wrong) = (self.records.len(), self.mismatches.len());
        self.tell(format!("{} of {rounds} outcomes were as foretold", rounds - wrong));
        let list = self.mismatches.join("\n");
        assert!(wrong * 100 <= rounds, "{wrong} of {rounds} outcomes were not as foretold:\n{list}");
        let tally = self.load.take().expect("it runs until the end").end();
        self.cluster.assert_all_equal();
        (tally, std::mem::take(&mut self.records))
    }
}

impl Drop for Theatre {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("-- seed {}; what was done:\n{}", self.seed, self.story.join("\n"));
            eprintln!("-- network namespaces:\n{}", network::namespaces());
        }
    }
}

/// A write and a read by a client that comes now: well if either succeeds.
fn probe(target: &Target) -> io::Result<()> {
    let (mut stream, _) = nbd::connect(target, PROBE_PATIENCE)?;
    stream.set_read_timeout(Some(PROBE_PATIENCE))?;
    nbd::send(&mut stream, nbd::Command::Read, 0, 1, PROBE_OFFSET, 512, &[])?;
    nbd::send(&mut stream, nbd::Command::Write, 0, 2, PROBE_OFFSET, 4096, &[0xbb; 4096])?;
    for _ in 0..2 {
        if nbd::receive(&mut stream)?.error == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("both were refused"))
}

/// The replicas find a new primary themselves, and each has an address of its own if they have networks of their own.
fn rewrite(configs: &[PathBuf], apart: bool) {
    for config in configs {
        let text = read(config);
        assert!(text.contains("\"manual\""));
        let text = text.replace("\"manual\"", "\"automatic\"");
        let mut replica = 0;
        let line = |line: &str| {
            if apart && line.starts_with("address = ") {
                replica += 1;
                return format!("address = \"{}:7000\"\n", network::address(replica - 1));
            }
            format!("{line}\n")
        };
        fs::write(config, text.lines().map(line).collect::<String>()).unwrap();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
