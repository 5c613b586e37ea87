//! Cuts off the end of a log, so that nothing that was sent before can come back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use wafka_core::Offset;
use wafka_core::storage::StorageError;

use crate::api::{Api, Failure};
use crate::home::Home;
use crate::io_error;
use crate::log::{Log, Poison};
use crate::segments::{Cut, Segments};

/// So many cuts are sent at once.
const AT_ONCE: u64 = 64;

/// Why a log was not cut.
enum NotCut {
    Failure(Failure),
    /// Lines are missing that must be there.
    Short(Offset),
    /// Somebody else wrote behind this offset; the log ends at that one.
    Foreign(Offset, Offset),
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
        let deadline = Instant::now() + self.options().request_timeout();
        let error = |reason: String| io_error(&log.name.to_string(), "reopen", std::io::Error::other(reason));
        let Ok(_turn) = timeout_at(deadline, log.turn.lock()).await else {
            return Err(error("what was sent before is still under way".into()));
        };
        {
            let mut state = log.state.lock();
            // Nobody waits for it any longer, or believes an acknowledgement of it.
            state.poisoned.get_or_insert_with(|| Poison::Failed("the log is being reopened".into()));
            state.life = state.life.wrapping_add(1);
            log.changed.notify_all();
        }
        let done = match timeout_at(deadline, self.cut_stream(log, end)).await {
            Ok(done) => done,
            Err(_) => return Err(error("the engine did not answer in time".into())),
        };
        match done {
            Ok((segments, last)) => {
                self.is_cut(log, end, segments, last);
                Ok(())
            }
            Err(NotCut::Failure(failure)) => Err(error(failure.to_string())),
            Err(NotCut::Short(found)) => {
                let reason = format!("the log ends at offset {found}, expected {end}");
                Err(StorageError::Damaged { log: log.name.clone(), position: 0, reason })
            }
            Err(NotCut::Foreign(batch, end)) => {
                let mut state = log.state.lock();
                state.poisoned = Some(Poison::Fenced { batch, end });
                Err(StorageError::Fenced { log: log.name.clone(), batch, end })
            }
        }
    }

    fn is_cut(&self, log: &Log, end: Offset, segments: Segments, last: u64) {
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
        state.begin_again();
        state.troubled = None;
        state.poisoned = None;
    }

    /// Returns the segments and the last sequence after the cut.
    async fn cut_stream(&self, log: &Log, end: Offset) -> Result<(Segments, u64), NotCut> {
        let api = self.api();
        let (before, known, highest) = {
            let state = log.state.lock();
            let known = state.segments.sequence_of(state.acked) - 1;
            (Arc::new(state.segments.from(state.first)), known, state.highest)
        };
        let behind = before.sequence_of(end);
        let mut written = false;
        loop {
            let info = api.stream(&log.stream).await?;
            let last =
                info.ok_or_else(|| Failure::Strange("the log's stream is gone".into()))?.state.last_seq;
            if last + 1 < behind {
                return Err(NotCut::Short(before.offset_from(last + 1)));
            }
            self.check_own(api, log, known + 1..last + 1).await?;
            if last >= highest {
                if !written && last + 1 == behind {
                    return Ok((Segments::clone(&before), last));
                }
                let segments = before.cut(end, last + 1);
                if self.is_cut_at(api, log, last, &segments).await? {
                    // One is enough to know.
                    api.purge(&log.stream, last, Some(&log.cut_subject)).await?;
                    return Ok((segments, last));
                }
            }
            // Whatever else is under way follows a sequence that will be taken: it is refused, however late it comes.
            let count = (highest.saturating_sub(last)).clamp(1, AT_ONCE);
            written = true;
            {
                // Cuts that come late would do harm, too.
                let mut state = log.state.lock();
                state.highest = state.highest.max(last + count);
            }
            let cuts = (1..=count).map(|at| {
                let segments = before.cut(end, last + at + 1).as_slice().to_vec();
                let cut = Cut { segments, base: last, writer: self.session().to_owned() };
                let body = Bytes::from(serde_json::to_vec(&cut).unwrap_or_default());
                api.publish_behind(log.cut_subject.clone(), last + at - 1, body)
            });
            for answer in join_all(cuts).await {
                match answer {
                    Ok(_) => {}
                    // Something came first, or its answer was lost: the end says which.
                    Err(failure) if failure.is_wrong_last() => {}
                    Err(failure) => return Err(failure.into()),
                }
            }
        }
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
        let says = |cut: Cut| cut.writer == self.session() && cut.segments == segments.as_slice();
        Ok(stored.subject == log.cut_subject && cut.is_ok_and(says))
    }

    fn wrote(&self, cut: &[u8]) -> bool {
        serde_json::from_slice::<Cut>(cut).is_ok_and(|cut| cut.writer == self.session())
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
                    self.wrote(&stored.data)
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
