//! A topic under another name: `RENAME`, `COPY`, `MOVE`.
//!
//! A topic's name stands in every line and in the names of its files, so another name means other files. They are noted
//! in the catalog first, so that a start removes what a crash left of them; written and synced; and then one line of the
//! catalog says that they count, and that what had the name before does not. Readers find one or the other, whole. A topic
//! that is replaced keeps its files until then: those of the one that takes its place have the name's other stem.

use std::sync::Arc;

use wafka_core::{Database, TopicName};

use crate::catalog::{Catalog, CatalogRecord, CatalogTopic};
use crate::engine::Engine;
use crate::error::{ReadError, TopicError};
use crate::opening::Opening;
use crate::topic::Topic;
use crate::wait::wait;
use crate::watch::Change;

/// What became of a topic that was to have another name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// It has it.
    Done,
    /// There is no such topic.
    NoSource,
    /// The name is taken.
    Taken,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placing {
    /// The topic keeps its old name too, as a topic of its own: `COPY`.
    pub copy: bool,
    /// A topic that has the new name is deleted.
    pub replace: bool,
}

impl Engine {
    /// Gives a topic another name, or makes a copy of that name. Everything goes along: ids, partitions, strategy, groups,
    /// counters, time to live; the lines of events that were trimmed or deleted do not, so offsets begin anew. Takes time
    /// and room by the size of the topic, and no topic is made or deleted meanwhile. Blocks until it is durable.
    ///
    /// The two names must differ. There must be room for the copy beside a topic that is replaced.
    ///
    /// # Errors
    /// When the topic cannot be read whole, or the backend fails: then it stays as it is, and so does one that was to be
    /// replaced.
    pub fn place_topic(
        &self,
        from: (Database, &[u8]),
        to: (Database, &TopicName),
        how: Placing,
    ) -> Result<Placed, TopicError> {
        let mut catalog = self.catalog.lock();
        let Some(source) = self.topic(from.0, from.1) else { return Ok(Placed::NoSource) };
        if let Some(reason) = source.held_reason() {
            // The next start may take back some of it; of a copy it would not know.
            return Err(TopicError::Held { topic: source.name().to_string(), reason });
        }
        self.transactions.check_name(to.0, to.1)?;
        let target = self.names.get(to.0, to.1.as_bytes());
        if let Some(target) = target.as_ref().filter(|target| !target.is_expired()) {
            if !how.replace {
                return Ok(Placed::Taken);
            }
            if target.uid == source.uid {
                return Ok(Placed::Done);
            }
        }
        self.check_reach(std::slice::from_ref(&source))?;
        if let Some(target) = &target {
            self.check_reach(std::slice::from_ref(target))?;
        }
        for topic in [Some(&source), target.as_ref()].into_iter().flatten() {
            topic.close_for_writes();
            self.kick();
            for ticket in topic.last_tickets() {
                // Whatever was accepted is answered before.
                let _ = wait(topic.committed(ticket));
            }
        }
        let result = self.place_closed(&mut catalog, &source, target.as_ref(), to, how);
        if result.is_err() || how.copy {
            source.reopen_for_writes();
        }
        if let Some(target) = target.filter(|_| result.is_err()) {
            target.reopen_for_writes();
        }
        result.map(|()| Placed::Done)
    }

