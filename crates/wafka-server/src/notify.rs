//! Keyspace notifications: what happened to which key, published on the channels `__keyspace@<db>__:<key>` and
//! `__keyevent@<db>__:<event>` (<https://redis.io/docs/latest/develop/use/keyspace-notifications/>).

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use thiserror::Error;
use wafka_core::Database;

use crate::pubsub::publish;
use crate::shared::Shared;

/// Classes of events, with Redis's letters, and where they are published.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Classes(u32);

impl Classes {
    /// None: notifications are off.
    pub const NONE: Classes = Classes(0);
    /// `K`: publish by key.
    pub const KEYSPACE: Classes = Classes(1);
    /// `E`: publish by event.
    pub const KEYEVENT: Classes = Classes(1 << 1);
    /// `g`: commands on keys of any type: `del`, `expire`, `rename_from`, …
    pub const GENERIC: Classes = Classes(1 << 2);
    /// `x`: a key expired.
    pub const EXPIRED: Classes = Classes(1 << 8);
    /// `t`: stream commands.
    pub const STREAM: Classes = Classes(1 << 10);
    /// `m`: a key was asked for that does not exist. Not in `A`.
    pub const KEY_MISS: Classes = Classes(1 << 11);
    /// `n`: a key came into being. Not in `A`.
    pub const NEW: Classes = Classes(1 << 13);

    /// What `A` stands for: `g$lshzxetd`.
    const ALL: Classes =
        Classes(1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12);

    /// The letters of classes in the order in which Redis shows them. Those of types that are not here are accepted,
    /// for there are no events of them.
    const LETTERS: [(char, u32); 13] = [
        ('g', 1 << 2),
        ('$', 1 << 3),
        ('l', 1 << 4),
        ('s', 1 << 5),
        ('h', 1 << 6),
        ('z', 1 << 7),
        ('x', 1 << 8),
        ('e', 1 << 9),
        ('t', 1 << 10),
        ('d', 1 << 12),
        ('n', 1 << 13),
        ('o', 1 << 14),
        ('c', 1 << 15),
    ];

    /// These classes as bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The classes of these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Classes(bits)
    }

    /// Whether any of `other` is among these.
    #[must_use]
    pub const fn has(self, other: Classes) -> bool {
        self.0 & other.0 != 0
    }
}

/// Text with a letter that stands for no class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")]
pub struct BadClasses;

impl FromStr for Classes {
    type Err = BadClasses;

    fn from_str(text: &str) -> Result<Self, BadClasses> {
        text.chars().try_fold(Classes::NONE, |classes, letter| {
            let bits = match letter {
                'A' => Classes::ALL.0,
                'K' => Classes::KEYSPACE.0,
                'E' => Classes::KEYEVENT.0,
                'm' => Classes::KEY_MISS.0,
                letter => {
                    let known = Classes::LETTERS.iter().find(|(known, _)| *known == letter);
                    known.ok_or(BadClasses)?.1
                }
            };
            Ok(Classes(classes.0 | bits))
        })
    }
}

impl fmt::Display for Classes {
    /// As Redis shows them, which forgets `n` beside `A`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & Classes::ALL.0 == Classes::ALL.0 {
            f.write_str("A")?;
        } else {
            for (letter, _) in Classes::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0) {
                write!(f, "{letter}")?;
            }
        }
        for (letter, class) in [('K', Classes::KEYSPACE), ('E', Classes::KEYEVENT), ('m', Classes::KEY_MISS)]
        {
            if self.has(class) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: BadClasses| D::Error::custom(format_args!("found '{text}': {error}")))
    }
}

/// Publishes that `event`, one of `class`, happened to the topic called `key`, if that is asked for. To be called when
/// what happened is durable. Costs one load where notifications are off.
pub fn notify(shared: &Shared, class: Classes, event: &str, database: Database, key: &[u8]) {
    let wanted = shared.settings.notify_classes();
    if wanted.has(class) {
        send(shared, wanted, event, database, key);
    }
}

#[cold]
fn send(shared: &Shared, wanted: Classes, event: &str, database: Database, key: &[u8]) {
    if wanted.has(Classes::KEYSPACE) {
        let channel = [format!("__keyspace@{}__:", database.0).as_bytes(), key].concat();
        publish(shared, &channel, event.as_bytes());
    }
    if wanted.has(Classes::KEYEVENT) {
        let channel = format!("__keyevent@{}__:{event}", database.0);
        publish(shared, channel.as_bytes(), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_shows_them() {
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KEg", "gKE"),
            ("KEAmn", "AKEm"),
            ("Ag", "A"),
            ("xK", "xK"),
            ("Exn", "xnE"),
            ("gtxK", "gxtK"),
            ("g$lshzxetdKE", "AKE"),
            ("Kmnoc", "nocKm"),
        ] {
            let classes: Classes = given.parse().unwrap();
            assert_eq!(classes.to_string(), shown, "{given}");
        }
        for bad in ["q", "K E", "KEA\0", "é"] {
            assert_eq!(bad.parse::<Classes>(), Err(BadClasses), "{bad}");
        }
    }

    #[test]
    fn all_is_without_misses_and_new_keys() {
        let all: Classes = "A".parse().unwrap();
        assert!(all.has(Classes::STREAM) && all.has(Classes::GENERIC) && all.has(Classes::EXPIRED));
        assert!(!all.has(Classes::KEY_MISS) && !all.has(Classes::NEW) && !all.has(Classes::KEYSPACE));
    }
}
