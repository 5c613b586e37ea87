//! Writing a log in memory anew.

use std::any::Any;

use wafka_core::Offset;
use wafka_core::storage::{KeptLine, LogSlot, Rewrite, RewritePlan, StorageError};

use super::Log;
use super::content::Content;

/// A rewrite under way.
pub(super) struct MemoryRewrite {
    pub slot: LogSlot,
    pub log: Log,
    /// The generation that is copied.
    pub source: u32,
    /// The generation that is made.
    pub generation: u32,
    pub plan: RewritePlan,
    /// Below this offset the plan counts.
    pub plan_end: Offset,
    /// The next offset to copy.
    pub next: Offset,
    pub target: Content,
}

impl MemoryRewrite {
    pub fn copy(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) {
        let log = self.log.read();
        let last =
            log.find(self.plan_end).map_or(log.blocks.back().and_then(|block| block.lines.last()), |at| {
                let (block, line) = at;
                let before = line.checked_sub(1).and_then(|line| log.blocks[block].lines.get(line));
                before.or_else(|| block.checked_sub(1).and_then(|block| log.blocks[block].lines.last()))
            });
        let last = last.map(|line| line.0);
        let Some((first_block, _)) = log.find(self.next) else { return };
        for block in log.blocks.range(first_block..) {
            for (index, (offset, start)) in block.lines.iter().enumerate() {
                let planned = *offset < self.plan_end && Some(*offset) != last;
                let drops = *offset < self.plan.drop_below || self.plan.drop.binary_search(offset).is_ok();
                if *offset < self.next || (planned && drops) {
                    continue;
                }
                let bytes = &block.bytes[*start..block.line_end(index)];
                kept(KeptLine { cursor: self.target.cursor(*offset, self.target.end), bytes });
                self.target.push(*offset, bytes);
            }
        }
        self.next = log.end_offset;
    }
}

impl Rewrite for MemoryRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        self.copy(kept);
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for MemoryRewrite {
    fn drop(&mut self) {
        self.log.write().rewriting.take_if(|making| *making == self.generation);
    }
}
