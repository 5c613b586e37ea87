//! Sends what was appended, and finds out what became of what was not acknowledged.
//!
//! Each line says which sequence it follows: out of turn the engine takes none. So a line that was perhaps stored
//! is simply sent again, as often as need be: it stands in its place once, whichever of the messages came first. What
//! stands there is compared with it byte for byte; something else is another writer's.
//!
//! Many lines go as an atomic batch, whose first message says what it follows. It is as with a single one: the
//! batch is there, whole and in its place, or it is not and will never be, however often it is sent and however its lines
//! are grouped when they are sent again.
//!
//! One publication of a log is under way at a time, a line or a batch, perhaps several times over: all that is under way
//! follows the same message, or an earlier one. So a single message at that place, another owner's mark or a cut, refuses all
//! of it, however late it comes. If a second line were sent ahead, it would fit behind that message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{HeaderMap, PublishError};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wafka_core::Offset;

use crate::api::{Api, EXPECTED_LAST, Failure, expecting, in_batch};
use crate::batches::Group;
use crate::directory::Directory;
use crate::log::{Log, Poison, State};
use crate::mark::last_cut;
use crate::options::Options;
use crate::wires::{Wire, Wires};

/// So many messages are asked for at once.
const LOOK_AT: u64 = 64;
/// So many bytes of them, at most, as far as that can be known.
const LOOK_AT_BYTES: usize = 8 << 20;
/// The pause before the end is read again, where that did not help.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// What the writers of all logs share.
pub(crate) struct Sender {
    pub wires: Arc<Wires>,
    pub api: Api,
    pub directory: Arc<Directory>,
    pub options: Options,
    /// The next batch's number. The engine tells by it which messages belong together: nobody else has this one.
    pub next_batch: AtomicU64,
}

/// What is to be done next.
enum Step {
    Send(Vec<Bytes>, Sending),
    Look(String),
    Wait(Option<Instant>),
    End,
}

/// Which lines are sent.
struct Sending {
    life: u32,
    attempt: u32,
    first: Offset,
    sequence: u64,
}

/// A writer that ends, however it does, leaves nobody waiting.
struct PoisonAtEnd(Arc<Log>);

impl Drop for PoisonAtEnd {
    fn drop(&mut self) {
        let unsent = {
            let mut state = self.0.state.lock();
            state.writing = false;
            state.poisoned.is_none() && state.end > state.acked
        };
        if unsent {
            self.0.poison(Poison::Failed("what writes the log has ended".into()));
        }
    }
}

/// Writes a log until it is closed and everything is sent.
pub(crate) async fn run(sender: Arc<Sender>, log: Arc<Log>) {
    let guard = PoisonAtEnd(log);
    let log = &guard.0;
    loop {
        let turn = log.turn.lock().await;
        let step = next_step(&sender, &mut log.state.lock());
        match step {
            Step::Send(lines, sending) => sender.send(log, lines, &sending).await,
            Step::Look(reason) => sender.look(log, reason).await,
            Step::Wait(until) => {
                drop(turn);
                match until {
                    Some(until) => tokio::select! {
                        () = log.work.notified() => {}
                        () = sleep_until(until) => {}
                    },
                    None => log.work.notified().await,
                }
            }
            Step::End => return,
        }
    }
}

fn next_step(sender: &Sender, state: &mut State) -> Step {
    if state.poisoned.is_some() || state.end == state.acked {
        return if state.open { Step::Wait(None) } else { Step::End };
    }
    if let Some(reason) = state.trouble.take() {
        return Step::Look(reason);
    }
    let patience = sender.options.publish_timeout();
    let overdue = state.overdue(patience);
    if overdue.is_some_and(|due| due <= Instant::now()) {
        return Step::Look(format!("no acknowledgement within {} ms", patience.as_millis()));
    }
    let from = state.sent;
    let in_flight = from - state.acked;
    let waiting = state.pending.range(in_flight as usize..);
    let count = match state.batches.next(in_flight, state.fruitless, waiting.clone().map(Bytes::len)) {
        Group::Hold => return Step::Wait(overdue),
        Group::Single => 1,
        Group::Batch(count) => count,
    };
    let lines: Vec<Bytes> = waiting.take(count as usize).cloned().collect();
    let sequence = state.segments.sequence_of(from);
    let sending = Sending { life: state.life, attempt: state.attempt, first: from, sequence };
    if overdue.is_none() {
        state.progress = Instant::now();
    }
    state.sent = from + lines.len() as u64;
    state.highest = state.highest.max(sequence);
    Step::Send(lines, sending)
}

