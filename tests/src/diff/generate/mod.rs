//! Makes random scripts. The same number makes the same script.
//!
//! Names, ids and counts are few, so that commands meet: most find what others left. Some arguments are wrong on purpose.

mod generic;
mod group;
mod options;
mod stream;
mod words;

use fastrand::Rng;

use super::reference::Version;
use super::script::{Script, Step, name};

/// The keys of all scripts.
pub const KEYS: [&str; 3] = ["a", "b", "c"];

/// Connections of a script.
const CONNS: usize = 4;

/// What may stand in a script.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The reference's version: what it does not know is not asked for.
    pub version: Version,
    /// Commands of a script.
    pub steps: usize,
}

/// A script in the making.
struct Maker {
    rng: Rng,
    scope: Scope,
    /// Where each key's ids are by a rough guess: new ones usually go on from there.
    last: [(u64, u64); KEYS.len()],
    /// Which connections are within a transaction, if nothing went wrong.
    in_multi: [bool; CONNS],
    /// Whether `XCLAIM` may move a group's cursor. `ACKED` is left out then: it goes by an older cursor in Redis.
    moves_cursors: bool,
    /// Whether topics are renamed and copied. Trimming by nodes is left out then: in Wafka those of a copy begin anew.
    copies: bool,
    /// Whether keys expire. `DBSIZE` is left out then: it counts those that are not cleared away yet.
    expires: bool,
    /// How many times to live were set.
    times: u32,
}

/// The script of this number.
#[must_use]
pub fn script(seed: u64, scope: Scope) -> Script {
    let mut rng = Rng::with_seed(seed);
    let protocols = (0..CONNS).map(|_| if rng.bool() { 2 } else { 3 }).collect();
    // Redis 7.0 notifies of less, and blocked reads run again only since.
    let listens = rng.u8(..4) == 0 && scope.version >= (7, 2);
    let (moves_cursors, copies) = (rng.u8(..4) == 0, rng.u8(..3) == 0);
    let expires = rng.bool();
    let mut maker = Maker {
        rng,
        scope,
        last: [(0, 0); KEYS.len()],
        in_multi: [false; CONNS],
        moves_cursors,
        copies,
        expires,
        times: 0,
    };
    let mut steps = maker.opening();
    while steps.len() < scope.steps {
        let step = maker.step();
        steps.push(step);
    }
    Script { protocols, listens, steps }
}

impl Maker {
    /// Some entries and groups: without them most commands would have nothing to work on.
    fn opening(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for key in KEYS {
            for _ in 0..self.rng.usize(..5) {
                let at = KEYS.iter().position(|other| *other == key).unwrap_or(0);
                let id = self.next_id(at);
                steps.push(Step::new(0, &format!("XADD {key} {id} f v")));
            }
            for _ in 0..self.rng.usize(..3) {
                let (group, id) = (self.group(), self.pick(&["0", "0", "$", "2"]));
                steps.push(Step::new(0, &format!("XGROUP CREATE {key} {group} {id} MKSTREAM")));
            }
        }
        steps
    }

    fn step(&mut self) -> Step {
        let conn = self.rng.usize(..CONNS);
        if self.in_multi[conn] && self.one_in(4) {
            self.in_multi[conn] = false;
            let words = self.pick(&["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD"]);
            return Step::new(conn, words);
        }
        let mut args = self.command(conn);
        if self.one_in(25) && args[0] != b"@expire" {
            self.spoil(&mut args);
            tame(&mut args);
        }
        self.vary_case(&mut args);
        Step { conn, args }
    }

    fn command(&mut self, conn: usize) -> Vec<Vec<u8>> {
        match self.rng.u8(..100) {
            0..20 => self.append(),
            20..36 => self.stream_command(),
            36..54 => self.read_group(),
            54..56 => self.read(),
            56..85 => self.group_command(),
            85..92 => self.key_command(conn),
            92..96 => self.transaction_command(conn),
            _ => self.connection_command(conn),
        }
    }

    fn transaction_command(&mut self, conn: usize) -> Vec<Vec<u8>> {
        match self.rng.u8(..10) {
            0..6 => {
                self.in_multi[conn] = true;
                self.words("MULTI")
            }
            6..8 => {
                let key = self.key();
                self.words(&format!("WATCH {key}"))
            }
            8 => self.words("UNWATCH"),
            _ => {
                let words = self.pick(&["EXEC", "DISCARD"]);
                self.words(words)
            }
        }
    }
}

/// Takes out of a spoilt command what would make its outcome a matter of speed.
fn tame(args: &mut [Vec<u8>]) {
    let name = name(args);
    if name == "XADD" && args.len() > 2 && args[2..].iter().any(|arg| arg == b"*") {
        args[1] = KEYS[KEYS.len() - 1].as_bytes().to_vec();
    }
    // Redis 7.0 does not notice that the end of such a wait is out of range.
    for at in 1..args.len() {
        if args[at - 1].eq_ignore_ascii_case(b"block") && args[at] == b"9223372036854775807" {
            args[at] = b"0".to_vec();
        }
    }
    if matches!(name.as_str(), "EXPIRE" | "PEXPIRE") && args.get(2).is_some_and(|time| time == b"1") {
        args[2] = b"0".to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_makes_one_script() {
        let scope = Scope { version: (8, 2), steps: 200 };
        assert_eq!(script(7, scope), script(7, scope));
        assert_ne!(script(7, scope), script(8, scope));
        let script = script(7, scope);
        assert_eq!(Script::parse(&script.to_string()), Ok(script));
    }
}
