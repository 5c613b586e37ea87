//! Names, ids and numbers of scripts, and how arguments go wrong.

use super::{KEYS, Maker};

/// Arguments that are wrong in most places.
const JUNK: [&str; 26] = [
    "",
    "abc",
    "-1",
    "0",
    "1",
    "99999999999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1-",
    "-",
    "+",
    "$",
    ">",
    "*",
    "(",
    "(1-1",
    "(-",
    "1-x",
    "1-1-1",
    "1-*",
    "0-0",
    "18446744073709551615-18446744073709551615",
    "(18446744073709551615-18446744073709551615",
    "1.5",
];

impl Maker {
    pub(super) fn words(&mut self, words: &str) -> Vec<Vec<u8>> {
        words.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(..from.len())]
    }

    pub(super) fn key(&mut self) -> &'static str {
        // The first key is busier, and now and then there is none.
        match self.rng.u8(..20) {
            0..12 => KEYS[0],
            12..17 => KEYS[1],
            17..19 => KEYS[2],
            _ => "none",
        }
    }

    pub(super) fn group(&mut self) -> &'static str {
        self.pick(&["g", "g", "g", "g", "h", "h", "nogroup"])
    }

    pub(super) fn consumer(&mut self) -> &'static str {
        self.pick(&["x", "x", "y", "z"])
    }

    /// An id above those that the key had, by a rough guess; now and then one that is not.
    pub(super) fn next_id(&mut self, key: usize) -> String {
        let (ms, seq) = self.last[key];
        let (ms, seq) = if self.rng.bool() {
            (ms, seq + 1 + self.rng.u64(..2))
        } else {
            (ms + 1 + self.rng.u64(..2), self.rng.u64(..2))
        };
        self.last[key] = (ms, seq);
        match self.rng.u8(..20) {
            0 => format!("{ms}-*"),
            1 => format!("{ms}"),
            _ => format!("{ms}-{seq}"),
        }
    }

    /// An id that may be that of an entry.
    pub(super) fn id(&mut self, key: &str) -> String {
        let at = KEYS.iter().position(|other| *other == key).unwrap_or(0);
        let (ms, _) = self.last[at];
        let ms = self.rng.u64(..=ms + 1);
        match self.rng.u8(..8) {
            0 => ms.to_string(),
            _ => format!("{ms}-{}", self.rng.u64(..4)),
        }
    }

    pub(super) fn ids(&mut self, key: &str) -> String {
        let ids: Vec<String> = (0..self.rng.usize(1..4)).map(|_| self.id(key)).collect();
        ids.join(" ")
    }

    /// Where a range begins or ends.
    pub(super) fn bound(&mut self, open: &str, key: &str) -> String {
        match self.rng.u8(..6) {
            0..3 => open.to_owned(),
            3 => format!("({}", self.id(key)),
            _ => self.id(key),
        }
    }

    pub(super) fn count(&mut self) -> &'static str {
        self.pick(&["1", "1", "2", "2", "3", "5", "10", "0", "-1"])
    }

    /// Field-value pairs of any bytes.
    pub(super) fn fields(&mut self) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        for _ in 0..self.rng.usize(1..3) {
            fields.push(self.part());
            fields.push(self.part());
        }
        fields
    }

    fn part(&mut self) -> Vec<u8> {
        match self.rng.u8(..12) {
            0 => Vec::new(),
            1 => b"{\"json\":[1,2.50]}".to_vec(),
            2 => b"nul \0 and \xff\xfe\r\n".to_vec(),
            3 => b"\"quoted\" \\".to_vec(),
            _ => self.pick(&["f", "v", "w", "field", "7"]).as_bytes().to_vec(),
        }
    }

    /// Makes a command that is likely to be an error.
    pub(super) fn spoil(&mut self, args: &mut Vec<Vec<u8>>) {
        // A client's id is another one on each server, and errors repeat what they do not understand.
        if args.iter().any(|arg| arg.starts_with(b"<id:")) {
            return;
        }
        let at = self.rng.usize(1..=args.len().max(2) - 1).min(args.len() - 1);
        match self.rng.u8(..10) {
            0..5 => {
                let junk = self.pick(&JUNK);
                args[at] = junk.as_bytes().to_vec();
            }
            5..7 if args.len() > 1 => {
                args.remove(at);
            }
            7 => {
                let arg = args[at].clone();
                args.insert(at, arg);
            }
            8 if args.len() > 2 => {
                let other = self.rng.usize(1..args.len());
                args.swap(at, other);
            }
            _ => {
                let junk = self.pick(&JUNK);
                args.push(junk.as_bytes().to_vec());
            }
        }
        // A time that is spoilt to a long one would be waited for.
        let is_time = |pair: &[Vec<u8>]| pair[0].eq_ignore_ascii_case(b"block");
        if let Some(at) = args.windows(2).position(is_time)
            && args[at + 1].first().is_some_and(u8::is_ascii_digit)
            && self.rng.bool()
        {
            args[at + 1] = b"0".to_vec();
        }
    }

    /// Words of commands are understood in any case.
    pub(super) fn vary_case(&mut self, args: &mut [Vec<u8>]) {
        let all = match self.rng.u8(..10) {
            0 => true,
            1 => false,
            _ => return,
        };
        let is_word = |arg: &Vec<u8>| arg.len() > 1 && arg.iter().all(u8::is_ascii_uppercase);
        for arg in args.iter_mut().filter(|arg| is_word(arg)) {
            if all {
                arg.make_ascii_lowercase();
            } else {
                arg[1..].make_ascii_lowercase();
            }
        }
    }
}
