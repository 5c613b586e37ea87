//! What all parts of the backend share: the connection, its thread, the logs that were opened.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use wafka_core::storage::{LogName, StorageError};

use crate::api::{Api, Failure, StreamInfo, bytes_beside};
use crate::batches::Batches;
use crate::direct::Direct;
use crate::directory::Directory;
use crate::log::{Loaded, Log};
use crate::options::Options;
use crate::segments::{Cut, Segments};
use crate::writer::{self, Sender};
use crate::{connect, io_error};

/// What all parts share.
pub(crate) struct Home {
    /// There until the end.
    runtime: Option<Runtime>,
    pub sender: Arc<Sender>,
    pub directory: Directory,
    pub direct: Direct,
    /// Until then other replicas than the leaders are not asked; counted from `opened`, in milliseconds.
    leader_alone: AtomicU64,
    opened: Instant,
    /// This opening of the backend has it for itself.
    session: String,
    /// Each log that was opened.
    pub logs: Mutex<HashMap<LogName, Arc<Log>>>,
    /// The same by what their acknowledgements go by.
    by_key: Arc<Mutex<HashMap<u64, Weak<Log>>>>,
    next_key: AtomicU64,
    generations: AtomicU32,
    #[cfg(test)]
    pub faults: crate::tests::Faults,
}

