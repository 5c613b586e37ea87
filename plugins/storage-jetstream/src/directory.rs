//! Which stream holds which log: a stream of its own, the *names*, with one message for each log.
//!
//! A stream's name is never used twice, as an engine was seen to bring records back in a stream that was made again
//! under the name of a deleted one. So a log that is made gets a stream with a new name, and its record here says which.
//! It is written before the stream is made and again after it, and before the stream is deleted: what a crash left
//! half-made or half-deleted is known by its record, and nothing is ever deleted because nobody knows of it.
//!
//! One server writes here. Who takes over writes its epoch first, and each record says which message it follows; one
//! publication is under way at a time. So nothing that an earlier owner sent, or still sends, fits behind that epoch.
//! As nobody else writes, what was read after it is true from then on, and is kept in memory. Whatever goes wrong, the
//! epoch is written once more, which nothing that was sent before can follow, and everything is read again.

mod read;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use wafka_core::Database;
use wafka_core::storage::LogName;

use crate::api::{Api, Failure, NewStream};
use crate::tenure::{Tenure, title};

/// So many streams are made or deleted at once.
const AT_ONCE: usize = 16;
/// So many records are written all or none.
const TOGETHER_MAX: usize = 500;
/// Characters of a stream's name behind the prefix. By these it is known how its subjects look.
const UNIQUE_LENGTH: usize = 16;
/// How often it is tried to write the epoch while something else comes between.
const ATTEMPTS: usize = 16;

/// How far a log's stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// It may be there or not; nothing was ever written to it.
    Making,
    Made,
    /// It may be there or not; nobody wants it.
    Deleting,
}

/// The record of a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Record {
    database: u16,
    stem: String,
    stream: String,
    stage: Stage,
    /// That of the owner who made the log.
    epoch: u64,
}

impl Record {
    fn log(&self) -> LogName {
        LogName::new(Database(self.database), &self.stem)
    }
}

/// A record as it is stored.
#[derive(Clone)]
struct Found {
    sequence: u64,
    record: Record,
}

/// Who has taken the names over.
#[derive(Debug, Serialize, Deserialize)]
struct Epoch {
    epoch: u64,
    owner: String,
    session: String,
}

/// Where a log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub stream: String,
    /// Whether nobody but this owner ever knew of it.
    pub is_own: bool,
}

/// What is known, and true as long as nothing fails.
struct Known {
    epoch: u64,
    /// The last message's sequence.
    last: u64,
    /// The logs that are made; not read yet where it is `None`.
    logs: Option<HashMap<LogName, Found>>,
}

/// Finds, makes and deletes the streams of logs.
pub(crate) struct Directory {
    api: Api,
    prefix: String,
    replicas: u8,
    known: Mutex<Option<Known>>,
}

impl Directory {
    pub(crate) fn new(api: Api, prefix: String, replicas: u8) -> Self {
        Directory { api, prefix, replicas, known: Mutex::new(None) }
    }

    fn stream(&self) -> String {
        format!("{}-names", self.prefix)
    }

    /// The subject of an owner's epoch. Those of logs begin with a number.
    fn epoch_subject(&self) -> String {
        format!("{}.names.epoch", self.prefix)
    }

