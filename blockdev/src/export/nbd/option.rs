//! An option's data taken apart (doc/proto.md, "Option types"), and option replies put together.

use super::super::catalog::{Catalog, ExportId, NAME_BYTES_MAX};
use super::wire::{self, OPTION_REPLY_MAGIC, OptionError, u16_at, u32_at};

/// Why an option's data was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    pub(super) error: OptionError,
    pub(super) text: &'static str,
}

impl Refused {
    pub(super) const fn invalid(text: &'static str) -> Refused {
        Refused { error: OptionError::Invalid, text }
    }
}

/// Data of INFO and GO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct InfoQuery {
    pub(super) export: ExportId,
    pub(super) description: bool,
    pub(super) name: bool,
    pub(super) block_size: bool,
}

impl InfoQuery {
    pub(super) fn decode(data: &[u8], catalog: &Catalog) -> Result<InfoQuery, Refused> {
        let mut reader = Reader(data);
        let name = reader.text()?;
        let count = usize::from(reader.u16()?);
        if reader.0.len() != 2 * count {
            return Err(LENGTH);
        }
        let asked: Vec<u16> = (0..count).map(|i| u16_at(reader.0, 2 * i)).collect();
        Ok(InfoQuery {
            export: find(catalog, name)?,
            description: asked.contains(&wire::INFO_DESCRIPTION),
            name: asked.contains(&wire::INFO_NAME),
            block_size: asked.contains(&wire::INFO_BLOCK_SIZE),
        })
    }
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT, judged for the one context that there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ContextQuery {
    pub(super) export: ExportId,
    /// Whether `base:allocation` was asked for by its full name.
    pub(super) exact: bool,
    /// Whether it was asked for by its namespace alone.
    pub(super) wildcard: bool,
    /// Whether nothing was asked for.
    pub(super) empty: bool,
}

impl ContextQuery {
    pub(super) fn decode(data: &[u8], catalog: &Catalog) -> Result<ContextQuery, Refused> {
        let mut reader = Reader(data);
        let name = reader.text()?;
        let count = reader.u32()?;
        let (mut exact, mut wildcard) = (false, false);
        for _ in 0..count {
            let query = reader.text()?;
            exact |= query == wire::ALLOCATION;
            wildcard |= query == "base:";
        }
        if !reader.0.is_empty() {
            return Err(LENGTH);
        }
        Ok(ContextQuery { export: find(catalog, name)?, exact, wildcard, empty: count == 0 })
    }
}

fn find(catalog: &Catalog, name: &str) -> Result<ExportId, Refused> {
    catalog.find(name).ok_or(Refused { error: OptionError::Unknown, text: "no export of that name" })
}

const LENGTH: Refused = Refused::invalid("the lengths inside the option do not match its length");

/// The text that `bytes` are, if the protocol allows it (section "Values": strings).
pub(super) fn text(bytes: &[u8]) -> Result<&str, Refused> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Refused::invalid("a string is longer than 4096 bytes"));
    }
    let text = core::str::from_utf8(bytes).map_err(|_| Refused::invalid("a string is not UTF-8"))?;
    if text.contains('\0') { Err(Refused::invalid("a string contains NUL")) } else { Ok(text) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(LENGTH)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        Ok(u16_at(self.take(2)?, 0))
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        Ok(u32_at(self.take(4)?, 0))
    }

    fn text(&mut self) -> Result<&'a str, Refused> {
        let bytes = self.u32()? as usize;
        text(self.take(bytes)?)
    }
}

/// Replies to one option.
pub(super) struct Answer<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(option: u32, out: &'a mut Vec<u8>) -> Answer<'a> {
        Answer { option, out }
    }

    pub(super) fn ack(&mut self) {
        self.reply(wire::REP_ACK, &[]);
    }

    pub(super) fn error(&mut self, error: OptionError, text: &str) {
        self.reply(error as u32, &[text.as_bytes()]);
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        self.error(refused.error, refused.text);
    }

    /// One reply, its data in pieces.
    pub(super) fn reply(&mut self, kind: u32, data: &[&[u8]]) {
        let length: usize = data.iter().map(|piece| piece.len()).sum();
        let length = u32::try_from(length).expect("option replies are short");
        self.out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
        for number in [self.option, kind, length] {
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        for piece in data {
            self.out.extend_from_slice(piece);
        }
    }
}
