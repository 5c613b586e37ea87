//! Consumer groups: draining a backlog by several consumers, and what a long list of pending entries costs.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::latency::{Latency, Percentiles};
use crate::ledger::{Ledger, Verifier};
use crate::procfs::thread_cpu;
use crate::readback::Reader;
use crate::reply::{Id, ReplyError, array, xread_head};
use crate::{BenchError, Result};

/// The group of all runs.
const GROUP: &str = "g";
/// Entries that are acknowledged one by one before as many are delivered again.
const ACKED_AT_A_TIME: usize = 50;
/// How often that is done.
const ACK_ROUNDS: usize = 20;
/// How often the summary is asked for.
const SUMMARIES: usize = 500;
/// The pending list that a long one is compared with.
const FEW: u64 = 100;

/// What consumers of a group did until nothing was left.
#[derive(Debug)]
pub struct Drained {
    /// Events delivered and acknowledged.
    pub events: u64,
    /// From the first command to the last reply.
    pub seconds: f64,
    /// This program's CPU time, in microseconds per event.
    pub client_cpu_us_per_event: f64,
    /// Round trips of `XREADGROUP` and of `XACK`.
    pub round_trip: Percentiles,
}

/// Makes the group, lets `consumers` consumers on threads of their own read `count` events at a time, each acknowledged
/// with one `XACK`, until nothing comes, and checks that they had every event of `ledger` once and that nothing stays
/// pending.
///
/// # Errors
/// A wrong reply, an event too many or too few, a broken connection.
pub fn drain(
    addr: SocketAddr,
    topic: &str,
    consumers: usize,
    count: usize,
    ledger: &Ledger,
) -> Result<Drained> {
    let mut control = Reader::open(addr)?;
    create(&mut control, topic, GROUP)?;
    let ready = Barrier::new(consumers);
    let done: Vec<Result<Consumed>> = thread::scope(|scope| {
        let consume = |number: usize| {
            let opened = Reader::open(addr);
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                consume(&mut opened?, topic, &format!("c{number}"), count, ledger)
            })
        };
        let threads: Vec<_> = (0..consumers).map(consume).collect();
        threads.into_iter().map(join).collect()
    });
    let mut all = Verifier::new(ledger.conns.len(), 1);
    let (mut latency, mut cpu) = (Latency::new(), Duration::ZERO);
    let (mut begin, mut end) = (None::<Instant>, None::<Instant>);
    for consumed in done {
        let consumed = consumed?;
        all.absorb(&consumed.seen);
        latency.add(&consumed.latency);
        cpu += consumed.cpu;
        begin = Some(begin.map_or(consumed.begin, |begin| begin.min(consumed.begin)));
        end = Some(end.map_or(consumed.end, |end| end.max(consumed.end)));
    }
    all.finish(ledger)?;
    let left = pending(&mut control, topic, GROUP)?;
    if left > 0 {
        return Err(BenchError::ReadBack(format!(
            "{left} events are still pending after all were acknowledged"
        )));
    }
    let seconds = begin.zip(end).map_or(f64::NAN, |(begin, end)| (end - begin).as_secs_f64());
    let events = ledger.events();
    let client_cpu_us_per_event = cpu.as_secs_f64() * 1e6 / events as f64;
    Ok(Drained { events, seconds, client_cpu_us_per_event, round_trip: latency.percentiles() })
}

/// What one consumer did.
struct Consumed {
    seen: Verifier,
    latency: Latency,
    cpu: Duration,
    begin: Instant,
    end: Instant,
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(BenchError::Setup("a consumer's thread panicked".into())))
}

