//! The machines themselves, exhaustively: the shipped sender, receiver, recovery session, base lanes, plan, restart
//! and choice of superblock, and the rules of a vote, in every small world that can happen to them.
//!
//! Not a model of the machines: a model of what surrounds them (links, disks, clocks, peers that err), around the
//! machines as they ship. [`search`] looks at all states breadth first, each once; [`mutants`] takes the machines'
//! guards away one at a time and shows what each of them keeps out (`MUTATIONS.md`, generated).
//!
//! There are no interleavings of threads to permute below the line: a machine takes one event at a time, by `&mut
//! self` or by value, and owns no thread, lock or atomic. Orders of events are what is permuted here.
pub mod answers;
pub mod base;
pub mod cases;
pub mod disks;
pub mod feed;
pub mod greetings;
mod history;
pub mod mutants;
pub mod offers;
pub mod plans;
pub mod probe;
pub mod search;
pub mod session;
pub mod slots;
pub mod votes;
