//! The engine over a backend that lies.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use wafka_broker::{
    AppendRequest, Engine, EngineOptions, EntryFields, EntrySink, IdSpec, ReadError, ReadRange,
    ReclaimOptions, StartError, Topic, Trim, wait,
};
use wafka_core::storage::{LogName, Storage};
use wafka_core::{Clock, Database, EventId, Fields, PartitionId, SystemClock, TopicName};
use wafka_tests::PATIENCE;

use crate::{FILE, storage};

const DB: Database = Database(0);

/// Runs all scenarios, at once, for each mostly waits; one that does not end in time has failed.
fn each<T: Copy + Debug + Send + 'static>(scenarios: &[T], run: fn(T)) {
    let started = scenarios.iter().map(|scenario| {
        let (sender, receiver) = channel();
        let of_thread = *scenario;
        let thread = thread::spawn(move || {
            run(of_thread);
            // The receiver went only if this took too long.
            let _ = sender.send(());
        });
        (scenario, receiver, thread)
    });
    for (scenario, receiver, thread) in started.collect::<Vec<_>>() {
        if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            panic!("{scenario:?}: still at it after {PATIENCE:?}");
        }
        if let Err(panic) = thread.join() {
            eprintln!("in the scenario {scenario:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn engine_options() -> EngineOptions {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Nothing stays in memory, so that every read is the backend's; and space is given back at once.
    let reclaim = ReclaimOptions { dead_bytes_min: 0, dead_percent: 1, deletions_max: 2 };
    EngineOptions { tail_bytes: 0, reclaim, ..EngineOptions::new(2, clock) }
}

fn engine_on(storage: &Arc<dyn Storage>) -> Arc<Engine> {
    Engine::start(engine_options(), Arc::clone(storage)).unwrap()
}

fn topic(engine: &Arc<Engine>) -> Arc<Topic> {
    engine.ensure_topic(DB, &TopicName::new(b"t").unwrap()).unwrap()
}

fn add(engine: &Engine, topic: &Arc<Topic>, partition: u16) -> Result<EventId, String> {
    let flat: [&[u8]; 2] = [b"field", b"value"];
    let appended = topic.append(&AppendRequest {
        id: IdSpec::Auto,
        partition: Some(PartitionId(partition)),
        fields: Fields::new(&flat).unwrap(),
        trim: None,
        idempotence: None,
        now_ms: SystemClock.now_ms(),
    });
    let appended = appended.map_err(|error| error.to_string())?;
    engine.kick();
    wait(topic.committed(appended.ticket)).map(|()| appended.id).map_err(|error| error.to_string())
}

struct Ids(Vec<EventId>);

impl EntrySink for Ids {
    fn entry(&mut self, id: EventId, _: &EntryFields<'_>) -> ControlFlow<()> {
        self.0.push(id);
        ControlFlow::Continue(())
    }
}

fn read(topic: &Topic, reverse: bool) -> Result<Vec<EventId>, ReadError> {
    let range = ReadRange { from: EventId::MIN, to: EventId::MAX, count: None, reverse, partition: None };
    let mut ids = Ids(Vec::new());
    topic.read(&range, &mut ids).map(|()| ids.0)
}

/// Arms a fault that strikes once.
fn strike(storage: &dyn Storage, what: &str, log: &str) {
    storage.create(&[LogName::new(DB, &format!("fault.{what}.{log}"))]).unwrap();
}

#[test]
fn what_an_append_or_a_sync_gets_wrong_is_the_producers_error_until_it_is_reopened() {
    each(
        &[
            ("wrong-offset", "t-1"),
            ("append", "t-1"),
            ("sync", "t-1"),
            ("unknown-slot", "*"),
            ("panic-sync_wait", "*"),
        ],
        |(fault, log)| {
            let storage = storage(&[]);
            let engine = engine_on(&storage);
            let topic = topic(&engine);
            let before = [1, 2].map(|partition| add(&engine, &topic, partition).unwrap());
            strike(&*storage, fault, log);
            let error = add(&engine, &topic, 1).unwrap_err();
            let said = if log == "*" || fault == "wrong-offset" { FILE } else { "the script says so" };
            assert!(error.contains(said), "{fault}: {error}");
            // It is reopened after a second, and nothing that failed is there.
            let after = loop {
                match add(&engine, &topic, 1) {
                    Ok(id) => break id,
                    Err(error) => assert!(error.contains(said), "{fault}: {error}"),
                }
                thread::park_timeout(Duration::from_millis(20));
            };
            let other = add(&engine, &topic, 2).unwrap();
            assert_eq!(read(&topic, false).unwrap(), [before[0], before[1], after, other], "{fault}");
            engine.shutdown();
        },
    );
}

#[test]
fn a_shard_that_panicked_is_offline_and_the_others_go_on() {
    each(&["panic-append:t-1:1", "panic-reopen:t-1", "panic-begin_sync:*:8:1"], |fault| {
        let storage = storage(&[fault]);
        let engine = engine_on(&storage);
        let topic = topic(&engine);
        let mut committed = Vec::new();
        // The first failure is what has the log reopened.
        let error = loop {
            match add(&engine, &topic, 1) {
                Ok(id) => committed.push(id),
                Err(error) => break error,
            }
            if fault.starts_with("panic-reopen") {
                strike(&*storage, "append", "t-1");
            }
        };
        assert!(error.contains(FILE) || fault.starts_with("panic-reopen"), "{error}");
        while !add(&engine, &topic, 1).is_err_and(|error| error.contains("panicked") && error.contains(FILE))
        {
            thread::park_timeout(Duration::from_millis(20));
        }
        committed.push(add(&engine, &topic, 2).unwrap());
        assert_eq!(read(&topic, false).unwrap(), committed, "{fault}");
        engine.shutdown();
    });
}

/// Forward and backward, from a fresh reader and in the middle: an error, and never an event less.
#[test]
fn what_a_read_gets_wrong_is_the_readers_error() {
    each(
        &[
            "fail-read",
            "read-half-line",
            "read-too-much",
            "read-backwards",
            "read-nothing",
            "read-stands-still",
            "read-skips",
            "panic-read",
        ],
        |fault| {
            for (reverse, skip) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
                let storage = storage(&[]);
                let engine = engine_on(&storage);
                let topic = topic(&engine);
                let mut ids: Vec<EventId> =
                    (0..120).map(|index| add(&engine, &topic, 1 + index % 2).unwrap()).collect();
                if reverse {
                    ids.reverse();
                }
                strike(&*storage, &format!("{fault}+{skip}"), "t-1");
                let mut failed = 0;
                for _ in 0..8 {
                    match read(&topic, reverse) {
                        Ok(found) => assert_eq!(found, ids, "{fault} {reverse} {skip}"),
                        Err(error) => {
                            let text = error.to_string();
                            let said = if fault == "fail-read" { "the script says so" } else { FILE };
                            assert!(text.contains(said), "{text}");
                            failed += 1;
                        }
                    }
                }
                let expected = if fault == "panic-read" { 1..=8 } else { 1..=1 };
                assert!(expected.contains(&failed), "{fault} {reverse} {skip}: {failed} reads failed");
                // Nobody who writes is concerned.
                add(&engine, &topic, 1).unwrap();
                engine.shutdown();
            }
        },
    );
}

