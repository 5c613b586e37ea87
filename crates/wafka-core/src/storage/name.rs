//! The names of logs.

use std::fmt;
use std::sync::Arc;

use crate::topic::Database;

/// Names a log within a backend: the database it belongs to and a stem such as `deliveries-1`,
/// `deliveries.journal` or `wafka.catalog`, already safe for a file name. Above the backends it may also say which of them
/// the log is in; a backend is told its own logs' names without that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    database: Database,
    stem: Arc<str>,
    backend: Option<Arc<str>>,
}

impl LogName {
    /// A log of `database` called `stem`; the stem must be made of [`crate::TopicName::file_stem`] and plain suffixes.
    #[must_use]
    pub fn new(database: Database, stem: &str) -> Self {
        LogName { database, stem: stem.into(), backend: None }
    }

    /// The same name, of a log in that backend; `None` leaves open which one it is.
    #[must_use]
    pub fn in_backend(self, backend: Option<Arc<str>>) -> Self {
        LogName { backend, ..self }
    }

    /// The database the log belongs to.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// The name without directory and ending.
    #[must_use]
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// The backend that the log is in, if the name says so.
    #[must_use]
    pub fn backend(&self) -> Option<&Arc<str>> {
        self.backend.as_ref()
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(backend) = &self.backend {
            write!(f, "{backend}:")?;
        }
        if self.database.0 > 0 {
            write!(f, "db{}/", self.database.0)?;
        }
        f.write_str(&self.stem)?;
        // Only the files of the text log have an ending.
        if self.backend.is_none() { f.write_str(".txt") } else { Ok(()) }
    }
}

impl fmt::Debug for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_its_log_is() {
        let name = LogName::new(Database(3), "deliveries-1");
        assert_eq!(name.to_string(), "db3/deliveries-1.txt");
        let elsewhere = name.clone().in_backend(Some("sqlite".into()));
        assert_eq!(elsewhere.to_string(), "sqlite:db3/deliveries-1");
        assert_ne!(name, elsewhere);
        assert_eq!(elsewhere.in_backend(None), name);
    }
}
