//! How the engine is set up.

use std::path::PathBuf;
use std::sync::Arc;

use wafka_core::partitioner::Options;
use wafka_core::{Clock, Database, TopicName};
use wafka_storage::fs::FileSystem;

use crate::partitioners::Partitioners;

/// When written events are made durable: Redis's words for `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum FsyncPolicy {
    /// Before an `XADD` is answered.
    #[default]
    Always = 0,
    /// About once a second, in the background.
    EverySec = 1,
    /// When the operating system likes; at the latest when 64 MiB were appended to a broker's logs since its last sync,
    /// and at shutdown.
    No = 2,
}

impl FsyncPolicy {
    /// Parses Redis's word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "always" => Some(FsyncPolicy::Always),
            "everysec" => Some(FsyncPolicy::EverySec),
            "no" => Some(FsyncPolicy::No),
            _ => None,
        }
    }

    /// Redis's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FsyncPolicy::Always => "always",
            FsyncPolicy::EverySec => "everysec",
            FsyncPolicy::No => "no",
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte {
            1 => FsyncPolicy::EverySec,
            2 => FsyncPolicy::No,
            _ => FsyncPolicy::Always,
        }
    }
}

/// What a new topic is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicSpec {
    /// How many partitions; as many as brokers when unset.
    pub partitions: Option<u16>,
    /// The partitioning strategy's name.
    pub partitioner: String,
    /// The strategy's own options.
    pub options: Options,
    /// The storage backend; the default one when unset.
    pub backend: Option<String>,
}

impl Default for TopicSpec {
    fn default() -> Self {
        TopicSpec {
            partitions: None,
            partitioner: "round-robin".to_owned(),
            options: Options::new(),
            backend: None,
        }
    }
}

/// A topic that the configuration names.
#[derive(Clone, Debug)]
pub struct DeclaredTopic {
    /// Its database.
    pub database: Database,
    /// Its name.
    pub name: TopicName,
    /// What it is made of.
    pub spec: TopicSpec,
}

/// When the space of trimmed and deleted events is given back.
#[derive(Clone, Copy, Debug)]
pub struct ReclaimOptions {
    /// A partition with fewer dead bytes is left alone.
    pub dead_bytes_min: u64,
    /// A partition is rewritten when at least this share of its lines is dead, in percent.
    pub dead_percent: u8,
    /// A partition with more single deletions than this is rewritten whatever its size: deletions are kept in memory
    /// until then.
    pub deletions_max: usize,
}

impl Default for ReclaimOptions {
    fn default() -> Self {
        ReclaimOptions { dead_bytes_min: 1 << 20, dead_percent: 50, deletions_max: 100_000 }
    }
}

/// Where the sparse indexes live: a cache on a local disk, whatever the backend.
#[derive(Clone)]
pub struct IndexPlace {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// The directory; everything in it can be deleted and is rebuilt.
    pub dir: PathBuf,
}

/// Everything the engine needs to know.
#[derive(Clone)]
pub struct EngineOptions {
    /// How many brokers, at least 1.
    pub brokers: u16,
    /// The backend was begun by an earlier start: one that finds no catalog there refuses to begin another.
    pub catalog_expected: bool,
    /// When written events are made durable.
    pub fsync: FsyncPolicy,
    /// Memory for the most recent events of all partitions together, in bytes.
    pub tail_bytes: usize,
    /// Distance between two entries of the sparse index, in bytes.
    pub index_interval_bytes: u64,
    /// Events accepted and not yet written, per partition, in bytes; beyond it an `XADD` is refused.
    pub queue_bytes_max: usize,
    /// Where the sparse indexes live; in memory only when unset.
    pub index: Option<IndexPlace>,
    /// When space is given back.
    pub reclaim: ReclaimOptions,
    /// A topic's journal says everything anew when it has grown by so much, in bytes.
    pub journal_snapshot_bytes: u64,
    /// What a topic is made of that nobody declared.
    pub topic_defaults: TopicSpec,
    /// Topics to create at start.
    pub declared: Vec<DeclaredTopic>,
    /// The strategies there are.
    pub partitioners: Partitioners,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl EngineOptions {
    /// The defaults, with everything in memory but the backend.
    #[must_use]
    pub fn new(brokers: u16, clock: Arc<dyn Clock>) -> Self {
        EngineOptions {
            brokers,
            catalog_expected: false,
            fsync: FsyncPolicy::Always,
            tail_bytes: 16 << 20,
            index_interval_bytes: 4096,
            queue_bytes_max: 256 << 20,
            index: None,
            reclaim: ReclaimOptions::default(),
            journal_snapshot_bytes: 16 << 20,
            topic_defaults: TopicSpec::default(),
            declared: Vec::new(),
            partitioners: Partitioners::built_in(),
            clock,
        }
    }
}
