//! What is done to the primary of three real replicas, in which order, and what is written down of it.

pub(crate) mod forecast;
pub(crate) mod record;
pub(crate) mod stages;
pub(crate) mod theatre;

use crate::script::Stream;

/// What is done in one round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Drill {
    /// SIGKILL of the primary.
    Kill,
    /// SIGSTOP of the primary until another one serves.
    Pause,
    /// The primary's link is down.
    Cut,
    /// What the primary sends is lost; it still hears the others.
    Mute,
    /// What is sent to the primary is lost; the others still hear it.
    Deafen,
    /// The primary hands over by plan.
    HandOver,
    /// SIGKILL of another one than the primary.
    KillFollower,
    /// The same, and then SIGKILL of the primary: a majority is gone.
    KillMajority,
}

impl Drill {
    pub(crate) const ALL: [Drill; 8] = [
        Drill::Kill,
        Drill::Pause,
        Drill::Cut,
        Drill::Mute,
        Drill::Deafen,
        Drill::HandOver,
        Drill::KillFollower,
        Drill::KillMajority,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Drill::Kill => "primary killed",
            Drill::Pause => "primary stands still",
            Drill::Cut => "primary cut off",
            Drill::Mute => "primary is not heard",
            Drill::Deafen => "primary does not hear",
            Drill::HandOver => "handed over by plan",
            Drill::KillFollower => "another one killed",
            Drill::KillMajority => "killed, with another one",
        }
    }

    /// Whether it is done to the network.
    pub(crate) fn is_cut(self) -> bool {
        matches!(self, Drill::Cut | Drill::Mute | Drill::Deafen)
    }

    /// Whether another primary comes of it.
    pub(crate) fn moves_the_primary(self) -> bool {
        !matches!(self, Drill::KillFollower | Drill::KillMajority)
    }
}

/// One round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) drill: Drill,
    /// Whether the load comes through the node that is struck.
    pub(crate) attached: bool,
    /// Which of the two others is meant, where one of them is.
    pub(crate) other: usize,
    /// Requests that are done before.
    pub(crate) requests: u64,
}

/// How many rounds of what: `kill=50,pause=20,cut=20,hand-over=20,follower=20,majority=5,mixed=40`, or one number for
/// each.
pub(crate) fn script(asked: &str, seed: u64) -> Result<Vec<Step>, String> {
    let names = ["kill", "pause", "cut", "hand-over", "follower", "majority", "mixed"];
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no number of rounds"));
    let counts: Vec<(&str, usize)> = if asked.contains('=') {
        let part = |part: &str| {
            let (name, count) = part.split_once('=').ok_or(format!("{part:?} is not NAME=ROUNDS"))?;
            let known = names.iter().find(|known| **known == name);
            let known = known.ok_or(format!("{name:?} is no drill; there are {}", names.join(", ")))?;
            Ok::<_, String>((*known, number(count)?))
        };
        asked.split(',').map(part).collect::<Result<_, _>>()?
    } else {
        let each = number(asked)?;
        names.iter().map(|name| (*name, each)).collect()
    };
    let mut stream = Stream::new(seed);
    let mut steps = Vec::new();
    for (name, count) in counts {
        for turn in 0..count {
            let drill = match name {
                "kill" => Drill::Kill,
                "pause" => Drill::Pause,
                "cut" => [Drill::Cut, Drill::Mute, Drill::Deafen][turn % 3],
                "hand-over" => Drill::HandOver,
                "follower" => Drill::KillFollower,
                "majority" => Drill::KillMajority,
                _ => Drill::ALL[stream.index(Drill::ALL.len())],
            };
            // Both ways in turn, and by chance where drills are mixed.
            let attached = if name == "mixed" { stream.index(2) == 0 } else { turn % 2 == 1 };
            steps.push(Step { drill, attached, other: stream.index(2), requests: 100 + stream.below(300) });
        }
    }
    Ok(steps)
}
