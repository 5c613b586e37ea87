use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::conformance::{line_of, lines_of};
use crate::fs::{FileSystem, OpenMode, SimFs};

const LINE_BYTES_MAX: u64 = 2000;

fn file_of(content: &[u8]) -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new();
    fs.put(Path::new("f"), content);
    let file = fs.open(Path::new("f"), OpenMode::Read).unwrap();
    (fs, file)
}

fn recovered(content: &[u8], known: Option<Cursor>) -> Recovered {
    recover(&*file_of(content).1, content.len() as u64, known, LINE_BYTES_MAX).unwrap()
}

fn known(offset: Offset, position: usize) -> Option<Cursor> {
    Some(Cursor { offset, position: position as u64, generation: 0 })
}

/// A line whose checksum does not hold.
fn damaged(offset: Offset) -> Vec<u8> {
    let mut line = line_of(offset, 20);
    line[2] ^= 1;
    line
}

/// Checks ends, torn tail and the stretches of damage as `(position, bytes)`.
#[track_caller]
fn check(found: &Recovered, end: (Offset, usize), torn: usize, damage: &[(usize, usize)]) {
    assert_eq!((found.end_offset, found.end_position), (end.0, end.1 as u64));
    assert_eq!(found.torn.map_or(0, |torn| torn.bytes), torn as u64);
    assert!(found.torn.is_none_or(|torn| torn.position == found.end_position));
    let stretches: Vec<_> = found.damage.iter().map(|d| (d.position as usize, d.bytes as usize)).collect();
    assert_eq!(stretches, damage, "{:?}", found.damage);
}

#[test]
fn whole_lines_are_whole() {
    check(&recovered(b"", None), (0, 0), 0, &[]);
    let content = lines_of(7..12);
    let found = recovered(&content, None);
    check(&found, (12, content.len()), 0, &[]);
    assert_eq!(found.first_offset, 7);
    assert!(!found.unterminated);
}

proptest! {
    #[test]
    fn a_cut_anywhere_is_a_torn_tail(lines in 0u64..4, len in 0usize..400, cut: prop::sample::Index, nuls in 0usize..600) {
        let whole = lines_of(0..lines);
        let last = line_of(lines, len);
        let kept = cut.index(last.len());
        let content = [&whole[..], &last[..kept], &vec![0; nuls]].concat();
        let found = recovered(&content, None);
        if nuls == 0 && kept == last.len() - 1 {
            check(&found, (lines + 1, content.len()), 0, &[]);
            prop_assert!(found.unterminated);
        } else {
            check(&found, (lines, whole.len()), kept + nuls, &[]);
            prop_assert!(!found.unterminated);
        }
    }

    #[test]
    fn a_known_line_makes_no_difference(kinds in proptest::collection::vec(0u8..8, 1..40), at: prop::sample::Index) {
        let mut content = Vec::new();
        let mut whole = Vec::new();
        for (kind, offset) in kinds.into_iter().zip(0..) {
            if kind > 0 {
                whole.push((offset, content.len()));
            }
            content.extend(if kind > 0 { line_of(offset, usize::from(kind) * 10) } else { damaged(offset) });
        }
        prop_assume!(!whole.is_empty());
        let (offset, position) = whole[at.index(whole.len())];
        let all = recovered(&content, None);
        let mut rest = recovered(&content, known(offset, position));
        rest.damage.splice(0..0, all.damage.iter().filter(|d| d.position < position as u64).cloned());
        prop_assert_eq!(rest, all);
    }
}

#[test]
fn lost_pages_at_the_end_are_torn() {
    let whole = lines_of(0..3);
    let line = line_of(3, 100);
    let mut holed = line.clone();
    holed[40..60].fill(0);
    // With a newline behind the hole, and with more torn lines behind it.
    for tail in
        [&holed[..], &[0; 700], &[&holed[..], &holed[..]].concat(), &[&holed[..], &line[..50]].concat()]
    {
        let content = [&whole[..], tail].concat();
        check(&recovered(&content, None), (3, whole.len()), tail.len(), &[]);
    }
    // Whole lines behind them make them damage, and so do lines that cannot come from lost pages.
    let content = [&whole[..], &holed, &line_of(4, 0)].concat();
    check(&recovered(&content, None), (5, content.len()), 0, &[(whole.len(), holed.len())]);
    let content = [&whole[..], &holed, &damaged(4)].concat();
    check(&recovered(&content, None), (5, content.len()), 0, &[(whole.len(), content.len() - whole.len())]);
}

