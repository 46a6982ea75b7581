//! The shipped greeting, for every pair of ends that differ in one or two things.

use seawall_sender::frame::{VERSION_MAX, VERSION_MIN};
use seawall_sender::greeting::{Hello, Identity, Welcome, check_hello, check_welcome};
use seawall_wal::names::{BLOCK_BYTES, ReplicaId, VolumeId};

use crate::cases::Cases;
use crate::search::{Breach, Report, rule};

const US: Identity = Identity { volume: VolumeId([7; 16]), replica: ReplicaId(2), volume_blocks: 100 };

/// Hellos and welcomes; all of them, or only those whose versions are no range.
#[must_use]
pub fn greetings(reversed: bool) -> Report {
    let mut cases = Cases::new(if reversed { "greetings without a range" } else { "greetings" });
    for hello in hellos() {
        if reversed && hello.1.version_min <= hello.1.version_max {
            continue;
        }
        if !cases.judge(1, || vec![format!("{hello:?}")], || judge_hello(hello.0, &hello.1)) {
            return cases.report();
        }
    }
    for (volume, welcome) in welcomes() {
        if !cases.judge(1, || vec![format!("{welcome:?}")], || judge_welcome(volume, &welcome)) {
            break;
        }
    }
    cases.report()
}

fn volumes() -> [VolumeId; 2] {
    [US.volume, VolumeId([8; 16])]
}

fn hellos() -> Vec<(VolumeId, Hello)> {
    let mut all = Vec::new();
    for (version_min, version_max) in (0..4).flat_map(|min| (0..4).map(move |max| (min, max))) {
        for volume in volumes() {
            for to in [US.replica, ReplicaId(3)] {
                for block_bytes in [BLOCK_BYTES, 512] {
                    for volume_blocks in [US.volume_blocks, US.volume_blocks + 1, US.volume_blocks - 1] {
                        for auth in [Vec::new(), vec![1]] {
                            let from = ReplicaId(1);
                            let hello = Hello {
                                version_min,
                                version_max,
                                from,
                                to,
                                auth,
                                block_bytes,
                                volume_blocks,
                            };
                            all.push((volume, hello));
                        }
                    }
                }
            }
        }
    }
    all
}

fn welcomes() -> Vec<(VolumeId, Welcome)> {
    let mut all = Vec::new();
    for version in 0..4 {
        for volume in volumes() {
            for replica in [ReplicaId(1), ReplicaId(3)] {
                all.extend([Vec::new(), vec![1]].map(|auth| (volume, Welcome { version, replica, auth })));
            }
        }
    }
    all
}

fn judge_hello(volume: VolumeId, hello: &Hello) -> Result<(), Breach> {
    let Ok(version) = check_hello(&US, volume, hello) else { return Ok(()) };
    rule(
        "versions-are-spoken-by-both",
        hello.version_min <= version && version <= hello.version_max,
        || format!("version {version} was agreed on"),
    )?;
    rule("versions-are-spoken-by-both", (VERSION_MIN..=VERSION_MAX).contains(&version), || {
        format!("version {version} was agreed on")
    })?;
    rule("one-volume", volume == US.volume, || volume.to_string())?;
    rule("identity-outlives-address", hello.to == US.replica, || hello.to.to_string())?;
    let sizes = hello.block_bytes == BLOCK_BYTES && hello.volume_blocks == US.volume_blocks;
    rule("one-size", sizes, || format!("{} blocks of {}", hello.volume_blocks, hello.block_bytes))?;
    rule("nothing-unjudged-is-passed-over", hello.auth.is_empty(), || "authentication".into())
}

fn judge_welcome(volume: VolumeId, welcome: &Welcome) -> Result<(), Breach> {
    let Ok(version) = check_welcome(&US, ReplicaId(1), volume, welcome) else { return Ok(()) };
    rule("versions-are-spoken-by-both", (VERSION_MIN..=VERSION_MAX).contains(&version), || {
        format!("version {version} was agreed on")
    })?;
    rule("one-volume", volume == US.volume, || volume.to_string())?;
    rule("identity-outlives-address", welcome.replica == ReplicaId(1), || welcome.replica.to_string())?;
    rule("nothing-unjudged-is-passed-over", welcome.auth.is_empty(), || "authentication".into())
}
