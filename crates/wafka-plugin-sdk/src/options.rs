//! Options: what the configuration says, as the plugin's own type.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// What stands for all options, where an error is about no single one.
const ALL: &str = "options";

/// An option is missing, unknown or has a bad value.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("option '{option}': {expected}")]
pub struct OptionsError {
    option: String,
    expected: String,
}

impl OptionsError {
    /// The option's key, and what was expected of it and found.
    #[must_use]
    pub fn new(option: impl Into<String>, expected: impl Into<String>) -> Self {
        OptionsError { option: option.into(), expected: expected.into() }
    }

    /// The option's key.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }

    /// What was expected of it.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    fn of_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let reason = without_position(&error.inner().to_string());
        let path = error.path().to_string();
        // Keys that are missing or unknown are named by the reason, in serde's words; the path then leads to the table.
        let table = if path == "." { String::new() } else { format!("{path}.") };
        for (beginning, words) in [("missing field `", "missing"), ("unknown field `", "unknown")] {
            if let Some((key, rest)) = reason.strip_prefix(beginning).and_then(|rest| rest.split_once('`')) {
                let table = table.strip_suffix(&format!("{key}.")).unwrap_or(&table);
                return OptionsError::new(format!("{table}{key}"), format!("{words}{rest}"));
            }
        }
        OptionsError::new(if path == "." { ALL.to_owned() } else { path }, reason)
    }
}

/// The name of a field, as the type of an option: any text but the empty one, which is refused.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldName(String);

impl FieldName {
    /// The name.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as [`Event::get`](crate::Event::get) takes it.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for FieldName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() {
            return Err("found an empty name, expected that of a field");
        }
        Ok(FieldName(name))
    }
}

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in the JSON text an error is helps nobody: the options were written in another form.
fn without_position(reason: &str) -> String {
    reason.rsplit_once(" at line ").map_or(reason, |(reason, _)| reason).to_owned()
}

/// Deserialises options from the host's JSON.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, OptionsError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| OptionsError::of_serde(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[expect(dead_code, reason = "only its presence matters")]
        partition_key: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only its type matters")]
        weights: Vec<f64>,
        #[serde(default)]
        #[expect(dead_code, reason = "only its type matters")]
        inner: Inner,
    }

    #[derive(serde::Deserialize, Debug, Default)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters")]
        depth: u8,
    }

    #[test]
    fn errors_name_the_option() {
        for (json, option, expected) in [
            ("{}", "partition_key", "missing"),
            (r#"{"partition_kex":"a"}"#, "partition_kex", "unknown, expected one of `partition_key`"),
            (r#"{"partition_key":7}"#, "partition_key", "invalid type: integer `7`, expected a string"),
            (
                r#"{"partition_key":"a","weights":[1,"b"]}"#,
                "weights[1]",
                r#"invalid type: string "b", expected f64"#,
            ),
            (r#"{"partition_key":"a","inner":{}}"#, "inner.depth", "missing"),
            (r#"{"partition_key":"a","inner":{"x":1}}"#, "inner.x", "unknown, expected `depth`"),
            (r#"{"partition_key":"a","inner":{"depth":300}}"#, "inner.depth", "invalid value"),
            ("7", "options", "invalid type: integer `7`"),
        ] {
            let error = parse::<Options>(json.as_bytes()).unwrap_err();
            assert_eq!(error.option(), option, "{json}: {error}");
            assert!(error.expected().starts_with(expected), "{json}: {error}");
            assert!(!error.to_string().contains(" line "), "{json}: {error}");
        }
        assert!(parse::<Options>(br#"{"partition_key":"a"}"#).is_ok());
    }

    #[test]
    fn a_field_has_a_name() {
        #[derive(Deserialize, Debug)]
        struct Fields {
            partition_key: FieldName,
            other: Option<FieldName>,
        }
        for (json, option) in
            [(r#"{"partition_key":""}"#, "partition_key"), (r#"{"partition_key":"a","other":""}"#, "other")]
        {
            let error = parse::<Fields>(json.as_bytes()).unwrap_err();
            assert_eq!(error.option(), option, "{error}");
            assert_eq!(error.expected(), "found an empty name, expected that of a field");
        }
        let fields = parse::<Fields>(br#"{"partition_key":" a"}"#).unwrap();
        assert_eq!((fields.partition_key.as_bytes(), fields.other), (&b" a"[..], None));
        assert_eq!(fields.partition_key.to_string(), fields.partition_key.as_str());
    }
}
