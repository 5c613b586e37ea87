//! What every part of Wafka shares: the values (event ids, fields, topic names, offsets), the traits that
//! partitioners and storage backends implement, and the clock. No I/O happens here and nothing is asynchronous.

pub mod clock;
pub mod fields;
pub mod id;
mod kafka;
pub mod partitioner;
pub mod place;
pub mod storage;
pub mod topic;

pub use clock::{Clock, SystemClock};
pub use fields::Fields;
pub use id::{EventId, ParseIdError};
pub use place::{BrokerId, Offset, PartitionId};
pub use topic::{Database, TopicKey, TopicName, TopicNameError};
