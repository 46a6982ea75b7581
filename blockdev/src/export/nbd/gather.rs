//! A header or an option's data, put together from what comes.

/// Bytes of something of known length that is not whole yet. Grows with what came, never with what was announced.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
}

impl Gather {
    /// What came of it so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Move what is still lacking of `need` bytes from the front of `input`; the whole, once it is whole.
    pub(super) fn take(&mut self, need: usize, input: &mut &[u8]) -> Option<Vec<u8>> {
        let lacking = need - self.bytes.len();
        let (taken, rest) = input.split_at(lacking.min(input.len()));
        *input = rest;
        self.bytes.extend_from_slice(taken);
        (self.bytes.len() == need).then(|| core::mem::take(&mut self.bytes))
    }
}
