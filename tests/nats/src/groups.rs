//! Who leads, and whether everybody has everything.

use std::time::Instant;

use serde_json::Value;

use crate::cluster::{Cluster, SYSTEM, USER};
use crate::error::NatsError;

/// Streams asked for by one request; the servers give no more.
const STREAMS_MAX: usize = 1024;

impl Cluster {
    /// The names of streams that begin like this, in their order.
    ///
    /// # Errors
    /// Nobody tells in time.
    pub fn streams(&self, prefix: &str) -> Result<Vec<String>, NatsError> {
        let mut names: Vec<String> = Vec::new();
        let mut offset = 0;
        loop {
            let page = self.until_answered("$JS.API.STREAM.NAMES", &format!("{{\"offset\":{offset}}}"))?;
            let found: Vec<&str> =
                page["streams"].as_array().into_iter().flatten().flat_map(Value::as_str).collect();
            names.extend(found.iter().filter(|name| name.starts_with(prefix)).map(|name| (*name).to_owned()));
            offset += found.len();
            if found.len() < STREAMS_MAX {
                names.sort();
                return Ok(names);
            }
        }
    }

    /// The server that leads a stream; one alone leads all of its own.
    ///
    /// # Errors
    /// None does in time.
    pub fn leader(&self, stream: &str) -> Result<usize, NatsError> {
        if self.len() == 1 {
            return Ok(0);
        }
        let begun = Instant::now();
        loop {
            let info = self.until_answered(&format!("$JS.API.STREAM.INFO.{stream}"), "")?;
            let leader = info["cluster"]["leader"].as_str();
            if let Some(leader) = leader.and_then(|name| name.strip_prefix('n')?.parse().ok()) {
                return Ok(leader);
            }
            self.wait_a_little(begun, || format!("a leader of {stream}: {info}"))?;
        }
    }

    /// Waits until every server has everything of these streams again, and knows of all streams: the servers promise to
    /// go on without one of three, not without one that is dead and one that is still catching up.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_until_whole(&self, streams: &[String]) -> Result<(), NatsError> {
        if self.len() == 1 {
            return Ok(());
        }
        let begun = Instant::now();
        while let Err(state) = self.is_group_whole() {
            self.wait_a_little(begun, || format!("servers that know of all streams: {state}"))?;
        }
        for stream in streams {
            loop {
                let info = self.until_answered(&format!("$JS.API.STREAM.INFO.{stream}"), "")?;
                if self.has_all_replicas(&info["cluster"]) {
                    break;
                }
                self.wait_a_little(begun, || format!("replicas of {stream} that have all of it: {info}"))?;
            }
        }
        Ok(())
    }

    /// Whether all servers follow the leader that places streams; else how that stands.
    pub(crate) fn is_group_whole(&self) -> Result<(), String> {
        let answer = self.ask(SYSTEM, "$SYS.REQ.SERVER.PING.JSZ", r#"{"leader_only":true}"#);
        let answer = answer.map_err(|error| error.to_string())?;
        let group = &answer["data"]["meta_cluster"];
        if self.has_all_replicas(group) { Ok(()) } else { Err(group.to_string()) }
    }

    fn has_all_replicas(&self, group: &Value) -> bool {
        let replicas = group["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let is_current = |replica: &Value| replica["current"] == true && replica["offline"] != true;
        replicas.len() + 1 == self.len() && replicas.iter().all(is_current)
    }

    /// Asks as JetStream's user until there is an answer that is not an error.
    fn until_answered(&self, subject: &str, body: &str) -> Result<Value, NatsError> {
        let begun = Instant::now();
        loop {
            let reason = match self.ask(USER, subject, body) {
                Ok(answer) if answer["error"].is_null() => return Ok(answer),
                Ok(answer) => answer["error"].to_string(),
                Err(error) => error.to_string(),
            };
            self.wait_a_little(begun, || format!("an answer on {subject}: {reason}"))?;
        }
    }
}
