//! How the engine's answers look.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::Failure;
use crate::keeps::StreamConfig;

/// Too few servers for the replicas: those that were just started are counted by and by.
const NO_PEERS: u64 = 10_005;

/// An error in an answer.
#[derive(Debug, Deserialize)]
struct ApiError {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl ApiError {
    /// The engine is there and has, for now, no leader or no time: it is asked again.
    fn is_passing(&self) -> bool {
        self.code == 503 || self.code == 429 || self.err_code == NO_PEERS
    }
}

/// A stream.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub config: StreamConfig,
    pub state: StreamState,
    pub cluster: Option<Cluster>,
    /// When its leader said so.
    #[serde(default)]
    pub ts: String,
}

impl StreamInfo {
    /// The name of the server that leads it, if it is one of several, and has a leader.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.cluster.as_ref()?.leader.as_deref().filter(|leader| !leader.is_empty())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    pub leader: Option<String>,
}

/// What a stream holds.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    #[serde(default)]
    pub first_seq: u64,
    pub last_seq: u64,
    /// How many messages each of the subjects has that were asked about.
    #[serde(default)]
    pub subjects: HashMap<String, u64>,
}

/// A stored message.
#[derive(Debug)]
pub(crate) struct Stored {
    pub sequence: u64,
    pub subject: String,
    /// When the stream's leader took it, by its clock; empty where that was not asked for.
    pub time: String,
    pub data: Bytes,
}

#[derive(Deserialize)]
pub(crate) struct StoredAnswer {
    pub(crate) message: StoredMessage,
}

#[derive(Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) time: String,
    #[serde(default)]
    pub(crate) data: String,
}

/// The acknowledgement of a published message.
#[derive(Deserialize)]
pub(crate) struct Acknowledged {
    pub seq: u64,
}

/// An answer that says to ask again.
pub(crate) struct Passing(pub(crate) String);

/// What an answer says.
pub(crate) fn understand<T: DeserializeOwned>(answer: &Message) -> Result<Result<T, Failure>, Passing> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Passing("nobody answers for it".into()));
    }
    #[derive(Deserialize)]
    struct MayFail {
        error: Option<ApiError>,
    }
    let strange = |error: serde_json::Error| Failure::Strange(error.to_string());
    match serde_json::from_slice::<MayFail>(&answer.payload) {
        Ok(MayFail { error: Some(error) }) if error.is_passing() => Err(Passing(error.description)),
        Ok(MayFail { error: Some(error) }) => {
            Ok(Err(Failure::Refused { code: error.err_code, description: error.description }))
        }
        Ok(MayFail { error: None }) => Ok(serde_json::from_slice(&answer.payload).map_err(strange)),
        Err(error) => Ok(Err(strange(error))),
    }
}

/// The sequence that an acknowledgement names, that of a batch's last message, or what it says instead.
pub(crate) fn acknowledged(answer: &Message) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Acknowledgement {
        seq: Option<u64>,
        error: Option<ApiError>,
    }
    let silence = |last: String| Failure::Silence { waited: Duration::ZERO, last };
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(silence("nobody answers for it".into()));
    }
    match serde_json::from_slice(&answer.payload) {
        Ok(Acknowledgement { error: Some(error), .. }) if error.is_passing() => {
            Err(silence(error.description))
        }
        Ok(Acknowledgement { error: Some(error), .. }) => {
            Err(Failure::Refused { code: error.err_code, description: error.description })
        }
        Ok(Acknowledgement { seq: Some(seq), .. }) => Ok(seq),
        Ok(_) => Err(Failure::Strange("neither a sequence nor an error".into())),
        Err(error) => Err(Failure::Strange(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_asked_again() {
        for (code, err_code, passes) in
            [(503, 10_008, true), (429, 0, true), (400, NO_PEERS, true), (400, 10_071, false)]
        {
            let error = ApiError { code, err_code, description: String::new() };
            assert_eq!(error.is_passing(), passes, "{error:?}");
        }
    }
}
