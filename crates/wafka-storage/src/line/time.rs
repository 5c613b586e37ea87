//! An event id's milliseconds as RFC 3339 text.

use jiff::Span;
use jiff::civil::Date;

/// The length of `2026-11-23T02:56:17.000Z`, in bytes.
pub(super) const TIMESTAMP_LEN: usize = 24;

const SECONDS_PER_DAY: u64 = 86_400;
const EPOCH: Date = Date::constant(1970, 1, 1);
/// What stands for every moment that RFC 3339's four-digit years cannot express.
const BEYOND: &[u8; TIMESTAMP_LEN] = b"9999-12-31T23:59:59.999Z";

/// `ms` milliseconds since 1970 as lines write a moment: RFC 3339 with milliseconds, in UTC (`Z`).
#[must_use]
pub fn timestamp(ms: u64) -> String {
    String::from_utf8_lossy(Timestamp::new().text(ms)).into_owned()
}

/// Milliseconds since 1970 as RFC 3339 with milliseconds, in UTC (`Z`). The text of the last second is kept: within
/// it only the last three digits change.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    /// The second that `text` stands for; `None` before the first use and beyond year 9999.
    second: Option<u64>,
    text: [u8; TIMESTAMP_LEN],
}

impl Timestamp {
    pub(super) fn new() -> Self {
        Timestamp { second: None, text: *BEYOND }
    }

    /// The text of `ms` milliseconds since 1970-01-01T00:00:00Z. From year 10000 on it is `9999-12-31T23:59:59.999Z`:
    /// ids may go further than RFC 3339.
    pub(super) fn text(&mut self, ms: u64) -> &[u8; TIMESTAMP_LEN] {
        let second = ms / 1000;
        if self.second != Some(second) {
            self.second = self.set_second(second).then_some(second);
        }
        if self.second.is_some() {
            put_digits(&mut self.text[20..23], ms % 1000);
        }
        &self.text
    }

    /// Writes everything but the milliseconds; false when the year does not fit, with the text set to say so.
    fn set_second(&mut self, second: u64) -> bool {
        let date = i64::try_from(second / SECONDS_PER_DAY)
            .ok()
            .and_then(|days| Span::new().try_days(days).ok())
            .and_then(|days| EPOCH.checked_add(days).ok());
        self.text = *BEYOND;
        let Some(date) = date else { return false };
        let [year, month, day] = [
            date.year().unsigned_abs(),
            u16::from(date.month().unsigned_abs()),
            u16::from(date.day().unsigned_abs()),
        ];
        put_digits(&mut self.text[0..4], u64::from(year));
        put_digits(&mut self.text[5..7], u64::from(month));
        put_digits(&mut self.text[8..10], u64::from(day));
        let of_day = second % SECONDS_PER_DAY;
        put_digits(&mut self.text[11..13], of_day / 3600);
        put_digits(&mut self.text[14..16], of_day / 60 % 60);
        put_digits(&mut self.text[17..19], of_day % 60);
        true
    }
}

/// Fills `out` with the last decimal digits of `value`.
fn put_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        // A remainder of 10 fits every integer type.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(ms: u64) -> String {
        String::from_utf8(Timestamp::new().text(ms).to_vec()).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(text(1_795_402_577_000), "2026-11-23T02:56:17.000Z");
        assert_eq!(text(253_402_300_799_998), "9999-12-31T23:59:59.998Z");
    }

    #[test]
    fn what_no_year_holds_shows_the_last_moment() {
        for ms in [253_402_300_799_999, 253_402_300_800_000, u64::MAX] {
            assert_eq!(text(ms), "9999-12-31T23:59:59.999Z");
        }
    }

    #[test]
    fn the_cache_follows_in_both_directions() {
        let mut kept = Timestamp::new();
        for ms in [1000, 1999, 2000, u64::MAX, 1001, 999, u64::MAX, 999, 1_795_402_577_123] {
            assert_eq!(kept.text(ms), text(ms).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in 0u64..253_402_207_200_000) {
            let moment = jiff::Timestamp::from_millisecond(ms as i64).unwrap();
            prop_assert_eq!(text(ms), format!("{moment:.3}"));
        }
    }
}
