//! Reading: from the stream up to what is acknowledged, from memory behind that.
//!
//! Many lines come from any replica at once ([`crate::direct`]), as long as their sequences follow each other; what is missing
//! there is asked of the leader, line by line. So is what stands where single lines were removed: a replica that does
//! not know of that yet would bring them back.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use wafka_core::Offset;
use wafka_core::storage::{Chunk, Cursor, LogReader, StorageError};

use crate::api::{Api, Failure, Stored, bytes_beside};
use crate::direct::{Answer, Wanted};
use crate::home::{Home, failed};
use crate::io_error;
use crate::log::{Log, State};
use crate::segments::Segments;

/// So many messages are asked of the leader at once, at most and to begin with.
const AT_ONCE_MAX: u64 = 128;
const AT_ONCE_FIRST: u64 = 8;
/// So many bytes of messages are held at once, as far as that can be known before they come.
const AHEAD_BYTES: u64 = 8 << 20;
/// So many messages are asked of any replica with one request, and in so many requests at once.
const BATCH: u64 = 1000;
const BATCHES: u64 = 4;
/// The answer to such a request is waited for so long, then the leader is asked …
const BATCH_PATIENCE: Duration = Duration::from_secs(1);
/// … and goes on being asked for so long.
const LEADER_ALONE: Duration = Duration::from_secs(5);
/// The pause before a leader is asked again that does not know of a line yet.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads a log. It does not keep the connection: that ends with the storage and its shards.
pub(crate) struct JetStreamReader {
    home: Weak<Home>,
    log: Arc<Log>,
}

/// What a read has collected.
pub(crate) struct Collected<'a> {
    pub into: &'a mut Vec<u8>,
    /// Gets the offset of each line.
    pub line: &'a mut dyn FnMut(Offset),
    bytes_max: usize,
    begun: usize,
    start: Option<Offset>,
    next: Offset,
    full: bool,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(
        into: &'a mut Vec<u8>,
        bytes_max: usize,
        from: Offset,
        line: &'a mut dyn FnMut(Offset),
    ) -> Self {
        let begun = into.len();
        Collected { into, line, bytes_max, begun, start: None, next: from, full: false }
    }

    /// Takes a line, if there is room for it.
    fn take(&mut self, offset: Offset, line: &[u8]) {
        let room = self.bytes_max.saturating_sub(self.into.len() - self.begun);
        if self.start.is_some() && line.len() > room {
            self.full = true;
            return;
        }
        self.into.extend_from_slice(line);
        self.start.get_or_insert(offset);
        self.next = offset + 1;
        (self.line)(offset);
        self.full = line.len() >= room;
    }

    /// Takes what fits of what is pending.
    fn take_pending(&mut self, state: &State) {
        let Some(skip) = self.next.checked_sub(state.acked) else { return };
        for (line, offset) in state.pending.iter().skip(skip as usize).zip(self.next..) {
            if self.full {
                break;
            }
            self.take(offset, line);
        }
    }

    /// So many lines there is room for, as far as their lengths are known: at least one.
    fn lines_that_fit(&self, known: &Known) -> u64 {
        let room = self.bytes_max.saturating_sub(self.into.len() - self.begun) as u64;
        room / known.mean_line + 1
    }

    /// The offsets of the first line and of the one to read on with.
    fn done(&self) -> (Offset, Offset) {
        (self.start.unwrap_or(self.next), self.next)
    }
}

/// What was known when lines were asked for.
struct Known {
    segments: Arc<Segments>,
    acked: Offset,
    life: u32,
    mean_line: u64,
    /// From this offset on any replica may be asked.
    any_from: Offset,
}

/// What was found where a line is missing.
enum Behind {
    /// The next line.
    Line(Stored),
    /// No line that is acknowledged.
    Nothing,
    /// Nothing at all: whoever answered may be behind.
    Unknown,
}

/// How the leader is asked, as a read goes on.
struct Pace {
    count: u64,
    longest: u64,
}

