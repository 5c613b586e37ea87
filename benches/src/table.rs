//! The table, in markdown that reads well as plain text too.

use crate::cell::{Measure, Row};
use crate::compare::Measured;
use crate::latency::Percentiles;
use crate::trial::Trial;

const HEAD: [&str; 12] = [
    "cell",
    "Redis",
    "Wafka",
    "ratio",
    "target",
    "met",
    "CPU us/event R / W",
    "RSS MB R / W",
    "disk B/event R / W",
    "p50/p99/p999 us R",
    "p50/p99/p999 us W",
    "read back",
];

/// The table of these cells.
#[must_use]
pub fn render(measured: &[Measured]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for cell in measured {
        lines.extend(cell.cell.rows.iter().map(|row| line(cell, row)));
    }
    align(&lines)
}

fn line(measured: &Measured, row: &Row) -> [String; 12] {
    let figure = |trial: &Trial| trial.figure(row.measure).unwrap_or(f64::NAN);
    let (reference, subject) = measured.medians(figure);
    let both = |(reference, subject): (f64, f64), digits: usize| {
        format!("{reference:.digits$} / {subject:.digits$}")
    };
    let events: u64 = measured.rounds.iter().map(|round| round.reference.events + round.subject.events).sum();
    let times = |of: fn(&Percentiles) -> f64| measured.medians(|trial| of(&trial.round_trip));
    let (p50, p99, p999) = (times(|p| p.p50_us), times(|p| p.p99_us), times(|p| p.p999_us));
    [
        row.title.to_owned(),
        value(row.measure, reference),
        value(row.measure, subject),
        format!("{:.2}", measured.ratio(figure)),
        target(row),
        if measured.meets(row) { "yes" } else { "no" }.to_owned(),
        both(measured.medians(|trial| trial.server_cpu_us_per_event), 2),
        both(measured.medians(|trial| trial.resident_bytes as f64 / 1e6), 0),
        both(measured.medians(|trial| trial.disk_bytes_per_event), 0),
        format!("{:.0}/{:.0}/{:.0}", p50.0, p99.0, p999.0),
        format!("{:.0}/{:.0}/{:.0}", p50.1, p99.1, p999.1),
        format!("all {}", thousands(events)),
    ]
}

fn value(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Rate => format!("{}/s", thousands(value.round() as u64)),
        Measure::Cpu | Measure::StartUp => format!("{value:.3}"),
        Measure::Resident => format!("{value:.1}"),
        Measure::P50 | Measure::P99 => format!("{value:.0}"),
        Measure::SummaryGrowth | Measure::AckGrowth => format!("{value:.2} x"),
    }
}

fn target(row: &Row) -> String {
    let sign = if row.measure.higher_is_better() { ">=" } else { "<=" };
    let ratio = row.target.ratio.map(|ratio| format!("{sign} {ratio} x"));
    let figure = row.target.figure.map(|figure| format!("{sign} {figure}"));
    [ratio, figure].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A number with a comma between thousands.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lays out `lines`, the first of which is the head: the first column to the left, all others to the right.
pub(crate) fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0).max(3);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let cell = if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            text.push_str(&cell);
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let (dashes, end) = (width + 1, if column == 0 { "-" } else { ":" });
                text.push_str(&format!("|{}{end}", "-".repeat(dashes)));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::measured;

    #[test]
    fn every_row_of_every_cell_has_a_line_of_the_same_width() {
        let cells = [measured("always-50x64", &[(500e3, 1500e3)]), measured("restart", &[(500e3, 1500e3)])];
        let text = render(&cells);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 4);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let first: Vec<&str> = lines[2].split('|').map(str::trim).collect();
        assert_eq!(
            first[1..7],
            ["always, 50 x 64, 100 B", "500,000/s", "1,500,000/s", "3.00", ">= 2.5 x", "yes"]
        );
        assert_eq!(
            first[7..13],
            ["2.00 / 0.67", "50 / 50", "200 / 200", "100/200/12346", "100/200/12346", "all 2,000,000"]
        );
        let cpu: Vec<&str> = lines[3].split('|').map(str::trim).collect();
        assert_eq!(cpu[2..7], ["2.000", "0.667", "0.33", "<= 0.4 x, <= 0.7", "yes"]);
    }

    #[test]
    fn thousands_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), text);
        }
    }
}