#[test]
fn nothing_behind_a_lost_page_was_synced() {
    let mut content = lines_of(0..200);
    let page = PAGE_BYTES as usize;
    assert!(content.len() > 5 * page);
    content[2 * page..3 * page].fill(0);
    // The line that reaches into the page, and everything behind it.
    let (offset, start) =
        (0..).zip(line_starts(&content)).take_while(|(_, at)| *at < 2 * page).last().unwrap();
    let found = recovered(&content, None);
    check(&found, (offset, start), content.len() - start, &[]);
    assert!(found.torn_lines);
    // A line known to be synced behind it tells that it is damage.
    let known_at = content.len() - line_of(199, 199 * 37 % 200).len();
    check(&recovered(&content, known(199, known_at)), (200, content.len()), 0, &[]);
}

#[test]
fn a_hole_far_from_what_is_known_is_damage() {
    let page = PAGE_BYTES as usize;
    let mut content = lines_of(0..9000);
    assert!(content.len() as u64 > UNINDEXED_BYTES_MAX);
    let starts = line_starts(&content);
    let hole = content.len() / page - 3;
    content[hole * page..(hole + 1) * page].fill(0);
    let (offset, start) =
        (0..).zip(&starts).map(|(o, at)| (o, *at)).take_while(|(_, at)| *at < hole * page).last().unwrap();
    // A large file has an index; where that is gone nobody knows what was synced.
    let found = recovered(&content, None);
    let behind = *starts.iter().find(|at| **at >= (hole + 1) * page).unwrap();
    check(&found, (9000, content.len()), 0, &[(start, behind - start)]);
    assert!(!found.torn_lines);
    // Nor does a line tell that is not where it is said to be.
    check(&recovered(&content, known(10, 1)), (9000, content.len()), 0, &[(start, behind - start)]);
    // A line that is known before it tells.
    let found = recovered(&content, known(offset - 5, starts[offset as usize - 5]));
    check(&found, (offset, start), content.len() - start, &[]);
    assert!(found.torn_lines);
}

#[test]
fn a_hole_before_a_durable_line_is_damage_in_a_small_file_too() {
    let page = PAGE_BYTES as usize;
    let mut content = lines_of(0..200);
    let starts = line_starts(&content);
    content[2 * page..3 * page].fill(0);
    let start = *starts.iter().rfind(|at| **at < 2 * page).unwrap();
    let behind = *starts.iter().find(|at| **at >= 3 * page).unwrap();
    // The line lies elsewhere than it did; it was synced all the same.
    check(&recovered(&content, known(150, 1)), (200, content.len()), 0, &[(start, behind - start)]);
}

