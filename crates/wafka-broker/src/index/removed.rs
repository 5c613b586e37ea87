//! Which offsets of a log have no line any more, between its first line and its end: then how many lines stand before an
//! offset is known without reading.

use serde::{Deserialize, Serialize};
use wafka_core::Offset;

/// With more runs than these, those that lie close to each other become one of which only the number of lines is known.
const RUNS_MAX: usize = 1024;

/// So many offsets from one on, and how many of these have no line. In the journal `[from, span, gone]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Run(Offset, u64, u64);

impl Run {
    fn end(self) -> Offset {
        self.0.saturating_add(self.1)
    }

    /// Whether none of its offsets has a line.
    fn is_exact(self) -> bool {
        self.1 == self.2
    }
}

/// Whether a line was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    There,
    Gone,
    /// It is among some of which others were.
    Unknown,
}

/// What was removed below an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Below {
    /// So many lines below `from`.
    pub(crate) gone: u64,
    /// From here on lines have to be counted; mostly the offset that was asked for.
    pub(crate) from: Offset,
}

/// The runs of offsets without lines, ascending and apart.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Removed {
    runs: Vec<Run>,
}

impl Removed {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many lines were removed.
    pub(crate) fn total(&self) -> u64 {
        self.runs.iter().fold(0, |total, run| total.saturating_add(run.2))
    }

    /// Whether it is known of every line.
    pub(crate) fn is_exact(&self) -> bool {
        self.runs.iter().all(|run| run.is_exact())
    }

    /// Whether it is what [`Removed`] makes: else somebody else wrote it.
    pub(crate) fn is_sound(&self) -> bool {
        let whole = |run: &Run| run.2 > 0 && run.2 <= run.1 && run.0.checked_add(run.1).is_some();
        self.runs.iter().all(whole) && self.runs.is_sorted_by(|one, next| one.end() <= next.0)
    }

    /// Adds the offsets from `from` up to `to`, behind all there are.
    pub(crate) fn push(&mut self, from: Offset, to: Offset) {
        let span = to.saturating_sub(from);
        match self.runs.last_mut() {
            _ if span == 0 => return,
            Some(last) if last.is_exact() && last.end() == from => {
                (last.1, last.2) = (last.1 + span, last.2 + span)
            }
            _ => self.runs.push(Run(from, span, span)),
        }
        self.bound();
    }

    /// Adds one offset, unless it cannot be told whether it is among those there are.
    pub(crate) fn insert(&mut self, offset: Offset) {
        let at = self.runs.partition_point(|run| run.end() <= offset);
        if self.runs.get(at).is_some_and(|run| run.0 <= offset) {
            return;
        }
        self.runs.insert(at, Run(offset, 1, 1));
        // With what comes right behind it, then with what stands right before it.
        for at in [at, at.wrapping_sub(1)] {
            if let (Some(one), Some(next)) =
                (self.runs.get(at).copied(), self.runs.get(at.wrapping_add(1)).copied())
                && one.end() == next.0
                && one.is_exact()
                && next.is_exact()
            {
                self.runs[at] = Run(one.0, one.1 + next.1, one.2 + next.2);
                self.runs.remove(at + 1);
            }
        }
        self.bound();
    }

    /// Forgets what lies below `first`; `false` where it cannot be told how much that is.
    pub(crate) fn forget_below(&mut self, first: Offset) -> bool {
        self.runs.retain(|run| run.end() > first);
        match self.runs.first_mut() {
            Some(run) if run.0 < first && !run.is_exact() => false,
            Some(run) if run.0 < first => {
                let left = run.end() - first;
                *run = Run(first, left, left);
                true
            }
            _ => true,
        }
    }

    /// What became of the line at an offset.
    pub(crate) fn fate(&self, offset: Offset) -> Fate {
        let at = self.runs.partition_point(|run| run.end() <= offset);
        match self.runs.get(at).filter(|run| run.0 <= offset) {
            None => Fate::There,
            Some(run) if run.is_exact() => Fate::Gone,
            Some(_) => Fate::Unknown,
        }
    }

    /// What was removed below an offset.
    pub(crate) fn below(&self, offset: Offset) -> Below {
        let at = self.runs.partition_point(|run| run.end() <= offset);
        let gone = self.runs[..at].iter().fold(0_u64, |gone, run| gone.saturating_add(run.2));
        match self.runs.get(at).filter(|run| run.0 < offset) {
            None => Below { gone, from: offset },
            Some(run) if run.is_exact() => Below { gone: gone.saturating_add(offset - run.0), from: offset },
            Some(run) => Below { gone, from: run.0 },
        }
    }

    /// How many lines there are from one offset up to another, where that can be known.
    pub(crate) fn lines_in(&self, from: Offset, to: Offset) -> Option<u64> {
        let (low, high) = (self.below(from), self.below(to));
        (low.from == from && high.from == to).then(|| (to - high.gone).saturating_sub(from - low.gone))
    }

    /// The offset that so many lines stand at or behind, up to `end`, where that can be known.
    pub(crate) fn last_lines(&self, mut end: Offset, mut lines: u64) -> Option<Offset> {
        for run in self.runs.iter().rev() {
            let behind = end.checked_sub(run.end())?;
            if lines <= behind {
                return end.checked_sub(lines);
            }
            lines = (lines - behind).checked_sub(run.1 - run.2)?;
            end = run.0;
        }
        end.checked_sub(lines)
    }