impl Log {
    /// Collects lines from offset `from` on; returns the first one's offset and where to read on, both the same at the
    /// log's end.
    pub(crate) fn collect(
        &self,
        home: &Home,
        mut collected: Collected<'_>,
    ) -> Result<(Offset, Offset), StorageError> {
        let deadline = Instant::now() + home.options().request_timeout();
        let mut life = None;
        loop {
            let known = {
                let state = self.state.lock();
                let is_same = *life.get_or_insert(state.life) == state.life;
                // What was cut meanwhile is no business of this read, which has something.
                let has_enough = collected.full || (!is_same && collected.start.is_some());
                if has_enough || collected.next >= state.end {
                    return Ok(collected.done());
                }
                life = Some(state.life);
                collected.next = collected.next.max(state.first);
                if collected.next >= state.acked {
                    collected.take_pending(&state);
                    return Ok(collected.done());
                }
                Known {
                    segments: Arc::clone(&state.segments),
                    acked: state.acked,
                    life: state.life,
                    mean_line: state.mean_line().max(1),
                    any_from: state.any_from,
                }
            };
            let before = collected.next;
            let fetching = self.fetch(home, &known, &mut collected);
            let fetched = home.block_on(async { timeout_at(deadline, fetching).await });
            let failure = match fetched {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(Failure::Silence {
                    waited: home.options().request_timeout(),
                    last: "not all that was asked for came in time".into(),
                }),
            };
            if let Some(failure) = failure {
                // What came is right: else a bad connection would never let anything through.
                return match collected.start {
                    Some(_) => Ok(collected.done()),
                    None => Err(failed(&self.name.to_string(), "read", failure)),
                };
            }
            if collected.next == before && !collected.full && self.state.lock().life == known.life {
                // A leader that has just been replaced may answer, and not know of it.
                if collected.start.is_some() {
                    return Ok(collected.done());
                }
                if Instant::now() + PAUSE >= deadline {
                    let reason =
                        format!("the engine does not know of offset {before}, which it has acknowledged");
                    let source = std::io::Error::new(std::io::ErrorKind::TimedOut, reason);
                    return Err(io_error(&self.name.to_string(), "read", source));
                }
                home.block_on(async { sleep(PAUSE).await });
            }
        }
    }

