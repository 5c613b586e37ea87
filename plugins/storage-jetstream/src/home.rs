//! What all parts of the backend share: the connection, its thread, the logs that were opened.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use wafka_core::Offset;
use wafka_core::storage::{LogName, StorageError};

use crate::api::{Api, Failure, TRY};
use crate::direct::Direct;
use crate::directory::{Directory, Place};
use crate::driver::Driver;
use crate::log::{Loaded, Log, Poison};
use crate::mark::Known;
use crate::options::Options;
use crate::tenure::{Tenure, not_owner};
use crate::wires::{ByKey, Wires};
use crate::writer::{self, Sender};
use crate::{connect, io_error, mark};

/// So many logs are taken over at once.
const AT_ONCE: usize = 32;

/// What all parts share.
pub(crate) struct Home {
    driver: Driver,
    pub sender: Arc<Sender>,
    pub directory: Arc<Directory>,
    pub direct: Direct,
    /// The last time that this server owned the data, or does.
    tenure: Mutex<Option<Arc<Tenure>>>,
    /// Until then other replicas than the leaders are not asked; counted from `opened`, in milliseconds.
    leader_alone: AtomicU64,
    opened: Instant,
    /// This opening of the backend has it for itself.
    session: String,
    /// Each log that was opened.
    pub logs: Mutex<HashMap<LogName, Arc<Log>>>,
    /// The same by what their acknowledgements go by.
    by_key: ByKey,
    next_key: AtomicU64,
    generations: AtomicU32,
    #[cfg(test)]
    pub faults: crate::tests::Faults,
}

