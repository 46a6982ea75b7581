//! Bytes of a fuzzer read as a script: each choice takes a few of them, and when they end all choices are zero.

/// What is left of a script.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// All of it.
    pub(crate) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script(bytes)
    }

    /// Whether there is nothing more to do.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next bytes, as many as there are.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        now
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Little-endian, of as many bytes as `N` says.
    fn word<const N: usize>(&mut self) -> u64 {
        self.bytes(N).iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        match end {
            ..=0x100 => self.word::<1>() % end,
            0x101..=0x1_0000 => self.word::<2>() % end,
            _ => self.word::<8>() % end,
        }
    }

    /// Whether.
    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Any number: small ones, those at the ends of types and of limits, and all others.
    pub(crate) fn number(&mut self) -> u64 {
        let near = |base: u64, by: u8| base.wrapping_add(u64::from(by)).wrapping_sub(2);
        match self.byte() % 8 {
            0..=3 => self.word::<1>(),
            4 => near(u64::MAX - 3, self.byte() % 6),
            5 => near(1 << (self.byte() % 64), self.byte() % 4),
            6 => self.word::<2>(),
            _ => self.word::<8>(),
        }
    }
}
