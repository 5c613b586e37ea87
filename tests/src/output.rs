//! What a server writes while it runs: its first line, and its log as it comes.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// What a server logs, as it comes.
#[derive(Default, Debug)]
pub(crate) struct Log {
    pub(crate) text: Mutex<String>,
    pub(crate) grew: Condvar,
}

/// Shows the end of a failed test's server log.
#[allow(clippy::print_stderr, reason = "the test harness shows it below the failure")]
pub(crate) fn eprint_log(log: &str) {
    let from = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    eprintln!("--- the server's log\n{}", &log[from..]);
}

/// Sends the first line as soon as it is there (empty if there is none), and reads on to the end, so that the server
/// never waits for its reader.
pub(crate) fn follow_stdout(stdout: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        // A failure shows as an empty line.
        let _ = stdout.read_line(&mut line);
        let _ = sender.send(line);
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    (receiver, thread)
}

pub(crate) fn follow_stderr(stderr: impl Read + Send + 'static, log: Arc<Log>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while stderr.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            log.text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            log.grew.notify_all();
            line.clear();
        }
    })
}
