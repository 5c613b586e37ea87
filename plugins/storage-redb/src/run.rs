//! A run: lines with dense offsets that lie together, in memory or as one row of the table `runs`.

use memchr::{memchr, memchr_iter, memrchr};
use redb::{ReadableTable, Table};
use wafka_core::Offset;

/// So many bytes of lines a row holds at most, unless one line has more: with key and header it fills a page of 16 KiB.
const ROW_BYTES: usize = (16 << 10) - 64;
/// Byte position and count of lines, little-endian, in front of a row's lines.
const HEADER_BYTES: usize = 12;

/// Some lines of a log.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// The first line's offset.
    pub first: Offset,
    /// How many lines there are.
    pub lines: u64,
    /// How many bytes were ever appended to the log before them.
    pub position: u64,
    /// The lines, each ending in `\n`.
    pub bytes: &'a [u8],
}

/// Lines that were appended and are not committed.
pub(crate) struct Pending {
    pub first: Offset,
    pub lines: u64,
    pub position: u64,
    pub bytes: Box<[u8]>,
}

impl Pending {
    pub(crate) fn run(&self) -> Run<'_> {
        Run { first: self.first, lines: self.lines, position: self.position, bytes: &self.bytes }
    }
}

/// Part of a run: whole lines.
pub(crate) struct Taken<'a> {
    pub first: Offset,
    pub lines: u64,
    pub bytes: &'a [u8],
}

/// A run does not hold the lines it says.
pub(crate) fn corrupted(number: u64, first: Offset, what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("table runs, log number {number}, lines from offset {first}: {what}"))
}

impl<'a> Run<'a> {
    /// The offset behind the last line.
    pub(crate) fn end(&self) -> Offset {
        self.first + self.lines
    }

    /// A row of the table `runs`.
    pub(crate) fn decode(number: u64, first: Offset, value: &'a [u8]) -> Result<Self, redb::Error> {
        let short = || corrupted(number, first, "the row is shorter than its header");
        let (position, rest) = value.split_first_chunk::<8>().ok_or_else(short)?;
        let (lines, bytes) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let lines = u64::from(u32::from_le_bytes(*lines));
        if lines == 0 || bytes.last() != Some(&b'\n') || first.checked_add(lines).is_none() {
            return Err(corrupted(number, first, "expected whole lines"));
        }
        Ok(Run { first, lines, position: u64::from_le_bytes(*position), bytes })
    }

    /// Where the line of this offset begins, in bytes; `None` when there are fewer lines than the run says.
    pub(crate) fn start_of(&self, offset: Offset) -> Option<usize> {
        let before = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        match before.checked_sub(1) {
            None => Some(0),
            Some(last) => memchr_iter(b'\n', self.bytes).nth(last).map(|at| at + 1),
        }
    }

    /// The lines from offset `from` (or the run's first) on that fit into `room` bytes; with `at_least_one` the first
    /// one whatever its length.
    pub(crate) fn take(&self, from: Offset, room: usize, at_least_one: bool) -> Option<Taken<'a>> {
        let first = from.max(self.first);
        let bytes = self.bytes.get(self.start_of(first)?..)?;
        if bytes.len() <= room {
            return (!bytes.is_empty()).then_some(Taken { first, lines: self.end() - first, bytes });
        }
        let end = match memrchr(b'\n', &bytes[..room]) {
            Some(last) => last + 1,
            None if at_least_one => memchr(b'\n', bytes)? + 1,
            None => 0,
        };
        let bytes = &bytes[..end];
        Some(Taken { first, lines: count_lines(bytes), bytes })
    }
}

/// How many lines these bytes are.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Writes a row, put together from `pieces`.
pub(crate) fn insert(
    runs: &mut Table<'_, (u64, u64), &'static [u8]>,
    number: u64,
    row: Run<'_>,
    pieces: &[&[u8]],
) -> Result<(), redb::Error> {
    let too_many = || redb::Error::Corrupted("a run of more than 2^32 lines".into());
    let lines = u32::try_from(row.lines).map_err(|_| too_many())?;
    let len = HEADER_BYTES + pieces.iter().map(|piece| piece.len()).sum::<usize>();
    let mut value = runs.insert_reserve((number, row.first), len)?;
    let (position, rest) = value.as_mut().split_at_mut(8);
    position.copy_from_slice(&row.position.to_le_bytes());
    let (count, mut rest) = rest.split_at_mut(4);
    count.copy_from_slice(&lines.to_le_bytes());
    for piece in pieces {
        let (here, behind) = rest.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        rest = behind;
    }
    Ok(())
}

