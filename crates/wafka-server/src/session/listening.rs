//! A connection that listens: its subscriptions, and what waits in its inbox.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::Database;
use wafka_protocol::RespVersion;

use super::Session;
use super::turn::FLUSH_AT;
use crate::command::{CommandError, Flags};
use crate::notify::{Classes, notify};
use crate::pubsub::Kind;

/// What a transaction did to a topic.
pub(super) struct HeldEvent {
    class: Classes,
    event: &'static str,
    database: Database,
    key: Box<[u8]>,
}

impl Session {
    /// Publishes that `event`, one of `class`, happened to the topic called `key` in the session's database, if that is
    /// asked for: [`notify`]. In a transaction, when that is committed.
    pub fn notify(&self, class: Classes, event: &'static str, key: &[u8]) {
        self.notify_in(self.database, class, event, key);
    }

    /// As [`Session::notify`], in some database.
    pub(super) fn notify_in(&self, database: Database, class: Classes, event: &'static str, key: &[u8]) {
        if !self.in_transaction {
            notify(&self.shared, class, event, database, key);
        } else if self.shared.settings.notify_classes().has(class) {
            self.held_events.borrow_mut().push(HeldEvent { class, event, database, key: key.into() });
        }
    }

    /// Publishes what the transaction did: it is committed.
    pub(crate) fn publish_held_events(&self) {
        for HeldEvent { class, event, database, key } in self.held_events.take() {
            notify(&self.shared, class, event, database, &key);
        }
    }

    /// Forgets what was to be published: the transaction failed.
    pub(super) fn drop_held_events(&self) {
        self.held_events.take();
    }

    /// Subscribes to names and writes a confirmation of each; `word` names the command.
    ///
    /// # Errors
    /// When the client has too many subscriptions; nothing is changed then.
    pub(crate) fn subscribe(&mut self, kind: Kind, word: &str, names: &[&[u8]]) -> Result<(), CommandError> {
        self.subscriptions.check_room(names).map_err(|error| CommandError::from(error.to_string()))?;
        for name in names {
            if let Some(name) = self.subscriptions.add(kind, name) {
                self.shared.pubsub.subscribe(kind, &name, &self.client);
            }
            self.note_subscriptions();
            self.confirm(kind, word, Some(name));
        }
        self.keep_reply();
        Ok(())
    }

    /// Gives up the subscriptions to these names, or to all of the kind, and writes a confirmation of each. No message
    /// of a channel comes after that.
    pub(crate) fn unsubscribe(&mut self, kind: Kind, word: &str, names: &[&[u8]]) {
        let all: Vec<Arc<[u8]>>;
        let names: Vec<&[u8]> = if names.is_empty() {
            all = self.subscriptions.names(kind);
            all.iter().map(AsRef::as_ref).collect()
        } else {
            names.to_vec()
        };
        for name in &names {
            if self.subscriptions.remove(kind, name) {
                self.shared.pubsub.unsubscribe(kind, name, self.client.id);
                self.note_subscriptions();
                self.take_all_pushes();
            }
            self.confirm(kind, word, Some(name));
        }
        if names.is_empty() {
            self.confirm(kind, word, None);
        }
        self.keep_reply();
    }

    /// Gives up all subscriptions; what came until now is still delivered.
    fn unsubscribe_from_all(&mut self) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in self.subscriptions.names(kind) {
                self.subscriptions.remove(kind, &name);
                self.shared.pubsub.unsubscribe(kind, &name, self.client.id);
            }
        }
        self.note_subscriptions();
        self.take_all_pushes();
    }

    /// Shows the client all commands from now on.
    pub(crate) fn start_monitoring(&mut self) {
        self.client.monitor.store(true, Ordering::Relaxed);
        self.shared.observers.monitors.add(&self.client);
    }

    /// Makes the client one that listens to nothing; what came until now is still delivered.
    pub(crate) fn stop_listening(&mut self) {
        if self.client.monitor.swap(false, Ordering::Relaxed) {
            self.shared.observers.monitors.remove(self.client.id);
        }
        self.unsubscribe_from_all();
    }

    fn confirm(&mut self, kind: Kind, word: &str, name: Option<&[u8]>) {
        let count = self.subscriptions.count_with(kind);
        let mut reply = self.reply();
        reply.push(3);
        reply.bulk(word.as_bytes());
        match name {
            Some(name) => reply.bulk(name),
            None => reply.null(),
        }
        reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Confirmations are pushes, which `CLIENT REPLY OFF` does not hold back.
    fn keep_reply(&mut self) {
        if self.is_silent() && !self.in_transaction {
            self.reply_begin = self.out.len();
            self.command_begin = self.reply_begin;
        }
    }

    /// Tells others of the subscriptions: `CLIENT LIST`, `INFO`.
    fn note_subscriptions(&mut self) {
        let count = |kind| u32::try_from(self.subscriptions.count(kind)).unwrap_or(u32::MAX);
        let counts = [count(Kind::Channel), count(Kind::Pattern), count(Kind::Shard)];
        let had_any = self.client.has_subscriptions();
        for (shown, count) in self.client.subscriptions.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
        let has_any = !self.subscriptions.is_empty();
        if has_any != had_any {
            self.shared.pubsub.count_client(has_any);
        }
    }

    /// Whether not all commands are allowed because the client listens.
    pub(crate) fn is_restricted(&self) -> bool {
        self.is_subscriber_only() || self.client.is_monitor()
    }

    /// Whether the client monitors and a command with such flags is about keys, which it must not touch then.
    pub(crate) fn refuses_monitor(&self, flags: Flags) -> bool {
        self.client.is_monitor() && (flags.contains(Flags::WRITE) || flags.contains(Flags::READONLY))
    }

    /// Whether only the commands of a subscriber are allowed: in RESP2 replies could not be told from messages.
    pub(crate) fn is_subscriber_only(&self) -> bool {
        !self.subscriptions.is_empty() && self.version == RespVersion::V2
    }

    /// Appends messages that wait for the client to the replies, as many as may be sent at once. Only between
    /// replies: none may be half written. While some are owed, nothing is appended.
    pub(crate) fn take_pushes(&mut self) {
        if self.client.inbox.is_ready() && self.pending.is_empty() && !self.in_transaction {
            self.client.inbox.take(&mut self.out, self.version, FLUSH_AT);
            self.reply_begin = self.out.len();
            self.command_begin = self.reply_begin;
        }
    }

    /// As [`Session::take_pushes`], but all that there are.
    fn take_all_pushes(&mut self) {
        if self.client.inbox.is_ready() && !self.in_transaction {
            self.client.inbox.take(&mut self.out, self.version, usize::MAX);
            self.reply_begin = self.out.len();
            self.command_begin = self.reply_begin;
        }
    }

    /// Whether there are messages to send now: none of the replies before them is owed, or half written as that to
    /// `EXEC`.
    pub(crate) fn has_pushes_to_send(&self) -> bool {
        let may_send = self.pending.is_empty() && !self.in_transaction;
        may_send && (self.client.inbox.is_ready() || self.sent > 0)
    }

    /// Sends messages that wait for the client, behind the replies written so far; as many as may be sent at once, for
    /// the client is to be heard in between. May be dropped and called again without sending anything twice.
    ///
    /// # Errors
    /// When the client is gone, or is killed while it does not read.
    pub(crate) async fn send_pushes(&mut self) -> io::Result<()> {
        if self.has_pushes_to_send() {
            self.take_pushes();
            self.send().await?;
        }
        Ok(())
    }
}
