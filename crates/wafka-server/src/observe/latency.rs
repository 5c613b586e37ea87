//! Latency spikes: when something took longer than an operator wants it to, by kind of event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Samples kept of an event, one per second at most.
const SAMPLES_MAX: usize = 160;

/// The longest spike within one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When, in seconds since 1970.
    pub at_secs: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// The spikes of one kind of event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spikes {
    /// The latest last.
    pub samples: VecDeque<Sample>,
    /// The longest ever, in milliseconds.
    pub max_millis: u64,
}

/// All spikes.
#[derive(Default)]
pub struct Latency {
    /// Milliseconds from which on something is a spike; 0 is never.
    threshold_millis: AtomicU32,
    events: Mutex<BTreeMap<&'static str, Spikes>>,
}

impl Latency {
    /// Whether something that took so long is a spike.
    #[must_use]
    pub fn wants(&self, took: Duration) -> bool {
        let threshold = self.threshold_millis();
        threshold > 0 && took >= Duration::from_millis(u64::from(threshold))
    }

    /// Notes a spike.
    pub fn add(&self, event: &'static str, at_secs: u64, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut events = self.events.lock();
        let spikes = events.entry(event).or_default();
        spikes.max_millis = spikes.max_millis.max(millis);
        match spikes.samples.back_mut() {
            Some(last) if last.at_secs == at_secs => last.millis = last.millis.max(millis),
            _ => {
                if spikes.samples.len() >= SAMPLES_MAX {
                    spikes.samples.pop_front();
                }
                spikes.samples.push_back(Sample { at_secs, millis });
            }
        }
    }

    /// The spikes of an event, by its name in any case.
    #[must_use]
    pub fn event(&self, name: &[u8]) -> Option<(&'static str, Spikes)> {
        let events = self.events.lock();
        let found = events.iter().find(|(event, _)| event.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(event, spikes)| (*event, spikes.clone()))
    }

    /// All events with their spikes.
    #[must_use]
    pub fn events(&self) -> Vec<(&'static str, Spikes)> {
        self.events.lock().iter().map(|(event, spikes)| (*event, spikes.clone())).collect()
    }

    /// Forgets the spikes of these events, of all without any; of how many that was.
    pub fn clear(&self, names: &[&[u8]]) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        let named = |event: &str| names.iter().any(|name| event.as_bytes().eq_ignore_ascii_case(name));
        events.retain(|event, _| !names.is_empty() && !named(event));
        before - events.len()
    }

    /// Milliseconds from which on something is a spike; 0 is never.
    #[must_use]
    pub fn threshold_millis(&self) -> u32 {
        self.threshold_millis.load(Ordering::Relaxed)
    }

    /// Sets from how many milliseconds on something is a spike.
    pub fn set_threshold_millis(&self, millis: u32) {
        self.threshold_millis.store(millis, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second_and_no_more_than_there_is_room_for() {
        let latency = Latency::default();
        assert!(!latency.wants(Duration::from_secs(9)));
        latency.set_threshold_millis(10);
        assert!(latency.wants(Duration::from_millis(10)) && !latency.wants(Duration::from_millis(9)));
        for (at, millis) in [(1, 50), (1, 70), (1, 60), (2, 20)] {
            latency.add("command", at, Duration::from_millis(millis));
        }
        let (_, spikes) = latency.event(b"COMMAND").unwrap();
        assert_eq!(spikes.max_millis, 70);
        assert_eq!(spikes.samples, [Sample { at_secs: 1, millis: 70 }, Sample { at_secs: 2, millis: 20 }]);
        for at in 0..1000 {
            latency.add("command", at, Duration::from_millis(11));
        }
        assert_eq!(latency.event(b"command").unwrap().1.samples.len(), SAMPLES_MAX);
        latency.add("fast-command", 1, Duration::from_millis(11));
        assert_eq!(latency.clear(&[b"nope"]), 0);
        assert_eq!(latency.clear(&[b"command"]), 1);
        assert_eq!(latency.clear(&[]), 1);
    }
}
