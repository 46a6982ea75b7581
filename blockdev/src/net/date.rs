//! Moments for people: what a clock of seconds says as a date.

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A moment in seconds since the beginning of 1970 as `2027-01-31 23:59:59 UTC`.
#[must_use]
pub fn show(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / DAY);
    let rest = seconds % DAY;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of the `days`-th day after 1970-01-01, in the Gregorian calendar. Counted in years that begin
/// in March, so that the odd day comes last, and in eras of 400 years, which all have the same length.
#[must_use]
pub fn civil(days: u64) -> (u64, u8, u8) {
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let small = |number: u64| u8::try_from(number).expect("a month or a day");
    (year, small(month), small(day))
}

/// The other way: how many days after 1970-01-01 a date is. None before that, and for what is no date.
#[must_use]
pub fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month > 2 { year } else { year - 1 };
    let month = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year)
        .checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_dates_that_every_calendar_says() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(show(seconds), date);
            let (year, month, day) = civil(seconds / DAY);
            assert_eq!(days(year, u64::from(month), u64::from(day)), Some(seconds / DAY));
        }
        assert_eq!((days(1969, 12, 31), days(2000, 13, 1), days(2000, 1, 0)), (None, None, None));
    }
}
