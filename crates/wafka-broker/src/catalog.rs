//! The catalog: which topics there are, as lines of text. Replayed at start; appended to and synced before a topic's
//! creation, change or deletion is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafka_core::partitioner::{CreateRequest, Options};
use wafka_core::storage::{Batch, Cursor, LogName, LogSlot, OpenRequest, StorageError};
use wafka_core::{Database, Offset, TopicName};
use wafka_storage::line::{RecordKind, RecordLine, encode_record};

use crate::backends::Backends;
use crate::broker::Broker;
use crate::error::{StartError, TopicError};
use crate::topic::{LaneFiles, scan};

/// The format of the catalog, and of everything it names.
const FORMAT_VERSION: u32 = 1;
const STEM: &str = "wafka.catalog";

/// A topic as the catalog knows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct CatalogTopic {
    /// Told apart from all topics before and after it.
    pub(crate) uid: u64,
    pub(crate) database: u16,
    /// The name as it stands in file names.
    pub(crate) topic: String,
    pub(crate) partitions: u16,
    pub(crate) partitioner: String,
    pub(crate) partitioner_version: u32,
    pub(crate) options: Options,
    /// Its files have the name's second stem: those with the first one were another topic's when they were made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) second_files: bool,
    /// The backend that its logs are in; the default one when that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
}

impl CatalogTopic {
    /// Its logs; `None` when there is no such name.
    pub(crate) fn files(&self, backends: &Backends) -> Option<LaneFiles> {
        let name = self.name()?;
        Some(self.files_of(&name, backends))
    }

    /// The logs of a topic of that name.
    pub(crate) fn files_of(&self, name: &TopicName, backends: &Backends) -> LaneFiles {
        let backend = self.backend.as_deref().map(Arc::from);
        LaneFiles::new(Database(self.database), name, self.second_files).in_backend(backend, backends)
    }

    /// All logs that it may have.
    pub(crate) fn logs(&self, backends: &Backends) -> Vec<LogName> {
        self.files(backends).map_or_else(Vec::new, |files| files.all(usize::from(self.partitions)))
    }

    pub(crate) fn name(&self) -> Option<TopicName> {
        TopicName::from_file_stem(&self.topic)
    }

    /// What the topic's strategy is told when it is made. The topic may be about to get another name.
    pub(crate) fn create_request<'a>(&'a self, name: &'a TopicName) -> CreateRequest<'a> {
        CreateRequest { topic: name.as_bytes(), partitions: self.partitions, options: &self.options }
    }
}

/// A line of the catalog.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum CatalogRecord {
    Format {
        version: u32,
    },
    /// Files of such a topic may come into being. They count when [`CatalogRecord::Create`],
    /// [`CatalogRecord::Rename`] or [`CatalogRecord::Replace`] follows.
    Prepare(CatalogTopic),
    Create(CatalogTopic),
    /// A topic has another name from here on: what it was is deleted, what it is was prepared.
    Rename {
        from: u64,
        to: CatalogTopic,
    },
    /// What was prepared is there from here on, and the topic that had its name is deleted; so is `from`, if what was
    /// prepared is not a copy.
    Replace {
        gone: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        to: CatalogTopic,
    },
    Alter(CatalogTopic),
    Delete {
        uid: u64,
    },
    /// The indexes in the place of this name are up to date from here on, and those in others are not: where several servers
    /// open the data one after the other, see [`claim`](crate::index::claim).
    Indexed {
        place: String,
    },
    /// The files of a deleted topic are gone: what has their names from here on is somebody else's.
    Removed {
        uid: u64,
    },
}

/// The catalog, open.
pub(crate) struct Catalog {
    broker: Arc<Broker>,
    slot: LogSlot,
    end: Offset,
    next_uid: u64,
    /// What a failed write left behind has to be cut before the next one.
    failed: Option<Cursor>,
    cursor: Cursor,
}

/// What the catalog said at start.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    pub(crate) topics: Vec<CatalogTopic>,
    /// Topics that were deleted and whose files may have been left behind.
    pub(crate) deleted: Vec<CatalogTopic>,
    /// The last place of indexes that was named.
    pub(crate) indexed: Option<String>,
}

impl Catalog {
    /// Opens the catalog, or begins one if none is `expected`; `broker` writes it. `None` when it is expected and not there.
    pub(crate) fn open(
        backends: &Backends,
        broker: &Arc<Broker>,
        now_ms: u64,
        expected: bool,
    ) -> Result<Option<Loaded>, StartError> {
        let log = backends.log(STEM);
        let request = OpenRequest { create: !expected, known: None };
        let opened = match broker.with_shard(|shard| shard.open(&log, request)) {
            Err(StorageError::NotFound(_)) if expected => return Ok(None),
            opened => opened?,
        };
        if let Some(damage) = opened.damage.first() {
            return Err(StartError::Catalog(format!(
                "{log}: at byte {}: {}; repair or remove the line, or restore the file",
                damage.position, damage.reason
            )));
        }
        // Its first line was synced before anything else was done.
        if expected && opened.end.offset == 0 {
            return Ok(None);
        }
        let mut replay = Replay::default();
        scan(&*opened.reader, opened.first, |cursor, line| {
            if replay.error.is_none()
                && let Err(reason) = replay.line(line)
            {
                replay.error = Some(format!("{log}: at byte {}: {reason}", cursor.position));
            }
        })?;
        if let Some(error) = replay.error {
            return Err(StartError::Catalog(error));
        }
        let mut catalog = Catalog {
            broker: Arc::clone(broker),
            slot: opened.slot,
            end: opened.end.offset,
            next_uid: replay.last_uid + 1,
            failed: None,
            cursor: opened.end,
        };
        if opened.end.offset == 0 {
            catalog.append(&[CatalogRecord::Format { version: FORMAT_VERSION }], now_ms)?;
        }
        Ok(Some(Loaded {
            catalog,
            topics: replay.topics.into_values().collect(),
            indexed: replay.indexed,
            // What was prepared and not created is as good as deleted.
            deleted: replay.deleted.into_values().chain(replay.prepared.into_values()).collect(),
        }))
    }

