//! The models over streams of NATS: one server, and three that replicate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use wafka_core::storage::{Acquired, Owner, Storage, StorageFactory};
use wafka_plugin::{PluginFile, load};
use wafka_test_nats::{Cluster, Config, Login, SYSTEM, USER};

use crate::support::Home;
use crate::{group_model, model};

/// Longer than any takeover takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Streams of one prefix. The indexes are on a disk.
pub struct Streams {
    cluster: Arc<Cluster>,
    plugin: Arc<dyn StorageFactory>,
    prefix: String,
    pub dir: TempDir,
    /// Who has taken over already, for the next start.
    next: Option<Arc<dyn Storage>>,
}

impl Streams {
    fn new(cluster: &Arc<Cluster>, plugin: &Arc<dyn StorageFactory>, prefix: String) -> Self {
        let (cluster, plugin) = (Arc::clone(cluster), Arc::clone(plugin));
        Streams { cluster, plugin, prefix, dir: tempfile::tempdir().unwrap(), next: None }
    }

    fn own(&self) -> Arc<dyn Storage> {
        let login = |login: Login| json!({ "user": login.user, "password": login.password });
        let options = json!({
            "servers": self.cluster.addresses(),
            "login": login(USER),
            "system_login": login(SYSTEM),
            "replicas": self.cluster.replicas(),
            "prefix": self.prefix,
            "give_up_ms": 30_000,
            "request_timeout_ms": 30_000,
        });
        let storage = self.plugin.open(Path::new(""), options.as_object().unwrap()).unwrap();
        let ownership = storage.ownership().unwrap();
        // The lease goes at once from whoever has it under this name.
        let owner = Owner { id: "model".into(), address: "here:1".into() };
        let begun = Instant::now();
        loop {
            match ownership.acquire(&owner) {
                Ok(Acquired::Ours(_)) => return storage,
                other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    /// Takes the data over from whoever has it. That one finds out when it ends, by what it still writes.
    pub fn take_over(&mut self) {
        self.next = Some(self.own());
    }

    /// The backend for an engine that starts.
    pub fn storage(&mut self) -> Arc<dyn Storage> {
        self.next.take().unwrap_or_else(|| self.own())
    }
}

/// The backend, behind the boundary of plugins, as servers have it. Linked in, two plugins would be one too many: another
/// test of this program links a strategy.
fn plugin() -> Arc<dyn StorageFactory> {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let path = deps.join("libwafka_storage_jetstream.so");
    // Where the umask lets groups write, Cargo's files are none that are loaded.
    for path in [&deps, &path] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        fs::set_permissions(path, Permissions::from_mode(mode & !0o022)).unwrap();
    }
    load(&PluginFile { path, sha256: None }).unwrap().storage().unwrap()
}

/// The runs that a short form has, `$WAFKA_TEST_NATS_ROUNDS` times as many.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let rounds = std::env::var("WAFKA_TEST_NATS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    first..first + count * rounds
}

fn on(servers: usize, seeds: std::ops::Range<u64>, run: impl Fn(u64, Home)) {
    let config = Config { servers, ..Config::one() };
    let cluster = Arc::new(Cluster::start(&config).unwrap_or_else(|error| panic!("{error}")));
    let plugin = plugin();
    for seed in seeds {
        run(seed, Home::Streams(Streams::new(&cluster, &plugin, format!("model-{seed}"))));
    }
}

#[test]
fn the_model_on_one_server() {
    on(1, seeds(4_000, 3), |seed, home| model::run(seed, home, 120));
}

#[test]
fn the_model_on_three_servers() {
    on(3, seeds(5_000, 2), |seed, home| model::run(seed, home, 120));
}

#[test]
fn the_groups_model_on_one_server() {
    on(1, seeds(6_000, 2), |seed, home| group_model::run(seed, home, 100));
}

#[test]
fn the_groups_model_on_three_servers() {
    on(3, seeds(7_000, 2), |seed, home| group_model::run(seed, home, 100));
}
