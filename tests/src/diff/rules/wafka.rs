//! What Wafka does otherwise than Redis, on purpose.

use super::{Case, Explain, Rule, Verdict};
use crate::diff::compare::Subject;
use crate::diff::player::{Answer, Moment, Transcript};
use crate::diff::reference::Version;
use crate::diff::script::name;
use crate::diff::value::Value;

pub(super) const RULES: &[Rule] = &[
    Rule { id: "not-in-a-transaction", between: wafka, explain: Explain::Reply(not_in_transaction) },
    Rule { id: "made-anew-in-a-transaction", between: wafka, explain: Explain::Reply(made_anew) },
    Rule { id: "setid-never-goes-back", between: wafka, explain: Explain::Reply(set_id) },
    Rule { id: "order-of-messages", between: wafka, explain: Explain::Moment(order_of_messages) },
];

fn wafka(_: Version, subject: Subject) -> bool {
    subject == Subject::Wafka
}

/// Commands that could not be undone with the rest of a transaction are refused when they are queued.
fn not_in_transaction(case: &mut Case<'_>) -> Verdict {
    const COMMANDS: [&str; 6] = ["FLUSHALL", "FLUSHDB", "RENAME", "RENAMENX", "COPY", "MOVE"];
    let name = name(case.args);
    let (Value::Status(queued), Value::Error(refused)) = (&*case.expected, &*case.found) else {
        return Verdict::Different;
    };
    let text = format!(
        "ERR {name} is not allowed inside a transaction: it could not be undone together with the others"
    );
    let known = queued == "QUEUED" && COMMANDS.contains(&name.as_str()) && *refused == text;
    if known { Verdict::Parted } else { Verdict::Different }
}

/// A topic that a transaction deletes cannot be made anew in the same transaction.
fn made_anew(case: &mut Case<'_>) -> Verdict {
    let text = "was deleted in this transaction: it can be made anew after EXEC";
    let known = matches!(&*case.found, Value::Error(refused) if refused.starts_with("ERR topic '") && refused.ends_with(text));
    if known && !matches!(case.expected, Value::Error(_)) { Verdict::Parted } else { Verdict::Different }
}

/// Redis lets `XSETID` go back when a stream is empty. Wafka does not: the ids in a partition's file only go up.
fn set_id(case: &mut Case<'_>) -> Verdict {
    const REFUSED: &str = "ERR The ID specified in XSETID is smaller than the target stream top item";
    let known = matches!(&*case.found, Value::Error(text) if text == REFUSED)
        && matches!(&*case.expected, Value::Status(text) if text == "OK");
    if known && name(case.args) == "XSETID" { Verdict::Parted } else { Verdict::Different }
}

/// What a reader that is woken up does is not told in a certain order with what woke it up; and a transaction's
/// notifications are sent when it is durable, after the messages that it publishes.
fn order_of_messages(transcript: &Transcript, expected: &Moment, found: &Moment) -> Verdict {
    let replies = |moment: &Moment| -> Vec<Answer> {
        moment.answers.iter().filter(|answer| answer.step.is_some()).cloned().collect()
    };
    let messages = |moment: &Moment| -> Vec<Value> {
        let told = moment.answers.iter().filter(|answer| answer.step.is_none());
        let mut values: Vec<Value> = told.map(|answer| answer.value.clone()).collect();
        values.sort();
        values
    };
    let wakes = expected.answers.iter().any(|answer| answer.late && answer.step.is_some());
    let executed = expected.answers.iter().flat_map(|answer| &answer.executed);
    let publishes = executed.into_iter().any(|step| transcript.steps[*step].name() == "PUBLISH");
    if (wakes || publishes) && replies(expected) == replies(found) && messages(expected) == messages(found) {
        return Verdict::Same;
    }
    Verdict::Different
}
