//! Verifies a log's file when it is opened: what is whole, what a crash tore, what is damaged.
//!
//! * A *whole line* ends in a newline, its checksum holds and its offset is above that of the whole line before it.
//! * A *torn tail* is what a crash leaves of writes that were never acknowledged: bytes behind the last whole line that
//!   end without a newline, or lines with NUL bytes (pages that never reached the disk), to the end. It is cut.
//! * A *hole* is a lost page with pages behind it that reached the disk: NUL bytes up to a page's end, and whole lines
//!   later. Pages reach the disk in any order, but a sync waits for all of them, so nothing from the hole on was ever
//!   synced: it is torn too, to the end, if it is no more than what may be unsynced at a time. What is cut then is kept
//!   in a file of its own. That rests on knowing what was synced: the hole must lie behind a line known to be, or the
//!   file be so small that none needs to be known. Any other hole is damage: the disk, or a person, may have made it.
//! * Everything else is *damage*: it is reported and kept, even at the very end. Each damaged line counts one offset, so
//!   that offsets never repeat.
//! * A last line that lacks nothing but its newline is whole: it gets one. Somebody's editor may have dropped it.
//! * A log that ends before a line known to be durable has lost data: nothing of it is taken for torn.

use std::io;

use memchr::memrchr;
use wafka_core::Offset;
use wafka_core::storage::{Cursor, Damage, TornTail};

use super::CHUNK_BYTES;
use super::lines::{Lines, Segment};
use crate::fs::File;
use crate::line;

/// The unit in which the system brings a file to the disk, in bytes.
const PAGE_BYTES: u64 = 4096;
/// The most that is taken for unsynced behind a hole, in bytes. A hole further from the end is damage.
const UNSYNCED_BYTES_MAX: u64 = 256 << 20;
/// A file longer than this has an index, and with it a line known to be synced, unless that was deleted: an index is
/// written from 256 KiB on. In bytes.
const UNINDEXED_BYTES_MAX: u64 = 1 << 20;
/// How many damaged stretches are reported one by one; the last one speaks for all that follow.
const DAMAGE_REPORTED_MAX: usize = 1000;

/// What was found in a file. Nothing was changed in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// The offset of the first line (at position 0); `end_offset` when there is none.
    pub first_offset: Offset,
    /// The offset of the next line to be appended.
    pub end_offset: Offset,
    /// Where the file is to end: what lies behind is torn.
    pub end_position: u64,
    /// Whether what is kept ends without a newline and needs one.
    pub unterminated: bool,
    /// What is to be cut.
    pub torn: Option<TornTail>,
    /// Whether there are whole lines in what is to be cut.
    pub torn_lines: bool,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// Looks through a file of `len` bytes: from the line `known` on when it is there, else all of it.
pub(super) fn recover(
    file: &dyn File,
    len: u64,
    known: Option<Cursor>,
    line_bytes_max: u64,
) -> io::Result<Recovered> {
    let there = match known {
        Some(known) if is_there(file, len, known, line_bytes_max)? => Some(known.position),
        _ => None,
    };
    let start = there.unwrap_or(0);
    let (check, end) = pass(file, start, len, line_bytes_max)?;
    let may_be_torn =
        |hole: &u64| len - hole <= UNSYNCED_BYTES_MAX && (there.is_some() || len <= UNINDEXED_BYTES_MAX);
    let before_hole = match check.hole.filter(may_be_torn) {
        Some(hole) => Some(pass(file, start, hole, line_bytes_max)?),
        None => None,
    };
    let loses = |check: &Check| known.filter(|known| check.next_offset() <= known.offset);
    let mut found = match before_hole.filter(|(before, _)| loses(before).is_none()) {
        Some((before, hole)) => {
            let mut found = before.finish(hole, None);
            found.torn = Some(TornTail { position: found.end_position, bytes: len - found.end_position });
            found.torn_lines = true;
            found
        }
        None => {
            let lost = loses(&check);
            check.finish(end, lost)
        }
    };
    if start > 0 {
        found.first_offset = first_offset(file, start, line_bytes_max)?;
    }
    Ok(found)
}

/// Goes through the lines of `start..end`; returns what was found and where the range really ends.
fn pass(file: &dyn File, start: u64, end: u64, line_bytes_max: u64) -> io::Result<(Check, u64)> {
    let mut check = Check::default();
    let mut lines = Lines::new(file, start, end, CHUNK_BYTES, line_bytes_max);
    while let Some(segment) = lines.next()? {
        check.take(&segment);
    }
    let end = lines.position();
    Ok((check, end))
}

/// Whether a page that a segment reaches into was lost: NUL bytes to the page's end.
fn has_lost_page(segment: &Segment<'_>) -> bool {
    let last_nul = segment.bytes.filter(|_| segment.has_nul).and_then(|bytes| memrchr(0, bytes));
    last_nul.is_some_and(|last| (segment.position + last as u64 + 1).is_multiple_of(PAGE_BYTES))
}

/// Whether the whole line `known` lies where it is said to.
fn is_there(file: &dyn File, len: u64, known: Cursor, line_bytes_max: u64) -> io::Result<bool> {
    if known.position >= len {
        return Ok(false);
    }
    if known.position > 0 {
        let mut before = [0];
        if file.read_at(&mut before, known.position - 1)? != 1 || before != *b"\n" {
            return Ok(false);
        }
    }
    let mut lines = Lines::new(file, known.position, len, 4096, line_bytes_max);
    let segment = lines.next()?;
    Ok(segment.is_some_and(|segment| segment.terminated && whole(&segment) == Ok(known.offset)))
}

