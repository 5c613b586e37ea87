//! The partitioner `jump`: jump consistent hash of a field's value.
//!
//! An event goes to the partition that [`jump`](jump::jump) finds for the XXH3 (64 bits, no seed) of the field's value.
//! The values are spread evenly, and over one partition more nearly all of them stay where they were: the new one takes its
//! share, nothing moves between the others. So when the events of a topic are produced again into a larger one, few
//! change their partition, and what consumers keep by partition stays warm.
//!
//! An event without the field goes round-robin, and the topic counts it (`unkeyed_events` in `TOPIC DESCRIBE`).
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libwafka_partitioner_jump.so"
//!
//! [topics.deliveries]
//! partitions = 4
//! partitioner = "jump"
//! partition_key = "truck"
//! ```
//!
//! | option | what | default |
//! |---|---|---|
//! | `partition_key` | the name of the field whose value decides | required |

pub mod jump;

use serde::Deserialize;
use wafka_plugin_sdk::{
    Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
};
use xxhash_rust::xxh3::xxh3_64;

/// The options of the strategy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    partition_key: FieldName,
}

/// The strategy at work for one topic.
#[derive(Debug)]
pub struct Jump {
    field: FieldName,
}

impl Partitioner for Jump {
    type Options = Options;

    fn new(options: Options, _topic: &Topic<'_>) -> Result<Self, OptionsError> {
        Ok(Jump { field: options.partition_key })
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        let Some(value) = event.get(self.field.as_bytes()) else { return Ok(Route::Unkeyed) };
        let index = jump::jump(xxh3_64(value), u32::from(event.partitions()));
        // An index is below the number of partitions, which is a u16.
        Ok(Route::Partition(u16::try_from(index).unwrap_or(0)))
    }
}

export_partitioner!(Jump, name = "jump", route_version = 1);

#[cfg(test)]
mod tests {
    use wafka_plugin_sdk::testing::strategy;

    use super::*;

    /// XXH3 by python-xxhash 3.8, then the C++ of the paper's figure 1: over 1, 2, 4, 10, 100 and 1024 partitions.
    #[test]
    fn values_land_where_the_reference_puts_them() {
        let golden: [(&[u8], [u16; 6]); 8] = [
            (b"", [0, 0, 0, 0, 52, 241]),
            (b"7", [0, 0, 2, 6, 56, 202]),
            (b"21", [0, 0, 3, 3, 18, 942]),
            (b"TT0124", [0, 1, 3, 5, 16, 16]),
            (b"100:48069", [0, 1, 1, 1, 1, 525]),
            ("trück".as_bytes(), [0, 1, 3, 5, 43, 348]),
            (b"\x00\xff\x80", [0, 0, 3, 9, 98, 98]),
            (b"a-little-bit-longer-string", [0, 1, 3, 3, 63, 297]),
        ];
        for (at, partitions) in [1, 2, 4, 10, 100, 1024].into_iter().enumerate() {
            let mut jump = strategy::<Jump>(r#"{"partition_key":"truck"}"#, partitions).unwrap();
            for (value, expected) in golden {
                let route = jump.route(&[(&b"other"[..], &b"x"[..]), (b"truck", value)]).unwrap();
                assert_eq!(route, Route::Partition(expected[at]), "{value:?} over {partitions}");
            }
            assert_eq!(jump.route(&[("trucks", "7")]), Ok(Route::Unkeyed));
        }
    }

    #[test]
    fn options_are_checked() {
        for (json, option) in [
            ("{}", "partition_key"),
            (r#"{"partition_key":""}"#, "partition_key"),
            (r#"{"partition_key":7}"#, "partition_key"),
            (r#"{"partition_key":"a","seed":1}"#, "seed"),
        ] {
            assert_eq!(strategy::<Jump>(json, 4).err().unwrap().option(), option, "{json}");
        }
    }
}
