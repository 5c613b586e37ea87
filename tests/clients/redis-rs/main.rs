//! redis-rs: the scenario of `tests/clients/README.md`.
//!
//! usage: `client-redis-rs PORT PROTOCOL`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::collections::BTreeMap;
use std::io::stdin;
use std::thread;
use std::time::{Duration, Instant};

use redis::streams::{
    StreamAddOptions, StreamAutoClaimOptions, StreamAutoClaimReply, StreamClaimReply, StreamDeletionPolicy,
    StreamId, StreamInfoConsumersReply, StreamInfoGroupsReply, StreamInfoStreamReply, StreamMaxlen,
    StreamNackMode, StreamNackOptions, StreamPendingCountReply, StreamPendingReply, StreamRangeReply,
    StreamReadOptions, StreamReadReply, XAckDelStatusCode, XDelExStatusCode,
};
use redis::{Client, Commands, Connection, RedisResult, Value, cmd, pipe};

const TIMEOUT: Duration = Duration::from_secs(30);
const HOUR_MS: usize = 3_600_000;

/// A connection to the server, and how to get more.
struct Session {
    client: Client,
    protocol: String,
    own: Connection,
}

/// Milliseconds that a blocked read waits at most.
fn block_ms() -> usize {
    usize::try_from(TIMEOUT.as_millis()).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: RedisResult<T>, part: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part), "{error:?}, expected {part:?}");
}

fn ids(entries: &[StreamId]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}

/// The entries of the one stream in a reply; none when there is no stream in it.
fn entries(reply: Option<StreamReadReply>) -> Vec<StreamId> {
    reply.map(|reply| reply.keys).unwrap_or_default().into_iter().flat_map(|key| key.ids).collect()
}

fn member(consumer: &str) -> StreamReadOptions {
    StreamReadOptions::default().group("g", consumer)
}

fn read_as(r: &mut Connection, key: &str, id: &str, options: &StreamReadOptions) -> Vec<StreamId> {
    entries(r.xread_options(&[key], &[id], options).unwrap())
}

fn read(r: &mut Connection, key: &str, id: &str, options: &StreamReadOptions) -> Vec<String> {
    ids(&read_as(r, key, id, options))
}

fn add(r: &mut Connection, key: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| r.xadd(key, "*", &[("n", n)]).unwrap()).collect()
}

fn range(r: &mut Connection, key: &str) -> Vec<StreamId> {
    r.xrange_all::<_, StreamRangeReply>(key).unwrap().ids
}

fn pending(r: &mut Connection, key: &str) -> usize {
    r.xpending::<_, _, StreamPendingReply>(key, "g").unwrap().count()
}

impl Session {
    fn key(&self, name: &str) -> String {
        format!("redis-rs:{}:{name}", self.protocol)
    }

    fn connect(&self) -> Connection {
        let connection = self.client.get_connection().unwrap();
        connection.set_read_timeout(Some(TIMEOUT * 2)).unwrap();
        connection
    }

