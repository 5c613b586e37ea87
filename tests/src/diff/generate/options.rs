//! Options that several commands share.

use super::Maker;

impl Maker {
    /// `MAXLEN` or `MINID`, and what belongs to them; sometimes one thing too many.
    pub(super) fn trim_options(&mut self, key: &str) -> String {
        let (word, threshold) =
            if self.rng.bool() { ("MAXLEN", self.rng.u8(..12).to_string()) } else { ("MINID", self.id(key)) };
        let by_nodes = if self.copies { "=" } else { "~" };
        let how = self.pick(&["", "=", by_nodes, by_nodes]);
        let limit = match self.rng.u8(..6) {
            0 => format!("LIMIT {}", self.pick(&["0", "1", "3", "4", "5", "8", "100", "-1"])),
            _ => String::new(),
        };
        format!("{word} {how} {threshold} {limit}")
    }

    /// What becomes of references to entries that go, where the reference has that.
    pub(super) fn reference_policy(&mut self) -> &'static str {
        if self.scope.version < (8, 2) {
            return "";
        }
        let acked = if self.moves_cursors { "KEEPREF" } else { "ACKED" };
        self.pick(&["", "", "KEEPREF", "DELREF", acked])
    }

    /// Parts of a command in any order.
    pub(super) fn shuffled(&mut self, mut parts: Vec<String>) -> String {
        self.rng.shuffle(&mut parts);
        parts.join(" ")
    }

    /// `COUNT n`, or nothing.
    pub(super) fn maybe_count(&mut self) -> String {
        if self.rng.bool() { format!("COUNT {}", self.count()) } else { String::new() }
    }

    /// `BLOCK ms`, or nothing: for ever in most cases; a short time is waited for.
    pub(super) fn maybe_block(&mut self, one_in: u32) -> String {
        if !self.one_in(one_in) {
            return String::new();
        }
        let ms = self.pick(&["0", "0", "0", "0", "0", "500000", "500000", "1", "5"]);
        format!("BLOCK {ms}")
    }

    /// `IDS n id …`, whose number is wrong now and then.
    pub(super) fn id_block(&mut self, key: &str) -> String {
        let ids = self.ids(key);
        let right = ids.split(' ').count();
        let number = match self.rng.u8(..20) {
            0 => "0".to_owned(),
            1 => (right + 1).to_string(),
            2 => "x".to_owned(),
            _ => right.to_string(),
        };
        format!("IDS {number} {ids}")
    }
}
