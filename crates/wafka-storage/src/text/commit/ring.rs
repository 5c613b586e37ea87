//! The journal's file as a ring: where the next record goes, which ones matter, reading them again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::lines::Lines;
use super::record::{HEADER_BYTES, Header, RECORDS_START, RecordLine};
use crate::fs::{File, FileSystem, OpenMode, read_full_at, write_all_at};

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
        Ok(header.map(|header| Ring::at(file, header)))
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
        let mut ring = Ring::at(file, Header::new(bytes));
        ring.write_header(ring.header)?;
        Ok(ring)
    }

    fn at(file: Arc<dyn File>, header: Header) -> Ring {
        let tail = Mark { commit: header.since, position: header.position.min(header.bytes), total: 0 };
        Ring { file, header, tail, head: tail }
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
        let (head, tail, end) = (self.head.position, self.tail.position, self.bytes());
        if self.used() > 0 && head <= tail {
            return (head + len <= tail).then_some(head);
        }
        if head + len <= end {
            return Some(head);
        }
        let limit = if self.used() == 0 { end } else { tail };
        (len <= limit).then_some(0)
    }

    /// Writes a record durably at the place that [`Ring::room_for`] named.
    pub fn write(&mut self, record: &[u8], position: u64) -> io::Result<()> {
        let len = record.len() as u64;
        let skipped = if position < self.head.position { self.bytes() - self.head.position } else { 0 };
        write_all_at(&*self.file, record, RECORDS_START + position)?;
        self.file.sync_data()?;
        self.head = Mark {
            commit: self.head.commit + 1,
            position: position + len,
            total: self.head.total + skipped + len,
        };
        Ok(())
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
        *self = Ring::at(Arc::clone(&self.file), self.header);
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

    /// The record with this number and where it ends: it stands at `position`, or at the start.
    fn read_next(&self, commit: u64, position: u64) -> io::Result<Option<(RecordLine, Vec<u8>, u64)>> {
        for position in [position, 0] {
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
    fn record_of(ring: &Ring, len: usize) -> Vec<u8> {
        let (commit, run) = (ring.head().commit, ring.run());
        let mut record =
            format!("{{\"commit\":{commit},\"run\":{run},\"entries\":[],\"bytes\":0,").into_bytes();
        record.extend_from_slice(b"\"data_crc32c\":\"00000000\"");
        record.resize(record.len() + len, b' ');
        line::seal(&mut record, 0);
        record
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
        fn records_that_matter_are_found_and_no_others(steps in steps()) {
            let mut fs = SimFs::new();
            let mut ring = Ring::create(&fs, Path::new(""), path(), BYTES_MIN).unwrap();
            // The marks before the records that matter.
            let mut live: VecDeque<Mark> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Write(len) => {
                        let record = record_of(&ring, len);
                        let Some(position) = ring.room_for(record.len() as u64) else {
                            prop_assert!(ring.used() + 2 * record.len() as u64 > ring.bytes());
                            continue;
                        };
                        live.push_back(ring.head());
                        ring.write(&record, position).unwrap();
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