impl Sender {
    async fn send(&self, log: &Log, lines: Vec<Bytes>, sending: &Sending) {
        let Sending { life, attempt, .. } = *sending;
        let sent = self.send_together(log, lines, sending);
        let problem = match timeout(self.options.publish_timeout(), sent).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the connection takes no more".to_owned(),
        };
        log.refused(life, attempt, None, problem);
    }

    /// Sends the lines, several as one batch, all over one connection. The last message is answered, for all of them.
    async fn send_together(
        &self,
        log: &Log,
        lines: Vec<Bytes>,
        sending: &Sending,
    ) -> Result<(), PublishError> {
        let wire = self.wires.to(&log.stream);
        let count = lines.len() as u64;
        let id = (count > 1).then(|| format!("{:016x}", self.next_batch.fetch_add(1, Ordering::Relaxed)));
        for (line, at) in lines.into_iter().zip(1..) {
            let mut headers =
                if at == 1 { expecting(EXPECTED_LAST, sending.sequence - 1) } else { HeaderMap::new() };
            if let Some(id) = &id {
                in_batch(&mut headers, id, at, at == count);
            }
            let to = log.publish_to.clone();
            if at < count {
                wire.client.publish_with_headers(to, headers, line).await?;
            } else {
                let reply = reply(wire, log, sending, count);
                wire.client.publish_with_reply_and_headers(to, reply, headers, line).await?;
            }
        }
        Ok(())
    }

    /// Reads what stands where the lines belong that are not acknowledged; what is missing is sent again.
    async fn look(&self, log: &Log, reason: String) {
        let since = {
            let mut state = log.state.lock();
            *state.troubled.get_or_insert_with(Instant::now)
        };
        // Who was sent to may lead no more, or be out of reach.
        self.wires.avoid(&log.stream);
        let (compared, ()) = tokio::join!(self.compare(log), self.find_leader(log));
        let compared = match compared {
            Err(failure) if failure.is_no_stream() => self.gone(log).await,
            compared => compared,
        };
        if self.go_on(log, since, reason, compared) {
            sleep(PAUSE).await;
        }
    }

    /// Finds out who leads the log's stream. Where that is not known it goes without.
    async fn find_leader(&self, log: &Log) {
        if self.wires.is_choice()
            && let Ok(Some(info)) = self.api.within(self.options.publish_timeout()).stream(&log.stream).await
        {
            self.wires.leads(&log.stream, info.leader());
        }
    }

    /// Decides how it goes on after the end was read; returns whether that was no step forward.
    fn go_on(
        &self,
        log: &Log,
        since: Instant,
        reason: String,
        compared: Result<Option<Poison>, Failure>,
    ) -> bool {
        let mut state = log.state.lock();
        let still = state.troubled == Some(since);
        let poison = match compared {
            Ok(Some(poison)) => poison,
            compared if still && since.elapsed() >= self.options.give_up() => {
                let last = compared.err().map_or(reason, |failure| failure.to_string());
                let text = format!(
                    "no acknowledgement within {} ms ({last}): whether lines from offset {} on are in the log is \
                     unknown",
                    since.elapsed().as_millis(),
                    state.acked
                );
                Poison::Failed(text.into())
            }
            Ok(None) => {
                state.begin_again();
                state.fruitless = state.fruitless.saturating_add(1);
                return still;
            }
            Err(failure) => {
                state.trouble = Some(failure.to_string());
                return still;
            }
        };
        drop(state);
        log.poison(poison);
        false
    }

    /// Why a log's stream is gone: nobody deletes a log that is open, but a later owner.
    async fn gone(&self, log: &Log) -> Result<Option<Poison>, Failure> {
        let by = self.directory.taken_by(&log.tenure).await?;
        Ok(Some(match by {
            Some(by) => {
                let end = log.state.lock().acked;
                Poison::Fenced { batch: end, end, by: Some(by.into()) }
            }
            None => Poison::Failed(format!("its stream {} is gone", log.stream).into()),
        }))
    }

    /// Compares what stands in the log with what was sent. Where something else stands, the log is fenced.
    async fn compare(&self, log: &Log) -> Result<Option<Poison>, Failure> {
        let api = self.api.within(self.options.publish_timeout());
        loop {
            let (life, from, sent, segments, count) = {
                let state = log.state.lock();
                let longest = state.pending.iter().map(Bytes::len).max().unwrap_or(0);
                let count = LOOK_AT.min((LOOK_AT_BYTES / longest.max(1)) as u64).max(1);
                (state.life, state.acked, state.sent, Arc::clone(&state.segments), count)
            };
            let offsets = from..sent.min(from + count);
            if offsets.is_empty() {
                return Ok(None);
            }
            let found =
                join_all(offsets.clone().map(|offset| api.at(&log.stream, segments.sequence_of(offset))))
                    .await;
            for (offset, stored) in offsets.zip(found) {
                let Some(stored) = stored? else {
                    // Nothing, or the mark of an owner whose own was replaced since.
                    let by = last_cut(&api, &log.stream, &log.cut_subject).await?;
                    let by = by.and_then(|by| by.by_later(&log.tenure)).map(Arc::from);
                    let end = log.state.lock().acked;
                    return Ok(by.map(|by| Poison::Fenced { batch: end, end, by: Some(by) }));
                };
                let own = {
                    let state = log.state.lock();
                    // It may have been acknowledged meanwhile.
                    offset < state.acked || state.line(offset) == Some(&stored.data)
                };
                if stored.subject == log.cut_subject && log.tenure.has_cut(&stored.data) {
                    // The log has one owner still, which does not know where its own cut has put the lines.
                    let reason = "a cut of this server's came late: the log is to be reopened";
                    return Ok(Some(Poison::Failed(reason.into())));
                }
                if !own || stored.subject != log.line_subject {
                    let last =
                        api.stream(&log.stream).await?.map_or(stored.sequence, |info| info.state.last_seq);
                    let end = segments.offset_from(last + 1);
                    let by = last_cut(&api, &log.stream, &log.cut_subject).await?;
                    let by = by.and_then(|by| by.by_later(&log.tenure)).map(Arc::from);
                    return Ok(Some(Poison::Fenced { batch: offset, end, by }));
                }
                log.stored(life, offset..offset + 1);
            }
        }
    }
}

