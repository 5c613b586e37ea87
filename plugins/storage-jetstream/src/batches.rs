//! How lines go: by themselves, or together as one of the engine's *atomic batches* (nats-server 2.12 or later).
//!
//! The engine stores a batch as a whole or not at all. With one replica it syncs each message that comes by itself, and
//! a batch a few times, however long it is. With several replicas it groups what comes on its own, and a batch spares
//! work: one proposal and one acknowledgement for all its lines.

/// So many lines of a log are on their way at once, at most: no message takes a sequence that is higher than the last
/// acknowledged line's by more than this.
pub(crate) const IN_FLIGHT_MAX: u64 = 2000;
/// So many lines are in one batch, at most. It is the engine's own limit, unless its servers are configured to another.
const BATCH_MAX: u64 = 1000;
/// So many bytes of lines, if it is more than one: the engine holds a batch in memory.
const BATCH_BYTES: usize = 4 << 20;
/// With one replica a batch takes as long as so many single lines, by measurement: it makes and syncs files of its own.
const WORTH_IT_UNREPLICATED: u64 = 16;
/// With several it pays from so many lines on.
const WORTH_IT_REPLICATED: u64 = 8;
/// So often a batch is tried again, before the lines go by themselves: it may be the batch that is refused.
const FRUITLESS_MAX: u32 = 3;

/// The stream takes no batches.
const DISABLED: u64 = 10_174;
/// The batch is longer than the servers are configured to take.
const TOO_LARGE: u64 = 10_199;

/// What is sent next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// So many lines as one batch.
    Batch(u64),
    /// So many lines, each by itself.
    Single(u64),
    /// Nothing, until something is acknowledged or there is more to send.
    Hold,
}

/// How a log's lines are grouped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batches {
    /// Fewer lines go by themselves.
    min: u64,
    /// More lines go as several batches; with less than two there are none.
    max: u64,
    /// The engine syncs each single message: what comes meanwhile waits, and goes together.
    syncs_each: bool,
}

impl Batches {
    /// For a stream with so many replicas that takes batches, or does not.
    pub(crate) fn new(replicas: u8, allowed: bool) -> Self {
        let min = if replicas > 1 { WORTH_IT_REPLICATED } else { WORTH_IT_UNREPLICATED };
        Batches { min, max: if allowed { BATCH_MAX } else { 0 }, syncs_each: replicas <= 1 }
    }

    /// Draws the conclusion from the number of the engine's refusal.
    pub(crate) fn refused(&mut self, code: u64) {
        match code {
            DISABLED => self.max = 0,
            TOO_LARGE => self.max /= 2,
            _ => {}
        }
    }

