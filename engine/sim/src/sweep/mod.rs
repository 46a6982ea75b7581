//! The storage sweep: one replica's disk is broken at every place, outside of the cluster simulation.
//!
//! A script makes the disk go through a mutation once, and every operation of it is photographed. From each
//! photograph every crash is developed: the operation not done, done, or torn in every way; the process killed or
//! the power gone; what was not flushed written back, lost, or each sector on its own. The real engine is opened
//! over what is left, judged, goes on, crashes again, and is judged again. Devices that fail, fill up or lie are
//! given to every operation too, and images are cut and have their bits flipped. It has devices of its own, which
//! can be copied in no time and leave the choice of what a crash takes to the sweep.

mod asking;
mod crash;
mod drive;
mod harvest;
mod history;
mod image;
mod judge;
mod lying;
mod maker;
mod medium;
mod plan;
mod report;
mod script;
mod shot;
mod spoil;
mod stage;
mod sweeper;

pub use harvest::{Count, Harvest};
pub use image::{ImageCount, images};
pub use lying::spoils;
pub use maker::makers;
pub use report::{Report, command};
pub use script::Script;
pub use spoil::{Ill, Sabotage};
pub use stage::Wrong;
pub use sweeper::{Scope, planted, sweep};
