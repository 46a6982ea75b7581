//! Which voters' words count, from the disks alone: by contract a copy that is not whole votes on nothing, and one
//! that may have lost what it answered for counts only if all voters promise or the likes of it are a majority.

use seawall_wal::superblock::BaseState;

use crate::disk::Disk;
use crate::oracle::image::{refused, superblock};

/// How many voters are what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Voters {
    /// Whole copies that lost nothing.
    pub(crate) sound: usize,
    /// Whole copies that may have lost what they answered for.
    pub(crate) lossy: usize,
    /// Copies that are being rebuilt, or blank.
    pub(crate) partial: usize,
    /// Disks that no replica can open.
    pub(crate) refused: usize,
}

impl Voters {
    /// What those disks make of their voters.
    pub(crate) fn of<'a>(disks: impl Iterator<Item = &'a Disk>) -> Voters {
        let mut voters = Voters::default();
        for disk in disks {
            let Some(superblock) = superblock(disk) else {
                voters.refused += 1;
                continue;
            };
            let count = match superblock.base {
                BaseState::Rebuilding { .. } | BaseState::Blank => &mut voters.partial,
                BaseState::Complete if refused(disk).is_some() => &mut voters.refused,
                BaseState::Complete if superblock.lossy => &mut voters.lossy,
                BaseState::Complete => &mut voters.sound,
            };
            *count += 1;
        }
        voters
    }

    /// Whether they can elect a primary, if all of them talk with each other.
    pub(crate) fn can_elect(self) -> bool {
        let all = self.sound + self.lossy + self.partial + self.refused;
        let majority = all / 2 + 1;
        self.sound >= majority || self.lossy >= majority || self.sound + self.lossy == all
    }
}

#[cfg(test)]
mod tests {
    use seawall_engine::format::{both_slots, newborn};
    use seawall_wal::superblock::Superblock;

    use super::*;
    use crate::birth::setup;
    use crate::directory::Directory;
    use crate::profile::Profile;

    /// The disk of a voter: lossy, whole.
    fn disk(lossy: bool, whole: bool) -> Disk {
        let profile = Profile::draw(0);
        let mut disk = Disk::new(profile.geometry);
        let addresses = Directory::new(profile.nodes()).on_start(0);
        let born = newborn(
            &setup(&profile, &addresses, 0, [0; 16], 0, core::time::Duration::ZERO, None),
            profile.geometry,
        );
        let base = if whole { BaseState::Complete } else { BaseState::Blank };
        for (area, offset, bytes) in both_slots(&Superblock { lossy, base, ..born }) {
            disk.format(area, offset, &bytes);
        }
        disk
    }

    fn check(disks: &[(bool, bool)], elects: bool) {
        let disks: Vec<Disk> = disks.iter().map(|&(lossy, whole)| disk(lossy, whole)).collect();
        let voters = Voters::of(disks.iter());
        assert_eq!(voters.can_elect(), elects, "{voters:?}");
    }

    #[test]
    fn the_disks_say_whether_anybody_can_be_elected() {
        let (sound, lossy, partial) = ((false, true), (true, true), (false, false));
        check(&[sound, sound, partial], true);
        check(&[sound, sound, lossy], true);
        check(&[sound, lossy, lossy], true);
        check(&[sound, lossy, partial], false);
        check(&[sound, partial, partial], false);
        check(&[lossy, partial, lossy], true);
        check(&[sound, lossy], true);
    }

    #[test]
    fn a_disk_without_superblocks_is_no_voter() {
        let profile = Profile::draw(0);
        let voters = Voters::of([Disk::new(profile.geometry)].iter());
        assert_eq!(voters, Voters { refused: 1, ..Voters::default() });
    }
}
