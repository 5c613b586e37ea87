//! A reader that does as the script says.

use std::sync::Arc;

use wafka_plugin_sdk::storage::{Chunk, Cursor, LogReader, StorageError};

use crate::failure;
use crate::script::Script;

pub(crate) struct ScriptedReader {
    pub(crate) reader: Arc<dyn LogReader>,
    pub(crate) script: Arc<Script>,
    pub(crate) stem: String,
}

impl ScriptedReader {
    fn strikes(&self, what: &str) -> bool {
        self.script.strikes(what, &self.stem)
    }

    fn spoil(
        &self,
        from: Cursor,
        chunk: Chunk,
        begin: usize,
        into: &mut Vec<u8>,
    ) -> Result<Chunk, StorageError> {
        let mut chunk = chunk;
        if self.strikes("fail-read") {
            return Err(failure(&self.stem, "read"));
        }
        if into.len() == begin {
            return Ok(chunk);
        }
        if self.strikes("read-nothing") {
            into.truncate(begin);
            return Ok(Chunk { start: from, next: from });
        }
        if self.strikes("read-half-line") {
            into.truncate(into.len() - 5);
        }
        if self.strikes("read-too-much") {
            for _ in 0..4 {
                into.extend_from_within(begin..);
            }
        }
        if self.strikes("read-backwards") {
            chunk.start = Cursor { offset: from.offset.wrapping_sub(1), ..chunk.start };
        }
        if self.strikes("read-stands-still") {
            chunk.next = chunk.start;
        }
        if self.strikes("read-skips") {
            chunk.next.offset += 7;
        }
        Ok(chunk)
    }
}

impl LogReader for ScriptedReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        self.script.panic_at("read", &self.stem);
        let begin = into.len();
        let chunk = self.reader.read(from, bytes_max, into)?;
        self.spoil(from, chunk, begin, into)
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        self.script.panic_at("read_ready", &self.stem);
        let begin = into.len();
        let Some(chunk) = self.reader.read_ready(from, bytes_max, into)? else { return Ok(None) };
        self.spoil(from, chunk, begin, into).map(Some)
    }

    fn generation(&self) -> u32 {
        self.script.panic_at("generation", &self.stem);
        self.reader.generation()
    }

    fn size_bytes(&self) -> u64 {
        self.script.panic_at("size", &self.stem);
        self.reader.size_bytes()
    }
}
