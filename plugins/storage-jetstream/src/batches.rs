//! How lines go: by themselves, or together as one of the engine's *atomic batches* (nats-server 2.12 or later).
//!
//! The engine stores a batch as a whole or not at all. With one replica it syncs each message that comes by itself, and
//! a batch a few times, however long it is. With several replicas a batch spares work: one proposal and one acknowledgement
//! for all its lines. Of a log one line or one batch is under way at a time (see [`crate::writer`]); what comes meanwhile goes
//! together.

/// So many lines are in one batch, at most. It is the engine's own limit, unless its servers are configured to another.
const BATCH_MAX: u64 = 1000;
/// So many bytes of lines, if it is more than one: the engine holds a batch in memory.
const BATCH_BYTES: usize = 4 << 20;
/// With one replica a batch takes as long as so many single lines, one after the other, by measurement: it makes and syncs
/// files of its own.
const WORTH_IT_UNREPLICATED: u64 = 8;
/// With several each line by itself takes a round trip.
const WORTH_IT_REPLICATED: u64 = 2;
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
    /// One line by itself.
    Single,
    /// Nothing, until what is under way is acknowledged or there is something to send.
    Hold,
}

/// How a log's lines are grouped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batches {
    /// Fewer lines go by themselves.
    min: u64,
    /// More lines go as several batches; with less than two there are none.
    max: u64,
}

impl Batches {
    /// For a stream with so many replicas that takes batches, or does not.
    pub(crate) fn new(replicas: u8, allowed: bool) -> Self {
        let min = if replicas > 1 { WORTH_IT_REPLICATED } else { WORTH_IT_UNREPLICATED };
        Batches { min, max: if allowed { BATCH_MAX } else { 0 } }
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
        if in_flight > 0 || waiting == 0 {
            return Group::Hold;
        }
        if self.max < 2 || fruitless >= FRUITLESS_MAX {
            return Group::Single;
        }
        // Of much, all batches have about the same length: else the last would be a short one.
        let even = waiting.div_ceil(waiting.div_ceil(self.max));
        let mut bytes = 0_usize;
        let fits = lengths.take(even as usize).take_while(|length| {
            bytes = bytes.saturating_add(*length);
            bytes <= BATCH_BYTES
        });
        let together = fits.count() as u64;
        if together >= self.min.min(self.max) { Group::Batch(together) } else { Group::Single }
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
        assert_eq!(next(replicated, 0, 1, 100), Group::Single);
        assert_eq!(next(replicated, 0, 2, 100), Group::Batch(2));
        assert_eq!(next(replicated, 0, 1000, 100), Group::Batch(1000));
        // No short one at the end.
        assert_eq!(next(replicated, 0, 1001, 100), Group::Batch(501));
        assert_eq!(next(replicated, 0, 5000, 100), Group::Batch(1000));
        let alone = Batches::new(1, true);
        assert_eq!(next(alone, 0, 7, 100), Group::Single);
        assert_eq!(next(alone, 0, 8, 100), Group::Batch(8));
    }

    #[test]
    fn what_is_under_way_is_waited_for() {
        for (in_flight, waiting) in [(1, 1), (1, 5000), (1000, 0), (1000, 16)] {
            for replicas in [1, 3] {
                assert_eq!(next(Batches::new(replicas, true), in_flight, waiting, 100), Group::Hold);
                assert_eq!(next(Batches::new(replicas, false), in_flight, waiting, 100), Group::Hold);
            }
        }
    }

    #[test]
    fn long_lines_make_short_batches_or_none() {
        let replicated = Batches::new(3, true);
        assert_eq!(next(replicated, 0, 1000, 64 << 10), Group::Batch(64));
        assert_eq!(next(replicated, 0, 1000, 1 << 20), Group::Batch(4));
        assert_eq!(next(replicated, 0, 1000, 8 << 20), Group::Single);
        assert_eq!(next(replicated, 0, 1000, usize::MAX), Group::Single);
    }

    #[test]
    fn who_takes_no_batches_gets_none() {
        assert_eq!(next(Batches::new(3, false), 0, 1000, 100), Group::Single);
        let mut batches = Batches::new(1, true);
        batches.refused(TOO_LARGE);
        assert_eq!(next(batches, 0, 500, 100), Group::Batch(500));
        (0..6).for_each(|_| batches.refused(TOO_LARGE));
        // Shorter ones than are worth it are so only where the servers take no longer ones.
        assert_eq!(next(batches, 0, 500, 100), Group::Batch(7));
        (0..3).for_each(|_| batches.refused(TOO_LARGE));
        assert_eq!(next(batches, 0, 500, 100), Group::Single);
        let mut batches = Batches::new(3, true);
        batches.refused(DISABLED);
        assert_eq!(next(batches, 0, 500, 100), Group::Single);
        // After some attempts that led to nothing, too.
        let batches = Batches::new(3, true);
        assert_eq!(batches.next(0, FRUITLESS_MAX, [100; 500].into_iter()), Group::Single);
    }
}