    /// Groups lines of these lengths that wait behind `in_flight` others. `fruitless` counts the attempts since something
    /// was last acknowledged.
    pub(crate) fn next(
        &self,
        in_flight: u64,
        fruitless: u32,
        lengths: impl ExactSizeIterator<Item = usize>,
    ) -> Group {
        let waiting = lengths.len() as u64;
        let room = IN_FLIGHT_MAX.saturating_sub(in_flight);
        let most = waiting.min(room);
        if most == 0 {
            return Group::Hold;
        }
        if self.max < 2 || fruitless >= FRUITLESS_MAX {
            return Group::Single(most);
        }
        // Of much, all batches have about the same length: else the last would be a short one.
        let even = most.div_ceil(most.div_ceil(self.max));
        let mut bytes = 0_usize;
        let fits = lengths.take(even as usize).take_while(|length| {
            bytes = bytes.saturating_add(*length);
            bytes <= BATCH_BYTES
        });
        let together = fits.count() as u64;
        if together >= self.min.min(self.max) {
            return Group::Batch(together);
        }
        let for_room = room < waiting && room < self.min;
        if in_flight > 0 && (self.syncs_each || for_room) {
            return Group::Hold;
        }
        // Where lines are that long, more of them would be no batch either.
        Group::Single(if together < even { together.max(1) } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(batches: Batches, in_flight: u64, waiting: usize, length: usize) -> Group {
        batches.next(in_flight, 0, std::iter::repeat_n(length, waiting))
    }

    #[test]
    fn many_lines_go_together_and_few_by_themselves() {
        let replicated = Batches::new(3, true);
        assert_eq!(next(replicated, 0, 0, 100), Group::Hold);
        assert_eq!(next(replicated, 0, 1, 100), Group::Single(1));
        assert_eq!(next(replicated, 0, 7, 100), Group::Single(7));
        assert_eq!(next(replicated, 0, 8, 100), Group::Batch(8));
        assert_eq!(next(replicated, 0, 1000, 100), Group::Batch(1000));
        // All at once, as far as that is allowed, and no short one at the end.
        assert_eq!(next(replicated, 0, 1001, 100), Group::Batch(501));
        assert_eq!(next(replicated, 501, 500, 100), Group::Batch(500));
        assert_eq!(next(replicated, 0, 5000, 100), Group::Batch(1000));
        // What is on its way holds up nothing.
        assert_eq!(next(replicated, 100, 3, 100), Group::Single(3));
    }

    #[test]
    fn what_is_on_its_way_has_a_limit() {
        let replicated = Batches::new(3, true);
        assert_eq!(next(replicated, IN_FLIGHT_MAX, 50, 100), Group::Hold);
        assert_eq!(next(replicated, IN_FLIGHT_MAX - 60, 5000, 100), Group::Batch(60));
        // There is room for a few, and many wait: that would go on for ever with few at a time.
        assert_eq!(next(replicated, IN_FLIGHT_MAX - 3, 50, 100), Group::Hold);
        assert_eq!(next(replicated, IN_FLIGHT_MAX - 3, 3, 100), Group::Single(3));
    }

    #[test]
    fn where_each_is_synced_few_wait_for_what_is_on_its_way() {
        let alone = Batches::new(1, true);
        assert_eq!(next(alone, 0, 15, 100), Group::Single(15));
        assert_eq!(next(alone, 15, 1, 100), Group::Hold);
        assert_eq!(next(alone, 15, 15, 100), Group::Hold);
        assert_eq!(next(alone, 15, 16, 100), Group::Batch(16));
    }

    #[test]
    fn long_lines_make_short_batches_or_none() {
        let replicated = Batches::new(3, true);
        assert_eq!(next(replicated, 0, 1000, 64 << 10), Group::Batch(64));
        assert_eq!(next(replicated, 0, 1000, 1 << 20), Group::Single(4));
        assert_eq!(next(replicated, 0, 1000, 8 << 20), Group::Single(1));
        assert_eq!(next(replicated, 0, 1000, usize::MAX), Group::Single(1));
        assert_eq!(next(replicated, 3, 1000, usize::MAX), Group::Single(1));
    }

    #[test]
    fn who_takes_no_batches_gets_none() {
        assert_eq!(next(Batches::new(3, false), 0, 1000, 100), Group::Single(1000));
        assert_eq!(next(Batches::new(1, false), 15, 1000, 100), Group::Single(1000));
        let mut batches = Batches::new(1, true);
        batches.refused(TOO_LARGE);
        assert_eq!(next(batches, 0, 500, 100), Group::Batch(500));
        (0..6).for_each(|_| batches.refused(TOO_LARGE));
        // Shorter ones than are worth it are so only where the servers take no longer ones.
        assert_eq!(next(batches, 0, 500, 100), Group::Batch(7));
        (0..3).for_each(|_| batches.refused(TOO_LARGE));
        assert_eq!(next(batches, 0, 500, 100), Group::Single(500));
        let mut batches = Batches::new(3, true);
        batches.refused(DISABLED);
        assert_eq!(next(batches, 0, 500, 100), Group::Single(500));
        // After some attempts that led to nothing, too.
        let batches = Batches::new(3, true);
        assert_eq!(batches.next(0, FRUITLESS_MAX, [100; 500].into_iter()), Group::Single(500));
    }
}
