//! Publishing to streams without Wafka, by the client crate alone: what the engine gives a program that sends it the same
//! bytes under the same conditions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::{Context, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use wafka_test_nats::{Cluster, USER};

use super::{Figures, Shape};
use crate::latency::Latency;
use crate::load::PATIENCE;
use crate::{BenchError, Result};

/// The messages of a batch at most. The engine takes 1,000; more than 500 gain nothing.
const BATCH_MAX: usize = 500;
/// Digits of a message's number.
const DIGITS: usize = 20;

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each by itself: it says which sequence it follows, and is acknowledged.
    Single,
    /// In atomic batches: the first message says which sequence it follows, the last one is acknowledged.
    Batches,
}

/// An error of the engine's, or of the client crate.
pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> BenchError {
    BenchError::Setup(format!("{what}: {error}"))
}

/// Connects as a program would that publishes much.
pub(super) async fn connect(engine: &Cluster) -> Result<Context> {
    let addresses: Result<Vec<async_nats::ServerAddr>, _> =
        engine.addresses().iter().map(|server| server.parse()).collect();
    let addresses = addresses.map_err(|error| failed("the engine's addresses", error))?;
    let options = async_nats::ConnectOptions::new()
        .name("wafka-bench")
        .user_and_password(USER.user.into(), USER.password.into())
        .skip_subject_validation(true);
    let client = options.connect(addresses).await.map_err(|error| failed("connect to the engine", error))?;
    Ok(async_nats::jetstream::context::ContextBuilder::new()
        .timeout(PATIENCE)
        .ack_timeout(PATIENCE)
        .build(client))
}

/// Deletes every stream whose name begins so, and the key-value buckets.
pub(super) async fn delete_streams(context: &Context, beginning: &str) -> Result<()> {
    let names: Vec<String> =
        context.stream_names().try_collect().await.map_err(|error| failed("list streams", error))?;
    let of_run = |name: &&String| name.strip_prefix("KV_").unwrap_or(name).starts_with(beginning);
    for name in names.iter().filter(of_run) {
        context.delete_stream(name).await.map_err(|error| failed(&format!("delete stream {name}"), error))?;
    }
    Ok(())
}

/// A line as Wafka stores it for an event of one field with `size` bytes, which begin with the message's number.
#[derive(Clone, Debug)]
struct Line {
    bytes: Vec<u8>,
    number_at: usize,
}

impl Line {
    fn new(size: usize) -> Self {
        let head = "{\"event_id\":\"1763859377000-12\",\"topic_name\":\"bench\",\"partition\":1,\"offset\":12345,\
                    \"timestamp\":\"2025-11-23T00:56:17.000Z\",\"message\":{\"f\":\"";
        let filler = "x".repeat(size.saturating_sub(DIGITS));
        let text = format!("{head}{:0DIGITS$}{filler}\"}},\"crc32c\":\"4c9c0241\"}}\n", 0);
        Line { bytes: text.into_bytes(), number_at: head.len() }
    }

    fn numbered(&self, number: u64) -> Bytes {
        let mut bytes = self.bytes.clone();
        let digits = format!("{number:0DIGITS$}");
        bytes[self.number_at..self.number_at + DIGITS].copy_from_slice(digits.as_bytes());
        bytes.into()
    }

    /// Whether this is the message of that number.
    fn is(&self, bytes: &[u8], number: u64) -> bool {
        *self.numbered(number) == *bytes
    }
}

/// Publishes to one stream.
struct Publisher {
    context: Context,
    stream: String,
    line: Line,
    manner: Manner,
    /// Messages on their way at most.
    window: usize,
    /// Messages sent; each is one of the stream's sequences.
    sent: u64,
    latency: Latency,
    /// What is not acknowledged: when it was begun, the last sequence it stores, and the answer.
    waiting: VecDeque<(Instant, u64, PublishAckFuture)>,
}

/// What one of them did.
struct Published {
    stream: String,
    line: Line,
    messages: u64,
    latency: Latency,
}

impl Publisher {
    async fn run(mut self, until: Instant) -> Result<Published> {
        let (step, depth) = match self.manner {
            Manner::Single => (1, self.window),
            Manner::Batches => {
                let step = self.window.min(BATCH_MAX);
                (step, (self.window / step).max(1))
            }
        };
        loop {
            while self.waiting.len() < depth && Instant::now() < until {
                self.send(step).await?;
            }
            let Some((begun, last, answer)) = self.waiting.pop_front() else { break };
            let answer = answer.await.map_err(|error| failed("an acknowledgement", error))?;
            if answer.sequence != last {
                let problem = format!("acknowledged as {}, expected {last}", answer.sequence);
                return Err(BenchError::ReadBack(problem));
            }
            self.latency.record(begun.elapsed());
        }
        let Publisher { stream, line, sent: messages, latency, .. } = self;
        Ok(Published { stream, line, messages, latency })
    }

