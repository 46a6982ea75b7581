//! Who the copies of a volume are, and which of them vote: one numbered configuration after the other, each brought
//! by a record of the log.
//!
//! A record names every member and what each is, so that what decides a quorum never depends on what was known
//! before. Of the texts it carries those of the one member that is added or moved; the others are known.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::names::{COUNT_MAX, Crc, ReplicaId};

/// The most members that a configuration has.
pub const MEMBERS_MAX: usize = 32;
/// The longest name or address of a member, in bytes.
pub const MEMBER_TEXT_BYTES_MAX: usize = 255;
/// How many removed members are remembered.
pub const RETIRED_MAX: usize = 64;
/// The most words of a record: they stand where the body checksums of a write do.
pub const WORDS_MAX: usize = 96;

const HEAD_BYTES: usize = 12;
const MEMBER_BYTES: usize = 9;
/// Where a record names nobody whose texts it carries.
const NO_SUBJECT: u8 = 0xff;

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[repr(u8)]
pub enum Suffrage {
    /// It is fed and holds a copy, and nothing waits for it.
    Observer = 0,
    /// Its promises and its durable frontier count.
    Voter = 1,
    /// It is fed, and becomes a voter once it is in sync.
    Learner = 2,
    /// Its promises and its durable frontier count, and under commit rule `all` no write waits for it: it fell out of
    /// the set of those that do.
    Lagging = 3,
}

impl Suffrage {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Suffrage::Observer => "observer",
            Suffrage::Voter => "voter",
            Suffrage::Learner => "learner",
            Suffrage::Lagging => "lagging",
        }
    }

    /// Whether its promises and its durable frontier count.
    #[must_use]
    pub const fn votes(self) -> bool {
        match self {
            Suffrage::Voter | Suffrage::Lagging => true,
            Suffrage::Observer | Suffrage::Learner => false,
        }
    }

    fn from_code(code: u8) -> Option<Suffrage> {
        let all = [Suffrage::Observer, Suffrage::Voter, Suffrage::Learner, Suffrage::Lagging];
        all.into_iter().find(|suffrage| *suffrage as u8 == code)
    }
}

/// A copy of the volume.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Encode, Decode)]
pub struct Member {
    /// Its identity.
    pub replica: ReplicaId,
    /// Its name for people.
    pub name: String,
    /// Where it listened last: host and port.
    pub address: String,
    /// What it is.
    pub suffrage: Suffrage,
}

/// All copies of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Default, Encode, Decode)]
pub struct Configuration {
    /// Grows by one with each record. Zero: as the volume was formatted, and no record was ever settled.
    pub number: u64,
    /// In the order in which they joined. At most [`MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// Members of old, the newest last. At most [`RETIRED_MAX`]: their identities are never given again.
    pub retired: Vec<ReplicaId>,
}

impl Configuration {
    /// That of a volume at its birth.
    #[must_use]
    pub fn newborn(members: Vec<Member>) -> Configuration {
        Configuration { number: 0, members, retired: Vec::new() }
    }

