//! The logs that one broker writes, where there are several backends.
//!
//! A slot says in its upper six bits which backend's it is: 0 is the default one, whose slots stand for themselves. So what
//! is in the default backend costs a look at these bits for every batch and every sync, and no more.

mod beside;
mod owed;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::sync::Arc;

use wafka_core::BrokerId;
use wafka_core::storage::{
    Batch, CaughtUp, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, StorageError, SyncFailure,
};

use super::All;
use beside::{PendingPart, wait_beside};
use owed::Owed;

/// The bits of a slot that are the backend's own.
const SLOT_BITS: u32 = 26;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// The number of the backend that a slot belongs to.
fn backend_of(slot: LogSlot) -> usize {
    (slot.0 >> SLOT_BITS) as usize
}

/// The slot as its backend knows it.
fn own(slot: LogSlot) -> LogSlot {
    LogSlot(slot.0 & SLOT_MASK)
}

/// The slot as it is known above the backend `at`; `None` when it has too many bits.
fn above(at: usize, slot: LogSlot) -> Option<LogSlot> {
    let at = u32::try_from(at).ok()?;
    (slot.0 <= SLOT_MASK).then_some(LogSlot((at << SLOT_BITS) | slot.0))
}

/// See the module.
pub(super) struct BackendsShard {
    all: Arc<All>,
    broker: BrokerId,
    default: Box<dyn Shard>,
    /// The shards of the other backends, each begun when a log of it is first opened.
    others: Vec<Option<Part>>,
    /// What all of them were told last; nothing before the first turn of their broker.
    synced_first: Option<bool>,
}

/// The shard of one backend beside the default one.
struct Part {
    shard: Box<dyn Shard>,
    owed: Arc<Owed>,
    /// Its syncs may take time.
    durable: bool,
}

impl BackendsShard {
    pub(super) fn new(all: Arc<All>, broker: BrokerId, default: Box<dyn Shard>) -> Self {
        let others = all.others.iter().map(|_| None).collect();
        BackendsShard { all, broker, default, others, synced_first: None }
    }

    /// The shard of a backend that has logs open.
    fn part(&mut self, at: usize) -> Result<&mut Part, StorageError> {
        let part = at.checked_sub(1).and_then(|at| self.others.get_mut(at)).and_then(Option::as_mut);
        part.ok_or_else(|| StorageError::Io {
            log: format!("backend number {at}"),
            operation: "find",
            source: io::Error::new(io::ErrorKind::NotFound, "no log of it is open"),
        })
    }

    /// The shard of a backend, begun if need be.
    fn begun(&mut self, at: usize) -> Result<&mut Part, StorageError> {
        if let Some(none) =
            at.checked_sub(1).and_then(|at| self.others.get_mut(at)).filter(|part| part.is_none())
        {
            let storage = self.all.get(at)?;
            let mut shard = storage.shard(self.broker).map_err(|error| self.all.named(at, error))?;
            if let Some(synced_first) = self.synced_first {
                shard.set_synced_first(synced_first);
            }
            let durable = storage.is_durable();
            *none = Some(Part { shard, owed: Arc::default(), durable });
        }
        self.part(at)
    }

