//! Puts marks in the place of what differs from run to run: the time, ids made of it, the order of what has none.
//!
//! A mark still tells as much as is determined: which of the ids given out it is, whether a time is now, long ago, or
//! an amount that the script gave.

use std::collections::HashMap;

use super::script::name;
use super::value::Value;

/// Idle times are alike within so many milliseconds: scripts use multiples of it, and run for much less.
const IDLE_STEP_MS: i64 = 250_000;

/// An idle time beyond this was made with a time near 1970.
const IDLE_LONG_MS: i64 = 100_000_000_000;

/// Times to live are alike within so many milliseconds.
const TTL_STEP_MS: i64 = 50_000;

/// A time to live beyond this was given as a point in time, and stays as it is.
const TTL_LONG_MS: i64 = 20_000_000_000;

/// Auto-generated ids begin with so many digits; those that scripts name are shorter.
const AUTO_DIGITS: usize = 13;

/// Masks the replies of one transcript, in their order.
#[derive(Debug)]
pub struct Mask {
    autos: HashMap<Vec<u8>, usize>,
    now_ms: i64,
}

impl Mask {
    /// For a transcript that ended at this time, in Unix milliseconds.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Mask { autos: HashMap::new(), now_ms }
    }

    /// Masks the reply to a command.
    pub fn reply(&mut self, args: &[Vec<u8>], value: &mut Value) {
        self.ids(value);
        if is_help(args) && matches!(value, Value::Array(_)) {
            *value = Value::Masked("help".to_owned());
            return;
        }
        match name(args).as_str() {
            "XPENDING" => pending(value),
            "XINFO" => self.info(value),
            "TTL" => self.ttl(value, 1_000, false),
            "PTTL" => self.ttl(value, 1, false),
            "EXPIRETIME" => self.ttl(value, 1_000, true),
            "PEXPIRETIME" => self.ttl(value, 1, true),
            "OBJECT" if args.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"idletime")) => {
                mask_int(value, |_| "idle".to_owned());
            }
            "KEYS" => sort(value),
            "SCAN" => {
                if let Some([_, keys]) = value.elements_mut().map(Vec::as_mut_slice) {
                    sort(keys);
                }
            }
            "RANDOMKEY" => {
                if matches!(value, Value::Bulk(_)) {
                    *value = Value::Masked("a key".to_owned());
                }
            }
            _ => {}
        }
    }

    /// Ids made of the time are numbered as they appear.
    fn ids(&mut self, value: &mut Value) {
        if let Value::Bulk(bytes) = value
            && is_auto(bytes)
        {
            let next = self.autos.len() + 1;
            let number = *self.autos.entry(bytes.clone()).or_insert(next);
            *value = Value::Masked(format!("auto id {number}"));
        } else if let Some(all) = value.elements_mut() {
            all.iter_mut().for_each(|value| self.ids(value));
        }
    }

    /// `XINFO`, whatever it is about: times stand behind their names, or in lists of pending entries.
    fn info(&self, value: &mut Value) {
        let Some(all) = value.elements_mut() else { return };
        let mut key = None;
        for value in all.iter_mut() {
            match key.as_deref() {
                Some("idle" | "inactive") => mask_int(value, idle),
                Some("seen-time" | "active-time") => mask_int(value, |at| self.point(at)),
                Some("radix-tree-keys" | "radix-tree-nodes") => mask_int(value, |_| "n".to_owned()),
                Some("pending") => self.pending_lists(value),
                _ => self.info(value),
            }
            key = value.text().map(str::to_owned);
        }
    }

    /// `[id, consumer, time, count]` of a group, `[id, time, count]` of a consumer.
    fn pending_lists(&self, value: &mut Value) {
        for entry in value.elements_mut().into_iter().flatten() {
            let Some(parts) = entry.elements_mut() else { continue };
            let at = parts.len().wrapping_sub(2);
            if let Some(time) = parts.get_mut(at) {
                mask_int(time, |at| self.point(at));
            }
        }
    }

    fn point(&self, at_ms: i64) -> String {
        idle(self.now_ms.saturating_sub(at_ms))
    }

    /// A time to live, or with `absolute` the point in time when it ends, in units of so many milliseconds.
    fn ttl(&self, value: &mut Value, unit_ms: i64, absolute: bool) {
        let Value::Int(amount) = *value else { return };
        let now_ms = if absolute { self.now_ms } else { 0 };
        let left_ms = amount.saturating_mul(unit_ms).saturating_sub(now_ms);
        if amount >= 0 && left_ms < TTL_LONG_MS {
            let steps = (left_ms + TTL_STEP_MS / 2).div_euclid(TTL_STEP_MS);
            *value = Value::Masked(format!("about {} s", steps * TTL_STEP_MS / 1_000));
        } else if amount >= 0 && !absolute {
            *value = Value::Masked("very long".to_owned());
        }
    }
}

