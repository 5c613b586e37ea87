//! Commands on streams without groups.

use super::{KEYS, Maker};

impl Maker {
    pub(super) fn append(&mut self) -> Vec<Vec<u8>> {
        let key = self.key();
        let mut options = Vec::new();
        if self.one_in(12) {
            options.push("NOMKSTREAM".to_owned());
        }
        if self.one_in(5) {
            options.push(self.trim_options(key));
        }
        if self.one_in(10) {
            options.push(self.reference_policy().to_owned());
        }
        // One key has ids made of the time, which do not go with given ones.
        let id = match KEYS.iter().position(|other| *other == key) {
            Some(2) if self.one_in(2) => "*".to_owned(),
            Some(at) => self.next_id(at),
            None => "1-1".to_owned(),
        };
        let options = self.shuffled(options);
        let mut args = self.words(&format!("XADD {key} {options} {id}"));
        args.extend(self.fields());
        args
    }

    pub(super) fn stream_command(&mut self) -> Vec<Vec<u8>> {
        let key = self.key();
        let words = match self.rng.u8(..100) {
            0..20 => {
                let word = self.pick(&["XRANGE", "XREVRANGE"]);
                let (low, high) = (self.bound("-", key), self.bound("+", key));
                let (first, second) =
                    if (word == "XRANGE") != self.one_in(20) { (low, high) } else { (high, low) };
                format!("{word} {key} {first} {second} {}", self.maybe_count())
            }
            20..45 => format!("XDEL {key} {}", self.ids(key)),
            45..60 => {
                let parts = vec![self.trim_options(key), self.trim_policy()];
                format!("XTRIM {key} {}", self.shuffled(parts))
            }
            60..68 => self.set_id(key),
            68..73 => format!("XLEN {key}"),
            73..84 => format!("XINFO STREAM {key}"),
            84..92 if self.scope.version >= (8, 2) => {
                let parts = vec![self.reference_policy().to_owned(), self.id_block(key)];
                format!("XDELEX {key} {}", self.shuffled(parts))
            }
            _ => format!("XINFO STREAM {key} FULL {}", self.maybe_count()),
        };
        self.words(&words)
    }

    fn trim_policy(&mut self) -> String {
        if self.one_in(3) { self.reference_policy().to_owned() } else { String::new() }
    }

    fn set_id(&mut self, key: &str) -> String {
        let at = KEYS.iter().position(|other| *other == key);
        let id = match at {
            Some(at) if !self.one_in(4) => self.next_id(at),
            _ => self.id(key),
        };
        match self.rng.u8(..4) {
            0 => {
                let added = self.rng.i8(-1..30);
                let deleted = self.id(key);
                let parts = vec![format!("ENTRIESADDED {added}"), format!("MAXDELETEDID {deleted}")];
                format!("XSETID {key} {id} {}", self.shuffled(parts))
            }
            _ => format!("XSETID {key} {id}"),
        }
    }

    pub(super) fn read(&mut self) -> Vec<Vec<u8>> {
        let parts = vec![self.maybe_count(), self.maybe_block(2)];
        let options = self.shuffled(parts);
        let keys: Vec<&str> = (0..self.rng.usize(1..3)).map(|_| self.key()).collect();
        let ids: Vec<String> = keys
            .iter()
            .map(|key| match self.rng.u8(..10) {
                0..5 => "$".to_owned(),
                5..7 => "0".to_owned(),
                7 if self.scope.version >= (7, 4) => "+".to_owned(),
                _ => self.id(key),
            })
            .collect();
        self.words(&format!("XREAD {options} STREAMS {} {}", keys.join(" "), ids.join(" ")))
    }
}
