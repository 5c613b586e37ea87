//! What the servers acknowledged, and the check that reading back gives exactly that: every event once, nothing
//! else, in the order in which its connection sent it, under the id it was acknowledged with.

use crate::payload::{first_topic, origin};
use crate::reply::Id;
use crate::{BenchError, Result};

/// What one connection has had acknowledged: the events 0..`count`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acked {
    /// How many events.
    pub count: u64,
    /// The sum of a fingerprint of each (its id and number mixed), so that ids are compared without being kept.
    pub sum: u64,
}

impl Acked {
    /// Counts the next event.
    #[inline]
    pub fn add(&mut self, id: Id) {
        self.sum = self.sum.wrapping_add(fingerprint(id, self.count));
        self.count += 1;
    }
}

/// One value for an event's id and its number on its connection (multiplicative mixing; the constants are odd numbers
/// without a pattern). Sums of it agree for different ids only by a chance of about 2^-64.
#[inline]
fn fingerprint(id: Id, counter: u64) -> u64 {
    let mut mixed = id.ms.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ id.seq.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(31)
        ^ counter.wrapping_mul(0x1656_67b1_9e37_79f9).rotate_left(17);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 29)
}

/// All connections of a run.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// How many topics the events went to in turn.
    pub topics: usize,
    /// One for each connection.
    pub conns: Vec<Acked>,
}

impl Ledger {
    /// All acknowledged events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.conns.iter().map(|acked| acked.count).sum()
    }
}

/// Checks events as they are read back, topic after topic.
#[derive(Debug)]
pub struct Verifier {
    conns: usize,
    topics: usize,
    /// The number each connection's next event in the current topic must have.
    next: Vec<u64>,
    seen: Vec<Acked>,
}

impl Verifier {
    /// Expects what `conns` connections sent to `topics` topics.
    #[must_use]
    pub fn new(conns: usize, topics: usize) -> Self {
        Self { conns, topics, next: vec![0; conns], seen: vec![Acked::default(); conns] }
    }

