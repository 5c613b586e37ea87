//! What Redis changed since 8.0. Wafka answers as the newest does.

use super::{Case, Explain, Rule, Verdict, changed_in, for_each};
use crate::diff::compare::Subject;
use crate::diff::reference::Version;
use crate::diff::script::name;
use crate::diff::value::Value;

pub(super) const RULES: &[Rule] = &[
    Rule { id: "8.0-scan-cursor", between: since_8_0, explain: Explain::Reply(scan_cursor) },
    Rule { id: "8.6-unknown-command", between: since_8_6, explain: Explain::Reply(unknown_command) },
    Rule { id: "8.6-idempotence-fields", between: since_8_6, explain: Explain::Reply(idempotence) },
    Rule { id: "8.8-nacked-count", between: since_8_8, explain: Explain::Reply(nacked_count) },
];

fn since_8_0(reference: Version, subject: Subject) -> bool {
    changed_in((8, 0), reference, subject)
}

fn since_8_6(reference: Version, subject: Subject) -> bool {
    changed_in((8, 6), reference, subject)
}

fn since_8_8(reference: Version, subject: Subject) -> bool {
    changed_in((8, 8), reference, subject)
}

/// `XINFO STREAM FULL` tells how many events of a group are released.
fn nacked_count(case: &mut Case<'_>) -> Verdict {
    if name(case.args) != "XINFO" {
        return Verdict::Different;
    }
    let mut removed = false;
    for_each(case.found, &mut |value| removed |= value.remove("nacked-count"));
    if removed { Verdict::Same } else { Verdict::Different }
}

/// An unknown command without arguments is not told that there are none.
fn unknown_command(case: &mut Case<'_>) -> Verdict {
    let (Value::Error(old), Value::Error(new)) = (&*case.expected, &*case.found) else {
        return Verdict::Different;
    };
    if case.args.len() != 1 || *old != format!("{new}, with args beginning with: ") {
        return Verdict::Different;
    }
    *case.found = case.expected.clone();
    Verdict::Same
}

/// `XINFO STREAM` tells about idempotent producers.
fn idempotence(case: &mut Case<'_>) -> Verdict {
    const FIELDS: [&str; 6] =
        ["idmp-duration", "idmp-maxsize", "pids-tracked", "iids-tracked", "iids-added", "iids-duplicates"];
    if FIELDS.iter().filter(|field| case.found.remove(field)).count() == FIELDS.len() {
        return Verdict::Same;
    }
    Verdict::Different
}

/// An empty and a negative cursor of `SCAN` are errors, one with white space before it is not.
fn scan_cursor(case: &mut Case<'_>) -> Verdict {
    const INVALID: &str = "ERR invalid cursor";
    let is_odd = case.args.get(1).is_some_and(|cursor| !cursor.first().is_some_and(u8::is_ascii_digit));
    let invalid = [&*case.expected, &*case.found].map(|value| value.text() == Some(INVALID));
    if name(case.args) != "SCAN" || !is_odd || invalid[0] == invalid[1] {
        return Verdict::Different;
    }
    *case.found = case.expected.clone();
    Verdict::Same
}
