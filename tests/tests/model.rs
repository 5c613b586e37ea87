//! One client, random commands, restarts in between: every reply is that of one Redis stream, at 1, 2 and 4 partitions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::ops::Bound;

use fastrand::Rng;
use wafka_test_nats::Cluster;
use wafka_tests::events::{self, Event, Fields, Id};
use wafka_tests::oracle::Oracle;
use wafka_tests::{Client, Reply, Server, Setup, jetstream, payload, plugins};

const KEY: &str = "model";
const STEPS: usize = 2_000;
const STEPS_ON_JETSTREAM: usize = 600;

struct Run {
    server: Option<Server>,
    client: Client,
    oracle: Oracle,
    exists: bool,
    rng: Rng,
    partitions: u16,
    added: u64,
}

#[test]
fn one_partition() {
    run(1);
}

#[test]
fn two_partitions() {
    run(2);
}

#[test]
fn four_partitions() {
    run(4);
}

#[test]
fn everything_in_sqlite() {
    run_on(plugins::in_backend(Setup::new(), "sqlite"), 2);
}

#[test]
fn everything_in_redb() {
    run_on(plugins::in_backend(Setup::new(), "redb"), 3);
}

/// The catalog is in the text log.
#[test]
fn topics_in_sqlite() {
    run_on(plugins::with_backends(Setup::new(), "[topic_defaults]\nbackend = \"sqlite\"\n"), 3);
}

#[test]
fn topics_in_redb() {
    run_on(plugins::with_backends(Setup::new(), "[topic_defaults]\nbackend = \"redb\"\n"), 1);
}

