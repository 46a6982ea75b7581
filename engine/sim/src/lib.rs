//! The deterministic simulator: the real engine, log and codec over simulated disks, clocks, networks, clients and
//! faults. Same seed, same history, byte for byte. It is the second driver of the machine that `seawall` drives.

mod asking;
mod atlas;
mod birth;
mod care;
mod checksum;
mod client;
mod clock;
pub mod deed;
mod device;
mod directory;
mod disk;
mod driver;
mod ending;
mod executor;
mod mishap;
mod net;
mod node;
pub mod options;
pub mod oracle;
mod planner;
mod pool;
mod prng;
mod profile;
mod queue;
mod quiesce;
pub mod run;
mod stamp;
mod step;
pub mod swarm;
pub mod tally;
mod transcript;
pub mod word;
mod world;
