//! Whether what came to pass is what was expected.

use seawall_engine::notice::Notice;

use super::{Said, Story, fail, matches};
use crate::birth::replica;
use crate::clock::{MILLIS, Moment};
use crate::oracle::Failure;
use crate::scenario::{Expect, Outcome};
use crate::sign::Sign;
use crate::world::World;

impl World {
    /// The world is at rest, or will never be: what the scenario expects of that.
    pub(crate) fn check_story(&mut self, rested: Option<Moment>) -> Result<(), Failure> {
        let at_rest = rested.is_some();
        if let Some(story) = &mut self.story {
            story.rested = rested;
        }
        let Some(story) = &self.story else { return Ok(()) };
        let operator = story.script.expects.iter().any(|(_, expect)| *expect == Expect::Operator);
        if operator == at_rest && !story.script.expects.is_empty() {
            let why = if at_rest { "no operator had to decide" } else { "an operator has to decide" };
            return Err(Failure::new("scenario", format!("{why}{}", self.survey())));
        }
        for (line, expect) in &story.script.expects {
            self.check_expect(story, expect).map_err(|why| fail(*line, &why))?;
        }
        for asked in &story.asked {
            if !asked.question.is.is_empty() && asked.outcome != Outcome::Completed {
                return Err(fail(asked.line, &format!("the read ended otherwise: {:?}", asked.outcome)));
            }
        }
        Ok(())
    }

    fn check_expect(&self, story: &Story, expect: &Expect) -> Result<(), String> {
        let last = |which: &dyn Fn(&Said) -> Option<String>| story.notices.iter().rev().find_map(which);
        let same = |what: &str, seen: Option<String>, expected: &str| match seen {
            Some(seen) if seen == expected => Ok(()),
            seen => Err(format!("the {what} was {}", seen.unwrap_or("none".to_owned()))),
        };
        match expect {
            // Judged when the run is over, or always.
            Expect::Fails(_) | Expect::CopiesEqual | Expect::Operator => Ok(()),
            Expect::Seen(event, times) => {
                let said = |said: &&Said| matches(event, said.node, Sign::Notice(&said.notice));
                let count = story.notices.iter().filter(said).count() as u64;
                match times {
                    None if count > 0 => Ok(()),
                    Some(times) if *times == count => Ok(()),
                    None | Some(_) => Err(format!("it was seen {count} times")),
                }
            }
            Expect::Rule(node, expected) => {
                let of = |said: &Said| match &said.notice {
                    Notice::Planned { replica: who, rule, .. } if *who == replica(*node) => {
                        Some((*rule).to_owned())
                    }
                    _ => None,
                };
                same("rule", last(&of), expected)
            }
            Expect::Plan(node, expected) => {
                let of = |said: &Said| match &said.notice {
                    Notice::Following { plan, .. } if said.node == *node => Some((*plan).to_owned()),
                    _ => None,
                };
                same("plan", last(&of), expected)
            }
            Expect::Opened(node, expected) => {
                same("rule", self.opened.get(*node).copied().flatten().map(str::to_owned), expected)
            }
            Expect::Outcome(name, expected) => {
                let asked = story.asked(name).ok_or("it was never asked")?;
                if asked.outcome == *expected { Ok(()) } else { Err(format!("it is {:?}", asked.outcome)) }
            }
            Expect::RestWithin(nanos) => {
                let took = story.rested.map_or(u64::MAX, |rested| rested.since(story.healed));
                if took <= *nanos { Ok(()) } else { Err(format!("it took {} ms", took / MILLIS)) }
            }
            Expect::So(condition) => {
                if self.holds(condition) {
                    Ok(())
                } else {
                    Err(format!("is not so: {condition:?}{}", self.survey()))
                }
            }
        }
    }
}
