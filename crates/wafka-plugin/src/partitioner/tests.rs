use std::path::PathBuf;
use std::sync::mpsc;

use serde_json::json;
use wafka_core::Fields;
use wafka_core::partitioner::Options;

use super::*;
use crate::load::PluginKind;

pub(super) fn info() -> PluginInfo {
    PluginInfo {
        name: "odd".to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        kind: PluginKind::Partitioner,
        file: PathBuf::from("/lib/libodd.so"),
        sha256: [0; 32],
        abi: (1, 0),
    }
}

/// A strategy that is a closure, kept behind the instance's pointer.
type Answer = Box<dyn FnMut(&abi::RouteRequest, &mut abi::ErrorOut) -> i32 + Send>;

fn say(error: &mut abi::ErrorOut, text: &[u8]) {
    assert!(text.len() <= error.text_capacity);
    // SAFETY: the host gave so much memory, and both are apart.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), error.text, text.len()) };
    error.text_len = text.len();
}

unsafe extern "C" fn route_by_closure(
    instance: *mut c_void,
    request: *const abi::RouteRequest,
    error: *mut abi::ErrorOut,
) -> i32 {
    // SAFETY: the tests put a closure there; the host promises the rest.
    unsafe { (*instance.cast::<Answer>())(&*request, &mut *error) }
}

unsafe extern "C" fn drop_closure(instance: *mut c_void) {
    // SAFETY: the tests put a closure there, and it is destroyed once.
    drop(unsafe { Box::from_raw(instance.cast::<Answer>()) });
}

unsafe extern "C" fn create_nothing(
    config: *const PartitionerConfig,
    _instance: *mut *mut c_void,
    error: *mut abi::ErrorOut,
) -> u32 {
    // SAFETY: the host's promise.
    let (config, error) = unsafe { (&*config, &mut *error) };
    // SAFETY: as above.
    let options: Options = serde_json::from_slice(unsafe { config.options.get() }.unwrap()).unwrap();
    say(error, options["text"].as_str().unwrap().as_bytes());
    u32::try_from(options["status"].as_u64().unwrap()).unwrap()
}

unsafe extern "C" fn destroy_nothing(_instance: *mut c_void) {}

fn factory() -> Factory {
    let functions = PartitionerFunctions {
        route_version: 7,
        create: create_nothing,
        route: route_by_closure,
        destroy: destroy_nothing,
    };
    Factory::new(Arc::new(info()), functions)
}

fn instance(answer: impl FnMut(&abi::RouteRequest, &mut abi::ErrorOut) -> i32 + Send + 'static) -> Instance {
    let answer: Answer = Box::new(answer);
    let functions = PartitionerFunctions { destroy: drop_closure, ..factory().functions };
    let plugin = Arc::new(info());
    Instance {
        functions,
        instance: Box::into_raw(Box::new(answer)).cast(),
        fields: Vec::new(),
        text: Box::new([0; TEXT_MAX]),
        call: Arc::new(Call::new(Arc::clone(&plugin), b"deliveries", Arc::default())),
        plugin,
        panics: Arc::default(),
        panicked: None,
    }
}

fn route(instance: &mut Instance, flat: &[&[u8]]) -> Result<Route, PartitionerError> {
    let fields = Fields::new(flat).unwrap();
    instance.route(&RouteRequest { topic: b"deliveries", fields, partitions: 4, open: Some(2) })
}

#[test]
fn a_strategy_sees_the_event_as_it_is() {
    let mut by_closure = instance(|request, _| {
        // SAFETY: what the host promises.
        unsafe {
            assert_eq!(request.topic.get(), Some(&b"deliveries"[..]));
            let fields = std::slice::from_raw_parts(request.fields, request.field_count);
            let pairs: Vec<_> =
                fields.iter().map(|f| (f.name.get().unwrap(), f.value.get().unwrap())).collect();
            assert_eq!(pairs, [(&b"truck"[..], &b"7"[..]), (b"", b"\xff\0")]);
        }
        assert_eq!((request.partitions, request.open_partition), (4, 2));
        3
    });
    assert_eq!(route(&mut by_closure, &[b"truck", b"7", b"", b"\xff\0"]), Ok(Route::Partition(3)));
}

