//! A rewrite that does as the script says.

use std::any::Any;
use std::sync::Arc;

use wafka_plugin_sdk::storage::{KeptLine, LogSlot, Rewrite, StorageError};

use crate::failure;
use crate::script::Script;

pub(crate) struct ScriptedRewrite {
    pub(crate) rewrite: Box<dyn Rewrite>,
    pub(crate) script: Arc<Script>,
    pub(crate) stem: String,
}

impl Rewrite for ScriptedRewrite {
    fn slot(&self) -> LogSlot {
        self.rewrite.slot()
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        self.script.panic_at("rewrite_run", &self.stem);
        if self.script.strikes("fail-rewrite", &self.stem) {
            return Err(failure(&self.stem, "rewrite"));
        }
        let twice = self.script.strikes("keeps-twice", &self.stem);
        let half = self.script.strikes("keeps-half", &self.stem);
        let none = self.script.strikes("keeps-none", &self.stem);
        self.rewrite.run(&mut |line| {
            let end = if half { line.bytes.len() - 1 } else { line.bytes.len() };
            if !none {
                kept(KeptLine { bytes: &line.bytes[..end], ..line });
            }
            if twice {
                kept(line);
            }
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
