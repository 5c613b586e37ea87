//! The engine as a whole, over every backend and every fault of the file-system seam.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests: what is not as expected ends them")]

mod backends;
mod checkpoints;
mod concurrency;
mod crashes;
mod damage;
mod expiry;
mod faults;
mod group_claims;
mod group_crashes;
mod group_many;
mod group_model;
mod group_oracle;
mod groups;
mod guests;
mod idempotence;
mod journal_damage;
mod model;
mod offsets_only;
mod oracle;
mod ownership;
mod placing;
mod reading;
mod reclaiming;
mod reopening;
mod routing;
mod starting;
mod streams;
mod support;
mod taken_back;
mod takeover;
mod transactions;
mod trimming;
mod unread;
mod watching;
