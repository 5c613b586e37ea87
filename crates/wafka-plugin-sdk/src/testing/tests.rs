use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

use super::*;
use crate::{Event, Topic};

static DROPPED: AtomicU32 = AtomicU32::new(0);

/// A strategy that does as its options say.
struct Obedient {
    what: String,
    routed: u16,
    _alive: Arc<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    what: String,
}

impl Partitioner for Obedient {
    type Options = Options;

    fn new(options: Options, topic: &Topic<'_>) -> Result<Self, OptionsError> {
        assert_eq!(topic.name(), b"deliveries");
        match options.what.as_str() {
            "panic in new" => panic!("not today"),
            "too many" => Err(OptionsError::new("what", format!("at most {} of it", topic.partitions()))),
            _ => Ok(Obedient { what: options.what, routed: 0, _alive: Arc::default() }),
        }
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        self.routed += 1;
        match self.what.as_str() {
            "panic" => panic!("at event {}", self.routed),
            "fail" => Err("no way".into()),
            "open" => Ok(event.open_partition().map_or(Route::Any, Route::Partition)),
            "beyond" => Ok(Route::Partition(event.partitions())),
            what => match event.get(what.as_bytes()) {
                Some(value) => Ok(Route::Partition(u16::try_from(value.len()).unwrap_or(0))),
                None => Ok(Route::Unkeyed),
            },
        }
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        if self.what == "panic in drop" {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            panic!("while dropped");
        }
    }
}

fn obedient(what: &str) -> Strategy<Obedient> {
    strategy(&format!(r#"{{"what":"{what}"}}"#), 4).unwrap()
}

fn refused(options: &str) -> String {
    strategy::<Obedient>(options, 4).err().unwrap().to_string()
}

const NONE: &[(&str, &str)] = &[];

#[test]
fn a_strategy_is_made_with_its_options() {
    assert_eq!(refused(r#"{"what":"too many"}"#), "option 'what': at most 4 of it");
    assert_eq!(refused("{}"), "option 'what': missing");
    assert_eq!(refused(r#"{"what":"x","why":1}"#), "option 'why': unknown, expected `what`");
    assert_eq!(refused(r#"{"what":"panic in new"}"#), "option '(panic)': not today");
}

#[test]
fn routes_cross_as_they_are() {
    let mut by_length = obedient("truck");
    assert_eq!(
        by_length.route(&[("status", "late"), ("truck", "7"), ("truck", "77")]),
        Ok(Route::Partition(1))
    );
    assert_eq!(by_length.route(&[("truck", "")]), Ok(Route::Partition(0)));
    assert_eq!(by_length.route(NONE), Ok(Route::Unkeyed));
    let mut open = obedient("open");
    assert_eq!(open.route(NONE), Ok(Route::Any));
    assert_eq!(open.route_with_open(NONE, Some(3)), Ok(Route::Partition(3)));
    assert_eq!(obedient("fail").route(NONE), Err(Error::new("no way")));
    assert_eq!(obedient("beyond").route(NONE), Err(Error::new("index 4 of 4 partitions")));
}

#[test]
fn a_strategy_that_panicked_is_not_asked_again() {
    let mut panics = obedient("panic");
    assert_eq!(panics.route(NONE), Err(Error::new("at event 1")));
    assert_eq!(panics.route(NONE), Err(Error::new("the strategy panicked before")));
}

#[test]
fn a_panic_while_dropping_stays_inside() {
    drop(obedient("panic in drop"));
    assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
}

/// Calls `route` as a host would, with a request of that size and so many partitions.
fn asked(by_length: &mut Strategy<Obedient>, struct_size: u32, partitions: u32) -> (i32, String) {
    let request = RouteRequest {
        struct_size,
        partitions,
        topic: Bytes::new(TOPIC),
        fields: ptr::null(),
        field_count: 0,
        open_partition: -1,
        reserved: 0,
    };
    let mut text = [0; 1024];
    let mut error = error_out(&mut text);
    // SAFETY: the instance is the one that was made; the arguments are there during the call.
    let answer = unsafe { by_length.functions.route.unwrap()(by_length.instance, &request, &mut error) };
    (answer, said(&error, &text))
}

#[test]
fn what_a_host_gives_is_looked_at_first() {
    let mut by_length = obedient("truck");
    assert_eq!(asked(&mut by_length, 48, 4), (route::UNKEYED, String::new()));
    assert_eq!(
        asked(&mut by_length, 4_000, 4).0,
        route::UNKEYED,
        "of a later minor, of which this side knows the first"
    );
    for (size, partitions, part) in [
        (47, 4, "wafka_route_request: found size 47, expected at least 48"),
        (0, 4, "found size 0"),
        (48, 0, "found 0 partitions"),
        (48, 65_536, "found 65536 partitions"),
    ] {
        let (answer, text) = asked(&mut by_length, size, partitions);
        assert!(answer == route::FAILED && text.contains(part), "{answer}: {text}");
    }
    let none = strategy::<Obedient>(r#"{"what":"truck"}"#, 0).err().unwrap();
    assert_eq!(none.option(), FAILED);
    assert!(
        none.expected().contains("found 0 partitions") || none.expected().contains("has 0 partitions"),
        "{none}"
    );
}