    /// The events that follow are of topic `topic`, from its start.
    pub fn begin_topic(&mut self, topic: usize) {
        for (conn, next) in self.next.iter_mut().enumerate() {
            let start = first_topic(conn, self.conns, self.topics);
            *next = ((topic + self.topics - start) % self.topics) as u64;
        }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// It is not the next one of its connection in this topic.
    #[inline]
    pub fn event(&mut self, id: Id, payload: &[u8]) -> Result<()> {
        let known = origin(payload).filter(|(conn, _)| *conn < self.conns);
        let Some((conn, counter)) = known else {
            return Err(mismatch(format!(
                "event {id} is not of this run: {:?}",
                String::from_utf8_lossy(payload)
            )));
        };
        let next = &mut self.next[conn];
        if counter != *next {
            let kind = if counter > *next { "events are missing" } else { "an event twice or out of order" };
            return Err(mismatch(format!(
                "{kind}: connection {conn}'s event {counter} stands at {id} where its event {next} should be"
            )));
        }
        *next += self.topics as u64;
        self.count(conn, counter, id);
        Ok(())
    }

    /// Takes one event of those that several readers share: only all of them together are in order.
    ///
    /// # Errors
    /// It is not of this run.
    #[inline]
    pub fn shared_event(&mut self, id: Id, payload: &[u8]) -> Result<()> {
        match origin(payload).filter(|(conn, _)| *conn < self.conns) {
            Some((conn, counter)) => {
                self.count(conn, counter, id);
                Ok(())
            }
            None => Err(mismatch(format!("event {id} is not of this run"))),
        }
    }

    /// Adds what another reader saw of the same run.
    pub fn absorb(&mut self, other: &Verifier) {
        for (seen, more) in self.seen.iter_mut().zip(&other.seen) {
            seen.sum = seen.sum.wrapping_add(more.sum);
            seen.count += more.count;
        }
    }

    fn count(&mut self, conn: usize, counter: u64, id: Id) {
        let seen = &mut self.seen[conn];
        seen.sum = seen.sum.wrapping_add(fingerprint(id, counter));
        seen.count += 1;
    }

    /// What has been read so far, by connection.
    #[must_use]
    pub fn seen(&self) -> &[Acked] {
        &self.seen
    }

    /// All topics have been read: compares with what was acknowledged.
    ///
    /// # Errors
    /// A connection's events are not all there, there are more, or they stand under other ids.
    pub fn finish(&self, ledger: &Ledger) -> Result<()> {
        if ledger.conns.len() != self.conns || ledger.topics != self.topics {
            return Err(mismatch("the run had other connections or topics than the check".into()));
        }
        for (conn, (acked, seen)) in ledger.conns.iter().zip(&self.seen).enumerate() {
            if acked.count != seen.count {
                return Err(mismatch(format!(
                    "connection {conn} had {} events acknowledged, {} are there",
                    acked.count, seen.count
                )));
            }
            if acked.sum != seen.sum {
                return Err(mismatch(format!(
                    "connection {conn}'s {} events are there, but under other ids than acknowledged",
                    acked.count
                )));
            }
        }
        Ok(())
    }
}

fn mismatch(what: String) -> BenchError {
    BenchError::ReadBack(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> Id {
        Id { ms: 1_763_859_377_000, seq }
    }

    fn payload(conn: usize, counter: u64) -> Vec<u8> {
        format!("{conn:04}-{counter:012} ").into_bytes()
    }

    /// Two connections with three events each, in one topic, taken in turn.
    fn run() -> (Ledger, Vec<(Id, Vec<u8>)>) {
        let mut ledger = Ledger { topics: 1, conns: vec![Acked::default(); 2] };
        let mut events = Vec::new();
        for number in 0..6_u64 {
            let conn = (number % 2) as usize;
            ledger.conns[conn].add(id(number));
            events.push((id(number), payload(conn, number / 2)));
        }
        (ledger, events)
    }

    fn check(ledger: &Ledger, events: &[(Id, Vec<u8>)]) -> Result<()> {
        let mut verifier = Verifier::new(2, 1);
        verifier.begin_topic(0);
        for (id, payload) in events {
            verifier.event(*id, payload)?;
        }
        verifier.finish(ledger)
    }

    #[test]
    fn what_was_acknowledged_is_accepted() {
        let (ledger, events) = run();
        check(&ledger, &events).unwrap();
    }

    #[test]
    fn lost_doubled_swapped_and_foreign_events_are_found() {
        let (ledger, events) = run();
        for at in 0..events.len() {
            let mut lost = events.clone();
            lost.remove(at);
            assert!(check(&ledger, &lost).is_err(), "lost {at}");
            let mut doubled = events.clone();
            doubled.insert(at, events[at].clone());
            assert!(check(&ledger, &doubled).is_err(), "doubled {at}");
            let mut foreign = events.clone();
            foreign[at].1 = b"something else".to_vec();
            assert!(check(&ledger, &foreign).is_err(), "foreign {at}");
            let mut renamed = events.clone();
            renamed[at].0.seq += 100;
            assert!(check(&ledger, &renamed).is_err(), "other id {at}");
        }
        for at in 0..events.len() - 2 {
            let mut swapped = events.clone();
            swapped.swap(at, at + 2);
            assert!(check(&ledger, &swapped).is_err(), "swapped {at}");
        }
        let mut more = events.clone();
        more.push((id(9), payload(0, 3)));
        assert!(check(&ledger, &more).is_err(), "one too many");
        more[6].1 = payload(2, 0);
        assert!(check(&ledger, &more).is_err(), "an unknown connection");
    }

    #[test]
    fn readers_that_share_a_topic_have_all_of_it_together() {
        let (ledger, events) = run();
        let mut readers = [Verifier::new(2, 1), Verifier::new(2, 1)];
        for (at, (id, payload)) in events.iter().enumerate() {
            readers[at / 2 % 2].shared_event(*id, payload).unwrap();
        }
        let [mut first, second] = readers;
        assert!(first.finish(&ledger).is_err());
        first.absorb(&second);
        first.finish(&ledger).unwrap();
        first.shared_event(events[0].0, &events[0].1).unwrap();
        assert!(first.finish(&ledger).is_err(), "one event twice");
    }

    #[test]
    fn every_topic_has_its_share_of_every_connection() {
        let (conns, topics) = (3, 7);
        let mut ledger = Ledger { topics, conns: vec![Acked::default(); conns] };
        let mut by_topic = vec![Vec::new(); topics];
        for number in 0..100 {
            for conn in 0..conns {
                let topic = (first_topic(conn, conns, topics) + number as usize) % topics;
                let at = id(number * 3 + conn as u64);
                ledger.conns[conn].add(at);
                by_topic[topic].push((at, payload(conn, number)));
            }
        }
        let mut verifier = Verifier::new(conns, topics);
        for (topic, events) in by_topic.iter().enumerate() {
            verifier.begin_topic(topic);
            for (id, payload) in events {
                verifier.event(*id, payload).unwrap();
            }
        }
        verifier.finish(&ledger).unwrap();
        assert_eq!(verifier.seen(), ledger.conns);
    }
}
