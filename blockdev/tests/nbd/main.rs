//! The NBD machine from outside: bytes in, bytes and core requests out, over a volume in memory.

#[path = "../../../wal/fuzz/replay.rs"]
mod corpus;
mod handshake;
mod hostile;
mod replay;
mod requests;
mod rig;
mod room;
mod volume;
mod wire;