    /// Sends the next messages: one, or a batch of `count`.
    async fn send(&mut self, count: usize) -> Result<()> {
        let begun = Instant::now();
        let error = |error: &dyn std::fmt::Display| failed("publish", error);
        let batch = format!("{}-{}", self.stream, self.sent);
        for at in 1..=count {
            let mut headers = HeaderMap::new();
            if at == 1 {
                headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, self.sent.to_string());
            }
            if self.manner == Manner::Batches {
                headers.insert("Nats-Batch-Id", batch.as_str());
                headers.insert("Nats-Batch-Sequence", at.to_string());
            }
            let (line, subject) = (self.line.numbered(self.sent), self.stream.clone());
            self.sent += 1;
            if at < count {
                let sent = self.context.client().publish_with_headers(subject, headers, line).await;
                sent.map_err(|source| error(&source))?;
                continue;
            }
            if self.manner == Manner::Batches {
                headers.insert("Nats-Batch-Commit", "1");
            }
            let message = PublishMessage::build().headers(headers).payload(line);
            let answer =
                self.context.send_publish(subject, message).await.map_err(|source| error(&source))?;
            self.waiting.push_back((begun, self.sent, answer));
        }
        Ok(())
    }
}

impl Published {
    /// Reads the stream from its start: every message once, in order, and nothing else.
    async fn verify(&self, context: &Context) -> Result<()> {
        let name = &self.stream;
        let error = |what: &str, source: &dyn std::fmt::Display| failed(&format!("{what} of {name}"), source);
        let stream = context.get_stream(name).await.map_err(|source| error("read", &source))?;
        let held = stream.cached_info().state.messages;
        if held != self.messages {
            let problem = format!("{name}: {} messages acknowledged, {held} there", self.messages);
            return Err(BenchError::ReadBack(problem));
        }
        let consumer = stream.create_consumer(OrderedConfig::default()).await;
        let consumer = consumer.map_err(|source| error("consumer", &source))?;
        let messages = consumer.messages().await.map_err(|source| error("messages", &source))?;
        let mut messages = messages.take(usize::try_from(self.messages).unwrap_or(usize::MAX));
        let mut number = 0;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|source| error("messages", &source))?;
            if !self.line.is(&message.payload, number) {
                let problem = format!("{name}: message {number} is not the one that was sent");
                return Err(BenchError::ReadBack(problem));
            }
            number += 1;
        }
        Ok(())
    }
}

/// One run on streams of its own, whose names begin with `prefix`; they are deleted afterwards.
pub(super) async fn run(
    engine: &Cluster,
    shape: Shape,
    manner: Manner,
    prefix: &str,
    load: Duration,
) -> Result<Figures> {
    let context = connect(engine).await?;
    let window = shape.conns * shape.pipeline;
    // As many streams as a topic has partitions, unless there is less on its way at once.
    let streams = window.min(super::partitions());
    let mut publishers = Vec::new();
    for index in 0..streams {
        let name = format!("{prefix}-{index}");
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            storage: stream::StorageType::File,
            num_replicas: engine.replicas().into(),
            allow_atomic_publish: manner == Manner::Batches,
            ..stream::Config::default()
        };
        context.create_stream(config).await.map_err(|error| failed("make a stream", error))?;
        publishers.push(Publisher {
            context: context.clone(),
            stream: name,
            line: Line::new(shape.size),
            manner,
            window: window / streams,
            sent: 0,
            latency: Latency::new(),
            waiting: VecDeque::new(),
        });
    }
    let begun = Instant::now();
    let tasks: Vec<_> =
        publishers.into_iter().map(|publisher| tokio::spawn(publisher.run(begun + load))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.map_err(|error| failed("publish", error))??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut latency = Latency::new();
    for published in &all {
        published.verify(&context).await?;
        latency.add(&published.latency);
    }
    delete_streams(&context, prefix).await?;
    let events: u64 = all.iter().map(|published| published.messages).sum();
    Ok(Figures { events, events_per_second: events as f64 / seconds, round_trip: latency.percentiles() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_those_that_are_stored() {
        let line = Line::new(100);
        let stored = "{\"event_id\":\"1763859377000-12\",\"topic_name\":\"bench\",\"partition\":1,\"offset\":12345,\
                      \"timestamp\":\"2025-11-23T00:56:17.000Z\",\"message\":{\"f\":\"\"},\"crc32c\":\"4c9c0241\"}\n";
        assert_eq!(line.numbered(7).len(), stored.len() + 100);
        assert!(line.is(&line.numbered(7), 7) && !line.is(&line.numbered(7), 8));
        let text = String::from_utf8(line.numbered(7).to_vec()).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["message"]["f"].as_str().map(str::len), Some(100));
    }
}