/// `$WAFKA_TEST_NATS_ROUNDS` times as long: what is not on the same machine takes its time.
fn run_on_jetstream(engine: &Cluster, partitions: u16) {
    let rounds = std::env::var("WAFKA_TEST_NATS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    run_steps(jetstream::setup(engine, ""), partitions, STEPS_ON_JETSTREAM * rounds);
}

#[test]
fn everything_in_jetstream_on_one_server() {
    run_on_jetstream(&jetstream::one(), 3);
}

#[test]
fn everything_in_jetstream_on_three_servers() {
    run_on_jetstream(&jetstream::three(), 2);
}

fn run(partitions: u16) {
    run_on(Setup::new(), partitions);
}

fn run_on(setup: Setup, partitions: u16) {
    run_steps(setup, partitions, STEPS);
}

fn run_steps(setup: Setup, partitions: u16, steps: usize) {
    let seed = payload::seed() + u64::from(partitions);
    // A small tail and short index intervals: reads find their way through files, too.
    let setup = setup
        .brokers(partitions)
        .set("storage.tail_bytes", "64kb")
        .set("storage.index_interval_bytes", "1kb");
    let setup = setup.set("storage.reclaim_dead_bytes_min", "2kb");
    let server = setup.start();
    let client = server.client();
    let rng = Rng::with_seed(seed);
    let mut run = Run {
        server: Some(server),
        client,
        oracle: Oracle::default(),
        exists: false,
        rng,
        partitions,
        added: 0,
    };
    for _ in 0..steps {
        run.step();
    }
    run.check_whole();
    run.server.take().unwrap().stop();
}

impl Run {
    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..40 => self.add(),
            40..43 => self.add_refused(),
            43..52 => self.delete(),
            52..56 => self.trim(),
            56..70 => self.range(),
            70..80 => self.read(),
            80..85 => self.info(),
            85..88 => self.partition_reads(),
            88..90 => self.set_id(),
            90 => self.delete_topic(),
            91..94 => self.restart(),
            94 => self.check_whole(),
            _ => assert_eq!(self.client.call(&["XLEN", KEY]), Reply::Int(self.oracle.events.len() as i64)),
        }
    }

    fn add(&mut self) {
        let fields = payload::fields(1, self.added);
        self.added += 1;
        let last = self.oracle.last.unwrap_or(Id::MIN);
        let (asked, expected) = match self.rng.u8(..4) {
            0 => {
                let id = Id::new(last.ms + self.rng.u64(..3), last.seq + 1 + self.rng.u64(..3));
                (id.to_string(), Some(id))
            }
            1 if self.oracle.last.is_some() => (format!("{}-*", last.ms), Some(last.next())),
            _ => ("*".to_owned(), None),
        };
        let mut key = KEY.to_owned();
        if self.exists && self.rng.u8(..8) == 0 {
            key += &format!("#{}", self.rng.u16(1..=self.partitions));
        }
        let mut args: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.clone().into_bytes()];
        let trim = self.trim_args();
        if key == KEY && self.rng.u8(..10) == 0 {
            args.extend(trim.0.iter().map(|arg| arg.clone().into_bytes()));
        }
        let trims = args.len() > 2;
        args.push(asked.into_bytes());
        args.extend(fields.iter().cloned());
        let id = Id::parse(self.client.call(&args).text());
        assert!(expected.is_none_or(|expected| expected == id), "{id} instead of {expected:?}");
        self.oracle.add(id, fields);
        self.exists = true;
        if trims {
            trim.1.apply(&mut self.oracle);
        }
    }

    fn add_refused(&mut self) {
        let Some(last) = self.oracle.last else { return };
        let reply = self.client.call(&["XADD", KEY, &last.to_string(), "f", "v"]);
        let text = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
        assert_eq!(reply, Reply::Error(text.to_owned()));
        let absent = self.client.run("XADD absent NOMKSTREAM * f v");
        assert_eq!(absent, Reply::Nil);
    }

    fn any_id(&mut self) -> Id {
        let last = self.oracle.last.unwrap_or(Id::MIN);
        match self.rng.u8(..10) {
            0 => Id::new(self.rng.u64(..=last.ms), self.rng.u64(..3)),
            1 => last,
            _ => {
                let at = self.rng.usize(..self.oracle.events.len().max(1));
                self.oracle.events.keys().nth(at).copied().unwrap_or(last)
            }
        }
    }

    fn delete(&mut self) {
        let ids: Vec<Id> = (0..self.rng.usize(1..4)).map(|_| self.any_id()).collect();
        let mut args = vec!["XDEL".to_owned(), KEY.to_owned()];
        args.extend(ids.iter().map(Id::to_string));
        let deleted = self.oracle.delete(&ids);
        assert_eq!(self.client.call(&args), Reply::Int(deleted as i64), "{args:?}");
    }

    fn trim_args(&mut self) -> (Vec<String>, Trim) {
        let exact = if self.rng.bool() { vec!["=".to_owned()] } else { vec![] };
        let (word, value, trim) = if self.rng.bool() {
            let len = self.oracle.events.len().saturating_sub(self.rng.usize(..30));
            ("MAXLEN", len.to_string(), Trim::Len(len))
        } else {
            let at = self.rng.usize(..20);
            let id = self.oracle.events.keys().nth(at).copied().unwrap_or(Id::MIN);
            ("MINID", id.to_string(), Trim::Below(id))
        };
        (std::iter::once(word.to_owned()).chain(exact).chain([value]).collect(), trim)
    }

    fn trim(&mut self) {
        let (args, trim) = self.trim_args();
        let args: Vec<String> = ["XTRIM".to_owned(), KEY.to_owned()].into_iter().chain(args).collect();
        let trimmed = trim.apply(&mut self.oracle);
        assert_eq!(self.client.call(&args), Reply::Int(trimmed as i64), "{args:?}");
    }

    fn bound(&mut self, open: &str) -> (String, Bound<Id>) {
        match self.rng.u8(..6) {
            0 => (open.to_owned(), Bound::Unbounded),
            1 => {
                let id = self.any_id();
                // Where no id lies beyond it, an exclusive bound is an error.
                if id == Id::MIN {
                    (id.to_string(), Bound::Included(id))
                } else {
                    (format!("({id}"), Bound::Excluded(id))
                }
            }
            _ => {
                let id = self.any_id();
                (id.to_string(), Bound::Included(id))
            }
        }
    }

    fn range(&mut self) {
        let reverse = self.rng.bool();
        let ((from_text, from), (to_text, to)) = (self.bound("-"), self.bound("+"));
        let count = self.rng.bool().then(|| self.rng.usize(1..50));
        let mut args = vec!["XRANGE".to_owned(), KEY.to_owned(), from_text, to_text];
        if reverse {
            args[0] = "XREVRANGE".to_owned();
            args.swap(2, 3);
        }
        if let Some(count) = count {
            args.extend(["COUNT".to_owned(), count.to_string()]);
        }
        let expected = self.oracle.range(from, to, count, reverse);
        assert_same(&events::events(&self.client.call(&args)), &expected, &args);
    }

    fn read(&mut self) {
        let after = self.any_id();
        let count = self.rng.usize(1..40);
        let args =
            ["XREAD", "COUNT", &count.to_string(), "STREAMS", KEY, &after.to_string()].map(str::to_owned);
        let expected = self.oracle.range(Bound::Excluded(after), Bound::Unbounded, Some(count), false);
        let found = events::by_key(&self.client.call(&args));
        if expected.is_empty() {
            assert_eq!(found, [], "{args:?}");
        } else {
            assert_eq!(found.len(), 1, "{args:?}");
            assert_same(&found[0].1, &expected, &args);
        }
    }

    fn info(&mut self) {
        let info = self.client.call(&["XINFO", "STREAM", KEY]);
        if !self.exists {
            assert_eq!(info, Reply::Error("ERR no such key".to_owned()));
            return;
        }
        let id = |id: Option<Id>| id.unwrap_or(Id::MIN).to_string();
        assert_eq!(info.get("length").int(), self.oracle.events.len() as i64);
        assert_eq!(info.get("last-generated-id").text(), id(self.oracle.last));
        assert_eq!(info.get("max-deleted-entry-id").text(), id(self.oracle.max_deleted));
        assert_eq!(info.get("entries-added").int(), self.oracle.added as i64);
        let first = self.oracle.events.first_key_value().map(|(id, fields)| (*id, fields.clone()));
        let last = self.oracle.events.last_key_value().map(|(id, fields)| (*id, fields.clone()));
        assert_eq!(info.get("recorded-first-entry-id").text(), id(first.as_ref().map(|(id, _)| *id)));
        for (key, expected) in [("first-entry", first), ("last-entry", last)] {
            let found = info.get(key);
            assert_eq!((found != &Reply::Nil).then(|| events::event(found)), expected, "{key}");
        }
    }

    /// The partitions hold together what the topic holds, each in order, no event twice.
    fn partition_reads(&mut self) {
        if !self.exists {
            return;
        }
        let mut all = Vec::new();
        for partition in 1..=self.partitions {
            let key = format!("{KEY}#{partition}");
            let part = events::read_all(&mut self.client, key.as_bytes());
            events::assert_ascending(&part);
            assert_eq!(self.client.call(&["XLEN", &key]), Reply::Int(part.len() as i64));
            all.extend(part);
        }
        all.sort();
        assert_same(&all, &self.oracle.all(), &["all partitions".to_owned()]);
    }

    fn set_id(&mut self) {
        if self.exists {
            let id = self.oracle.last.unwrap_or(Id::MIN).next();
            assert_eq!(self.client.call(&["XSETID", KEY, &id.to_string()]), Reply::Status("OK".to_owned()));
            self.oracle.set_last(id);
        }
    }

    fn delete_topic(&mut self) {
        assert_eq!(self.client.call(&["DEL", KEY]), Reply::Int(i64::from(self.exists)));
        assert_eq!(self.client.call(&["EXISTS", KEY]), Reply::Int(0));
        self.oracle = Oracle::default();
        self.exists = false;
    }

    fn restart(&mut self) {
        let server = self.server.take().unwrap();
        let setup = if self.rng.bool() { server.kill() } else { server.stop() };
        let server = setup.start();
        self.client = if self.rng.bool() { server.client() } else { Client::connect_resp3(server.addr()) };
        self.server = Some(server);
        self.info();
    }

    fn check_whole(&mut self) {
        let found = events::read_all(&mut self.client, KEY.as_bytes());
        assert_same(&found, &self.oracle.all(), &["the whole topic".to_owned()]);
    }
}

enum Trim {
    Len(usize),
    Below(Id),
}

impl Trim {
    fn apply(&self, oracle: &mut Oracle) -> usize {
        match self {
            Trim::Len(len) => oracle.trim_to_len(*len),
            Trim::Below(id) => oracle.trim_below(*id),
        }
    }
}

/// Fails at the first difference, which says more than both lists.
#[track_caller]
fn assert_same(found: &[Event], expected: &[Event], what: &[String]) {
    let show = |event: Option<&(Id, Fields)>| match event {
        Some((id, fields)) => format!(
            "{id} {:?}",
            fields.iter().map(|part| part.escape_ascii().to_string()).collect::<Vec<_>>()
        ),
        None => "nothing".to_owned(),
    };
    for at in 0..found.len().max(expected.len()) {
        let (found_one, expected_one) = (found.get(at), expected.get(at));
        assert!(
            found_one == expected_one,
            "{what:?}: event {at} of {} is {}, expected {} of {}",
            found.len(),
            show(found_one),
            show(expected_one),
            expected.len()
        );
    }
}
