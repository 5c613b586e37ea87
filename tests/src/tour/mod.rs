//! Runs a document's code blocks the way a reader would type them. What a block may look like is told in
//! `tests/README.md`.

mod markdown;
mod pattern;
mod terminal;

pub use markdown::{Block, Step, blocks, steps};
pub use pattern::matches;
pub use terminal::Terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::server::wait_until;
use crate::{Client, Server, Setup};

/// Starts the server in the tour: typed in a terminal of its own by a reader, here done by the test.
pub const START: &str = "cargo run --release";
/// Kills the server in the tour: here only the test's own.
pub const KILL: &str = "pkill -9 wafka-server";

/// A walk through a document's `sh tour` blocks.
#[derive(Debug)]
pub struct Tour {
    setup: Setup,
    server: Option<Server>,
    terminal: Terminal,
    background: Vec<(usize, JoinHandle<Result<(), String>>)>,
}

impl Tour {
    /// Starts a server, and a terminal in a directory where the server's data is `data`.
    ///
    /// # Panics
    /// When the directory cannot be prepared.
    #[must_use]
    pub fn begin(setup: Setup) -> Self {
        write_redis_cli(setup.dir());
        let server = setup.start();
        announce(setup.dir(), &server);
        let terminal = Terminal::open(setup.dir());
        Tour { setup, server: Some(server), terminal, background: Vec::new() }
    }

    /// Runs a block in the foreground, and then waits for those in the background.
    ///
    /// # Errors
    /// With the line, the command, what was expected and what came.
    pub fn run(&mut self, block: &Block) -> Result<(), String> {
        for step in steps(block)? {
            match step.command.as_str() {
                START => self.start(),
                KILL => self.kill(),
                _ => self.terminal.check(&step)?,
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
        let mut client = self.server.as_ref().ok_or("there is no server")?.client();
        let waiting = self.background.len() + 1;
        wait_until("the reader in the background waits", || {
            thread.is_finished() || blocked(&mut client) >= waiting
        });
        self.background.push((block.line, thread));
        Ok(())
    }

    fn start(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let server = self.setup.start();
        announce(self.setup.dir(), &server);
        self.server = Some(server);
    }

    fn kill(&mut self) {
        self.server.take().expect("there is no server to kill").kill();
    }
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