/// Where the acknowledgement of so many lines goes: [`take_note`] reads what it is for.
fn reply(wire: &Wire, log: &Log, sending: &Sending, count: u64) -> String {
    let Sending { life, attempt, first, .. } = sending;
    format!("{}.{:x}-{life:x}-{attempt:x}-{first:x}-{count:x}", wire.inbox, log.key)
}

/// Hands an acknowledgement to its log's state. `token` is what [`reply`] put behind the inbox.
pub(crate) fn take_note(
    token: &str,
    find: impl Fn(u64) -> Option<Arc<Log>>,
    answer: impl FnOnce() -> Result<u64, Failure>,
) {
    let mut numbers = token.split('-').map(|number| u64::from_str_radix(number, 16).ok());
    let mut number = || numbers.next().flatten();
    let (Some(key), Some(life), Some(attempt), Some(first), Some(count)) =
        (number(), number(), number(), number(), number())
    else {
        ::log::warn!("an acknowledgement that nobody waits for: {token}");
        return;
    };
    // A log that was closed waits for nothing.
    let Some(log) = find(key) else { return };
    let (life, attempt, end) = (life as u32, attempt as u32, first.saturating_add(count));
    let expected = {
        let state = log.state.lock();
        (state.life == life).then(|| state.segments.sequence_of(end.saturating_sub(1)))
    };
    let Some(expected) = expected else { return };
    match answer() {
        Ok(sequence) if sequence == expected => log.stored(life, first..end),
        Ok(sequence) => {
            let reason = format!("offset {} was given sequence {sequence}, expected {expected}", end - 1);
            log.refused(life, attempt, None, reason);
        }
        Err(failure) => {
            let code = if let Failure::Refused { code, .. } = failure { Some(code) } else { None };
            log.refused(life, attempt, code, failure.to_string());
        }
    }
}
