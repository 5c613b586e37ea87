//! `MONITOR`: clients that are shown every command.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::redact::shown;
use crate::clients::Client;
use crate::command::Args;
use crate::pubsub::{Frame, InboxLimits, tell};
use crate::session::Session;

/// The clients in `MONITOR` mode.
#[derive(Default)]
pub struct Monitors {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    /// How many there are: read for every command.
    count: AtomicUsize,
}

impl Monitors {
    /// Adds a client.
    pub fn add(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        clients.insert(client.id, Arc::clone(client));
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Removes a client, if it is there.
    pub fn remove(&self, client: u64) {
        let mut clients = self.clients.lock();
        clients.remove(&client);
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

/// Sends a command to all monitors.
#[cold]
pub(super) fn show(session: &Session, full_name: &str, args: &Args<'_>) {
    let shared = &session.shared;
    // Clients that monitor have the limit of others: that of a reply.
    let hard = shared.settings.output_buffer_limit();
    let limits = InboxLimits { hard, soft: 0, soft_time: Duration::ZERO };
    let now_ms = shared.now_ms();
    let mut line = Vec::new();
    let head = format!(
        "+{}.{:06} [{} {}]",
        now_ms / 1000,
        now_ms % 1000 * 1000,
        session.database().0,
        session.client.addr
    );
    line.extend_from_slice(head.as_bytes());
    for index in 0..args.len() {
        line.push(b' ');
        quote(&mut line, shown(full_name, args, index));
        if line.len() > hard {
            // No monitor may have this much waiting anyway.
            break;
        }
    }
    line.extend_from_slice(b"\r\n");
    let frame = Frame::new(&line);
    for client in shared.observers.monitors.clients.lock().values() {
        tell(shared, client, frame.clone(), &limits);
    }
}

/// Appends bytes in quotes, with C's escapes for what cannot be printed.
fn quote(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            7 => line.extend_from_slice(b"\\a"),
            8 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(*byte),
            other => {
                let mut code = String::with_capacity(4);
                // Writing to a String cannot fail.
                let _ = write!(code, "\\x{other:02x}");
                line.extend_from_slice(code.as_bytes());
            }
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_redis_quotes_them() {
        let mut line = Vec::new();
        quote(&mut line, "a\"b\\\n\r\t\x07\x08\x01 é".as_bytes());
        assert_eq!(line, br#""a\"b\\\n\r\t\a\b\x01 \xc3\xa9""#);
    }
}
