//! What Redis changed since 7.0. Wafka answers as the newest does.

use super::{Case, Explain, Rule, Verdict, changed_in, for_each};
use crate::diff::compare::Subject;
use crate::diff::player::{Answer, Moment, Transcript};
use crate::diff::reference::Version;
use crate::diff::script::name;
use crate::diff::value::Value;

pub(super) const RULES: &[Rule] = &[
    Rule { id: "7.2-consumer-activity", between: since_7_2, explain: Explain::Reply(activity) },
    Rule {
        id: "7.2-claim-makes-consumer",
        between: since_7_2,
        explain: Explain::Reply(claim_makes_consumer),
    },
    Rule { id: "7.4-lag", between: since_7_4, explain: Explain::Reply(lag) },
    Rule { id: "7.2-unblocked-by-group-end", between: since_7_2, explain: Explain::Reply(group_end) },
    Rule { id: "7.2-blocked-read-runs-again", between: since_7_2, explain: Explain::Moment(runs_again) },
    Rule { id: "7.2-setid-below-deleted", between: since_7_2, explain: Explain::Reply(set_id) },
    Rule { id: "7.4-error-texts", between: since_7_4, explain: Explain::Reply(error_texts) },
    Rule { id: "7.4-read-last", between: since_7_4, explain: Explain::Moment(read_last) },
];

const INVALID_ID: &str = "ERR Invalid stream ID specified as stream command argument";

fn since_7_2(reference: Version, subject: Subject) -> bool {
    changed_in((7, 2), reference, subject)
}

fn since_7_4(reference: Version, subject: Subject) -> bool {
    changed_in((7, 4), reference, subject)
}

/// `XINFO CONSUMERS` has `inactive`, and `XINFO STREAM FULL` has `active-time`.
fn activity(case: &mut Case<'_>) -> Verdict {
    if name(case.args) != "XINFO" {
        return Verdict::Different;
    }
    let mut removed = false;
    for_each(case.found, &mut |value| removed |= value.remove("inactive") | value.remove("active-time"));
    if removed { Verdict::Same } else { Verdict::Different }
}

/// `XCLAIM` and `XAUTOCLAIM` make the consumer also when there is nothing to claim.
fn claim_makes_consumer(case: &mut Case<'_>) -> Verdict {
    match (name(case.args).as_str(), &mut *case.expected, &mut *case.found) {
        ("XGROUP", Value::Int(1), found @ Value::Int(0)) if is(case.args, "CREATECONSUMER") => {
            *found = Value::Int(1);
            Verdict::Same
        }
        ("XINFO", expected, found) if is(case.args, "CONSUMERS") => only_idle_more(expected, found),
        ("XINFO", expected, found) => {
            let mut verdict = Verdict::Different;
            let expected_groups: Vec<&mut Value> = groups(expected, case.args);
            let found_groups: Vec<&mut Value> = groups(found, case.args);
            for (expected, found) in expected_groups.into_iter().zip(found_groups) {
                let (Some(expected), Some(found)) =
                    (expected.get_mut("consumers"), found.get_mut("consumers"))
                else {
                    continue;
                };
                if let (Value::Int(fewer), Value::Int(more)) = (&expected, &found) {
                    if fewer < more {
                        *found = expected.clone();
                        verdict = Verdict::Same;
                    }
                } else if only_idle_more(expected, found) == Verdict::Same {
                    verdict = Verdict::Same;
                }
            }
            verdict
        }
        _ => Verdict::Different,
    }
}

/// Takes consumers without pending entries out of what was found when they were not expected.
fn only_idle_more(expected: &Value, found: &mut Value) -> Verdict {
    let (Some(expected), Some(found)) = (expected.elements(), found.elements_mut()) else {
        return Verdict::Different;
    };
    let name_of = |consumer: &Value| consumer.clone().get_mut("name").cloned();
    let names: Vec<Option<Value>> = expected.iter().map(name_of).collect();
    let before = found.len();
    found.retain(|consumer| {
        let pending = |key: &str| consumer.clone().get_mut(key) == Some(&mut Value::Int(0));
        names.contains(&name_of(consumer)) || !(pending("pending") || pending("pel-count"))
    });
    if found.len() < before { Verdict::Same } else { Verdict::Different }
}

