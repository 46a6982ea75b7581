//! From a bare disk to a replica that knows what it holds: superblocks, checksum table, log, in this order.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use seawall_wal::configuration::{Configuration, Suffrage};
use seawall_wal::geometry::Geometry;
use seawall_wal::log::Log;
use seawall_wal::names::Lsn;
use seawall_wal::restart::Restart;
use seawall_wal::superblock::{Choice, SUPER_SLOT_BYTES, Slot, SlotState, Superblock, Terms, choose};
use seawall_wal::table::Table;

use crate::io::{Area, DiskDone, DiskError, DiskOp};
use crate::setup::{Ack, Setup};

/// Bytes of one read of the checksum table or the log.
const CHUNK_BYTES: u64 = 1 << 20;

/// How far the opening has come.
#[derive(Debug)]
enum Step {
    Slots { a: Option<SlotState>, next: Slot },
    Table { superblock: Box<Superblock>, table: Table, offset: u64 },
    Log { superblock: Box<Superblock>, table: Table, restart: Box<Restart>, offset: u64, wrapped: bool },
    FlushLog { found: Box<Found> },
    FlushHome { found: Box<Found> },
    Over,
}

/// What the disk held.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) superblock: Superblock,
    pub(crate) table: Table,
    pub(crate) log: Log,
    pub(crate) rule: &'static str,
    pub(crate) torn_at: Option<Lsn>,
}

/// What an opening wants next.
#[derive(Debug)]
pub(crate) enum Next {
    Do(DiskOp),
    Open(Box<Found>),
    Refuse(String),
}

/// A replica that is reading its disk.
#[derive(Debug)]
pub(crate) struct Opening {
    step: Step,
}

impl Opening {
    /// One that has read nothing, and its first read.
    pub(crate) fn begin() -> (Opening, DiskOp) {
        (Opening { step: Step::Slots { a: None, next: Slot::A } }, read_slot(Slot::A))
    }

    /// The read before ended.
    pub(crate) fn on_done(&mut self, setup: &Setup, result: Result<DiskDone, DiskError>) -> Next {
        match (core::mem::replace(&mut self.step, Step::Over), result) {
            (_, Err(error)) => Next::Refuse(format!(
                "the disk of {} could not be read (error {}): nothing was changed; check the device and start again",
                setup.replica, error.errno
            )),
            (Step::Slots { a: None, next: Slot::A }, Ok(DiskDone::Meta(bytes))) => {
                self.step = Step::Slots { a: Some(Superblock::decode(&bytes)), next: Slot::B };
                Next::Do(read_slot(Slot::B))
            }
            (Step::Slots { a: Some(a), .. }, Ok(DiskDone::Meta(bytes))) => {
                let (rule, choice) = choose(a, Superblock::decode(&bytes));
                match choice {
                    Choice::Use { superblock, rewrite: _ } => self.on_superblock(setup, superblock),
                    Choice::Blank => Next::Refuse(format!(
                        "this disk was never formatted ({rule}), expected replica {}: check the path, or format it; nothing was changed",
                        setup.replica
                    )),
                    Choice::Refuse => Next::Refuse(format!(
                        "both superblocks can't be trusted ({rule}): this disk holds or held a replica; inspect it, and only if the others are whole, wipe it with format --rejoin --force; nothing was changed"
                    )),
                }
            }
            (Step::Table { superblock, mut table, offset }, Ok(DiskDone::Meta(bytes))) => {
                if let Err(error) = table.load(offset, &bytes) {
                    return Next::Refuse(format!(
                        "{error}; the replica's copy can't be trusted: wipe it, so that it is rebuilt"
                    ));
                }
                self.read_table(superblock, table, offset + bytes.len() as u64)
            }
            (
                Step::Log { superblock, table, mut restart, offset, wrapped },
                Ok(DiskDone::Scanned(scanned)),
            ) => {
                // What looks like a record that reaches past the end of what there is to read is none.
                let next = scanned.next.max(offset + u64::from(superblock.geometry.unit_bytes));
                restart.feed(scanned);
                self.scan_log(superblock, table, restart, next, wrapped)
            }
            (Step::FlushLog { found }, Ok(DiskDone::Done)) => {
                self.step = Step::FlushHome { found };
                Next::Do(DiskOp::Flush { area: Area::Home })
            }
            (Step::FlushHome { found }, Ok(DiskDone::Done)) => Next::Open(found),
            (step, Ok(done)) => panic!("{step:?} was answered with {done:?}"),
        }
    }

    fn on_superblock(&mut self, setup: &Setup, superblock: Box<Superblock>) -> Next {
        if superblock.volume != setup.volume {
            return Next::Refuse(format!(
                "this disk belongs to volume {}, expected {}: check the path in the configuration; nothing was changed",
                superblock.volume, setup.volume
            ));
        }
        if superblock.replica != setup.replica {
            return Next::Refuse(format!(
                "this disk is replica {} of the volume, expected {}: check the path in the configuration; nothing was changed",
                superblock.replica, setup.replica
            ));
        }
        if superblock.geometry.volume_blocks != setup.volume_blocks {
            return Next::Refuse(format!(
                "this disk was formatted for {} blocks of 4096 bytes, the configuration says {}: correct the size; nothing was changed",
                superblock.geometry.volume_blocks, setup.volume_blocks
            ));
        }
        let table = Table::new(superblock.geometry.volume_blocks, superblock.table);
        self.read_table(superblock, table, 0)
    }

