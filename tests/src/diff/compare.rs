//! Compares what two servers made of the same script.

use std::fmt;

use super::mask::Mask;
use super::player::{Moment, Transcript};
use super::reference::Version;
use super::rules::{Case, Explain, Rule, Verdict, rules};
use super::value::Value;

/// Who is compared with the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Another Redis, to test the test.
    Redis(Version),
    /// Wafka.
    Wafka,
}

/// The first difference between two transcripts.
#[derive(Clone, PartialEq, Debug)]
pub struct Divergence {
    /// The index of the step in whose moment they part.
    pub moment: usize,
    /// The step, and the one that was answered if that is another.
    pub step: String,
    /// What the reference answered.
    pub expected: String,
    /// What the subject answered.
    pub found: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  expected {}\n  found    {}", self.step, self.expected, self.found)
    }
}

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Where they part.
    pub divergence: Option<Divergence>,
    /// The rules by which differences were accepted, once for each time.
    pub accepted: Vec<&'static str>,
    /// How many replies were compared.
    pub replies: usize,
}

/// Compares two transcripts of one script up to the first difference that no rule explains, or to one after which the two
/// servers hold different things.
#[must_use]
pub fn compare(
    reference: Version,
    expected: &Transcript,
    subject: Subject,
    found: &Transcript,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut masks = (Mask::new(expected.ended_ms), Mask::new(found.ended_ms));
    let rules: Vec<&Rule> = rules().filter(|rule| (rule.between)(reference, subject)).collect();
    for at in 0..expected.moments.len().max(found.moments.len()) {
        let (Some(wanted), Some(got)) = (expected.moments.get(at), found.moments.get(at)) else { break };
        let mut wanted = wanted.clone();
        let mut got = got.clone();
        masked(&mut masks.0, expected, &mut wanted);
        masked(&mut masks.1, found, &mut got);
        comparison.replies += wanted.answers.len();
        match same(expected, &rules, &mut wanted, &mut got, &mut comparison.accepted) {
            Verdict::Same => {}
            Verdict::Parted => return comparison,
            Verdict::Different => {
                comparison.divergence = Some(divergence(expected, at, &wanted, &got));
                return comparison;
            }
        }
    }
    if expected.broken.is_some() || found.broken.is_some() {
        let moment = expected.moments.len().min(found.moments.len());
        let broken = |transcript: &Transcript| transcript.broken.clone().unwrap_or("replies".to_owned());
        comparison.divergence = Some(Divergence {
            moment,
            step: expected.steps.get(moment).map(ToString::to_string).unwrap_or_default(),
            expected: broken(expected),
            found: broken(found),
        });
    }
    comparison
}

/// Masks all replies of a moment.
fn masked(mask: &mut Mask, transcript: &Transcript, moment: &mut Moment) {
    for answer in &mut moment.answers {
        match (answer.step, answer.executed.as_slice()) {
            (Some(step), []) => mask.reply(&transcript.steps[step].args, &mut answer.value),
            (Some(_), executed) => {
                for (value, step) in answer.value.elements_mut().into_iter().flatten().zip(executed) {
                    mask.reply(&transcript.steps[*step].args, value);
                }
            }
            (None, _) => mask.reply(&[], &mut answer.value),
        }
    }
}

/// Whether two moments are the same, but for what rules explain.
fn same(
    transcript: &Transcript,
    rules: &[&Rule],
    expected: &mut Moment,
    found: &mut Moment,
    accepted: &mut Vec<&'static str>,
) -> Verdict {
    let verdict = same_answers(transcript, rules, expected, found, accepted);
    if verdict == Verdict::Different {
        for rule in rules {
            let Explain::Moment(explain) = rule.explain else { continue };
            let explained = explain(transcript, expected, found);
            if explained != Verdict::Different {
                accepted.push(rule.id);
                return explained;
            }
        }
    }
    verdict
}

/// The same, reply by reply.
fn same_answers(
    transcript: &Transcript,
    rules: &[&Rule],
    expected: &mut Moment,
    found: &mut Moment,
    accepted: &mut Vec<&'static str>,
) -> Verdict {
    let steps = |moment: &Moment| -> Vec<_> { moment.answers.iter().map(|answer| answer.step).collect() };
    let alike = expected.skipped == found.skipped && steps(expected) == steps(found);
    for (wanted, got) in expected.answers.iter_mut().zip(&mut found.answers) {
        if wanted.step != got.step {
            return Verdict::Different;
        }
        let of = |step: usize| transcript.steps[step].args.as_slice();
        let mut verdict = Verdict::Same;
        match (wanted.step, &mut wanted.value, &mut got.value) {
            (Some(_), Value::Array(wanted_all), Value::Array(got_all))
                if !wanted.executed.is_empty() && wanted_all.len() == got_all.len() =>
            {
                for ((wanted, got), step) in wanted_all.iter_mut().zip(got_all).zip(&wanted.executed) {
                    verdict = same_reply(rules, of(*step), wanted, got, accepted);
                    if verdict != Verdict::Same {
                        break;
                    }
                }
            }
            (step, wanted, got) => {
                verdict = same_reply(rules, step.map_or(&[], of), wanted, got, accepted);
            }
        }
        if verdict != Verdict::Same {
            return verdict;
        }
    }
    if alike { Verdict::Same } else { Verdict::Different }
}

fn same_reply(
    rules: &[&Rule],
    args: &[Vec<u8>],
    expected: &mut Value,
    found: &mut Value,
    accepted: &mut Vec<&'static str>,
) -> Verdict {
    for rule in rules {
        if expected == found {
            return Verdict::Same;
        }
        let Explain::Reply(explain) = rule.explain else { continue };
        match explain(&mut Case { args, expected, found }) {
            Verdict::Different => {}
            verdict => {
                accepted.push(rule.id);
                if verdict == Verdict::Parted {
                    return verdict;
                }
            }
        }
    }
    if expected == found { Verdict::Same } else { Verdict::Different }
}

fn divergence(transcript: &Transcript, at: usize, expected: &Moment, found: &Moment) -> Divergence {
    let shown = |moment: &Moment| {
        if moment.skipped {
            return "(left out)".to_owned();
        }
        let mut all = Vec::new();
        for answer in &moment.answers {
            all.push(match answer.step {
                Some(step) if step == at => answer.value.to_string(),
                Some(step) => format!("[{}] gets {}", transcript.steps[step], answer.value),
                None => format!("listener gets {}", answer.value),
            });
        }
        if !moment.answers.iter().any(|answer| answer.step == Some(at)) {
            all.insert(0, "(no reply yet)".to_owned());
        }
        all.join("; ")
    };
    let step = transcript.steps[at].to_string();
    Divergence { moment: at, step, expected: shown(expected), found: shown(found) }
}
