//! The restart rules over every combination of facts.

use seawall_wal::restart::{Clean, Facts, RestartRule};

#[test]
fn exactly_one_rule_fires_for_every_combination() {
    let mut fired = std::collections::BTreeSet::new();
    let mut combinations = 0;
    for clean in [Clean::Unmarked, Clean::Missed, Clean::Met, Clean::Passed] {
        for bits in 0..8 {
            let [floor_missing, proven, strays] = [1, 2, 4].map(|bit| bits & bit != 0);
            let facts = Facts { clean, floor_missing, proven, strays };
            let rules: Vec<RestartRule> =
                RestartRule::ALL.into_iter().filter(|rule| rule.fires(facts)).collect();
            assert_eq!(rules.len(), 1, "{facts:?}: {rules:?}");
            let refused = proven || floor_missing || clean == Clean::Missed;
            assert_eq!(rules[0].refuses(), refused, "{facts:?}: {rules:?}");
            fired.extend(rules);
            combinations += 1;
        }
    }
    assert_eq!((combinations, fired.len()), (32, RestartRule::ALL.len()));
}