    fn read_table(&mut self, superblock: Box<Superblock>, mut table: Table, offset: u64) -> Next {
        let all = superblock.geometry.table_bytes();
        if offset < all {
            let bytes = u32::try_from(CHUNK_BYTES.min(all - offset)).expect("a chunk is small");
            self.step = Step::Table { superblock, table, offset };
            return Next::Do(DiskOp::ReadMeta { area: Area::Table, offset, bytes });
        }
        if let Err(error) = table.on_loaded() {
            return Next::Refuse(format!(
                "{error}; the replica's copy can't be trusted: wipe it, so that it is rebuilt"
            ));
        }
        let restart = Box::new(Restart::new(&superblock));
        let offset = superblock.log_start.offset;
        self.scan_log(superblock, table, restart, offset, false)
    }

    /// The log is read once round the ring: from its start to the ring's end, then from the ring's beginning.
    fn scan_log(
        &mut self,
        superblock: Box<Superblock>,
        table: Table,
        restart: Box<Restart>,
        offset: u64,
        wrapped: bool,
    ) -> Next {
        let geometry: Geometry = superblock.geometry;
        let end = if wrapped { superblock.log_start.offset } else { geometry.log_bytes };
        if offset < end {
            // After the wrap the last record may reach up to, never past, the start.
            let bytes = u32::try_from((4 * CHUNK_BYTES).min(end - offset)).expect("a chunk is small");
            self.step = Step::Log { superblock, table, restart, offset, wrapped };
            return Next::Do(DiskOp::Scan { offset, bytes });
        }
        if !wrapped && superblock.log_start.offset > 0 {
            return self.scan_log(superblock, table, restart, 0, true);
        }
        match restart.finish() {
            Ok(restarted) => {
                let found = Found {
                    superblock: *superblock,
                    table,
                    log: restarted.log,
                    rule: restarted.rule.name(),
                    torn_at: restarted.torn.map(|torn| torn.lsn),
                };
                // A killed process may have left written records, and pages of the table, in the device's cache.
                self.step = Step::FlushLog { found: Box::new(found) };
                Next::Do(DiskOp::Flush { area: Area::Log })
            }
            Err(damage) => Next::Refuse(format!(
                "{damage}; what it held may have been acknowledged, so the log is not cut: wipe this replica, so that it is rebuilt from the others"
            )),
        }
    }
}

fn read_slot(slot: Slot) -> DiskOp {
    let bytes = u32::try_from(SUPER_SLOT_BYTES).expect("a slot is small");
    DiskOp::ReadMeta { area: Area::Super, offset: Geometry::super_offset(slot), bytes }
}

/// Whether a restart has lost what it acknowledged without flushing: the mode allowed it, the machine has been
/// off since, and it did not shut down cleanly.
pub(crate) fn is_lossy(superblock: &Superblock, setup: &Setup) -> bool {
    superblock.lossy
        || (superblock.boots > 0
            && !superblock.ack_durable
            && superblock.machine_boot != setup.machine_boot
            && superblock.clean.is_none())
}

/// Notes a new life in the superblock: what every restart changes.
pub(crate) fn note_restart(superblock: &mut Superblock, setup: &Setup) {
    superblock.lossy = is_lossy(superblock, setup);
    superblock.boots = superblock.boots.checked_add(1).expect("fewer than 2^32 restarts");
    superblock.clean = None;
    superblock.machine_boot = setup.machine_boot;
    superblock.ack_durable = setup.ack == Ack::Durable;
    superblock.configuration = configuration(superblock, setup);
    superblock.terms = terms(setup);
}

/// The members that a disk knows. As long as no record has changed them, names and addresses are those of the
/// configuration file; a disk that knows no members takes all from there.
pub(crate) fn configuration(superblock: &Superblock, setup: &Setup) -> Configuration {
    let mut known = superblock.configuration.clone();
    if known.members.is_empty() {
        known.members = members(setup);
    }
    if known.number == 0 {
        for member in &mut known.members {
            if let Some(peer) = setup.member(member.replica) {
                (member.name, member.address) = (peer.name.clone(), peer.address.clone());
            }
        }
    }
    known
}

/// What the volume is called and promises as the configuration says, for the superblock.
pub(crate) fn terms(setup: &Setup) -> Terms {
    Terms {
        name: setup.name.clone(),
        commit: setup.commit,
        failover: setup.failover,
        lease_ms: u64::try_from(setup.limits.lease.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Where the configuration file names other members than the disk, which counts; for the operator.
pub(crate) fn difference(known: &Configuration, setup: &Setup) -> Option<String> {
    let voter = |member: &seawall_wal::configuration::Member| member.suffrage.votes();
    let alike = |member: &seawall_wal::configuration::Member| {
        setup.member(member.replica).is_some_and(|peer| !peer.voter || voter(member))
    };
    let missing: Vec<&str> =
        known.members.iter().filter(|member| !alike(member)).map(|member| member.name.as_str()).collect();
    let others = setup.members.iter().filter(|peer| known.member(peer.replica).is_none());
    let others: Vec<&str> = others.map(|peer| peer.name.as_str()).collect();
    if missing.is_empty() && others.is_empty() {
        return None;
    }
    let list = |names: &[&str]| if names.is_empty() { "none".to_string() } else { names.join(", ") };
    Some(format!(
        "the configuration file names other members than the disk, which counts (configuration {}): the file lacks {}, and \
         names {} that the disk does not; correct its list of replicas",
        known.number,
        list(&missing),
        list(&others)
    ))
}

/// The members as the configuration names them, for the superblock.
pub(crate) fn members(setup: &Setup) -> Vec<seawall_wal::superblock::Member> {
    setup
        .members
        .iter()
        .map(|peer| seawall_wal::superblock::Member {
            replica: peer.replica,
            name: peer.name.to_string(),
            address: peer.address.to_string(),
            suffrage: if peer.voter { Suffrage::Voter } else { Suffrage::Observer },
        })
        .collect()
}