#[test]
fn every_answer_is_understood_or_refused() {
    for (answer, expected) in [
        (0, Ok(Route::Partition(0))),
        (3, Ok(Route::Partition(3))),
        (-1, Ok(Route::Any)),
        (-2, Ok(Route::Unkeyed)),
        (4, Err("returned partition index 4, expected one below 4")),
        (i32::MAX, Err("returned partition index 2147483647, expected one below 4")),
        (65_536 + 1, Err("returned partition index 65537, expected one below 4")),
        (-3, Err("no weights")),
        (-4, Err("panicked: no weights")),
        (-5, Err("returned -5, expected an index below 4 or a code of the ABI")),
        (i32::MIN, Err("returned -2147483648, expected")),
    ] {
        let mut answers = instance(move |_, error| {
            say(error, b"no weights");
            answer
        });
        match (route(&mut answers, &[]), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => {
                let found = found.to_string();
                assert!(found.contains(expected), "{found}");
                assert!(found.contains("'odd'") && found.contains("/lib/libodd.so"), "{found}");
                assert!(found.contains("'deliveries'"), "{found}");
            }
            (found, _) => panic!("{answer}: {found:?}"),
        }
    }
}

#[test]
fn an_instance_that_panicked_routes_no_more() {
    let (calls, called) = mpsc::channel();
    let mut panics = instance(move |_, error| {
        calls.send(()).unwrap();
        say(error, b"index out of bounds");
        -4
    });
    for _ in 0..3 {
        let error = route(&mut panics, &[]).unwrap_err();
        assert!(matches!(error, PartitionerError::Panicked { .. }), "{error}");
        assert!(error.to_string().contains("panicked: index out of bounds"), "{error}");
    }
    assert_eq!(panics.panics.load(Ordering::Relaxed), 1);
    assert_eq!(called.try_iter().count(), 1);
    drop(panics);
    assert_eq!(called.try_recv(), Err(mpsc::TryRecvError::Disconnected), "destroyed, once");
}

#[test]
fn a_failure_is_of_one_event() {
    let mut fails = instance(|request, error| {
        say(error, b"no such label");
        if request.field_count == 0 { -3 } else { 1 }
    });
    assert!(route(&mut fails, &[]).is_err());
    assert_eq!(route(&mut fails, &[b"label", b"eu"]), Ok(Route::Partition(1)));
}

#[test]
fn the_memory_of_a_giant_event_is_given_back() {
    let mut any = instance(|request, _| i32::try_from(request.field_count).unwrap().min(3));
    route(&mut any, &vec![&b"x"[..]; 4 * FIELDS_KEPT]).unwrap();
    assert!(any.fields.capacity() <= FIELDS_KEPT, "{}", any.fields.capacity());
    // tests/allocation.rs counts that the usual event allocates nothing.
}

#[test]
fn nothing_is_left_of_what_was_said_of_another_event() {
    let mut first = true;
    let mut lies = instance(move |_, error| {
        if std::mem::take(&mut first) {
            say(error, b"the secret of another client");
        } else {
            error.text_len = 28;
        }
        route::FAILED
    });
    assert!(route(&mut lies, &[]).unwrap_err().to_string().contains("the secret"));
    let later = route(&mut lies, &[]).unwrap_err().to_string();
    assert!(later.contains("no reason given") && !later.contains("secret"), "{later}");
}

#[test]
fn a_slow_route_is_noticed_while_it_lasts() {
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let mut slow = instance(move |_, _| {
        begun.send(()).unwrap();
        may_go_on.recv().unwrap();
        0
    });
    let watchdog = Watchdog::default();
    watchdog.watch(&slow.call);
    std::thread::scope(|scope| {
        let routing = scope.spawn(move || route(&mut slow, &[]));
        has_begun.recv().unwrap();
        let mut found = Vec::new();
        for _ in 0..3 {
            watchdog.look(|call, what| found.push((call.topic().to_owned(), what)));
        }
        assert_eq!(found, [("deliveries".to_owned(), watchdog::Found::Slow)]);
        go_on.send(()).unwrap();
        assert_eq!(routing.join().unwrap(), Ok(Route::Partition(0)));
    });
}

#[test]
fn what_create_says_becomes_an_error() {
    let error = |status: u32, text: &str| {
        let options = json!({ "status": status, "text": text });
        let request = CreateRequest { topic: b"t", partitions: 2, options: options.as_object().unwrap() };
        match factory().create(&request) {
            Ok(_) => panic!("made"),
            Err(error) => error,
        }
    };
    let expected = PartitionerError::BadOption {
        partitioner: "odd".to_owned(),
        option: "weights".to_owned(),
        expected: "two numbers".to_owned(),
    };
    assert_eq!(error(status::BAD_OPTION, "weights\0two numbers"), expected);
    for (status, text, part) in [
        (status::BAD_OPTION, "weights", "cannot make the strategy: weights"),
        (status::PANICKED, "at the disco", "cannot make the strategy: panicked: at the disco"),
        (status::FAILED, "", "no reason given"),
        (99, "what", "what (unknown status 99)"),
    ] {
        let error = error(status, text).to_string();
        assert!(error.contains(part) && error.contains("plugin /lib/libodd.so: "), "{error}");
    }
}

#[test]
fn the_version_of_routes_is_the_plugins() {
    assert_eq!((factory().name(), factory().version()), ("odd", 7));
}