    /// The member of that identity.
    #[must_use]
    pub fn member(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.replica == replica)
    }

    /// Whether its promises and its durable frontier count.
    #[must_use]
    pub fn votes(&self, replica: ReplicaId) -> bool {
        self.member(replica).is_some_and(|member| member.suffrage.votes())
    }

    /// All whose promises and durable frontiers count.
    pub fn voters(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.members.iter().filter(|member| member.suffrage.votes()).map(|member| member.replica)
    }

    /// The in-sync set: the voters for which each write waits under commit rule `all`.
    pub fn awaited(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.members.iter().filter(|member| member.suffrage == Suffrage::Voter).map(|member| member.replica)
    }

    /// Whether it votes and is not in that set.
    #[must_use]
    pub fn lags(&self, replica: ReplicaId) -> bool {
        self.member(replica).is_some_and(|member| member.suffrage == Suffrage::Lagging)
    }

    /// Whether that set is more than half of the voters: then every majority of them meets it.
    #[must_use]
    pub fn awaits_a_majority(&self) -> bool {
        self.awaited().count() * 2 > self.voters().count()
    }

    /// Whether lists and texts are no longer than we write them, and nobody is named twice.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let short = |text: &String| text.len() <= MEMBER_TEXT_BYTES_MAX;
        let once = |member: &Member| self.members.iter().filter(|m| m.replica == member.replica).count() == 1;
        self.number <= COUNT_MAX
            && self.members.len() <= MEMBERS_MAX
            && self.retired.len() <= RETIRED_MAX
            && self.members.iter().all(|m| short(&m.name) && short(&m.address) && once(m))
    }

    /// The next one: with `member`, or with it in the place of the member of that identity.
    #[must_use]
    pub fn with(&self, member: Member) -> Configuration {
        let mut next = Configuration { number: self.number + 1, ..self.clone() };
        match next.members.iter_mut().find(|known| known.replica == member.replica) {
            Some(known) => *known = member,
            None => next.members.push(member),
        }
        next
    }

    /// The next one: without that member.
    #[must_use]
    pub fn without(&self, replica: ReplicaId) -> Configuration {
        let mut next = Configuration { number: self.number + 1, ..self.clone() };
        next.members.retain(|member| member.replica != replica);
        next.retire(replica);
        next
    }

    fn retire(&mut self, replica: ReplicaId) {
        if !self.retired.contains(&replica) {
            self.retired.push(replica);
        }
        let most = self.retired.len().saturating_sub(RETIRED_MAX);
        self.retired.drain(..most);
    }

    /// What a record says of this configuration, with the texts of `subject`.
    ///
    /// # Errors
    /// How many bytes the two texts may have together, if they have more.
    pub fn words(&self, subject: Option<ReplicaId>) -> Result<Vec<Crc>, usize> {
        let at = subject.and_then(|subject| self.members.iter().position(|m| m.replica == subject));
        let (name, address) = at.map_or(("", ""), |at| {
            let Member { name, address, .. } = &self.members[at];
            (name.as_str(), address.as_str())
        });
        let members = self.members.len();
        let room = (WORDS_MAX * 4).saturating_sub(HEAD_BYTES + MEMBER_BYTES * members);
        let short = |text: &str| u8::try_from(text.len());
        let (Ok(name_bytes), Ok(address_bytes)) = (short(name), short(address)) else { return Err(room) };
        if members > MEMBERS_MAX || name.len() + address.len() > room {
            return Err(room);
        }
        let small = |number: usize| u8::try_from(number).expect("at most 32 members");
        let mut bytes = self.number.to_le_bytes().to_vec();
        bytes.extend([small(members), at.map_or(NO_SUBJECT, small), name_bytes, address_bytes]);
        for member in &self.members {
            bytes.extend(member.replica.0.to_le_bytes());
        }
        bytes.extend(self.members.iter().map(|member| member.suffrage as u8));
        bytes.extend(name.as_bytes());
        bytes.extend(address.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(bytes.chunks_exact(4).map(|w| Crc(u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect())
    }

    /// The configuration that a record brings, where this one was in force; `None` if the words are no configuration.
    #[must_use]
    pub fn after(&self, words: &[Crc]) -> Option<Configuration> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.0.to_le_bytes()).collect();
        let number = u64::from_le_bytes(bytes.first_chunk().copied()?);
        let [members, subject, name, address] = *bytes.get(8..HEAD_BYTES)?.first_chunk()?;
        let (count, name, address) = (usize::from(members), usize::from(name), usize::from(address));
        let texts = HEAD_BYTES + MEMBER_BYTES * count;
        let end = texts + name + address;
        let rest = bytes.get(end..)?;
        let named = usize::from(subject) < count || subject == NO_SUBJECT && name + address == 0;
        if rest.len() >= 4 || rest.iter().any(|byte| *byte != 0) || !named {
            return None;
        }
        let text = |from: usize, to: usize| core::str::from_utf8(&bytes[from..to]).ok().map(String::from);
        let (name, address) = (text(texts, texts + name)?, text(texts + name, end)?);
        let ids = bytes[HEAD_BYTES..HEAD_BYTES + 8 * count].chunks_exact(8);
        let codes = &bytes[HEAD_BYTES + 8 * count..texts];
        let mut next = Configuration { number, members: Vec::new(), retired: self.retired.clone() };
        for (at, (id, code)) in ids.zip(codes).enumerate() {
            let replica = ReplicaId(u64::from_le_bytes(*id.first_chunk()?));
            let known = self.member(replica);
            let (name, address) = if at == usize::from(subject) {
                (name.clone(), address.clone())
            } else {
                known.map_or_else(Default::default, |known| (known.name.clone(), known.address.clone()))
            };
            next.members.push(Member { replica, name, address, suffrage: Suffrage::from_code(*code)? });
        }
        for member in &self.members {
            if next.member(member.replica).is_none() {
                next.retire(member.replica);
            }
        }
        next.is_sound().then_some(next)
    }
}

