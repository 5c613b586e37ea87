//! One log: what of it is in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use wafka_core::Offset;
use wafka_core::storage::{Cursor, LogName};

use crate::run::Pending;
use crate::schema::Row;

/// A log that was opened since the database was.
pub(crate) struct Log {
    pub name: LogName,
    /// What its runs go by.
    pub number: u64,
    pub state: RwLock<State>,
}

/// What changes.
pub(crate) struct State {
    /// The first line's offset; where there is none, `end`.
    pub first: Offset,
    /// The next line's offset.
    pub end: Offset,
    /// What lies below is durable: where it belongs, or in the journal.
    pub durable: Offset,
    /// What lies below is where it belongs, the rest is in `pending`.
    pub stored: Offset,
    /// Bytes ever appended.
    pub position: u64,
    /// Bytes of them that were removed since.
    pub freed: u64,
    /// The generation that cursors are told. They hold no position here, but whoever keeps an index learns by it that
    /// lines have gone.
    pub generation: u32,
    /// Appended, not yet where it belongs.
    pub pending: VecDeque<Arc<Pending>>,
    /// Listed among those with lines that no commit has seen.
    pub fresh: bool,
    /// Listed among those with lines that are not yet where they belong, though a commit has seen them.
    pub unstored: bool,
    /// Why it refuses to be written.
    pub poisoned: Option<Arc<str>>,
    /// A shard has it.
    pub open: bool,
    pub rewriting: bool,
}

impl Log {
    pub(crate) fn new(name: LogName, number: u64, state: State) -> Arc<Self> {
        Arc::new(Log { name, number, state: RwLock::new(state) })
    }
}

impl State {
    /// A log as the table has it: from its row, its first line's offset if it has any, and its end.
    pub(crate) fn loaded(
        row: Row,
        first: Option<Offset>,
        end: Offset,
        position: u64,
        generation: u32,
    ) -> Self {
        State {
            first: first.unwrap_or(end),
            end,
            durable: end,
            stored: end,
            position,
            freed: row.freed,
            generation,
            pending: VecDeque::new(),
            fresh: false,
            unstored: false,
            poisoned: None,
            open: true,
            rewriting: false,
        }
    }

    pub(crate) fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { offset, position: 0, generation: self.generation }
    }

    /// Bytes of the lines there are.
    pub(crate) fn size(&self) -> u64 {
        self.position.saturating_sub(self.freed)
    }

    /// Bytes that are pending.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|pending| pending.bytes.len()).sum()
    }

    /// Forgets what is where it belongs. Returns how many bytes that were.
    pub(crate) fn commit(&mut self, below: Offset) -> usize {
        let mut bytes = 0;
        while let Some(first) = self.pending.front().filter(|pending| pending.run().end() <= below) {
            bytes += first.bytes.len();
            self.pending.pop_front();
        }
        self.stored = self.stored.max(below);
        self.durable = self.durable.max(below);
        bytes
    }

    /// Forgets the pending lines from offset `end` on. Returns how many bytes that were.
    pub(crate) fn cut_pending(&mut self, end: Offset) -> usize {
        let before = self.pending_bytes();
        while let Some(last) = self.pending.back().filter(|pending| pending.run().end() > end) {
            let last = Arc::clone(last);
            self.pending.pop_back();
            let run = last.run();
            if let Some(at) = run.start_of(end).filter(|at| *at > 0) {
                let bytes = run.bytes[..at].into();
                let (first, position) = (run.first, run.position);
                self.pending.push_back(Arc::new(Pending { first, lines: end - first, position, bytes }));
                break;
            }
        }
        before - self.pending_bytes()
    }

    /// Makes `end` the log's end, which lies among what is pending. Returns how many bytes went.
    pub(crate) fn cut_to(&mut self, end: Offset) -> usize {
        let bytes = self.cut_pending(end);
        self.position -= bytes as u64;
        self.end = end;
        bytes
    }
}