    fn wait_until_blocked(&mut self, name: &str) {
        let until = Instant::now() + TIMEOUT;
        let named = format!(" name={name} ");
        loop {
            let list: String = cmd("CLIENT").arg("LIST").query(&mut self.own).unwrap();
            let line = list.lines().find(|line| line.contains(&named)).unwrap_or_default();
            let flags = line.split_once(" flags=").map_or("", |(_, rest)| rest.split(' ').next().unwrap());
            if flags.contains('b') {
                return;
            }
            assert!(Instant::now() < until, "not in time: {name} blocks");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The event that is produced is all that `read` finds on a connection of its own, which is blocked by then.
    fn served(
        &mut self,
        name: &str,
        key: &str,
        read: impl FnOnce(&mut Connection) -> Vec<String> + Send + 'static,
    ) -> String {
        let mut reader = self.connect();
        let name = self.key(name);
        reader.client_setname::<_, ()>(&name).unwrap();
        let reader = thread::spawn(move || read(&mut reader));
        self.wait_until_blocked(&name);
        let id = add(&mut self.own, key, 1).remove(0);
        assert_eq!(reader.join().unwrap(), std::slice::from_ref(&id));
        id
    }
}

fn connects(s: &mut Session) {
    assert_eq!(s.own.ping::<String>().unwrap(), "PONG");
    let info: String = cmd("CLIENT").arg("INFO").query(&mut s.own).unwrap();
    assert!(info.contains(&format!(" resp={}", s.protocol)) && info.contains(" lib-name=redis-rs"), "{info}");
}

fn produces(s: &mut Session) {
    let (key, r) = (s.key("events"), &mut s.own);
    let binary: Vec<u8> = (0..=255).collect();
    let mut made = add(r, &key, 5);
    made.push(r.xadd(&key, "*", &[("bin", binary.as_slice()), ("", b"")]).unwrap());
    assert_eq!(r.xlen::<_, usize>(&key).unwrap(), 6);
    let found = range(r, &key);
    assert_eq!(ids(&found), made);
    assert!((0..5).all(|n| found[n].get::<usize>("n") == Some(n)));
    assert_eq!(found[5].get::<Vec<u8>>("bin"), Some(binary));
    assert_eq!(found[5].get::<Vec<u8>>(""), Some(Vec::new()));
    let last: StreamRangeReply = r.xrevrange_count(&key, "+", "-", 2).unwrap();
    assert_eq!(ids(&last.ids), [made[5].clone(), made[4].clone()]);
    assert_eq!(read(r, &key, &made[0], &StreamReadOptions::default().count(2)), made[1..3]);
    refused(r.xadd::<_, _, _, _, String>(&key, "1-1", &[("f", "v")]), "equal or smaller");
}

fn block_reads(s: &mut Session) {
    let key = s.key("blocked");
    add(&mut s.own, &key, 3);
    let stream = key.clone();
    let wait =
        move |own: &mut Connection| read(own, &stream, "$", &StreamReadOptions::default().block(block_ms()));
    s.served("reader", &key, wait);
    assert!(read(&mut s.own, &key, "$", &StreamReadOptions::default().block(5)).is_empty());
}

fn works_in_group(s: &mut Session) {
    let (key, r) = (s.key("work"), &mut s.own);
    r.xgroup_create_mkstream::<_, _, _, ()>(&key, "g", "0").unwrap();
    refused(r.xgroup_create::<_, _, _, ()>(&key, "g", "0"), "BUSYGROUP");
    let made = add(r, &key, 4);
    assert_eq!(read(r, &key, ">", &member("alice").count(2)), made[..2]);
    assert_eq!(read(r, &key, ">", &member("bob")), made[2..]);
    assert!(read(r, &key, ">", &member("alice")).is_empty());
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &made[..2]).unwrap(), 2);
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &made[..2]).unwrap(), 0);
    assert_eq!(read(r, &key, "0", &member("bob")), made[2..]);
    assert!(read(r, &key, "0", &member("alice")).is_empty());
    let stream = key.clone();
    let wait = move |own: &mut Connection| read(own, &stream, ">", &member("alice").block(block_ms()));
    let last = s.served("alice", &key, wait);
    let r = &mut s.own;
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &[&made[2], &made[3], &last]).unwrap(), 3);
    assert_eq!(pending(r, &key), 0);
    let nowhere = StreamReadOptions::default().group("none", "alice");
    refused(r.xread_options::<_, _, StreamReadReply>(&[&key], &[">"], &nowhere), "NOGROUP");
}

fn claims(s: &mut Session) {
    let key = s.key("claimed");
    let mut doomed = s.connect();
    let r = &mut s.own;
    r.xgroup_create_mkstream::<_, _, _, ()>(&key, "g", "0").unwrap();
    let made = add(r, &key, 4);
    assert_eq!(read(&mut doomed, &key, ">", &member("doomed").count(3)), made[..3]);
    drop(doomed);

    let StreamPendingReply::Data(summary) = r.xpending(&key, "g").unwrap() else {
        panic!("nothing is pending");
    };
    assert_eq!((summary.count, &summary.start_id, &summary.end_id), (3, &made[0], &made[2]));
    let consumers: Vec<_> = summary.consumers.iter().map(|c| (c.name.as_str(), c.pending)).collect();
    assert_eq!(consumers, [("doomed", 3)]);
    let all: StreamPendingCountReply = r.xpending_count(&key, "g", "-", "+", 10).unwrap();
    let found: Vec<_> = all.ids.iter().map(|p| (&p.id, p.consumer.as_str(), p.times_delivered)).collect();
    assert_eq!(found, made[..3].iter().map(|id| (id, "doomed", 1)).collect::<Vec<_>>());

    let options = StreamAutoClaimOptions::default().count(2);
    let claimed: StreamAutoClaimReply =
        r.xautoclaim_options(&key, "g", "rescuer", 0, "0-0", options).unwrap();
    assert_eq!((&claimed.next_stream_id, ids(&claimed.claimed)), (&made[2], made[..2].to_vec()));
    let third = &made[2..3];
    let too_fresh: StreamClaimReply = r.xclaim(&key, "g", "other", HOUR_MS, third).unwrap();
    assert!(too_fresh.ids.is_empty());
    let claimed: StreamClaimReply = r.xclaim(&key, "g", "rescuer", 0, third).unwrap();
    assert_eq!(ids(&claimed.ids), third);
    let rescued: StreamPendingCountReply =
        r.xpending_consumer_count(&key, "g", "-", "+", 10, "rescuer").unwrap();
    assert_eq!(rescued.ids.iter().map(|p| p.times_delivered).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &made[..3]).unwrap(), 3);
    assert_eq!(read(r, &key, ">", &member("rescuer").noack()), made[3..]);
    assert_eq!(pending(r, &key), 0);
}

