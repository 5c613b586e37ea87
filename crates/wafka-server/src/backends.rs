//! The storage backends that the configuration may name, built in or loaded, and opening those that it does name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use wafka_broker::{BackendSource, Backends};
use wafka_core::storage::{Options, Owner, StorageError, StorageFactory};
use wafka_storage::{MemoryFactory, TextFactory};

use crate::config::Config;

/// What opens each backend, by its name.
#[derive(Clone)]
pub struct StorageFactories {
    by_name: BTreeMap<String, Arc<dyn StorageFactory>>,
}

/// A key of the configuration about a backend that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{key}: found {found}{wrong}")]
pub struct BackendConfigError {
    key: String,
    found: String,
    /// What was expected, or what the backend says of it.
    wrong: String,
}

impl StorageFactories {
    /// `text` and `memory`.
    #[must_use]
    pub fn built_in() -> Self {
        let all: [Arc<dyn StorageFactory>; 2] = [Arc::new(TextFactory), Arc::new(MemoryFactory)];
        let by_name = all.into_iter().map(|factory| (factory.name().to_owned(), factory));
        StorageFactories { by_name: by_name.collect() }
    }

    /// Adds a backend. `false` when its name is taken: nothing changes then.
    #[must_use = "a name that is taken must be refused"]
    pub fn register(&mut self, factory: Arc<dyn StorageFactory>) -> bool {
        let is_free = !self.by_name.contains_key(factory.name());
        if is_free {
            self.by_name.insert(factory.name().to_owned(), factory);
        }
        is_free
    }

    /// The names there are, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Checks what the configuration says about backends, as far as that can be done without opening one.
    ///
    /// # Errors
    /// The first key that names a backend which is not there, or an option that its backend does not know.
    pub fn check(&self, config: &Config) -> Result<(), BackendConfigError> {
        for (key, name) in named(config) {
            if !self.by_name.contains_key(name) {
                return Err(BackendConfigError {
                    key,
                    found: format!("'{name}'"),
                    wrong: format!(
                        ", expected one of {} (others come from [[plugins]])",
                        self.names().collect::<Vec<_>>().join(", ")
                    ),
                });
            }
        }
        for (name, factory) in &self.by_name {
            factory.check(&options(config, name)).map_err(|error| option_error(name, config, &error))?;
        }
        Ok(())
    }

    /// Opens the default backend, and every other one that the configuration names, unless others reach the data of the
    /// default one: a standby leaves them alone. The rest is opened when a topic needs it.
    ///
    /// # Errors
    /// When one of them does not open.
    pub(crate) fn open(
        &self,
        config: &Config,
        data_dir: &Path,
        me: &Owner,
    ) -> Result<Backends, StorageError> {
        let default = &config.storage.backend;
        let unknown = || StorageError::Unavailable {
            backend: default.clone(),
            reason: format!("expected one of {}", self.names().collect::<Vec<_>>().join(", ")),
        };
        let storage =
            self.by_name.get(default).ok_or_else(unknown)?.open(data_dir, &options(config, default))?;
        let others = self.by_name.iter().filter(|(name, _)| *name != default);
        let others = others.map(|(name, factory)| BackendSource {
            factory: Arc::clone(factory),
            data_dir: data_dir.to_owned(),
            options: options(config, name),
        });
        let backends = Backends::of(me.clone(), default, storage, others)?;
        if backends.ownership().is_none() {
            for name in wanted(config) {
                backends.open_if_ours(name)?;
            }
        }
        Ok(backends)
    }
}

/// The backends that the configuration names.
pub(crate) fn wanted(config: &Config) -> BTreeSet<&str> {
    named(config).map(|(_, name)| name).collect()
}

/// Every backend that the configuration names, with the key that does.
fn named(config: &Config) -> impl Iterator<Item = (String, &str)> {
    let default = [("storage.backend".to_owned(), config.storage.backend.as_str())];
    let tables = config.backends.keys().map(|name| (format!("backends.{name}"), name.as_str()));
    let topics = config.topics.iter().map(|(name, topic)| (format!("topics.{name}.backend"), topic));
    let topics = [("topic_defaults.backend".to_owned(), &config.topic_defaults)].into_iter().chain(topics);
    let of_topics = topics.filter_map(|(key, topic)| Some((key, topic.backend.as_deref()?)));
    default.into_iter().chain(tables).chain(of_topics)
}

fn options(config: &Config, backend: &str) -> Options {
    config.backends.get(backend).cloned().unwrap_or_default()
}

fn option_error(backend: &str, config: &Config, error: &StorageError) -> BackendConfigError {
    let (key, found, wrong) = match error {
        StorageError::BadOption { option, expected, .. } => {
            let found =
                options(config, backend).get(option).map_or("nothing".to_owned(), ToString::to_string);
            (format!("backends.{backend}.{option}"), found, expected.clone())
        }
        error => (format!("backends.{backend}"), "options that it refuses".to_owned(), error.to_string()),
    };
    BackendConfigError { key, found, wrong: format!(": {wrong}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Config {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let all = StorageFactories::built_in();
        let error = |toml: &str| all.check(&config(toml)).unwrap_err().to_string();
        let known = "expected one of memory, text (others come from [[plugins]])";
        for (toml, key) in [
            ("[storage]\nbackend = \"sqlite\"", "storage.backend: found 'sqlite'"),
            ("[topic_defaults]\nbackend = \"x\"", "topic_defaults.backend: found 'x'"),
            ("[topics.t]\nbackend = \"x\"", "topics.t.backend: found 'x'"),
            ("[backends.x]", "backends.x: found 'x'"),
        ] {
            assert_eq!(error(toml), format!("{key}, {known}"));
        }
        assert_eq!(
            error("[backends.memory]\nsize = 7"),
            "backends.memory.size: found 7: unknown, this backend has no options"
        );
        all.check(&config("[storage]\nbackend = \"memory\"\n[topics.t]\nbackend = \"text\"")).unwrap();
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut all = StorageFactories::built_in();
        assert!(!all.register(Arc::new(MemoryFactory)));
        assert_eq!(all.names().collect::<Vec<_>>(), ["memory", "text"]);
    }
}