    fn place_closed(
        &self,
        catalog: &mut Catalog,
        source: &Arc<Topic>,
        target: Option<&Arc<Topic>>,
        to: (Database, &TopicName),
        how: Placing,
    ) -> Result<(), TopicError> {
        let record = CatalogTopic {
            uid: catalog.next_uid(),
            database: to.0.0,
            topic: to.1.file_stem(),
            second_files: target.is_some_and(|target| !target.files.second),
            ..source.catalog_record()
        };
        let now_ms = self.options.clock.now_ms();
        catalog.append(&[CatalogRecord::Prepare(record.clone())], now_ms)?;
        let made = self.write_copy(source, &record, to.1).and_then(|()| {
            let copy =
                self.open_with(&record, to.1.clone(), self.partitioner_of(&record, to.1), Opening::Written)?;
            Ok(copy)
        });
        let copy = match made {
            Ok(copy) => copy,
            Err(error) => {
                self.drop_copy(catalog, &record, to.1);
                return Err(error);
            }
        };
        let from = (!how.copy).then_some(source.uid);
        let commit = match (target, from) {
            (Some(target), from) => CatalogRecord::Replace { gone: target.uid, from, to: record.clone() },
            (None, Some(from)) => CatalogRecord::Rename { from, to: record.clone() },
            (None, None) => CatalogRecord::Create(record.clone()),
        };
        if let Err(error) = catalog.append(&[commit], now_ms) {
            copy.discard();
            if catalog.is_unsettled() {
                // The next start may find the line in the file: then the copy counts, and must be all there is.
                for topic in [Some(source), target].into_iter().flatten() {
                    topic.hold(&format!(
                        "a change of name that concerns it failed and could not be taken back: {error}"
                    ));
                    self.held.lock().push(Arc::clone(topic));
                }
            } else {
                self.drop_copy(catalog, &record, to.1);
            }
            return Err(error);
        }
        self.put_in_place(catalog, &copy, (!how.copy).then_some(source), target);
        Ok(())
    }

    /// The catalog says that a copy counts, and that the topic it was made of, or the one that had its name, does not.
    fn put_in_place(
        &self,
        catalog: &mut Catalog,
        copy: &Arc<Topic>,
        source: Option<&Arc<Topic>>,
        target: Option<&Arc<Topic>>,
    ) {
        let had_expired = target.is_some_and(|target| target.is_expired());
        let gone: Vec<Arc<Topic>> = source.into_iter().chain(target).map(Arc::clone).collect();
        self.names.replace(&gone, copy);
        if let Err(error) = self.remove_deleted(catalog, &gone) {
            tracing::error!(topic = %copy.name(), %error, "files left behind: the next start removes them");
        }
        if let Some(target) = target.filter(|_| had_expired) {
            self.note_expired(std::slice::from_ref(target));
        }
        // To who waits for a group that there is again, the topic that had it before did not go.
        let groups: Vec<Box<[u8]>> = copy.state.lock().groups.iter().map(|(name, _)| name.into()).collect();
        for group in &groups {
            copy.watch.notify_group_back(group);
        }
        copy.watch.notify(Change::Any);
    }

    /// Makes the files of a copy and writes them.
    fn write_copy(
        &self,
        source: &Arc<Topic>,
        record: &CatalogTopic,
        name: &TopicName,
    ) -> Result<(), TopicError> {
        let files = record.files_of(name, &self.storage);
        let logs: Vec<_> = (0..usize::from(record.partitions)).map(|at| files.partition(at)).collect();
        self.storage.create(&logs)?;
        let copy = self.open_with(record, name.clone(), self.partitioner_of(record, name), Opening::New)?;
        let written = copy.check_empty().and_then(|()| copy.check_no_journal()).and_then(|()| {
            copy.fill_from(source, self.options.clock.now_ms()).map_err(TopicError::Unreadable)
        });
        // Opened afresh, it is read as any other.
        copy.discard();
        written
    }

    /// Removes what there is of a copy that does not count.
    fn drop_copy(&self, catalog: &mut Catalog, record: &CatalogTopic, name: &TopicName) {
        match self.storage.delete(&record.logs(&self.storage)) {
            Ok(()) => catalog.note_removed(std::iter::once(record.uid), self.options.clock.now_ms()),
            Err(error) => {
                tracing::error!(topic = %name, %error, "files of a copy not removed: the next start removes them");
            }
        }
    }
}

impl From<ReadError> for TopicError {
    fn from(error: ReadError) -> Self {
        TopicError::Unreadable(error)
    }
}
