//! One log: what of it is known here, and what was appended and not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;
use wafka_core::Offset;
use wafka_core::storage::{Cursor, LogName, StorageError};

use crate::batches::Batches;
use crate::io_error;
use crate::segments::Segments;
use crate::tenure::{Tenure, not_owner};

/// So much longer is waited for a log that seems to stand still.
const GRACE: Duration = Duration::from_secs(1);

/// A log that was opened since the backend was.
pub(crate) struct Log {
    pub name: LogName,
    /// What its acknowledgements go by.
    pub key: u64,
    pub stream: String,
    /// In which it was opened: what it may write.
    pub tenure: Arc<Tenure>,
    /// Where lines are published, and cuts.
    pub line_subject: String,
    pub publish_to: Subject,
    pub cut_subject: String,
    pub state: Mutex<State>,
    /// Lines that somebody waits for were acknowledged, or the log was poisoned.
    pub changed: Condvar,
    /// The same for tasks.
    pub told: Notify,
    /// There is something for the writer to do.
    pub work: Notify,
    /// Who sends, or cuts: one at a time.
    pub turn: tokio::sync::Mutex<()>,
}

/// What changes.
pub(crate) struct State {
    pub segments: Arc<Segments>,
    /// The first line's offset; where there is none, `end`.
    pub first: Offset,
    /// Single lines below this offset may have been removed, and none from there on: any replica may be asked for these.
    pub any_from: Offset,
    /// What lies below is acknowledged: a majority has it on disk.
    pub acked: Offset,
    /// What lies below was sent.
    pub sent: Offset,
    /// The next line's offset.
    pub end: Offset,
    /// The lines from `acked` to `end`.
    pub pending: VecDeque<Bytes>,
    /// Lines behind `acked` whose acknowledgement came before those of lines below them: from which offset to which.
    pub early: BTreeMap<Offset, Offset>,
    /// Somebody waits until everything below this is acknowledged.
    pub wanted: Option<Offset>,
    /// Bytes of the lines there are, those below `acked` that were there when the log was opened by estimate.
    pub bytes: u64,
    pub pending_bytes: usize,
    /// No message of ours that is under way, line or cut, follows this sequence or a later one.
    pub highest: u64,
    /// The sequence of the last cut; 0 where there is none.
    pub last_cut: u64,
    /// Counts what was cut: acknowledgements of lines that were cut count no more.
    pub life: u32,
    /// Counts how often it was begun to send: refusals of what was sent before say nothing.
    pub attempt: u32,
    /// How lines are sent, and how many attempts have led to nothing since something was last acknowledged.
    pub batches: Batches,
    pub fruitless: u32,
    /// When something was last acknowledged, or first sent.
    pub progress: Instant,
    /// Why the log's end has to be read again before anything else is sent.
    pub trouble: Option<String>,
    /// Since when there is trouble that was not overcome.
    pub troubled: Option<Instant>,
    /// The generation that cursors are told. They hold no position here, but whoever keeps an index learns by it that
    /// lines have gone.
    pub generation: u32,
    pub poisoned: Option<Poison>,
    /// A shard has it.
    pub open: bool,
    /// Its writer runs.
    pub writing: bool,
    pub rewriting: bool,
}

/// Why a log is not written to.
#[derive(Clone, Debug)]
pub(crate) enum Poison {
    /// Somebody else wrote behind this offset, or owns the data now.
    Fenced {
        batch: Offset,
        end: Offset,
        by: Option<Arc<str>>,
    },
    Failed(Arc<str>),
}

impl Poison {
    /// What to answer whoever wants to append.
    pub(crate) fn refusal(&self, log: &LogName) -> StorageError {
        let reason = match self {
            Poison::Fenced { by: Some(by), .. } => return not_owner(&log.to_string(), by),
            Poison::Fenced { end, .. } => {
                format!("another writer has taken the log over: it ends at offset {end} now")
            }
            Poison::Failed(reason) => reason.to_string(),
        };
        StorageError::Poisoned { log: log.clone(), reason }
    }

