//! Walks through the lines of a file in chunks.

use std::io;

use memchr::memchr;

use crate::fs::{File, read_full_at};

/// A stretch of a file up to and with its next newline, or up to the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    /// Where it begins in the file.
    pub position: u64,
    /// Its bytes with the newline; `None` when it is longer than a line may be.
    pub bytes: Option<&'a [u8]>,
    /// How long it is, with the newline.
    pub len: u64,
    /// Whether it ends in a newline; otherwise the end of the file (or of the range) ends it.
    pub terminated: bool,
    /// Whether a NUL byte stands in it: no line holds one, but space that a crash left unwritten does.
    pub has_nul: bool,
}

/// Hands out the segments of a range of a file. Memory is one chunk plus the longest line.
pub(super) struct Lines<'f> {
    file: &'f dyn File,
    /// The end of the range.
    end: u64,
    /// Bytes of the file before `read_position`, beginning with what was not handed out yet at `at`.
    buffer: Vec<u8>,
    at: usize,
    read_position: u64,
    chunk_bytes: usize,
    line_bytes_max: u64,
}

impl<'f> Lines<'f> {
    /// The segments of `file` in `start..end`; `start` is where a line begins.
    pub fn new(file: &'f dyn File, start: u64, end: u64, chunk_bytes: usize, line_bytes_max: u64) -> Self {
        Lines { file, end, buffer: Vec::new(), at: 0, read_position: start, chunk_bytes, line_bytes_max }
    }

    /// Where the next segment begins.
    pub fn position(&self) -> u64 {
        self.read_position - (self.buffer.len() - self.at) as u64
    }

    /// The next segment, or `None` at the end of the range.
    pub fn next(&mut self) -> io::Result<Option<Segment<'_>>> {
        let position = self.position();
        let mut searched = 0;
        let newline = loop {
            if let Some(found) = memchr(b'\n', &self.buffer[self.at + searched..]) {
                break Some(searched + found);
            }
            searched = self.buffer.len() - self.at;
            if searched as u64 > self.line_bytes_max {
                return self.pass_overlong(position).map(Some);
            }
            if !self.fill()? {
                break None;
            }
        };
        let len = newline.map_or(self.buffer.len() - self.at, |newline| newline + 1);
        if len == 0 {
            return Ok(None);
        }
        let bytes = &self.buffer[self.at..self.at + len];
        self.at += len;
        Ok(Some(Segment {
            position,
            bytes: Some(bytes),
            len: len as u64,
            terminated: newline.is_some(),
            has_nul: memchr(0, bytes).is_some(),
        }))
    }

    /// Reads one more chunk behind what is buffered; false at the end of the range.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let held = self.buffer.len();
        // A long line is read in ever larger chunks, so that it costs few calls.
        let wanted = self.chunk_bytes.max(held.min(1 << 24)) as u64;
        let wanted = wanted.min(self.end.saturating_sub(self.read_position));
        self.buffer.resize(held + wanted as usize, 0);
        let read = read_full_at(self.file, &mut self.buffer[held..], self.read_position);
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        let count = read?;
        self.read_position += count as u64;
        if (count as u64) < wanted {
            // The file is shorter than its caller thought.
            self.end = self.read_position;
        }
        Ok(count > 0)
    }

    /// Goes on to the end of a segment too long to be a line, keeping none of it.
    fn pass_overlong(&mut self, position: u64) -> io::Result<Segment<'_>> {
        let mut has_nul = false;
        let terminated = loop {
            let rest = &self.buffer[self.at..];
            let newline = memchr(b'\n', rest);
            let len = newline.map_or(rest.len(), |newline| newline + 1);
            has_nul |= memchr(0, &rest[..len]).is_some();
            self.at += len;
            if newline.is_some() {
                break true;
            }
            if !self.fill()? {
                break false;
            }
        };
        Ok(Segment { position, bytes: None, len: self.position() - position, terminated, has_nul })
    }
}

/// Where the segment that ends at `end` begins: behind the newline before it, or at 0. `end` is the end of the file or
/// stands behind a newline. `None` when the segment is longer than `line_bytes_max`.
pub(super) fn start_of_segment(file: &dyn File, end: u64, line_bytes_max: u64) -> io::Result<Option<u64>> {
    const WINDOW: u64 = 1 << 16;
    let mut window = Vec::new();
    // The newline that ends the segment itself does not count.
    let mut until = end.saturating_sub(1);
    while until > 0 {
        if end - until > line_bytes_max {
            return Ok(None);
        }
        let from = until.saturating_sub(WINDOW);
        window.resize((until - from) as usize, 0);
        let read = read_full_at(file, &mut window, from)?;
        if let Some(newline) = memchr::memrchr(b'\n', &window[..read]) {
            return Ok(Some(from + newline as u64 + 1));
        }
        until = from;
    }
    Ok(Some(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{FileSystem, OpenMode, SimFs, write_all_at};

    fn file_of(bytes: &[u8]) -> Arc<dyn File> {
        let file = SimFs::new().open(Path::new("f"), OpenMode::CreateNew).unwrap();
        write_all_at(&*file, bytes, 0).unwrap();
        file
    }

    proptest! {
        #[test]
        fn segments_are_the_file_whatever_the_chunk(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), Just(0)], 0..60),
            chunk in 1usize..9,
            line_bytes_max in 1u64..70,
        ) {
            let file = file_of(&bytes);
            let mut lines = Lines::new(&*file, 0, bytes.len() as u64, chunk, line_bytes_max);
            let mut end = 0;
            while let Some(segment) = lines.next().unwrap() {
                prop_assert_eq!(segment.position, end);
                end = segment.position + segment.len;
                let expected = &bytes[segment.position as usize..end as usize];
                if let Some(bytes) = segment.bytes {
                    prop_assert_eq!(bytes, expected);
                } else {
                    prop_assert!(segment.len > line_bytes_max);
                }
                prop_assert_eq!(segment.has_nul, expected.contains(&0));
                prop_assert_eq!(segment.terminated, expected.last() == Some(&b'\n'));
                prop_assert_eq!(expected.iter().filter(|b| **b == b'\n').count(), usize::from(segment.terminated));
                prop_assert_eq!(start_of_segment(&*file, end, 100).unwrap(), Some(segment.position));
            }
            prop_assert_eq!(end, bytes.len() as u64);
        }
    }
}
