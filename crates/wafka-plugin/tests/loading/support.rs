//! Building plugins, and looking at what the host logs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use wafka_core::Fields;
use wafka_core::partitioner::{
    CreateRequest, Options, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest,
};
use wafka_plugin::{Plugin, PluginError, PluginFile, load};

/// A directory that nobody else may write.
pub(crate) fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A file that is loaded by nobody but this server's user.
pub(crate) fn file_in(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("libodd.so");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// `odd.c` as a library, with these macros.
pub(crate) fn compile(dir: &Path, macros: &[&str]) -> PathBuf {
    compile_with(dir, macros, &[])
}

/// The same, with these arguments for the linker.
pub(crate) fn compile_with(dir: &Path, macros: &[&str], link: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = file_in(dir, b"");
    let output = Command::new("cc")
        .args([
            "-std=c99",
            "-D_POSIX_C_SOURCE=200809L",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fPIC",
            "-shared",
            "-o",
        ])
        .arg(&path)
        .args(macros.iter().map(|name| format!("-D{name}")))
        .arg("-I")
        .arg(root.join("../wafka-plugin-abi/include"))
        .arg(root.join("tests/loading/odd.c"))
        .arg("-L")
        .arg(dir)
        .args(link)
        .output()
        .expect("a C compiler is needed to build Wafka");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

pub(crate) fn open(path: &Path) -> Result<Plugin, PluginError> {
    load(&PluginFile { path: path.to_owned(), sha256: None })
}

/// Says why a library is not loaded, and that it names its file.
#[track_caller]
pub(crate) fn refused(path: &Path) -> String {
    let error = open(path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("plugin {}: ", path.display())), "{error}");
    assert!(!error.contains("/proc/self/fd"), "nobody knows that name: {error}");
    error
}

pub(crate) fn make(
    plugin: &Plugin,
    topic: &[u8],
    options: &str,
) -> Result<Box<dyn Partitioner>, PartitionerError> {
    make_with(plugin, topic, options, 4)
}

pub(crate) fn make_with(
    plugin: &Plugin,
    topic: &[u8],
    options: &str,
    partitions: u16,
) -> Result<Box<dyn Partitioner>, PartitionerError> {
    let factory: Arc<dyn PartitionerFactory> = plugin.partitioner().unwrap();
    let options: Options =
        serde_json::from_str(options).unwrap_or_else(|_| json!({}).as_object().unwrap().clone());
    factory.create(&CreateRequest { topic, partitions, options: &options })
}

pub(crate) fn route(
    strategy: &mut Box<dyn Partitioner>,
    topic: &[u8],
    flat: &[&[u8]],
) -> Result<Route, PartitionerError> {
    let fields = Fields::new(flat).unwrap();
    strategy.route(&RouteRequest { topic, fields, partitions: 4, open: None })
}

/// A log in memory.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Runs something and says what this thread logged meanwhile, by such a filter.
    pub(crate) fn of<R>(filter: &str, run: impl FnOnce() -> R) -> (R, String) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        let result = tracing::subscriber::with_default(subscriber, run);
        let text = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (result, String::from_utf8(text).unwrap())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
