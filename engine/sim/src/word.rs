//! Words of the texts in which deeds, scripts and scenarios are written.

use seawall_engine::io::Area;

use crate::clock::{MILLIS, SECOND};
use crate::device::Loss;
use crate::disk::damage::Rot;

/// Something that is one word in a text.
pub trait Word: Sized {
    /// What it is, for who wrote it wrong.
    const WHAT: &'static str;

    /// The word.
    fn shown(&self) -> String;

    /// What the word says.
    fn read(word: &str) -> Option<Self>;
}

/// The first word, and what follows it.
pub(crate) fn next(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// A length of time, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub u64);

impl Span {
    /// Until the world heals.
    pub const EVER: Span = Span(u64::MAX);
}

impl Word for Span {
    const WHAT: &'static str = "time like 300ms";

    fn shown(&self) -> String {
        if *self == Span::EVER {
            return "ever".to_owned();
        }
        let (whole, rest) = (self.0 / MILLIS, self.0 % MILLIS);
        let point = if rest == 0 { String::new() } else { format!(".{rest:06}") };
        format!("{whole}{}ms", point.trim_end_matches('0'))
    }

    fn read(word: &str) -> Option<Span> {
        if word == "ever" {
            return Some(Span::EVER);
        }
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let nanos = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => MILLIS,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            _ => return None,
        };
        let number = word.strip_suffix(unit)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let mut sum = whole.parse::<u64>().ok()?.checked_mul(nanos)?;
        let mut worth = nanos;
        for digit in part.chars() {
            worth /= 10;
            sum = sum.checked_add(u64::from(digit.to_digit(10)?) * worth)?;
        }
        Some(Span(sum))
    }
}

/// A node: `a` is the first.
impl Word for usize {
    const WHAT: &'static str = "node";

    fn shown(&self) -> String {
        let letter = u8::try_from(*self).ok().filter(|node| *node < 26).expect("few nodes");
        char::from(b'a' + letter).to_string()
    }

    fn read(word: &str) -> Option<usize> {
        match word.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a')),
            _ => None,
        }
    }
}

impl Word for u32 {
    const WHAT: &'static str = "number";

    fn shown(&self) -> String {
        self.to_string()
    }

    fn read(word: &str) -> Option<u32> {
        word.parse().ok()
    }
}

impl Word for Area {
    const WHAT: &'static str = "area (super, log, table, home)";

    fn shown(&self) -> String {
        match self {
            Area::Super => "super",
            Area::Log => "log",
            Area::Table => "table",
            Area::Home => "home",
        }
        .to_owned()
    }

    fn read(word: &str) -> Option<Area> {
        [Area::Super, Area::Log, Area::Table, Area::Home].into_iter().find(|area| area.shown() == word)
    }
}

impl Word for Rot {
    const WHAT: &'static str = "kind of rot (bits, sector)";

    fn shown(&self) -> String {
        match self {
            Rot::Bits => "bits",
            Rot::Sector => "sector",
        }
        .to_owned()
    }

    fn read(word: &str) -> Option<Rot> {
        [Rot::Bits, Rot::Sector].into_iter().find(|rot| rot.shown() == word)
    }
}

impl Word for Loss {
    const WHAT: &'static str = "loss (nothing, everything, sectors, torn-sectors)";

    fn shown(&self) -> String {
        match self {
            Loss::Nothing => "nothing",
            Loss::Everything => "everything",
            Loss::Sectors => "sectors",
            Loss::TornSectors => "torn-sectors",
        }
        .to_owned()
    }

    fn read(word: &str) -> Option<Loss> {
        let all = [Loss::Nothing, Loss::Everything, Loss::Sectors, Loss::TornSectors];
        all.into_iter().find(|loss| loss.shown() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_shown_and_in_every_unit() {
        for nanos in [0, 1, 999_999, MILLIS, 1_200_345_678, 7 * SECOND, u64::MAX] {
            assert_eq!(Span::read(&Span(nanos).shown()), Some(Span(nanos)));
        }
        for (text, nanos) in
            [("1.5s", 1_500 * MILLIS), ("10m", 600 * SECOND), ("2h", 7_200 * SECOND), ("20us", 20_000)]
        {
            assert_eq!(Span::read(text), Some(Span(nanos)), "{text}");
        }
        for wrong in ["", "ms", "5", "5 ms", "x5ms", "5parsec", "-1ms"] {
            assert_eq!(Span::read(wrong), None, "{wrong}");
        }
    }
}
