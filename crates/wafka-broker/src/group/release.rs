//! Pending entries are given back to the group: `XNACK`.

use std::collections::BTreeSet;
use std::sync::Arc;

use wafka_core::EventId;

use super::error::GroupError;
use super::pending::DELIVERIES_MAX;
use crate::ticket::Ticket;
use crate::topic::{Count, GroupRecord, Release, Topic};

/// What a release says of the deliveries so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReleaseMode {
    /// The last one does not count.
    Silent,
    /// They count as they are.
    Fail,
    /// The event cannot be processed: the highest count there is.
    Fatal,
}

/// What `XNACK` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleaseRequest<'a> {
    /// What becomes of the delivery counts.
    pub mode: ReleaseMode,
    /// The entries.
    pub ids: &'a [EventId],
    /// The delivery count from now on, whatever the mode (`RETRYCOUNT`).
    pub deliveries: Option<u64>,
    /// Events that are not pending become so (`FORCE`).
    pub force: bool,
}

impl Topic {
    /// Releases pending entries: nobody owns them, and they are the first that a claim gets. Returns how many.
    ///
    /// # Errors
    /// When there is no such group, the topic cannot be written, or, with `force`, not be read.
    pub fn release_pending(
        self: &Arc<Self>,
        group: &[u8],
        request: &ReleaseRequest<'_>,
    ) -> Result<(u64, Option<Ticket>), GroupError> {
        let forced = if request.force { self.not_pending(group, request.ids)? } else { BTreeSet::new() };
        let count = match (request.deliveries, request.mode) {
            (Some(deliveries), _) => Count::Set(deliveries),
            (None, ReleaseMode::Silent) => Count::Subtract,
            (None, ReleaseMode::Fail) => Count::Keep,
            (None, ReleaseMode::Fatal) => Count::Set(DELIVERIES_MAX),
        };
        let mut released = Vec::with_capacity(request.ids.len());
        let ticket = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            self.check_journal(state)?;
            let floor = state.floor;
            let deletions = Arc::clone(&state.deletions);
            let is_there = |id: EventId| forced.contains(&id) && id > floor && !deletions.contains(id);
            let found = state.group(group)?;
            for &id in request.ids {
                let before = match found.pending.get(id) {
                    Some(entry) => entry.deliveries,
                    None if is_there(id) => 0,
                    None => continue,
                };
                found.release(id, count.of(before));
                released.push(id);
            }
            let record = |ids| GroupRecord::Release(Release { group: group.into(), ids, count });
            self.note_ids(state, &released, record)
        };
        if !released.is_empty() {
            self.watch.notify_claimable(group);
        }
        Ok((released.len() as u64, ticket))
    }
}
