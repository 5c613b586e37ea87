//! The partitioner `geo`: a table says which label goes to which partition.
//!
//! For data that must stay where it belongs: the events of a region, a customer or a shop stand in one file, which can
//! lie on a disk of its own, be copied, be handed out and be deleted by itself.
//!
//! An event whose label is not in the table, or that has no label, is refused unless `unknown` says otherwise. A
//! topic is not made when the table names a partition that it does not have.
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libwafka_partitioner_geo.so"
//!
//! [topics.orders]
//! partitions = 3
//! partitioner = "geo"
//! partition_key = "region"
//! labels = { "eu" = 1, "us" = 2, "ca" = 2 }
//! unknown = 3
//! ```
//!
//! | option | what | default |
//! |---|---|---|
//! | `partition_key` | the name of the field that holds the label | required |
//! | `labels` | the partition of each label, by its number, as in `orders-1.txt` | required |
//! | `unknown` | an event without a known label: `"error"` refuses it, `"round-robin"` spreads and counts it, a number sends it to that partition | `"error"` |

pub mod table;

use std::collections::BTreeMap;

use table::{Options, Unknown};
use wafka_plugin_sdk::{
    Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
};

/// So many bytes of a label that is not known are shown, at most.
const SHOWN_BYTES: usize = 64;

/// The strategy at work for one topic.
#[derive(Debug)]
pub struct Geo {
    field: FieldName,
    /// The 0-based index of each label's partition.
    labels: BTreeMap<Vec<u8>, u16>,
    unknown: Unknown,
}

impl Partitioner for Geo {
    type Options = Options;

    fn new(options: Options, topic: &Topic<'_>) -> Result<Self, OptionsError> {
        options.check(topic.partitions())?;
        let labels = options.labels.into_iter().map(|(label, number)| (label.into_bytes(), number - 1));
        Ok(Geo { field: options.partition_key, labels: labels.collect(), unknown: options.unknown })
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        let label = event.get(self.field.as_bytes());
        if let Some(index) = label.and_then(|label| self.labels.get(label)) {
            return Ok(Route::Partition(*index));
        }
        match self.unknown {
            Unknown::RoundRobin => Ok(Route::Unkeyed),
            Unknown::Partition(number) => Ok(Route::Partition(number - 1)),
            Unknown::Refuse => Err(self.unknown_label(label)),
        }
    }
}

impl Geo {
    #[cold]
    fn unknown_label(&self, label: Option<&[u8]>) -> Error {
        let Some(label) = label else {
            return Error::new(format!(
                "the event has no field '{}', which says where it belongs",
                self.field
            ));
        };
        // A character that is cut at the end of these bytes begins behind those that are shown.
        let text = String::from_utf8_lossy(&label[..label.len().min(SHOWN_BYTES + 4)]);
        let shown = &text[..text.floor_char_boundary(SHOWN_BYTES)];
        let more = if shown.len() < text.len() { "…" } else { "" };
        Error::new(format!("the label '{shown}{more}' in field '{}' is not in the table", self.field))
    }
}

export_partitioner!(Geo, name = "geo", route_version = 1);

#[cfg(test)]
mod tests {
    use wafka_plugin_sdk::testing::{Strategy, strategy};

    use super::*;

    fn geo(unknown: &str) -> Strategy<Geo> {
        let json = format!(r#"{{"partition_key":"region","labels":{{"eu":1,"us":2,"ca":2}}{unknown}}}"#);
        strategy(&json, 3).unwrap()
    }

    #[test]
    fn labels_go_where_the_table_says() {
        let mut geo = geo("");
        for (label, index) in [("eu", 0), ("us", 1), ("ca", 1)] {
            assert_eq!(
                geo.route(&[("price", "5"), ("region", label)]),
                Ok(Route::Partition(index)),
                "{label}"
            );
        }
    }

    #[test]
    fn what_belongs_nowhere_goes_where_the_option_says() {
        let refused = |fields: &[(&str, &str)]| geo("").route(fields).unwrap_err().to_string();
        assert_eq!(refused(&[("region", "EU")]), "the label 'EU' in field 'region' is not in the table");
        assert_eq!(
            refused(&[("price", "5")]),
            "the event has no field 'region', which says where it belongs"
        );
        let long = refused(&[("region", &"x".repeat(1000))]);
        assert!(long.contains("x…'") && long.len() < 150, "{long}");
        for (label, shown) in [
            ("x".repeat(64), "x".repeat(64)),
            ("x".repeat(65), "x".repeat(64) + "…"),
            ("x".repeat(63) + "ü", "x".repeat(63) + "…"),
            ("x".repeat(62) + "🚚🚚", "x".repeat(62) + "…"),
            ("🚚".repeat(100), "🚚".repeat(16) + "…"),
        ] {
            let refused = refused(&[("region", &label)]);
            assert!(refused.contains(&format!("'{shown}'")), "{refused}");
        }
        assert!(
            geo("")
                .route(&[(&b"region"[..], &b"\xff\x00"[..])])
                .unwrap_err()
                .to_string()
                .contains('\u{fffd}')
        );
        for (unknown, route) in [
            (r#","unknown":"error""#, None),
            (r#","unknown":"round-robin""#, Some(Route::Unkeyed)),
            (r#","unknown":3"#, Some(Route::Partition(2))),
        ] {
            for fields in [("region", "cn"), ("price", "5")] {
                assert_eq!(geo(unknown).route(&[fields]).ok(), route, "{unknown}");
            }
        }
    }

    #[test]
    fn options_are_checked() {
        for (json, option) in [
            ("{}", "partition_key"),
            (r#"{"partition_key":"r","labels":{"eu":4}}"#, "labels"),
            (r#"{"partition_key":"r","labels":{"eu":"a"}}"#, "labels.eu"),
            (r#"{"partition_key":"r","labels":{"eu":1},"unknown":"x"}"#, "unknown"),
        ] {
            assert_eq!(strategy::<Geo>(json, 3).err().unwrap().option(), option, "{json}");
        }
    }
}