fn line_starts(content: &[u8]) -> Vec<usize> {
    let ends = content.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

#[test]
fn damage_is_kept_wherever_it_is() {
    let (before, bad, after) = (lines_of(0..3), damaged(3), lines_of(4..6));
    let content = [&before[..], &bad, &after].concat();
    check(&recovered(&content, None), (6, content.len()), 0, &[(before.len(), bad.len())]);
    // At the very end each line counts as one.
    let content = [&before[..], &bad, &bad, b"nonsense\n"].concat();
    check(&recovered(&content, None), (6, content.len()), 0, &[(before.len(), content.len() - before.len())]);
    // An unfinished line behind it is torn all the same.
    let content = [&before[..], &bad, &after[..30]].concat();
    check(&recovered(&content, None), (4, before.len() + bad.len()), 30, &[(before.len(), bad.len())]);
    // At the start it counts too.
    let content = [&bad[..], &after].concat();
    let found = recovered(&content, None);
    check(&found, (6, content.len()), 0, &[(0, bad.len())]);
    assert_eq!(found.first_offset, 3);
    check(&recovered(&bad, None), (1, bad.len()), 0, &[(0, bad.len())]);
}

#[test]
fn offsets_must_rise_and_be_there() {
    let (before, again) = (lines_of(0..3), line_of(2, 9));
    let found = recovered(&[&before[..], &again, &line_of(9, 0)].concat(), None);
    check(&found, (10, found.end_position as usize), 0, &[(before.len(), again.len())]);
    assert_eq!(found.damage[0].reason, "offset 2 where at least 3 should be");
    for bad in [line_of(u64::MAX, 3), sealed("{\"a\":1")] {
        let found = recovered(&[&before[..], &bad].concat(), None);
        check(&found, (4, before.len() + bad.len()), 0, &[(before.len(), bad.len())]);
        assert_eq!(found.damage[0].reason, "no offset");
    }
}

fn sealed(json: &str) -> Vec<u8> {
    let mut line = json.as_bytes().to_vec();
    line::seal(&mut line, 0);
    line
}

#[test]
fn what_is_too_long_to_be_a_line_is_damage() {
    let before = lines_of(0..2);
    let long = vec![b'x'; LINE_BYTES_MAX as usize * 3];
    let content = [&before[..], &long].concat();
    let found = recovered(&content, None);
    check(&found, (3, content.len()), 0, &[(before.len(), long.len())]);
    assert!(found.unterminated);
    let content = [&before[..], &long, b"\n", &line_of(3, 0)].concat();
    check(&recovered(&content, None), (4, content.len()), 0, &[(before.len(), long.len() + 1)]);
    let content = [&before[..], &vec![0; 9000]].concat();
    check(&recovered(&content, None), (2, before.len()), 9000, &[]);
}

#[test]
fn a_known_line_saves_reading() {
    let content: Vec<u8> = lines_of(0..50_000);
    let last = content.len() - line_of(49_999, (49_999 * 37 % 200) as usize).len();
    let (fs, file) = file_of(&content);
    let found = recover(&*file, content.len() as u64, known(49_999, last), LINE_BYTES_MAX).unwrap();
    check(&found, (50_000, content.len()), 0, &[]);
    assert_eq!(found.first_offset, 0);
    assert!(fs.bytes_read() < 3 * 4096);
}

#[test]
fn a_log_that_ends_before_a_durable_line_is_damaged() {
    let content = lines_of(0..5);
    let position = content.len() + 300;
    let found = recovered(&content, known(8, position));
    check(&found, (9, content.len()), 0, &[(content.len(), 0)]);
    assert!(found.damage[0].reason.contains("offset 8"), "{}", found.damage[0].reason);
    // Unfinished bytes are no torn tail then: they were acknowledged.
    let cut = content.len() - 10;
    let found = recovered(&content[..cut], known(4, cut - 60));
    let start = lines_of(0..4).len();
    check(&found, (5, cut), 0, &[(start, cut - start), (cut, 0)]);
    assert!(found.unterminated);
    check(&recovered(b"", known(3, 100)), (4, 0), 0, &[(0, 0)]);
    assert_eq!(recovered(b"", known(3, 100)).first_offset, 4);
    // A line that lies elsewhere, or was dropped, is not missed.
    check(&recovered(&content, known(3, 1)), (5, content.len()), 0, &[]);
    check(&recovered(&lines_of(6..9), known(3, 1000)), (9, lines_of(6..9).len()), 0, &[]);
}

#[test]
fn reports_of_damage_are_bounded() {
    let count = DAMAGE_REPORTED_MAX as u64 + 500;
    let content: Vec<u8> =
        (0..count).flat_map(|n| [damaged(2 * n), line_of(2 * n + 1, 0)].concat()).collect();
    let found = recovered(&content, None);
    assert_eq!((found.end_offset, found.damage.len()), (2 * count, DAMAGE_REPORTED_MAX));
    let last = found.damage.last().unwrap();
    assert_eq!((last.position + last.bytes) as usize, content.len() - line_of(2 * count - 1, 0).len());
}