fn consume(
    reader: &mut Reader,
    topic: &str,
    consumer: &str,
    count: usize,
    ledger: &Ledger,
) -> Result<Consumed> {
    let (mut seen, mut latency) = (Verifier::new(ledger.conns.len(), 1), Latency::new());
    let (cpu, begin) = (thread_cpu(), Instant::now());
    let (mut last, mut ids) = (Id::default(), Vec::new());
    loop {
        let sent = Instant::now();
        let after = last;
        ids.clear();
        let got = deliver(reader, topic, GROUP, consumer, count, after, |id, payload| {
            ids.push(id);
            seen.shared_event(id, payload)
        })?;
        let Some(newest) = got else { break };
        last = newest;
        latency.record(sent.elapsed());
        let sent = Instant::now();
        acknowledge(reader, topic, GROUP, &ids)?;
        latency.record(sent.elapsed());
    }
    let end = Instant::now();
    Ok(Consumed { seen, latency, cpu: thread_cpu().saturating_sub(cpu), begin, end })
}

fn create(reader: &mut Reader, topic: &str, group: &str) -> Result<()> {
    reader.send(&[b"XGROUP", b"CREATE", topic.as_bytes(), group.as_bytes(), b"0"])?;
    reader.ok("XGROUP CREATE")
}

/// Reads up to `count` new events of a group; the last one's id, `None` when there was none.
fn deliver(
    reader: &mut Reader,
    topic: &str,
    group: &str,
    consumer: &str,
    count: usize,
    after: Id,
    mut each: impl FnMut(Id, &[u8]) -> Result<()>,
) -> Result<Option<Id>> {
    let most = count.to_string();
    let (group, consumer, key) = (group.as_bytes(), consumer.as_bytes(), topic.as_bytes());
    let command: [&[u8]; 9] =
        [b"XREADGROUP", b"GROUP", group, consumer, b"COUNT", most.as_bytes(), b"STREAMS", key, b">"];
    reader.send(&command)?;
    match reader.take("XREADGROUP", xread_head)?.filter(|got| *got > 0) {
        Some(got) => reader.entries(topic, got, after, &mut each).map(Some),
        None => Ok(None),
    }
}

fn acknowledge(reader: &mut Reader, topic: &str, group: &str, ids: &[Id]) -> Result<()> {
    let texts: Vec<String> = ids.iter().map(Id::to_string).collect();
    let mut command: Vec<&[u8]> = vec![b"XACK", topic.as_bytes(), group.as_bytes()];
    command.extend(texts.iter().map(String::as_bytes));
    reader.send(&command)?;
    let acked = reader.number("XACK")?;
    if acked == ids.len() as u64 {
        return Ok(());
    }
    Err(BenchError::ReadBack(format!("XACK of {} delivered events acknowledged {acked}", ids.len())))
}

/// How many entries are pending, by the summary.
fn pending(reader: &mut Reader, topic: &str, group: &str) -> Result<u64> {
    reader.send(&[b"XPENDING", topic.as_bytes(), group.as_bytes()])?;
    reader.take("XPENDING", summary)
}

/// The summary that `XPENDING` replies: the number it begins with, and the bytes of all of it.
fn summary(bytes: &[u8]) -> Result<Option<(u64, usize)>, ReplyError> {
    const EXPECTED: &str = "the four parts of a summary";
    let Some((parts, head)) = array(bytes, EXPECTED)? else { return Ok(None) };
    let unexpected = || ReplyError::Unexpected {
        expected: EXPECTED,
        got: String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned(),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Every value is a line of its own, and so is every length; nothing in them holds a line's end.
    let mut left = parts.filter(|parts| *parts == 4).ok_or_else(unexpected)?;
    let (mut at, mut count) = (head, None);
    while left > 0 {
        let Some(len) = memchr::memchr(b'\n', &bytes[at..]) else { return Ok(None) };
        let line = bytes[at..at + len].split_first();
        let (kind, number) = line.ok_or_else(unexpected)?;
        let number: i64 = text(number).trim_end().parse().map_err(|_| unexpected())?;
        at += len + 1;
        left -= 1;
        match kind {
            b':' => _ = count.get_or_insert(number),
            b'*' => left += usize::try_from(number).unwrap_or(0),
            b'$' if number >= 0 => {
                at += usize::try_from(number).unwrap_or(0) + 2;
                if at > bytes.len() {
                    return Ok(None);
                }
            }
            b'$' => {}
            _ => return Err(unexpected()),
        }
    }
    let count = count.and_then(|count| u64::try_from(count).ok()).ok_or_else(unexpected)?;
    Ok(Some((count, at)))
}

/// Round trips with a short and with a long list of pending entries, half of which took at most so long, in
/// microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PendingFigures {
    /// `XPENDING topic group` with 100.
    pub summary_few_us: f64,
    /// `XPENDING topic group` with many.
    pub summary_many_us: f64,
    /// `XACK` of one entry with 100.
    pub ack_few_us: f64,
    /// `XACK` of one entry with many.
    pub ack_many_us: f64,
}

