//! The names of logs.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::topic::Database;

/// Names a log within a backend: the database it belongs to and a stem such as `deliveries-1`,
/// `deliveries.journal` or `wafka.catalog`, already safe for a file name. Above the backends it may also say which of them
/// the log is in; a backend is told its own logs' names without that.
///
/// It is shown as whoever looks for the log finds it: `db3/deliveries-1`, with the backend's name before it where it says
/// one (`sqlite:db3/deliveries-1`), or as the file that the log is (`db3/deliveries-1.txt`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    database: Database,
    stem: Arc<str>,
    backend: Option<Arc<str>>,
    ending: Ending,
}

/// What a log's file is called behind the stem; empty where the log is no file. It is for people and tells no two names
/// apart: a backend that lists its logs need not know it.
#[derive(Clone, Copy)]
struct Ending(&'static str);

impl PartialEq for Ending {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ending {}

impl PartialOrd for Ending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ending {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Ending {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl LogName {
    /// A log of `database` called `stem`; the stem must be made of [`crate::TopicName::file_stem`] and plain suffixes.
    #[must_use]
    pub fn new(database: Database, stem: &str) -> Self {
        LogName { database, stem: stem.into(), backend: None, ending: Ending("") }
    }

    /// The same name, of a log in that backend; `None` leaves open which one it is.
    #[must_use]
    pub fn in_backend(self, backend: Option<Arc<str>>) -> Self {
        LogName { backend, ..self }
    }

    /// The same name, shown as that of a file with this ending, as `.txt`; an empty one stands for no file.
    #[must_use]
    pub fn with_ending(self, ending: &'static str) -> Self {
        LogName { ending: Ending(ending), ..self }
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
        let Ending(ending) = self.ending;
        // A file's name says enough.
        if let Some(backend) = self.backend.as_ref().filter(|_| ending.is_empty()) {
            write!(f, "{backend}:")?;
        }
        if self.database.0 > 0 {
            write!(f, "db{}/", self.database.0)?;
        }
        write!(f, "{}{ending}", self.stem)
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
        assert_eq!(name.to_string(), "db3/deliveries-1");
        let elsewhere = name.clone().in_backend(Some("sqlite".into()));
        assert_eq!(elsewhere.to_string(), "sqlite:db3/deliveries-1");
        assert_ne!(name, elsewhere);
        assert_eq!(elsewhere.in_backend(None), name);
    }

    #[test]
    fn a_file_is_the_log_that_it_is_without_its_ending() {
        let name = LogName::new(Database(3), "deliveries-1");
        let file = name.clone().with_ending(".txt");
        assert_eq!(file.to_string(), "db3/deliveries-1.txt");
        assert_eq!(file.clone().in_backend(Some("text".into())).to_string(), "db3/deliveries-1.txt");
        assert_eq!(file, name);
        assert_eq!(std::collections::HashSet::from([file, name]).len(), 1);
    }
}