/// Writes runs that follow each other as rows, each as full as it may be.
pub(crate) fn insert_all<'a>(
    runs: &mut Table<'_, (u64, u64), &'static [u8]>,
    number: u64,
    all: impl Iterator<Item = Run<'a>>,
) -> Result<(), redb::Error> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut row = Run { first: 0, lines: 0, position: 0, bytes: b"" };
    let mut held = 0;
    for run in all {
        let (mut first, mut position, mut bytes) = (run.first, run.position, run.bytes);
        while !bytes.is_empty() {
            let rest = Run { first, lines: run.end() - first, position, bytes };
            let broken = || corrupted(number, first, "fewer lines than were appended");
            let taken = rest.take(first, ROW_BYTES.saturating_sub(held), held == 0).ok_or_else(broken)?;
            if taken.lines == 0 {
                insert(runs, number, row, &pieces)?;
                pieces.clear();
                held = 0;
                continue;
            }
            if held == 0 {
                row = Run { first, lines: 0, position, bytes: b"" };
            }
            pieces.push(taken.bytes);
            (row.lines, held) = (row.lines + taken.lines, held + taken.bytes.len());
            (first, position) = (first + taken.lines, position + taken.bytes.len() as u64);
            bytes = &bytes[taken.bytes.len()..];
        }
    }
    if held > 0 {
        insert(runs, number, row, &pieces)?;
    }
    Ok(())
}

/// The first offset of the run that holds `from`, or of the first behind it; `from` when there is none before it.
pub(crate) fn start_for(
    runs: &impl ReadableTable<(u64, u64), &'static [u8]>,
    number: u64,
    from: Offset,
) -> Result<Offset, redb::Error> {
    let before = runs.range((number, 0)..=(number, from))?.next_back().transpose()?;
    let Some((key, value)) = before else { return Ok(from) };
    let first = key.value().1;
    Ok(if Run::decode(number, first, value.value())?.end() > from { first } else { from })
}

/// Where a log ends in the table: the offset of its next line, and the bytes ever appended to it.
pub(crate) fn end_of(
    runs: &impl ReadableTable<(u64, u64), &'static [u8]>,
    number: u64,
) -> Result<(Offset, u64), redb::Error> {
    let last = runs.range((number, 0)..=(number, u64::MAX))?.next_back().transpose()?;
    let Some((key, value)) = last else { return Ok((0, 0)) };
    let run = Run::decode(number, key.value().1, value.value())?;
    Ok((run.end(), run.position + run.bytes.len() as u64))
}

/// Removes the lines from offset `end` on.
pub(crate) fn cut(
    runs: &mut Table<'_, (u64, u64), &'static [u8]>,
    number: u64,
    end: Offset,
) -> Result<(), redb::Error> {
    let start = start_for(runs, number, end)?;
    if start < end {
        let value = runs.get((number, start))?.map(|value| value.value().to_vec()).unwrap_or_default();
        let run = Run::decode(number, start, &value)?;
        let at = run.start_of(end).ok_or_else(|| corrupted(number, start, "fewer lines than it says"))?;
        insert(runs, number, Run { lines: end - start, ..run }, &[&run.bytes[..at]])?;
    }
    runs.retain_in((number, end)..=(number, u64::MAX), |_, _| false)?;
    Ok(())
}

/// The first line at or behind offset `from`, if there is one.
pub(crate) fn first_from(
    runs: &impl ReadableTable<(u64, u64), &'static [u8]>,
    number: u64,
    from: Offset,
) -> Result<Option<Offset>, redb::Error> {
    let start = start_for(runs, number, from)?;
    let found = runs.range((number, start)..=(number, u64::MAX))?.next().transpose()?;
    Ok(found.map(|(key, _)| key.value().1.max(from)))
}