fn pipelines(s: &mut Session) {
    let (key, r) = (s.key("pipe"), &mut s.own);
    let mut batch = pipe();
    for n in 0..200 {
        batch.xadd(&key, "*", &[("n", n)]);
    }
    let made: Vec<String> = batch.query(r).unwrap();
    let found = range(r, &key);
    assert_eq!(ids(&found), made);
    assert!((0..200).all(|n| found[n].get::<usize>("n") == Some(n)));
    // One that is refused does not keep the others from being carried out.
    let mut mixed = pipe();
    mixed.xadd(&key, "1-1", &[("n", "refused")]).xlen(&key).ignore_errors();
    let (bad, length): (RedisResult<String>, RedisResult<usize>) = mixed.query(r).unwrap();
    refused(bad, "equal or smaller");
    assert_eq!(length.unwrap(), 200);
}

fn transacts(s: &mut Session) {
    let (orders, bills) = (s.key("orders"), s.key("bills"));
    let mut other = s.connect();
    let r = &mut s.own;
    r.xgroup_create_mkstream::<_, _, _, ()>(&orders, "g", "0").unwrap();
    add(r, &orders, 1);
    let order = read_as(r, &orders, ">", &member("biller")).remove(0);
    let mut tx = pipe();
    tx.atomic().xadd(&bills, "*", &[("bill", order.get::<String>("n").unwrap())]);
    tx.xack(&orders, "g", &[&order.id]).xlen(&bills);
    let (bill, acked, length): (String, usize, usize) = tx.query(r).unwrap();
    assert_eq!((acked, length, ids(&range(r, &bills))), (1, 1, vec![bill]));
    assert_eq!(pending(r, &orders), 0);

    // Tried again when what it has looked at changes in the meantime.
    let mut tries = 0;
    let seen: usize = redis::transaction(r, &[&bills], |r, tx| {
        let seen: usize = r.xlen(&bills)?;
        tries += 1;
        if tries == 1 {
            other.xadd::<_, _, _, _, ()>(&bills, "*", &[("bill", "other")])?;
        }
        let done: Option<Value> = tx.xadd(&bills, "*", &[("bill", "mine")]).query(r)?;
        Ok(done.map(|_| seen))
    })
    .unwrap();
    assert_eq!((tries, seen, r.xlen::<_, usize>(&bills).unwrap()), (2, 2, 3));

    cmd("MULTI").exec(r).unwrap();
    let queued: String = r.xadd(&bills, "*", &[("bill", "discarded")]).unwrap();
    cmd("DISCARD").exec(r).unwrap();
    assert_eq!((queued.as_str(), r.xlen::<_, usize>(&bills).unwrap()), ("QUEUED", 3));
}

fn helps(s: &mut Session) {
    let (key, r) = (s.key("helped"), &mut s.own);
    let made = add(r, &key, 6);
    r.xgroup_create::<_, _, _, ()>(&key, "g", "0").unwrap();
    assert!(r.xgroup_createconsumer::<_, _, _, bool>(&key, "g", "idler").unwrap());
    read(r, &key, ">", &member("worker").count(4));
    r.xack::<_, _, _, usize>(&key, "g", &made[..1]).unwrap();
    let info: StreamInfoStreamReply = r.xinfo_stream(&key).unwrap();
    assert_eq!((info.length, info.groups, &info.last_generated_id), (6, 1, &made[5]));
    assert_eq!((&info.first_entry.id, &info.last_entry.id), (&made[0], &made[5]));
    let group = r.xinfo_groups::<_, StreamInfoGroupsReply>(&key).unwrap().groups.remove(0);
    assert_eq!((group.name.as_str(), group.consumers, group.pending), ("g", 2, 3));
    assert_eq!((&group.last_delivered_id, group.entries_read, group.lag), (&made[3], Some(4), Some(2)));
    let consumers: StreamInfoConsumersReply = r.xinfo_consumers(&key, "g").unwrap();
    let consumers: BTreeMap<_, _> = consumers.consumers.into_iter().map(|c| (c.name, c.pending)).collect();
    assert_eq!(consumers, BTreeMap::from([("idler".to_owned(), 0), ("worker".to_owned(), 3)]));
    assert_eq!(r.xdel::<_, _, usize>(&key, &[made[5].as_str(), "1-1"]).unwrap(), 1);
    assert_eq!(r.xtrim::<_, usize>(&key, StreamMaxlen::Equals(3)).unwrap(), 2);
    assert_eq!(r.xgroup_delconsumer::<_, _, _, usize>(&key, "g", "worker").unwrap(), 3);
    assert!(r.xgroup_destroy::<_, _, bool>(&key, "g").unwrap());
    assert!(r.expire::<_, bool>(&key, 1000).unwrap() && r.ttl::<_, i64>(&key).unwrap() >= 999);
    assert!(r.persist::<_, bool>(&key).unwrap() && r.ttl::<_, i64>(&key).unwrap() == -1);
    let pattern = format!("{key}*");
    let keys: Vec<String> = r.scan_match(&pattern).unwrap().collect::<RedisResult<_>>().unwrap();
    assert_eq!((keys, r.del::<_, usize>(&key).unwrap()), (vec![key], 1));
}

