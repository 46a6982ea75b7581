//! Breadth first over all states of a model, each once, so that the first thing that breaks is told by a shortest
//! way to it.

use std::any::Any;
use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// Which rule is broken.
    pub property: &'static str,
    /// How.
    pub said: String,
}

impl Breach {
    /// That rule is broken, like this.
    #[must_use]
    pub fn new(property: &'static str, said: impl Into<String>) -> Breach {
        Breach { property, said: said.into() }
    }
}

/// The rule, if it is broken.
///
/// # Errors
/// If `holds` is false.
pub fn rule(property: &'static str, holds: bool, said: impl FnOnce() -> String) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(Breach::new(property, said())) }
}

/// What is explored: states, the steps that each of them can take, and what must hold in between.
pub trait Model {
    /// All there is to know; two that are equal have the same future.
    type State: Clone + Eq + Hash;
    /// One thing that happens.
    type Step: Clone + Debug;

    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Where it begins.
    fn starts(&self) -> Vec<Self::State>;
    /// All that may happen next.
    fn steps(&self, state: &Self::State) -> Vec<Self::Step>;
    /// What comes of it.
    ///
    /// # Errors
    /// Whatever must not come of it.
    fn take(&self, state: &Self::State, step: &Self::Step) -> Result<Self::State, Breach>;
    /// What a world without faults does next on its way to the goal; `None` at the goal.
    fn heal(&self, state: &Self::State) -> Option<Self::Step>;
}

/// How far to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Most steps from a start.
    pub depth: usize,
    /// Most states. What is beyond is not looked at, and the report says so.
    pub states: usize,
    /// Longest time. What is beyond is not looked at, either.
    pub time: Duration,
    /// Whether every state must also have a good way to the goal.
    pub heals: bool,
}

/// Longest good way to the goal.
const HEAL_MAX: usize = 200;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of which model.
    pub model: &'static str,
    /// Different states.
    pub states: u64,
    /// Steps taken from them.
    pub steps: u64,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// Whether there was nothing beyond the bounds.
    pub whole: bool,
    /// How long it took. Seconds of a wall.
    pub took: Duration,
    /// The first rule that broke.
    pub breach: Option<Counterexample>,
}

/// A shortest way to something that must never be.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What broke.
    pub breach: Breach,
    /// The steps to it, the last of them the one that broke it.
    pub trace: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { model, states, steps, depth, whole, took, breach } = self;
        write!(f, "{model}: {states} states, {steps} steps, depth {depth}, ")?;
        f.write_str(if *whole { "all of them" } else { "more beyond" })?;
        write!(f, ", {took:.1?}")?;
        let Some(Counterexample { breach: Breach { property, said }, trace }) = breach else { return Ok(()) };
        write!(f, "\n  {property} is broken: {said}")?;
        (1..).zip(trace).try_for_each(|(number, step)| write!(f, "\n  {number:3} {step}"))
    }
}

/// A fingerprint of 128 bits: two multiplicative hashes side by side. Of a million states no two share one, but for
/// a chance of 1 in 10^26.
#[derive(Clone, Copy)]
struct Print(u64, u64);

