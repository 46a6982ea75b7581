//! What every transport between replicas does alike, as a list of cases: TCP, TLS, and the simulator's wires pass it
//! unchanged. Equipment for tests, behind the feature `conformance`.
//!
//! The contract: frames of one direction arrive in the order in which they were sent, whole, and once, or not at all;
//! when some do not arrive, none that was sent after them does, and then the end of the connection is told. The end is
//! told once to each end that did not itself close it, and after it nothing. What was sent and can't leave waits at its
//! sender with its buffers, but for a bounded number of bytes on the way. Pairs do not disturb each other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use seawall_wal::names::{BLOCK_BYTES, Epoch, VolumeId};

use crate::frame::{FRAME_BYTES, FrameHeader, Kind, META_BYTES_MAX, PAYLOAD_BYTES_MAX, encode};
use crate::session_id::SessionId;

/// The volume of all frames.
pub const VOLUME: VolumeId = VolumeId([4; 16]);
/// Pairs of replicas that a rig connects. All have the same near replica.
pub const PAIRS: usize = 2;

/// The number of the first frame of every connection.
const GREETING: u32 = 1_000_000;

/// One end of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Who calls.
    Near,
    /// Who is called.
    Far,
}

/// What an end hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The connection is open. Told to the near end alone.
    Open,
    /// A whole frame with that number and so many blocks of payload, all bytes as they were sent.
    Frame {
        /// Its number, as [`frame`] wrote it.
        number: u32,
        /// Blocks of its payload.
        blocks: u32,
    },
    /// The connection is gone.
    End,
}

/// A transport under test: a near replica, and a far one for each pair.
pub trait Rig {
    /// The near end calls the far one, which hears of it with the first frame, by a connection of its own; with `nobody`, where nobody answers.
    fn dial(&mut self, pair: usize, nobody: bool);
    /// An end sends a frame: these bytes, and a payload of so many blocks, all with the byte [`fill`].
    fn send(&mut self, pair: usize, from: End, head: Vec<u8>, number: u32, blocks: u32);
    /// An end closes the connection; what it sent before may still arrive.
    fn close(&mut self, pair: usize, end: End);
    /// An end says that it sends no more, after what it sent; it still listens.
    fn stop(&mut self, pair: usize, end: End);
    /// The far replica of a pair stands still, or goes on.
    fn hold(&mut self, pair: usize, held: bool);
    /// Does a part of what there is to do. False when nothing will happen any more.
    fn turn(&mut self) -> bool;
    /// What an end has heard since the last time, in order.
    fn heard(&mut self, pair: usize, end: End) -> Vec<Heard>;
    /// Bytes that an end has sent and that have not left it.
    fn waiting_bytes(&mut self, pair: usize, end: End) -> u64;
    /// Bytes of one direction of a connection that may be on their way, at the most.
    fn way_bytes_max(&self) -> u64;
    /// Whether no buffer is in use.
    fn is_home(&self) -> bool;
}

/// One thing that is done or must be so.
#[derive(Clone, Debug)]
pub enum Step {
    /// [`Rig::dial`]; the near end hears that it is open, and the far end the greeting, a frame without payload.
    Dial(usize),
    /// [`Rig::dial`], to nobody.
    DialNobody(usize),
    /// Frames with these numbers and so many blocks each.
    Send(usize, End, Range<u32>, u32),
    /// Of a frame, only so many bytes of its head.
    SendTorn(usize, End, usize),
    /// The longest frame that there may be, of that number.
    SendLongest(usize, End, u32),
    /// A frame that says that it is longer.
    SendTooLong(usize, End),
    /// [`Rig::close`].
    Close(usize, End),
    /// [`Rig::close`], and what the end has heard and was not asked for is forgotten.
    Forget(usize, End),
    /// [`Rig::stop`].
    Stop(usize, End),
    /// The far replica of that pair stands still.
    Hold(usize),
    /// It goes on.
    Release(usize),
    /// The end hears exactly these frames next, with so many blocks each.
    Hears(usize, End, Range<u32>, u32),
    /// The end hears a beginning of these frames, and then that the connection is gone.
    HearsBeginningAndEnd(usize, End, Range<u32>),
    /// Of what the end has sent, at least so many bytes have not left it but for those on their way.
    Waits(usize, End, u64),
    /// All buffers come home, and no end hears anything more.
    Home,
}

/// A name and its steps.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: &'static str,
    /// In order.
    pub steps: Vec<Step>,
}

/// The byte that the payload of a frame with that number is filled with.
#[must_use]
pub fn fill(number: u32) -> u8 {
    u8::try_from(number % 251).expect("below 251")
}

/// Header and meta part of a frame with that number and so many blocks of payload.
#[must_use]
pub fn frame(number: u32, blocks: u32, meta_bytes: usize) -> Vec<u8> {
    let mut meta = alloc::vec![fill(number); meta_bytes.max(4)];
    meta[..4].copy_from_slice(&number.to_le_bytes());
    encode(Kind::Append, VOLUME, Epoch::ZERO, SessionId::NONE, &meta, blocks * BLOCK_BYTES)
}

