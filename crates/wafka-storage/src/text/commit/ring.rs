//! The journal's file as a ring: where the next record goes, which ones matter, reading them again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::lines::Lines;
use rustix::io::Errno;

use super::super::blocks::BlockBuffer;
use super::record::{HEADER_BYTES, Header, RECORDS_START, RecordLine};
use crate::fs::{DIRECT_ALIGN, File, FileSystem, OpenMode, read_full_at, write_all_at};

/// The smallest ring there may be: a few records of a few lines.
pub(super) const BYTES_MIN: u64 = 1 << 12;
/// How much of the file is written at once when it is made.
const FILL_BYTES: usize = 1 << 20;

/// A place in the ring: a record's number and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub commit: u64,
    pub position: u64,
    /// The bytes ever taken up to here, those left empty at the end of the file too.
    total: u64,
}

/// An open journal file.
pub(super) struct Ring {
    pub file: Arc<dyn File>,
    /// The same file, for records: these are read again only after a failure, so a copy in the page cache would be for
    /// nothing. Each then takes whole blocks.
    direct: Option<Arc<dyn File>>,
    header: Header,
    /// The first record that matters.
    tail: Mark,
    /// Where the next record goes.
    head: Mark,
}

impl Ring {
    /// Opens a journal's file as it was left; `None` when there is none that was ever finished.
    pub fn open(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Ring>> {
        let file = match fs.open(path, OpenMode::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut slots = vec![0; 2 * HEADER_BYTES];
        let read = read_full_at(&*file, &mut slots, 0)?;
        let header = Header::newest(&slots[..read]).map_err(|reason| {
            let reason = format!("{}: its headers are damaged: {reason}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        let Some(header) = header else { return Ok(None) };
        let direct = file.direct()?;
        Ok(Some(Ring::at(file, direct, header)))
    }

    /// Makes a journal's file: writes all of it once, so that what is written later needs no new space.
    pub fn create(fs: &dyn FileSystem, dir: &Path, path: &Path, bytes: u64) -> io::Result<Ring> {
        let file = fs.open(path, OpenMode::Truncate)?;
        let mut blank = vec![b' '; FILL_BYTES];
        blank.iter_mut().skip(HEADER_BYTES - 1).step_by(HEADER_BYTES).for_each(|end| *end = b'\n');
        let (mut position, end) = (0, RECORDS_START + bytes);
        while position < end {
            let len = FILL_BYTES.min((end - position) as usize);
            write_all_at(&*file, &blank[..len], position)?;
            position += len as u64;
        }
        file.sync_data()?;
        fs.sync_dir(dir)?;
        let direct = file.direct()?;
        let mut ring = Ring::at(file, direct, Header::new(bytes));
        ring.write_header(ring.header)?;
        Ok(ring)
    }

    fn at(file: Arc<dyn File>, direct: Option<Arc<dyn File>>, header: Header) -> Ring {
        let tail = Mark { commit: header.since, position: header.position.min(header.bytes), total: 0 };
        Ring { file, direct, header, tail, head: tail }
    }

    /// What a length or a position comes to in direct writes.
    fn aligned(&self, bytes: u64) -> u64 {
        if self.direct.is_some() { bytes.next_multiple_of(DIRECT_ALIGN as u64) } else { bytes }
    }

    /// How many bytes there are for records.
    pub fn bytes(&self) -> u64 {
        self.header.bytes
    }

    /// How many bytes are taken by records that matter.
    pub fn used(&self) -> u64 {
        self.head.total - self.tail.total
    }

    pub fn head(&self) -> Mark {
        self.head
    }

    /// The number of the first record that matters.
    pub fn since(&self) -> u64 {
        self.tail.commit
    }

    pub fn run(&self) -> u64 {
        self.header.run
    }

    /// Where a record of `len` bytes can go without touching one that matters.
    pub fn room_for(&self, len: u64) -> Option<u64> {
        let (head, tail, end) = (self.aligned(self.head.position), self.tail.position, self.bytes());
        let len = self.aligned(len);
        if self.used() > 0 && self.head.position <= tail {
            return (head + len <= tail).then_some(head);
        }
        if head + len <= end {
            return Some(head);
        }
        let limit = if self.used() == 0 { end } else { tail };
        (len <= limit).then_some(0)
    }

    /// Writes a record durably at the place that [`Ring::room_for`] named.
    pub fn write(&mut self, record: &mut BlockBuffer, position: u64) -> io::Result<()> {
        let from = self.head.position;
        let skipped = position.checked_sub(from).unwrap_or(self.bytes() - from);
        let len = self.write_at(record, RECORDS_START + position)?;
        self.file.sync_data()?;
        self.head = Mark {
            commit: self.head.commit + 1,
            position: position + len,
            total: self.head.total + skipped + len,
        };
        Ok(())
    }

    /// Returns how many bytes the record takes.
    fn write_at(&mut self, record: &mut BlockBuffer, position: u64) -> io::Result<u64> {
        if let Some(direct) = &self.direct {
            let blocks = record.blocks();
            match write_all_at(&**direct, blocks, position) {
                // A file system may find out only now.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    tracing::debug!("no direct writes of the commit journal");
                    self.direct = None;
                }
                written => return written.map(|()| blocks.len() as u64),
            }
        }
        let bytes = record.bytes();
        write_all_at(&*self.file, bytes, position)?;
        Ok(bytes.len() as u64)
    }

    /// Says durably that no record before `mark` matters any more.
    pub fn forget_before(&mut self, mark: Mark) -> io::Result<()> {
        let mut header = self.header;
        (header.since, header.position) = (mark.commit, mark.position);
        self.write_header(header)?;
        self.tail = mark;
        Ok(())
    }

    /// Begins a new run with this record number, in which no record of the runs before matters.
    pub fn begin_run(&mut self, since: u64) -> io::Result<()> {
        let mut header = self.header;
        (header.run, header.since) = (header.run + 1, since);
        self.write_header(header)?;
        *self = Ring::at(Arc::clone(&self.file), self.direct.take(), self.header);
        Ok(())
    }

    fn write_header(&mut self, mut header: Header) -> io::Result<()> {
        header.update += 1;
        write_all_at(&*self.file, &header.encode(), header.slot())?;
        self.file.sync_data()?;
        self.header = header;
        Ok(())
    }

    /// Reads the records that matter, in order, up to the first that is not whole or not the next one. Returns the
    /// number of that one.
    pub fn records(&self, each: &mut dyn FnMut(&RecordLine, &[u8]) -> io::Result<()>) -> io::Result<u64> {
        let (mut commit, mut position) = (self.tail.commit, self.tail.position);
        while let Some((record, data, end)) = self.read_next(commit, position)? {
            each(&record, &data)?;
            (commit, position) = (commit + 1, end);
        }
        Ok(commit)
    }

    /// The record with this number and where it ends: it stands at `position`, at the next block, or at the start.
    fn read_next(&self, commit: u64, position: u64) -> io::Result<Option<(RecordLine, Vec<u8>, u64)>> {
        let block = position.next_multiple_of(DIRECT_ALIGN as u64);
        for position in [position, block, 0].into_iter().filter(|position| *position < self.bytes()) {
            let found = self.read_at(position)?;
            if let Some(found) =
                found.filter(|(record, ..)| (record.commit, record.run) == (commit, self.run()))
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read_at(&self, position: u64) -> io::Result<Option<(RecordLine, Vec<u8>, u64)>> {
        let end = RECORDS_START + self.bytes();
        let mut lines = Lines::new(&*self.file, RECORDS_START + position, end, 1 << 16, self.bytes());
        let line = lines.next()?.and_then(|segment| segment.bytes);
        let Some(record) = line.and_then(RecordLine::decode) else { return Ok(None) };
        let start = lines.position();
        if record.bytes > end - start {
            return Ok(None);
        }
        let mut data = vec![0; record.bytes as usize];
        let whole = read_full_at(&*self.file, &mut data, start)? == data.len() && record.holds(&data);
        let end = start + record.bytes - RECORDS_START;
        Ok(whole.then_some((record, data, end)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::SimFs;
    use crate::line;

    fn path() -> &'static Path {
        Path::new("ring")
    }

    /// A record without entries whose line is as long as wanted.
    fn record_of(ring: &Ring, len: usize) -> BlockBuffer {
        let (commit, run) = (ring.head().commit, ring.run());
        let mut record =
            format!("{{\"commit\":{commit},\"run\":{run},\"entries\":[],\"bytes\":0,").into_bytes();
        record.extend_from_slice(b"\"data_crc32c\":\"00000000\"");
        record.resize(record.len() + len, b' ');
        line::seal(&mut record, 0);
        let mut buffer = BlockBuffer::default();
        buffer.begin(record.len()).extend_from_slice(&record);
        buffer
    }

    fn commits(ring: &Ring) -> Vec<u64> {
        let mut found = Vec::new();
        let next = ring.records(&mut |record, _| {
            found.push(record.commit);
            Ok(())
        });
        assert_eq!(next.unwrap(), found.last().map_or(ring.since(), |last| last + 1));
        found
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize),
        Forget(usize),
        Reopen,
        NewRun,
        Crash(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => (0usize..900).prop_map(Step::Write),
            4 => (1usize..6).prop_map(Step::Forget),
            1 => Just(Step::Reopen),
            1 => Just(Step::NewRun),
            2 => any::<u64>().prop_map(Step::Crash),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn records_that_matter_are_found_and_no_others(steps in steps(), direct: bool) {
            let mut fs = SimFs::new();
            fs.allow_direct(direct);
            let bytes = BYTES_MIN * if direct { 8 } else { 1 };
            let mut ring = Ring::create(&fs, Path::new(""), path(), bytes).unwrap();
            // The marks before the records that matter.
            let mut live: VecDeque<Mark> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Write(len) => {
                        let mut record = record_of(&ring, len);
                        let len = record.bytes().len() as u64;
                        let Some(position) = ring.room_for(len) else {
                            prop_assert!(ring.used() + 2 * ring.aligned(len) > ring.bytes());
                            continue;
                        };
                        live.push_back(ring.head());
                        ring.write(&mut record, position).unwrap();
                    }
                    Step::Forget(count) => {
                        live.drain(..count.min(live.len()));
                        let mark = live.front().copied().unwrap_or(ring.head());
                        ring.forget_before(mark).unwrap();
                    }
                    Step::NewRun => {
                        ring.begin_run(ring.head().commit).unwrap();
                        live.clear();
                    }
                    Step::Reopen | Step::Crash(_) => {
                        if let Step::Crash(seed) = step {
                            fs = fs.crash(seed);
                            // The next start may be on another file system, or of another version.
                            fs.allow_direct(direct != (seed % 4 == 0));
                        }
                        ring = Ring::open(&fs, path()).unwrap().unwrap();
                        let found = commits(&ring);
                        prop_assert_eq!(&found, &live.iter().map(|mark| mark.commit).collect::<Vec<_>>());
                        ring.begin_run(found.last().map_or(ring.since(), |last| last + 1)).unwrap();
                        live.clear();
                    }
                }
                let expected: Vec<u64> = live.iter().map(|mark| mark.commit).collect();
                prop_assert_eq!(commits(&ring), expected);
            }
        }
    }

    #[test]
    fn a_file_that_was_never_finished_is_none() {
        for seed in 0..40 {
            let fs = SimFs::new();
            fs.sync_dir(Path::new("")).unwrap();
            fs.inject(crate::fs::Fault {
                operation: crate::fs::Operation::Sync,
                path_contains: "ring".into(),
                skip: seed % 2,
                times: 1,
                kind: crate::fs::FaultKind::Errno(5),
            });
            assert!(Ring::create(&fs, Path::new(""), path(), BYTES_MIN).is_err());
            let opened = Ring::open(&fs.crash(seed), path()).unwrap();
            assert!(opened.is_none_or(|ring| commits(&ring).is_empty()));
        }
        assert!(Ring::open(&SimFs::new(), path()).unwrap().is_none());
    }
}
