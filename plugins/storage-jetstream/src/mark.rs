//! What a log holds, and that nobody but this owner writes it from then on.
//!
//! An owner that finds a log marks it with its epoch before anything else: it cuts it where it ends. The cut says which
//! message it follows, and which cut it replaces, so that it stands only if what was read before it was all there is. Of
//! what an earlier owner ever sent, everything expects to follow a message that stands before the cut, as it has at
//! most one publication of a log under way at a time: so none of it can follow the cut. And whatever it decides later, to
//! cut for example, it must say which cut it replaces.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::sleep;
use wafka_core::Offset;
use wafka_core::storage::{LogName, StorageError};

use crate::api::{Api, Failure, Stored, StreamInfo, bytes_beside, bytes_beside_cut};
use crate::batches::Batches;
use crate::directory::Place;
use crate::gaps::Counts;
use crate::home::failed;
use crate::log::Loaded;
use crate::segments::{Cut, Segments};
use crate::tenure::{Tenure, not_owner, title};

/// How often it is tried to mark a log while an earlier owner goes on writing it.
const ATTEMPTS: usize = 64;
/// Then so many cuts are sent at once, for as many lines that may come first. One of them stands at most, as they all
/// replace the same cut.
const GUESSES: u64 = 32;
/// All of them together say so many segments at most.
const GUESSES_SEGMENTS: u64 = 4096;
/// So often it is asked again for a stream that is said not to be there.
const ASK_AGAIN: usize = 20;
/// The pause before somebody is asked again who does not know what there is.
const PAUSE: Duration = Duration::from_millis(50);

/// A log's last cut.
pub(crate) struct LastCut {
    pub sequence: u64,
    pub cut: Cut,
    /// Its length.
    bytes: u64,
}

/// The last cut there is.
pub(crate) async fn last_cut(api: &Api, stream: &str, subject: &str) -> Result<Option<LastCut>, Failure> {
    let parse = |stored: Stored| {
        let cut = serde_json::from_slice(&stored.data).map_err(|error| {
            Failure::Strange(format!("stream {stream}, message {}: {error}", stored.sequence))
        });
        Ok(LastCut { sequence: stored.sequence, cut: cut?, bytes: stored.data.len() as u64 })
    };
    api.last_on(stream, subject).await?.map(parse).transpose()
}

impl LastCut {
    /// Who wrote it, if that is an owner that comes behind this one.
    pub(crate) fn by_later(&self, tenure: &Tenure) -> Option<String> {
        let Cut { epoch, owner, writer, .. } = &self.cut;
        (!tenure.outranks(*epoch, writer)).then(|| title(*epoch, owner))
    }

    fn segments(&self, stream: &str) -> Result<Segments, String> {
        let wrong = |reason: String| format!("stream {stream}, message {}: {reason}", self.sequence);
        let segments = Segments::from_cut(&self.cut).map_err(wrong)?;
        let follows = segments.as_slice().last().is_some_and(|last| last.sequence == self.sequence + 1);
        if self.cut.base + 1 != self.sequence || !follows {
            return Err(wrong("it cuts what was not there when it was sent: it came late".into()));
        }
        Ok(segments)
    }
}

/// The body of a cut behind sequence `base`.
///
/// # Errors
/// Where the log was cut, and written to again, more often than a message of `longest` bytes can say.
pub(crate) fn cut_body(
    tenure: &Tenure,
    segments: &Segments,
    base: u64,
    longest: usize,
) -> Result<Bytes, Failure> {
    let segments = segments.as_slice().to_vec();
    let (owner, writer) = (tenure.owner.address.clone(), tenure.session.clone());
    let cut = Cut { segments, base, epoch: tenure.epoch, owner, writer };
    let body = serde_json::to_vec(&cut).map_err(|error| Failure::Strange(error.to_string()))?;
    let (count, bytes) = (cut.segments.len().saturating_sub(1), body.len());
    if bytes > longest {
        return Err(Failure::TooOften { count, bytes, longest });
    }
    if bytes > longest / 2 {
        ::log::warn!(
            "a log was taken over or cut {count} times since its first line: to say so takes {bytes} bytes of {longest}; \
             trim its topic, or raise the servers' max_payload"
        );
    }
    Ok(Bytes::from(body))
}

