//! Cuts off the end of a log, so that nothing that was sent before can come back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use wafka_core::Offset;
use wafka_core::storage::StorageError;

use crate::api::{Api, Failure};
use crate::home::Home;
use crate::io_error;
use crate::log::{Log, Poison};
use crate::mark;
use crate::segments::{Cut, Segments};

/// So many messages are asked for at once.
const AT_ONCE: u64 = 64;
/// How long a leader of the stream is waited for, at most, with each request: who reopens a log keeps others waiting, and
/// tries again.
const PROBE: Duration = Duration::from_secs(1);
/// How long all of it may take: a leader that answers everything, and each time late, keeps the others waiting no longer.
const CUT_MAX: Duration = Duration::from_secs(5);

/// Why a log was not cut.
enum NotCut {
    Failure(Failure),
    /// Lines are missing that must be there.
    Short(Offset),
    /// Somebody else wrote behind this offset; the log ends at that one.
    Foreign(Offset, Offset),
    /// The log belongs to somebody else.
    Taken(String),
}

/// A log after it was cut.
struct Done {
    segments: Segments,
    /// The last sequence, and that of the last cut; 0 where there is none.
    last: u64,
    last_cut: u64,
}

impl From<Failure> for NotCut {
    fn from(failure: Failure) -> Self {
        NotCut::Failure(failure)
    }
}

impl Home {
    /// Makes a log end at offset `end`, and writable again. What stands behind it must have been written from here: what
    /// another writer wrote is never cut.
    pub(crate) async fn cut(&self, log: &Log, end: Offset) -> Result<(), StorageError> {
        let probe = PROBE.min(self.options().publish_timeout());
        if let Some(by) = log.tenure.over() {
            return Err(self.taken(log, by));
        }
        let error = |reason: String| io_error(&log.name.to_string(), "reopen", std::io::Error::other(reason));
        let Ok(_turn) = timeout(probe, log.turn.lock()).await else {
            return Err(error("what was sent before is still under way".into()));
        };
        {
            let mut state = log.state.lock();
            // Nobody waits for it any longer, or believes an acknowledgement of it.
            state.poisoned.get_or_insert_with(|| Poison::Failed("the log is being reopened".into()));
            state.life = state.life.wrapping_add(1);
            log.tell();
        }
        // It may go after any answer. However this ends, the next attempt goes on where it was given up.
        let api = self.api().within(PROBE);
        let limit = CUT_MAX.min(self.options().request_timeout());
        let done = match timeout(limit, self.cut_stream(&api, log, end)).await {
            Ok(done) => done,
            Err(_) => return Err(error("the engine did not answer in time".into())),
        };
        match done {
            Ok(Done { segments, last, last_cut }) => {
                self.is_cut(log, end, segments, last, last_cut);
                log.tenure.over().map_or(Ok(()), |by| Err(self.taken(log, by)))
            }
            Err(NotCut::Taken(title)) => {
                self.end(&log.tenure, &title);
                Err(self.taken(log, &title.into()))
            }
            Err(NotCut::Failure(failure)) => Err(error(failure.to_string())),
            Err(NotCut::Short(found)) => {
                let reason = format!("the log ends at offset {found}, expected {end}");
                Err(StorageError::Damaged { log: log.name.clone(), position: 0, reason })
            }
            Err(NotCut::Foreign(batch, end)) => {
                let mut state = log.state.lock();
                state.poisoned = Some(Poison::Fenced { batch, end, by: None });
                Err(StorageError::Fenced { log: log.name.clone(), batch, end })
            }
        }
    }

    fn taken(&self, log: &Log, by: &Arc<str>) -> StorageError {
        log.fence(by);
        let acked = log.state.lock().acked;
        let poison = Poison::Fenced { batch: acked, end: acked, by: Some(Arc::clone(by)) };
        poison.failure(&log.name, "reopen")
    }

    fn is_cut(&self, log: &Log, end: Offset, segments: Segments, last: u64, last_cut: u64) {
        let mut state = log.state.lock();
        let gone = state.pending_bytes as u64 + state.mean_line() * state.acked.saturating_sub(end);
        state.bytes = state.bytes.saturating_sub(gone);
        state.pending.clear();
        state.pending_bytes = 0;
        if end < state.end {
            state.generation = self.next_generation();
        }
        (state.acked, state.end) = (end, end);
        state.first = state.first.min(end);
        state.segments = Arc::new(segments);
        state.highest = state.highest.max(last);
        state.last_cut = last_cut;
        state.begin_again();
        state.troubled = None;
        state.poisoned = None;
        drop(state);
        if let Some(by) = log.tenure.over() {
            log.fence(by);
        }
    }