    /// What to answer whoever waits for what was appended.
    pub(crate) fn failure(&self, log: &LogName, operation: &'static str) -> StorageError {
        match self {
            Poison::Fenced { by: Some(by), .. } => not_owner(&log.to_string(), by),
            Poison::Fenced { batch, end, by: None } => {
                StorageError::Fenced { log: log.clone(), batch: *batch, end: *end }
            }
            Poison::Failed(reason) => {
                io_error(&log.to_string(), operation, std::io::Error::other(reason.as_ref()))
            }
        }
    }
}

/// What a log holds, as its stream's leader says.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub segments: Segments,
    pub first: Offset,
    pub any_from: Offset,
    /// How many lines there are, where that is known.
    pub lines: Option<u64>,
    pub end: Offset,
    pub last_sequence: u64,
    pub last_cut: u64,
    pub bytes: u64,
    pub batches: Batches,
    /// The server that led the stream, where several hold it.
    pub leader: Option<String>,
}

impl State {
    pub(crate) fn loaded(loaded: Loaded, generation: u32) -> Self {
        State {
            segments: Arc::new(loaded.segments),
            first: loaded.first,
            any_from: loaded.any_from,
            acked: loaded.end,
            sent: loaded.end,
            end: loaded.end,
            pending: VecDeque::new(),
            early: BTreeMap::new(),
            wanted: None,
            batches: loaded.batches,
            fruitless: 0,
            bytes: loaded.bytes,
            pending_bytes: 0,
            highest: loaded.last_sequence,
            last_cut: loaded.last_cut,
            life: 0,
            attempt: 0,
            progress: Instant::now(),
            trouble: None,
            troubled: None,
            generation,
            poisoned: None,
            open: true,
            writing: false,
            rewriting: false,
        }
    }

    pub(crate) fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { offset, position: 0, generation: self.generation }
    }

    /// How long a line is, in bytes, on average and by estimate.
    pub(crate) fn mean_line(&self) -> u64 {
        self.bytes / self.end.saturating_sub(self.first).max(1)
    }

    /// The pending line with this offset.
    pub(crate) fn line(&self, offset: Offset) -> Option<&Bytes> {
        let at = usize::try_from(offset.checked_sub(self.acked)?).ok()?;
        self.pending.get(at)
    }

    /// Takes note that these lines stand where they belong.
    fn acknowledge(&mut self, offsets: Range<Offset>) {
        let (from, to) = (offsets.start.max(self.acked), offsets.end.min(self.end));
        if from >= to {
            return;
        }
        let known = self.early.entry(from).or_insert(to);
        *known = to.max(*known);
        while let Some(range) = self.early.first_entry().filter(|range| *range.key() <= self.acked) {
            let to = range.remove();
            for line in self.pending.drain(..to.saturating_sub(self.acked) as usize) {
                self.pending_bytes -= line.len();
                self.acked += 1;
            }
            self.progress = Instant::now();
            self.troubled = None;
            self.fruitless = 0;
        }
        // What was sent in an earlier attempt may reach further than what was sent again.
        self.sent = self.sent.max(self.acked);
    }

    /// What is sent from now on begins with the first line that is not acknowledged.
    pub(crate) fn begin_again(&mut self) {
        self.sent = self.acked;
        self.early.clear();
        self.attempt += 1;
        self.trouble = None;
        self.progress = Instant::now();
    }

    /// What is to be done about what was sent, and when at the latest.
    pub(crate) fn overdue(&self, patience: Duration) -> Option<Instant> {
        (self.sent > self.acked).then(|| self.progress + patience)
    }
}

