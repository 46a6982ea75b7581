//! All that may be said to a session: whatever its phase has a use for, in every value that matters, and one of each
//! kind that it has none for.

use seawall_recovery::messages::Refusal;
use seawall_recovery::plan::{
    Base, Decision, Fork, Identity, Plan, PlanFacts, Promise, Reach, RebuildWhy, RefuseWhy, Resume, Rule,
    Tail, Told, Trust,
};
use seawall_recovery::session::{News, Phase};
use seawall_sender::session_id::SessionId;
use seawall_sender::violation::Violation;
use seawall_wal::names::Lsn;

use super::{BLOCKS, Room, stale_sessions};

const FACTS: PlanFacts = PlanFacts {
    identity: Identity::Wanted,
    told: Told::Sound,
    promise: Promise::Reached,
    trust: Trust::Full,
    base: Base::Complete,
    tail: Tail::Behind,
    fork: Fork::AtOrAboveHome,
    reach: Reach::Held,
};

pub(super) fn decision(plan: Plan) -> Decision {
    decision_for(plan, FACTS)
}

fn decision_for(plan: Plan, facts: PlanFacts) -> Decision {
    Decision { plan, rule: Rule::of(&FACTS), facts, lossy: false }
}

fn rebuild(room: &Room) -> Plan {
    Plan::Rebuild { why: RebuildWhy::LogGone, resume: None, cut: room.settled }
}

fn resume(held: u64) -> Plan {
    let resume = Some(Resume { held, from: Lsn(3) });
    Plan::Rebuild { why: RebuildWhy::Incomplete, resume, cut: Lsn(3) }
}

/// One of each kind.
fn each(room: &Room) -> [News; 11] {
    [
        News::Connected,
        News::Welcomed,
        News::Decided(decision(Plan::CatchUp { from: Lsn(3) })),
        News::Begun { end: Lsn(3), held: BLOCKS },
        News::Declined { why: Refusal::Faulted },
        News::Acked { durable: room.log_end },
        News::BaseAcked { held: BLOCKS },
        News::DigestCompared { equal: true },
        News::RetentionSpent,
        News::Violated { violation: Violation::FactsAbsurd },
        News::Lost,
    ]
}

/// Of sessions that are over, or never were.
pub(super) fn stale(room: &Room) -> Vec<(SessionId, News)> {
    let sessions = stale_sessions();
    sessions.into_iter().flat_map(|session| each(room).map(|news| (session, news))).collect()
}

/// Of the present session.
pub(super) fn all(room: &Room) -> Vec<News> {
    let mut all = each(room).to_vec();
    let Some(phase) = room.phase() else { return all };
    let acks = || (2..=room.log_end.0 + 1).map(|durable| News::Acked { durable: Lsn(durable) });
    let bases = || (0..=BLOCKS + 1).map(|held| News::BaseAcked { held });
    let refusals = [Refusal::Promised, Refusal::ChainDiffers, Refusal::PlanOutdated, Refusal::ShuttingDown]
        .map(|why| News::Declined { why });
    match phase {
        Phase::Connecting { .. } | Phase::Welcoming { .. } => {}
        Phase::Greeting { .. } => {
            all.extend(refusals);
            let other = PlanFacts { reach: Reach::Gone, ..FACTS };
            let ahead = Plan::Refuse { why: RefuseWhy::AheadOfUs };
            let plans = [
                Plan::ZeroGap { at: room.log_end },
                Plan::CutThenCatchUp { to: Lsn(3) },
                rebuild(room),
                resume(1),
                resume(BLOCKS),
                ahead,
                Plan::Refuse { why: RefuseWhy::NotSettled },
            ];
            all.extend(plans.map(|plan| News::Decided(decision(plan))));
            all.push(News::Decided(decision_for(ahead, other)));
        }
        Phase::Beginning { plan, .. } => {
            all.extend(refusals);
            let from = plan.feed_from();
            for end in [from, from.next(), Lsn(from.0 - 1)] {
                all.extend((0..=BLOCKS + 1).map(|held| News::Begun { end, held }));
            }
        }
        Phase::CatchingUp { .. } | Phase::InSync { .. } => {
            all.extend(refusals);
            all.extend(acks());
        }
        Phase::Copying { .. } | Phase::Closing { .. } => {
            all.extend(acks());
            all.extend(bases());
        }
        Phase::Comparing { .. } => {
            all.extend(acks());
            all.extend(bases());
            all.push(News::DigestCompared { equal: false });
        }
    }
    all
}