/// What Redis 8.2 to 8.8 brought.
fn uses_newer(s: &mut Session) {
    let (key, r) = (s.key("newer"), &mut s.own);
    r.xgroup_create_mkstream::<_, _, _, ()>(&key, "g", "0").unwrap();
    let once = StreamAddOptions::default().idmp("producer", "1");
    let first: String = r.xadd_options(&key, "*", &[("n", 0)], &once).unwrap();
    assert_eq!(r.xadd_options::<_, _, _, String>(&key, "*", &[("n", 0)], &once).unwrap(), first);
    let made = [vec![first], add(r, &key, 2)].concat();
    assert_eq!(read(r, &key, ">", &member("worker")), made);
    let failed = StreamNackOptions::new(StreamNackMode::Fail);
    assert_eq!(r.xnack::<_, _, _, usize>(&key, "g", &made[..1], &failed).unwrap(), 1);
    let claimed = read_as(r, &key, ">", &member("rescuer").count(1).claim(HOUR_MS));
    assert_eq!((ids(&claimed), claimed[0].delivered_count), (made[..1].to_vec(), Some(1)));
    let acked: Vec<XAckDelStatusCode> =
        r.xack_del(&key, "g", &made[..1], StreamDeletionPolicy::KeepRef).unwrap();
    assert_eq!(acked, [XAckDelStatusCode::AcknowledgedAndDeleted]);
    let mut delete = |policy| r.xdel_ex::<_, _, Vec<XDelExStatusCode>>(&key, &made[1..2], policy).unwrap();
    let referenced = XDelExStatusCode::NotDeletedUnacknowledgedOrStillReferenced;
    assert_eq!(delete(StreamDeletionPolicy::Acked), [referenced]);
    assert_eq!(delete(StreamDeletionPolicy::DelRef), [XDelExStatusCode::Deleted]);
    assert_eq!((r.xlen::<_, usize>(&key).unwrap(), pending(r, &key)), (1, 1));
}

fn reconnects(s: &mut Session) {
    let key = s.key("again");
    let r = &mut s.own;
    r.xgroup_create_mkstream::<_, _, _, ()>(&key, "g", "0").unwrap();
    let mut made = add(r, &key, 3);
    assert_eq!(read(r, &key, ">", &member("worker").count(2)), made[..2]);
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &made[..1]).unwrap(), 1);
    println!("restart");
    let mut line = String::new();
    stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // The client makes another connection when it is asked for one.
    assert!(r.ping::<String>().unwrap_err().is_unrecoverable_error());
    s.own = s.connect();
    let r = &mut s.own;
    assert_eq!(ids(&range(r, &key)), made);
    assert_eq!(read(r, &key, "0", &member("worker")), made[1..2]);
    assert_eq!(read(r, &key, ">", &member("worker")), made[2..]);
    assert_eq!(r.xack::<_, _, _, usize>(&key, "g", &made).unwrap(), 2);
    assert_eq!(pending(r, &key), 0);
    made.append(&mut add(r, &key, 1));
    assert_eq!(ids(&range(r, &key)), made);
}

type Step = (&'static str, fn(&mut Session));

const STEPS: [Step; 10] = [
    ("connect", connects),
    ("produce", produces),
    ("block-read", block_reads),
    ("group", works_in_group),
    ("claim", claims),
    ("pipeline", pipelines),
    ("transaction", transacts),
    ("helpers", helps),
    ("newer", uses_newer),
    ("reconnect", reconnects),
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, port, protocol] = &args[..] else { panic!("usage: client-redis-rs PORT PROTOCOL") };
    // It speaks RESP2 unless told otherwise.
    let version = if protocol == "3" { "?protocol=resp3" } else { "" };
    let client = Client::open(format!("redis://127.0.0.1:{port}/{version}")).unwrap();
    let own = client.get_connection().unwrap();
    let mut session = Session { client, protocol: protocol.clone(), own };
    for (name, check) in STEPS {
        check(&mut session);
        println!("{name}: ok");
    }
}
