//! A server in this process on a directory of its own, and a client that looks at every byte.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is the test's failure")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tempfile::TempDir;
use wafka_server::config::Config;
use wafka_server::server::Server;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, stopped when dropped.
pub struct TestServer {
    server: Option<Server>,
    pub dir: TempDir,
}

impl TestServer {
    /// A server on its defaults, but for two brokers and a free port.
    pub fn start() -> Self {
        TestServer::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.port = 0;
        config.server.brokers = 2;
        config.server.io_threads = 2;
        config.server.data_dir = dir.path().join("data");
        change(&mut config);
        TestServer { server: Some(Server::start(config, None).unwrap()), dir }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.server().addr()).unwrap())
    }

    /// Waits for the end of a server that was told to stop.
    pub fn wait(&mut self) {
        assert!(self.server.take().unwrap().wait());
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
            assert!(server.wait() || std::thread::panicking());
        }
    }
}

/// A connection whose replies are compared byte by byte.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a command of words separated by blanks.
    pub fn command(&mut self, line: &str) -> &mut Self {
        let request = request(line);
        self.send(request)
    }

    /// The next bytes from the server are exactly these.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        let mut len = 0;
        while len < got.len() {
            match self.stream.read(&mut got[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    panic!(
                        "expected {}, got {} and {error}",
                        expected.escape_ascii(),
                        got[..len].escape_ascii()
                    )
                }
            }
            if !expected.starts_with(&got[..len]) {
                break;
            }
        }
        let got = &got[..len];
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        self
    }

    /// Sends a command and expects the reply.
    #[track_caller]
    pub fn check(&mut self, line: &str, reply: &str) -> &mut Self {
        self.command(line);
        self.expect(reply)
    }

    /// Reads one line without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {line:?}"));
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }

    /// Reads one bulk or verbatim string.
    pub fn bulk(&mut self) -> String {
        let header = self.line();
        assert!(header.starts_with(['$', '=']), "{header}");
        let mut bytes = vec![0; header[1..].parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes.truncate(bytes.len() - 2);
        String::from_utf8(bytes).unwrap()
    }

    /// Reads one integer.
    pub fn integer(&mut self) -> i64 {
        self.line().strip_prefix(':').unwrap().parse().unwrap()
    }

    /// The server ends the connection now, without another byte.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(rest.escape_ascii().to_string(), ""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    pub fn end_input(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A command of words separated by blanks as a request.
pub fn request(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

/// A bulk string.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
