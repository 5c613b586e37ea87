//! Producers and consumers that go on over whatever fails, and the accounts of what they were told.
//!
//! Producers add numbered events to `in`. Each consumer of the group `g` takes some and acknowledges them; or, in one `EXEC`,
//! adds an event to `out` and one to `audit` for each and acknowledges them, so that every event of `in` has its effect
//! exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use wafka_tests::events::{self, Id};
use wafka_tests::{Client, Reply, client, payload};

/// The longest that anything may take: elections of leaders, one after the other, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// A producer waits so long for its replies. Then they are unknown to it, and it goes elsewhere.
const PRODUCER_PATIENCE: Duration = Duration::from_secs(5);
/// Producers and as many consumers.
const PRODUCERS: u64 = 2;
/// So many answers show that work goes on.
const ANSWERS: u64 = 30;
/// So many rounds of consumers do.
const ROUNDS: u64 = 4;
/// Before a server that refused is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the servers are; one that was started anew is somewhere else.
pub type Servers = Arc<Mutex<Vec<SocketAddr>>>;

/// What consumers do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// They acknowledge.
    Acknowledge,
    /// They add two events for each one and acknowledge it, in one transaction.
    Transact,
}

/// An event: its producer, and its number there.
type Event = (u64, u64);

#[derive(Clone, Copy, Default)]
struct Progress {
    answers: u64,
    /// Rounds of consumers that were answered.
    rounds: u64,
    /// How often anything failed.
    failures: u64,
}

/// What was answered.
#[derive(Default)]
struct Accounts {
    added: Mutex<BTreeMap<Event, Id>>,
    /// Refused by a server that said that it does not serve.
    refused: Mutex<BTreeSet<Event>>,
    delivered: Mutex<BTreeSet<Id>>,
    finished: Mutex<BTreeSet<Id>>,
    progress: Mutex<Progress>,
    went_on: Condvar,
    /// Producers are to end.
    stop: AtomicBool,
    /// Consumers are to end when there is nothing left.
    drain: AtomicBool,
}

impl Accounts {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap());
        self.went_on.notify_all();
    }
}

/// Calls whichever server serves.
struct Caller {
    servers: Servers,
    at: usize,
    client: Option<Client>,
    patience: Duration,
}

impl Caller {
    fn new(servers: &Servers, at: usize, patience: Duration) -> Self {
        Caller { servers: Arc::clone(servers), at, client: None, patience }
    }

