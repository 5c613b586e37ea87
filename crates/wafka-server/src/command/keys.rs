//! Where a request's keys are.

use super::{Args, Keys};

/// The keys of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeysOf<'r, 'a> {
    /// From the first key to the last.
    args: &'r [&'a [u8]],
    /// From one to the next.
    step: usize,
}

impl<'r, 'a> KeysOf<'r, 'a> {
    /// Finds them; `None` when they are not where they should be.
    #[must_use]
    pub fn find(places: Keys, request: &'r Args<'a>) -> Option<Self> {
        match places {
            Keys::None => Some(KeysOf { args: &[], step: 1 }),
            Keys::Range { first, last, step } => {
                let first = usize::try_from(first).ok()?;
                let last = match usize::try_from(last) {
                    Ok(last) => last,
                    Err(_) => request.len().checked_sub(usize::from(last.unsigned_abs()))?,
                };
                let args = request.get(first..=last)?;
                Some(KeysOf { args, step: usize::try_from(step).ok()?.max(1) })
            }
            Keys::Streams => {
                let after = &request[streams_at(request)? + 1..];
                let halves = !after.is_empty() && after.len().is_multiple_of(2);
                halves.then(|| KeysOf { args: &after[..after.len() / 2], step: 1 })
            }
        }
    }

    /// The keys, in the order in which they stand.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'r, 'a> {
        self.args.iter().step_by(self.step).copied()
    }
}

/// Where the word `STREAMS` stands, and not a group, a consumer or a value of that name.
fn streams_at(request: &Args<'_>) -> Option<usize> {
    let mut at = 1;
    loop {
        let option = request.get(at)?;
        let is = |words: &[&str]| words.iter().any(|word| option.eq_ignore_ascii_case(word.as_bytes()));
        at += match () {
            () if is(&["STREAMS"]) => return Some(at),
            () if is(&["GROUP"]) => 3,
            () if is(&["COUNT", "BLOCK", "MAXCOUNT", "MAXSIZE", "CLAIM"]) => 2,
            () if is(&["NOACK"]) => 1,
            () => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(places: Keys, line: &str) -> Option<Vec<String>> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let found = KeysOf::find(places, &args)?;
        Some(found.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
    }

    #[test]
    fn keys_are_found() {
        let found = |keys: &[&str]| Some(keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        let range = |first, last, step| Keys::Range { first, last, step };
        assert_eq!(keys_of(Keys::None, "PING a"), found(&[]));
        assert_eq!(keys_of(range(1, 1, 1), "XADD s * f v"), found(&["s"]));
        assert_eq!(keys_of(range(1, -1, 1), "DEL a b c"), found(&["a", "b", "c"]));
        assert_eq!(keys_of(range(1, -1, 2), "MSET a 1 b 2"), found(&["a", "b"]));
        assert_eq!(keys_of(range(2, 2, 1), "XINFO STREAM"), None);
        assert_eq!(keys_of(Keys::Streams, "XREAD COUNT 1 STREAMS a b 0 0"), found(&["a", "b"]));
        assert_eq!(keys_of(Keys::Streams, "XREAD STREAMS a b 0"), None);
        assert_eq!(keys_of(Keys::Streams, "XREAD STREAMS"), None);
        assert_eq!(keys_of(Keys::Streams, "XREADGROUP GROUP streams STREAMS streams a >"), found(&["a"]));
        let late =
            "XREADGROUP COUNT 1 NOACK CLAIM 5 MAXCOUNT 9 GROUP STREAMS c BLOCK 0 MAXSIZE 7 STREAMS a >";
        assert_eq!(keys_of(Keys::Streams, late), found(&["a"]));
        assert_eq!(keys_of(Keys::Streams, "XREAD COUNT STREAMS a 0"), None);
        assert_eq!(keys_of(Keys::Streams, "XREAD NOPE STREAMS a 0"), None);
    }
}
