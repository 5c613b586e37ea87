//! Starts the engine as the configuration says.

use std::sync::Arc;

use thiserror::Error;
use wafka_broker::{
    Backends, DeclaredTopic, Engine, EngineOptions, FsyncPolicy, IndexPlace, ReclaimOptions, StartError,
    TopicSpec,
};
use wafka_core::storage::{Owner, Ownership, StorageError};
use wafka_core::{Clock, Database, TopicName, TopicNameError};
use wafka_storage::fs::StdFs;

use crate::backends::wanted;
use crate::config::{Config, DEFAULT_PARTITIONER, Fsync, TopicConfig};
use crate::data_dir::{DataDir, DataDirError};
use crate::plugins::Plugins;

/// Where the sparse indexes are within the data directory; it can be deleted and is rebuilt.
const INDEX_DIR: &str = "index";

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A topic's name in the configuration is none.
    #[error("topics.\"{name}\": {source}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        source: TopicNameError,
    },
    /// The data is in another backend.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The backend does not open.
    #[error("cannot open the data: {0}")]
    Storage(#[from] StorageError),
    /// The system has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The engine's own reason.
    #[error("cannot start: {0}")]
    Start(#[from] StartError),
}

/// An engine that is ready to start: everything is checked that can be without opening the data.
pub(crate) struct Prepared {
    backends: Backends,
    /// The backends that the configuration names beside the default one.
    wanted: Vec<String>,
    options: EngineOptions,
    backend: String,
}

/// Checks the configuration and reaches for the backends. Nothing that they hold is changed.
///
/// # Errors
/// When a backend is not there, or the data directory is another backend's.
pub(crate) fn prepare(
    config: &Config,
    plugins: &Plugins,
    data_dir: &DataDir,
    clock: &Arc<dyn Clock>,
    me: &Owner,
) -> Result<Prepared, EngineError> {
    let topic_defaults = topic_spec(&config.topic_defaults, None);
    let declared = declared_specs(config)
        .map(|(name, spec)| {
            let name = TopicName::new(name.as_bytes())
                .map_err(|source| EngineError::Name { name: name.to_owned(), source })?;
            Ok(DeclaredTopic { database: Database(0), name, spec })
        })
        .collect::<Result<_, EngineError>>()?;
    data_dir.check_backend(&config.storage.backend)?;
    let backends = plugins.storages().open(config, data_dir.path(), me)?;
    // An index of data that is gone would speak of other events.
    let index = backends
        .is_durable()
        .then(|| IndexPlace { fs: Arc::new(StdFs), dir: data_dir.path().join(INDEX_DIR) });
    let options = EngineOptions {
        catalog_expected: backends.is_durable() && data_dir.holds_data(),
        fsync: fsync_policy(config.storage.fsync),
        tail_bytes: config.storage.tail_bytes.as_usize(),
        index_interval_bytes: config.storage.index_interval_bytes.get(),
        queue_bytes_max: config.storage.queue_bytes_max.as_usize(),
        index,
        reclaim: ReclaimOptions {
            dead_bytes_min: config.storage.reclaim_dead_bytes_min.get(),
            dead_percent: config.storage.reclaim_dead_percent,
            deletions_max: usize::try_from(config.storage.reclaim_deletions_max).unwrap_or(usize::MAX),
        },
        topic_defaults,
        declared,
        partitioners: plugins.partitioners().clone(),
        ..EngineOptions::new(config.server.broker_count(), Arc::clone(clock))
    };
    let wanted = wanted(config).into_iter().map(str::to_owned).collect();
    Ok(Prepared { backends, wanted, options, backend: config.storage.backend.clone() })
}

impl Prepared {
    /// Who may write the default backend's data, where others reach it, too.
    pub(crate) fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.backends.ownership()
    }

    /// Starts the engine on a data directory. Blocks until all topics are open.
    ///
    /// # Errors
    /// When a topic that the configuration declares cannot be, or the data cannot be opened.
    pub(crate) fn start(self, data_dir: &mut DataDir) -> Result<Arc<Engine>, EngineError> {
        for name in &self.wanted {
            self.backends.open_if_ours(name)?;
        }
        let engine = Engine::start_on(self.options, self.backends)?;
        // Not before: a start that fails leaves the choice open. Not later: from here on there is something to lose.
        if let Err(error) = data_dir.set_backend(&self.backend) {
            engine.shutdown();
            return Err(error.into());
        }
        Ok(engine)
    }
}

/// The topics that the configuration declares, and what each is made of.
pub(crate) fn declared_specs(config: &Config) -> impl Iterator<Item = (&str, TopicSpec)> {
    let defaults = topic_spec(&config.topic_defaults, None);
    config.topics.iter().map(move |(name, topic)| (name.as_str(), topic_spec(topic, Some(&defaults))))
}

/// What a topic is made of. One that names no strategy has that of the defaults, with its options.
fn topic_spec(topic: &TopicConfig, defaults: Option<&TopicSpec>) -> TopicSpec {
    let (partitioner, options) = match (&topic.partitioner, defaults) {
        (Some(name), _) => (name.clone(), topic.options.clone()),
        (None, Some(defaults)) => {
            let mut options = defaults.options.clone();
            options.extend(topic.options.clone());
            (defaults.partitioner.clone(), options)
        }
        (None, None) => (DEFAULT_PARTITIONER.to_owned(), topic.options.clone()),
    };
    let partitions = topic.partitions.or_else(|| defaults.and_then(|defaults| defaults.partitions));
    let backend = topic.backend.clone().or_else(|| defaults.and_then(|defaults| defaults.backend.clone()));
    TopicSpec { partitions, partitioner, options, backend }
}

/// The engine's word for a policy.
pub(crate) fn fsync_policy(fsync: Fsync) -> FsyncPolicy {
    match fsync {
        Fsync::Always => FsyncPolicy::Always,
        Fsync::EverySec => FsyncPolicy::EverySec,
        Fsync::No => FsyncPolicy::No,
    }
}
