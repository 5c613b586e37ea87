//! What a command does and where it is allowed, as `COMMAND INFO` shows it.

/// A set of command flags, each with Redis's meaning
/// (<https://redis.io/docs/latest/commands/command/#flags>).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// May change data; held back by `CLIENT PAUSE … WRITE`.
    pub const WRITE: Flags = Flags(1);
    /// Only reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May take memory.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Not in scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 4);
    /// May wait.
    pub const BLOCKING: Flags = Flags(1 << 5);
    /// Also while data is being loaded.
    pub const LOADING: Flags = Flags(1 << 6);
    /// Also on a replica with stale data.
    pub const STALE: Flags = Flags(1 << 7);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 8);
    /// Also before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 9);
    /// Also while a script runs too long.
    pub const ALLOW_BUSY: Flags = Flags(1 << 10);
    /// Not within `MULTI`.
    pub const NO_MULTI: Flags = Flags(1 << 11);
    /// About publishing and subscribing.
    pub const PUBSUB: Flags = Flags(1 << 20);
    /// Its keys stand where only the command itself knows.
    pub const MOVABLEKEYS: Flags = Flags(1 << 12);

    /// Not shown in `SLOWLOG`.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 14);
    /// Cannot be undone together with other commands, so it is not queued: Wafka's own, and never shown.
    pub const UNQUEUED: Flags = Flags(1 << 15);
    /// Concerns all names there are: Wafka's own, for isolation, and never shown.
    pub const ALL_NAMES: Flags = Flags(1 << 13);

    /// The flags with the names that Redis gives them, in the order in which it lists them.
    const NAMES: [(Flags, &'static str); 15] = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLEKEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
    ];

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both sets.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Redis's names of the flags in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}