    fn open_in(&mut self, at: usize, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let shard = match at {
            0 => &mut self.default,
            _ => &mut self.begun(at)?.shard,
        };
        let mut opened = shard.open(log, request)?;
        match above(at, opened.slot) {
            Some(slot) => {
                opened.slot = slot;
                Ok(opened)
            }
            None => {
                let slot = opened.slot;
                shard.close(slot);
                let reason =
                    format!("the backend gave the log the slot {}, expected at most {SLOT_MASK}", slot.0);
                Err(StorageError::Io {
                    log: log.to_string(),
                    operation: "open",
                    source: io::Error::other(reason),
                })
            }
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = (usize, &mut Part)> {
        self.others.iter_mut().enumerate().filter_map(|(at, part)| Some((at + 1, part.as_mut()?)))
    }
}

impl Shard for BackendsShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let at = self.all.backend_of(log)?;
        let result = match log.backend() {
            None => self.open_in(at, log, request),
            Some(_) => self.open_in(at, &log.clone().in_backend(None), request),
        };
        result.map_err(|error| self.all.named(at, error))
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let at = backend_of(slot);
        if at == 0 {
            return self.default.append(slot, batch);
        }
        let part = self.part(at)?;
        part.owed.appended();
        let result = part.shard.append(own(slot), batch);
        if result.is_err() {
            part.owed.failed([own(slot)]);
        }
        result.map_err(|error| self.all.named(at, error))
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.default.set_synced_first(synced_first);
        if self.synced_first.replace(synced_first) != Some(synced_first) {
            self.parts().for_each(|(_, part)| part.shard.set_synced_first(synced_first));
        }
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        let mut caught_up = self.default.catch_up(all);
        let names = Arc::clone(&self.all);
        for (at, part) in self.parts() {
            let CaughtUp { due, failures } = part.shard.catch_up(all);
            caught_up.due = [caught_up.due, due].into_iter().flatten().min();
            if !failures.is_empty() {
                part.owed.failed(failures.iter().map(|failure| failure.slot));
                caught_up
                    .failures
                    .extend(failures.into_iter().filter_map(|failure| raised(&names, at, failure)));
            }
        }
        caught_up
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        let default = self.default.begin_sync();
        let ask = |(at, part): (usize, &mut Part)| {
            let asked = Owed::ask(&part.owed)?;
            Some(PendingPart { at, sync: part.shard.begin_sync(), asked, durable: part.durable })
        };
        let parts: Vec<_> = self.parts().filter_map(ask).collect();
        if parts.is_empty() {
            return default;
        }
        Box::new(PendingParts { default, parts, all: Arc::clone(&self.all) })
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        if failures.iter().all(|failure| backend_of(failure.slot) == 0) {
            return self.default.finish_sync(failures);
        }
        for at in 0..=self.others.len() {
            // The errors belong to the caller; the backend is told what they say.
            let own_failures: Vec<SyncFailure> =
                failures.iter().filter(|failure| backend_of(failure.slot) == at).map(retold).collect();
            if own_failures.is_empty() {
                continue;
            }
            match at {
                0 => self.default.finish_sync(&own_failures),
                _ => {
                    if let Ok(part) = self.part(at) {
                        part.shard.finish_sync(&own_failures);
                    }
                }
            }
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        match backend_of(slot) {
            0 => self.default.reopen(slot, end),
            at => {
                let part = self.part(at)?;
                let result = part.shard.reopen(own(slot), end);
                if result.is_ok() {
                    part.owed.is_whole(own(slot));
                }
                result.map_err(|error| self.all.named(at, error))
            }
        }
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        match backend_of(slot) {
            0 => self.default.begin_rewrite(slot, plan),
            at => {
                let begun = self.part(at)?.shard.begin_rewrite(own(slot), plan);
                let rewrite = begun.map_err(|error| self.all.named(at, error))?;
                Ok(Box::new(PartRewrite { slot, rewrite, all: Arc::clone(&self.all) }))
            }
        }
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let at = backend_of(rewrite.slot());
        if at == 0 {
            return self.default.finish_rewrite(rewrite, kept);
        }
        match rewrite.into_any().downcast::<PartRewrite>() {
            Ok(part) => {
                let result = self.part(at)?.shard.finish_rewrite(part.rewrite, kept);
                result.map_err(|error| self.all.named(at, error))
            }
            Err(_) => Err(StorageError::Io {
                log: format!("backend number {at}"),
                operation: "finish a rewrite",
                source: io::Error::new(io::ErrorKind::InvalidInput, "the rewrite is of another shard"),
            }),
        }
    }

    fn close(&mut self, slot: LogSlot) {
        match backend_of(slot) {
            0 => self.default.close(slot),
            at => {
                if let Ok(part) = self.part(at) {
                    part.shard.close(own(slot));
                    part.owed.is_whole(own(slot));
                }
            }
        }
    }
}

/// A failure of the backend `at` as it is known above it.
fn raised(all: &All, at: usize, SyncFailure { slot, error }: SyncFailure) -> Option<SyncFailure> {
    let error = all.named(at, error);
    match above(at, slot) {
        Some(slot) => Some(SyncFailure { slot, error }),
        None => {
            tracing::error!(slot = slot.0, %error, "a backend says that a log failed which it never opened");
            None
        }
    }
}

/// What a backend is told of a failure that it named itself.
fn retold(failure: &SyncFailure) -> SyncFailure {
    let source = io::Error::other(failure.error.to_string());
    let error = StorageError::Io { log: format!("slot {}", own(failure.slot).0), operation: "sync", source };
    SyncFailure { slot: own(failure.slot), error }
}

/// A sync of several backends.
struct PendingParts {
    default: Box<dyn PendingSync>,
    parts: Vec<PendingPart>,
    all: Arc<All>,
}

impl PendingSync for PendingParts {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        let PendingParts { default, parts, all } = *self;
        let (mut failures, of_parts) = wait_beside(parts, move || default.wait());
        for (at, of_part) in of_parts {
            failures.extend(of_part.into_iter().filter_map(|failure| raised(&all, at, failure)));
        }
        failures
    }
}

/// A rewrite in a backend beside the default one.
struct PartRewrite {
    slot: LogSlot,
    rewrite: Box<dyn Rewrite>,
    all: Arc<All>,
}

impl Rewrite for PartRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        self.rewrite.run(kept).map_err(|error| self.all.named(backend_of(self.slot), error))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
