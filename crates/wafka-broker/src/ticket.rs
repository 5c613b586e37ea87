//! A promise for a write: handed out when it is accepted, redeemed when it is durable or has failed.

use wafka_core::EventId;

/// Which of a topic's logs a ticket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TicketKind {
    /// The partition at this index.
    Partition(u16),
    /// The topic's journal.
    Journal,
}

/// A write that was accepted. See [`crate::Topic::committed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    pub(crate) kind: TicketKind,
    /// How often the log had failed when the write was accepted: tells which failure, if any, took it.
    pub(crate) epoch: u32,
    /// Partition: the event's dense number within the topic. Journal: the number of the batch it will be part of.
    pub(crate) sequence: u64,
    pub(crate) id: EventId,
}

impl Ticket {
    /// The event's id; for a journal ticket the topic's last id when it was made.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }
}
