//! The backend as a whole: lists, makes and deletes logs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use wafka_core::BrokerId;
use wafka_core::storage::{LogName, Ownership, Shard, Storage, StorageError};

use crate::NAME;
use crate::home::{Home, failed_as_owner};
use crate::io_error;
use crate::lease::JetStreamLease;
use crate::options::Options;
use crate::shard::JetStreamShard;

/// What errors call all logs together.
const NAMES: &str = "the names of the logs";

/// The backend: each log is a stream.
pub struct JetStreamStorage {
    home: Arc<Home>,
    lease: Arc<JetStreamLease>,
}

/// Connects to the engine. Nothing is kept in the data directory.
///
/// # Errors
/// When an option is missing or has a bad value, the servers do not sync before they acknowledge and nobody said that
/// this is accepted, or the engine does not answer.
pub fn open(_data_dir: &Path, options: Options) -> Result<JetStreamStorage, StorageError> {
    options.check()?;
    let home = Arc::new(Home::open(options)?);
    let lease = Arc::new(JetStreamLease::new(&home)?);
    Ok(JetStreamStorage { home, lease })
}

impl JetStreamStorage {
    /// What all parts share.
    #[cfg(test)]
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }
}

impl Storage for JetStreamStorage {
    fn name(&self) -> &str {
        NAME
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let tenure = self.home.tenure(NAMES)?;
        let listed = self.home.block_on(self.home.directory.list(&tenure));
        let listed = listed.map_err(|failure| failed_as_owner(&tenure, NAMES, "list", failure))?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    fn create(&self, names: &[LogName]) -> Result<(), StorageError> {
        let tenure = self.home.tenure(NAMES)?;
        let made = self.home.block_on(self.home.directory.make(&tenure, names));
        made.map_err(|failure| failed_as_owner(&tenure, &called(names), "create", failure))
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        self.home.tenure(NAMES)?;
        Ok(Box::new(JetStreamShard::new(Arc::clone(&self.home))))
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        Some(Arc::clone(&self.lease) as _)
    }

    fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        let tenure = home.tenure(NAMES)?;
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
                    home.sender.wires.forget(&log.stream);
                }
            }
        }
        let deleted = home.block_on(home.directory.delete(&tenure, names));
        deleted.map_err(|failure| failed_as_owner(&tenure, &called(names), "delete", failure))
    }
}

/// How these logs are called where something is said of all of them.
fn called(names: &[LogName]) -> String {
    match names {
        [one] => one.to_string(),
        _ => NAMES.into(),
    }
}
