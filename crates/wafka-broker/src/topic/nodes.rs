//! The nodes that Redis would keep a topic's events in: what `~` rounds to.
//!
//! A node takes a fixed number of events, one after the other as they are added; whether some of them are deleted later
//! does not matter, but when none is left of the newest node the next event begins another. Events are counted from the
//! topic's beginning by their ordinals, over all partitions. After a restart the bounds are where they would be if no node
//! had ever been cut short.

use std::collections::VecDeque;

use wafka_core::EventId;

/// So many changes of the rhythm are remembered.
const RUNS_MAX: usize = 4096;

/// Nodes of one size, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The ordinal of the first event.
    first: u64,
    /// Events per node.
    size: u64,
}

/// Where nodes begin and end.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    /// Ascending, and never empty.
    runs: VecDeque<Run>,
    /// The ordinal of the next event.
    next: u64,
    /// The first event of the newest node.
    tail_first: u64,
    tail_id: EventId,
    /// How many events of the newest node are live; none only when that is certain.
    tail_live: u64,
}

/// The number of events that a node takes; 0 stands for any number.
fn entries(setting: u64) -> u64 {
    if setting == 0 { u64::MAX } else { setting }
}

impl Nodes {
    /// Of a topic that had `added` events so far, of which `live` are left.
    pub(crate) fn new(added: u64, live: u64, setting: u64) -> Self {
        let run = Run { first: 0, size: entries(setting) };
        let tail_first = run.start_of(added.saturating_sub(1));
        // Which events of the newest node are left is not known: it is taken not to be empty.
        Nodes {
            runs: VecDeque::from([run]),
            next: added,
            tail_first,
            tail_id: EventId::MAX,
            tail_live: live.min(1),
        }
    }

    /// An event was added; `setting` is how many a new node takes.
    pub(crate) fn added(&mut self, id: EventId, setting: u64) {
        let size = entries(setting);
        let in_tail = self.next - self.tail_first;
        if self.tail_live == 0 || in_tail >= size {
            self.begin(self.next, size);
            self.tail_first = self.next;
            self.tail_id = id;
            self.tail_live = 0;
        } else if self.runs.back().is_some_and(|run| run.size != size) {
            // The newest node goes on with another measure.
            self.begin(self.tail_first, size);
        }
        self.tail_live += 1;
        self.next += 1;
    }

    /// A node of `size` events begins at `first`.
    fn begin(&mut self, first: u64, size: u64) {
        match self.runs.back_mut() {
            Some(run) if run.size == size && run.start_of(first) == first => {}
            Some(run) if run.first == first => run.size = size,
            _ => {
                if self.runs.len() >= RUNS_MAX {
                    self.runs.pop_front();
                }
                self.runs.push_back(Run { first, size });
            }
        }
    }

    /// A live event was deleted.
    pub(crate) fn deleted(&mut self, id: EventId) {
        if id >= self.tail_id {
            self.tail_live = self.tail_live.saturating_sub(1);
        }
    }

    /// Every event up to `floor` was trimmed, `live` are left.
    pub(crate) fn trimmed(&mut self, floor: EventId, live: u64) {
        if floor >= self.tail_id || live == 0 {
            self.tail_live = live;
        }
    }

    /// Events were lost: of all that was added, only so many count.
    pub(crate) fn lost(&mut self, added: u64) {
        self.next = added;
        while self.runs.len() > 1 && self.runs.back().is_some_and(|run| run.first > added) {
            self.runs.pop_back();
        }
        self.tail_first = self.start_of(added.saturating_sub(1)).min(added);
        self.tail_id = EventId::MAX;
        self.tail_live = added.min(1);
    }

    /// How many events were added.
    pub(crate) fn added_so_far(&self) -> u64 {
        self.next
    }

    /// The ordinal of the first event behind the node that holds `ordinal`.
    pub(crate) fn end_of(&self, ordinal: u64) -> u64 {
        let (run, next) = self.run_of(ordinal);
        let end = run.start_of(ordinal).saturating_add(run.size);
        next.map_or(end, |next| end.min(next.first))
    }

    /// The ordinal of the first event of the node that holds `ordinal`.
    pub(crate) fn start_of(&self, ordinal: u64) -> u64 {
        self.run_of(ordinal).0.start_of(ordinal)
    }

    fn run_of(&self, ordinal: u64) -> (Run, Option<&Run>) {
        let at = self.runs.partition_point(|run| run.first <= ordinal);
        let run = at.checked_sub(1).and_then(|at| self.runs.get(at)).copied();
        let size = self.runs.front().map_or(u64::MAX, |run| run.size);
        (run.unwrap_or(Run { first: 0, size }), self.runs.get(at))
    }
}

impl Run {
    fn start_of(&self, ordinal: u64) -> u64 {
        let into = ordinal.saturating_sub(self.first);
        self.first + into / self.size * self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> EventId {
        EventId::new(n, 0)
    }

    /// The first ordinals of the nodes of `nodes`.
    fn starts(nodes: &Nodes) -> Vec<u64> {
        let mut starts = vec![0];
        while let Some(end) = starts.last().map(|last| nodes.end_of(*last)).filter(|end| *end < nodes.next) {
            starts.push(end);
        }
        starts
    }

    #[test]
    fn nodes_take_their_number_of_events() {
        let mut nodes = Nodes::new(0, 0, 10);
        (0..25).for_each(|n| nodes.added(id(n), 10));
        nodes.deleted(id(3));
        assert_eq!(starts(&nodes), [0, 10, 20]);
        // The newest one empties: the next event begins another.
        (20..25).for_each(|n| nodes.deleted(id(n)));
        (25..40).for_each(|n| nodes.added(id(n), 10));
        assert_eq!(starts(&nodes), [0, 10, 20, 25, 35]);
        assert_eq!((nodes.start_of(24), nodes.end_of(24)), (20, 25));
        nodes.trimmed(id(39), 0);
        nodes.added(id(40), 10);
        assert_eq!(starts(&nodes), [0, 10, 20, 25, 35, 40]);
    }

    #[test]
    fn the_setting_holds_from_the_next_event_on() {
        let mut nodes = Nodes::new(0, 0, 10);
        (0..15).for_each(|n| nodes.added(id(n), 10));
        (15..17).for_each(|n| nodes.added(id(n), 3));
        assert_eq!(starts(&nodes), [0, 10, 15]);
        (17..30).for_each(|n| nodes.added(id(n), 0));
        assert_eq!(starts(&nodes), [0, 10, 15]);
        (30..33).for_each(|n| nodes.added(id(n), 2));
        assert_eq!(starts(&nodes), [0, 10, 15, 30, 32]);
    }

    #[test]
    fn what_was_lost_does_not_count() {
        let mut nodes = Nodes::new(0, 0, 10);
        (0..25).for_each(|n| nodes.added(id(n), 10));
        nodes.lost(18);
        (30..34).for_each(|n| nodes.added(id(n), 10));
        assert_eq!(starts(&nodes), [0, 10, 20]);
        let reopened = Nodes::new(0, 0, 10);
        assert_eq!(reopened.end_of(0), 10);
    }
}
