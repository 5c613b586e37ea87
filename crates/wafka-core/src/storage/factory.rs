//! What makes backends: one for each name that the configuration may use.

use std::path::Path;
use std::sync::Arc;

use super::{Storage, StorageError};

/// A backend's options: the keys of its table in the configuration.
pub type Options = serde_json::Map<String, serde_json::Value>;

/// Opens a storage backend by its name.
pub trait StorageFactory: Send + Sync {
    /// The name that configuration and catalog use.
    fn name(&self) -> &str;

    /// Checks options without opening anything, as far as that can be done: [`StorageFactory::open`] has the last word.
    ///
    /// # Errors
    /// [`StorageError::BadOption`].
    fn check(&self, options: &Options) -> Result<(), StorageError> {
        let _ = options;
        Ok(())
    }

    /// Opens the data that the backend keeps in `data_dir`, or that its options name, and makes what is missing. Called
    /// once at a time for one directory.
    ///
    /// # Errors
    /// When an option is missing, unknown or has a bad value, or the data cannot be opened.
    fn open(&self, data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError>;
}
