//! Where a log has gaps: single lines that were removed, and that a replica which is behind may still have.

use std::ops::Range;

use futures_util::future::join_all;
use wafka_core::Offset;

use crate::api::{Api, Failure, StreamInfo};
use crate::segments::Segments;

/// With more places than these where lines may have been cut, nobody looks whether they were.
const LOOK_AT_MAX: usize = 64;

impl Api {
    /// From which offset on any replica of a log may be asked for lines: none of those was ever removed by itself. `info` is
    /// what the leader says, with the number of messages on the subject `lines`; `offsets` are those of the log's lines.
    pub(crate) async fn any_from(
        &self,
        stream: &str,
        lines: &str,
        info: &StreamInfo,
        segments: &Segments,
        offsets: Range<Offset>,
    ) -> Result<Offset, Failure> {
        if !info.config.allow_direct {
            return Ok(Offset::MAX);
        }
        let there = info.state.subjects.get(lines).copied().unwrap_or(0);
        let is_complete = there == offsets.end - offsets.start;
        // Lines that were cut are counted too, and would make up for removed ones.
        if is_complete && self.is_nothing_cut(stream, lines, segments, &offsets).await? {
            return Ok(offsets.start);
        }
        Ok(offsets.end)
    }

    /// Whether the stream holds no line that was cut.
    async fn is_nothing_cut(
        &self,
        stream: &str,
        lines: &str,
        segments: &Segments,
        offsets: &Range<Offset>,
    ) -> Result<bool, Failure> {
        if segments.is_plain() {
            return Ok(true);
        }
        let below = 1..segments.sequence_of(offsets.start);
        let between: Vec<Range<u64>> = segments.between(offsets.start).chain([below]).collect();
        if between.len() > LOOK_AT_MAX {
            return Ok(false);
        }
        let found =
            join_all(between.iter().map(|sequences| self.at_or_behind(stream, sequences.start, lines))).await;
        for (sequences, line) in between.into_iter().zip(found) {
            if line?.is_some_and(|line| line.sequence < sequences.end) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
