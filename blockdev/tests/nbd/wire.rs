//! The client's side of the wire: what it sends, and how it understands what comes back.

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(crate) fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT", &option.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

/// A string with its length before it.
pub(crate) fn counted(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// Data of INFO and GO.
pub(crate) fn info(name: &str, asked: &[u16]) -> Vec<u8> {
    let mut data = counted(name);
    data.extend_from_slice(&u16::try_from(asked.len()).unwrap().to_be_bytes());
    data.extend(asked.iter().flat_map(|kind| kind.to_be_bytes()));
    data
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
pub(crate) fn contexts(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = counted(name);
    data.extend_from_slice(&u32::try_from(queries.len()).unwrap().to_be_bytes());
    data.extend(queries.iter().flat_map(|query| counted(query)));
    data
}

/// An option reply as the server should send it.
pub(crate) fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
    [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// The option replies in `bytes`: option, type, data.
pub(crate) fn option_replies(mut bytes: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(u64_at(bytes, 0), 0x0003_e889_0455_65a9);
        let end = 20 + u32_at(bytes, 16) as usize;
        replies.push((u32_at(bytes, 8), u32_at(bytes, 12), bytes[20..end].to_vec()));
        bytes = &bytes[end..];
    }
    replies
}

#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

pub(crate) fn request(command: u16, offset: u64, bytes: u32) -> Request {
    Request { flags: 0, command, cookie: 0x1122_3344_5566_7788, offset, bytes }
}

impl Request {
    pub(crate) fn flags(self, flags: u16) -> Request {
        Request { flags, ..self }
    }

    pub(crate) fn cookie(self, cookie: u64) -> Request {
        Request { cookie, ..self }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let Request { flags, command, cookie, offset, bytes } = self;
        let mut out = 0x2560_9513_u32.to_be_bytes().to_vec();
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&command.to_be_bytes());
        out.extend_from_slice(&cookie.to_be_bytes());
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&bytes.to_be_bytes());
        out
    }

    pub(crate) fn with(self, payload: &[u8]) -> Vec<u8> {
        [self.encode(), payload.to_vec()].concat()
    }
}

/// A structured reply chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    pub(crate) flags: u16,
    pub(crate) kind: u16,
    pub(crate) cookie: u64,
    pub(crate) data: Vec<u8>,
}

/// The first reply in `bytes` as a client sees it that asked for `read` bytes of data: error, and what is left.
pub(crate) fn simple_reply(bytes: &[u8], read: usize) -> (u32, u64, Vec<u8>, &[u8]) {
    assert_eq!(u32_at(bytes, 0), 0x6744_6698);
    let error = u32_at(bytes, 4);
    let end = 16 + if error == 0 { read } else { 0 };
    (error, u64_at(bytes, 8), bytes[16..end].to_vec(), &bytes[end..])
}

/// The first chunk in `bytes`, and what is left.
pub(crate) fn chunk(bytes: &[u8]) -> (Chunk, &[u8]) {
    assert_eq!(u32_at(bytes, 0), 0x668e_33ef);
    let end = 20 + u32_at(bytes, 16) as usize;
    let data = bytes[20..end].to_vec();
    let chunk = Chunk { flags: u16_at(bytes, 4), kind: u16_at(bytes, 6), cookie: u64_at(bytes, 8), data };
    (chunk, &bytes[end..])
}

/// All of `bytes` as chunks.
pub(crate) fn chunks(mut bytes: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let (next, rest) = chunk(bytes);
        chunks.push(next);
        bytes = rest;
    }
    chunks
}
