//! What a connection has of a transaction: the commands queued since `MULTI`, and the names it watches.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_broker::{Engine, WatchPoint};
use wafka_core::{Database, TopicKey};

use super::Session;
use crate::command::{Args, Command, CommandError, Flags};

/// What a queued command, an argument of it, or a watched name takes beside its bytes, in bytes.
const OVERHEAD: usize = 64;

/// A command between `MULTI` and `EXEC`.
pub(crate) struct Queued {
    pub(crate) command: &'static Command,
    /// All arguments, one behind the other.
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: Box<[usize]>,
}

impl Queued {
    fn new(command: &'static Command, args: &Args<'_>) -> Self {
        let ends = args.iter().scan(0, |end, arg| {
            *end += arg.len();
            Some(*end)
        });
        Queued { command, bytes: args.concat().into(), ends: ends.collect() }
    }

    fn size(args: &Args<'_>) -> usize {
        args.iter().map(|arg| arg.len() + OVERHEAD).sum::<usize>() + OVERHEAD
    }

    /// Its arguments.
    pub(crate) fn args(&self) -> Vec<&[u8]> {
        let mut begin = 0;
        let arg = |end: &usize| &self.bytes[std::mem::replace(&mut begin, *end)..*end];
        self.ends.iter().map(arg).collect()
    }

    /// Whether it may change data.
    pub(crate) fn writes(&self) -> bool {
        self.command.flags.contains(Flags::WRITE)
    }
}

/// A transaction that is being put together.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) commands: Vec<Queued>,
    bytes: usize,
    /// Something could not be queued: `EXEC` refuses.
    pub(crate) aborted: bool,
}

impl Queue {
    /// Whether any of its commands may change data.
    pub(crate) fn writes(&self) -> bool {
        self.commands.iter().any(Queued::writes)
    }

    /// Whether any of its commands is one that Redis refuses while it loads its data.
    pub(crate) fn needs_topics(&self) -> bool {
        self.commands.iter().any(|queued| !queued.command.flags.contains(Flags::LOADING))
    }
}

/// What is known of a name that must not change before `EXEC`.
struct Watched {
    /// `None` when the server did not own the data then: whatever became of it since counts as a modification.
    point: Option<Arc<WatchPoint>>,
    /// Its count of modifications when `WATCH` came.
    modifications: u64,
    /// There was a topic of that name then.
    existed: bool,
}

/// The names that a client watches.
#[derive(Default)]
pub(crate) struct Watching {
    names: HashMap<(Database, Box<[u8]>), Watched>,
    bytes: usize,
}

impl Watching {
    /// Whether any of the names was modified, or its topic's time has come.
    pub(crate) fn is_modified(&self, engine: Option<&Arc<Engine>>) -> bool {
        let gone = |database: Database, name: &[u8]| {
            engine.is_none_or(|engine| engine.topic(database, name).is_none())
        };
        self.names.iter().any(|((database, name), watched)| match &watched.point {
            None => true,
            Some(point) => {
                point.modifications() != watched.modifications || (watched.existed && gone(*database, name))
            }
        })
    }
}

impl Session {
    /// Begins a transaction; `false` when there is one.
    pub(crate) fn begin_queue(&mut self) -> bool {
        let begins = self.queue.is_none();
        if begins {
            self.queue = Some(Queue::default());
            self.note_queued();
        }
        begins
    }

    /// Whether commands are queued.
    pub(crate) fn is_queueing(&self) -> bool {
        self.queue.is_some()
    }

    /// The commands queued so far.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Queues a command.
    ///
    /// # Errors
    /// When the commands take more memory than a request may; the transaction is aborted then.
    pub(crate) fn enqueue(&mut self, command: &'static Command, args: &Args<'_>) -> Result<(), CommandError> {
        let limit = self.shared.settings.query_buffer_limit();
        let Some(queue) = &mut self.queue else { return Ok(()) };
        let bytes = queue.bytes.saturating_add(Queued::size(args));
        if bytes > limit {
            // What is queued is never executed.
            queue.commands = Vec::new();
            queue.aborted = true;
            return Err(CommandError::Reply(
                format!(
                    "ERR the transaction exceeds the query buffer limit of {limit} bytes \
                     (server.query_buffer_limit); put fewer commands into one"
                )
                .into(),
            ));
        }
        queue.bytes = bytes;
        if !queue.aborted {
            queue.commands.push(Queued::new(command, args));
        }
        self.note_queued();
        Ok(())
    }

    /// A command could not be queued: `EXEC` will refuse.
    pub(crate) fn abort_queue(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.aborted = true;
            queue.commands = Vec::new();
        }
    }

    /// Ends the transaction; what was queued, if any.
    pub(crate) fn take_queue(&mut self) -> Option<Queue> {
        let queue = self.queue.take();
        self.note_queued();
        queue
    }

    fn note_queued(&self) {
        let queued =
            self.queue.as_ref().map_or(-1, |queue| i32::try_from(queue.commands.len()).unwrap_or(i32::MAX));
        self.client.queued.store(queued, Ordering::Relaxed);
    }

    /// Watches the topic that `key` names, whether or not it exists, from now on.
    ///
    /// # Errors
    /// When the names take more memory than a request may.
    pub(crate) fn watch(&mut self, key: &[u8]) -> Result<(), CommandError> {
        let (database, name) = (self.database, TopicKey::parse(key).topic);
        let watching = &mut self.watching;
        let limit = self.shared.settings.query_buffer_limit();
        if watching.bytes.saturating_add(name.len() + OVERHEAD) > limit {
            return Err(CommandError::Reply(
                format!(
                    "ERR the names watched exceed the query buffer limit of {limit} bytes \
                     (server.query_buffer_limit)"
                )
                .into(),
            ));
        }
        if let Entry::Vacant(vacant) = watching.names.entry((database, name.into())) {
            let engine = self.shared.engine();
            let point = engine.map(|engine| engine.watch(database, name));
            let modifications = point.as_ref().map_or(0, |point| point.modifications());
            let existed = engine.is_some_and(|engine| engine.topic(database, name).is_some());
            vacant.insert(Watched { point, modifications, existed });
            watching.bytes += name.len() + OVERHEAD;
        }
        self.note_watched(true);
        Ok(())
    }

    /// Watches nothing any more; what was watched.
    pub(crate) fn take_watching(&mut self) -> Watching {
        self.note_watched(false);
        std::mem::take(&mut self.watching)
    }

    /// Tells others that the client watches, or not: `CLIENT LIST`, `INFO`.
    fn note_watched(&self, watches: bool) {
        let count = if watches { self.watching.names.len() } else { 0 };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let had = self.client.watched.swap(count, Ordering::Relaxed);
        match (had > 0, count > 0) {
            (false, true) => self.shared.stats.watching_clients.add(1),
            (true, false) => self.shared.stats.watching_clients.sub(1),
            _ => {}
        }
    }

    /// Ends the transaction that is being put together, and watches nothing any more.
    pub(crate) fn discard(&mut self) {
        self.take_queue();
        self.take_watching();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;

    #[test]
    fn a_queued_command_has_its_arguments_again() {
        let command = lookup(b"xadd").unwrap();
        for args in [vec![&b"XADD"[..], b"", b"*", b"f", b""], vec![b"XADD", b"s\r\n", b"\0"]] {
            let queued = Queued::new(command, &args);
            assert_eq!(queued.args(), args);
            assert!(queued.writes());
            assert!(Queued::size(&args) > args.concat().len());
        }
    }
}