impl Home {
    pub(crate) fn open(options: Options) -> Result<Self, StorageError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("jetstream")
            .enable_all()
            .build()
            .map_err(|source| io_error("the backend's thread", "start", source))?;
        let by_key: Arc<Mutex<HashMap<u64, Weak<Log>>>> = Arc::default();
        let (sender, directory, direct) = runtime.block_on(async {
            connect::check_syncs(&options).await?;
            let client = connect::connect(&options, &options.login).await?;
            let inbox = client.new_inbox();
            let subscribed = client.subscribe(format!("{inbox}.*")).await;
            let mut answers = subscribed
                .map_err(|error| io_error("the engine", "subscribe", std::io::Error::other(error)))?;
            let (logs, skip) = (Arc::clone(&by_key), inbox.len() + 1);
            tokio::spawn(async move {
                while let Some(answer) = answers.next().await {
                    let token = answer.subject.get(skip..).unwrap_or_default();
                    let find = |key| logs.lock().get(&key).and_then(Weak::upgrade);
                    writer::take_note(token, find, || crate::api::acknowledged(&answer));
                }
            });
            let direct = Direct::listen(&client)
                .await
                .map_err(|error| io_error("the engine", "subscribe", std::io::Error::other(error)))?;
            let api = Api { client: client.clone(), patience: options.request_timeout() };
            let opened = Directory::open(api.clone(), options.prefix.clone(), options.replicas).await;
            let directory = opened.map_err(|failure| failed("the names of the logs", "open", failure))?;
            let next_batch = AtomicU64::new(fastrand::u64(..));
            let sender = Sender { client, api, options, inbox, next_batch };
            Ok::<_, StorageError>((Arc::new(sender), directory, direct))
        })?;
        Ok(Home {
            runtime: Some(runtime),
            session: sender.inbox.clone(),
            sender,
            directory,
            direct,
            leader_alone: AtomicU64::new(0),
            opened: Instant::now(),
            logs: Mutex::default(),
            by_key,
            next_key: AtomicU64::new(0),
            generations: AtomicU32::new(0),
            #[cfg(test)]
            faults: crate::tests::Faults::default(),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.sender.options
    }

    pub(crate) fn api(&self) -> &Api {
        &self.sender.api
    }

    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether other replicas than the leaders are not asked now, as they did not answer.
    pub(crate) fn is_leader_alone(&self, now: Instant) -> bool {
        let until = Duration::from_millis(self.leader_alone.load(Ordering::Relaxed));
        now < self.opened + until
    }

    /// Asks nobody but the leaders until then.
    pub(crate) fn ask_leader_alone(&self, until: Instant) {
        let until = until.saturating_duration_since(self.opened).as_millis();
        self.leader_alone.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits for something on the backend's own thread.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("invariant: it is there until the end").block_on(future)
    }

    /// How long an append may take at most before it is known to have failed.
    pub(crate) fn longest_wait(&self) -> Duration {
        let options = self.options();
        options.give_up() + 3 * options.publish_timeout() + Duration::from_secs(2)
    }

    /// Begins to write a log.
    pub(crate) fn start_writer(&self, log: &Arc<Log>) {
        self.by_key.lock().insert(log.key, Arc::downgrade(log));
        if let Some(runtime) = &self.runtime {
            runtime.spawn(writer::run(Arc::clone(&self.sender), Arc::clone(log)));
        }
    }

    /// Forgets a log that was closed.
    pub(crate) fn forget(&self, log: &Log) {
        self.by_key.lock().remove(&log.key);
    }

    /// What the engine says of a log.
    pub(crate) async fn load(&self, name: &LogName, stream: &str) -> Result<Loaded, StorageError> {
        let subject = self.directory.subject_of(stream);
        let (lines, cuts) = (format!("{subject}.line"), format!("{subject}.cut"));
        let api = self.api();
        let wrong = |failure: Failure| failed(&name.to_string(), "open", failure);
        let damaged = |reason: String| StorageError::Damaged { log: name.clone(), position: 0, reason };
        api.agree(stream).await.map_err(wrong)?;
        let Some(info) = api.stream_with(stream, &lines).await.map_err(wrong)? else {
            return Err(damaged(format!("its stream {stream} is gone")));
        };
        check_keeps(stream, &info).map_err(damaged)?;
        let batches = Batches::new(info.config.num_replicas, info.config.allow_atomic);
        let last_cut = api.last_on(stream, &cuts).await.map_err(wrong)?;
        let (mut segments, mut beside) = (Segments::default(), info.state.messages * bytes_beside(&lines));
        if let Some(stored) = last_cut {
            let strange = |reason| damaged(format!("stream {stream}, message {}: {reason}", stored.sequence));
            let cut: Cut =
                serde_json::from_slice(&stored.data).map_err(|error| strange(error.to_string()))?;
            segments = Segments::from_cut(&cut).map_err(strange)?;
            let line = api.at_or_behind(stream, cut.base + 1, &lines).await.map_err(wrong)?;
            let is_late = line.is_some_and(|line| line.sequence < stored.sequence);
            if is_late || segments.as_slice().last().is_none_or(|last| last.sequence != stored.sequence + 1) {
                return Err(strange(
                    "it cuts lines that were not there when it was sent: it came late".into(),
                ));
            }
            // What was cut is in the stream still, and counts for lack of something better.
            beside = beside + bytes_beside(&cuts) + stored.data.len() as u64 - bytes_beside(&lines);
        }
        let state = &info.state;
        let end = segments.offset_from(state.last_seq + 1);
        let first = self.first(stream, &lines, &segments, end).await.map_err(wrong)?;
        let any_from = self.any_from(stream, &lines, &info, &segments, first..end).await.map_err(wrong)?;
        let bytes = if first == end { 0 } else { state.bytes.saturating_sub(beside) };
        let leader = info.cluster.and_then(|cluster| cluster.leader).unwrap_or_default();
        ::log::debug!("{name}, stream {stream}: offsets {first} to {end}, leader {leader}");
        Ok(Loaded { first, any_from, end, last_sequence: state.last_seq, bytes, segments, batches })
    }

    /// The offset of the first line there is, or `end`.
    async fn first(&self, stream: &str, lines: &str, segments: &Segments, end: u64) -> Result<u64, Failure> {
        let mut offset = 0;
        while offset < end {
            let sequence = segments.sequence_of(offset);
            let Some(found) = self.api().at_or_behind(stream, sequence, lines).await? else { break };
            offset = segments.offset_from(found.sequence);
            if segments.sequence_of(offset) == found.sequence {
                return Ok(offset.min(end));
            }
            // What was found was cut: what counts begins behind it.
        }
        Ok(end)
    }
}

/// Makes sure that nothing goes from a stream by itself.
fn check_keeps(stream: &str, info: &StreamInfo) -> Result<(), String> {
    let config = &info.config;
    let limits = [
        ("max_msgs", config.max_msgs),
        ("max_bytes", config.max_bytes),
        ("max_age", config.max_age),
        ("max_msgs_per_subject", config.max_msgs_per_subject),
    ];
    if let Some((limit, value)) = limits.into_iter().find(|(_, value)| *value > 0) {
        return Err(format!("its stream {stream} was given {limit} = {value}, expected no limit"));
    }
    if config.storage != "file" || config.retention != "limits" {
        let (storage, retention) = (&config.storage, &config.retention);
        return Err(format!(
            "its stream {stream} has storage {storage} and retention {retention}, expected file and limits"
        ));
    }
    Ok(())
}

/// The error of an operation on a log, or on what is said instead.
pub(crate) fn failed(log: &str, operation: &'static str, failure: Failure) -> StorageError {
    let kind = match failure {
        Failure::Silence { .. } => std::io::ErrorKind::TimedOut,
        _ => std::io::ErrorKind::Other,
    };
    io_error(log, operation, std::io::Error::new(kind, failure.to_string()))
}

impl Drop for Home {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // What was appended and not synced is sent, if the engine takes it.
        for log in self.logs.get_mut().values() {
            let (life, end, poisoned) = {
                let mut state = log.state.lock();
                state.open = false;
                (state.life, state.end, state.poisoned.is_some())
            };
            if !poisoned {
                let _unsynced = log.wait_acked(life, end, self.sender.options.publish_timeout());
            }
        }
        runtime.shutdown_background();
    }
}