/// What is wrong once is wrong for ever: still no read spins, and no start.
#[test]
fn reads_that_are_always_wrong_end() {
    each(&["read-half-line", "read-nothing", "read-stands-still", "read-skips", "read-backwards"], |fault| {
        let storage = storage(&[&format!("{fault}:t-1")]);
        let engine = engine_on(&storage);
        let topic = topic(&engine);
        for index in 0..50 {
            add(&engine, &topic, 1 + index % 2).unwrap();
        }
        for reverse in [false, true] {
            assert!(read(&topic, reverse).is_err_and(|error| error.to_string().contains(FILE)), "{fault}");
        }
        engine.shutdown();
        drop((topic, engine));
        // The partition cannot be read, and so it does not open; the topic's other one does.
        let engine = engine_on(&storage);
        let topic = engine.topic(DB, b"t").unwrap();
        assert!(read(&topic, false).is_err(), "{fault}");
        add(&engine, &topic, 2).unwrap();
        assert!(add(&engine, &topic, 1).is_err_and(|error| error.contains(FILE)), "{fault}");
        engine.shutdown();
    });
}

#[test]
fn a_start_that_cannot_be_right_says_so() {
    each(
        &[
            ("panic-shard:*", "panicked"),
            ("panic-log_open:wafka.catalog", "panicked"),
            ("first-behind-end:wafka.catalog", "begins at offset 1"),
            ("append:wafka.catalog", "the script says so"),
        ],
        |(fault, said)| {
            let started: Result<Arc<Engine>, StartError> = Engine::start(engine_options(), storage(&[fault]));
            let result = started.map_err(|error| error.to_string()).and_then(|engine| {
                let name = TopicName::new(b"t").unwrap();
                let made = engine.ensure_topic(DB, &name).map(|_| ()).map_err(|error| error.to_string());
                engine.shutdown();
                made
            });
            assert!(result.as_ref().is_err_and(|error| error.contains(said)), "{fault}: {result:?}");
        },
    );
}

/// Space that is not given back costs nothing but space.
#[test]
fn a_rewrite_that_lies_loses_nothing() {
    each(
        &["keeps-twice", "keeps-half", "keeps-none", "wrong-end", "wrong-first", "panic-rewrite_run"],
        |fault| {
            let storage = storage(&[&format!("{fault}:t-1:0:1")]);
            let engine = engine_on(&storage);
            let topic = topic(&engine);
            let mut ids: Vec<EventId> = (0..20).map(|_| add(&engine, &topic, 1).unwrap()).collect();
            // Until the rewrite has gone wrong, and the log has been written to since.
            let armed = || storage.list().unwrap().iter().any(|log| log.stem().starts_with("armed."));
            while armed() || add(&engine, &topic, 1).map(|id| ids.push(id)).is_err() {
                if let Ok((_, Some(ticket))) = topic.trim(&Trim::max_len(5)) {
                    engine.kick();
                    // The journal is not what fails here.
                    wait(topic.committed(ticket)).unwrap();
                }
                thread::park_timeout(Duration::from_millis(5));
            }
            let found = read(&topic, false).unwrap();
            assert!(!found.is_empty() && ids.ends_with(&found), "{fault}: {found:?}");
            engine.shutdown();
        },
    );
}