/// How many events a topic must have for [`measure_pending`] with so many entries.
#[must_use]
pub fn events_for(many: u64) -> u64 {
    many + (ACKED_AT_A_TIME * ACK_ROUNDS) as u64
}

/// Measures what `XPENDING` and `XACK` take in a group with 100 pending entries and in one with `many`.
///
/// # Errors
/// A wrong reply, a broken connection.
pub fn measure_pending(addr: SocketAddr, topic: &str, many: u64) -> Result<(PendingFigures, Percentiles)> {
    let mut reader = Reader::open(addr)?;
    let (summary_few, ack_few) = with_pending(&mut reader, topic, "few", FEW)?;
    let (summary_many, ack_many) = with_pending(&mut reader, topic, "many", many)?;
    let figures = PendingFigures {
        summary_few_us: summary_few.p50_us,
        summary_many_us: summary_many.p50_us,
        ack_few_us: ack_few.p50_us,
        ack_many_us: ack_many.p50_us,
    };
    Ok((figures, ack_many))
}

/// Makes a group with `count` pending entries; round trips of the summary and of acknowledging one entry.
fn with_pending(
    reader: &mut Reader,
    topic: &str,
    group: &str,
    count: u64,
) -> Result<(Percentiles, Percentiles)> {
    create(reader, topic, group)?;
    let mut ids: Vec<Id> = Vec::new();
    let mut last = Id::default();
    while (ids.len() as u64) < count {
        let wanted = usize::try_from(count - ids.len() as u64).map_or(1000, |left| left.min(1000));
        let got = deliver(reader, topic, group, "c", wanted, last, |id, _| {
            ids.push(id);
            Ok(())
        })?;
        last = got.ok_or_else(|| BenchError::ReadBack(format!("only {} events to deliver", ids.len())))?;
    }
    let (mut summary, mut ack) = (Latency::new(), Latency::new());
    for _ in 0..SUMMARIES {
        let sent = Instant::now();
        let found = pending(reader, topic, group)?;
        summary.record(sent.elapsed());
        if found != count {
            return Err(BenchError::ReadBack(format!("{count} entries are pending, XPENDING says {found}")));
        }
    }
    for round in 0..ACK_ROUNDS {
        // From all over the list.
        let step = ids.len() / ACKED_AT_A_TIME;
        for number in (0..ACKED_AT_A_TIME).rev() {
            let id = ids.swap_remove(number * step + round % step);
            let sent = Instant::now();
            acknowledge(reader, topic, group, &[id])?;
            ack.record(sent.elapsed());
        }
        let got = deliver(reader, topic, group, "c", ACKED_AT_A_TIME, last, |id, _| {
            ids.push(id);
            Ok(())
        })?;
        last = got.ok_or_else(|| BenchError::ReadBack("too few events to deliver".into()))?;
    }
    Ok((summary.percentiles(), ack.percentiles()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_taken_whole_and_in_pieces() {
        let bytes = b"*4\r\n:12\r\n$3\r\n1-0\r\n$3\r\n2-0\r\n*2\r\n*2\r\n$1\r\na\r\n$1\r\n5\r\n*2\r\n$1\r\nb\r\n$1\r\n7\r\n";
        assert_eq!(summary(bytes), Ok(Some((12, bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(summary(&bytes[..end]), Ok(None), "after {end} bytes");
        }
        let empty = b"*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n";
        assert_eq!(summary(empty), Ok(Some((0, empty.len()))));
        assert!(summary(b"*3\r\n:0\r\n").is_err() && summary(b"-ERR x\r\n").is_err());
    }
}