    /// The subject of a log's record. Dots would part it, and percent signs must come back.
    fn subject(&self, log: &LogName) -> String {
        let mut subject = format!("{}.names.{}-", self.prefix, log.database().0);
        for character in log.stem().chars() {
            match character {
                'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' => subject.push(character),
                other => {
                    let mut bytes = [0; 4];
                    let escaped = other.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02x}"));
                    subject.extend(escaped);
                }
            }
        }
        subject
    }

    /// What the subjects of a log's stream begin with. It is short: each message carries and stores it. Earlier builds had the
    /// whole name there, of streams whose own part of the name is longer.
    pub(crate) fn subject_of(&self, stream: &str) -> String {
        let unique = stream.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('-'));
        let short = unique.filter(|unique| unique.len() == UNIQUE_LENGTH);
        format!("{}.log.{}", self.prefix, short.unwrap_or(stream))
    }

    /// The highest epoch that was written here; 0 where there is none.
    pub(crate) async fn epoch(&self) -> Result<u64, Failure> {
        match self.last_epoch().await {
            Ok(found) => Ok(found.map_or(0, |(_, epoch)| epoch.epoch)),
            Err(failure) if failure.is_no_stream() => Ok(0),
            Err(failure) => Err(failure),
        }
    }

    async fn last_epoch(&self) -> Result<Option<(u64, Epoch)>, Failure> {
        let stored = self.api.last_on(&self.stream(), &self.epoch_subject()).await?;
        let parsed = stored.map(|stored| {
            let epoch = serde_json::from_slice(&stored.data);
            let strange = |error| Failure::Strange(format!("the names' epoch, {}: {error}", stored.sequence));
            Ok((stored.sequence, epoch.map_err(strange)?))
        });
        parsed.transpose()
    }

    /// Who has taken everything over, if that is an owner that comes behind this one.
    pub(crate) async fn taken_by(&self, tenure: &Tenure) -> Result<Option<String>, Failure> {
        let by = self.last_epoch().await?.map(|(_, epoch)| epoch);
        let by = by.filter(|by| !tenure.outranks(by.epoch, &by.session));
        Ok(by.map(|by| title(by.epoch, &by.owner)))
    }

    /// Writes the epoch, so that no owner before this one can write here any more. Makes the stream if it is missing.
    pub(crate) async fn take_over(&self, tenure: &Tenure) -> Result<(), Failure> {
        let mut known = self.known.lock().await;
        *known = None;
        *known = Some(self.fence(tenure).await?);
        Ok(())
    }

    async fn fence(&self, tenure: &Tenure) -> Result<Known, Failure> {
        self.make_names().await?;
        let epoch = Epoch {
            epoch: tenure.epoch,
            owner: tenure.owner.address.clone(),
            session: tenure.session.clone(),
        };
        let body = Bytes::from(serde_json::to_vec(&epoch).map_err(strange)?);
        let mut last_refusal = None;
        for _ in 0..ATTEMPTS {
            let info = self.api.stream(&self.stream()).await?;
            let last = info.ok_or_else(|| self.gone())?.state.last_seq;
            let found = self.last_epoch().await?;
            if let Some((_, other)) = &found
                && !tenure.outranks(other.epoch, &other.session)
            {
                tenure.end(&title(other.epoch, &other.owner));
                return Err(Failure::Strange(format!("the names: {}", title(other.epoch, &other.owner))));
            }
            let replaced = found.map_or(0, |(sequence, _)| sequence);
            match self.api.replace(self.epoch_subject(), last, replaced, body.clone()).await {
                Ok(last) => return Ok(Known { epoch: tenure.epoch, last, logs: None }),
                // Something came between, or it is there already and its answer was lost.
                Err(refused) if refused.is_wrong_last() => last_refusal = Some(refused),
                Err(failure) => return Err(failure),
            }
        }
        Err(last_refusal.unwrap_or_else(|| self.gone()))
    }

    fn gone(&self) -> Failure {
        Failure::Strange(format!("the stream {} is gone", self.stream()))
    }

    async fn make_names(&self) -> Result<(), Failure> {
        let name = self.stream();
        let mut found = self.api.stream(&name).await?;
        if let Some(info) = &mut found {
            // The one limit that it has.
            info.config.max_msgs_per_subject = -1;
            info.config.check_keeps(&name).map_err(Failure::Strange)?;
        }
        if found.as_ref().is_some_and(|info| info.config.allow_atomic) {
            // With fewer replicas than are asked for now it stays as it is.
            return Ok(());
        }
        let subjects = [format!("{}.names.*", self.prefix)];
        let stream = NewStream {
            name: &name,
            subjects: &subjects,
            num_replicas: self.replicas,
            max_msgs_per_subject: 1,
            allow_direct: false,
            metadata: json!({ "wafka": "names" }),
        };
        match found {
            None => self.api.make_stream(&name, &stream.config()).await,
            Some(_) => self.api.update_stream(&name, &stream.config()).await,
        }
    }

    /// What is known, read if need be. What a crash left half-done is ended.
    async fn known(&self, tenure: &Tenure) -> Result<MutexGuard<'_, Option<Known>>, Failure> {
        let mut guard = self.known.lock().await;
        let is_own = guard.as_ref().is_some_and(|known| known.epoch == tenure.epoch);
        if is_own && guard.as_ref().is_some_and(|known| known.logs.is_some()) {
            return Ok(guard);
        }
        if !is_own {
            *guard = None;
            *guard = Some(self.fence(tenure).await?);
        }
        let mut logs = HashMap::new();
        let mut half = Vec::new();
        let last = guard.as_ref().map_or(0, |known| known.last);
        for found in self.all(tenure, last).await? {
            match found.record.stage {
                Stage::Made => drop(logs.insert(found.record.log(), found)),
                Stage::Making | Stage::Deleting => half.push(found),
            }
        }
        each(half, |found| async move { self.drop_stream(&found).await }).await?;
        if let Some(known) = guard.as_mut() {
            known.logs = Some(logs);
        }
        Ok(guard)
    }

    /// All logs, and where they are.
    pub(crate) async fn list(&self, tenure: &Tenure) -> Result<Vec<(LogName, Place)>, Failure> {
        let guard = self.known(tenure).await?;
        let logs = guard.as_ref().and_then(|known| known.logs.as_ref());
        let places = logs.into_iter().flatten().map(|(log, found)| (log.clone(), place(tenure, found)));
        Ok(places.collect())
    }

    /// Where a log is.
    pub(crate) async fn find(&self, tenure: &Tenure, log: &LogName) -> Result<Option<Place>, Failure> {
        let guard = self.known(tenure).await?;
        let logs = guard.as_ref().and_then(|known| known.logs.as_ref());
        Ok(logs.and_then(|logs| logs.get(log)).map(|found| place(tenure, found)))
    }

    /// Makes those of these logs that are not there.
    pub(crate) async fn make(&self, tenure: &Tenure, names: &[LogName]) -> Result<(), Failure> {
        self.change(tenure, names, Change::Make).await
    }

    /// Deletes those of these logs that are there.
    pub(crate) async fn delete(&self, tenure: &Tenure, names: &[LogName]) -> Result<(), Failure> {
        self.change(tenure, names, Change::Delete).await
    }

    async fn change(&self, tenure: &Tenure, names: &[LogName], change: Change) -> Result<(), Failure> {
        let mut guard = self.known(tenure).await?;
        // Where it ends with an error, or is given up half-way, nothing is known until it is read again.
        let Some(mut known) = guard.take() else { return Err(self.gone()) };
        let Known { last, logs: Some(logs), .. } = &mut known else { return Err(self.gone()) };
        match change {
            Change::Make => {
                let missing: BTreeSet<&LogName> =
                    names.iter().filter(|log| !logs.contains_key(log)).collect();
                let missing: Vec<&LogName> = missing.into_iter().collect();
                for some in missing.chunks(TOGETHER_MAX) {
                    self.make_some(tenure, some, last, logs).await?;
                }
            }
            Change::Delete => {
                let there: BTreeSet<&LogName> = names.iter().filter(|log| logs.contains_key(log)).collect();
                let there: Vec<&LogName> = there.into_iter().collect();
                for some in there.chunks(TOGETHER_MAX) {
                    self.delete_some(tenure, some, last, logs).await?;
                }
            }
        }
        *guard = Some(known);
        Ok(())
    }

    async fn make_some(
        &self,
        tenure: &Tenure,
        names: &[&LogName],
        last: &mut u64,
        logs: &mut HashMap<LogName, Found>,
    ) -> Result<(), Failure> {
        let new = names.iter().map(|log| Record {
            database: log.database().0,
            stem: log.stem().to_owned(),
            stream: format!("{}-{}", self.prefix, new_name()),
            stage: Stage::Making,
            epoch: tenure.epoch,
        });
        let mut records: Vec<Record> = new.collect();
        self.write(tenure, last, &records).await?;
        let made = each(records.clone(), |record| async move {
            let subjects = [format!("{}.*", self.subject_of(&record.stream))];
            let config = NewStream {
                name: &record.stream,
                subjects: &subjects,
                num_replicas: self.replicas,
                max_msgs_per_subject: -1,
                allow_direct: true,
                metadata: json!({ "wafka": record.log().to_string() }),
            };
            self.api.make_stream(&record.stream, &config.config()).await
        });
        made.await?;
        records.iter_mut().for_each(|record| record.stage = Stage::Made);
        let first = self.write(tenure, last, &records).await?;
        let found = records.into_iter().zip(first..).map(|(record, sequence)| Found { sequence, record });
        logs.extend(found.map(|found| (found.record.log(), found)));
        Ok(())
    }

    async fn delete_some(
        &self,
        tenure: &Tenure,
        names: &[&LogName],
        last: &mut u64,
        logs: &mut HashMap<LogName, Found>,
    ) -> Result<(), Failure> {
        let there = names.iter().filter_map(|log| logs.get(*log));
        let records: Vec<Record> =
            there.map(|found| Record { stage: Stage::Deleting, ..found.record.clone() }).collect();
        let first = self.write(tenure, last, &records).await?;
        let dropped = records.into_iter().zip(first..).map(|(record, sequence)| Found { sequence, record });
        each(dropped.collect(), |found| async move { self.drop_stream(&found).await }).await?;
        names.iter().for_each(|log| drop(logs.remove(*log)));
        Ok(())
    }

    /// Deletes what a record speaks of, and the record. Nobody uses that stream, or its name, from then on.
    async fn drop_stream(&self, found: &Found) -> Result<(), Failure> {
        self.api.delete_stream(&found.record.stream).await?;
        self.api.remove(&self.stream(), found.sequence).await
    }
}

#[derive(Clone, Copy)]
enum Change {
    Make,
    Delete,
}

/// Does something with each of these, several at once.
async fn each<T, F: Future<Output = Result<(), Failure>>>(
    all: Vec<T>,
    run: impl Fn(T) -> F,
) -> Result<(), Failure> {
    stream::iter(all).map(run).buffer_unordered(AT_ONCE).try_collect().await
}

fn place(tenure: &Tenure, found: &Found) -> Place {
    Place { stream: found.record.stream.clone(), is_own: found.record.epoch == tenure.epoch }
}

fn strange(error: serde_json::Error) -> Failure {
    Failure::Strange(error.to_string())
}

/// A name that nobody has had: of the time, in nanoseconds, and of chance; [`UNIQUE_LENGTH`] letters, digits, `-` and `_`.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&(now.as_nanos() as u64).to_be_bytes());
    bytes[8..].copy_from_slice(&fastrand::u32(..).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}
