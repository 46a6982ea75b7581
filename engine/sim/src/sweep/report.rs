//! The sweep's table, as it stands in the repository.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::harvest::{Failed, Harvest};
use std::process::ExitCode;
use std::time::Instant;

use super::image::{ImageCount, images};
use super::lying::spoils;
use super::maker::makers;
use super::script::Script;
use super::spoil::Ill;
use super::sweeper::{Scope, planted, sweep};

/// `sim --sweep [--table FILE]`: everything, counted; a failure is named by its case.
#[must_use]
pub fn command(arguments: &[String]) -> ExitCode {
    let file = match arguments {
        [] => None,
        [option, file] if option == "--table" => Some(file),
        _ => {
            eprintln!("usage: sim --sweep [--table FILE]");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let scope = Scope::ALL;
    let mut report = Report::default();
    let told = |what: &str, cases: usize| println!("{what}: {cases} cases, {} s", began.elapsed().as_secs());
    for script in Script::ALL {
        let harvest = sweep(&[script], scope);
        told(script.name(), harvest.cases());
        report.crashes.add(harvest);
    }
    report.makers = makers(scope);
    told("format and wipe", report.makers.cases());
    let (loud, silent): (Vec<Ill>, Vec<Ill>) = Ill::ALL.into_iter().partition(|ill| ill.is_told());
    report.told = spoils(&Script::ALL, &loud, scope);
    told("devices that fail", report.told.cases());
    report.untold = spoils(&Script::ALL, &silent, scope);
    told("devices that lie", report.untold.cases());
    let mut good = true;
    match images(scope) {
        Ok(images) => report.images = images,
        Err(wrong) => {
            println!("FAILED {wrong}");
            good = false;
        }
    }
    // Some fall by an assertion of the machine, which need not be told at length.
    std::panic::set_hook(Box::new(|_| ()));
    for (name, case) in planted(scope) {
        good &= case.is_some();
        println!("planted {name}: {}", case.as_deref().unwrap_or("NOT FOUND"));
        report.planted.push((name, case.unwrap_or_default()));
    }
    drop(std::panic::take_hook());
    for failed in report.failures() {
        println!("FAILED {}\n  {}", failed.case, failed.wrong);
        good = false;
    }
    println!("{} cases in {} s", report.cases(), began.elapsed().as_secs());
    if let Some(file) = file
        && let Err(why) = std::fs::write(file, report.page())
    {
        eprintln!("{file}: {why}");
        good = false;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything that a sweep found.
#[derive(Debug, Default)]
pub struct Report {
    /// Crashes.
    pub crashes: Harvest,
    /// Devices that fail and say so.
    pub told: Harvest,
    /// Devices that lie.
    pub untold: Harvest,
    /// Formats and wipes that were broken off.
    pub makers: Harvest,
    /// Rot and cuts.
    pub images: ImageCount,
    /// Planted bugs: name, and the case that caught it.
    pub planted: Vec<(String, String)>,
}

impl Report {
    /// All cases.
    #[must_use]
    pub fn cases(&self) -> usize {
        let images: usize = self.images.values().flat_map(BTreeMap::values).sum();
        let harvests = [&self.crashes, &self.told, &self.untold, &self.makers];
        harvests.iter().map(|harvest| harvest.cases()).sum::<usize>() + images
    }

    /// As a page.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::from(HEAD);
        let _ = writeln!(page, "All cases: {}. Failed: {}.\n", self.cases(), self.failures().count());
        self.put_crashes(&mut page);
        self.put_told(&mut page);
        self.put_untold(&mut page);
        self.put_images(&mut page);
        self.put_planted(&mut page);
        page
    }

    /// Cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Failed> {
        [&self.crashes, &self.told, &self.untold, &self.makers]
            .into_iter()
            .flat_map(|harvest| &harvest.failed)
    }

    fn put_crashes(&self, page: &mut String) {
        page.push_str(CRASHES);
        for (mutation, count) in self.crashes.counts.iter().chain(&self.makers.counts) {
            let sum = |class, power| count.crashes.get(&(class, power)).copied().unwrap_or(0);
            let _ = writeln!(
                page,
                "| {mutation} | {} | {} | {} | {} | {} | {} | {} |",
                count.operations,
                sum("before", false),
                sum("before", true),
                sum("after", false),
                sum("after", true),
                sum("torn", false) + sum("torn", true),
                count.cases()
            );
        }
        let _ = writeln!(page, "\nCases: {}.\n", self.crashes.cases() + self.makers.cases());
    }

    fn put_told(&self, page: &mut String) {
        page.push_str(TOLD);
        for (mutation, count) in &self.told.counts {
            let _ = write!(page, "| {mutation} | {} |", count.operations);
            for ill in Ill::ALL.into_iter().filter(|ill| ill.is_told()) {
                let cases: usize =
                    count.outcomes.iter().filter(|((name, _), _)| *name == ill.name()).map(|(_, n)| n).sum();
                let _ = write!(page, " {cases} |");
            }
            page.push('\n');
        }
        let _ = writeln!(page, "\nCases: {}.\n", self.told.cases());
    }

    fn put_untold(&self, page: &mut String) {
        page.push_str(UNTOLD);
        for (mutation, count) in &self.untold.counts {
            for ((ill, outcome), cases) in &count.outcomes {
                let of = count.unseen.get(&(*ill, outcome.clone()));
                let of = of.map(|of| of.iter().map(|(verb, n)| format!("{n} × {verb}")).collect::<Vec<_>>());
                let of = of.unwrap_or_default().join(", ");
                let _ = writeln!(page, "| {mutation} | {ill} | {outcome} | {cases} | {of} |");
            }
        }
        let _ = writeln!(page, "\nCases: {}.\n", self.untold.cases());
    }

    fn put_images(&self, page: &mut String) {
        page.push_str(IMAGES);
        for (kind, outcomes) in &self.images {
            for (outcome, cases) in outcomes {
                let _ = writeln!(page, "| {kind} | {outcome} | {cases} |");
            }
        }
        page.push('\n');
    }

    fn put_planted(&self, page: &mut String) {
        page.push_str(PLANTED);
        for (name, case) in &self.planted {
            let _ = writeln!(page, "| {name} | {case} |");
        }
    }
}

const HEAD: &str = "# The storage sweep

Made by `cargo run --profile sim -p sim -- --sweep --table engine/sim/SWEEP.md`; not written by hand. `engine/sim/src/sweep`
plays short scripts over the real engine, photographs one replica's devices at every disk operation, and develops every
crash from every photograph. After each the engine is opened anew over what is left, and must hold the acknowledged
history: all that was promised, of what was in doubt a beginning in the order of the log, nothing that nobody asked
for; promises, base state and lineage no less than it had said. Then it writes, crashes again, opens again, and at the
end home is compared with the checksum table, and in a volume of three the copies with each other.

There is no dirty map in the format yet, so it is no mutation here.

";

const CRASHES: &str = "## Crashes

*Before*, *after*, *torn*: what of the operation reached the device. Torn is every prefix, suffix, single sector, all but
one sector, alternating sectors, and cuts within a sector; of long writes both ends, the surroundings of the first block
and an even choice between. *Killed*: the device keeps its cache. *Power*: what was not flushed is written back, lost, lost
or kept sector by sector, alternating, scattered over its versions, or torn within sectors. With and without the writes
that were in flight beside it.

| mutation | operations | before, killed | before, power | after, killed | after, power | torn, both | cases |
|---|---|---|---|---|---|---|---|
";

const TOLD: &str = "## Devices that fail and say so

Every operation once for each: reads, writes and flushes. Nothing completes after it, nothing is written after it, the
replica shows its fault, and a restart gives the acknowledged history. A flush that failed with nothing done has lost
all that it was to cover.

| mutation | operations | error, nothing done | error, half done | error, all done | no space |
|---|---|---|---|---|---|
";

const UNTOLD: &str = "## Devices that lie

Every write once: the device says that it is done, and it was not, or it was a block further on; a flush that does
nothing. The volume is read while the process lives, then the process is killed, opened again and judged. *Seen* is
where the replica refuses, at opening or at a read, instead of giving out what is wrong. Wrong data handed out as good:
none.

*Its log is shorter*: what this format cannot see. When the last write of a log is lost and nothing was written after it,
nothing says that there was one; the replica starts with a shorter log, and only the other copies know better
(`wal/FORMAT.md`, section 4). In a volume of three that is what brings it back.

*Seen by who compares home with the table*: a rebuild's blocks are proven by the checksums that came with them, not by
reading them again. A lost one is found by the first read of that block, which is refused.

| mutation | write | outcome | cases | operations |
|---|---|---|---|---|
";

const IMAGES: &str = "## Rot and cuts

| damage | outcome | cases |
|---|---|---|
";

const PLANTED: &str = "## Planted bugs

That the sweep can fail: each of these is found.

| planted | found by |
|---|---|
";