impl Home {
    pub(crate) fn open(options: Options) -> Result<Self, StorageError> {
        let driver = Driver::start().map_err(|source| io_error("the backend's thread", "start", source))?;
        let by_key = ByKey::default();
        let (sender, directory, direct) = driver.block_on(async {
            connect::check_syncs(&options).await?;
            let client = connect::connect(&options, &options.login).await?;
            let wires = Wires::open(client.clone(), &options, &by_key).await?;
            let direct = Direct::listen(&client)
                .await
                .map_err(|error| io_error("the engine", "subscribe", std::io::Error::other(error)))?;
            let api = Api {
                client,
                patience: options.request_timeout(),
                one_try: TRY,
                silent: Arc::default(),
                #[cfg(test)]
                stale: Arc::default(),
            };
            let directory = Directory::new(api.clone(), options.prefix.clone(), options.replicas);
            let directory = Arc::new(directory);
            let next_batch = AtomicU64::new(fastrand::u64(..));
            let sender = Sender { wires, api, directory: Arc::clone(&directory), options, next_batch };
            Ok::<_, StorageError>((Arc::new(sender), directory, direct))
        })?;
        Ok(Home {
            driver,
            session: sender.wires.main.inbox.clone(),
            sender,
            directory,
            direct,
            leader_alone: AtomicU64::new(0),
            opened: Instant::now(),
            tenure: Mutex::new(None),
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

    /// The tenure, if this server owns the data as far as it knows.
    ///
    /// # Errors
    /// Says why not, else; `log` is what is asked for.
    pub(crate) fn tenure(&self, log: &str) -> Result<Arc<Tenure>, StorageError> {
        let tenure = self.tenure.lock().clone();
        let tenure = tenure.ok_or_else(|| not_owner(log, "it has no lease"))?;
        tenure.check(log)?;
        Ok(tenure)
    }

    /// Begins a tenure: all logs are taken over, one after the other, until they are opened.
    pub(crate) fn begin(&self, tenure: &Arc<Tenure>) {
        *self.tenure.lock() = Some(Arc::clone(tenure));
        let (sender, tenure) = (Arc::clone(&self.sender), Arc::clone(tenure));
        self.driver.spawn(async move { take_over(&sender, &tenure).await });
    }

    /// Ends a tenure: nothing is written any more.
    pub(crate) fn end(&self, tenure: &Tenure, reason: &str) {
        tenure.end(reason);
        let Some(reason) = tenure.over() else { return };
        let logs: Vec<Arc<Log>> = self.logs.lock().values().cloned().collect();
        logs.iter().filter(|log| log.tenure.epoch == tenure.epoch).for_each(|log| log.fence(reason));
    }

    /// What a log holds when it is opened. Nobody else writes it from then on.
    pub(crate) async fn load(
        &self,
        tenure: &Tenure,
        name: &LogName,
        place: &Place,
    ) -> Result<Loaded, StorageError> {
        let subject = self.directory.subject_of(&place.stream);
        let prepared = tenure.prepared(&place.stream);
        let wires = &self.sender.wires;
        if !prepared.is_taken() {
            let load = || mark::load(self.api(), tenure, name, place, &subject, Known::default());
            let loaded = prepared.loaded.get_or_try_init(async || noting(wires, place, load().await)).await?;
            if prepared.take() {
                return Ok(loaded.clone());
            }
        }
        let before = self.logs.lock().get(name).cloned();
        let before = before
            .filter(|log| log.stream == place.stream && log.tenure.is_own(tenure.epoch, &tenure.session));
        let known = before.map_or(Known::default(), |log| {
            let state = log.state.lock();
            Known { last: state.segments.sequence_of(state.acked) - 1, last_cut: state.last_cut }
        });
        let loaded = mark::load(self.api(), tenure, name, place, &subject, known).await;
        if let Some(reason) = tenure.over() {
            self.end(tenure, reason);
        }
        noting(wires, place, loaded)
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

    /// Waits for something.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.driver.block_on(future)
    }

    /// Waits for a sync, as [`Log::wait_acked`] does, and sends and receives meanwhile; where no answer comes, the backend's own
    /// thread goes on with that.
    pub(crate) fn wait_acked(&self, log: &Log, life: u32, end: Offset) -> Result<(), Poison> {
        let patience = self.options().publish_timeout();
        self.driver.run_until(async {
            let _late = timeout(patience, log.acked(life, end)).await;
        });
        log.wait_acked(life, end, self.longest_wait())
    }

    /// How long an append may take at most before it is known to have failed.
    pub(crate) fn longest_wait(&self) -> Duration {
        let options = self.options();
        options.give_up() + 3 * options.publish_timeout() + Duration::from_secs(2)
    }

    /// Begins to write a log, unless its writer runs.
    pub(crate) fn start_writer(&self, log: &Arc<Log>) {
        self.by_key.lock().insert(log.key, Arc::downgrade(log));
        if !std::mem::replace(&mut log.state.lock().writing, true) {
            self.driver.spawn(writer::run(Arc::clone(&self.sender), Arc::clone(log)));
        }
    }

    /// Forgets a log that was closed.
    pub(crate) fn forget(&self, log: &Log) {
        self.by_key.lock().remove(&log.key);
    }
}

/// Takes all logs over, so that none has to be waited for when it is opened. What fails is tried again then.
async fn take_over(sender: &Sender, tenure: &Tenure) {
    let Sender { api, directory, wires, .. } = sender;
    let begun = Instant::now();
    let places = match directory.list(tenure).await {
        Ok(places) => places,
        Err(failure) => {
            ::log::warn!("the logs are taken over when they are opened: {failure}");
            return;
        }
    };
    let count = places.len();
    let failures = stream::iter(places).map(|(name, place)| async move {
        let prepared = tenure.prepared(&place.stream);
        if tenure.over().is_some() || prepared.is_taken() {
            return 0;
        }
        let subject = directory.subject_of(&place.stream);
        let load = || mark::load(api, tenure, &name, &place, &subject, Known::default());
        match prepared.loaded.get_or_try_init(async || noting(wires, &place, load().await)).await {
            Ok(_) => 0,
            Err(error) => {
                ::log::warn!("{error}; it is tried again when the log is opened");
                1
            }
        }
    });
    let failures: usize = failures.buffer_unordered(AT_ONCE).fold(0, async |all, one| all + one).await;
    let taken = count - failures;
    ::log::info!("epoch {}: {taken} of {count} logs taken over in {:?}", tenure.epoch, begun.elapsed());
}

/// Takes note of who leads a log's stream, on the way.
fn noting(
    wires: &Wires,
    place: &Place,
    loaded: Result<Loaded, StorageError>,
) -> Result<Loaded, StorageError> {
    loaded.inspect(|loaded| wires.leads(&place.stream, loaded.leader.as_deref()))
}

/// The error of an operation on a log, or on what is said instead.
pub(crate) fn failed(log: &str, operation: &'static str, failure: Failure) -> StorageError {
    let kind = match failure {
        Failure::Silence { .. } => std::io::ErrorKind::TimedOut,
        _ => std::io::ErrorKind::Other,
    };
    io_error(log, operation, std::io::Error::new(kind, failure.to_string()))
}

/// The same for what only an owner may do, which may have failed because it is none any more.
pub(crate) fn failed_as_owner(
    tenure: &Tenure,
    log: &str,
    operation: &'static str,
    failure: Failure,
) -> StorageError {
    tenure.check(log).err().unwrap_or_else(|| failed(log, operation, failure))
}

impl Drop for Home {
    fn drop(&mut self) {
        // What was appended and not synced is sent, if the engine takes it.
        let deadline = std::time::Instant::now() + self.sender.options.publish_timeout();
        for log in self.logs.get_mut().values() {
            let (life, end, poisoned) = {
                let mut state = log.state.lock();
                state.open = false;
                (state.life, state.end, state.poisoned.is_some())
            };
            if !poisoned {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                let _unsynced = log.wait_acked(life, end, left);
            }
        }
    }
}
