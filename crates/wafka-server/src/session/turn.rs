//! A connection's state as its loop sees it: batches of requests, replies owed and written, the end.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use wafka_core::Database;
use wafka_protocol::{Limits, ReplyWriter, RespVersion};

use super::{Interrupt, ReplyMode, Session};
use crate::notify::Classes;

/// Replies of this many bytes are sent before the next request is executed, which bounds what a pipeline can
/// accumulate to this and one reply.
pub(crate) const FLUSH_AT: usize = 256 * 1024;

/// Output capacity that is kept from one batch of replies to the next, in bytes.
const OUT_KEPT: usize = 256 * 1024;

/// Appends of the hot path, counted once per batch.
#[derive(Default)]
pub(super) struct Uncounted {
    appends: u64,
    command: usize,
    since: Option<Instant>,
}

impl Session {
    /// Begins a batch of requests: takes the time.
    pub(crate) fn begin_batch(&mut self) {
        self.now_ms = self.shared.now_ms();
        self.shared.standing.look();
    }

    /// Begins a command: its reply begins here, and `CLIENT REPLY SKIP` before it takes effect.
    pub(crate) fn begin_command(&mut self) {
        self.reply_begin = self.out.len();
        self.command_begin = self.reply_begin;
        (self.has_entries, self.beyond_limit) = (false, false);
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::Skip;
        }
    }

    /// Begins the next command of a transaction: it is part of the reply to `EXEC`.
    pub(crate) fn begin_queued_command(&mut self) {
        self.command_begin = self.out.len();
    }

    /// Ends a command: takes back a reply that is not to be sent.
    pub(crate) fn end_command(&mut self) {
        if self.is_silent() {
            self.out.truncate(self.reply_begin);
        }
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
        }
    }

    /// Replaces the reply to the current command by an error.
    pub(crate) fn fail(&mut self, text: &str) {
        self.out.truncate(self.command_begin);
        self.shared.stats.count_error(text);
        self.reply().error(text);
    }

    /// Takes back the reply to the current command and ends the connection.
    pub(crate) fn close_without_reply(&mut self) {
        self.out.truncate(self.reply_begin);
        self.closing = true;
    }

    /// Counts an append by the hot path of the command with that index.
    pub(crate) fn count_append(&mut self, command: usize) {
        self.uncounted.appends += 1;
        if self.uncounted.since.is_none() {
            self.uncounted.since = Some(Instant::now());
            self.uncounted.command = command;
        }
    }

    /// Adds the appends of this batch to the statistics.
    fn count_appends(&mut self) {
        let Some(since) = self.uncounted.since.take() else { return };
        let stats = self.shared.stats.command(self.uncounted.command);
        let appends = std::mem::take(&mut self.uncounted.appends);
        let took = since.elapsed();
        stats.calls.add(appends);
        stats.nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        stats.latencies.add(took / u32::try_from(appends).unwrap_or(u32::MAX).max(1), appends);
        self.shared.stats.commands.add(appends);
        self.client.totals.commands.add(appends);
        self.client.set_last_command(self.uncounted.command);
    }

    /// Waits until no `CLIENT PAUSE` holds back a command; false when the connection ends before that.
    pub(crate) async fn wait_for_pause(&mut self, writes: bool) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut over = std::pin::pin!(shared.pause.over(writes));
        loop {
            tokio::select! {
                biased;
                () = &mut over => return true,
                interrupt = self.interrupted() => {
                    if interrupt == Interrupt::Closed {
                        return false;
                    }
                }
            }
        }
    }

    /// The limits on the client's requests as they are now.
    pub(crate) fn request_limits(&self) -> Limits {
        self.shared.settings.request_limits(self.is_authenticated())
    }

    /// Waits for the commits of all pending appends and writes their replies, in order.
    pub(crate) async fn settle(&mut self) {
        // `EXEC` waits for what was accepted by itself.
        self.release_keys();
        if self.pending.is_empty() {
            // Topics whose append failed are kept no longer than others.
            self.release_topics();
            return;
        }
        self.kicker.kick(self.pending.len());
        self.count_appends();
        let mut trimmed_topic = None;
        // From the last to the first: a commit covers what its topic was sent before, so mostly one wait serves all.
        for pending in self.pending.iter_mut().rev() {
            let topic = &self.topics[pending.topic.0];
            // Without a future for those that the first wait covered.
            pending.outcome = match topic.is_committed(&pending.appended.ticket) {
                Some(outcome) => outcome,
                None => {
                    // A slow disk does not make the client idle.
                    self.client.set_busy(true);
                    let outcome = topic.committed(pending.appended.ticket).await;
                    self.client.touch();
                    self.client.set_busy(false);
                    outcome
                }
            };
            if pending.appended.trims
                && pending.outcome.is_ok()
                && trimmed_topic.replace(pending.topic.0) != Some(pending.topic.0)
                && let Some(trimmed) = topic.trimming_ticket()
            {
                // The event is there whatever becomes of this: a journal that fails is trimmed behind later.
                self.kicker.kick(usize::MAX);
                let _ = topic.committed(trimmed).await;
            }
        }
        self.answer_appends();
        self.pending.clear();
        self.release_topics();
    }

    /// Writes the replies to the pending appends, and publishes what happened.
    fn answer_appends(&mut self) {
        let notifies = self.shared.settings.notify_classes().has(Classes::STREAM);
        for pending in &self.pending {
            let mut writer = ReplyWriter::new(&mut self.out, self.version);
            match &pending.outcome {
                Ok(()) if pending.silent => {}
                Ok(()) => writer.bulk_id(pending.appended.id),
                Err(_) if pending.silent => {}
                Err(error) => {
                    let text = error.to_string();
                    self.shared.stats.count_error(&text);
                    writer.error(&text);
                }
            }
            if notifies && pending.outcome.is_ok() && !pending.appended.duplicate {
                let topic = &self.topics[pending.topic.0];
                let notify = |event| {
                    self.notify_in(topic.database(), Classes::STREAM, event, topic.name().as_bytes());
                };
                notify("xadd");
                if pending.appended.trims && topic.has_trimmed_with(&pending.appended.ticket) {
                    notify("xtrim");
                }
                // A client that listens to its own topic reads of each append right behind its reply.
                if !self.in_transaction {
                    self.client.inbox.take(&mut self.out, self.version, FLUSH_AT);
                }
            }
        }
    }

    /// Lets the topics of the batch go; the last is remembered.
    fn release_topics(&mut self) {
        if let Some(last) = self.topics.pop() {
            if Arc::as_ptr(&last) != self.last_topic.as_ptr() {
                self.last_topic = Arc::downgrade(&last);
            }
            self.topics.clear();
        }
    }

    /// Sends all replies written so far.
    ///
    /// # Errors
    /// When the client is gone, or is killed while it does not read.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Also within a command it is the client's turn now.
        let busy = self.client.set_busy(false);
        self.send().await?;
        self.client.set_busy(busy);
        Ok(())
    }

    /// Writes `out` to the socket. May be dropped and called again without sending anything twice.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            let written = tokio::select! {
                biased;
                written = self.stream.write(&self.out[self.sent..]) => written?,
                () = self.client.killed() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent += written;
            self.shared.stats.output_bytes.add(written as u64);
            self.client.totals.output_bytes.add(written as u64);
            self.client.touch();
        }
        self.out.clear();
        (self.sent, self.reply_begin, self.command_begin) = (0, 0, 0);
        if self.out.capacity() > OUT_KEPT {
            self.out.shrink_to(OUT_KEPT);
        }
        Ok(())
    }

    /// Whether the reply to this command has entries.
    pub(crate) fn has_entries(&self) -> bool {
        self.has_entries
    }

    /// Forgets what [`Session::note_entries`] noted: the entries were taken back.
    pub(crate) fn forget_entries(&mut self) {
        (self.has_entries, self.beyond_limit) = (false, false);
    }

    /// Notes that entries were written, and whether one was let through beyond the limit.
    pub(crate) fn note_entries(&mut self, some: bool, beyond: bool) {
        self.has_entries |= some;
        self.beyond_limit |= beyond;
    }

    /// Whether the reply to this command is larger than it may be.
    pub(crate) fn is_reply_too_large(&self) -> bool {
        // Where a single entry was let through, there is little beside it, and what came after it was checked.
        self.reply_len() > self.reply_limit() && !self.beyond_limit
    }

    /// The replies not sent yet.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The length of the replies not sent yet, in bytes.
    pub(crate) fn out_len(&self) -> usize {
        self.out.len()
    }

    /// Ends the connection once the replies so far are sent.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether the connection ends once the replies are sent.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the client may use commands that need authentication.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated || !self.shared.settings.password_required()
    }

    /// Notes that the client gave the right password, or (after `RESET`) not.
    pub(crate) fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// Chooses the database.
    pub(crate) fn select(&mut self, database: Database) {
        self.database = database;
        self.client.set_database(database);
    }

    /// Chooses the protocol version, from the next byte of a reply on.
    pub(crate) fn set_version(&mut self, version: RespVersion) {
        self.version = version;
        self.client.set_version(version);
    }

    /// Whether the reply to the command being executed is not sent.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// What `CLIENT REPLY` chose.
    pub(crate) fn reply_mode(&self) -> ReplyMode {
        self.reply_mode
    }

    /// As `CLIENT REPLY` asks.
    pub(crate) fn set_reply_mode(&mut self, mode: ReplyMode) {
        self.reply_mode = mode;
    }
}
