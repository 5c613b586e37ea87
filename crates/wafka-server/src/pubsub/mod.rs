//! Publish and subscribe: who listens to which channel, and the delivery of messages.
//!
//! Nothing is stored: a message goes to whoever listens when it is published. All publications pass one lock, so that
//! every subscriber sees them in the same order.

mod inbox;
mod subscriptions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use wafka_protocol::parse::glob_match;
use wafka_protocol::{ReplyWriter, RespVersion};

use crate::clients::Client;
use crate::shared::Shared;

pub use inbox::{Delivery, Frame, Inbox, InboxLimits};
pub use subscriptions::{Subscriptions, TooManySubscriptions};

/// What a client subscribes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `SUBSCRIBE`: one channel.
    Channel,
    /// `PSUBSCRIBE`: all channels that match a glob pattern.
    Pattern,
    /// `SSUBSCRIBE`: one shard channel, which are apart from the others.
    Shard,
}

/// The subscribers of a name, by client number.
type Subscribers = BTreeMap<u64, Arc<Client>>;

#[derive(Default)]
struct Tables {
    channels: HashMap<Arc<[u8]>, Subscribers>,
    patterns: BTreeMap<Arc<[u8]>, Subscribers>,
    shards: HashMap<Arc<[u8]>, Subscribers>,
}

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    tables: Mutex<Tables>,
    /// Subscriptions of all kinds: where there are none, publishing costs one load.
    subscriptions: AtomicUsize,
    /// Clients with subscriptions.
    clients: AtomicUsize,
}

impl PubSub {
    /// Adds a subscription, which the client does not have yet.
    pub fn subscribe(&self, kind: Kind, name: &Arc<[u8]>, client: &Arc<Client>) {
        let mut tables = self.tables.lock();
        let subscribers = match kind {
            Kind::Channel => tables.channels.entry(Arc::clone(name)).or_default(),
            Kind::Pattern => tables.patterns.entry(Arc::clone(name)).or_default(),
            Kind::Shard => tables.shards.entry(Arc::clone(name)).or_default(),
        };
        if subscribers.insert(client.id, Arc::clone(client)).is_none() {
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a subscription away.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: u64) {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        let subscribers = match kind {
            Kind::Channel => tables.channels.get_mut(name),
            Kind::Pattern => tables.patterns.get_mut(name),
            Kind::Shard => tables.shards.get_mut(name),
        };
        let Some(subscribers) = subscribers else { return };
        if subscribers.remove(&client).is_some() {
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        if subscribers.is_empty() {
            match kind {
                Kind::Channel => drop(tables.channels.remove(name)),
                Kind::Pattern => drop(tables.patterns.remove(name)),
                Kind::Shard => drop(tables.shards.remove(name)),
            }
        }
    }

    /// Notes that a client has its first subscription, or gave up its last.
    pub fn count_client(&self, subscribed: bool) {
        if subscribed {
            self.clients.fetch_add(1, Ordering::Relaxed);
        } else {
            self.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many clients have subscriptions.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Whether a publication would reach nobody, whatever its channel.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) == 0
    }

    /// The channels or shard channels with subscribers that match a glob pattern, all of them without one, sorted.
    #[must_use]
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let tables = self.tables.lock();
        let names: Vec<&Arc<[u8]>> = match kind {
            Kind::Channel => tables.channels.keys().collect(),
            Kind::Pattern => tables.patterns.keys().collect(),
            Kind::Shard => tables.shards.keys().collect(),
        };
        let wanted = |name: &&Arc<[u8]>| pattern.is_none_or(|pattern| glob_match(pattern, name, false));
        let mut names: Vec<Arc<[u8]>> = names.into_iter().filter(wanted).map(Arc::clone).collect();
        names.sort_unstable();
        names
    }

    /// How many clients subscribe to exactly this name.
    #[must_use]
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        let tables = self.tables.lock();
        let subscribers = match kind {
            Kind::Channel => tables.channels.get(name),
            Kind::Pattern => tables.patterns.get(name),
            Kind::Shard => tables.shards.get(name),
        };
        subscribers.map_or(0, BTreeMap::len)
    }

    /// How many names of that kind have subscribers.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let tables = self.tables.lock();
        match kind {
            Kind::Channel => tables.channels.len(),
            Kind::Pattern => tables.patterns.len(),
            Kind::Shard => tables.shards.len(),
        }
    }
}

/// Sends a message to all who listen to a channel, directly or by a pattern; how many that were. One who listens in
/// several ways gets it as often.
pub fn publish(shared: &Shared, channel: &[u8], message: &[u8]) -> usize {
    if shared.pubsub.is_unheard() {
        return 0;
    }
    let limits = shared.settings.pubsub_limits();
    let tables = shared.pubsub.tables.lock();
    let mut receivers = 0;
    if let Some(subscribers) = tables.channels.get(channel) {
        let frame = frame(&[b"message", channel, message]);
        receivers += deliver(shared, subscribers, &frame, &limits);
    }
    for (pattern, subscribers) in &tables.patterns {
        if glob_match(pattern, channel, false) {
            let frame = frame(&[b"pmessage", pattern, channel, message]);
            receivers += deliver(shared, subscribers, &frame, &limits);
        }
    }
    receivers
}

/// Sends a message to all who listen to a shard channel; how many that were.
pub fn publish_to_shard(shared: &Shared, channel: &[u8], message: &[u8]) -> usize {
    if shared.pubsub.is_unheard() {
        return 0;
    }
    let limits = shared.settings.pubsub_limits();
    let tables = shared.pubsub.tables.lock();
    let Some(subscribers) = tables.shards.get(channel) else { return 0 };
    deliver(shared, subscribers, &frame(&[b"smessage", channel, message]), &limits)
}

fn frame(parts: &[&[u8]]) -> Frame {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 16).sum());
    let mut writer = ReplyWriter::new(&mut bytes, RespVersion::V3);
    writer.push(parts.len());
    for part in parts {
        writer.bulk(part);
    }
    Frame::new(&bytes)
}

fn deliver(shared: &Shared, subscribers: &Subscribers, frame: &Frame, limits: &InboxLimits) -> usize {
    for client in subscribers.values() {
        tell(shared, client, frame.clone(), limits);
    }
    subscribers.len()
}

/// Puts a frame into a client's inbox and sees to it that it is sent; closes a client that does not read.
pub fn tell(shared: &Shared, client: &Client, frame: Frame, limits: &InboxLimits) {
    match client.inbox.push(frame, limits) {
        Delivery::First => client.wake(),
        Delivery::Queued | Delivery::Closed => {}
        Delivery::Overflow => {
            tracing::warn!(client = client.id, addr = %client.addr, "closing client: it reads too slowly what it subscribed to");
            shared.stats.output_limit_disconnections.add(1);
            client.signal(crate::clients::Signals::KILL);
        }
    }
}