/// What is known of a log before anybody is asked: what was acknowledged in this tenure. 0 stands for nothing.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    pub last: u64,
    pub last_cut: u64,
}

/// Finds out what a log holds, and marks it unless that was done, or nobody else knows of it.
pub(crate) async fn load(
    api: &Api,
    tenure: &Tenure,
    name: &LogName,
    place: &Place,
    subject: &str,
    known: Known,
) -> Result<Loaded, StorageError> {
    let stream = place.stream.as_str();
    let (lines, cuts) = (format!("{subject}.line"), format!("{subject}.cut"));
    let wrong = |failure: Failure| failed(&name.to_string(), "open", failure);
    let damaged = |reason: String| StorageError::Damaged { log: name.clone(), position: 0, reason };
    let mut why = "goes on being written to by an earlier owner";
    for attempt in 0..ATTEMPTS {
        tenure.check(&name.to_string())?;
        let (info, last) = tokio::join!(api.stream_with(stream, &lines), last_cut(api, stream, &cuts));
        let Some(info) = info.map_err(wrong)? else {
            // Somebody may have been asleep when it was made.
            if attempt < ASK_AGAIN {
                sleep(PAUSE).await;
                continue;
            }
            return Err(damaged(format!("its stream {stream} is gone")));
        };
        let last = last.map_err(wrong)?;
        info.config.check_keeps(stream).map_err(damaged)?;
        if let Some(title) = last.as_ref().and_then(|last| last.by_later(tenure)) {
            tenure.end(&title);
            return Err(not_owner(&name.to_string(), &title));
        }
        let segments = last.as_ref().map_or(Ok(Segments::default()), |last| last.segments(stream));
        let segments = segments.map_err(damaged)?;
        let is_marked =
            place.is_own || last.as_ref().is_some_and(|last| tenure.is_own(last.cut.epoch, &last.cut.writer));
        // What was cut is in the stream still, and counts for lack of something better.
        let of_cut = last.as_ref().map_or(0, |last| bytes_beside_cut(&cuts) + last.bytes);
        let count = info.state.messages.saturating_sub(u64::from(last.is_some()));
        let bytes = info.state.bytes.saturating_sub(count * bytes_beside(&lines) + of_cut);
        let found = Found { info, segments, last, bytes };
        if is_marked {
            if found.is_behind(known) {
                why = "ends before what is known to be there";
                sleep(PAUSE).await;
                continue;
            }
            api.agree(stream).await.map_err(wrong)?;
            let info = api.stream(stream).await.map_err(wrong)?;
            if info.is_none_or(|info| info.state.last_seq != found.info.state.last_seq) {
                continue;
            }
            return found.loaded(api, name, stream, &lines).await.map_err(wrong);
        }
        let guesses = if attempt == 0 { 1 } else { GUESSES };
        if let Some(marked) =
            found.mark(api, tenure, stream, [&lines, &cuts], guesses).await.map_err(wrong)?
        {
            return marked.loaded(api, name, stream, &lines).await.map_err(wrong);
        }
    }
    Err(wrong(Failure::Strange(format!("stream {stream} {why}"))))
}

/// What was found in a log's stream.
struct Found {
    info: StreamInfo,
    segments: Segments,
    last: Option<LastCut>,
    /// Of the lines.
    bytes: u64,
}

impl Found {
    /// Whether that is said by somebody who was asleep when the mark came, or what else is known to be there.
    fn is_behind(&self, known: Known) -> bool {
        let last_cut = self.last.as_ref().map_or(0, |last| last.sequence);
        last_cut < known.last_cut || self.info.state.last_seq < last_cut.max(known.last)
    }

