//! The storage backend `redb`: every log of the server in one B-tree file, for many small topics.
//!
//! A thousand topics are a thousand rows here, not a thousand open files: one commit makes them all, and one commit
//! with one sync makes durable what all brokers appended to any number of them. What is lost against the text backend
//! is the text: the file is read through the server alone.
//!
//! ```toml
//! [[plugins]]
//! path = "target/release/libwafka_storage_redb.so"    # cargo build --release -p wafka-storage-redb
//!
//! [storage]
//! backend = "redb"             # or, for one topic: backend = "redb" in [topics.NAME]
//!
//! [backends.redb]              # all keys may be left out; these are the defaults
//! cache_mib = 64               # memory for pages of the file
//! pending_mib = 32             # appended and not yet committed: beyond it an append commits
//! quick_repair = false         # see below
//! ```
//!
//! The data is in `<data_dir>/redb/logs.redb`; one process at a time may have it open.
//!
//! # Why redb
//!
//! [redb](https://www.redb.org) 4.6 is a copy-on-write B-tree with snapshots for readers, pure Rust and without a
//! single dependency, MIT or Apache-2.0, with a stable file format, and builds in seconds. A commit is one sync.
//! fjall 3, the LSM tree that stood beside it, brings some thirty crates and compaction threads, and no seam below it
//! where a failing disk can be simulated; redb's own storage trait is such a seam, and the tests here make use of it.
//!
//! # How a log is kept
//!
//! | table | key | value |
//! |---|---|---|
//! | `logs` | database, stem | number, floor, bytes given back |
//! | `runs` | number, first offset | byte position, count of lines, the lines |
//! | `journal` | 0, 1, … | a few lines of each of many logs, committed together |
//! | `trims` | number | what lies below this offset is to be removed |
//! | `meta` | `format`, `next_log` | 1; the next number: none is given out twice |
//!
//! Lines that were appended together lie together, up to 16 KiB, as one *run*: one key for each line would cost ten
//! times as much. A run has no gap; deleting from its middle makes two of it.
//!
//! # What happens when
//!
//! * An append copies the lines into memory, where readers see them at once. **Nothing of it is on disk before a sync,
//!   not even for the operating system.** With `fsync = "everysec"` or `"no"` a killed *process* loses what a sync had not
//!   reached, events and what groups were told alike, as the power would with files: with `everysec` about the last
//!   second, with `no` up to `pending_mib`, however long ago it was. What was delivered by then may be delivered under the
//!   same ids again as other events. The backend warns of it in the server's log; with `"always"`, the default, there is
//!   no such loss.
//! * A sync commits everything that is pending, of all brokers, in one transaction. Who waits meanwhile finds its work
//!   done. Where that is less than 4 KiB for each log it goes into the journal, all in one row, and into `runs` when
//!   8 MiB have come together: changing the last page of each of a thousand logs for one line would write 4 MB.
//! * A rewrite counts in one transaction, which notes the new floor and cuts up the runs that deletions touch: 4,096 of
//!   them at most (64 MiB), because all brokers wait for it; more are left to the next rewrite. What lies below the floor is removed later, a bounded step at a time, by a thread of its own. The file does not shrink by
//!   it: pages are used again.
//! * A commit that failed poisons each log it had lines of. The database is opened afresh, which verifies it, before
//!   anything else is done with it; what the failed sync may have left in the cache alone is written again first. That is
//!   done once for all logs. When it fails again it is left alone for a second, or as long as the opening took, before that
//!   is tried again: until then no log of the backend can be written, nor what is on disk alone be read. A disk that is full
//!   is such a failure, too, so that a large file is read as a whole before it goes on.
//! * A start after a crash reads the whole file three times and verifies it, at the speed of the disk. `quick_repair = true`
//!   spares that, and takes a second sync for every commit. A start after a stop in order reads next to nothing; it needs
//!   room on the disk if there is something in the journal.

mod commit;
mod database;
mod disk;
mod journal;
mod log;
mod options;
mod reader;
mod rewrite;
mod run;
mod schema;
mod shard;
mod storage;
mod sweep;
#[cfg(test)]
mod tests;

pub use options::Options;
pub use storage::{RedbStorage, open};

wafka_plugin_sdk::export_storage!(name = "redb", open = storage::open);
