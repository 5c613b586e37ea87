//! The storage backend `jetstream`: each log is a replicated stream of NATS JetStream 2.12 or later, for data that must
//! survive the loss of a machine.
//!
//! Partitions, journals and catalog are logs, so nothing of a topic is on the server's own disk. Wafka keeps its protocol
//! and its promises; replication and elections are the engine's.
//!
//! ```toml
//! [storage]
//! backend = "jetstream"
//!
//! [backends.jetstream]                       # the defaults, but for the logins
//! servers = ["127.0.0.1:4222"]               # the engine's servers, best all of them, see below
//! login = { user = "…", password = "…" }     # or token = "…", or credentials = "FILE"
//! system_login = { user = "…", password = "…" }   # a user of the servers' system account, see below
//! accept_unsynced_loss = false               # see below
//! tls_required = false
//! # tls_ca = "FILE"                          # certificates to trust beside those of the system
//! prefix = "wafka"                           # what the names of streams and subjects begin with
//! replicas = 3                               # 1, 3 or 5: for logs that are made from now on
//! publish_timeout_ms = 2000                  # then the log's end is read again
//! give_up_ms = 12000                         # then an append has failed; an election takes up to 9 s
//! request_timeout_ms = 12000                 # then a read, or making or deleting a log, has failed
//! pending_mib = 64                           # of one log, appended and not acknowledged: with more, an append waits
//! lease_ms = 3000                            # how long a server owns the data unless it renews its lease
//! ```
//!
//! **One server owns the data.** All servers with the same `prefix` reach the same logs. One of them owns them, by a lease in the
//! engine that it renews; the others stand by, change nothing, and one takes over when the lease was given up (at once) or not
//! renewed (`lease_ms` later at most, as they see it). There is no other way: a single server has a lease too, and
//! one that was killed and is started again within `lease_ms` waits for its own former lease to end.
//!
//! * Who takes over has an **epoch**, a number that is greater than all before it, and marks all logs with it before anybody
//!   reads them. Nothing that an earlier owner sent, or still sends, can come to stand in a log behind that mark, however late
//!   it arrives: the engine refuses it. This does not depend on any clock.
//! * An earlier owner that was asleep finds out by its next renewal, append, or change of any kind: each says
//!   [`wafka_core::storage::StorageError::NotOwner`], with the epoch and address of the one that took over, until it is restarted.
//! * When the engine is out of reach for longer than the lease, nobody can take over; the owner, whose time is over, goes
//!   on when it can renew, and those who wait give it half a lease to do so. After the loss of a machine with the owner and
//!   the leader of the bucket on it, a takeover thus takes an election (up to 9 s) and half a lease.
//! * `nats kv get <prefix>-lease owner` shows who owns the data; `nats kv del …` takes it from them. Each server has its own
//!   `lease_ms`, which its value tells the others. The bucket must have no limit of age.
//!
//! # What is promised
//!
//! * **What a sync covered is on disk on a majority of the replicas.** The engine's servers acknowledge before they sync
//!   unless they are told `jetstream { sync_interval: always }`: by default up to two minutes may be lost with the
//!   power. A connected client cannot see which it is; the system account can, so the backend asks there, as
//!   `system_login`, and refuses to open when a server says that it does not sync, when fewer than most answer, or
//!   when nobody may be asked. `accept_unsynced_loss = true` says that the operator accepts the loss: then nobody is asked,
//!   and the log of the server warns at each start.
//! * **An append that is not acknowledged in time is unknown, not failed.** The log's end is read from its leader and
//!   compared, byte for byte, with what was sent; what is missing is sent again, in its place or not at all, until
//!   `give_up_ms` are over. Only then has it failed. The reopening cuts off what may have come about of it, and sees to
//!   it that nothing that is still on its way anywhere can come about later.
//! * **The engine is down or has no majority:** appends, reads and everything else end in bounded time with an error, and
//!   the server's attempts to reopen succeed when it is back.
//! * **Another writer is never overwritten.** Each line says which sequence it follows. When something else stands there
//!   that was not sent from here, the log is fenced: [`wafka_core::storage::StorageError::Fenced`], also when it is
//!   reopened, or `NotOwner`, where another owner has taken it over.
//!
//! # How a log is kept
//!
//! | what | where |
//! |---|---|
//! | a log | the stream `<prefix>-<unique>`; its metadata name the log |
//! | a line, with its newline and its checksum | a message on `<prefix>.log.<unique>.line`, its offset is the sequence - 1. Logs of earlier builds, `<unique>` has 32 digits there, have `<prefix>.log.<prefix>-<unique>.line` |
//! | a cut (at a takeover, and rarely else) | a message on `….cut` that says which offset the next sequence has, and which epoch's it is: sequences are not given out twice |
//! | which stream holds which log | a message for each log in the stream `<prefix>-names`, and one with the owner's epoch |
//! | the lease | the key `owner` of the bucket `<prefix>-lease` (the stream `KV_<prefix>-lease`) |
//!
//! A deleted log's stream name is never used again. A trim is a purge up to a sequence, a single line is removed by itself.
//!
//! Many lines come with one request from any replica, up to 4,000 at once. Replicas may be behind their leader, so what they
//! say counts as long as sequence follows sequence; the leader is asked for what is missing, and for what stands where single
//! lines were ever removed, as a replica that has not heard of that yet would bring them back. A line that the leader does
//! not know is asked for once more together with what follows it: only something later in one answer proves a gap. Checksums
//! are verified by the server, as in every backend, not here. What an engine with one replica loses of its own files, by a
//! bit that flips for example, looks to this backend as if it had been removed: with three, the engine repairs it.
//!
//! A line must fit into the servers' `max_payload`, 1 MB unless configured: a longer one is refused with an error that says
//! so, together with the batch it is in.
//!
//! # Inside
//!
//! A thread of the backend's own, or whoever waits for a sync, runs the connection and a *writer* for each log. That has one publication under way at a time:
//! so everything of a log that was ever sent follows a message that stands before whatever comes next, and is refused if that
//! is another owner's mark. What was appended meanwhile goes together, as an *atomic batch* of up to 1,000 lines, which the
//! engine stores as a whole or not at all. A sync waits for the acknowledgements. What is not acknowledged is in memory, where
//! readers see it.
//!
//! Everything goes over one connection, but for the lease, which has its own, and lines: these go straight to the server that
//! leads their log's stream, over a connection of its own, where `servers` names several addresses (16 at most) and that one is among them. A server that is not
//! there holds nothing up: what it would lead is led by another one soon, and any server hands lines on to it.

mod answer;
mod api;
mod batches;
mod connect;
mod cut;
mod direct;
mod directory;
mod driver;
mod gaps;
mod home;
mod keeps;
mod lease;
mod log;
mod mark;
mod options;
mod reader;
mod rewrite;
mod segments;
mod shard;
mod storage;
mod tenure;
#[cfg(test)]
mod tests;
mod wires;
mod writer;

use wafka_core::storage::StorageError;

pub use options::{Login, Options};
pub use storage::{JetStreamStorage, open};

/// The name that configuration uses.
const NAME: &str = "jetstream";

wafka_plugin_sdk::export_storage!(name = NAME, open = open);

/// An operation that did not come about, on a log or on what is said instead.
fn io_error(log: &str, operation: &'static str, source: std::io::Error) -> StorageError {
    StorageError::Io { log: log.to_owned(), operation, source }
}