    /// Sends commands together, and returns the replies until the connection failed.
    fn call(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut replies = Vec::new();
        if self.client.is_none() {
            let addr = {
                let servers = self.servers.lock().unwrap();
                servers[self.at % servers.len()]
            };
            let Ok(mut client) = Client::try_connect(addr) else { return replies };
            client.set_patience(self.patience);
            self.client = Some(client);
        }
        let Some(client) = &mut self.client else { return replies };
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| client::encode(&mut bytes, command));
        if client.try_send_raw(&bytes).is_err() {
            return replies;
        }
        while replies.len() < commands.len() {
            let Ok(reply) = client.try_reply() else { break };
            replies.push(reply);
        }
        replies
    }

    /// After anything but success: the other server may serve.
    fn go_elsewhere(&mut self) {
        self.client = None;
        self.at += 1;
        thread::sleep(PAUSE);
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn produce(mut producer: u64, mut caller: Caller, accounts: &Accounts) {
    let mut rng = Rng::with_seed(producer);
    let mut next = 0;
    while !accounts.stop.load(Ordering::SeqCst) {
        let count = rng.u64(1..9);
        let command = |n| {
            let mut command = words("XADD in *");
            command.extend(payload::fields(producer, n));
            command
        };
        let commands: Vec<_> = (next..next + count).map(command).collect();
        let replies = caller.call(&commands);
        let mut answers = 0;
        for (n, reply) in (next..).zip(&replies) {
            if let Reply::Bulk(_) = reply {
                let before = accounts.added.lock().unwrap().insert((producer, n), Id::parse(reply.text()));
                assert_eq!(before, None);
                answers += 1;
            } else if ["LOADING", "LAPSED", "FENCED"].iter().any(|code| reply.is_error(code)) {
                // Said before anything is done.
                accounts.refused.lock().unwrap().insert((producer, n));
            }
        }
        // What is not answered is unknown, and never sent again.
        next += count;
        let failed = answers < count;
        accounts.note(|progress| {
            progress.answers += answers;
            progress.failures += u64::from(failed);
        });
        if failed {
            if replies.len() < commands.len() {
                // What is still in the connection's socket may be read later than what another connection sends.
                (producer, next) = (producer + PRODUCERS, 0);
            }
            caller.go_elsewhere();
        }
    }
}

/// What one consumer knows of its own pending events.
#[derive(Default)]
struct Own {
    /// Delivered to it, and not acknowledged.
    pending: BTreeSet<Id>,
    /// Those of them in a transaction whose end is unknown.
    in_doubt: BTreeSet<Id>,
}

fn consume(name: &str, work: Work, mut caller: Caller, accounts: &Accounts) {
    let mut own = Own::default();
    let mut only_new = false;
    loop {
        let read = if only_new {
            format!("XREADGROUP GROUP g {name} COUNT 3 STREAMS in >")
        } else {
            // All of what is pending, to compare it.
            format!("XREADGROUP GROUP g {name} STREAMS in 0")
        };
        let replies = caller.call(&[words(&read)]);
        let [reply @ (Reply::Array(_) | Reply::Nil)] = &replies[..] else {
            only_new = false;
            accounts.note(|progress| progress.failures += 1);
            caller.go_elsewhere();
            continue;
        };
        let mut found: Vec<Id> =
            events::by_key(reply).into_iter().flat_map(|(_, events)| events).map(|(id, _)| id).collect();
        take_in(&found, only_new, &mut own, accounts);
        if found.is_empty() && only_new {
            if accounts.drain.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(PAUSE);
        }
        only_new |= found.is_empty();
        found.truncate(3);
        if !found.is_empty() && !finish(&found, work, &mut caller, &mut own, accounts) {
            only_new = false;
            caller.go_elsewhere();
        }
    }
}

/// Compares what was read with what is known.
fn take_in(found: &[Id], only_new: bool, own: &mut Own, accounts: &Accounts) {
    {
        let finished = accounts.finished.lock().unwrap();
        let again: Vec<_> = found.iter().filter(|id| finished.contains(id)).collect();
        assert!(again.is_empty(), "delivered again after they were acknowledged: {again:?}");
    }
    let mut delivered = accounts.delivered.lock().unwrap();
    if only_new {
        for id in found {
            assert!(delivered.insert(*id), "{id} was delivered twice");
        }
    } else {
        // A delivery that was not answered may have come about.
        delivered.extend(found);
        let there: BTreeSet<Id> = found.iter().copied().collect();
        let lost: Vec<_> =
            own.pending.iter().filter(|id| !there.contains(id) && !own.in_doubt.contains(id)).collect();
        assert!(lost.is_empty(), "delivered, not acknowledged, and not pending: {lost:?}");
        own.pending.clear();
        own.in_doubt.clear();
    }
    own.pending.extend(found);
}

/// Handles events; says whether that is known to have come about.
fn finish(ids: &[Id], work: Work, caller: &mut Caller, own: &mut Own, accounts: &Accounts) -> bool {
    let all: Vec<String> = ids.iter().map(Id::to_string).collect();
    let acknowledge = words(&format!("XACK in g {}", all.join(" ")));
    let commands = match work {
        Work::Acknowledge => vec![acknowledge],
        Work::Transact => {
            let effect = |id: &Id| ["out", "audit"].map(|topic| words(&format!("XADD {topic} * of {id}")));
            let mut commands = vec![words("MULTI")];
            commands.extend(ids.iter().flat_map(effect));
            commands.extend([acknowledge, words("EXEC")]);
            commands
        }
    };
    let replies = caller.call(&commands);
    let acknowledged = match (work, replies.get(commands.len() - 1)) {
        (Work::Acknowledge, Some(Reply::Int(count))) => Some(*count),
        (Work::Transact, Some(Reply::Array(done))) if !done.iter().any(|reply| reply.is_error("")) => {
            done.last().map(Reply::int)
        }
        _ => None,
    };
    let Some(acknowledged) = acknowledged else {
        own.in_doubt.extend(ids);
        accounts.note(|progress| progress.failures += 1);
        return false;
    };
    assert_eq!(acknowledged, ids.len() as i64, "acknowledged before: some of {ids:?}");
    ids.iter().for_each(|id| assert!(own.pending.remove(id)));
    accounts.finished.lock().unwrap().extend(ids);
    accounts.note(|progress| progress.rounds += 1);
    true
}

/// Producers and consumers under way.
pub struct Load {
    accounts: Arc<Accounts>,
    work: Work,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Two of each for two servers or one.
    pub fn start(servers: &Servers, client: &mut Client, work: Work) -> Self {
        assert_eq!(client.run("XGROUP CREATE in g 0 MKSTREAM").text(), "OK");
        let accounts: Arc<Accounts> = Arc::default();
        let (producers, consumers) = (Vec::new(), Vec::new());
        let mut load = Load { accounts: Arc::clone(&accounts), work, producers, consumers };
        for at in 0..PRODUCERS as usize {
            let caller = Caller::new(servers, at, PRODUCER_PATIENCE);
            let shared = Arc::clone(&accounts);
            load.producers.push(thread::spawn(move || produce(at as u64, caller, &shared)));
            // It may not take for ended what a server that is alive still does.
            let caller = Caller::new(servers, at, PATIENCE);
            let shared = Arc::clone(&accounts);
            load.consumers.push(thread::spawn(move || consume(&format!("c{at}"), work, caller, &shared)));
        }
        load
    }

    /// Waits until events have been added since now.
    #[track_caller]
    pub fn goes_on(&self) {
        self.wait_for("no events are added", |now, begun| now.answers >= begun.answers + ANSWERS);
    }

    /// Waits until events have been consumed, too.
    #[track_caller]
    pub fn all_goes_on(&self) {
        self.wait_for("no events are added, or none consumed", |now, begun| {
            now.answers >= begun.answers + ANSWERS && now.rounds >= begun.rounds + ROUNDS
        });
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_done: impl Fn(&Progress, &Progress) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut progress = self.accounts.progress.lock().unwrap();
        let begun = *progress;
        while !is_done(&progress, &begun) {
            let ended = self.producers.iter().chain(&self.consumers).any(JoinHandle::is_finished);
            assert!(!ended, "a producer or a consumer found what must not be: see above");
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: {} answers since", progress.answers - begun.answers);
            // Now and then whether they all run.
            progress = self.accounts.went_on.wait_timeout(progress, left.min(PATIENCE / 90)).unwrap().0;
        }
    }

    /// Ends: nothing is added any more, and what there is, is consumed. Then everything is compared.
    #[track_caller]
    pub fn end(mut self, client: &mut Client) -> Summary {
        self.accounts.stop.store(true, Ordering::SeqCst);
        self.producers
            .drain(..)
            .for_each(|thread| thread.join().expect("a producer that found nothing wrong"));
        self.accounts.drain.store(true, Ordering::SeqCst);
        self.consumers
            .drain(..)
            .for_each(|thread| thread.join().expect("a consumer that found nothing wrong"));
        let summary = check(&self.accounts, self.work, client);
        println!(
            "{} answered of {} events, {} rounds, {} failures",
            summary.answered, summary.events, summary.rounds, summary.failures
        );
        summary
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.accounts.stop.store(true, Ordering::SeqCst);
        self.accounts.drain.store(true, Ordering::SeqCst);
    }
}

/// What it came to.
#[derive(Debug)]
pub struct Summary {
    /// Events whose producers were told.
    pub answered: usize,
    /// All events.
    pub events: usize,
    /// Rounds of consumers that were answered.
    pub rounds: u64,
    /// How often anything failed.
    pub failures: u64,
}

/// Nothing acknowledged is lost, nothing is there twice, nothing is out of order.
#[track_caller]
fn check(accounts: &Accounts, work: Work, client: &mut Client) -> Summary {
    let found = events::read_all(client, b"in");
    events::assert_ascending(&found);
    let mut ids: BTreeMap<Event, Id> = BTreeMap::new();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (id, fields) in &found {
        let (producer, n) = payload::identify(fields);
        assert_eq!(fields, &payload::fields(producer, n), "{id} is not whole");
        assert_eq!(ids.insert((producer, n), *id), None, "event {n} of producer {producer} is there twice");
        let before = last.insert(producer, n);
        assert!(before.is_none_or(|before| before < n), "producer {producer}: event {n} behind {before:?}");
    }
    let added = accounts.added.lock().unwrap();
    let lost: Vec<_> = added.iter().filter(|(event, id)| ids.get(event) != Some(id)).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    let refused = accounts.refused.lock().unwrap();
    let there: Vec<_> = refused.iter().filter(|event| ids.contains_key(event)).collect();
    assert!(there.is_empty(), "refused, and there: {there:?}");
    let expected: Vec<String> =
        ids.values().map(Id::to_string).collect::<BTreeSet<_>>().into_iter().collect();
    let effects: &[&str] = if work == Work::Transact { &["out", "audit"] } else { &[] };
    for topic in effects {
        let effects = events::read_all(client, topic.as_bytes());
        events::assert_ascending(&effects);
        let mut of: Vec<String> =
            effects.into_iter().map(|(_, fields)| String::from_utf8(fields[1].clone()).unwrap()).collect();
        of.sort();
        assert_eq!(of.len(), expected.len(), "effects in {topic}: as many as events");
        assert!(of == expected, "{topic}: not each event has its effect once");
    }
    assert_eq!(client.run("XPENDING in g").array()[0], Reply::Int(0));
    let group = client.run("XINFO GROUPS in").array()[0].clone();
    assert_eq!(group.get("last-delivered-id").text(), found.last().unwrap().0.to_string());
    assert_eq!(group.get("lag"), &Reply::Int(0));
    let progress = *accounts.progress.lock().unwrap();
    Summary {
        answered: added.len(),
        events: found.len(),
        rounds: progress.rounds,
        failures: progress.failures,
    }
}