    /// Takes out what a failed write may have left; whether nothing is left now.
    pub(crate) fn settle(&mut self) -> bool {
        if let Some(end) = self.failed {
            let slot = self.slot;
            let cut = self.broker.with_shard(|shard| shard.reopen(slot, end));
            self.failed = cut.is_err().then_some(end);
        }
        self.failed.is_none()
    }

    /// Whether records that were not accepted may still stand in the file.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn next_uid(&mut self) -> u64 {
        let uid = self.next_uid;
        self.next_uid += 1;
        uid
    }

    /// Appends records and syncs them.
    pub(crate) fn append(&mut self, records: &[CatalogRecord], now_ms: u64) -> Result<(), TopicError> {
        self.write(records, now_ms, true)
    }

    /// Notes that the files of deleted topics are gone. Not synced: if it is lost, the next start looks for them again.
    pub(crate) fn note_removed(&mut self, uids: impl Iterator<Item = u64>, now_ms: u64) {
        let records: Vec<_> = uids.map(|uid| CatalogRecord::Removed { uid }).collect();
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.write(&records, now_ms, false) {
            tracing::warn!(%error, "not noted that the files of deleted topics are gone: the next start looks for them");
        }
    }

    fn write(&mut self, records: &[CatalogRecord], now_ms: u64, sync: bool) -> Result<(), TopicError> {
        let mut bytes = Vec::new();
        for (at, record) in records.iter().enumerate() {
            encode_record(&mut bytes, RecordKind::Catalog, b"wafka", self.end + at as u64, now_ms, record)
                .map_err(|error| TopicError::Catalog(error.to_string()))?;
        }
        let lines = records.len() as u64;
        let batch = Batch { first_offset: self.end, lines, bytes: &bytes };
        let (slot, cursor) = (self.slot, self.cursor);
        let failed = self.failed;
        let result = self.broker.with_shard(|shard| -> Result<Cursor, StorageError> {
            if let Some(end) = failed {
                shard.reopen(slot, end)?;
            }
            let begin = shard.append(slot, batch)?;
            if !sync {
                return Ok(begin);
            }
            let failures = shard.begin_sync().wait();
            shard.finish_sync(&failures);
            match failures.into_iter().find(|failure| failure.slot == slot) {
                None => Ok(begin),
                Some(failure) => Err(failure.error),
            }
        });
        if result.is_err() {
            // What was written of the records must not come about at the next start.
            let cut = self.broker.with_shard(|shard| shard.reopen(slot, cursor));
            self.failed = cut.is_err().then_some(cursor);
        }
        match result {
            Ok(begin) => {
                self.failed = None;
                self.end += lines;
                self.cursor = Cursor {
                    offset: self.end,
                    position: begin.position + bytes.len() as u64,
                    generation: begin.generation,
                };
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl From<TopicError> for StartError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Storage(error) => StartError::Storage(error),
            other => StartError::Catalog(other.to_string()),
        }
    }
}

#[derive(Default)]
struct Replay {
    topics: BTreeMap<u64, CatalogTopic>,
    deleted: BTreeMap<u64, CatalogTopic>,
    prepared: BTreeMap<u64, CatalogTopic>,
    indexed: Option<String>,
    last_uid: u64,
    lines: u64,
    error: Option<String>,
}

impl Replay {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let record = RecordLine::parse(line).map_err(|error| error.to_string())?;
        let record: CatalogRecord = record.deserialize().map_err(|error| error.to_string())?;
        if self.lines == 0 && !matches!(record, CatalogRecord::Format { .. }) {
            return Err("the first line must say the format's version".to_owned());
        }
        self.lines += 1;
        match record {
            CatalogRecord::Format { version: FORMAT_VERSION } => {}
            CatalogRecord::Format { version } => {
                return Err(format!(
                    "the data is of format version {version}, this server knows version {FORMAT_VERSION}"
                ));
            }
            CatalogRecord::Prepare(topic) => {
                self.check(&topic)?;
                self.prepared.insert(topic.uid, topic);
            }
            CatalogRecord::Create(topic) | CatalogRecord::Alter(topic) => self.list(topic)?,
            CatalogRecord::Rename { from, to } => {
                self.list(to)?;
                self.delete(from);
            }
            CatalogRecord::Replace { gone, from, to } => {
                self.list(to)?;
                self.delete(gone);
                from.into_iter().for_each(|from| self.delete(from));
            }
            CatalogRecord::Delete { uid } => self.delete(uid),
            CatalogRecord::Indexed { place } => self.indexed = Some(place),
            CatalogRecord::Removed { uid } => {
                self.deleted.remove(&uid);
                self.prepared.remove(&uid);
            }
        }
        Ok(())
    }

    fn check(&mut self, topic: &CatalogTopic) -> Result<(), String> {
        if topic.name().is_none() || topic.partitions == 0 {
            return Err(format!("no topic: name '{}', {} partitions", topic.topic, topic.partitions));
        }
        self.last_uid = self.last_uid.max(topic.uid);
        Ok(())
    }

    fn list(&mut self, topic: CatalogTopic) -> Result<(), String> {
        self.check(&topic)?;
        self.prepared.remove(&topic.uid);
        self.topics.insert(topic.uid, topic);
        Ok(())
    }

    fn delete(&mut self, uid: u64) {
        if let Some(topic) = self.topics.remove(&uid) {
            self.deleted.insert(uid, topic);
        }
    }
}
