//! Whether there is a primary: what a replica that follows one knows of it by what it hears, and when it asks for
//! promises itself.

use core::time::Duration;

use seawall_sender::time::Instant;

use crate::core::Core;
use crate::notice::Notice;
use crate::primary::Primary;

/// So many mean deviations of the time between signs of life are still no silence.
const DEVIATIONS: u32 = 6;

/// When a primary was heard of, and how regularly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vigil {
    heard: Instant,
    /// The last sign of life of a primary that has its voters.
    sign: Option<Instant>,
    /// Smoothed time between two signs of life of one session, and its mean deviation.
    gap: Duration,
    deviation: Duration,
    /// Some replicas wait longer than others.
    spread: Duration,
    /// It is missed, and somebody works on it until then.
    spares: Option<Instant>,
}

impl Vigil {
    /// From now on.
    pub(crate) fn new(now: Instant) -> Vigil {
        let (gap, deviation, spread) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Vigil { heard: now, sign: None, gap, deviation, spread, spares: None }
    }

    /// A reason to wait, but not one of a regular kind: a greeting, a promise, a hand-over.
    pub(crate) fn on_news(&mut self, now: Instant, spread: Duration) {
        (self.heard, self.spread, self.spares) = (now, spread, None);
    }

    /// The primary lives, and is not cut off from the others.
    pub(crate) fn on_sign(&mut self, now: Instant) {
        let gap = now.since(self.heard);
        let off = gap.abs_diff(self.gap);
        // The smoothing of RFC 6298, section 2.
        self.deviation = (self.deviation * 3 + off) / 4;
        self.gap = (self.gap * 7 + gap) / 8;
        (self.heard, self.sign, self.spares) = (now, Some(now), None);
    }

    /// How long ago a primary that had its voters was heard of in this life.
    pub(crate) fn unheard(&self, now: Instant) -> Option<Duration> {
        self.sign.map(|sign| now.since(sign))
    }

    /// From when on its silence means something: not before `least`, that is before a lease that it was granted has
    /// run out.
    pub(crate) fn silent_from(&self, least: Duration, silence_max: Duration) -> Instant {
        let usual = self.gap + self.deviation * DEVIATIONS;
        self.heard.after(usual.clamp(least, silence_max.max(least)))
    }
}

impl Core {
    /// Whether this volume's replicas find themselves a primary without being asked.
    pub(crate) fn finds_itself_a_primary(&self) -> bool {
        self.setup.failover.acts_under(self.setup.commit)
    }

    /// When the silence of the primary that feeds us means that it is gone.
    pub(crate) fn silent_from(&self) -> Instant {
        self.vigil.silent_from(self.missed_after(), self.setup.limits.silence_max)
    }

    /// Whether a primary is heard of that is not cut off itself.
    pub(crate) fn hears_a_primary(&self) -> bool {
        let feeds = self.feed.as_ref().is_some_and(|feed| !feed.is_owed() || self.now < self.silent_from());
        feeds || self.primary.as_ref().is_some_and(|primary| primary.serving && self.is_confirmed(primary))
    }

    /// Whether enough voters have answered that primary, which is ourselves, lately.
    fn is_confirmed(&self, primary: &Primary) -> bool {
        let confirmed = primary.pulses.sent_at(primary.pulses.confirmed());
        confirmed.is_some_and(|sent| self.now < sent.after(self.missed_after()))
    }

    /// How long a regular primary may be silent before it is missed.
    pub(crate) fn missed_after(&self) -> Duration {
        self.setup.limits.missed_after()
    }

    /// Whether the primary that feeds us has been heard of lately, so that it may be granted a lease. One that has
    /// lost its majority must not keep us from finding another.
    pub(crate) fn stands_by_its_primary(&self) -> bool {
        let wanted = self.candidate.as_ref().is_some_and(crate::candidate::Candidate::is_commanded);
        let content = self.candidate.is_none() && self.now < self.silent_from();
        !wanted && (content || !self.finds_itself_a_primary())
    }

    /// There is a reason to wait for a primary from now on.
    pub(crate) fn wait_for_a_primary(&mut self) {
        let bound = self.missed_after() / 2;
        let spread = self.dice.below(bound);
        self.vigil.on_news(self.now, spread);
    }

    /// When this replica asks for promises by itself, if nothing happens.
    pub(crate) fn vigil_deadline(&self) -> Option<Instant> {
        let idle = self.primary.is_none() && self.candidate.is_none() && self.promising.is_none();
        let able = self.takes_part && self.fault.is_none() && self.drain.is_none() && !self.drained;
        // Invariant: rebuilding-never-votes.
        let fit = self.is_voter(self.me()) && self.base_complete() && self.stranded().is_none();
        // Where it is for us to answer, the primary's silence means nothing.
        let owed = self.feed.as_ref().is_none_or(crate::follower::Feed::is_owed);
        let idle = idle && self.forcing.is_none();
        let waits = self.finds_itself_a_primary() && idle && able && fit && owed;
        waits.then(|| {
            let silent = self.silent_from();
            silent.max(self.vigil.spares.unwrap_or(silent)).after(self.vigil.spread)
        })
    }

    /// Time passed.
    pub(crate) fn vigil_tick(&mut self) {
        if self.vigil_deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        match self.spared_by(self.me()) {
            Some(until) => {
                if self.vigil.spares.replace(until).is_none() {
                    self.notice(Notice::PrimarySpared { replica: self.promised().replica });
                }
            }
            None => self.campaign(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);
    const SILENCE: Duration = Duration::from_secs(5);

    fn after_signs(gaps_ms: impl Iterator<Item = u64>) -> Duration {
        let mut now = Instant(0);
        let mut vigil = Vigil::new(now);
        for gap in gaps_ms {
            now = now.after(Duration::from_millis(gap));
            vigil.on_sign(now);
        }
        vigil.silent_from(LEASE, SILENCE).since(now)
    }

    #[test]
    fn a_regular_primary_is_missed_when_its_lease_has_run_out() {
        assert_eq!(after_signs((0..100).map(|_| 250)), LEASE);
    }

    #[test]
    fn an_irregular_primary_is_given_more_time() {
        let waits = after_signs((0..100).map(|n| if n % 2 == 0 { 20 } else { 900 }));
        assert!(waits > Duration::from_secs(2) && waits < SILENCE, "{waits:?}");
    }

    #[test]
    fn no_primary_is_waited_for_for_ever() {
        assert_eq!(after_signs((0..100).map(|n| if n % 2 == 0 { 20 } else { 9000 })), SILENCE);
    }
}
