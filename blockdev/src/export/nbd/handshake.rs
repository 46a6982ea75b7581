//! The handshake (doc/proto.md, "Newstyle negotiation"): from the greeting to the export that a client will use.

use std::sync::Arc;

use seawall_wal::names::{BLOCK_BYTES, SECTOR_BYTES};

use super::super::catalog::{Catalog, ExportId};
use super::super::limits::Limits;
use super::connection::Attachment;
use super::gather::Gather;
use super::option::{self, Answer, ContextQuery, InfoQuery, Refused};
use super::request::Terms;
use super::wire::{self, IHAVEOPT, NBDMAGIC, OPTION_HEADER_BYTES, OptionError, u32_at, u64_at};

/// One handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    catalog: Arc<Catalog>,
    limits: Limits,
    state: State,
    gather: Gather,
    /// The client understands option replies.
    fixed: bool,
    /// The client wants no 124 zero bytes after EXPORT_NAME.
    no_zeroes: bool,
    structured: bool,
    /// The export for which `base:allocation` is selected.
    allocation: Option<ExportId>,
    options_left: u32,
    /// Exports were listed, and the allowance for that was given.
    listed: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// The client's flags come next.
    Greeted,
    /// An option's header comes next.
    Haggling,
    /// An option's data comes next.
    Reading { option: u32, bytes: u32 },
    /// Data of a refused option comes next, and is dropped.
    Draining { option: u32, left: u32 },
    /// The client may attach, or may not: to be heard.
    Wishing { export: ExportId, how: How },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum How {
    ExportName,
    Go(InfoQuery),
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It goes on.
    Haggle,
    /// The client wants to use an export.
    Attach(ExportId),
    /// It ends after the answer.
    Part,
    /// It ends at once.
    Break,
}

impl Handshake {
    /// A new one; says the greeting.
    pub(super) fn greet(catalog: Arc<Catalog>, limits: Limits, out: &mut Vec<u8>) -> Handshake {
        out.extend_from_slice(&NBDMAGIC.to_be_bytes());
        out.extend_from_slice(&IHAVEOPT.to_be_bytes());
        out.extend_from_slice(&(wire::FLAG_FIXED_NEWSTYLE | wire::FLAG_NO_ZEROES).to_be_bytes());
        Handshake {
            catalog,
            limits,
            state: State::Greeted,
            gather: Gather::default(),
            fixed: false,
            no_zeroes: false,
            structured: false,
            allocation: None,
            options_left: limits.options_max,
            listed: false,
        }
    }

