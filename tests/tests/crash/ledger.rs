//! What must be in a topic after a crash, what may be, and what must not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use wafka_tests::events::{Event, Fields, Id};
use wafka_tests::{Client, Reply, log_file, payload};

use crate::producer::Report;
use crate::{Kind, read_after};

/// A topic's accounts.
pub struct Ledger {
    pub topic: &'static str,
    pub kind: Kind,
    /// What must be there.
    certain: BTreeMap<Id, Fields>,
    /// What this round added to it is above this.
    checked: Id,
    /// Events that were sent and not answered, by producer and count.
    unanswered: HashMap<(u64, u64), Option<Id>>,
    deleted: BTreeSet<Id>,
    maybe_deleted: BTreeSet<Id>,
    trimmed_below: Id,
    maybe_trimmed_below: Id,
}

impl Ledger {
    pub fn new(topic: &'static str, kind: Kind) -> Self {
        Ledger {
            topic,
            kind,
            certain: BTreeMap::new(),
            checked: Id::MIN,
            unanswered: HashMap::new(),
            deleted: BTreeSet::new(),
            maybe_deleted: BTreeSet::new(),
            trimmed_below: Id::MIN,
            maybe_trimmed_below: Id::MIN,
        }
    }

    pub fn len(&self) -> usize {
        self.certain.len()
    }

    /// The highest id that is certain.
    pub fn last(&self) -> Id {
        self.certain.last_key_value().map_or(self.checked, |(id, _)| *id)
    }

    /// Takes in what a producer knows.
    pub fn note(&mut self, report: Report) {
        assert!(report.answered.is_sorted(), "{}: ids of one connection go down", self.topic);
        for (n, id) in (0..).zip(&report.answered) {
            let before = self.certain.insert(*id, payload::fields(report.producer, n));
            assert_eq!(before, None, "{}: id {id} was given twice", self.topic);
        }
        for n in report.answered.len() as u64..report.sent {
            self.unanswered.insert((report.producer, n), None);
        }
        self.certain.retain(|id, _| !report.deleted.contains(id));
        self.maybe_deleted.extend(report.maybe_deleted.difference(&report.deleted));
        self.deleted.extend(report.deleted);
        self.trimmed_below = self.trimmed_below.max(report.trimmed_below.unwrap_or(Id::MIN));
        self.maybe_trimmed_below =
            self.maybe_trimmed_below.max(report.maybe_trimmed_below.unwrap_or(Id::MIN));
    }

    /// What a reader saw must be there, answered or not.
    pub fn note_seen(&mut self, seen: Vec<Event>) {
        for (id, fields) in seen {
            if let Some(unanswered) = self.unanswered.get_mut(&payload::identify(&fields)) {
                *unanswered = Some(id);
            }
            let before = self.certain.insert(id, fields.clone());
            assert!(before.is_none_or(|before| before == fields), "{}: {id} changed", self.topic);
        }
    }

    /// Compares with what the server has after the crash, and makes certain what it is now.
    pub fn check(&mut self, client: &mut Client, whole: bool) {
        let from = if whole || self.kind == Kind::Trim { Id::MIN } else { self.checked };
        let found: BTreeMap<Id, Fields> = read_after(client, self.topic, from).into_iter().collect();
        for (id, fields) in &found {
            self.check_found(*id, fields);
        }
        let first = found.first_key_value().map_or(Id::MIN, |(id, _)| *id);
        for (id, fields) in self.certain.range(from.next()..) {
            match found.get(id) {
                Some(there) => assert_eq!(there, fields, "{}: event {id} changed", self.topic),
                // What a trim that was not answered took is everything below some id.
                None => assert!(
                    self.maybe_deleted.contains(id)
                        || (*id < self.maybe_trimmed_below && (found.is_empty() || *id < first)),
                    "{}: event {id} is lost",
                    self.topic
                ),
            }
        }
        self.certain.split_off(&from.next());
        self.certain.extend(found);
        self.checked = self.last();
        self.unanswered.clear();
        // Every deletion is decided now.
        let gone = self.maybe_deleted.iter().filter(|id| !self.certain.contains_key(id));
        self.deleted.extend(gone);
        self.maybe_deleted.clear();
        self.trimmed_below = self.trimmed_below.max(first.min(self.maybe_trimmed_below));
        assert_eq!(
            client.call(&["XLEN", self.topic]),
            Reply::Int(self.certain.len() as i64),
            "{}",
            self.topic
        );
    }

    /// An event that is there must be known, or have been sent without an answer, and be whole.
    fn check_found(&mut self, id: Id, fields: &Fields) {
        let topic = self.topic;
        assert!(!self.deleted.contains(&id), "{topic}: event {id} was deleted and is there");
        assert!(
            id >= self.trimmed_below,
            "{topic}: event {id} was trimmed (below {}) and is there",
            self.trimmed_below
        );
        if self.certain.contains_key(&id) {
            return;
        }
        let (producer, n) = payload::identify(fields);
        assert_eq!(fields, &payload::fields(producer, n), "{topic}: event {id} is not whole");
        match self.unanswered.get_mut(&(producer, n)) {
            Some(place @ None) => *place = Some(id),
            Some(Some(other)) => {
                panic!("{topic}: event {n} of producer {producer} is there twice: {other}, {id}")
            }
            None => panic!("{topic}: event {id} is there, which nobody sent in this round: {producer}, {n}"),
        }
    }

    /// The files hold what the topic holds, and beside it only what was deleted or trimmed.
    pub fn check_files(&self, data_dir: &Path, partitions: u16) {
        let mut written = BTreeMap::new();
        for partition in 1..=partitions {
            for line in log_file::read(data_dir, self.topic, partition) {
                let (id, fields) = line.event();
                assert_eq!(
                    written.insert(id, fields),
                    None,
                    "{}: event {id} stands in two files",
                    self.topic
                );
            }
        }
        written.retain(|id, _| !self.deleted.contains(id) && *id >= self.trimmed_below);
        assert!(
            written == self.certain,
            "{}: the files hold {} live events, the topic {}",
            self.topic,
            written.len(),
            self.certain.len()
        );
    }
}
