//! What one client is subscribed to.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::Kind;

/// The most bytes of names that one client may subscribe to, with [`NAME_OVERHEAD`] for each.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a subscription takes beside its name.
const NAME_OVERHEAD: usize = 128;

/// A client has so many subscriptions that it must not have another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("ERR too many subscriptions: the names of one client's may take {BYTES_MAX} bytes")]
pub struct TooManySubscriptions;

/// What one client is subscribed to.
#[derive(Default, Debug)]
pub struct Subscriptions {
    channels: BTreeSet<Arc<[u8]>>,
    patterns: BTreeSet<Arc<[u8]>>,
    shards: BTreeSet<Arc<[u8]>>,
    bytes: usize,
}

impl Subscriptions {
    /// Whether there is room for all of these.
    ///
    /// # Errors
    /// When there would be too many.
    pub fn check_room(&self, names: &[&[u8]]) -> Result<(), TooManySubscriptions> {
        let cost: usize = names.iter().map(|name| name.len() + NAME_OVERHEAD).sum();
        if self.bytes + cost > BYTES_MAX { Err(TooManySubscriptions) } else { Ok(()) }
    }

    /// Adds one; the name to share when it is new.
    pub fn add(&mut self, kind: Kind, name: &[u8]) -> Option<Arc<[u8]>> {
        if self.of(kind).contains(name) {
            return None;
        }
        self.bytes += name.len() + NAME_OVERHEAD;
        let name: Arc<[u8]> = name.into();
        self.of_mut(kind).insert(Arc::clone(&name));
        Some(name)
    }

    /// Takes one away; whether there was one.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        let removed = self.of_mut(kind).remove(name);
        if removed {
            self.bytes -= name.len() + NAME_OVERHEAD;
        }
        removed
    }

    /// The names of one kind, sorted.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<Arc<[u8]>> {
        self.of(kind).iter().map(Arc::clone).collect()
    }

    /// How many there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// What a confirmation tells: channels and patterns are counted together, shard channels apart.
    #[must_use]
    pub fn count_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }

    fn of(&self, kind: Kind) -> &BTreeSet<Arc<[u8]>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<Arc<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_apart_and_confirmations_count_channels_with_patterns() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.is_empty());
        assert!(subscriptions.add(Kind::Channel, b"a").is_some());
        assert!(subscriptions.add(Kind::Channel, b"a").is_none());
        assert!(subscriptions.add(Kind::Pattern, b"a").is_some());
        assert!(subscriptions.add(Kind::Shard, b"a").is_some());
        assert_eq!(subscriptions.count_with(Kind::Channel), 2);
        assert_eq!(subscriptions.count_with(Kind::Shard), 1);
        assert!(subscriptions.remove(Kind::Channel, b"a"));
        assert!(!subscriptions.remove(Kind::Channel, b"a"));
        assert!(subscriptions.remove(Kind::Pattern, b"a"));
        assert!(!subscriptions.is_empty());
        assert!(subscriptions.remove(Kind::Shard, b"a"));
        assert!(subscriptions.is_empty());
        assert_eq!(subscriptions.bytes, 0);
    }

    #[test]
    fn one_client_cannot_fill_the_memory() {
        let mut subscriptions = Subscriptions::default();
        let name = vec![b'x'; BYTES_MAX / 2];
        assert_eq!(subscriptions.check_room(&[&name, &name]), Err(TooManySubscriptions));
        assert_eq!(subscriptions.check_room(&[&name]), Ok(()));
        subscriptions.add(Kind::Channel, &name);
        assert_eq!(subscriptions.check_room(&[&name]), Err(TooManySubscriptions));
        assert_eq!(subscriptions.check_room(&[b"small"]), Ok(()));
    }
}
