//! What is asked of the engine, and how its answers look: JSON on subjects that begin with `$JS.API`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::{Acknowledged, Passing, StoredAnswer, StoredMessage, understand};
pub(crate) use crate::answer::{Stored, StreamInfo, acknowledged};

/// The header by which a message says what it follows in the stream …
pub(crate) const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";
/// … and on its subject.
const EXPECTED_LAST_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence";
/// The engine's numbers for a message that does not follow what it says, with what there is and without.
pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10_071;
const WRONG_LAST_SEQUENCE_UNNAMED: u64 = 10_164;
const STREAM_NOT_FOUND: u64 = 10_059;
const NO_MESSAGE_FOUND: u64 = 10_037;
const SEQUENCE_NOT_FOUND: u64 = 10_043;
/// A batch has more messages than the servers are configured to take; or, as whoever sent too many in it is told at its end,
/// and whoever ends it twice: nobody knows its beginning.
const BATCH_TOO_LARGE: u64 = 10_199;
const BATCH_INCOMPLETE: u64 = 10_176;
/// A message was not removed, for one of many reasons …
const DELETE_FAILED: u64 = 10_057;
/// … of which these say that there is none.
const NOT_THERE: [&str; 3] = ["stream store EOF", "no message found", "deleted message"];
/// How long one request is waited for as a rule.
pub(crate) const TRY: Duration = Duration::from_millis(1500);
/// The pause before that, where the answer was that nobody can answer now.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes that a message's headers take, at most.
const HEADERS_MAX: usize = 192;

/// Bytes that the engine stores beside the subject, the headers and the data of a message.
const STORED_BESIDE: u64 = 34;
/// Bytes of the headers of a line.
const HEADERS: u64 = ("NATS/1.0\r\n".len() + EXPECTED_LAST.len() + ": \r\n\r\n".len() + 19) as u64;

/// Bytes of the headers that a cut has beside those.
const HEADERS_OF_CUT: u64 = (EXPECTED_LAST_OF_SUBJECT.len() + ": \r\n".len() + 19) as u64;

/// Bytes that a cut takes in its stream beside its data.
pub(crate) fn bytes_beside_cut(subject: &str) -> u64 {
    bytes_beside(subject) + HEADERS_OF_CUT
}

/// Bytes that a line takes in its stream beside its data. One of a batch takes some more: a sum that follows from this one
/// is an estimate.
pub(crate) fn bytes_beside(subject: &str) -> u64 {
    STORED_BESIDE + HEADERS + subject.len() as u64
}

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answered. Whether it came about is unknown.
    #[error("no answer from the engine within {} ms ({last})", .waited.as_millis())]
    Silence { waited: Duration, last: String },
    /// The engine refused.
    #[error("the engine refused: {description} (error {code})")]
    Refused { code: u64, description: String },
    /// A log has more segments than its cut can say.
    #[error(
        "the log was taken over or cut {count} times since its first line, and written to each time: to say so takes {bytes} \
         bytes, and the engine's servers take messages of {longest} (max_payload): expected a larger one"
    )]
    TooOften { count: usize, bytes: usize, longest: usize },
    /// The answer is none that is understood.
    #[error("the engine's answer is not understood: {0}")]
    Strange(String),
}

impl Failure {
    pub(crate) fn is_wrong_last(&self) -> bool {
        matches!(self, Failure::Refused { code: WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_UNNAMED, .. })
    }

    /// Whether what was to be stored all or none was none, as it may have been too much.
    pub(crate) fn is_batch_refused(&self) -> bool {
        matches!(self, Failure::Refused { code: BATCH_TOO_LARGE | BATCH_INCOMPLETE, .. })
    }

    /// Whether a message was not removed as it is not there. There is no number of its own for all of that.
    fn is_not_there(&self) -> bool {
        let Failure::Refused { code, description } = self else { return false };
        match *code {
            SEQUENCE_NOT_FOUND | NO_MESSAGE_FOUND => true,
            DELETE_FAILED => NOT_THERE.iter().any(|says| description.contains(says)),
            _ => false,
        }
    }

    pub(crate) fn is_no_stream(&self) -> bool {
        matches!(self, Failure::Refused { code: STREAM_NOT_FOUND, .. })
    }
}

/// Asks the engine.
#[derive(Clone)]
pub(crate) struct Api {
    pub client: Client,
    /// How long to try.
    pub patience: Duration,
    /// How long one request is waited for before it is sent again: it, or its answer, may be lost.
    pub one_try: Duration,
    /// Whether the engine gave no answer to the last who waited long for one. Who asks then tries once: else what takes many
    /// requests, one after the other, would take as many times as long as one may.
    pub silent: Arc<AtomicBool>,
    #[cfg(test)]
    pub stale: Arc<crate::tests::Stale>,
}

impl Api {
    /// How many bytes a message may have beside its headers.
    pub(crate) fn longest(&self) -> usize {
        self.client.max_payload().saturating_sub(HEADERS_MAX)
    }

    /// The same, with less patience.
    pub(crate) fn within(&self, patience: Duration) -> Self {
        Api { patience: patience.min(self.patience), ..self.clone() }
    }

