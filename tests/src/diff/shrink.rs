//! Finds the shortest script that still shows a difference.

use super::script::Script;

/// Words that need nothing of their own: in the place of a command they show that it does not matter.
const ATTEMPTS_MAX: usize = 2_000;

/// Makes a script shorter as long as it `fails`: first by leaving out steps, then arguments.
pub fn shrink(script: Script, mut fails: impl FnMut(&Script) -> bool) -> Script {
    let mut attempts = 0;
    let mut fails = |script: &Script| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX && fails(script)
    };
    let mut best = script;
    loop {
        let before = (best.steps.len(), arguments(&best));
        best = fewer_steps(best, &mut fails);
        best = fewer_arguments(best, &mut fails);
        best = plainer(best, &mut fails);
        if before == (best.steps.len(), arguments(&best)) {
            return best;
        }
    }
}

fn arguments(script: &Script) -> usize {
    script.steps.iter().map(|step| step.args.len()).sum()
}

/// Leaves out runs of steps, long ones first. From the end: what comes after the difference matters least.
fn fewer_steps(mut best: Script, fails: &mut impl FnMut(&Script) -> bool) -> Script {
    let mut len = best.steps.len().div_ceil(2);
    while len > 0 {
        let mut end = best.steps.len();
        while end > 0 {
            let begin = end.saturating_sub(len);
            let mut shorter = best.clone();
            shorter.steps.drain(begin..end);
            if fails(&shorter) {
                best = shorter;
            }
            end = begin;
        }
        len /= 2;
    }
    best
}

/// Leaves out single arguments, and pairs, which options with a value are.
fn fewer_arguments(mut best: Script, fails: &mut impl FnMut(&Script) -> bool) -> Script {
    for step in (0..best.steps.len()).rev() {
        // An error would repeat a client's id, which is another one on each server.
        if best.steps[step].args.iter().any(|arg| arg.starts_with(b"<id:")) {
            continue;
        }
        for len in [2, 1] {
            let mut at = best.steps[step].args.len();
            while at > len {
                at -= 1;
                let begin = (at + 1).saturating_sub(len).max(1);
                if at + 1 > best.steps[step].args.len() {
                    continue;
                }
                let mut shorter = best.clone();
                shorter.steps[step].args.drain(begin..=at);
                if fails(&shorter) {
                    best = shorter;
                }
            }
        }
    }
    best
}

/// Everything on few connections, all with RESP2, nobody listening, if that will do.
fn plainer(mut best: Script, fails: &mut impl FnMut(&Script) -> bool) -> Script {
    let mut attempt = |change: &dyn Fn(&mut Script)| {
        let mut plainer = best.clone();
        change(&mut plainer);
        if plainer != best && fails(&plainer) {
            best = plainer;
        }
    };
    attempt(&|script| script.listens = false);
    attempt(&|script| script.protocols.fill(2));
    for conn in 1..4 {
        attempt(&|script| {
            script.steps.iter_mut().for_each(|step| step.conn -= usize::from(step.conn == conn) * conn)
        });
    }
    let used = best.steps.iter().map(|step| step.conn).max().unwrap_or(0);
    let mut fewer = best.clone();
    fewer.protocols.truncate(used + 1);
    if fewer != best && fails(&fewer) {
        best = fewer;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::script::Step;

    #[test]
    fn only_what_matters_is_left() {
        let words = ["PING", "XADD a MAXLEN 5 1-1 f v", "PING", "DEL b", "XLEN a", "PING"];
        let steps = words.iter().map(|words| Step::new(1, words)).collect();
        let script = Script { protocols: vec![2, 3, 3], listens: true, steps };
        let has = |script: &Script, words: &[&str]| {
            script
                .steps
                .iter()
                .any(|step| words.iter().all(|word| step.args.iter().any(|arg| arg == word.as_bytes())))
        };
        let shortest = shrink(script, |script| has(script, &["XADD", "1-1"]) && has(script, &["XLEN"]));
        assert_eq!(shortest.to_string(), "connections 2\n0: XADD 1-1\n0: XLEN\n");
    }
}
