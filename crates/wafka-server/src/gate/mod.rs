//! Gates: what keeps a transaction's commands together.
//!
//! Every name has a gate, and many names share one. A command holds the gates of its keys *shared* while it executes,
//! but not while it waits for data; `EXEC` holds those of all its commands *exclusively*, so nobody sees half of what
//! it does. One more gate stands for the set of names itself: `EXEC` shares it when it may make or delete topics, and
//! a command about all names holds it exclusively. Gates are taken in ascending order only, so nobody waits in a circle.

mod stripe;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use wafka_core::{Database, TopicKey};

use stripe::Stripe;

/// How many gates the names share: two names that are used at the same time seldom have the same one.
const STRIPES: u16 = 1024;

/// The gate of the set of names. Last, and so taken last.
const NAMES: u16 = STRIPES;

/// How a gate is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// With others.
    Shared,
    /// Alone.
    Exclusive,
}

/// All gates of a server.
pub struct Gates {
    stripes: Box<[Stripe]>,
}

impl Default for Gates {
    fn default() -> Self {
        Gates { stripes: (0..=STRIPES).map(|_| Stripe::default()).collect() }
    }
}

/// The gate of the topic that `key` names, as a whole or one partition of it.
fn stripe_of(database: Database, key: &[u8]) -> u16 {
    let name = TopicKey::parse(key).topic;
    // FxHash's step: a rotation, an exclusive or, a multiplication for every eight bytes.
    let mut hash = u64::from(database.0);
    let mut mix = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = name.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    mix(rest.iter().fold(name.len() as u64, |word, byte| word << 8 | u64::from(*byte)));
    // The high bits are the ones that every bit of the name reaches.
    u16::try_from(hash >> 54).unwrap_or(0) % STRIPES
}

/// The gates that a session holds; given back when dropped.
pub(crate) struct Held {
    gates: Arc<Gates>,
    stripes: Vec<(u16, Mode)>,
}

impl Held {
    /// Of nothing yet.
    pub(crate) fn new(gates: Arc<Gates>) -> Self {
        Held { gates, stripes: Vec::new() }
    }

    /// Takes the gate of one key shared, in the place of what it holds, if that needs no waiting; costs next to nothing
    /// when that is what it holds.
    pub(crate) fn try_shared(&mut self, database: Database, key: &[u8]) -> bool {
        let stripe = stripe_of(database, key);
        if *self.stripes == [(stripe, Mode::Shared)] {
            return true;
        }
        self.release();
        let taken = self.gates.stripes[usize::from(stripe)].try_shared();
        if taken {
            self.stripes.push((stripe, Mode::Shared));
        }
        taken
    }

    /// Takes all gates of `wanted`. For who holds none.
    pub(crate) async fn acquire(&mut self, wanted: &Wanted) {
        let gates = Arc::clone(&self.gates);
        for (stripe, mode) in &wanted.0 {
            gates.stripes[usize::from(*stripe)].acquire(*mode).await;
            self.stripes.push((*stripe, *mode));
        }
    }

    /// Gives all gates back.
    pub(crate) fn release(&mut self) {
        for (stripe, mode) in self.stripes.drain(..) {
            self.gates.stripes[usize::from(stripe)].release(mode);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Gates to take, in the order in which that must be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wanted(Vec<(u16, Mode)>);

impl Wanted {
    /// Those of keys, and with `names` that of the set of names.
    pub(crate) fn set<'a>(
        &mut self,
        keys: impl Iterator<Item = (Database, &'a [u8])>,
        mode: Mode,
        names: Option<Mode>,
    ) {
        let stripes = &mut self.0;
        stripes.clear();
        stripes.extend(keys.map(|(database, key)| (stripe_of(database, key), mode)));
        stripes.sort_unstable();
        stripes.dedup();
        stripes.extend(names.map(|mode| (NAMES, mode)));
    }
}