impl Hasher for Print {
    fn finish(&self) -> u64 {
        self.0 ^ self.1.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.1 = (self.1.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.1 ^= self.1 >> 32;
    }
}

fn print(state: &impl Hash) -> u128 {
    let mut print = Print(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    state.hash(&mut print);
    u128::from(print.0) << 64 | u128::from(print.1)
}

/// How a state was reached first.
struct Origin {
    from: u32,
    step: u32,
}

/// Look at everything within the bounds, until something breaks.
///
/// # Panics
/// If the bounds admit more than 2^32 states.
#[must_use]
pub fn explore<M: Model>(model: &M, bounds: Bounds) -> Report {
    let began = Instant::now();
    let mut report = Report {
        model: model.name(),
        states: 0,
        steps: 0,
        depth: 0,
        whole: true,
        took: Duration::ZERO,
        breach: None,
    };
    let mut seen = HashSet::new();
    let mut healthy = HashSet::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut level: Vec<(u32, M::State)> = Vec::new();
    for (number, start) in (0u32..).zip(model.starts()) {
        if seen.insert(print(&start)) {
            level.push((u32::try_from(origins.len()).expect("few starts"), start));
            origins.push(Origin { from: u32::MAX, step: number });
        }
    }
    'search: while !level.is_empty() {
        let mut next = Vec::new();
        for (index, state) in &level {
            if began.elapsed() > bounds.time {
                report.whole = false;
                break 'search;
            }
            report.states += 1;
            if bounds.heals
                && let Err((breach, good)) = heals(model, state, &mut healthy)
            {
                let mut trace = way(model, &origins, *index);
                trace.extend(good.into_iter().map(|step| format!("then, with no more faults, {step}")));
                report.breach = Some(Counterexample { breach, trace });
                break 'search;
            }
            if report.depth == bounds.depth {
                report.whole = false;
                continue;
            }
            for (number, step) in (0u32..).zip(model.steps(state)) {
                report.steps += 1;
                match attempt(|| model.take(state, &step)) {
                    Ok(after) => {
                        if seen.contains(&print(&after)) {
                            continue;
                        }
                        if seen.len() == bounds.states {
                            report.whole = false;
                            continue;
                        }
                        seen.insert(print(&after));
                        next.push((u32::try_from(origins.len()).expect("bounded"), after));
                        origins.push(Origin { from: *index, step: number });
                    }
                    Err(breach) => {
                        let mut trace = way(model, &origins, *index);
                        trace.push(format!("{step:?}"));
                        report.breach = Some(Counterexample { breach, trace });
                        break 'search;
                    }
                }
            }
        }
        level = next;
        report.depth += usize::from(!level.is_empty());
    }
    report.took = began.elapsed();
    report
}

/// Whether a world without faults leads from here to the goal; if not, how it tried.
fn heals<M: Model>(
    model: &M,
    state: &M::State,
    healthy: &mut HashSet<u128>,
) -> Result<(), (Breach, Vec<String>)> {
    let (mut here, mut passed, mut told) = (state.clone(), Vec::new(), Vec::new());
    loop {
        let print = print(&here);
        if healthy.contains(&print) {
            break;
        }
        if passed.contains(&print) || passed.len() == HEAL_MAX {
            let said = "a world without faults goes on for ever, and the goal is not reached";
            return Err((Breach::new("everything-heals", said), told));
        }
        passed.push(print);
        let Some(step) = model.heal(&here) else { break };
        told.push(format!("{step:?}"));
        match attempt(|| model.take(&here, &step)) {
            Ok(after) => here = after,
            Err(breach) => return Err((breach, told)),
        }
    }
    healthy.extend(passed);
    Ok(())
}

/// The steps that led to a state first.
fn way<M: Model>(model: &M, origins: &[Origin], to: u32) -> Vec<String> {
    let mut back = vec![to];
    while let Some(from) = back.last().map(|at| origins[*at as usize].from).filter(|from| *from != u32::MAX) {
        back.push(from);
    }
    back.reverse();
    let mut state = model.starts()[origins[back[0] as usize].step as usize].clone();
    let mut told = Vec::new();
    for at in &back[1..] {
        let step = model.steps(&state)[origins[*at as usize].step as usize].clone();
        told.push(format!("{step:?}"));
        state = model.take(&state, &step).expect("it was taken before");
    }
    told
}

/// A machine whose assertion fails breaks a rule, too.
///
/// # Errors
/// What `act` says, or what it panicked with.
pub fn attempt<T>(act: impl FnOnce() -> Result<T, Breach>) -> Result<T, Breach> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(Breach::new("assertions-hold", said(&*panic))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Assertions that fail are reported, not printed.
pub fn hush() {
    std::panic::set_hook(Box::new(|_| {}));
}
