//! The built-in backends by name.

use std::path::Path;
use std::sync::Arc;

use wafka_core::storage::{Options, Storage, StorageError, StorageFactory};

use crate::fs::StdFs;
use crate::{MemoryStorage, TextOptions, TextStorage};

/// Opens the text log, whose files stand in the data directory itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextFactory;

impl StorageFactory for TextFactory {
    fn name(&self) -> &str {
        "text"
    }

    fn check(&self, options: &Options) -> Result<(), StorageError> {
        refuse_options(self.name(), options)
    }

    fn open(&self, data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        self.check(options)?;
        Ok(Arc::new(TextStorage::open(Arc::new(StdFs), data_dir, TextOptions::default())?))
    }
}

/// Opens a backend that keeps everything in memory, empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFactory;

impl StorageFactory for MemoryFactory {
    fn name(&self) -> &str {
        "memory"
    }

    fn check(&self, options: &Options) -> Result<(), StorageError> {
        refuse_options(self.name(), options)
    }

    fn open(&self, _data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        self.check(options)?;
        Ok(Arc::new(MemoryStorage::new()))
    }
}

fn refuse_options(backend: &str, options: &Options) -> Result<(), StorageError> {
    match options.keys().next() {
        None => Ok(()),
        Some(option) => Err(StorageError::BadOption {
            backend: backend.to_owned(),
            option: option.clone(),
            expected: "unknown, this backend has no options".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_a_backend_does_not_have_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bad = Options::from_iter([("cache".to_owned(), 7.into())]);
        for factory in [&TextFactory as &dyn StorageFactory, &MemoryFactory] {
            let error = factory.open(dir.path(), &bad).err().unwrap().to_string();
            assert!(error.contains(factory.name()) && error.contains("'cache'"), "{error}");
            assert!(factory.check(&bad).is_err());
            assert_eq!(factory.open(dir.path(), &Options::new()).unwrap().name(), factory.name());
        }
    }
}
