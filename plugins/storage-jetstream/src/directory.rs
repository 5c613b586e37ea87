//! Which stream holds which log: a stream of its own, with one message for each log.
//!
//! A stream's name is never used twice, as an engine was seen to bring records back in a stream that was made again
//! under the name of a deleted one. So a log that is made gets a stream with a new name, and its record here says which.
//! A record replaces exactly the one that was looked at before, or nothing: of two who make a log, one is refused. It
//! is written before the stream is made and again after it, and before the stream is deleted: what a crash left
//! half-made or half-deleted is known by its record, and nothing is ever deleted because nobody knows of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wafka_core::Database;
use wafka_core::storage::LogName;

use crate::api::{Api, Failure, NewStream};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    database: u16,
    stem: String,
    stream: String,
    stage: Stage,
}

/// A record as it is stored.
struct Found {
    sequence: u64,
    record: Record,
}

/// Finds, makes and deletes the streams of logs.
pub(crate) struct Directory {
    api: Api,
    prefix: String,
    replicas: u8,
}

impl Directory {
    /// The directory, made if it is missing. Ends what a crash left half-done.
    pub(crate) async fn open(api: Api, prefix: String, replicas: u8) -> Result<Self, Failure> {
        let directory = Directory { api, prefix, replicas };
        let name = directory.stream();
        // With fewer replicas than are asked for now it stays as it is.
        if directory.api.stream(&name).await?.is_none() {
            let subjects = [format!("{}.names.*", directory.prefix)];
            let stream = NewStream {
                name: &name,
                subjects: &subjects,
                num_replicas: replicas,
                max_msgs_per_subject: 1,
                allow_direct: false,
                metadata: json!({ "wafka": "names" }),
            };
            directory.api.make_stream(&name, &stream.config()).await?;
        }
        for found in directory.all().await? {
            if found.record.stage != Stage::Made {
                directory.drop_stream(&found).await?;
            }
        }
        Ok(directory)
    }

    fn stream(&self) -> String {
        format!("{}-names", self.prefix)
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

    async fn record(&self, log: &LogName) -> Result<Option<Found>, Failure> {
        let stored = self.api.last_on(&self.stream(), &self.subject(log)).await?;
        stored.map(|stored| found(stored.sequence, &stored.data)).transpose()
    }

    /// Every record there is.
    async fn all(&self) -> Result<Vec<Found>, Failure> {
        let stream = self.stream();
        self.api.agree(&stream).await?;
        let missing = || Failure::Strange(format!("the stream {stream} is gone"));
        let last = self.api.stream(&stream).await?.ok_or_else(missing)?.state.last_seq;
        let (mut all, mut next) = (Vec::new(), 1);
        while next <= last {
            let Some(stored) = self.api.at_or_behind(&stream, next, ">").await? else { break };
            next = stored.sequence + 1;
            all.push(found(stored.sequence, &stored.data)?);
        }
        Ok(all)
    }

    /// All logs.
    pub(crate) async fn list(&self) -> Result<Vec<LogName>, Failure> {
        let all = self.all().await?;
        let made = all.into_iter().filter(|found| found.record.stage == Stage::Made);
        Ok(made.map(|found| LogName::new(Database(found.record.database), &found.record.stem)).collect())
    }

    /// The stream that holds a log.
    pub(crate) async fn find(&self, log: &LogName) -> Result<Option<String>, Failure> {
        let found = self.record(log).await?.filter(|found| found.record.stage == Stage::Made);
        Ok(found.map(|found| found.record.stream))
    }

    /// Makes a log, unless it is there; returns its stream.
    pub(crate) async fn make(&self, log: &LogName) -> Result<String, Failure> {
        let before = match self.record(log).await? {
            Some(found) if found.record.stage == Stage::Made => return Ok(found.record.stream),
            Some(found) => {
                self.drop_stream(&found).await?;
                0
            }
            None => 0,
        };
        let stream = format!("{}-{}", self.prefix, new_name());
        let (database, stem) = (log.database().0, log.stem().to_owned());
        let making = Record { database, stem, stream: stream.clone(), stage: Stage::Making };
        let noted = self.write(log, before, &making).await?;
        let subjects = [format!("{}.*", self.subject_of(&stream))];
        let config = NewStream {
            name: &stream,
            subjects: &subjects,
            num_replicas: self.replicas,
            max_msgs_per_subject: -1,
            allow_direct: true,
            metadata: json!({ "wafka": log.to_string() }),
        };
        self.api.make_stream(&stream, &config.config()).await?;
        self.write(log, noted, &Record { stage: Stage::Made, ..making }).await?;
        Ok(stream)
    }

    /// What the subjects of a log's stream begin with.
    pub(crate) fn subject_of(&self, stream: &str) -> String {
        format!("{}.log.{stream}", self.prefix)
    }

    /// Deletes a log, if it is there.
    pub(crate) async fn delete(&self, log: &LogName) -> Result<(), Failure> {
        let Some(Found { sequence, record }) = self.record(log).await? else { return Ok(()) };
        let record = Record { stage: Stage::Deleting, ..record };
        let sequence = self.write(log, sequence, &record).await?;
        self.drop_stream(&Found { sequence, record }).await
    }

    async fn drop_stream(&self, found: &Found) -> Result<(), Failure> {
        self.api.delete_stream(&found.record.stream).await?;
        self.api.remove(&self.stream(), found.sequence).await
    }

    /// Writes a record in the place of another one, or of none; returns its sequence.
    async fn write(&self, log: &LogName, before: u64, record: &Record) -> Result<u64, Failure> {
        let body = serde_json::to_vec(record).map_err(|error| Failure::Strange(error.to_string()))?;
        let written = self.api.replace(self.subject(log), before, Bytes::from(body)).await;
        match written {
            // It was sent again because its answer did not come: then it is there.
            Err(refused) if refused.is_wrong_last() => match self.record(log).await? {
                Some(found) if found.record.stream == record.stream && found.record.stage == record.stage => {
                    Ok(found.sequence)
                }
                _ => Err(refused),
            },
            other => other,
        }
    }
}

fn found(sequence: u64, data: &[u8]) -> Result<Found, Failure> {
    let record = serde_json::from_slice(data)
        .map_err(|error| Failure::Strange(format!("record {sequence} of the names: {error}")))?;
    Ok(Found { sequence, record })
}

/// A name that nobody has had: of the time, in nanoseconds, and of chance.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    format!("{:016x}{:016x}", now.as_nanos() as u64, fastrand::u64(..))
}