/// The groups in a reply to `XINFO GROUPS` or `XINFO STREAM FULL`.
fn groups<'a>(value: &'a mut Value, args: &[Vec<u8>]) -> Vec<&'a mut Value> {
    let all = if is(args, "GROUPS") { Some(value) } else { value.get_mut("groups") };
    all.and_then(Value::elements_mut).into_iter().flatten().collect()
}

/// `lag` sees trimming and deletions, `ENTRIESREAD` is bounded by what was added, a position that was lost is found again.
fn lag(case: &mut Case<'_>) -> Verdict {
    if name(case.args) != "XINFO" {
        return Verdict::Different;
    }
    let mut removed = false;
    let found = groups(case.found, case.args);
    for (expected, found) in groups(case.expected, case.args).into_iter().zip(found) {
        for field in ["lag", "entries-read"] {
            if expected.get_mut(field) != found.get_mut(field) {
                removed |= expected.remove(field) && found.remove(field);
            }
        }
    }
    if removed { Verdict::Same } else { Verdict::Different }
}

/// A blocked `XREADGROUP` whose group goes is answered as if it came then.
fn group_end(case: &mut Case<'_>) -> Verdict {
    const OLD: [&str; 2] = [
        "UNBLOCKED the stream key no longer exists",
        "NOGROUP the consumer group this client was blocked on no longer exists",
    ];
    let (Value::Error(old), Value::Error(new)) = (&*case.expected, &*case.found) else {
        return Verdict::Different;
    };
    let is_new = new.starts_with("NOGROUP No such key '") && new.ends_with("in XREADGROUP with GROUP option");
    if !OLD.contains(&old.as_str()) || !is_new {
        return Verdict::Different;
    }
    *case.found = case.expected.clone();
    Verdict::Same
}

/// A blocked read that is woken up runs again as a whole. Redis 7.0 answers from the one stream that woke it up, with what was
/// added even if it is gone already.
fn runs_again(transcript: &Transcript, expected: &Moment, found: &Moment) -> Verdict {
    let own = |moment: &Moment| moment.answers.first().filter(|answer| !answer.late).cloned();
    let is_read = |answer: &Answer| {
        let step = answer.step.map(|step| transcript.steps[step].name());
        answer.late && matches!(step.as_deref(), Some("XREAD" | "XREADGROUP"))
    };
    let differs = |one: &Moment, other: &Moment| {
        one.answers.iter().any(|answer| is_read(answer) && !other.answers.contains(answer))
    };
    if own(expected) == own(found) && (differs(expected, found) || differs(found, expected)) {
        return Verdict::Parted;
    }
    Verdict::Different
}

/// `XSETID` with an id below the highest deleted one is an error.
fn set_id(case: &mut Case<'_>) -> Verdict {
    const NEW: &str = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
    const OLD: &str = "ERR The ID specified in XSETID is smaller than the target stream top item";
    if case.found.text() != Some(NEW) {
        return Verdict::Different;
    }
    match case.expected.text() {
        Some("OK") => Verdict::Parted,
        Some(OLD) => {
            *case.found = case.expected.clone();
            Verdict::Same
        }
        _ => Verdict::Different,
    }
}

/// Errors that were put into other words.
fn error_texts(case: &mut Case<'_>) -> Verdict {
    const WORDS: [(&str, &str); 3] = [
        (
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.",
        ),
        (
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.",
        ),
        (
            INVALID_ID,
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
        ),
    ];
    let (Value::Error(old), Value::Error(new)) = (&*case.expected, &*case.found) else {
        return Verdict::Different;
    };
    if !WORDS.contains(&(old, new)) {
        return Verdict::Different;
    }
    *case.found = case.expected.clone();
    Verdict::Same
}

/// `XREAD` knows the id `+`.
fn read_last(transcript: &Transcript, expected: &Moment, _: &Moment) -> Verdict {
    let is_new = |answer: &Answer| {
        let step = answer.step.map(|step| &transcript.steps[step]);
        step.is_some_and(|step| step.name() == "XREAD" && step.has("+"))
            && answer.value.text() == Some(INVALID_ID)
    };
    if expected.answers.iter().any(is_new) { Verdict::Parted } else { Verdict::Different }
}

/// Whether the subcommand is this.
fn is(args: &[Vec<u8>], word: &str) -> bool {
    args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
}