    async fn cut_stream(&self, api: &Api, log: &Log, end: Offset) -> Result<Done, NotCut> {
        let (before, known, mut highest) = {
            let state = log.state.lock();
            let known = state.segments.sequence_of(state.acked) - 1;
            (Arc::new(state.segments.from(state.first)), known, state.highest)
        };
        let behind = before.sequence_of(end);
        let mut written = false;
        loop {
            let (info, last_cut) =
                tokio::join!(api.stream(&log.stream), mark::last_cut(api, &log.stream, &log.cut_subject));
            let Some(info) = info? else {
                let by = self.directory.taken_by(&log.tenure).await?;
                let gone = || Failure::Strange("the log's stream is gone".into());
                return Err(by.map_or_else(|| gone().into(), NotCut::Taken));
            };
            let last_cut = last_cut?;
            if let Some(title) = last_cut.as_ref().and_then(|last| last.by_later(&log.tenure)) {
                return Err(NotCut::Taken(title));
            }
            let replaced = last_cut.map_or(0, |last| last.sequence);
            let last = info.state.last_seq;
            if last + 1 < behind {
                return Err(NotCut::Short(before.offset_from(last + 1)));
            }
            self.check_own(api, log, known + 1..last + 1).await?;
            let segments = before.cut(end, last + 1);
            // What was under way follows a sequence that is taken: it is refused, however late it comes.
            if last >= highest {
                if !written && last + 1 == behind {
                    return Ok(Done { segments: Segments::clone(&before), last, last_cut: replaced });
                }
                if self.is_cut_at(api, log, last, &segments).await? {
                    return Ok(Done { segments, last, last_cut: last });
                }
            }
            written = true;
            let segments = before.cut(end, last + 2);
            let body = mark::cut_body(&log.tenure, &segments, last, api.longest())?;
            // It may come late, however this ends.
            highest = log.will_send(last + 1);
            match api.replace(log.cut_subject.clone(), last, replaced, body).await {
                Ok(sequence) => {
                    if replaced > 0 {
                        // One is enough to know.
                        api.remove(&log.stream, replaced).await?;
                    }
                    if sequence >= highest {
                        return Ok(Done { segments, last: sequence, last_cut: sequence });
                    }
                }
                // Something came first, or its answer was lost: the end says which.
                Err(failure) if failure.is_wrong_last() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Moves a log's last cut to its end, so that what lies below may be purged with everything in it. Everything that was
    /// appended must be acknowledged.
    pub(crate) async fn move_cut(&self, log: &Log) -> Result<(), Failure> {
        let _turn = log.turn.lock().await;
        let (segments, base, replaced) = {
            let state = log.state.lock();
            let base = state.segments.sequence_of(state.end) - 1;
            (state.segments.from(state.first).cut(state.end, base + 2), base, state.last_cut)
        };
        let body = mark::cut_body(&log.tenure, &segments, base, self.api().longest())?;
        // It may come late, however this ends: a reopening sees to it then that it is refused.
        log.will_send(base + 1);
        let sent = self.api().replace(log.cut_subject.clone(), base, replaced, body).await;
        let sequence = match sent {
            // Its answer was lost: it is there, or the log belongs to somebody else.
            Err(refused) if refused.is_wrong_last() => {
                if !self.is_cut_at(self.api(), log, base + 1, &segments).await? {
                    return Err(refused);
                }
                base + 1
            }
            sent => sent?,
        };
        let mut state = log.state.lock();
        (state.segments, state.last_cut) = (Arc::new(segments), sequence);
        state.highest = state.highest.max(sequence);
        Ok(())
    }

    /// Whether the message with this sequence is a cut that was written from here and says this.
    async fn is_cut_at(
        &self,
        api: &Api,
        log: &Log,
        sequence: u64,
        segments: &Segments,
    ) -> Result<bool, Failure> {
        let Some(stored) = api.at(&log.stream, sequence).await? else { return Ok(false) };
        let cut = serde_json::from_slice::<Cut>(&stored.data);
        let says =
            |cut: Cut| log.tenure.is_own(cut.epoch, &cut.writer) && cut.segments == segments.as_slice();
        Ok(stored.subject == log.cut_subject && cut.is_ok_and(says))
    }

    /// Makes sure that what stands behind the acknowledged lines was sent from here.
    async fn check_own(&self, api: &Api, log: &Log, sequences: std::ops::Range<u64>) -> Result<(), NotCut> {
        let mut from = sequences.start;
        while from < sequences.end {
            let some = from..sequences.end.min(from + AT_ONCE);
            from = some.end;
            let found = join_all(some.clone().map(|sequence| api.at(&log.stream, sequence))).await;
            for (sequence, stored) in some.zip(found) {
                // Earlier cuts are purged; a line here never is.
                let Some(stored) = stored? else { continue };
                let state = log.state.lock();
                let offset = state.segments.offset_from(sequence);
                let own = if stored.subject == log.cut_subject {
                    log.tenure.has_cut(&stored.data)
                } else {
                    state.line(offset) == Some(&stored.data)
                };
                if !own {
                    return Err(NotCut::Foreign(offset, state.segments.offset_from(sequences.end)));
                }
            }
        }
        Ok(())
    }
}
