//! A partitioning strategy to copy: the number in a field, modulo the number of partitions.
//!
//! Copy the directory, say in `Cargo.toml` what your package is called and where `wafka-plugin-sdk` is, change the strategy's
//! name below, and the page of `wafka_plugin_sdk` tells the rest.
//!
//! ```toml
//! [[plugins]]
//! path = "target/release/libwafka_partitioner_template.so"
//!
//! [topics.deliveries]
//! partitioner = "modulo"
//! partition_key = "truck"
//! ```

use wafka_plugin_sdk::{
    Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
};

/// What the topic's table may say.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    partition_key: FieldName,
}

/// The strategy at work for one topic.
pub struct Modulo(Options);

impl Partitioner for Modulo {
    type Options = Options;

    fn new(options: Options, _topic: &Topic<'_>) -> Result<Self, OptionsError> {
        Ok(Modulo(options))
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        let Some(value) = event.get(self.0.partition_key.as_bytes()) else { return Ok(Route::Unkeyed) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let index = number.ok_or("expected a number from 0 to 2^64 - 1")? % u64::from(event.partitions());
        Ok(Route::Partition(u16::try_from(index).unwrap_or(0)))
    }
}

export_partitioner!(Modulo, name = "modulo", route_version = 1);

#[cfg(test)]
mod tests {
    use wafka_plugin_sdk::testing::strategy;

    use super::*;

    #[test]
    fn numbers_go_by_their_remainder() {
        let mut modulo = strategy::<Modulo>(r#"{"partition_key":"truck"}"#, 4).unwrap();
        assert_eq!(modulo.route(&[("truck", "7")]), Ok(Route::Partition(3)));
        assert_eq!(modulo.route(&[("truck", "18446744073709551615")]), Ok(Route::Partition(3)));
        assert_eq!(modulo.route(&[("status", "7")]), Ok(Route::Unkeyed));
        assert!(modulo.route(&[("truck", "seven")]).is_err());
        for options in ["{}", r#"{"partition_key":""}"#] {
            assert_eq!(strategy::<Modulo>(options, 4).err().unwrap().option(), "partition_key", "{options}");
        }
    }
}
