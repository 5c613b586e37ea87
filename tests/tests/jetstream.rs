//! A server whose logs are streams of an engine: the plugin `jetstream`, with one server of NATS. What three of them do when
//! they fail is tested in the plugin's own crate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wafka_tests::server::wait_until;
use wafka_tests::{Client, Reply, Server, Setup, client, plugins, target_dir};

/// How often another port is tried when somebody took the one that was free.
const ATTEMPTS: usize = 10;

/// A server of NATS that syncs before it acknowledges.
struct Engine {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Engine {
    fn new() -> Self {
        let mut engine = Engine { dir: tempfile::tempdir().unwrap(), port: 0, child: None };
        for _ in 0..ATTEMPTS {
            engine.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if engine.launch() {
                return engine;
            }
        }
        panic!("no NATS server after {ATTEMPTS} attempts");
    }

    fn program() -> PathBuf {
        let named = std::env::var_os("WAFKA_NATS_SERVER").map(PathBuf::from);
        let program = named.unwrap_or_else(|| target_dir().join("nats-server/bin/nats-server"));
        assert!(program.is_file(), "{} is not there: tests/run.sh installs it", program.display());
        program
    }

    /// Starts it, and waits until it is ready; says no when it has ended.
    fn launch(&mut self) -> bool {
        let config = self.dir.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             accounts {{ W: {{ jetstream: enabled, users: [{{ user: w, password: w }}] }}, \
             $SYS: {{ users: [{{ user: s, password: s }}] }} }}\n",
            self.port,
            self.dir.path().join("data")
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(Self::program());
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        self.child = Some(child);
        let is_ready = log.any(|line| line.contains("Server is ready"));
        // Its pipe must not fill up.
        std::thread::spawn(move || log.for_each(drop));
        is_ready
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A Wafka server on it.
    fn setup(&self, options: &str) -> Setup {
        let setup = Setup::new().brokers(2);
        let config = setup.dir().join("wafka.toml");
        let library = plugins::path("wafka_storage_jetstream");
        let text = format!(
            "[storage]\nbackend = \"jetstream\"\nfsync = \"always\"\n[[plugins]]\npath = {:?}\n\
             [backends.jetstream]\nservers = [\"127.0.0.1:{}\"]\nreplicas = 1\n\
             login = {{ user = \"w\", password = \"w\" }}\n{options}\n",
            library.to_str().unwrap(),
            self.port
        );
        fs::write(&config, text).unwrap();
        setup.arg("--config").arg(config.to_str().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

const SYSTEM: &str = "system_login = { user = \"s\", password = \"s\" }";

/// Adds `count` events, numbered from `from`, and returns their ids.
fn add(client: &mut Client, topic: &str, from: usize, count: usize) -> Vec<String> {
    let mut request = Vec::new();
    for number in from..from + count {
        client::encode(&mut request, &["XADD", topic, "*", "n", &number.to_string()]);
    }
    client.send_raw(&request);
    (0..count).map(|_| client.reply().text().to_owned()).collect()
}

fn ids(client: &mut Client, topic: &str) -> Vec<String> {
    let reply = client.run(&format!("XRANGE {topic} - +"));
    reply.array().iter().map(|entry| entry.array()[0].text().to_owned()).collect()
}

fn logs_on_disk(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.setup().data_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".txt") || name.ends_with(".log")).collect()
}

/// Partitions, journals, catalog and transactions are all there after a stop and after a kill, of this server and of the
/// engine's, and nothing of them is on this server's disk.
#[test]
fn everything_is_kept() {
    let mut engine = Engine::new();
    let setup = engine.setup(SYSTEM);
    let mut server = setup.start();
    let mut client = server.client();
    let mut kept = add(&mut client, "trips", 0, 1500);
    for topic in 0..5 {
        add(&mut client, &format!("small{topic}"), 0, 3);
    }
    assert_eq!(client.run("XTRIM trips MAXLEN 1000"), Reply::Int(500));
    kept.drain(..500);
    assert_eq!(client.run(&format!("XDEL trips {}", kept[3])), Reply::Int(1));
    kept.remove(3);
    client.run("XGROUP CREATE trips drivers 0");
    client.run("XREADGROUP GROUP drivers anna COUNT 7 STREAMS trips >");
    client.run("MULTI");
    client.run("XADD bills * n 0");
    client.run(&format!("XACK trips drivers {}", kept[0]));
    assert_eq!(client.run("EXEC").array().len(), 2);
    assert_eq!(logs_on_disk(&server), Vec::<String>::new());
    for round in 0..3 {
        server = match round {
            0 => server.kill().start(),
            1 => server.stop().start(),
            _ => {
                let setup = server.kill();
                engine.kill();
                assert!(engine.launch(), "the engine does not start again");
                setup.start()
            }
        };
        let mut client = server.client();
        assert_eq!(ids(&mut client, "trips"), kept);
        for topic in 0..5 {
            assert_eq!(ids(&mut client, &format!("small{topic}")).len(), 3);
        }
        assert_eq!(client.run("XPENDING trips drivers").array()[0], Reply::Int(6));
        assert_eq!(client.run("XLEN bills"), Reply::Int(1));
        kept.extend(add(&mut client, "trips", 1500 + round * 10, 10));
    }
    let mut client = server.client();
    assert_eq!(client.run("DEL trips bills"), Reply::Int(2));
    let server = server.stop().start();
    assert_eq!(server.client().run("DBSIZE"), Reply::Int(5));
}

/// Without its engine the server answers: appends with an error, in bounded time. It goes on by itself when the engine
/// is back, and has what was acknowledged, once and in order, and nothing else.
#[test]
fn the_engine_goes_and_comes_back() {
    let mut engine = Engine::new();
    let patience = "publish_timeout_ms = 200\ngive_up_ms = 600\nrequest_timeout_ms = 1500";
    let server = engine.setup(&format!("{SYSTEM}\n{patience}")).start();
    let mut client = server.client();
    let mut kept = add(&mut client, "trips", 0, 50);
    for round in 0..3 {
        engine.kill();
        let begun = Instant::now();
        let refused = client.run("XADD trips * n lost");
        assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        server.wait_for_log("the connection to the engine was lost");
        server.wait_for_log("whether lines from offset");
        assert_eq!(client.run("XLEN trips"), Reply::Int(kept.len() as i64));
        assert!(engine.launch(), "the engine does not start again");
        // A partition that takes events again has cut off what had failed there.
        for partition in 1..=2 {
            wait_until("an event is taken again", || {
                let reply = client.run(&format!("XADD trips#{partition} * n {round}"));
                let taken = !matches!(reply, Reply::Error(_));
                if taken {
                    kept.push(reply.text().to_owned());
                }
                taken
            });
        }
        assert_eq!(ids(&mut client, "trips"), kept);
    }
    let server = server.kill().start();
    assert_eq!(ids(&mut server.client(), "trips"), kept);
}

/// What cannot be promised is refused before anything is opened, with what to do about it.
#[test]
fn a_start_without_a_promise_is_refused() {
    let engine = Engine::new();
    for (options, expected) in [
        ("", "accept_unsynced_loss"),
        ("system_login = { user = \"w\", password = \"w\" }", "system account"),
        ("replica = 3", "replica"),
        ("prefix = \"a.b\"", "prefix"),
    ] {
        let output = engine.setup(options).command().output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{options}: {stderr}");
    }
}