    /// Take bytes from the front of `input` until something is whole or `input` is empty.
    pub(super) fn on_bytes(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Outcome {
        match self.state {
            State::Greeted => match self.gather.take(4, input) {
                Some(flags) => self.on_flags(u32_at(&flags, 0)),
                None => Outcome::Haggle,
            },
            State::Haggling => match self.gather.take(OPTION_HEADER_BYTES, input) {
                Some(header) => self.on_header(&header, out),
                None => Outcome::Haggle,
            },
            State::Reading { option, bytes } => match self.gather.take(bytes as usize, input) {
                Some(data) => self.on_option(option, &data, out),
                None => Outcome::Haggle,
            },
            State::Draining { option, left } => {
                let dropped = input.len().min(left as usize);
                *input = &input[dropped..];
                let left = left - u32::try_from(dropped).expect("not more than was left");
                self.state = if left > 0 { State::Draining { option, left } } else { State::Haggling };
                if left == 0 {
                    Answer::new(option, out).error(OptionError::TooBig, TOO_BIG);
                }
                Outcome::Haggle
            }
            State::Wishing { .. } => unreachable!("a client that may attach is not read"),
        }
    }

    fn on_flags(&mut self, flags: u32) -> Outcome {
        let (fixed, no_zeroes) = (u32::from(wire::FLAG_FIXED_NEWSTYLE), u32::from(wire::FLAG_NO_ZEROES));
        if flags & !(fixed | no_zeroes) != 0 {
            return Outcome::Break;
        }
        self.fixed = flags & fixed != 0;
        self.no_zeroes = flags & no_zeroes != 0;
        self.state = State::Haggling;
        Outcome::Haggle
    }

    fn on_header(&mut self, header: &[u8], out: &mut Vec<u8>) -> Outcome {
        let (option, bytes) = (u32_at(header, 8), u32_at(header, 12));
        if u64_at(header, 0) != IHAVEOPT {
            return Outcome::Break;
        }
        let Some(left) = self.options_left.checked_sub(1) else {
            return self.part(option, OptionError::Policy, "too many options", out);
        };
        self.options_left = left;
        if bytes > self.limits.option_drain_bytes_max {
            return self.part(option, OptionError::TooBig, TOO_BIG, out);
        }
        if bytes > self.limits.option_bytes_max {
            if option == wire::OPT_EXPORT_NAME {
                return Outcome::Break;
            }
            if option == wire::OPT_SET_META_CONTEXT {
                self.allocation = None;
            }
            self.state = State::Draining { option, left: bytes };
            return Outcome::Haggle;
        }
        if bytes > 0 {
            self.state = State::Reading { option, bytes };
            return Outcome::Haggle;
        }
        self.on_option(option, &[], out)
    }

    /// EXPORT_NAME has no error reply (doc/proto.md, "Option types"): the connection just ends.
    fn part(&self, option: u32, error: OptionError, text: &str, out: &mut Vec<u8>) -> Outcome {
        if option == wire::OPT_EXPORT_NAME {
            return Outcome::Break;
        }
        Answer::new(option, out).error(error, text);
        Outcome::Part
    }

    fn on_option(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Outcome {
        self.state = State::Haggling;
        if option == wire::OPT_EXPORT_NAME {
            return self.on_export_name(data);
        }
        let mut answer = Answer::new(option, out);
        let outcome = match option {
            _ if !self.fixed => Err(Refused::invalid("only EXPORT_NAME without the fixed newstyle flag")),
            wire::OPT_ABORT => {
                answer.ack();
                Ok(Outcome::Part)
            }
            wire::OPT_LIST => self.on_list(data, &mut answer),
            wire::OPT_INFO => InfoQuery::decode(data, &self.catalog).map(|query| {
                self.describe(&query, &mut answer);
                answer.ack();
                Outcome::Haggle
            }),
            wire::OPT_GO => InfoQuery::decode(data, &self.catalog).map(|query| {
                let export = query.export;
                self.state = State::Wishing { export, how: How::Go(query) };
                Outcome::Attach(export)
            }),
            wire::OPT_STRUCTURED_REPLY => self.on_structured_reply(data, &mut answer),
            wire::OPT_LIST_META_CONTEXT => self.on_list_contexts(data, &mut answer),
            wire::OPT_SET_META_CONTEXT => self.on_set_contexts(data, &mut answer),
            _ => Err(Refused { error: OptionError::Unsupported, text: "this option is not supported" }),
        };
        outcome.unwrap_or_else(|refused| {
            answer.refuse(refused);
            Outcome::Haggle
        })
    }

    fn on_export_name(&mut self, data: &[u8]) -> Outcome {
        let export = option::text(data).ok().and_then(|name| self.catalog.find(name));
        let Some(export) = export else { return Outcome::Break };
        self.state = State::Wishing { export, how: How::ExportName };
        Outcome::Attach(export)
    }

    fn on_list(&mut self, data: &[u8], answer: &mut Answer<'_>) -> Result<Outcome, Refused> {
        check_empty(data)?;
        for (_, export) in self.catalog.iter() {
            let name = export.name.as_bytes();
            let length = u32::try_from(name.len()).expect("names are short").to_be_bytes();
            answer.reply(wire::REP_SERVER, &[&length, name, export.description.as_bytes()]);
            // Given once: who lists again and again does not haggle for ever.
            let allowance = if self.listed { 0 } else { self.limits.options_per_export };
            self.options_left = self.options_left.saturating_add(allowance);
        }
        self.listed = true;
        answer.ack();
        Ok(Outcome::Haggle)
    }

    fn on_structured_reply(&mut self, data: &[u8], answer: &mut Answer<'_>) -> Result<Outcome, Refused> {
        check_empty(data)?;
        if self.structured {
            return Err(Refused::invalid("structured replies are negotiated already"));
        }
        self.structured = true;
        answer.ack();
        Ok(Outcome::Haggle)
    }

    fn on_list_contexts(&mut self, data: &[u8], answer: &mut Answer<'_>) -> Result<Outcome, Refused> {
        self.check_structured()?;
        let query = ContextQuery::decode(data, &self.catalog)?;
        if query.empty || query.exact || query.wildcard {
            answer.reply(wire::REP_META_CONTEXT, &[&0u32.to_be_bytes(), wire::ALLOCATION.as_bytes()]);
        }
        answer.ack();
        Ok(Outcome::Haggle)
    }

    /// Replaces the selection, also when it fails.
    fn on_set_contexts(&mut self, data: &[u8], answer: &mut Answer<'_>) -> Result<Outcome, Refused> {
        self.allocation = None;
        self.check_structured()?;
        let query = ContextQuery::decode(data, &self.catalog)?;
        if query.exact {
            self.allocation = Some(query.export);
            let id = wire::ALLOCATION_ID.to_be_bytes();
            answer.reply(wire::REP_META_CONTEXT, &[&id, wire::ALLOCATION.as_bytes()]);
        }
        answer.ack();
        Ok(Outcome::Haggle)
    }

    fn check_structured(&self) -> Result<(), Refused> {
        if self.structured { Ok(()) } else { Err(Refused::invalid("negotiate structured replies first")) }
    }

    /// The client may attach, or may not. The terms, if it does.
    pub(super) fn on_attached(
        &mut self,
        attachment: &Attachment,
        out: &mut Vec<u8>,
    ) -> Result<Terms, Outcome> {
        let State::Wishing { export, how } = core::mem::replace(&mut self.state, State::Haggling) else {
            unreachable!("only a client that wishes to attach is answered")
        };
        let (error, text) = match attachment {
            Attachment::Granted => return Ok(self.settle(export, &how, out)),
            Attachment::NotPrimary { primary: Some(primary) } => {
                (OptionError::Shutdown, format!("not served here: the primary is {primary}"))
            }
            Attachment::NotPrimary { primary: None } => {
                (OptionError::Shutdown, String::from("not served here now: there is no primary yet"))
            }
            Attachment::NotYet => (
                OptionError::Shutdown,
                String::from(
                    "not served here yet: there is no primary, or what came before over other connections is not \
                     stored; try again",
                ),
            ),
            Attachment::TooMany => (OptionError::Policy, String::from("too many connections to this export")),
            Attachment::ShuttingDown => (OptionError::Shutdown, String::from("the server is shutting down")),
        };
        match how {
            How::ExportName => Err(Outcome::Break),
            How::Go(_) => {
                Answer::new(wire::OPT_GO, out).error(error, &text);
                Err(Outcome::Haggle)
            }
        }
    }

    fn settle(&self, export: ExportId, how: &How, out: &mut Vec<u8>) -> Terms {
        match how {
            How::ExportName => {
                let (bytes, flags) = self.size_and_flags(export);
                out.extend_from_slice(&bytes.to_be_bytes());
                out.extend_from_slice(&flags.to_be_bytes());
                if !self.no_zeroes {
                    out.extend_from_slice(&[0; 124]);
                }
            }
            How::Go(query) => {
                let mut answer = Answer::new(wire::OPT_GO, out);
                self.describe(query, &mut answer);
                answer.ack();
            }
        }
        let chosen = self.catalog.get(export).expect("it was found in the catalog");
        Terms {
            export,
            bytes: chosen.bytes(),
            read_only: chosen.read_only,
            structured: self.structured,
            allocation: self.allocation == Some(export),
        }
    }

    fn describe(&self, query: &InfoQuery, answer: &mut Answer<'_>) {
        let export = self.catalog.get(query.export).expect("it was found in the catalog");
        let (bytes, flags) = self.size_and_flags(query.export);
        let mut info = |kind: u16, data: &[&[u8]]| {
            let kind = kind.to_be_bytes();
            let mut pieces: Vec<&[u8]> = vec![&kind];
            pieces.extend_from_slice(data);
            answer.reply(wire::REP_INFO, &pieces);
        };
        info(wire::INFO_EXPORT, &[&bytes.to_be_bytes(), &flags.to_be_bytes()]);
        if query.name {
            info(wire::INFO_NAME, &[export.name.as_bytes()]);
        }
        if query.description {
            info(wire::INFO_DESCRIPTION, &[export.description.as_bytes()]);
        }
        if query.block_size {
            let sizes = [SECTOR_BYTES, BLOCK_BYTES, self.limits.request_bytes_max].map(u32::to_be_bytes);
            info(wire::INFO_BLOCK_SIZE, &[&sizes[0], &sizes[1], &sizes[2]]);
        }
    }

    /// Size and transmission flags, each flag only while it is true.
    fn size_and_flags(&self, id: ExportId) -> (u64, u16) {
        let export = self.catalog.get(id).expect("it was found in the catalog");
        let always = wire::FLAG_HAS_FLAGS
            | wire::FLAG_SEND_FLUSH
            | wire::FLAG_SEND_FUA
            | wire::FLAG_CAN_MULTI_CONN
            | wire::FLAG_SEND_CACHE;
        let access = if export.read_only {
            wire::FLAG_READ_ONLY
        } else {
            wire::FLAG_SEND_TRIM | wire::FLAG_SEND_WRITE_ZEROES | wire::FLAG_SEND_FAST_ZERO
        };
        let fragments = if self.structured { wire::FLAG_SEND_DF } else { 0 };
        (export.bytes(), always | access | fragments)
    }
}

const TOO_BIG: &str = "the option is too long";

fn check_empty(data: &[u8]) -> Result<(), Refused> {
    if data.is_empty() { Ok(()) } else { Err(Refused::invalid("this option has no data")) }
}