    /// How many lines there are at most from one offset up to another.
    pub(crate) fn lines_between(&self, from: Offset, to: Offset) -> u64 {
        let exact = self.runs.iter().filter(|run| run.is_exact());
        let gone = exact.map(|run| run.end().min(to).saturating_sub(run.0.max(from))).sum();
        to.saturating_sub(from).saturating_sub(gone)
    }

    /// Makes one of runs that lie close to each other when there are too many: none gets longer by that than its share of all.
    fn bound(&mut self) {
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else { return };
        if self.runs.len() <= RUNS_MAX {
            return;
        }
        let share = (last.end() - first.0) / (RUNS_MAX as u64 / 4);
        let mut kept: Vec<Run> = Vec::with_capacity(RUNS_MAX);
        for run in &self.runs {
            match kept.last_mut() {
                Some(one) if run.end() - one.0 <= share => {
                    *one = Run(one.0, run.end() - one.0, one.2 + run.2)
                }
                _ => kept.push(*run),
            }
        }
        self.runs = kept;
    }
}

/// Finds out what was removed from the offsets of the lines there are.
#[derive(Default)]
pub(crate) struct Gaps {
    next: Option<Offset>,
    pub(crate) removed: Removed,
}

impl Gaps {
    /// There is a line at this offset, behind those before.
    pub(crate) fn line(&mut self, offset: Offset) {
        if let Some(next) = self.next {
            self.removed.push(next, offset);
        }
        self.next = Some(offset.saturating_add(1));
    }

    /// The log ends at this offset.
    pub(crate) fn end(mut self, end: Offset) -> Removed {
        if let Some(next) = self.next {
            self.removed.push(next, end);
        }
        self.removed
    }

    /// There is a line whose offset cannot be read.
    pub(crate) fn unknown(&mut self) {
        self.next = self.next.map(|next| next.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every offset of `0..end` that is not in `gone`.
    fn of(gone: &[Offset], end: Offset) -> Removed {
        let mut gaps = Gaps::default();
        (0..end).filter(|offset| !gone.contains(offset)).for_each(|offset| gaps.line(offset));
        gaps.removed
    }

    #[test]
    fn runs_say_how_many_lines_stand_before_an_offset() {
        let gone = [3, 4, 5, 9, 20, 21];
        let removed = of(&gone, 30);
        assert_eq!(removed.runs, [Run(3, 3, 3), Run(9, 1, 1), Run(20, 2, 2)]);
        for offset in 0..30 {
            let below = gone.iter().filter(|gone| **gone < offset).count() as u64;
            assert_eq!(removed.below(offset), Below { gone: below, from: offset });
            let fate = if gone.contains(&offset) { Fate::Gone } else { Fate::There };
            assert_eq!(removed.fate(offset), fate);
        }
        assert_eq!(removed.lines_between(2, 10), 4);
        let lines_in = |from: Offset| (from..30).filter(|at| !gone.contains(at)).count() as u64;
        for from in 0..30 {
            assert_eq!(removed.lines_in(from, 30), Some(lines_in(from)));
            let last = removed.last_lines(30, lines_in(from)).unwrap();
            assert_eq!(lines_in(last), lines_in(from), "{from} {last}");
        }
        assert_eq!(removed.last_lines(30, 25), None);
        let mut one_by_one = Removed::default();
        for offset in [21, 4, 9, 3, 20, 5, 4] {
            one_by_one.insert(offset);
        }
        assert_eq!(one_by_one, removed);
        let mut trimmed = removed.clone();
        assert!(trimmed.forget_below(4) && trimmed.total() == 5);
        assert!(trimmed.forget_below(15) && trimmed.total() == 2);
    }

    #[test]
    fn too_many_runs_become_fewer_that_still_add_up() {
        let mut removed = Removed::default();
        for n in 0..50_000_u64 {
            removed.push(3 * n + 1, 3 * n + 2);
            assert!(removed.runs.len() <= RUNS_MAX);
        }
        assert!(removed.is_sound() && !removed.is_exact());
        assert_eq!(removed.total(), 50_000);
        let longest = removed.runs.iter().map(|run| run.1).max().unwrap();
        assert!(longest <= 150_000 / 200, "{longest}");
        for offset in (0..150_000).step_by(777) {
            let Below { gone, from } = removed.below(offset);
            assert!(from <= offset && offset - from <= longest);
            assert_eq!(gone, (from + 1) / 3, "below {from}");
        }
        let at = removed.runs[5].0;
        let lines = removed.lines_in(at, 150_000).unwrap();
        assert_eq!(removed.last_lines(150_000, lines), Some(at));
        assert_eq!((removed.lines_in(at + 1, 150_000), removed.last_lines(150_000, lines - 1)), (None, None));
        let within = removed.runs[5].0 + 1;
        assert_eq!(removed.fate(within), Fate::Unknown);
        let before = removed.clone();
        removed.insert(within);
        assert_eq!(removed, before);
        assert!(!removed.forget_below(within));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let runs = |text: &str| serde_json::from_str::<Removed>(text).unwrap();
        assert!(runs("[[1,2,2],[3,5,1]]").is_sound());
        for bad in [
            "[[1,0,0]]",
            "[[1,2,3]]",
            "[[5,2,1],[1,2,2]]",
            "[[1,3,1],[2,3,1]]",
            "[[18446744073709551615,2,2]]",
        ] {
            assert!(!runs(bad).is_sound(), "{bad}");
        }
    }
}
