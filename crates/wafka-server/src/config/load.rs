//! Puts the configuration together from its sources, and says exactly what is wrong with one.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use config::{Environment, File, FileFormat};
use thiserror::Error;

use super::{Config, check};

/// What the environment's variables for the configuration begin with.
const PREFIX: &str = "WAFKA_";

/// Where the configuration comes from, beside the defaults.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment's variables; those that do not begin with `WAFKA_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Options of the command line, the last of a key winning.
    pub overrides: Vec<Override>,
}

/// A value given on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// The option, for errors: `--port`.
    option: String,
    /// A line of TOML.
    toml: String,
    /// The line with the value as a string, where that is another one: for a key that takes only strings.
    as_string: Option<String>,
}

/// Why there is no valid configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown or has a bad value, or the text is no TOML.
    #[error("bad configuration in {origin}: {reason}")]
    Invalid {
        /// The file, `the environment`, or the option of the command line.
        origin: String,
        /// The key, what was found and what was expected.
        reason: String,
    },
    /// Values that each are valid do not fit together.
    #[error("bad configuration: {reason}")]
    Conflict {
        /// The keys, what was found and what was expected.
        reason: String,
    },
    /// `--set` without a key and a value.
    #[error(
        "bad option '--set {text}': expected section.key=value, for example --set storage.fsync=everysec"
    )]
    Set {
        /// What was given.
        text: String,
    },
}

impl Override {
    /// The value that an option of its own sets: `--port 7000` is `server.port`.
    #[must_use]
    pub fn option(option: &str, key: &str, value: &str) -> Self {
        Override::new(option.to_owned(), key, value)
    }

    /// The text that an option of its own sets, as it stands: `--data-dir 7` is `server.data_dir`.
    #[must_use]
    pub fn text(option: &str, key: &str, value: &str) -> Self {
        let toml = format!("{key} = {}", toml::Value::String(value.to_owned()));
        Override { option: option.to_owned(), toml, as_string: None }
    }

    /// The value is TOML where the key takes it, else a string.
    fn new(option: String, key: &str, value: &str) -> Self {
        let string = format!("{key} = {}", toml::Value::String(value.to_owned()));
        let plain = format!("{key} = {value}");
        let is_toml = !value.contains(['\n', '\r']) && plain.parse::<toml::Table>().is_ok();
        if is_toml {
            Override { option, toml: plain, as_string: Some(string) }
        } else {
            Override { option, toml: string, as_string: None }
        }
    }

    /// The line that fits the key.
    fn checked(&self) -> Result<&str, ConfigError> {
        match (check_toml(&self.option, &self.toml), &self.as_string) {
            (Ok(()), _) => Ok(&self.toml),
            // A directory or a password may well look like a number.
            (Err(_), Some(string)) if check_toml(&self.option, string).is_ok() => Ok(string),
            (Err(error), _) => Err(error),
        }
    }

    /// The value that `--set section.key=value` sets. The value is TOML where the key takes it, else a string.
    ///
    /// # Errors
    /// When the text has no `=` or no key before it.
    pub fn set(text: &str) -> Result<Self, ConfigError> {
        let error = || ConfigError::Set { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(error)?;
        let set = Override::new(format!("--set {text}"), key.trim(), value.trim());
        // With a section at least: a lone key would be read as one more section.
        let parsed: toml::Table = set.toml.parse().map_err(|_| error())?;
        if parsed.len() != 1 || !parsed.values().all(toml::Value::is_table) {
            return Err(error());
        }
        Ok(set)
    }
}

/// Reads and checks all sources: defaults < file < environment < command line.
///
/// # Errors
/// When a source cannot be read, has an unknown key or a bad value, or values do not fit together.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(path) = &sources.file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        check_toml(&path.display().to_string(), &text)?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = environment(&sources.environment);
    check_environment(&environment)?;
    builder = builder.add_source(environment);
    for value in &sources.overrides {
        builder = builder.add_source(File::from_str(value.checked()?, FileFormat::Toml));
    }
    let merged = builder.build().and_then(config::Config::try_deserialize::<Config>);
    // Each source was read on its own before, so what is wrong now lies in their combination.
    let mut config = merged.map_err(|error| ConfigError::Conflict { reason: error.to_string() })?;
    config.file.clone_from(&sources.file);
    check::together(&config).map_err(|reason| ConfigError::Conflict { reason })?;
    Ok(config)
}

/// Checks a source of TOML on its own, so that an error names it and the line.
fn check_toml(origin: &str, text: &str) -> Result<(), ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid { origin: origin.to_owned(), reason };
    let config: Config =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    check::alone(&config).map_err(|error| invalid(error.to_string()))
}

/// The variables of the configuration as a source.
fn environment(variables: &[(String, String)]) -> Environment {
    let ours: HashMap<String, String> =
        variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).cloned().collect();
    Environment::with_prefix("WAFKA").prefix_separator("_").separator("__").source(Some(ours))
}

/// Checks the environment on its own, so that an error names it.
fn check_environment(environment: &Environment) -> Result<(), ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        origin: "the environment".to_owned(),
        reason: format!(
            "{reason} (variables are named WAFKA_<SECTION>__<KEY>, with two underscores between)"
        ),
    };
    let built = config::Config::builder().add_source(environment.clone()).build();
    let config: Config =
        built.and_then(config::Config::try_deserialize).map_err(|error| invalid(error.to_string()))?;
    check::alone(&config).map_err(|error| invalid(error.to_string()))
}
