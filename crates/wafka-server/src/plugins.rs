//! The plugins of this server: loads what the configuration names, and puts what they bring beside what is built in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use wafka_broker::Partitioners;
use wafka_core::partitioner::{CreateRequest, PartitionerError};
use wafka_core::storage::StorageFactory;
use wafka_plugin::{Plugin, PluginError};

use crate::backends::{BackendConfigError, StorageFactories};
use crate::config::{Config, DEFAULT_PARTITIONER};
use crate::engine::declared_specs;

/// Why the plugins cannot be used as the configuration says.
#[derive(Debug, Error)]
#[error("bad configuration{}: {reason}", of_file(file.as_deref()))]
pub struct PluginsError {
    /// The configuration's file, where there is one.
    file: Option<PathBuf>,
    /// The key, what was found and what was expected.
    reason: Reason,
}

fn of_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" in {}", file.display()))
}

#[derive(Debug, Error)]
enum Reason {
    /// One cannot be loaded.
    #[error("plugins: {0}")]
    Load(#[from] PluginError),
    /// Configuration and catalog mean one thing by a name.
    #[error(
        "plugins: plugin {file}: found the name '{name}', which is that of {taken_by}: expected every {kind} to have a \
         name of its own"
    )]
    NameTaken { kind: &'static str, name: String, file: String, taken_by: String },
    /// A topic of the configuration asks for a strategy or for options that there are not.
    #[error("{table}: {source}")]
    Topic { table: String, source: PartitionerError },
    /// The configuration names a backend that is not there, or an option that one does not have.
    #[error(transparent)]
    Backends(#[from] BackendConfigError),
}

impl Reason {
    fn with(self, config: &Config) -> PluginsError {
        PluginsError { file: config.file.clone(), reason: self }
    }
}

/// The plugins loaded, and all strategies and storage backends there are.
pub struct Plugins {
    all: Vec<Plugin>,
    partitioners: Partitioners,
    storages: StorageFactories,
}

impl Plugins {
    /// Loads the plugins that the configuration names, and looks for the strategies and storage backends that it names.
    ///
    /// # Errors
    /// When a plugin cannot be loaded, has the name of another one or of what is built in, or when a strategy or backend is
    /// not there.
    pub fn load(config: &Config) -> Result<Self, PluginsError> {
        Plugins::load_with(config, Vec::new())
    }

    /// As [`Plugins::load`], with storage backends that the program brings.
    ///
    /// # Errors
    /// As [`Plugins::load`].
    pub fn load_with(config: &Config, storages: Vec<Arc<dyn StorageFactory>>) -> Result<Self, PluginsError> {
        Plugins::try_load(config, storages).map_err(|reason| reason.with(config))
    }

    fn try_load(config: &Config, storages: Vec<Arc<dyn StorageFactory>>) -> Result<Self, Reason> {
        let mut plugins = Plugins {
            all: Vec::new(),
            partitioners: Partitioners::built_in(),
            storages: StorageFactories::built_in(),
        };
        for storage in storages {
            let name = storage.name().to_owned();
            if !plugins.storages.register(storage) {
                let taken_by = "what is built in".to_owned();
                return Err(Reason::NameTaken {
                    kind: "storage",
                    file: "of the program".to_owned(),
                    name,
                    taken_by,
                });
            }
        }
        for plugin in &config.plugins {
            plugins.add(wafka_plugin::load(&plugin.file())?)?;
        }
        plugins.storages.check(config)?;
        let defaults = config.topic_defaults.partitioner.as_deref().unwrap_or(DEFAULT_PARTITIONER);
        plugins.partitioners.get(defaults).map_err(of_table("topic_defaults".to_owned()))?;
        for (name, spec) in declared_specs(config) {
            plugins.partitioners.get(&spec.partitioner).map_err(of_table(format!("topics.{name}")))?;
        }
        Ok(plugins)
    }

    /// Makes the strategy of each topic that the configuration declares, as if the topic was new. What the defaults say
    /// may be of no use but together with a topic's own options, so it is not tried alone.
    ///
    /// At a start it is left to the engine: a topic that is there may have more partitions than a new one would.
    ///
    /// # Errors
    /// When a strategy refuses its options.
    pub fn check_topics(&self, config: &Config) -> Result<(), PluginsError> {
        for (name, spec) in declared_specs(config) {
            let partitions = spec.partitions.unwrap_or_else(|| config.server.broker_count());
            let request = CreateRequest { topic: name.as_bytes(), partitions, options: &spec.options };
            let made = self.partitioners.get(&spec.partitioner).and_then(|factory| factory.create(&request));
            made.map_err(of_table(format!("topics.{name}"))).map_err(|reason| reason.with(config))?;
        }
        Ok(())
    }

    /// The plugins, in the order in which the configuration names them.
    #[must_use]
    pub fn all(&self) -> &[Plugin] {
        &self.all
    }

    /// The strategies there are.
    #[must_use]
    pub fn partitioners(&self) -> &Partitioners {
        &self.partitioners
    }

    /// The storage backends there are.
    #[must_use]
    pub fn storages(&self) -> &StorageFactories {
        &self.storages
    }

    fn add(&mut self, plugin: Plugin) -> Result<(), Reason> {
        let info = plugin.info();
        let same = |other: &&Plugin| other.info().kind == info.kind && other.info().name == info.name;
        let other = self.all.iter().find(same).map(|other| format!("plugin {}", other.info().file.display()));
        let registered = other.is_none()
            && match (plugin.partitioner(), plugin.storage()) {
                (Some(partitioner), _) => self.partitioners.register(partitioner),
                (None, Some(storage)) => self.storages.register(storage),
                (None, None) => true,
            };
        if !registered {
            return Err(Reason::NameTaken {
                kind: info.kind.as_str(),
                name: info.name.clone(),
                file: info.file.display().to_string(),
                taken_by: other.unwrap_or_else(|| "what is built in".to_owned()),
            });
        }
        self.all.push(plugin);
        Ok(())
    }
}

fn of_table(table: String) -> impl FnOnce(PartitionerError) -> Reason {
    |source| Reason::Topic { table, source }
}
