//! Commands of consumer groups.

use super::Maker;

impl Maker {
    pub(super) fn read_group(&mut self) -> Vec<Vec<u8>> {
        let (group, consumer) = (self.group(), self.consumer());
        let mut options = vec![self.maybe_count(), self.maybe_block(3)];
        if self.one_in(8) {
            options.push("NOACK".to_owned());
        }
        let options = self.shuffled(options);
        let keys: Vec<&str> = (0..self.pick(&["1", "1", "1", "2"]).len()).map(|_| self.key()).collect();
        let keys = if self.one_in(5) { vec![keys[0], self.key()] } else { keys };
        let ids: Vec<String> = keys
            .iter()
            .map(|key| match self.rng.u8(..10) {
                0..7 => ">".to_owned(),
                7..9 => "0".to_owned(),
                _ => self.id(key),
            })
            .collect();
        let (keys, ids) = (keys.join(" "), ids.join(" "));
        self.words(&format!("XREADGROUP GROUP {group} {consumer} {options} STREAMS {keys} {ids}"))
    }

    pub(super) fn group_command(&mut self) -> Vec<Vec<u8>> {
        let (key, group, consumer) = (self.key(), self.group(), self.consumer());
        let words = match self.rng.u8(..100) {
            0..18 => self.group_life(key, group, consumer),
            18..36 => format!("XACK {key} {group} {}", self.ids(key)),
            36..42 => format!("XPENDING {key} {group}"),
            42..54 => self.pending_range(key, group, consumer),
            54..70 => self.claim(key, group, consumer),
            70..79 => self.auto_claim(key, group, consumer),
            79..87 => format!("XINFO GROUPS {key}"),
            87..93 => format!("XINFO CONSUMERS {key} {group}"),
            _ if self.scope.version >= (8, 2) => {
                let parts = vec![self.reference_policy().to_owned(), self.id_block(key)];
                format!("XACKDEL {key} {group} {}", self.shuffled(parts))
            }
            _ => format!("XACK {key} {group} {}", self.ids(key)),
        };
        self.words(&words)
    }

    fn group_life(&mut self, key: &str, group: &str, consumer: &str) -> String {
        let id = match self.rng.u8(..4) {
            0 => "$".to_owned(),
            1 => "0".to_owned(),
            _ => self.id(key),
        };
        let read = match self.rng.u8(..4) {
            0 => format!("ENTRIESREAD {}", self.rng.i8(-2..9)),
            _ => String::new(),
        };
        match self.rng.u8(..10) {
            0..4 => {
                let make = if self.rng.bool() { "MKSTREAM" } else { "" };
                let parts = vec![read, make.to_owned()];
                format!("XGROUP CREATE {key} {group} {id} {}", self.shuffled(parts))
            }
            4..6 => format!("XGROUP SETID {key} {group} {id} {read}"),
            6 => format!("XGROUP DESTROY {key} {group}"),
            7 => format!("XGROUP CREATECONSUMER {key} {group} {consumer}"),
            _ => format!("XGROUP DELCONSUMER {key} {group} {consumer}"),
        }
    }

    fn pending_range(&mut self, key: &str, group: &str, consumer: &str) -> String {
        let idle = match self.rng.u8(..4) {
            0 => format!("IDLE {}", self.min_idle()),
            _ => String::new(),
        };
        let whose = if self.rng.bool() { consumer } else { "" };
        let (low, high) = (self.bound("-", key), self.bound("+", key));
        format!("XPENDING {key} {group} {idle} {low} {high} {} {whose}", self.count())
    }

    /// Least idle times are far from all idle times that there may be.
    fn min_idle(&mut self) -> &'static str {
        self.pick(&["0", "0", "0", "0", "125000", "600000", "-5"])
    }

    fn claim(&mut self, key: &str, group: &str, consumer: &str) -> String {
        let mut options = Vec::new();
        for _ in 0..self.rng.usize(..3) {
            options.push(match self.rng.u8(..7) {
                0 => format!("IDLE {}", self.pick(&["0", "500000", "-1"])),
                1 => format!("TIME {}", self.pick(&["0", "1000", "99999999999999"])),
                2 => format!("RETRYCOUNT {}", self.pick(&["0", "1", "7", "-1"])),
                3 | 4 => "FORCE".to_owned(),
                5 => "JUSTID".to_owned(),
                _ if self.moves_cursors => format!("LASTID {}", self.id(key)),
                _ => String::new(),
            });
        }
        let (idle, ids) = (self.min_idle(), self.ids(key));
        format!("XCLAIM {key} {group} {consumer} {idle} {ids} {}", self.shuffled(options))
    }

    fn auto_claim(&mut self, key: &str, group: &str, consumer: &str) -> String {
        let start = match self.rng.u8(..3) {
            0 => self.bound("-", key),
            _ => "0".to_owned(),
        };
        let just_id = if self.one_in(4) { "JUSTID" } else { "" };
        let parts = vec![self.maybe_count(), just_id.to_owned()];
        let idle = self.min_idle();
        format!("XAUTOCLAIM {key} {group} {consumer} {idle} {start} {}", self.shuffled(parts))
    }
}
