//! Finds a line by its offset in a file that is in offset order, without any index.
//!
//! Only lines whose checksum holds are believed, so damaged stretches cost reads, never a wrong answer.

use std::io;

use memchr::memchr;
use wafka_core::Offset;

use super::lines::{Lines, Segment};
use crate::fs::{File, read_full_at};
use crate::line;

/// What is read at each probe, and where bisection gives way to going through the lines.
const PROBE_BYTES: usize = 4096;

/// The offset of a segment that is a whole line.
pub(super) fn verified_offset(segment: &Segment<'_>) -> Option<Offset> {
    let bytes = segment.bytes.filter(|_| segment.terminated)?;
    line::offset_of(line::verify(bytes).ok()?)
}

/// Where the first line lies whose offset is at least `target`, or `end` when there is none below it. Damaged bytes in
/// its place count as it: they are never passed over silently.
pub(super) fn position_of(file: &dyn File, end: u64, target: Offset, line_bytes_max: u64) -> io::Result<u64> {
    let start = line_below(file, end, target, line_bytes_max)?;
    go_through(file, start, end, target, line_bytes_max)
}

/// From the start of a line below `target`, or from 0, goes through the lines to the first that is not below it.
pub(super) fn go_through(
    file: &dyn File,
    start: u64,
    end: u64,
    target: Offset,
    line_bytes_max: u64,
) -> io::Result<u64> {
    let mut lines = Lines::new(file, start, end, PROBE_BYTES, line_bytes_max);
    // The damaged stretch behind the last line below the target: where it begins and how many lines it counts for.
    let mut bad_start = None;
    let mut bad_lines: u64 = 0;
    let mut next_offset: Offset = 0;
    while let Some(segment) = lines.next()? {
        match verified_offset(&segment) {
            Some(offset) if offset < target => {
                bad_start = None;
                bad_lines = 0;
                next_offset = offset.saturating_add(1);
            }
            Some(offset) if offset == target => return Ok(segment.position),
            Some(_) => return Ok(bad_start.unwrap_or(segment.position)),
            None => {
                bad_start = bad_start.or(Some(segment.position));
                bad_lines += 1;
            }
        }
    }
    // Damaged lines at the very end have the offsets that follow; recovery counts them in the same way.
    let counted = next_offset.saturating_add(bad_lines);
    Ok(bad_start.filter(|_| target < counted).unwrap_or_else(|| lines.position()))
}

/// The start of some whole line at or below `target`, near it; or 0.
fn line_below(file: &dyn File, end: u64, target: Offset, line_bytes_max: u64) -> io::Result<u64> {
    // Whole lines that begin at or above `high` are above the target; the one at `low` is not.
    let (mut low, mut high) = (0, end);
    while high - low > PROBE_BYTES as u64 {
        let middle = low + (high - low) / 2;
        match first_line_in(file, middle, high, end, line_bytes_max)? {
            Some((start, offset)) if offset == target => return Ok(start),
            Some((start, offset)) if offset < target => low = start,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first whole line that begins in `from..to`, where `from` is above 0.
fn first_line_in(
    file: &dyn File,
    from: u64,
    to: u64,
    end: u64,
    line_bytes_max: u64,
) -> io::Result<Option<(u64, Offset)>> {
    // The newline right before `from` counts: a line may begin there.
    let Some(start) = behind_newline(file, from - 1, to)? else { return Ok(None) };
    let mut lines = Lines::new(file, start, end, PROBE_BYTES, line_bytes_max);
    while lines.position() < to {
        let Some(segment) = lines.next()? else { break };
        if let Some(offset) = verified_offset(&segment) {
            return Ok(Some((segment.position, offset)));
        }
    }
    Ok(None)
}

/// The position behind the first newline in `from..to`.
fn behind_newline(file: &dyn File, mut from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut probe = vec![0; PROBE_BYTES];
    while from < to {
        let wanted = probe.len().min((to - from) as usize);
        let read = read_full_at(file, &mut probe[..wanted], from)?;
        if let Some(newline) = memchr(b'\n', &probe[..read]) {
            return Ok(Some(from + newline as u64 + 1));
        }
        if read < wanted {
            break;
        }
        from += read as u64;
        // In a long line it goes faster.
        probe.resize(1 << 16, 0);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{FileSystem, OpenMode, SimFs};
    use crate::text::tests::line_of;

    fn opened(content: &[u8]) -> (SimFs, std::sync::Arc<dyn File>) {
        let fs = SimFs::new();
        fs.put(Path::new("f"), content);
        let file = fs.open(Path::new("f"), OpenMode::Read).unwrap();
        (fs, file)
    }

    proptest! {
        #[test]
        fn the_line_is_found_among_gaps_long_lines_and_damage(
            steps in proptest::collection::vec((1u64..4, 0usize..400, 0u8..12), 1..120),
            first in 0u64..5,
            target in 0u64..300,
        ) {
            let mut content = Vec::new();
            let mut offset = first;
            // Where each line begins, with its offset when it is whole.
            let mut places = Vec::new();
            for (step, len, kind) in steps {
                let len = if kind == 11 { len * 50 } else { len };
                let mut line = line_of(offset, len);
                if kind == 0 {
                    line[3] ^= 1;
                }
                places.push((content.len() as u64, offset, kind != 0));
                content.extend_from_slice(&line);
                offset += step;
            }
            let end = content.len() as u64;
            let (_, file) = opened(&content);
            let found = position_of(&*file, end, target, 1 << 20).unwrap();
            // Nothing whole at or above the target is passed over, nothing whole below it is included.
            for (position, offset, whole) in &places {
                if *whole {
                    prop_assert_eq!(*position >= found, *offset >= target, "line {} at {}", offset, position);
                }
            }
            prop_assert!(found == end || places.iter().any(|(position, ..)| *position == found));
            // A damaged line between the last one below and the first one above is included, unless the target is there.
            let exact = places.iter().any(|(_, offset, whole)| *whole && *offset == target);
            let below = places.iter().rposition(|(_, offset, whole)| *whole && *offset < target);
            let next = places.get(below.map_or(0, |below| below + 1)).map_or(end, |place| place.0);
            if !exact && places.iter().any(|(_, offset, whole)| *whole && *offset > target) {
                prop_assert_eq!(found, next);
            }
        }
    }

    #[test]
    fn a_probe_in_a_long_file_reads_little() {
        let mut content = Vec::new();
        let mut positions = Vec::new();
        for offset in 0..40_000 {
            positions.push(content.len() as u64);
            content.extend_from_slice(&line_of(offset, 150));
        }
        let (fs, file) = opened(&content);
        for target in [0, 1, 19_999, 31_234, 39_999] {
            let before = fs.bytes_read();
            let found = position_of(&*file, content.len() as u64, target, 1 << 20).unwrap();
            assert_eq!(found, positions[target as usize]);
            assert!(fs.bytes_read() - before < 30 * 2 * PROBE_BYTES as u64);
        }
    }
}
