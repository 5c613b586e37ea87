//! Latencies of round trips, in nanoseconds, with three significant digits up to one minute.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

const HIGHEST_NS: u64 = 60_000_000_000;

/// Counts round trips by their length.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

/// The percentiles that are printed, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the round trips took at most this, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 took at most this, in microseconds.
    pub p99_us: f64,
    /// 999 of 1000 took at most this, in microseconds.
    pub p999_us: f64,
}

impl Latency {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self(
            Histogram::new_with_max(HIGHEST_NS, 3)
                .expect("invariant: 3 digits and 1 minute are valid bounds"),
        )
    }

    /// Counts one round trip; one longer than a minute counts as a minute.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those that were counted elsewhere.
    pub fn add(&mut self, other: &Latency) {
        // Both have the same bounds, so nothing of it is out of range.
        self.0 += &other.0;
    }

    /// How many round trips were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The percentiles; all zero when nothing was counted.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth_of_the_exact_ones() {
        let mut latency = Latency::new();
        for micros in 1..=10_000 {
            latency.record(Duration::from_micros(micros));
        }
        let got = latency.percentiles();
        for (got, exact) in [(got.p50_us, 5_000.0), (got.p99_us, 9_900.0), (got.p999_us, 9_990.0)] {
            assert!((got / exact - 1.0).abs() <= 0.001, "{got} for {exact}");
        }
        assert_eq!(latency.count(), 10_000);
    }

    #[test]
    fn a_very_long_round_trip_is_counted_as_the_longest() {
        let mut latency = Latency::new();
        latency.record(Duration::from_secs(3600));
        assert_eq!(latency.count(), 1);
        let got = latency.percentiles().p50_us / 60e6;
        assert!((got - 1.0).abs() <= 0.001, "{got}");
    }

    #[test]
    fn an_empty_histogram_has_zero_percentiles() {
        let zero = Percentiles { p50_us: 0.0, p99_us: 0.0, p999_us: 0.0 };
        assert_eq!(Latency::new().percentiles(), zero);
    }
}
