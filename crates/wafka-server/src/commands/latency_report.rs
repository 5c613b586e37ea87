//! What `LATENCY GRAPH` draws and `LATENCY DOCTOR` says.

use std::fmt::Write;

use crate::observe::Spikes;

/// Rows of a drawing.
const ROWS: u64 = 4;
/// Steps within a row, from its bottom to its top.
const STEPS: [char; 3] = ['_', 'o', '#'];

/// Draws the spikes of an event: a column each, the time since then below it.
pub(super) fn graph(event: &str, spikes: &Spikes, now_secs: u64) -> String {
    let millis = || spikes.samples.iter().map(|sample| sample.millis);
    let (high, low) = (millis().max().unwrap_or(0), millis().min().unwrap_or(0));
    let mut text =
        format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", spikes.max_millis);
    text.push_str(&"-".repeat(80));
    text.push('\n');
    let steps = u128::from(ROWS) * STEPS.len() as u128;
    // The step at which a column ends.
    let height = |millis: u64| match high - low {
        0 => 0,
        range => (u128::from(millis - low) * steps / u128::from(range)).min(steps - 1),
    };
    for row in (0..ROWS).rev() {
        let bottom = u128::from(row) * STEPS.len() as u128;
        text.extend(millis().map(|millis| match height(millis).checked_sub(bottom) {
            None => ' ',
            // Within a few steps, so it fits.
            Some(above) => STEPS.get(above as usize).copied().unwrap_or('|'),
        }));
        text.push('\n');
    }
    let ages: Vec<String> =
        spikes.samples.iter().map(|sample| age(now_secs.saturating_sub(sample.at_secs))).collect();
    let longest = ages.iter().map(String::len).max().unwrap_or(0);
    text.push('\n');
    for at in 0..longest {
        text.extend(ages.iter().map(|age| age.chars().nth(at).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// A time ago in one unit: `12s`.
fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86_400 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// Says what the spikes are and what may help.
pub(super) fn doctor(threshold_millis: u32, events: &[(&'static str, Spikes)]) -> String {
    if events.is_empty() {
        return if threshold_millis == 0 {
            "Latency spikes are not watched for. To have them noted: CONFIG SET latency-monitor-threshold \
             <milliseconds>.\n"
                .to_owned()
        } else {
            format!("No latency spike of {threshold_millis} ms or more was seen.\n")
        };
    }
    let mut text = String::from("Latency spikes were seen:\n\n");
    for (number, (event, spikes)) in (1..).zip(events) {
        let count = spikes.samples.len().max(1) as u64;
        let average = spikes.samples.iter().map(|sample| sample.millis).sum::<u64>() / count;
        let deviation =
            spikes.samples.iter().map(|sample| sample.millis.abs_diff(average)).sum::<u64>() / count;
        let span = match (spikes.samples.front(), spikes.samples.back()) {
            (Some(first), Some(last)) => last.at_secs.saturating_sub(first.at_secs),
            _ => 0,
        };
        let period = span as f64 / count.saturating_sub(1).max(1) as f64;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{number}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, \
             period {period:.2} sec). Worst all time event {}ms.",
            spikes.max_millis
        );
    }
    text.push_str(
        "\nWhat may help:\n\n\
         - SLOWLOG GET tells which commands took long; ask for less at a time, for example with COUNT.\n\
         - A command that writes waits for the disk with storage.fsync = \"always\": a slow one shows here. \
         CONFIG SET appendfsync everysec does not wait.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Sample;

    fn spikes(samples: &[(u64, u64)]) -> Spikes {
        let samples: std::collections::VecDeque<Sample> =
            samples.iter().map(|(at_secs, millis)| Sample { at_secs: *at_secs, millis: *millis }).collect();
        let max_millis = samples.iter().map(|sample| sample.millis).max().unwrap_or(0);
        Spikes { samples, max_millis }
    }

    #[test]
    fn columns_rise_with_the_spikes() {
        let drawn = graph("command", &spikes(&[(10, 50), (11, 30), (12, 30), (70, 20)]), 130);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "command - high 50 ms, low 20 ms (all time high 50 ms)");
        assert_eq!(lines[2..6], ["#   ", "|   ", "|oo ", "|||_"]);
        assert_eq!(lines[6..], ["", "2111", "mmmm"]);
        let one = graph("command", &spikes(&[(10, 50)]), 22);
        assert_eq!(one.lines().skip(2).collect::<Vec<_>>(), [" ", " ", " ", "_", "", "1", "2", "s"]);
    }

    #[test]
    fn spikes_are_summed_up() {
        let report = doctor(10, &[("command", spikes(&[(1, 50), (2, 30), (3, 30), (4, 20)]))]);
        let line = "1. command: 4 latency spikes (average 32ms, mean deviation 8ms, period 1.00 sec). Worst all \
                    time event 50ms.";
        assert!(report.lines().any(|found| found == line), "{report}");
        assert!(doctor(0, &[]).contains("not watched for"));
        assert!(doctor(7, &[]).contains("7 ms"));
    }
}
