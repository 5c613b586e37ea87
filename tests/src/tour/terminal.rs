//! A shell that keeps its state from command to command, as a terminal does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use super::markdown::Step;
use super::pattern::matches;
use crate::PATIENCE;

/// What the shell prints when a command is done, before its exit status.
const DONE: &str = "--- done with status ";

/// A running `bash`. Dropped, it is killed.
#[derive(Debug)]
pub struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Terminal {
    /// Opens a terminal in a directory, whose `bin` comes first in `$PATH`.
    ///
    /// # Panics
    /// When there is no `bash`.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(dir)
            .env("PATH", format!("{}:{path}", dir.join("bin").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash can be started");
        let mut input = shell.stdin.take().expect("invariant: standard input is piped");
        let stdout = shell.stdout.take().expect("invariant: standard output is piped");
        // What the reader makes is the reader's own.
        writeln!(input, "exec 2>&1; umask 022").unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Without a receiver the terminal is closed.
            lines.into_iter().all(|line| sender.send(line).is_ok())
        });
        Terminal { shell, input, output }
    }

    /// Runs a command; it must print what is expected, and succeed.
    ///
    /// # Errors
    /// With the line, the command, what was expected and what came.
    pub fn check(&mut self, step: &Step) -> Result<(), String> {
        let fail = |what: String| Err(format!("line {}: $ {}\n{what}", step.line, step.command));
        let (found, status) = match self.run(&step.command) {
            Ok(done) => done,
            Err(found) => return fail(format!("does not end, and printed:\n{}", found.join("\n"))),
        };
        let same = found.len() == step.expected.len()
            && step
                .expected
                .iter()
                .zip(&found)
                .all(|(pattern, line)| matches(pattern.trim_end(), line.trim_end()));
        if !same {
            let (expected, found) = (step.expected.join("\n"), found.join("\n"));
            return fail(format!("--- expected:\n{expected}\n--- printed:\n{found}"));
        }
        if status == "0" { Ok(()) } else { fail(format!("ended with status {status}")) }
    }

    /// Runs a command: what it prints and its exit status; what it has printed when it does not end in time.
    fn run(&mut self, command: &str) -> Result<(Vec<String>, String), Vec<String>> {
        // In braces, so that only the command itself has no input. The mark begins a line even when the output does not
        // end one.
        let typed = format!("{{ {command}\n}} </dev/null; printf '\\n{DONE}%s\\n' \"$?\"\n");
        let mut printed = Vec::new();
        if self.input.write_all(typed.as_bytes()).is_err() {
            return Err(printed);
        }
        while let Ok(line) = self.output.recv_timeout(PATIENCE) {
            if let Some(status) = line.strip_prefix(DONE) {
                // The empty line is the mark's own, or ends a last line without a newline.
                if printed.last().is_some_and(String::is_empty) {
                    printed.pop();
                }
                return Ok((printed, status.to_owned()));
            }
            printed.push(line);
        }
        Err(printed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(terminal: &mut Terminal, command: &str, expected: &[&str]) -> Result<(), String> {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        terminal.check(&Step { command: command.to_owned(), line: 5, expected })
    }

    #[test]
    fn output_is_compared_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::open(dir.path());
        check(&mut terminal, "echo a; echo; echo b >&2", &["a", "", "b"]).unwrap();
        check(&mut terminal, "printf 'no newline'", &["no newline"]).unwrap();
        check(&mut terminal, "true", &[]).unwrap();
        check(&mut terminal, "cat <<END\nfrom a document\nEND", &["from a <...>"]).unwrap();
        check(&mut terminal, "cat", &[]).unwrap();
        let error = check(&mut terminal, "echo a", &["b"]).unwrap_err();
        assert!(error.contains("line 5: $ echo a") && error.contains("b\n--- printed:\na"), "{error}");
        check(&mut terminal, "echo a", &[]).unwrap_err();
        check(&mut terminal, "echo a", &["a", "b"]).unwrap_err();
    }

    #[test]
    fn state_is_kept_and_failures_show() {
        let dir = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::open(dir.path());
        check(&mut terminal, "mkdir d && cd d; x=5", &[]).unwrap();
        check(&mut terminal, "basename $PWD; echo $x", &["d", "5"]).unwrap();
        assert!(check(&mut terminal, "false", &[]).unwrap_err().contains("status 1"));
        assert!(check(&mut terminal, "exit 3", &[]).unwrap_err().contains("does not end"));
    }
}
