//! Commands on keys of any type, and on connections.

use super::{CONNS, KEYS, Maker};

/// The year 2100, in seconds.
const FAR_AWAY_S: &str = "4102444800";

impl Maker {
    pub(super) fn key_command(&mut self, conn: usize) -> Vec<Vec<u8>> {
        // What Wafka does not do in transactions is tried there seldom: it ends a comparison.
        let in_transaction = self.in_multi[conn] && !self.one_in(10);
        loop {
            let words = self.key_words();
            let copies = ["RENAME", "COPY", "MOVE"].iter().any(|word| words.starts_with(word));
            let refused = copies || words.starts_with("FLUSH");
            if !(refused && in_transaction || copies && !self.copies) {
                return self.words(&words);
            }
        }
    }

    fn key_words(&mut self) -> String {
        let key = self.key();
        match self.rng.u8(..100) {
            0..12 => {
                self.forget(key);
                format!("{} {key}", self.pick(&["DEL", "DEL", "UNLINK"]))
            }
            12..20 => format!("EXISTS {key} {}", self.key()),
            20..24 => format!("TYPE {key}"),
            24..28 => format!("TOUCH {key} {}", self.key()),
            28..42 => self.rename_or_copy(key),
            42..60 => self.expire(key),
            60..78 => {
                format!("{} {key}", self.pick(&["TTL", "PTTL", "PERSIST", "EXPIRETIME", "PEXPIRETIME"]))
            }
            78..84 => {
                let word = self.pick(&["ENCODING", "ENCODING", "REFCOUNT", "IDLETIME", "FREQ"]);
                format!("OBJECT {word} {key}")
            }
            84..88 => format!("KEYS {}", self.pick(&["*", "a", "[ab]", "none", "?"])),
            88..92 if self.expires => "RANDOMKEY".to_owned(),
            88..92 => "DBSIZE".to_owned(),
            92..96 => {
                format!("SCAN 0 {}", self.pick(&["", "TYPE stream", "MATCH a", "COUNT 100", "TYPE list"]))
            }
            96 => {
                KEYS.iter().for_each(|key| self.forget(key));
                self.pick(&["FLUSHALL", "FLUSHDB", "FLUSHALL SYNC"]).to_owned()
            }
            _ => format!("DEL {key} {}", self.key()),
        }
    }

    /// Ids of a key that is gone begin anew.
    fn forget(&mut self, key: &str) {
        if let Some(at) = KEYS.iter().position(|other| *other == key) {
            self.last[at] = (0, 0);
        }
    }

    fn rename_or_copy(&mut self, key: &str) -> String {
        let to = self.key();
        let database = self.pick(&["0", "1", "1", "99"]);
        match self.rng.u8(..9) {
            0..2 => format!("RENAME {key} {to}"),
            2 => format!("RENAMENX {key} {to}"),
            3 => format!("COPY {key} {to}"),
            4 => format!("COPY {key} {to} DB {database} REPLACE"),
            5 => format!("COPY {key} {to} DB {database}"),
            6 => format!("MOVE {key} {database}"),
            _ => format!("COPY {key} {to} REPLACE"),
        }
    }

    fn expire(&mut self, key: &str) -> String {
        let condition = self.pick(&["", "", "", "NX", "XX", "GT", "LT", "NX GT", "XX GT"]);
        if self.expires && self.one_in(4) {
            self.forget(key);
            return format!("@expire {key}");
        }
        let command = match self.rng.u8(..12) {
            0..4 => format!("EXPIRE {key} {}", self.seconds()),
            4..7 => format!("PEXPIRE {key} {}000", self.seconds()),
            7..9 => format!("EXPIREAT {key} {FAR_AWAY_S}"),
            9 => format!("PEXPIREAT {key} {FAR_AWAY_S}000"),
            10 => {
                self.forget(key);
                format!("EXPIRE {key} {}", self.pick(&["-1", "0", "-9223372036854775808"]))
            }
            _ => format!("EXPIRE {key} 9223372036854775807"),
        };
        format!("{command} {condition}")
    }

    /// A time to live, another one each time: which of two is longer must not depend on when they were set.
    fn seconds(&mut self) -> u32 {
        self.times += 1;
        let spread = [100, 3, 50, 7, 20, 1_000][self.rng.usize(..6)];
        (spread + self.times) * 1_000
    }

    pub(super) fn connection_command(&mut self, conn: usize) -> Vec<Vec<u8>> {
        let words = match self.rng.u8(..10) {
            // A transaction that both serves and unblocks a reader does so in no certain order.
            0..5 if !self.in_multi[conn] => {
                let how = self.pick(&["", "", "TIMEOUT", "ERROR"]);
                format!("CLIENT UNBLOCK <id:{}> {how}", self.rng.usize(..CONNS))
            }
            0..6 => self.pick(&["PING", "PING hi", "ECHO hi", "PUBLISH ch hi", "PUBSUB NUMPAT"]).to_owned(),
            6 => self.pick(&["CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT SETNAME you"]).to_owned(),
            7 => self
                .pick(&["NOSUCH a b", "xnosuch", "XINFO NOSUCH a", "XGROUP NOSUCH a", "SELECT 99"])
                .to_owned(),
            8 => self.pick(&["XGROUP HELP", "XINFO HELP", "OBJECT HELP"]).to_owned(),
            _ => self
                .pick(&[
                    "RESET", "SELECT 0", "SELECT 0", "SELECT 1", "WAIT 0 0", "XGROUP", "XINFO", "MULTI x",
                ])
                .to_owned(),
        };
        self.words(&words)
    }
}
