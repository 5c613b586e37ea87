//! What a stream must be, so that it keeps what was acknowledged, takes what is sent and removes what is to go.

use serde::Deserialize;
use serde_json::Value;

/// What of a stream's configuration must hold.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamConfig {
    pub storage: String,
    pub retention: String,
    #[serde(default)]
    pub max_msgs: i64,
    #[serde(default)]
    pub max_bytes: i64,
    #[serde(default)]
    pub max_age: i64,
    #[serde(default)]
    pub max_msgs_per_subject: i64,
    #[serde(default)]
    pub max_msg_size: i64,
    /// Whether any replica may be asked for messages.
    #[serde(default)]
    pub allow_direct: bool,
    pub num_replicas: u8,
    /// Whether it takes batches.
    #[serde(default)]
    pub allow_atomic: bool,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    deny_purge: bool,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    no_ack: bool,
    #[serde(default)]
    persist_mode: String,
    #[serde(default)]
    mirror: Value,
    #[serde(default)]
    sources: Value,
    #[serde(default)]
    subject_transform: Value,
}

impl StreamConfig {
    /// Makes sure that nothing goes from a log's stream by itself, that nobody else's messages come, and that what is to be
    /// removed can be. Says what is wrong, else.
    pub(crate) fn check_keeps(&self, stream: &str) -> Result<(), String> {
        let limits = [
            ("max_msgs", self.max_msgs),
            ("max_bytes", self.max_bytes),
            ("max_age", self.max_age),
            ("max_msgs_per_subject", self.max_msgs_per_subject),
            ("max_msg_size", self.max_msg_size),
        ];
        if let Some((limit, value)) = limits.into_iter().find(|(_, value)| *value > 0) {
            return Err(format!("its stream {stream} was given {limit} = {value}, expected no limit"));
        }
        if self.storage != "file" || self.retention != "limits" {
            let (storage, retention) = (&self.storage, &self.retention);
            return Err(format!(
                "its stream {stream} has storage {storage} and retention {retention}, expected file and limits"
            ));
        }
        // With `async` a message is acknowledged before it is written, and removals that are refused look like done ones.
        let switches = [
            ("deny_delete", self.deny_delete),
            ("deny_purge", self.deny_purge),
            ("sealed", self.sealed),
            ("no_ack", self.no_ack),
            ("persist_mode: async", self.persist_mode == "async"),
            ("mirror", !is_empty(&self.mirror)),
            ("sources", !is_empty(&self.sources)),
            ("subject_transform", !is_empty(&self.subject_transform)),
        ];
        match switches.into_iter().find(|(_, is_on)| *is_on) {
            Some((switch, _)) => {
                Err(format!("its stream {stream} was given {switch}, expected none of that"))
            }
            None => Ok(()),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(option: &str, value: &Value) -> Result<(), String> {
        let mut config =
            json!({ "storage": "file", "retention": "limits", "num_replicas": 3, "max_msgs": -1 });
        config[option] = value.clone();
        serde_json::from_value::<StreamConfig>(config).expect("a configuration").check_keeps("s")
    }

    #[test]
    fn what_loses_or_refuses_is_told() {
        for (option, fine, wrong) in [
            ("storage", json!("file"), json!("memory")),
            ("retention", json!("limits"), json!("workqueue")),
            ("max_age", json!(0), json!(1_000_000_000)),
            ("max_msgs_per_subject", json!(-1), json!(5)),
            ("max_msg_size", json!(-1), json!(1_000)),
            ("deny_delete", json!(false), json!(true)),
            ("deny_purge", json!(false), json!(true)),
            ("sealed", json!(false), json!(true)),
            ("no_ack", json!(false), json!(true)),
            ("persist_mode", json!("default"), json!("async")),
            ("mirror", Value::Null, json!({ "name": "other" })),
            ("sources", json!([]), json!([{ "name": "other" }])),
            ("subject_transform", Value::Null, json!({ "src": "a", "dest": "b" })),
        ] {
            assert_eq!(check(option, &fine), Ok(()), "{option} = {fine}");
            let told = check(option, &wrong).expect_err(option);
            assert!(told.contains(option), "{told}");
        }
    }
}
