//! The servers of NATS that a document starts, on other ports than a reader's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::repository;

/// Where the example's configuration is, for readers and here.
const CONFIGURATION: &str = "config/jetstream";
/// Where the example's servers have their data, logs and process ids.
const DATA: &str = "data-jetstream";
/// The ports that the example's configuration names.
const PORTS: [u16; 6] = [4222, 4223, 4224, 6222, 6223, 6224];

/// Puts the example's configuration there, with ports that are free; returns which.
pub(super) fn put_configuration(dir: &Path) -> BTreeMap<u16, u16> {
    let free = wafka_test_nats::free_ports(PORTS.len()).unwrap();
    let ports: BTreeMap<u16, u16> = PORTS.into_iter().zip(free).collect();
    let to = dir.join(CONFIGURATION);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(repository().join(CONFIGURATION)).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().expect("invariant: an entry of a directory has a name"));
        fs::write(&copy, with_ports(&fs::read_to_string(&path).unwrap(), &ports)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode & !0o022)).unwrap();
    }
    ports
}

/// Puts the program where a reader installs it.
pub(super) fn put_program(dir: &Path) -> Result<(), String> {
    let program = wafka_test_nats::program().map_err(|error| error.to_string())?;
    let program = fs::canonicalize(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    let bin = dir.join(".venv/bin");
    fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
    symlink(program, bin.join("nats-server")).map_err(|error| error.to_string())
}

/// The text with each port that the document names as it is here; other numbers stay, also those that contain one.
pub(super) fn with_ports(text: &str, ports: &BTreeMap<u16, u16>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let len = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(len);
        out += before;
        match number.parse().ok().and_then(|port: u16| ports.get(&port)) {
            Some(port) => out += &port.to_string(),
            None => out += number,
        }
        rest = after;
    }
    out + rest
}

/// Ends those that the document has not ended.
pub(super) fn end(dir: &Path) {
    for number in 1..=3 {
        let Ok(text) = fs::read_to_string(dir.join(DATA).join(format!("nats-{number}.pid"))) else {
            continue;
        };
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { continue };
        // The number may be another process's by now.
        let working = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
        if working.is_ok_and(|working| working == dir) {
            // An error means that it has ended just now.
            let _ended = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_ports() {
        let ports = BTreeMap::from([(4222, 9), (6380, 7)]);
        assert_eq!(with_ports("127.0.0.1:4222 -p 6380 14222 4222", &ports), "127.0.0.1:9 -p 7 14222 9");
        assert_eq!(with_ports("", &ports), "");
        assert_eq!(with_ports("99999999999 4222a", &ports), "99999999999 9a");
    }
}
