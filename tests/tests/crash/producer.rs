//! Produces, deletes and trims in pipelines until the connection breaks, and tells what it knows then.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use fastrand::Rng;
use wafka_tests::events::{self, Event, Id};
use wafka_tests::{Client, Reply, client, payload};

use crate::{Kind, Replies};

const BATCH_MAX: u64 = 40;

/// What a producer knows at the end.
#[derive(Default)]
pub struct Report {
    pub producer: u64,
    /// The ids of its events that were answered, from its first event on.
    pub answered: Vec<Id>,
    /// How many events it sent.
    pub sent: u64,
    pub deleted: BTreeSet<Id>,
    pub maybe_deleted: BTreeSet<Id>,
    /// Everything below is trimmed.
    pub trimmed_below: Option<Id>,
    /// Everything below may be trimmed.
    pub maybe_trimmed_below: Option<Id>,
}

enum Sent {
    Event,
    Deletion(Id),
    Trim(Id),
}

/// Produces until the server is gone.
pub fn run(addr: SocketAddr, topic: &str, kind: Kind, producer: u64, replies: &Replies) -> Report {
    let mut report = Report { producer, ..Report::default() };
    // Errors are the server's end, which is what this waits for.
    let _ = Client::try_connect(addr).and_then(|client| produce(client, topic, kind, &mut report, replies));
    report
}

fn produce(
    mut client: Client,
    topic: &str,
    kind: Kind,
    report: &mut Report,
    replies: &Replies,
) -> io::Result<()> {
    let mut rng = Rng::with_seed(report.producer);
    let mut own: VecDeque<Id> = VecDeque::new();
    loop {
        let mut request = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..rng.u64(1..=BATCH_MAX) {
            let extra = rng.u8(..10);
            if kind == Kind::Delete && extra < 3 && !own.is_empty() {
                let id = own.swap_remove_back(rng.usize(..own.len())).unwrap();
                client::encode(&mut request, &["XDEL", topic, &id.to_string()]);
                report.maybe_deleted.insert(id);
                sent.push(Sent::Deletion(id));
            } else if kind == Kind::Trim && extra == 0 && own.len() > 30 {
                let id = own.drain(..own.len() - 20).next_back().unwrap();
                client::encode(&mut request, &["XTRIM", topic, "MINID", &id.to_string()]);
                report.maybe_trimmed_below = report.maybe_trimmed_below.max(Some(id));
                sent.push(Sent::Trim(id));
            } else {
                let mut args = vec![b"XADD".to_vec(), topic.into(), b"*".to_vec()];
                args.extend(payload::fields(report.producer, report.sent));
                client::encode(&mut request, &args);
                report.sent += 1;
                sent.push(Sent::Event);
            }
        }
        client.try_send_raw(&request)?;
        for sent in sent {
            let reply = client.try_reply()?;
            match sent {
                Sent::Event => {
                    let id = Id::parse(reply.text());
                    report.answered.push(id);
                    own.push_back(id);
                }
                Sent::Deletion(id) => {
                    assert_eq!(reply, Reply::Int(1), "XDEL of event {id}");
                    report.deleted.insert(id);
                }
                Sent::Trim(id) => {
                    assert!(reply.int() >= 0);
                    report.trimmed_below = report.trimmed_below.max(Some(id));
                }
            }
            replies.add(1);
        }
    }
}

/// Follows a topic until the server is gone; returns what was seen.
pub fn follow(addr: SocketAddr, topic: &str, mut last: Id) -> Vec<Event> {
    let mut seen = Vec::new();
    let Ok(mut client) = Client::try_connect(addr) else { return seen };
    while let Ok(reply) = client.try_call(&["XREAD", "BLOCK", "0", "STREAMS", topic, &last.to_string()]) {
        seen.extend(events::by_key(&reply).into_iter().flat_map(|(_, events)| events));
        last = seen.last().map_or(last, |(id, _): &Event| *id);
    }
    seen
}