impl Log {
    pub(crate) fn new(
        name: LogName,
        key: u64,
        stream: String,
        tenure: Arc<Tenure>,
        subject: &str,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Log {
            name,
            key,
            stream,
            tenure,
            line_subject: format!("{subject}.line"),
            publish_to: format!("{subject}.line").into(),
            cut_subject: format!("{subject}.cut"),
            state: Mutex::new(state),
            changed: Condvar::new(),
            told: Notify::new(),
            work: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Takes note that lines are in the log for good.
    pub(crate) fn stored(&self, life: u32, offsets: Range<Offset>) {
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        let before = state.acked;
        state.acknowledge(offsets);
        if state.acked == before {
            return;
        }
        if state.wanted.is_some_and(|wanted| wanted <= state.acked) {
            state.wanted = None;
            self.tell();
        }
        // There is room to send more, or nothing left to do.
        if state.sent < state.end || !state.open {
            self.work.notify_one();
        }
    }

    /// Takes note that something that was sent was refused.
    /// `code` is the engine's number for it.
    pub(crate) fn refused(&self, life: u32, attempt: u32, code: Option<u64>, reason: String) {
        let mut state = self.state.lock();
        if state.life == life && state.attempt == attempt {
            code.into_iter().for_each(|code| state.batches.refused(code));
            state.trouble.get_or_insert(reason);
            self.work.notify_one();
        }
    }

    /// Takes note that a message is sent that can only have this sequence; returns [`State::highest`].
    pub(crate) fn will_send(&self, sequence: u64) -> u64 {
        let mut state = self.state.lock();
        state.highest = state.highest.max(sequence);
        state.highest
    }

    /// From now on nothing is appended, until the log is reopened.
    pub(crate) fn poison(&self, poison: Poison) {
        if let Poison::Fenced { by: Some(by), .. } = &poison {
            self.tenure.end(by);
        }
        let mut state = self.state.lock();
        if state.poisoned.is_none() {
            let failure = poison.refusal(&self.name);
            ::log::warn!("{failure} (stream {})", self.stream);
            state.poisoned = Some(poison);
        }
        self.tell();
        self.work.notify_one();
    }

    /// From now on nothing is written, as somebody else owns the data.
    pub(crate) fn fence(&self, by: &Arc<str>) {
        let mut state = self.state.lock();
        // What failed before is no reason to try it again.
        if !matches!(state.poisoned, Some(Poison::Fenced { .. })) {
            let by = Some(Arc::clone(by));
            state.poisoned = Some(Poison::Fenced { batch: state.acked, end: state.acked, by });
        }
        self.tell();
        self.work.notify_one();
    }

    /// Wakes who waits for acknowledgements.
    pub(crate) fn tell(&self) {
        self.changed.notify_all();
        self.told.notify_waiters();
    }

    /// Waits until everything below `end` is acknowledged, or never will be.
    pub(crate) async fn acked(&self, life: u32, end: Offset) {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.life != life || state.acked >= end || state.poisoned.is_some() {
                    return;
                }
                state.wanted = Some(state.wanted.map_or(end, |wanted| wanted.min(end)));
            }
            told.await;
        }
    }

    /// Waits until everything below `end` is acknowledged, as long as something is acknowledged every `longest`.
    pub(crate) fn wait_acked(&self, life: u32, end: Offset, longest: Duration) -> Result<(), Poison> {
        let mut deadline = std::time::Instant::now() + longest;
        let mut state = self.state.lock();
        let (mut seen, mut late) = (state.acked, false);
        loop {
            if state.life == life && state.acked >= end {
                // What failed behind it does not matter.
                return Ok(());
            }
            if let Some(poison) = &state.poisoned {
                return Err(poison.clone());
            }
            if state.life != life {
                return Err(Poison::Failed("the log was reopened meanwhile".into()));
            }
            if state.acked > seen {
                (seen, late) = (state.acked, false);
                deadline = std::time::Instant::now() + longest;
            }
            let wanted = state.wanted.map_or(end, |wanted| wanted.min(end));
            state.wanted = Some(wanted);
            let is_over = self.changed.wait_until(&mut state, deadline).timed_out();
            if !is_over || state.acked > seen || state.life != life || state.poisoned.is_some() {
                continue;
            }
            if late {
                // Its writer gives up long before that.
                let reason = "what writes the log does not answer";
                ::log::warn!("{}: {reason} (stream {})", self.name, self.stream);
                state.poisoned = Some(Poison::Failed(reason.into()));
                self.tell();
                self.work.notify_one();
            } else {
                // If it was this process that slept, acknowledgements wait to be taken.
                late = true;
                deadline = std::time::Instant::now() + longest.min(GRACE);
            }
        }
    }
}