    /// Cuts the log where it ends, or up to `guesses - 1` lines behind that; `None` when it ends elsewhere.
    async fn mark(
        self,
        api: &Api,
        tenure: &Tenure,
        stream: &str,
        [lines, cuts]: [&str; 2],
        guesses: u64,
    ) -> Result<Option<Self>, Failure> {
        let Found { mut info, segments, last, bytes } = self;
        let kept = segments.from(segments.offset_from(info.state.first_seq));
        let replaced = last.as_ref().map_or(0, |last| last.sequence);
        let base = info.state.last_seq;
        // As the last cut is the one that is replaced, what comes between are lines.
        let longest = api.longest();
        let guesses = guesses.min(GUESSES_SEGMENTS / kept.as_slice().len() as u64).max(1);
        let sent = (base..base + guesses).map(async |base| {
            let segments = kept.cut(segments.offset_from(base + 1), base + 2);
            let body = cut_body(tenure, &segments, base, longest)?;
            match api.replace(cuts.to_owned(), base, replaced, body.clone()).await {
                Ok(sequence) => Ok(Some((sequence, segments, body))),
                // Its answer was lost, or something came first: that is looked at afresh.
                Err(refused) if refused.is_wrong_last() => Ok(None),
                Err(failure) => Err(failure),
            }
        });
        let mut stands = None;
        for sent in join_all(sent).await {
            stands = stands.or(sent?);
        }
        let Some((sequence, segments, body)) = stands else { return Ok(None) };
        if let Some(last) = last {
            api.remove(stream, last.sequence).await?;
        }
        if info.state.last_seq + 1 != sequence {
            // What came before the mark was not counted. Behind it nothing comes any more.
            info.state.subjects = counted_up_to(api, stream, lines, sequence).await?;
        }
        info.state.last_seq = sequence;
        let cut = serde_json::from_slice(&body).map_err(|error| Failure::Strange(error.to_string()))?;
        let last = Some(LastCut { sequence, cut, bytes: body.len() as u64 });
        Ok(Some(Found { info, segments, last, bytes }))
    }

    async fn loaded(self, api: &Api, name: &LogName, stream: &str, lines: &str) -> Result<Loaded, Failure> {
        let Found { info, segments, last, bytes } = self;
        let state = &info.state;
        let end = segments.offset_from(state.last_seq + 1);
        let first = first(api, stream, lines, &segments, state.last_seq, end).await?;
        let Counts { any_from, lines: count } =
            api.counts(stream, lines, &info, &segments, first..end).await?;
        let bytes = if first == end { 0 } else { bytes };
        let leader = info.leader().map(str::to_owned);
        ::log::debug!("{name}, stream {stream}: offsets {first} to {end}, leader {leader:?}");
        let last_cut = last.map_or(0, |last| last.sequence);
        let batches = Batches::new(info.config.num_replicas, info.config.allow_atomic);
        let last_sequence = info.state.last_seq;
        let lines = count;
        Ok(Loaded { first, any_from, lines, end, last_sequence, last_cut, bytes, segments, batches, leader })
    }
}

/// How many messages the stream has on the subject `lines`, when its last one is the mark with this sequence; nothing where
/// nobody is found who knows of that.
async fn counted_up_to(
    api: &Api,
    stream: &str,
    lines: &str,
    sequence: u64,
) -> Result<HashMap<String, u64>, Failure> {
    for _ in 0..ASK_AGAIN {
        match api.stream_with(stream, lines).await? {
            Some(info) if info.state.last_seq == sequence => return Ok(info.state.subjects),
            // Somebody may have been asleep when it was marked.
            _ => sleep(PAUSE).await,
        }
    }
    Ok(HashMap::new())
}

/// The offset of the first line there is, or `end`. `last` is the last message's sequence.
async fn first(
    api: &Api,
    stream: &str,
    lines: &str,
    segments: &Segments,
    last: u64,
    end: Offset,
) -> Result<Offset, Failure> {
    let mut sequence = segments.sequence_of(0);
    if sequence > last {
        // No line was written since all of them went: there is nothing to be found.
        return Ok(end);
    }
    let mut offset = 0;
    while offset < end {
        // Not the first line alone: that there is none could be said by who does not know of it, and what is not known would
        // be purged some day. There is a message at the end, and it is found where everything before it is known.
        let found = api.next(stream, sequence).await?;
        if found.sequence > last {
            let reason =
                format!("message {} of stream {stream} stands behind its end, {last}", found.sequence);
            return Err(Failure::Strange(reason));
        }
        offset = segments.offset_from(found.sequence);
        let counts = segments.sequence_of(offset);
        if counts == found.sequence && found.subject == lines {
            return Ok(offset.min(end));
        }
        // It is a cut, or was cut: what counts begins behind it.
        sequence = counts.max(found.sequence + 1);
    }
    Ok(end)
}