/// The number of a frame with that meta part; nothing if it is not as it was sent.
#[must_use]
pub fn number(meta: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(*meta.first_chunk()?);
    meta[4..].iter().all(|byte| *byte == fill(number)).then_some(number)
}

/// All cases. `plenty` is how many frames of 64 blocks are more than may be on their way.
#[must_use]
pub fn cases(plenty: u32) -> Vec<Case> {
    use End::{Far, Near};
    use Step as S;
    let case = |name, steps| Case { name, steps };
    let last = 100 + plenty;
    alloc::vec![
        case(
            "frames arrive in order, whole, in both directions",
            alloc::vec![
                S::Dial(0),
                S::Send(0, Near, 0..50, 0),
                S::Hears(0, Far, 0..50, 0),
                S::Send(0, Far, 0..20, 1),
                S::Send(0, Near, 50..60, 7),
                S::Hears(0, Near, 0..20, 1),
                S::Hears(0, Far, 50..60, 7),
                S::Close(0, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                S::Home,
            ],
        ),
        case(
            "the longest frame passes and one that says it is longer ends the connection",
            alloc::vec![
                S::Dial(0),
                S::Dial(1),
                S::SendLongest(0, Near, 1),
                S::Hears(0, Far, 1..2, PAYLOAD_BYTES_MAX / BLOCK_BYTES),
                S::SendTooLong(0, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                S::HearsBeginningAndEnd(0, Near, 0..0),
                S::Send(1, Near, 5..9, 1),
                S::Hears(1, Far, 5..9, 1),
                S::Close(1, Near),
                S::HearsBeginningAndEnd(1, Far, 0..0),
                S::Home,
            ],
        ),
        case(
            "a call that nobody answers ends and was never open",
            alloc::vec![S::DialNobody(0), S::HearsBeginningAndEnd(0, Near, 0..0), S::Home],
        ),
        case(
            "who closes hears nothing more and the other hears a beginning and the end",
            alloc::vec![
                S::Dial(0),
                S::Send(0, Near, 0..5, 2),
                S::Hears(0, Far, 0..5, 2),
                S::Send(0, Near, 5..30, 2),
                S::Send(0, Far, 0..30, 2),
                S::Close(0, Near),
                S::HearsBeginningAndEnd(0, Far, 5..30),
                S::Home,
            ],
        ),
        case(
            "closing twice, closing what is gone and sending to it do nothing",
            alloc::vec![
                S::Dial(0),
                S::Send(0, Near, 0..2, 1),
                S::Hears(0, Far, 0..2, 1),
                S::Close(0, Near),
                S::Close(0, Near),
                S::Send(0, Near, 2..4, 1),
                S::HearsBeginningAndEnd(0, Far, 2..2),
                S::Send(0, Far, 0..3, 1),
                S::Close(0, Far),
                S::Close(0, Far),
                S::Home,
            ],
        ),
        case(
            "who says that it sends no more is heard out",
            alloc::vec![
                S::Dial(0),
                S::Send(0, Near, 0..10, 1),
                S::Hears(0, Far, 0..10, 1),
                S::Stop(0, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                // Whether it hears that the other is gone is its own business: it may not listen any more.
                S::Forget(0, Near),
                S::Home,
            ],
        ),
        case(
            "a peer that dies in the middle of a frame leaves nothing of it",
            alloc::vec![
                S::Dial(0),
                S::Dial(1),
                S::Send(0, Near, 0..3, 4),
                S::Hears(0, Far, 0..3, 4),
                S::SendTorn(0, Near, FRAME_BYTES / 2),
                S::Close(0, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                S::Send(1, Far, 0..9, 1),
                S::Hears(1, Near, 0..9, 1),
                S::Close(1, Far),
                S::HearsBeginningAndEnd(1, Near, 0..0),
                S::Home,
            ],
        ),
        case(
            "a new connection hears nothing of the one before it",
            alloc::vec![
                S::Dial(0),
                S::Send(0, Near, 0..40, 3),
                S::Forget(0, Far),
                S::HearsBeginningAndEnd(0, Near, 0..0),
                S::Dial(0),
                S::Send(0, Near, 100..120, 3),
                S::Hears(0, Far, 100..120, 3),
                S::Send(0, Far, 7..8, 0),
                S::Hears(0, Near, 7..8, 0),
                S::Close(0, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                S::Home,
            ],
        ),
        case(
            "what a slow peer does not take waits at its sender and disturbs nobody else",
            alloc::vec![
                S::Dial(0),
                S::Dial(1),
                S::Send(0, Near, 99..100, 64),
                S::Hears(0, Far, 99..100, 64),
                S::Hold(0),
                S::Send(0, Near, 100..last, 64),
                // Pairs that go on show that the slow one had time to take what it would.
                S::Send(1, Near, 0..200, 8),
                S::Hears(1, Far, 0..200, 8),
                S::Send(1, Far, 0..200, 8),
                S::Hears(1, Near, 0..200, 8),
                S::Waits(0, Near, u64::from(plenty) * 64 * u64::from(BLOCK_BYTES)),
                S::Release(0),
                S::Hears(0, Far, 100..last, 64),
                S::Close(0, Near),
                S::Close(1, Near),
                S::HearsBeginningAndEnd(0, Far, 0..0),
                S::HearsBeginningAndEnd(1, Far, 0..0),
                S::Home,
            ],
        ),
    ]
}

/// A rig, and what its ends heard that was not asked for yet.
struct Play<'r, R> {
    rig: &'r mut R,
    name: &'static str,
    heard: [[VecDeque<Heard>; 2]; PAIRS],
}

/// Plays a case.
///
/// # Panics
/// If the transport does not do what the case says.
pub fn play(case: &Case, rig: &mut impl Rig) {
    let mut play = Play { rig, name: case.name, heard: Default::default() };
    for step in &case.steps {
        play.step(step);
    }
}

impl<R: Rig> Play<'_, R> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Dial(pair) => {
                self.rig.dial(*pair, false);
                let heard = self.next(*pair, End::Near);
                assert_eq!(heard, Heard::Open, "{}: {step:?}", self.name);
                self.rig.send(*pair, End::Near, frame(GREETING, 0, 40), GREETING, 0);
                let heard = self.next(*pair, End::Far);
                assert_eq!(heard, Heard::Frame { number: GREETING, blocks: 0 }, "{}: {step:?}", self.name);
            }
            Step::DialNobody(pair) => self.rig.dial(*pair, true),
            Step::Send(pair, from, numbers, blocks) => {
                for number in numbers.clone() {
                    self.rig.send(*pair, *from, frame(number, *blocks, 40), number, *blocks);
                }
            }
            Step::SendTorn(pair, from, bytes) => {
                let mut head = frame(0, 0, 4);
                head.truncate(*bytes);
                self.rig.send(*pair, *from, head, 0, 0);
            }
            Step::SendLongest(pair, from, number) => {
                let blocks = PAYLOAD_BYTES_MAX / BLOCK_BYTES;
                self.rig.send(*pair, *from, frame(*number, blocks, META_BYTES_MAX as usize), *number, blocks);
            }
            Step::SendTooLong(pair, from) => {
                let head = frame(0, 1, 4);
                let head = head.first_chunk().expect("a frame has a header");
                let mut header = FrameHeader::decode(head).expect("it is one");
                header.payload_bytes = PAYLOAD_BYTES_MAX + BLOCK_BYTES;
                self.rig.send(*pair, *from, header.encode().to_vec(), 0, 0);
            }
            Step::Close(pair, end) => self.rig.close(*pair, *end),
            Step::Forget(pair, end) => {
                self.rig.close(*pair, *end);
                self.collect();
                self.heard[*pair][*end as usize].clear();
            }
            Step::Stop(pair, end) => self.rig.stop(*pair, *end),
            Step::Hold(pair) => self.rig.hold(*pair, true),
            Step::Release(pair) => self.rig.hold(*pair, false),
            Step::Hears(pair, end, numbers, blocks) => {
                for number in numbers.clone() {
                    let expected = Heard::Frame { number, blocks: *blocks };
                    assert_eq!(self.next(*pair, *end), expected, "{}: {step:?}", self.name);
                }
            }
            Step::HearsBeginningAndEnd(pair, end, numbers) => self.expect_end(*pair, *end, numbers),
            Step::Waits(pair, end, sent) => {
                let (waiting, most) = (self.rig.waiting_bytes(*pair, *end), self.rig.way_bytes_max());
                assert!(
                    waiting + most >= *sent && waiting > 0,
                    "{}: {waiting} bytes wait of {sent}; {most} may be on the way",
                    self.name
                );
            }
            Step::Home => {
                while !self.rig.is_home() {
                    assert!(self.rig.turn(), "{}: buffers did not come home", self.name);
                }
                self.collect();
                assert!(
                    self.heard.iter().flatten().all(VecDeque::is_empty),
                    "{}: {:?}",
                    self.name,
                    self.heard
                );
            }
        }
    }

    fn expect_end(&mut self, pair: usize, end: End, numbers: &Range<u32>) {
        let mut expected = numbers.clone();
        loop {
            match self.next(pair, end) {
                Heard::End => return,
                Heard::Frame { number, .. } => {
                    assert_eq!(Some(number), expected.next(), "{}: a beginning of {numbers:?}", self.name);
                }
                Heard::Open => panic!("{}: {end:?} of {pair} is open", self.name),
            }
        }
    }

    /// What an end hears next, however long that takes.
    fn next(&mut self, pair: usize, end: End) -> Heard {
        loop {
            self.collect();
            if let Some(heard) = self.heard[pair][end as usize].pop_front() {
                return heard;
            }
            assert!(self.rig.turn(), "{}: {end:?} of {pair} hears nothing more", self.name);
        }
    }

    fn collect(&mut self) {
        for (pair, ends) in self.heard.iter_mut().enumerate() {
            for end in [End::Near, End::Far] {
                ends[end as usize].extend(self.rig.heard(pair, end));
            }
        }
    }
}