/// The offset of the line at position 0, of a file in which a whole line begins at `until`.
fn first_offset(file: &dyn File, until: u64, line_bytes_max: u64) -> io::Result<Offset> {
    let mut lines = Lines::new(file, 0, u64::MAX, 4096, line_bytes_max);
    let mut damaged: u64 = 0;
    while lines.position() <= until {
        let Some(segment) = lines.next()? else { break };
        if let Ok(offset) = whole(&segment) {
            return Ok(offset.saturating_sub(damaged));
        }
        damaged += 1;
    }
    Ok(0)
}

/// The offset of a segment that is a line but for its newline, or why it is none.
fn whole(segment: &Segment<'_>) -> Result<Offset, String> {
    let bytes = segment.bytes.ok_or("no newline within the longest line there may be")?;
    let covered = line::verify(bytes).map_err(|error| error.to_string())?;
    // The largest number is no offset: none could follow it.
    line::offset_of(covered).filter(|offset| *offset < Offset::MAX).ok_or_else(|| "no offset".to_owned())
}

/// A stretch that is not whole, as long as it is not known what follows.
struct Bad {
    position: u64,
    reason: String,
    /// How many lines it counts for.
    lines: u64,
    /// Where the lines begin that are torn when nothing whole follows, and how many lines stand before them.
    torn: Option<(u64, u64)>,
    /// Where a line begins that reaches into a lost page.
    hole: Option<u64>,
    unterminated: bool,
}

/// The state of a pass through a file.
#[derive(Default)]
struct Check {
    first_offset: Option<Offset>,
    /// Behind the last whole line.
    next: Offset,
    /// How many lines were damaged since the last whole line, or since the start.
    damaged_lines: u64,
    bad: Option<Bad>,
    /// The first hole that whole lines follow.
    hole: Option<u64>,
    unterminated: bool,
    damage: Vec<Damage>,
}

impl Check {
    fn next_offset(&self) -> Offset {
        self.next.saturating_add(self.damaged_lines)
    }

    fn take(&mut self, segment: &Segment<'_>) {
        let offset = whole(segment).and_then(|offset| match offset.checked_sub(self.next) {
            None => Err(format!("offset {offset} where at least {} should be", self.next)),
            Some(_) => Ok(offset),
        });
        match offset {
            Ok(offset) => {
                self.hole = self.hole.or(self.bad.as_ref().and_then(|bad| bad.hole));
                self.settle(segment.position);
                let damaged = std::mem::take(&mut self.damaged_lines);
                self.first_offset.get_or_insert(offset.saturating_sub(damaged));
                self.next = offset + 1;
                self.unterminated = !segment.terminated;
            }
            Err(reason) => self.take_bad(segment, reason),
        }
    }

    fn take_bad(&mut self, segment: &Segment<'_>, reason: String) {
        let bad = self.bad.get_or_insert(Bad {
            position: segment.position,
            reason,
            lines: 0,
            torn: None,
            hole: None,
            unterminated: false,
        });
        if bad.hole.is_none() && has_lost_page(segment) {
            bad.hole = Some(segment.position);
        }
        let overlong = segment.bytes.is_none();
        if segment.has_nul || !(segment.terminated || overlong) {
            bad.torn.get_or_insert((segment.position, bad.lines));
        } else {
            bad.torn = None;
        }
        bad.lines += 1;
        bad.unterminated = !segment.terminated;
    }

    /// The bad stretch, if there is one, is damage and ends at `end`.
    fn settle(&mut self, end: u64) {
        let Some(bad) = self.bad.take() else { return };
        self.damaged_lines += bad.lines;
        self.unterminated = bad.unterminated;
        self.report(Damage { position: bad.position, bytes: end - bad.position, reason: bad.reason });
    }

    fn report(&mut self, damage: Damage) {
        match self.damage.get_mut(DAMAGE_REPORTED_MAX - 1) {
            None => self.damage.push(damage),
            Some(last) => {
                last.bytes = damage.position + damage.bytes - last.position;
                last.reason = "many damaged stretches with whole lines between them".to_owned();
            }
        }
    }

    /// Ends the pass at `len`. `lost` is a line that was durable and is not there.
    fn finish(mut self, len: u64, lost: Option<Cursor>) -> Recovered {
        let mut end = len;
        let torn = self.bad.as_ref().and_then(|bad| bad.torn).filter(|_| lost.is_none());
        if let (Some((position, lines)), Some(bad)) = (torn, &mut self.bad) {
            end = position;
            bad.lines = lines;
            bad.unterminated = false;
            if position == bad.position {
                self.bad = None;
            }
        }
        self.settle(end);
        let mut end_offset = self.next_offset();
        if let Some(lost) = lost {
            let reason = format!(
                "the log ends here, at offset {end_offset}, although the line with offset {} at byte {} was durable",
                lost.offset, lost.position
            );
            self.report(Damage { position: end, bytes: 0, reason });
            end_offset = end_offset.max(lost.offset.saturating_add(1));
        }
        let empty_offset = if end == 0 { end_offset } else { 0 };
        Recovered {
            first_offset: self.first_offset.unwrap_or(empty_offset),
            end_offset,
            end_position: end,
            unterminated: self.unterminated,
            torn_lines: false,
            torn: (end < len).then_some(TornTail { position: end, bytes: len - end }),
            damage: self.damage,
        }
    }
}

#[cfg(test)]
mod tests;
