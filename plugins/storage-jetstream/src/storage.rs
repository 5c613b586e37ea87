//! The backend as a whole: lists, makes and deletes logs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use wafka_core::BrokerId;
use wafka_core::storage::{LogName, Shard, Storage, StorageError};

use crate::NAME;
use crate::api::Failure;
use crate::home::{Home, failed};
use crate::io_error;
use crate::options::Options;
use crate::shard::JetStreamShard;

/// So many streams are made or deleted at once.
const AT_ONCE: usize = 16;

/// The backend: each log is a stream.
pub struct JetStreamStorage {
    home: Arc<Home>,
}

/// Connects to the engine. Nothing is kept in the data directory.
///
/// # Errors
/// When an option is missing or has a bad value, the servers do not sync before they acknowledge and nobody said that
/// this is accepted, or the engine does not answer.
pub fn open(_data_dir: &Path, options: Options) -> Result<JetStreamStorage, StorageError> {
    options.check()?;
    Ok(JetStreamStorage { home: Arc::new(Home::open(options)?) })
}

impl JetStreamStorage {
    /// What all parts share.
    #[cfg(test)]
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Does something with each of these logs, several at once.
    fn each<'a, F: Future<Output = Result<(), Failure>>>(
        &self,
        names: &'a [LogName],
        operation: &'static str,
        run: impl Fn(&'a LogName) -> F,
    ) -> Result<(), StorageError> {
        let mut distinct: Vec<&LogName> = names.iter().collect();
        distinct.sort();
        distinct.dedup();
        self.home.block_on(async {
            let runs = stream::iter(distinct).map(|name| {
                let running = run(name);
                async move { running.await.map_err(|failure| failed(&name.to_string(), operation, failure)) }
            });
            let mut runs = runs.buffer_unordered(AT_ONCE);
            while let Some(done) = runs.next().await {
                done?;
            }
            Ok(())
        })
    }
}

impl Storage for JetStreamStorage {
    fn name(&self) -> &str {
        NAME
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let listed = self.home.block_on(self.home.directory.list());
        listed.map_err(|failure| failed("the names of the logs", "list", failure))
    }

    fn create(&self, names: &[LogName]) -> Result<(), StorageError> {
        let directory = &self.home.directory;
        self.each(names, "create", |name| async move { directory.make(name).await.map(drop) })
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(JetStreamShard::new(Arc::clone(&self.home))))
    }

    fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        {
            let mut logs = home.logs.lock();
            for name in names {
                if logs.get(name).is_some_and(|log| log.state.lock().open) {
                    let source = io::Error::new(io::ErrorKind::ResourceBusy, "the log is open");
                    return Err(io_error(&name.to_string(), "delete", source));
                }
            }
            for name in names {
                if let Some(log) = logs.remove(name) {
                    home.forget(&log);
                }
            }
        }
        self.each(names, "delete", |name| home.directory.delete(name))
    }
}