/// Whether these are the words of some configuration.
#[must_use]
pub fn are_words(words: &[Crc]) -> bool {
    words.len() <= WORDS_MAX && Configuration::default().after(words).is_some()
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn member(id: u64, suffrage: Suffrage) -> Member {
        Member {
            replica: ReplicaId(id),
            name: format!("node-{id}"),
            address: format!("10.0.0.{id}:7"),
            suffrage,
        }
    }

    fn three() -> Configuration {
        Configuration::newborn((1..4).map(|id| member(id, Suffrage::Voter)).collect())
    }

    fn check(before: &Configuration, next: &Configuration, subject: Option<u64>) {
        let words = next.words(subject.map(ReplicaId)).expect("it fits");
        assert!(are_words(&words));
        assert_eq!(before.after(&words).as_ref(), Some(next));
    }

    #[test]
    fn a_record_brings_the_next_configuration_to_whoever_knows_the_one_before() {
        let three = three();
        let four = three.with(member(9, Suffrage::Learner));
        check(&three, &four, Some(9));
        let voting = four.with(member(9, Suffrage::Voter));
        check(&four, &voting, None);
        let moved = voting.with(Member { address: "elsewhere:7".into(), ..member(2, Suffrage::Voter) });
        check(&voting, &moved, Some(2));
        let three_again = moved.without(ReplicaId(1));
        check(&moved, &three_again, None);
        assert_eq!(three_again.number, 4);
        assert_eq!(three_again.retired, [ReplicaId(1)]);
        assert!(!three_again.votes(ReplicaId(1)) && three_again.votes(ReplicaId(9)));
    }

    #[test]
    fn who_falls_out_of_the_set_still_votes() {
        let three = three();
        let two_of_three = three.with(member(3, Suffrage::Lagging));
        check(&three, &two_of_three, None);
        assert!(two_of_three.voters().eq(three.voters()), "it votes as before");
        assert!(two_of_three.awaited().eq([ReplicaId(1), ReplicaId(2)]));
        assert!(two_of_three.awaits_a_majority());
        let one_of_three = two_of_three.with(member(2, Suffrage::Lagging));
        assert!(!one_of_three.awaits_a_majority());
        check(&two_of_three, &two_of_three.with(member(3, Suffrage::Voter)), None);
    }

    #[test]
    fn who_missed_some_records_still_knows_who_votes() {
        let latest = three().without(ReplicaId(3)).with(member(9, Suffrage::Voter));
        let words = latest.words(None).expect("it fits");
        let known = Configuration::default().after(&words).expect("words");
        assert!(known.voters().eq(latest.voters()));
        assert_eq!(
            known.member(ReplicaId(9)).map(|m| m.address.as_str()),
            Some(""),
            "its address is not known"
        );
    }

    #[test]
    fn texts_that_do_not_fit_a_record_are_refused_with_what_does() {
        let long = Member { address: "a".repeat(255), name: "n".repeat(100), ..member(7, Suffrage::Learner) };
        assert_eq!(three().with(long).words(Some(ReplicaId(7))), Err(384 - 12 - 4 * 9));
        let members = (0..32).map(|id| Member { address: "a:1".repeat(20), ..member(id, Suffrage::Voter) });
        let most = Configuration { number: 3, ..Configuration::newborn(members.collect()) };
        check(&most, &Configuration { number: 4, ..most.clone() }, Some(31));
    }

    #[test]
    fn what_is_no_configuration_is_not_taken_for_one() {
        let words = three().words(Some(ReplicaId(2))).expect("it fits");
        assert!(!are_words(&words[..words.len() - 1]), "cut short");
        assert!(!are_words(&[&words[..], &[Crc(0)]].concat()), "followed by more");
        assert!(!are_words(&[]));
        let same = [&words[..3], &words[3..5], &words[3..5], &words[7..]].concat();
        assert!(!are_words(&same), "one member named twice");
    }

    #[test]
    fn only_so_many_of_old_are_remembered() {
        let mut now = three();
        for id in 100..200 {
            now = now.with(member(id, Suffrage::Learner)).without(ReplicaId(id));
        }
        assert_eq!(now.retired.len(), RETIRED_MAX);
        assert_eq!(now.retired.last(), Some(&ReplicaId(199)));
    }
}