    /// Asks for lines and takes them, as far as they fit.
    async fn fetch(&self, home: &Home, known: &Known, collected: &mut Collected<'_>) -> Result<(), Failure> {
        let mut pace = Pace { count: AT_ONCE_FIRST, longest: known.mean_line };
        while collected.next < known.acked && !collected.full {
            let before = collected.next;
            self.fetch_from_any(home, known, collected).await?;
            if collected.next > before {
                continue;
            }
            self.fetch_from_leader(home.api(), known, collected, &mut pace).await?;
            if collected.next == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what one replica has, up to the first line that it lacks.
    async fn fetch_from_any(
        &self,
        home: &Home,
        known: &Known,
        collected: &mut Collected<'_>,
    ) -> Result<(), Failure> {
        let from = collected.next;
        let some = collected
            .lines_that_fit(known)
            .min(AHEAD_BYTES / known.mean_line)
            .min(known.segments.unbroken(from))
            .min(known.acked - from)
            .min(BATCHES * BATCH);
        let begun = Instant::now();
        // One line comes as fast from the leader, who has it for certain.
        if some <= 1 || from < known.any_from || home.is_leader_alone(begun) {
            return Ok(());
        }
        let batch = some.div_ceil(BATCHES).clamp(some.min(BATCH), BATCH);
        let beside = bytes_beside(&self.line_subject);
        let first = known.segments.sequence_of(from);
        let asked = (0..some.div_ceil(batch)).map(|number| {
            let count = batch.min(some - number * batch);
            let bytes_max = 2 * count * (known.mean_line + beside);
            let wanted = Wanted { sequence: first + number * batch, count, bytes_max };
            home.direct.get(&self.stream, wanted, begun + BATCH_PATIENCE)
        });
        let answers = join_all(asked).await;
        if !answers.iter().all(|answer| answer.is_whole) {
            home.ask_leader_alone(Instant::now() + LEADER_ALONE);
        }
        let came = answers.into_iter().flat_map(Answer::stored);
        for (expected, stored) in (first..first + some).zip(came) {
            if stored.sequence != expected {
                break;
            }
            self.check(&stored)?;
            collected.take(from + (stored.sequence - first), &stored.data);
            if collected.full {
                break;
            }
        }
        Ok(())
    }

    /// Takes some lines as the leader has them. Those that it lacks were removed.
    async fn fetch_from_leader(
        &self,
        api: &Api,
        known: &Known,
        collected: &mut Collected<'_>,
        pace: &mut Pace,
    ) -> Result<(), Failure> {
        let from = collected.next;
        let some = pace
            .count
            .min(AHEAD_BYTES / pace.longest)
            .min(collected.lines_that_fit(known))
            .min(known.segments.unbroken(from))
            .clamp(1, known.acked - from);
        let sequence = known.segments.sequence_of(from);
        let asked = (0..some).map(|at| api.at(&self.stream, sequence + at));
        for (stored, offset) in join_all(asked).await.into_iter().zip(from..) {
            let stored = match stored? {
                Some(stored) => stored,
                // Removed, it seems: what stands behind it proves that.
                None => match self.behind(api, known, offset).await? {
                    Behind::Line(stored) => stored,
                    Behind::Nothing => {
                        collected.next = known.acked;
                        return Ok(());
                    }
                    Behind::Unknown => return Ok(()),
                },
            };
            pace.longest = pace.longest.max(stored.data.len() as u64);
            let found = known.segments.offset_from(stored.sequence);
            if found >= known.acked {
                collected.next = known.acked;
                return Ok(());
            }
            self.check(&stored)?;
            collected.take(found, &stored.data);
            if collected.full {
                return Ok(());
            }
            if found != offset {
                break;
            }
        }
        pace.count = (pace.count * 2).min(AT_ONCE_MAX);
        Ok(())
    }

    /// What stands where the line with this offset was, or behind it.
    async fn behind(&self, api: &Api, known: &Known, mut offset: Offset) -> Result<Behind, Failure> {
        while offset < known.acked {
            let sequence = known.segments.sequence_of(offset);
            // A cut proves as well as a line that nothing stands before it.
            let Some(stored) = api.at_or_behind(&self.stream, sequence, ">").await? else {
                return Ok(Behind::Unknown);
            };
            offset = known.segments.offset_from(stored.sequence);
            if known.segments.sequence_of(offset) == stored.sequence {
                return Ok(Behind::Line(stored));
            }
        }
        Ok(Behind::Nothing)
    }

    fn check(&self, stored: &Stored) -> Result<(), Failure> {
        let is_line = stored.subject == self.line_subject
            && memchr::memchr(b'\n', &stored.data) == stored.data.len().checked_sub(1);
        if is_line {
            return Ok(());
        }
        let at = stored.sequence;
        Err(Failure::Strange(format!(
            "stream {}: message {at} is no line: expected text and a newline",
            self.stream
        )))
    }
}

impl JetStreamReader {
    pub(crate) fn new(home: &Arc<Home>, log: Arc<Log>) -> Self {
        JetStreamReader { home: Arc::downgrade(home), log }
    }
}

impl LogReader for JetStreamReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let home = self.home.upgrade().ok_or_else(|| {
            io_error(&self.log.name.to_string(), "read", std::io::Error::other("the backend was closed"))
        })?;
        let begun = into.len();
        let done = self.log.collect(&home, Collected::new(into, bytes_max, from.offset, &mut |_| ()));
        let (start, next) = done.inspect_err(|_| into.truncate(begun))?;
        let state = self.log.state.lock();
        Ok(Chunk { start: state.cursor(start), next: state.cursor(next) })
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        let Some(state) = self.log.state.try_lock() else { return Ok(None) };
        if from.offset < state.acked {
            return Ok(None);
        }
        let mut line = |_| ();
        let mut collected = Collected::new(into, bytes_max, from.offset, &mut line);
        collected.take_pending(&state);
        let (start, next) = collected.done();
        Ok(Some(Chunk { start: state.cursor(start), next: state.cursor(next) }))
    }

    fn generation(&self) -> u32 {
        self.log.state.lock().generation
    }

    fn size_bytes(&self) -> u64 {
        self.log.state.lock().bytes
    }
}