    /// Asks until there is an answer. What is asked for must come to the same when it is done twice.
    async fn ask<T: DeserializeOwned>(&self, subject: &str, body: &Value) -> Result<T, Failure> {
        let body = Bytes::from(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() });
        self.send(format!("$JS.API.{subject}"), HeaderMap::new(), body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let once = self.silent.load(Ordering::Relaxed);
        let deadline = begun + if once { self.patience.min(self.one_try) } else { self.patience };
        loop {
            let asked = self.client.send_request(
                subject.clone(),
                async_nats::Request::new().headers(headers.clone()).payload(body.clone()).timeout(None),
            );
            let last = match timeout_at(deadline.min(Instant::now() + self.one_try), asked).await {
                Ok(Ok(answer)) => match understand(&answer) {
                    Err(Passing(last)) => last,
                    Ok(understood) => {
                        self.silent.store(false, Ordering::Relaxed);
                        return understood;
                    }
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => self.client.connection_state().to_string(),
            };
            if Instant::now() + PAUSE >= deadline {
                // A moment without an answer says nothing.
                if begun.elapsed() > 2 * self.one_try {
                    self.silent.store(true, Ordering::Relaxed);
                }
                return Err(Failure::Silence { waited: begun.elapsed(), last });
            }
            sleep(PAUSE).await;
        }
    }

    /// Publishes a message and waits for its acknowledgement; returns its sequence. When nobody answers it is sent again:
    /// `headers` must see to it that it counts once.
    async fn publish(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<u64, Failure> {
        self.send::<Acknowledged>(subject, headers, body).await.map(|acknowledged| acknowledged.seq)
    }

    /// Publishes what must be the message behind sequence `last` of its stream.
    pub(crate) async fn publish_behind(
        &self,
        subject: String,
        last: u64,
        body: Bytes,
    ) -> Result<u64, Failure> {
        self.publish(subject, expecting(EXPECTED_LAST, last), body).await
    }

    /// Publishes what must be the message behind sequence `last` of its stream, and replace the one with sequence
    /// `replaced` on its subject; 0 stands for none.
    pub(crate) async fn replace(
        &self,
        subject: String,
        last: u64,
        replaced: u64,
        body: Bytes,
    ) -> Result<u64, Failure> {
        let mut headers = expecting(EXPECTED_LAST, last);
        headers.insert(EXPECTED_LAST_OF_SUBJECT, format!("{replaced:019}"));
        self.publish(subject, headers, body).await
    }

    /// Publishes messages behind sequence `last` of their stream, all or none; at least one, at most 1,000. Returns the last
    /// one's sequence.
    pub(crate) async fn publish_together(
        &self,
        last: u64,
        mut messages: Vec<(String, Bytes)>,
    ) -> Result<u64, Failure> {
        let Some((subject, body)) = messages.pop() else { return Ok(last) };
        if messages.is_empty() {
            return self.publish_behind(subject, last, body).await;
        }
        let count = messages.len() as u64 + 1;
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let headers = |at: u64| {
            let mut headers = if at == 1 { expecting(EXPECTED_LAST, last) } else { HeaderMap::new() };
            in_batch(&mut headers, &id, at, at == count);
            headers
        };
        for ((subject, body), at) in messages.into_iter().zip(1..) {
            let sent = self.client.publish_with_headers(subject, headers(at), body).await;
            sent.map_err(|error| Failure::Silence { waited: Duration::ZERO, last: error.to_string() })?;
        }
        self.publish(subject, headers(count), body).await
    }

    /// Makes a stream; one that has this configuration already stays.
    pub(crate) async fn make_stream(&self, name: &str, config: &Value) -> Result<(), Failure> {
        self.ask::<Value>(&format!("STREAM.CREATE.{name}"), config).await.map(drop)
    }

    /// Gives a stream another configuration.
    pub(crate) async fn update_stream(&self, name: &str, config: &Value) -> Result<(), Failure> {
        self.ask::<Value>(&format!("STREAM.UPDATE.{name}"), config).await.map(drop)
    }

    /// Deletes a stream, if it is there.
    pub(crate) async fn delete_stream(&self, name: &str) -> Result<(), Failure> {
        match self.ask::<Value>(&format!("STREAM.DELETE.{name}"), &Value::Null).await {
            Ok(_) | Err(Failure::Refused { code: STREAM_NOT_FOUND, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// What a stream's leader says of it; `None` when there is no such stream.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, Failure> {
        self.info(name, Value::Null).await
    }

    /// As [`Api::stream`], with the number of messages on `subject`.
    pub(crate) async fn stream_with(&self, name: &str, subject: &str) -> Result<Option<StreamInfo>, Failure> {
        self.info(name, json!({ "subjects_filter": subject })).await
    }

    async fn info(&self, name: &str, query: Value) -> Result<Option<StreamInfo>, Failure> {
        match self.ask(&format!("STREAM.INFO.{name}"), &query).await {
            #[cfg(test)]
            Ok(info) => Ok(Some(self.stale.info(name, info))),
            #[cfg(not(test))]
            Ok(info) => Ok(Some(info)),
            Err(Failure::Refused { code: STREAM_NOT_FOUND, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn stored(&self, stream: &str, query: Value) -> Result<Option<Stored>, Failure> {
        let found = self.found(stream, &query).await;
        #[cfg(test)]
        let found = found.map(|found| self.stale.message(stream, found));
        found
    }

    async fn found(&self, stream: &str, query: &Value) -> Result<Option<Stored>, Failure> {
        let answer = self.ask::<StoredAnswer>(&format!("STREAM.MSG.GET.{stream}"), query).await;
        let message = match answer {
            Ok(answer) => answer.message,
            Err(Failure::Refused { code: NO_MESSAGE_FOUND, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let data = STANDARD.decode(&message.data);
        let data = data.map_err(|error| Failure::Strange(format!("message {}: {error}", message.seq)))?;
        let StoredMessage { subject, seq: sequence, time, .. } = message;
        Ok(Some(Stored { sequence, subject, time, data: data.into() }))
    }

    /// The message with this sequence, as the stream's leader has it.
    pub(crate) async fn at(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, Failure> {
        self.stored(stream, json!({ "seq": sequence })).await
    }

    /// The first message on `subject` (which may have wildcards) from this sequence on. What lies between is in the stream
    /// no more: whoever has a message has applied everything before it.
    pub(crate) async fn at_or_behind(
        &self,
        stream: &str,
        sequence: u64,
        subject: &str,
    ) -> Result<Option<Stored>, Failure> {
        self.stored(stream, json!({ "seq": sequence, "next_by_subj": subject })).await
    }

    /// The first message from this sequence on, of a stream that is known to have one. Whoever knows of none was asleep when
    /// it came, and led the stream before: it is asked again, until it has heard of that.
    ///
    /// # Errors
    /// Also when nobody knows of it in time.
    pub(crate) async fn next(&self, stream: &str, sequence: u64) -> Result<Stored, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(found) = self.at_or_behind(stream, sequence, ">").await? {
                return Ok(found);
            }
            if Instant::now() + PAUSE >= deadline {
                let reason =
                    format!("stream {stream} has a message from {sequence} on, of which it does not know");
                return Err(Failure::Strange(reason));
            }
            sleep(PAUSE).await;
        }
    }

    /// The last message on `subject`.
    pub(crate) async fn last_on(&self, stream: &str, subject: &str) -> Result<Option<Stored>, Failure> {
        self.stored(stream, json!({ "last_by_subj": subject })).await
    }

    /// Removes a message, if it is there. A stream whose messages cannot be removed says so.
    pub(crate) async fn remove(&self, stream: &str, sequence: u64) -> Result<(), Failure> {
        // The bytes are not overwritten: what is not to be found by the server's owner does not belong into a log.
        let body = json!({ "seq": sequence, "no_erase": true });
        match self.ask::<Value>(&format!("STREAM.MSG.DELETE.{stream}"), &body).await {
            Err(failure) if !failure.is_not_there() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Waits until a majority has agreed with the stream's leader on something. Who answers after that has, unless it was
    /// asleep, everything that was acknowledged before: a leader that was cut off does not get this done.
    pub(crate) async fn agree(&self, stream: &str) -> Result<(), Failure> {
        // There never is a message with this sequence, and that is found out when the removal is applied.
        self.remove(stream, u64::MAX >> 1).await
    }

    /// Removes the messages below a sequence.
    pub(crate) async fn purge(&self, stream: &str, below: u64) -> Result<(), Failure> {
        let body = json!({ "seq": below });
        self.ask::<Value>(&format!("STREAM.PURGE.{stream}"), &body).await.map(drop)
    }
}

/// A header with a number. It has as many digits as any, so that all lines that go by themselves have the same length
/// beside their data: how long these are follows from what the engine says of the stream.
pub(crate) fn expecting(header: &'static str, last: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header, format!("{last:019}"));
    headers
}

/// Says of a message which one of a batch it is, from 1 on. The last one commits it.
pub(crate) fn in_batch(headers: &mut HeaderMap, id: &str, at: u64, is_last: bool) {
    headers.insert(NATS_BATCH_ID, id);
    headers.insert(NATS_BATCH_SEQUENCE, at.to_string());
    if is_last {
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
    }
}

/// How a stream is to be: on disk and complete.
#[derive(Serialize)]
pub(crate) struct NewStream<'a> {
    pub name: &'a str,
    pub subjects: &'a [String],
    pub num_replicas: u8,
    pub max_msgs_per_subject: i64,
    /// Whether any replica may be asked for messages, and not its leader alone: it may be behind.
    pub allow_direct: bool,
    pub metadata: Value,
}

impl NewStream<'_> {
    pub(crate) fn config(&self) -> Value {
        json!({
            "name": self.name,
            "subjects": self.subjects,
            "num_replicas": self.num_replicas,
            "max_msgs_per_subject": self.max_msgs_per_subject,
            "metadata": self.metadata,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "compression": "none",
            "allow_atomic": true,
            "allow_direct": self.allow_direct,
            "mirror_direct": false,
        })
    }
}
