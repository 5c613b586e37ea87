//! Events as replies and files tell of them.

use std::fmt;

use crate::{Client, Reply, client};

/// An event's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

impl Id {
    /// Below every event.
    pub const MIN: Id = Id { ms: 0, seq: 0 };

    /// The id `ms-seq`.
    #[must_use]
    pub fn new(ms: u64, seq: u64) -> Self {
        Id { ms, seq }
    }

    /// Reads `ms-seq`.
    ///
    /// # Panics
    /// When the text is something else.
    #[must_use]
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let parsed =
            text.split_once('-').and_then(|(ms, seq)| Some(Id::new(ms.parse().ok()?, seq.parse().ok()?)));
        parsed.unwrap_or_else(|| panic!("no id: {text:?}"))
    }

    /// The id that follows.
    #[must_use]
    pub fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Id { ms: self.ms, seq },
            None => Id { ms: self.ms + 1, seq: 0 },
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Field and value, in turn.
pub type Fields = Vec<Vec<u8>>;

/// An event: its id, its fields.
pub type Event = (Id, Fields);

/// The events in a reply to `XRANGE`, `XREVRANGE`, or below a key in one to `XREAD`.
#[must_use]
#[track_caller]
pub fn events(reply: &Reply) -> Vec<Event> {
    reply.array().iter().map(event).collect()
}

/// One `[id, [field, value, …]]`.
#[must_use]
#[track_caller]
pub fn event(reply: &Reply) -> Event {
    let [id, fields] = reply.array() else { panic!("an event was expected, not {reply:?}") };
    (Id::parse(id.text()), fields.array().iter().map(|part| part.bytes().to_vec()).collect())
}

/// The events of each key in a reply to `XREAD`, in either protocol; none for a null reply.
#[must_use]
#[track_caller]
pub fn by_key(reply: &Reply) -> Vec<(Vec<u8>, Vec<Event>)> {
    match reply {
        Reply::Nil => Vec::new(),
        Reply::Map(pairs) => pairs.iter().map(|(key, value)| (key.bytes().to_vec(), events(value))).collect(),
        Reply::Array(keys) => keys
            .iter()
            .map(|pair| match pair.array() {
                [key, value] => (key.bytes().to_vec(), events(value)),
                _ => panic!("a key and its events were expected, not {pair:?}"),
            })
            .collect(),
        other => panic!("a reply to XREAD was expected, not {other:?}"),
    }
}

/// All events of a topic or partition above `after`, read a page at a time.
#[track_caller]
pub fn read_after(client: &mut Client, key: &[u8], after: Id) -> Vec<Event> {
    let mut all = Vec::new();
    let mut from = after.next();
    loop {
        let page = client.call(&[b"XRANGE", key, from.to_string().as_bytes(), b"+", b"COUNT", b"1000"]);
        let page = events(&page);
        let Some((last, _)) = page.last() else { return all };
        from = last.next();
        all.extend(page);
    }
}

/// All events of a topic or partition.
#[track_caller]
pub fn read_all(client: &mut Client, key: &[u8]) -> Vec<Event> {
    read_after(client, key, Id::MIN)
}

/// Fails unless ids go up from event to event.
#[track_caller]
pub fn assert_ascending(events: &[Event]) {
    for pair in events.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{} stands before {}", pair[0].0, pair[1].0);
    }
}

/// Adds `count` events to a topic at once, with one field `n` that counts up from `from`; their ids.
///
/// # Panics
/// When one is refused.
#[track_caller]
pub fn add(client: &mut Client, topic: &str, from: usize, count: usize) -> Vec<String> {
    let mut request = Vec::new();
    for number in from..from + count {
        client::encode(&mut request, &["XADD", topic, "*", "n", &number.to_string()]);
    }
    client.send_raw(&request);
    (0..count).map(|_| client.reply().text().to_owned()).collect()
}
