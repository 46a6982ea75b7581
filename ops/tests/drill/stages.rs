//! How long each stage of a change of primary took, by what the replicas' logs say and when.

use std::time::{Duration, SystemTime};

/// A line of a log that tells a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) at: SystemTime,
    pub(crate) kind: String,
}

/// The notices of a log.
pub(crate) fn notices(log: &str) -> Vec<Said> {
    let notice = |line: &str| {
        let kind = line.split_once("kind=\"")?.1.split_once('"')?.0;
        Some(Said { at: moment(line.split(' ').next()?)?, kind: kind.to_owned() })
    };
    log.lines().filter_map(notice).collect()
}

/// `2026-01-31T23:59:59.123456Z` as a moment.
fn moment(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<Vec<u64>> {
        text.split(by).map(|number| number.parse().ok()).collect()
    };
    let (date, (time, fraction)) = (numbers(date, '-')?, time.split_once('.')?);
    let time = numbers(time, ':')?;
    let ([year, month, day], [hours, minutes, seconds]) = (&date[..], &time[..]) else { return None };
    // Years from March on: the day that leaps is the last one.
    let (year, month) = if *month > 2 { (*year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// One change of primary, from the blow to the first write under the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stages {
    /// Until one of the others asks for promises.
    pub(crate) detect: Duration,
    /// Until the new primary has those of a majority.
    pub(crate) promise: Duration,
    /// Until it holds the best log among them.
    pub(crate) catch_up: Duration,
    /// Until its epoch's start has committed.
    pub(crate) open: Duration,
    /// Until a client's write completes.
    pub(crate) first_write: Duration,
}

impl Stages {
    /// From what was said after the blow by all but the old primary (`others`) and by the new one (`new`). None if that
    /// is not the story of one change.
    pub(crate) fn new(
        struck: SystemTime,
        others: &[Said],
        new: &[Said],
        first_write_after: impl Fn(SystemTime) -> Option<SystemTime>,
    ) -> Option<Stages> {
        let serving = new.iter().find(|said| said.kind == "serving" && said.at >= struck)?.at;
        let last = |kind: &str| {
            new.iter().rev().find(|said| said.kind == kind && said.at <= serving).map(|said| said.at)
        };
        let (asked, reigning) = (last("campaigning")?, last("reigning")?);
        // Whose own log is the best of a majority has nothing to fetch.
        let elected = last("adopting-log").filter(|at| *at >= asked).unwrap_or(reigning);
        let asking = others.iter().filter(|said| said.kind == "campaigning" && said.at >= struck);
        let campaigning = asking.map(|said| said.at).min()?;
        let written = first_write_after(serving)?;
        Some(Stages {
            detect: campaigning.duration_since(struck).ok()?,
            promise: elected.duration_since(campaigning).ok()?,
            catch_up: reigning.duration_since(elected).ok()?,
            open: serving.duration_since(reigning).ok()?,
            first_write: written.duration_since(serving).ok()?,
        })
    }

    pub(crate) fn parts(&self) -> [Duration; 5] {
        [self.detect, self.promise, self.catch_up, self.open, self.first_write]
    }

    pub(crate) fn total(&self) -> Duration {
        self.parts().iter().sum()
    }
}
