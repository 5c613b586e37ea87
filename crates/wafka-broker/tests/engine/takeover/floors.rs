//! Where the trim floor stands is known without looking for it, and what was counted once is not counted again.

use std::sync::atomic::Ordering;

use wafka_broker::{FsyncPolicy, GroupStart, LagMode};
use wafka_core::EventId;

use super::{Servers, read_all};
use crate::support::{NEVER, ids, maxlen};

impl Servers {
    /// Another server takes over; returns how often it asked for lines of the partitions.
    fn requests_of_takeover(&mut self) -> u64 {
        self.stop();
        self.storage.requests.store(0, Ordering::Relaxed);
        self.bench.start().unwrap();
        self.storage.requests.load(Ordering::Relaxed)
    }

    /// Trims, and lets the lines stand.
    fn trim_only(&mut self, max: usize) {
        self.bench.trim(&self.topic(), &maxlen(max as u64)).unwrap();
        self.live.drain(..self.live.len() - max);
    }

    /// The same for a deletion of the events with these places.
    fn delete_only(&mut self, places: impl Iterator<Item = usize>) {
        let gone: Vec<EventId> = places.map(|at| self.live[at]).collect();
        self.bench.delete(&self.topic(), &gone).unwrap();
        self.live.retain(|id| gone.binary_search(id).is_err());
    }

    fn check_length(&self) {
        assert_eq!(self.topic().len(None).unwrap(), self.live.len() as u64);
        assert_eq!(ids(&read_all(&self.topic())), self.live);
    }
}

#[test]
fn nothing_is_read_to_find_the_floor() {
    for partitions in [1, 3] {
        let mut servers = Servers::new(partitions);
        servers.bench.options.reclaim = NEVER;
        servers.take_over();
        servers.add(3_000);
        servers.trim_only(1_700);
        // The last line of each log tells the last id.
        let last_lines = u64::from(partitions);
        assert_eq!(servers.requests_of_takeover(), last_lines);
        servers.check_length();
        // Deleted events whose lines still stand, at both sides of the floor; then the first of all.
        servers.delete_only((700..900).step_by(3));
        servers.trim_only(1_000);
        servers.delete_only((0..5).chain([40, 77]));
        servers.add(100);
        // One look for each log where an event that was deleted stands.
        assert!(servers.requests_of_takeover() <= 2 * last_lines);
        servers.check_length();
        servers.trim_only(0);
        assert_eq!(servers.requests_of_takeover(), last_lines);
        assert_eq!(servers.topic().len(None).unwrap(), 0);
        servers.add(10);
        servers.check_length();
    }
}

#[test]
fn nor_behind_rewrites_and_snapshots() {
    let mut servers = Servers::new(2);
    servers.add(3_000);
    servers.delete(|at| at % 7 == 2);
    servers.trim(1_500);
    servers.bench.options.reclaim = NEVER;
    assert_eq!(servers.requests_of_takeover(), 2);
    servers.trim_only(1_100);
    servers.bench.options.journal_snapshot_bytes = 0;
    assert_eq!(servers.requests_of_takeover(), 2);
    servers.delete_only([3, 50].into_iter());
    servers.delete_only([30, 31].into_iter());
    assert!(servers.requests_of_takeover() <= 4);
    servers.check_length();
}

/// Of events that were not synced others may take the places.
#[test]
fn the_floor_is_looked_for_where_events_may_be_lost() {
    let mut servers = Servers::new(1);
    servers.bench.options.reclaim = NEVER;
    servers.bench.options.fsync = FsyncPolicy::No;
    servers.take_over();
    servers.add(500);
    servers.trim_only(10);
    servers.stop();
    let last = *servers.live.last().unwrap();
    servers.cut("t-1", 480);
    servers.live.clear();
    servers.append(480, (1..=20).map(|n| EventId::new(last.ms, last.seq + n)));
    assert!(servers.requests_of_takeover() > 1);
    servers.check_length();
}

/// What should not be, durable lines that are lost, is found out.
#[test]
fn a_floor_behind_the_end_is_not_believed() {
    let mut servers = Servers::new(1);
    servers.bench.options.reclaim = NEVER;
    servers.take_over();
    servers.add(500);
    servers.trim_only(10);
    servers.stop();
    servers.cut("t-1", 480);
    servers.live.clear();
    servers.take_over();
    servers.check_length();
    servers.add(20);
    servers.take_over();
    servers.check_length();
}

#[test]
fn what_was_counted_is_not_counted_again() {
    let mut servers = Servers::new(1);
    servers.add(30_000);
    servers.delete(|at| at % 3 == 1);
    servers.take_over();
    let topic = servers.topic();
    let ticket = topic.create_group(b"g", GroupStart::Id(servers.live[11_111]), None).unwrap();
    let committed = Option::from(ticket).map(|ticket| wafka_broker::wait(topic.committed(ticket)));
    let lag = || {
        servers.storage.read.store(0, Ordering::Relaxed);
        servers.storage.requests.store(0, Ordering::Relaxed);
        let groups = topic.group_infos(LagMode::Exact).unwrap();
        assert_eq!(groups[0].lag, Some(20_000 - 11_112));
        (servers.storage.read.load(Ordering::Relaxed), servers.storage.requests.load(Ordering::Relaxed))
    };
    drop(committed);
    let (first, second) = (lag(), lag());
    // The lines near the id, and no others.
    assert!(second.0 <= 9 << 10 && second.1 <= 2, "{second:?} behind {first:?}");
}
