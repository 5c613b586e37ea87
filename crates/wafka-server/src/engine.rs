//! Starts the engine as the configuration says.

use std::sync::Arc;

use thiserror::Error;
use wafka_broker::{DeclaredTopic, Engine, EngineOptions, FsyncPolicy, StartError, TopicSpec};
use wafka_core::{Clock, TopicName, TopicNameError};

use crate::config::{Config, DEFAULT_PARTITIONER, Fsync, TopicConfig};
use crate::data_dir::DataDir;

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
    /// The engine's own reason.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts the engine on a data directory. Blocks until all topics are open.
///
/// # Errors
/// When a topic that the configuration declares cannot be, or the data cannot be opened.
pub(crate) fn start(
    config: &Config,
    data_dir: &DataDir,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Engine>, EngineError> {
    let topic_defaults = topic_spec(&config.topic_defaults, None);
    let declared = config
        .topics
        .iter()
        .map(|(name, topic)| {
            let name = TopicName::new(name.as_bytes())
                .map_err(|source| EngineError::Name { name: name.clone(), source })?;
            Ok(DeclaredTopic { name, spec: topic_spec(topic, Some(&topic_defaults)) })
        })
        .collect::<Result<_, EngineError>>()?;
    let options = EngineOptions {
        data_dir: data_dir.path().to_owned(),
        brokers: config.server.broker_count(),
        fsync: fsync_policy(config.storage.fsync),
        tail_bytes: config.storage.tail_bytes.as_usize(),
        index_interval_bytes: config.storage.index_interval_bytes.get(),
        topic_defaults,
        declared,
    };
    Ok(Engine::start(options, Arc::clone(clock))?)
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
    TopicSpec { partitions, partitioner, options }
}

/// The engine's word for a policy.
pub(crate) fn fsync_policy(fsync: Fsync) -> FsyncPolicy {
    match fsync {
        Fsync::Always => FsyncPolicy::Always,
        Fsync::EverySec => FsyncPolicy::EverySec,
        Fsync::No => FsyncPolicy::No,
    }
}
