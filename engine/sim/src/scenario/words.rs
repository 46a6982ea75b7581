//! Words of scenarios, one by one.

use seawall_sender::frame::Kind;

use crate::scenario::DiskVerb;
use crate::word::{Word, next};

/// A line that is read word by word.
pub(super) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Words<'a> {
        Words { rest: text.trim() }
    }

    /// The next word, empty at the end.
    pub(super) fn next(&mut self) -> &'a str {
        let (word, rest) = next(self.rest);
        self.rest = rest;
        word
    }

    /// Whether the next words are these; then they are gone.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(words) else { return false };
        let whole = rest.is_empty() || rest.starts_with(char::is_whitespace);
        if whole {
            self.rest = rest.trim_start();
        }
        whole
    }

    /// What is left, all of it.
    pub(super) fn all(&mut self) -> &'a str {
        core::mem::take(&mut self.rest)
    }

    /// The next word as what it is.
    pub(super) fn word<T: Word>(&mut self) -> Result<T, String> {
        let word = self.next();
        T::read(word).ok_or_else(|| match word {
            "" => format!("a {} is missing", T::WHAT),
            _ => format!("{word:?} is no {}", T::WHAT),
        })
    }

    /// After these words, what follows them; otherwise what is meant without.
    pub(super) fn after<T: Word>(&mut self, words: &str, left_out: T) -> Result<T, String> {
        if self.take(words) { self.word() } else { Ok(left_out) }
    }

    /// Nothing may be left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.all() {
            "" => Ok(()),
            rest => Err(format!("what is {rest:?}?")),
        }
    }
}

impl Word for u64 {
    const WHAT: &'static str = "number";

    fn shown(&self) -> String {
        self.to_string()
    }

    fn read(word: &str) -> Option<u64> {
        word.parse().ok()
    }
}

impl Word for DiskVerb {
    const WHAT: &'static str = "disk operation (read, write, flush)";

    fn shown(&self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn read(word: &str) -> Option<DiskVerb> {
        [DiskVerb::Read, DiskVerb::Write, DiskVerb::Flush].into_iter().find(|verb| verb.shown() == word)
    }
}

/// Messages by name: `Promise` is `promise`, `BaseAck` is `base-ack`.
impl Word for Kind {
    const WHAT: &'static str = "message (hello, append, ack, greet, facts, begin, base, ask, promise, ...)";

    fn shown(&self) -> String {
        kebab(self.name())
    }

    fn read(word: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.shown() == word)
    }
}

/// `NotPrimary` is `not-primary`.
pub(crate) fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}
