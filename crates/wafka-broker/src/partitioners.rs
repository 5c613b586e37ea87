//! The built-in strategies, and the registry that plugins will add to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use wafka_core::partitioner::{
    CreateRequest, Options, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest,
    kafka_partition,
};

/// The strategies there are, by name.
#[derive(Clone, Default)]
pub struct Partitioners {
    by_name: BTreeMap<String, Arc<dyn PartitionerFactory>>,
}

impl Partitioners {
    /// `round-robin` and `key`.
    #[must_use]
    pub fn built_in() -> Self {
        let mut all = Self::default();
        for factory in [Arc::new(RoundRobinFactory) as Arc<dyn PartitionerFactory>, Arc::new(KeyFactory)] {
            all.by_name.insert(factory.name().to_owned(), factory);
        }
        all
    }

    /// Adds a strategy. `false` when its name is taken: nothing changes then.
    #[must_use = "a name that is taken must be refused"]
    pub fn register(&mut self, factory: Arc<dyn PartitionerFactory>) -> bool {
        match self.by_name.entry(factory.name().to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(factory);
                true
            }
        }
    }

    /// The strategy called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn PartitionerFactory>, PartitionerError> {
        self.by_name.get(name).ok_or_else(|| PartitionerError::Unknown {
            name: name.to_owned(),
            known: self.by_name.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The names there are, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

fn refuse_options(partitioner: &str, options: &Options, known: &[&str]) -> Result<(), PartitionerError> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(option) => Err(PartitionerError::BadOption {
            partitioner: partitioner.to_owned(),
            option: option.clone(),
            expected: if known.is_empty() {
                "unknown, this strategy has no options".to_owned()
            } else {
                format!("unknown, expected one of {}", known.join(", "))
            },
        }),
    }
}

struct RoundRobinFactory;

impl PartitionerFactory for RoundRobinFactory {
    fn name(&self) -> &str {
        "round-robin"
    }

    fn version(&self) -> u32 {
        1
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        refuse_options(self.name(), request.options, &[])?;
        Ok(Box::new(RoundRobin))
    }
}

/// The cycle itself is the topic's, because events without a key of any other strategy take part in it too.
struct RoundRobin;

impl Partitioner for RoundRobin {
    fn route(&mut self, _request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        Ok(Route::Any)
    }
}

struct KeyFactory;

const PARTITION_KEY: &str = "partition_key";

impl PartitionerFactory for KeyFactory {
    fn name(&self) -> &str {
        "key"
    }

    fn version(&self) -> u32 {
        1
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        refuse_options(self.name(), request.options, &[PARTITION_KEY])?;
        match request.options.get(PARTITION_KEY).and_then(|value| value.as_str()) {
            Some(field) if !field.is_empty() => Ok(Box::new(Key { field: field.as_bytes().into() })),
            _ => Err(PartitionerError::BadOption {
                partitioner: self.name().to_owned(),
                option: PARTITION_KEY.to_owned(),
                expected: "required: the name of the field whose value decides the partition".to_owned(),
            }),
        }
    }
}

struct Key {
    field: Box<[u8]>,
}

impl Partitioner for Key {
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        Ok(match request.fields.get(&self.field) {
            None => Route::Unkeyed,
            Some(value) => Route::Partition(kafka_partition(value, request.partitions)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafka_core::Fields;

    fn options(json: &str) -> Options {
        serde_json::from_str(json).unwrap()
    }

    fn create(name: &str, json: &str) -> Result<Box<dyn Partitioner>, PartitionerError> {
        let request = CreateRequest { topic: b"t", partitions: 4, options: &options(json) };
        Partitioners::built_in().get(name)?.create(&request)
    }

    #[test]
    fn options_are_checked() {
        let error = |name: &str, json: &str| match create(name, json) {
            Ok(_) => panic!("{name} took {json}"),
            Err(error) => error.to_string(),
        };
        assert!(error("key", "{}").contains("'partition_key': required"));
        assert!(error("key", r#"{"partition_key":7}"#).contains("required"));
        assert!(error("key", r#"{"partition_key":"a","x":1}"#).contains("'x': unknown, expected one of"));
        assert!(error("round-robin", r#"{"x":1}"#).contains("no options"));
        assert!(matches!(create("nope", "{}"), Err(PartitionerError::Unknown { .. })));
    }

    #[test]
    fn events_without_the_field_are_unkeyed() {
        let mut key = create("key", r#"{"partition_key":"truck"}"#).unwrap();
        let flat: [&[u8]; 2] = [b"status", b"ontime"];
        let fields = Fields::new(&flat).unwrap();
        let request = RouteRequest { topic: b"t", fields, partitions: 4, open: None };
        assert_eq!(key.route(&request), Ok(Route::Unkeyed));
        let flat: [&[u8]; 2] = [b"truck", b"21"];
        let request = RouteRequest { fields: Fields::new(&flat).unwrap(), ..request };
        assert_eq!(key.route(&request), Ok(Route::Partition(kafka_partition(b"21", 4))));
    }
}
