//! What a command's key names: a topic, or one partition of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_broker::{
    AppendError, Engine, EntryFields, EntrySink, NoSuchPartition, ReadError, ReadRange, Topic,
};
use wafka_core::{Database, EventId, PartitionId, TopicKey, TopicName};

use crate::command::CommandError;
use crate::session::Session;

/// An existing topic, or one of its partitions.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partition: Option<PartitionId>,
}

impl Target {
    /// What `key` names; `None` when there is no such topic. It counts as used from here on, unless the client has
    /// `CLIENT NO-TOUCH` on.
    ///
    /// # Errors
    /// When the topic exists but not the partition, or what there is of it may be taken back.
    pub(crate) fn find(session: &Session, key: &[u8]) -> Result<Option<Self>, CommandError> {
        let found = Self::named(session.engine(), session.database(), key)?;
        if let Some(target) = &found {
            target.topic.check_readable()?;
            used(session, &target.topic);
        }
        Ok(found)
    }

    /// As [`Target::find`], for a command that leaves no trace and reads no events: what a failed transaction made is not
    /// there, any other topic is.
    pub(crate) fn look_up(
        engine: &Engine,
        database: Database,
        key: &[u8],
    ) -> Result<Option<Self>, CommandError> {
        let found = Self::named(engine, database, key)?;
        Ok(found.filter(|target| !target.topic.is_made_in_vain()))
    }

    fn named(engine: &Engine, database: Database, key: &[u8]) -> Result<Option<Self>, CommandError> {
        let parsed = TopicKey::parse(key);
        let Some(topic) = engine.topic(database, parsed.topic) else { return Ok(None) };
        match parsed.partition {
            None => Ok(Some(Target { topic, partition: None })),
            Some(Some(id)) if id.0 <= topic.partitions() => Ok(Some(Target { topic, partition: Some(id) })),
            Some(_) => Err(no_such_partition(topic.name(), key, topic.partitions())),
        }
    }

    /// The topic that `key` names, for a command that works on whole topics only; `None` when there is none. It counts
    /// as used as with [`Target::find`].
    ///
    /// # Errors
    /// When the key names a partition of an existing topic, or what there is of the topic may be taken back.
    pub(crate) fn find_topic(session: &Session, key: &[u8]) -> Result<Option<Arc<Topic>>, CommandError> {
        Self::find_topic_in(session, session.database(), key)
    }

    /// As [`Target::find_topic`], in a database that need not be the client's.
    pub(crate) fn find_topic_in(
        session: &Session,
        database: Database,
        key: &[u8],
    ) -> Result<Option<Arc<Topic>>, CommandError> {
        let parsed = TopicKey::parse(key);
        match session.engine().topic(database, parsed.topic) {
            Some(topic) if parsed.partition.is_some() => Err(whole_topics_only(&topic, key)),
            found => {
                if let Some(topic) = &found {
                    topic.check_readable()?;
                    used(session, topic);
                }
                Ok(found)
            }
        }
    }

    /// The id of its first event, or its last; `None` when it has none. Blocks on reads.
    pub(crate) fn event_id(&self, last: bool) -> Result<Option<EventId>, CommandError> {
        let mut found = OneId(None);
        self.topic.read(&self.one(last), &mut found)?;
        Ok(found.0)
    }

    /// The range of its first event, or its last.
    pub(crate) fn one(&self, last: bool) -> ReadRange {
        ReadRange {
            from: EventId::MIN,
            to: EventId::MAX,
            count: Some(1),
            reverse: last,
            partition: self.partition,
        }
    }

    /// How many events it has.
    pub(crate) fn len(&self) -> Result<u64, CommandError> {
        self.topic.len(self.partition).map_err(|error| CommandError::Read(ReadError::NoSuchPartition(error)))
    }
}

/// The client's command uses the topic: `OBJECT IDLETIME` counts anew, unless the client has `CLIENT NO-TOUCH` on.
fn used(session: &Session, topic: &Topic) {
    if !session.client.no_touch.load(Ordering::Relaxed) {
        topic.touch();
    }
}

/// Takes the id of an event that is read.
struct OneId(Option<EventId>);

impl EntrySink for OneId {
    fn entry(&mut self, id: EventId, _fields: &EntryFields<'_>) -> ControlFlow<()> {
        self.0 = Some(id);
        ControlFlow::Break(())
    }
}

/// `None` for work that found its topic deleted meanwhile: to the client it came after the deletion.
pub(crate) fn unless_deleted<T>(outcome: Result<T, ReadError>) -> Result<Option<T>, CommandError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Refused(AppendError::Deleted)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether `key` names a topic or partition that exists.
pub(crate) fn exists(engine: &Engine, database: Database, key: &[u8]) -> bool {
    matches!(Target::look_up(engine, database, key), Ok(Some(_)))
}

/// A key that is to be a topic's name.
pub(crate) fn topic_name(key: &[u8]) -> Result<TopicName, CommandError> {
    Ok(TopicName::new(key)?)
}

/// The error for a key whose partition the topic called `name`, of so many partitions, does not have.
pub(crate) fn no_such_partition(name: &TopicName, key: &[u8], partitions: u16) -> CommandError {
    let digits = key.iter().rposition(|byte| *byte == b'#').map_or(key, |at| &key[at + 1..]);
    CommandError::Read(ReadError::NoSuchPartition(NoSuchPartition {
        topic: name.to_string(),
        asked: digits.escape_ascii().to_string(),
        partitions,
    }))
}

fn whole_topics_only(topic: &Topic, key: &[u8]) -> CommandError {
    let (key, topic) = (key.escape_ascii(), topic.name());
    CommandError::Reply(
        format!("ERR '{key}' is one partition of topic '{topic}': this command is for whole topics only")
            .into(),
    )
}
