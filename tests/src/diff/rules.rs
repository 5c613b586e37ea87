//! The differences that are known and meant: between versions of Redis, and between Redis and Wafka.
//!
//! `docs/compatibility.md` explains each by its id. A rule is as narrow as it can be: what it does not fit is a difference
//! that fails the test.

mod redis_7;
mod redis_8;
mod wafka;

use super::compare::Subject;
use super::player::{Moment, Transcript};
use super::reference::Version;
use super::value::Value;

/// What a comparison comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing differs, or only what a rule has made the same.
    Same,
    /// A difference that is known, and after which the servers hold different things: there is nothing to compare any more.
    Parted,
    /// Something differs.
    Different,
}

/// Two replies that differ.
pub struct Case<'a> {
    /// The command.
    pub args: &'a [Vec<u8>],
    /// The reference's reply, masked.
    pub expected: &'a mut Value,
    /// The subject's reply, masked.
    pub found: &'a mut Value,
}

/// A known difference.
pub struct Rule {
    /// Its name in `docs/compatibility.md`.
    pub id: &'static str,
    /// Between which servers it is.
    pub between: fn(Version, Subject) -> bool,
    /// Whether a difference is this one.
    pub explain: Explain,
}

/// How a rule looks at a difference.
pub enum Explain {
    /// At two replies to one command; it takes the difference out of both where something else may differ too.
    Reply(fn(&mut Case<'_>) -> Verdict),
    /// At all that a command led to.
    Moment(fn(&Transcript, &Moment, &Moment) -> Verdict),
}

/// All of them.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    redis_7::RULES.iter().chain(redis_8::RULES).chain(wafka::RULES)
}

/// Whether the subject is at least this version of Redis, and the reference is older.
fn changed_in(version: Version, reference: Version, subject: Subject) -> bool {
    let has = match subject {
        Subject::Redis(subject) => subject >= version,
        Subject::Wafka => true,
    };
    has && reference < version
}

/// Calls `act` with a value and all within it.
fn for_each(value: &mut Value, act: &mut impl FnMut(&mut Value)) {
    act(value);
    for value in value.elements_mut().into_iter().flatten() {
        for_each(value, act);
    }
}
