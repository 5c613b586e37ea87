//! A shard that does as the script says.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_plugin_sdk::storage::{
    Batch, CaughtUp, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, StorageError, SyncFailure,
};

use crate::failure;
use crate::reader::ScriptedReader;
use crate::rewrite::ScriptedRewrite;
use crate::script::Script;

/// The open logs, and which of them failed.
type Logs = Arc<Mutex<BTreeMap<LogSlot, State>>>;

struct State {
    name: LogName,
    dirty: bool,
    failed: bool,
}

pub(crate) struct ScriptedShard {
    shard: Box<dyn Shard>,
    script: Arc<Script>,
    logs: Logs,
}

impl ScriptedShard {
    pub(crate) fn new(shard: Box<dyn Shard>, script: Arc<Script>) -> Self {
        ScriptedShard { shard, script, logs: Logs::default() }
    }

    fn name(&self, slot: LogSlot) -> Option<LogName> {
        self.logs.lock().get(&slot).map(|state| state.name.clone())
    }

    fn strikes(&self, what: &str, slot: LogSlot) -> bool {
        self.name(slot).is_some_and(|name| self.script.strikes(what, name.stem()))
    }

    fn panic_at(&self, operation: &str, slot: LogSlot) {
        if let Some(name) = self.name(slot) {
            self.script.panic_at(operation, name.stem());
        }
    }

    fn check_writable(&self, slot: LogSlot) -> Result<(), StorageError> {
        match self.logs.lock().get(&slot) {
            Some(state) if state.failed => Err(StorageError::Poisoned {
                log: state.name.clone(),
                reason: "the script says so".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn set(&self, slot: LogSlot, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.logs.lock().get_mut(&slot) {
            change(state);
        }
    }
}

impl Shard for ScriptedShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        self.script.panic_at("log_open", log.stem());
        let mut opened = self.shard.open(log, request)?;
        let state = State { name: log.clone(), dirty: false, failed: false };
        self.logs.lock().insert(opened.slot, state);
        if self.script.strikes("first-behind-end", log.stem()) {
            opened.first.offset = opened.end.offset + 1;
        }
        if self.script.strikes("no-generation", log.stem()) {
            opened.end.generation = 0;
        }
        if self.script.strikes("slot-twice", log.stem()) {
            opened.slot = LogSlot(0);
        }
        let (script, stem) = (Arc::clone(&self.script), log.stem().to_owned());
        opened.reader = Arc::new(ScriptedReader { reader: opened.reader, script, stem });
        Ok(opened)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        self.panic_at("append", slot);
        self.check_writable(slot)?;
        if self.strikes("append", slot) {
            self.set(slot, |state| state.failed = true);
            return Err(failure(format!("slot {}", slot.0), "append"));
        }
        let start = self.shard.append(slot, batch)?;
        self.set(slot, |state| state.dirty = true);
        let is_wrong = self.strikes("wrong-offset", slot);
        Ok(Cursor { offset: start.offset + u64::from(is_wrong), ..start })
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.script.panic_at("set_synced_first", "*");
        self.shard.set_synced_first(synced_first);
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        self.script.panic_at("catch_up", "*");
        self.shard.catch_up(all)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.script.panic_at("begin_sync", "*");
        let mut logs = self.logs.lock();
        let covered = logs.iter_mut().filter_map(|(slot, state)| {
            std::mem::take(&mut state.dirty).then(|| (*slot, state.name.clone()))
        });
        let covered = covered.collect();
        Box::new(ScriptedSync { covered, logs: Arc::clone(&self.logs), script: Arc::clone(&self.script) })
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.script.panic_at("finish_sync", "*");
        for failure in failures {
            self.set(failure.slot, |state| state.failed = true);
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        self.panic_at("reopen", slot);
        self.shard.reopen(slot, end)?;
        self.set(slot, |state| state.failed = false);
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        self.panic_at("begin_rewrite", slot);
        self.check_writable(slot)?;
        let rewrite = self.shard.begin_rewrite(slot, plan)?;
        let stem = self.name(slot).map(|name| name.stem().to_owned()).unwrap_or_default();
        Ok(Box::new(ScriptedRewrite { rewrite, script: Arc::clone(&self.script), stem }))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let slot = rewrite.slot();
        self.panic_at("finish_rewrite", slot);
        self.check_writable(slot)?;
        let Ok(scripted) = rewrite.into_any().downcast::<ScriptedRewrite>() else {
            return Err(failure(format!("slot {}", slot.0), "rewrite"));
        };
        let mut done = self.shard.finish_rewrite(scripted.rewrite, kept)?;
        done.end.offset += u64::from(self.strikes("wrong-end", slot));
        done.first.offset += u64::from(self.strikes("wrong-first", slot));
        Ok(done)
    }

    fn close(&mut self, slot: LogSlot) {
        self.panic_at("log_close", slot);
        self.logs.lock().remove(&slot);
        self.shard.close(slot);
    }
}

struct ScriptedSync {
    covered: Vec<(LogSlot, LogName)>,
    logs: Logs,
    script: Arc<Script>,
}

impl PendingSync for ScriptedSync {
    fn wait(self: Box<Self>) -> Vec<SyncFailure> {
        self.script.panic_at("sync_wait", "*");
        let mut failures = Vec::new();
        for (slot, name) in &self.covered {
            if self.script.strikes("sync", name.stem())
                && let Some(state) = self.logs.lock().get_mut(slot)
            {
                state.failed = true;
            }
        }
        for (slot, state) in self.logs.lock().iter().filter(|(_, state)| state.failed) {
            failures.push(SyncFailure { slot: *slot, error: failure(&state.name, "sync") });
        }
        if self.script.strikes("unknown-slot", "*") {
            failures.push(SyncFailure { slot: LogSlot(9999), error: failure("slot 9999", "sync") });
        }
        failures
    }
}