/// Whether a command only asks for help, whose text is each server's own.
fn is_help(args: &[Vec<u8>]) -> bool {
    args.len() == 2 && args[1].eq_ignore_ascii_case(b"help")
}

fn is_auto(bytes: &[u8]) -> bool {
    let dash = bytes.iter().position(|byte| *byte == b'-');
    let Some(dash) = dash.filter(|dash| *dash == AUTO_DIGITS) else { return false };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(&bytes[..dash]) && digits(&bytes[dash + 1..])
}

/// `[id, consumer, idle, count]` of `XPENDING` with a range.
fn pending(value: &mut Value) {
    for entry in value.elements_mut().into_iter().flatten() {
        if let Some([_, _, time, _]) = entry.elements_mut().map(Vec::as_mut_slice) {
            mask_int(time, idle);
        }
    }
}

/// An idle time. Where nothing was, or less, it says so.
fn idle(ms: i64) -> String {
    match ms {
        ..0 => "never".to_owned(),
        0..IDLE_STEP_MS => "just now".to_owned(),
        IDLE_LONG_MS.. => "long ago".to_owned(),
        _ => format!("{} s ago", ms / IDLE_STEP_MS * IDLE_STEP_MS / 1_000),
    }
}

fn mask_int(value: &mut Value, mark: impl Fn(i64) -> String) {
    if let Value::Int(number) = *value
        && number >= 0
    {
        *value = Value::Masked(mark(number));
    }
}

fn sort(value: &mut Value) {
    if let Some(all) = value.elements_mut() {
        all.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::script::Step;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn masked(words: &str, wire: &str) -> String {
        let (mut value, _) = Value::parse(wire.as_bytes()).unwrap().unwrap();
        Mask::new(NOW_MS).reply(&Step::new(0, words).args, &mut value);
        value.to_string()
    }

    #[test]
    fn ids_of_the_time_are_numbered() {
        let mut mask = Mask::new(NOW_MS);
        let args = Step::new(0, "XRANGE s - +").args;
        let mut both = Value::Array(vec![Value::bulk("1800000000000-0"), Value::bulk("1800000000000-1")]);
        mask.reply(&args, &mut both);
        assert_eq!(both.to_string(), "[<auto id 1>, <auto id 2>]");
        let mut again = Value::bulk("1800000000000-1");
        mask.reply(&args, &mut again);
        assert_eq!(again.to_string(), "<auto id 2>");
        assert_eq!(masked("XADD s 1-1 f v", "$3\r\n1-1\r\n"), "\"1-1\"");
    }

    #[test]
    fn times_tell_what_is_determined() {
        assert_eq!(masked("TTL s", ":100\r\n"), masked("TTL s", ":99\r\n"));
        assert_eq!(masked("TTL s", ":-2\r\n"), "-2");
        assert_eq!(masked("EXPIRETIME s", ":4102444800\r\n"), "4102444800");
        assert_eq!(
            masked("XPENDING s g - + 9", "*1\r\n*4\r\n+1-1\r\n+c\r\n:500003\r\n:2\r\n"),
            "[[+1-1, +c, <500 s ago>, 2]]"
        );
        let consumer = "%2\r\n+seen-time\r\n:1799999999999\r\n+pending\r\n*1\r\n*3\r\n+1-1\r\n:0\r\n:1\r\n";
        assert_eq!(
            masked("XINFO STREAM s FULL", consumer),
            "{+seen-time: <just now>, +pending: [[+1-1, <long ago>, 1]]}"
        );
        assert_eq!(masked("XINFO CONSUMERS s g", "*2\r\n+inactive\r\n:-1\r\n"), "[+inactive, -1]");
    }

    #[test]
    fn what_has_no_order_is_sorted() {
        assert_eq!(masked("KEYS *", "*2\r\n+b\r\n+a\r\n"), "[+a, +b]");
        assert_eq!(masked("SCAN 0", "*2\r\n+0\r\n*2\r\n+b\r\n+a\r\n"), "[+0, [+a, +b]]");
        assert_eq!(masked("xgroup help", "*1\r\n+XGROUP\r\n"), "<help>");
    }
}
