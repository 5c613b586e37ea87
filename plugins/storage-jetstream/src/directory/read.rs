//! Reading records: all of them, in many parts at once.

use std::collections::HashMap;
use std::ops::Range;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Directory, Found};
use crate::api::{Failure, Stored};
use crate::tenure::Tenure;

/// So many parts are read at once.
const READ_AT_ONCE: usize = 64;
/// The records are read in so many parts at most, of so many sequences at least.
const PARTS: u64 = 1024;
const PART_MIN: u64 = 64;

impl Directory {
    /// Every record there is, when `last` is the last message's sequence, which was written from here.
    ///
    /// Who led the stream before, and was asleep, may answer any of these questions. So what counts is what no stale answer
    /// can hide: the records are gone through by their sequences, and whoever has a message has applied everything before
    /// it. So each that was not replaced or removed until now is found, however old the answers are; what was replaced,
    /// and is found still, stands before what replaced it.
    pub(super) async fn all(&self, tenure: &Tenure, last: u64) -> Result<Vec<Found>, Failure> {
        let length = (last / PARTS).max(PART_MIN);
        let parts = stream::iter((1..=last).step_by(usize::try_from(length).unwrap_or(usize::MAX)))
            .map(|from| self.part(tenure, from..last.min(from + length - 1) + 1, last))
            .buffer_unordered(READ_AT_ONCE);
        let parts: Vec<Vec<Stored>> = parts.try_collect().await?;
        let mut newest: HashMap<String, Stored> = HashMap::new();
        for stored in parts.into_iter().flatten() {
            match newest.get(&stored.subject) {
                Some(other) if other.sequence > stored.sequence => {}
                _ => drop(newest.insert(stored.subject.clone(), stored)),
            }
        }
        newest.remove(&self.epoch_subject());
        let records = newest.into_values().map(|stored| {
            let record = serde_json::from_slice(&stored.data).map_err(|error| {
                Failure::Strange(format!("record {} of the names: {error}", stored.sequence))
            });
            Ok(Found { sequence: stored.sequence, record: record? })
        });
        records.collect()
    }

    /// What stands between these sequences, the last of which is at most `last`.
    async fn part(&self, tenure: &Tenure, sequences: Range<u64>, last: u64) -> Result<Vec<Stored>, Failure> {
        let mut all = Vec::new();
        let mut from = sequences.start;
        while from < sequences.end {
            let stored = self.api.next(&self.stream(), from).await?;
            if stored.sequence > last {
                let Some(by) = self.taken_by(tenure).await? else {
                    let reason =
                        format!("message {} of the names, behind {last}: whose is it?", stored.sequence);
                    return Err(Failure::Strange(reason));
                };
                tenure.end(&by);
                return Err(Failure::Strange(by));
            }
            from = stored.sequence + 1;
            if sequences.contains(&stored.sequence) {
                all.push(stored);
            }
        }
        Ok(all)
    }
}
