//! A topic's journal at start. One that cannot be read whole holds its topic: what it said of events and groups is not
//! known, and must not be written over by what memory makes of the rest.

use std::sync::Arc;
use std::time::Instant;

use wafka_core::storage::{OpenRequest, StorageError};
use wafka_storage::line::RecordLine;

use super::super::lane::LaneState;
use super::super::open::{report, scan};
use super::super::{State, Topic};
use super::{Journal, JournalRecord, Replay};
use crate::broker::Broker;

/// What is to be done about a journal that holds its topic.
const REMEDY: &str = "repair or restore the file, then start the server again";

impl State {
    /// Reads the journal back, if there is one. A `tolerant` topic does without one that cannot be opened or read, held.
    pub(in crate::topic) fn load_journal(
        &mut self,
        home: &Broker,
        tolerant: bool,
    ) -> Result<(), StorageError> {
        match self.read_journal(home) {
            // Its partitions are out of reach too: the topic is opened afresh when they are not.
            Err(error @ StorageError::Unavailable { .. }) if tolerant => {
                self.journal.hold(error.to_string());
                Ok(())
            }
            // What stands in it does not change by itself.
            Err(error @ StorageError::Damaged { .. }) if tolerant => {
                self.journal.hold(format!("its journal cannot be read: {error}; {REMEDY}"));
                Ok(())
            }
            Err(error) if tolerant => {
                self.journal.unread = true;
                self.journal
                    .hold(format!("its journal cannot be read, which is tried again until it can: {error}"));
                Ok(())
            }
            result => result,
        }
    }

    fn read_journal(&mut self, home: &Broker) -> Result<(), StorageError> {
        let log = self.journal.log.clone();
        let opened = match home.with_shard(|shard| shard.open(&log, OpenRequest::default())) {
            Ok(opened) => opened,
            Err(StorageError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        report(&log, &opened);
        let mut damage = opened.damage.first().map(|damage| (damage.position, damage.reason.clone()));
        let mut bytes = 0;
        let mut replay = Replay::default();
        let read = scan(&*opened.reader, opened.first, |at, line| {
            bytes += line.len() as u64;
            match RecordLine::parse(line)
                .map_err(|error| error.to_string())
                .and_then(|record| record.deserialize::<JournalRecord>().map_err(|error| error.to_string()))
            {
                Ok(record) => self.replay(&mut replay, record),
                Err(reason) => {
                    tracing::error!(%log, position = at.position, %reason, "journal line not understood, it is kept");
                    damage.get_or_insert((at.position, reason));
                }
            }
        });
        self.journal.loaded(opened.slot, opened.end, bytes);
        if let Some((position, reason)) = damage {
            self.journal.hold(format!(
                "a line of its journal {log} is not understood: at byte {position}: {reason}; {REMEDY}"
            ));
        }
        read
    }
}

impl Topic {
    /// Queues the journal where opening the topic asked for a snapshot, ahead of every new event.
    pub(in crate::topic) fn write_wanted_snapshot(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.journal.held.is_none() && state.journal.has_pending() {
            // Nobody waits for it, so nobody kicks.
            let _ = self.journal_ticket(&mut state);
            self.brokers[self.home].wake();
        }
    }
}

impl Journal {
    /// Nothing is written any more until the topic is opened again: the file stays as it is.
    fn hold(&mut self, reason: String) {
        let reason: Arc<str> = reason.into();
        tracing::error!(log = %self.log, %reason, "topic cannot be written to");
        self.state = LaneState::Offline { reason: Arc::clone(&reason), retry_at: Instant::now() };
        self.held = Some(reason);
    }
}
