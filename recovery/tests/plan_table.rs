//! The table of rules, over every combination of facts.

use seawall_recovery::plan::{Base, Fork, Identity, PlanFacts, Promise, Reach, Rule, Tail, Told, Trust};

fn every_combination() -> Vec<PlanFacts> {
    let mut all = Vec::new();
    for identity in [Identity::Wanted, Identity::Foreign] {
        for told in [Told::Sound, Told::Absurd] {
            for promise in [Promise::Reached, Promise::Above] {
                for trust in [Trust::Full, Trust::Diverged, Trust::DigestDiffered] {
                    for base in [Base::Complete, Base::Resumable, Base::Early, Base::Stray, Base::Blank] {
                        for tail in [Tail::Equal, Tail::Behind, Tail::Ahead, Tail::Left, Tail::Contradicts] {
                            for fork in [Fork::AtOrAboveHome, Fork::BelowHome] {
                                for reach in [Reach::Held, Reach::Gone] {
                                    let facts =
                                        PlanFacts { identity, told, promise, trust, base, tail, fork, reach };
                                    all.push(facts);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn exactly_one_rule_fires_for_every_combination_of_facts() {
    let all = every_combination();
    assert_eq!(all.len(), 2 * 2 * 2 * 3 * 5 * 5 * 2 * 2);
    for facts in all {
        let firing: Vec<_> = Rule::ALL.into_iter().filter(|rule| rule.fires(&facts)).collect();
        assert_eq!(firing, [Rule::of(&facts)], "{facts:?}");
    }
}

#[test]
fn every_rule_fires_for_some_combination() {
    let all = every_combination();
    for rule in Rule::ALL {
        assert!(all.iter().any(|facts| rule.fires(facts)), "{} never fires", rule.name());
    }
}

#[test]
fn no_two_rules_share_a_name() {
    let mut names: Vec<_> = Rule::ALL.iter().map(Rule::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Rule::ALL.len());
}

/// What is home in a copy proves that it was settled if the copy would be fed, were our log long enough and as far.
#[test]
fn only_a_copy_that_may_be_kept_proves_what_was_settled() {
    for facts in every_combination() {
        let kept = PlanFacts {
            base: if facts.base == Base::Early { Base::Resumable } else { facts.base },
            reach: Reach::Held,
            ..facts
        };
        let feeds = matches!(
            Rule::of(&kept),
            Rule::EqualEnds | Rule::EndOnOurLog | Rule::TailAhead | Rule::TailLeft | Rule::HalfBase
        );
        assert_eq!(facts.proves_settled(), feeds, "{facts:?}");
    }
}

/// What the table is for, said once more without it.
#[test]
fn no_rule_feeds_a_replica_that_must_not_be_fed() {
    for facts in every_combination() {
        let rule = Rule::of(&facts);
        let feeds = matches!(
            rule,
            Rule::EqualEnds | Rule::EndOnOurLog | Rule::TailAhead | Rule::TailLeft | Rule::HalfBase
        );
        if feeds {
            assert!(facts.identity == Identity::Wanted && facts.told == Told::Sound, "{facts:?}");
            assert!(facts.promise == Promise::Reached && facts.trust == Trust::Full, "{facts:?}");
            assert!(facts.reach == Reach::Held && facts.fork == Fork::AtOrAboveHome, "{facts:?}");
            assert!(facts.tail != Tail::Contradicts, "{facts:?}");
            assert!(matches!(facts.base, Base::Complete | Base::Resumable), "{facts:?}");
        }
        let wipes = matches!(
            rule,
            Rule::BlankBase
                | Rule::TrustWithdrawn
                | Rule::StrayBase
                | Rule::TailContradicts
                | Rule::ForkBelowHome
                | Rule::LogGone
        );
        if wipes {
            let ahead = facts.tail == Tail::Ahead && facts.fork == Fork::BelowHome;
            assert!(!ahead || facts.base == Base::Blank, "what may be the last good copy is kept: {facts:?}");
            assert!(facts.identity == Identity::Wanted && facts.told == Told::Sound, "{facts:?}");
            assert!(facts.promise == Promise::Reached, "{facts:?}");
        }
    }
}
