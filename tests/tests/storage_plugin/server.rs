//! The same at a server, over its socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use wafka_tests::server::wait_until;
use wafka_tests::{Client, Reply, Setup, plugins};

use crate::FILE;

/// A server with the backend loaded, which goes wrong as told.
fn setup(default: bool, faults: &str) -> Setup {
    let setup = Setup::new().brokers(2);
    fs::set_permissions(setup.dir(), Permissions::from_mode(0o755)).unwrap();
    let plugin = plugins::path("wafka_test_storage");
    let (storage, topic) =
        if default { ("backend = \"scripted\"", "") } else { ("", "backend = \"scripted\"") };
    let config = format!(
        "[[plugins]]\npath = \"{}\"\n[storage]\ntail_bytes = 0\n{storage}\n[backends.scripted]\nfaults = {faults}\n\
         [topics.t]\n{topic}\n",
        plugin.display()
    );
    let path = setup.dir().join("wafka.toml");
    fs::write(&path, config).unwrap();
    setup.arg("--config").arg(path.to_str().unwrap())
}

/// The error of a read that comes to the backend. Memory may answer one that comes right behind an event: what does not fit
/// into it is forgotten when the event's producer has been told.
#[track_caller]
fn error_of(client: &mut Client, read: &str) -> String {
    let mut error = String::new();
    wait_until("the backend is read", || {
        let reply = client.run(read);
        let is_error = reply.is_error("");
        if is_error {
            reply.error().clone_into(&mut error);
        }
        is_error
    });
    error
}

#[test]
fn a_topic_in_a_loaded_backend_works_like_any_other() {
    for default in [true, false] {
        let server = setup(default, "[]").start();
        let mut client = server.client();
        let ids: Vec<Reply> = (0..20).map(|_| client.run("XADD t * truck 7")).collect();
        let read = client
            .run("XRANGE t - +")
            .array()
            .iter()
            .map(|entry| entry.array()[0].clone())
            .collect::<Vec<_>>();
        assert_eq!(read, ids);
        client.run("XGROUP CREATE t g 0");
        assert_eq!(client.run("XREADGROUP GROUP g c COUNT 3 STREAMS t >").array().len(), 1);
        client.run("XTRIM t MAXLEN 5");
        assert_eq!(client.run("XLEN t").int(), 5);
        client.run("MULTI");
        client.run("XADD t * truck 8");
        client.run("XADD u * truck 9");
        assert_eq!(client.run("EXEC").array().len(), 2);
        assert_eq!((client.run("XLEN t").int(), client.run("XLEN u").int()), (6, 1));
        assert_eq!(client.run("DEL t").int(), 1);
        server.stop();
    }
}

#[test]
fn a_backend_that_lies_is_an_error_at_the_socket_and_the_server_stays_up() {
    for default in [true, false] {
        let mut server = setup(default, r#"["wrong-offset:t-1:2:1", "read-nothing:t-2:0:2"]"#).start();
        let mut client = server.client();
        let added: Vec<Reply> = (0..6).map(|_| client.run("XADD t#1 * n 1")).collect();
        let errors: Vec<&str> = added.iter().filter(|reply| reply.is_error("")).map(Reply::error).collect();
        assert!(!errors.is_empty() && errors.iter().all(|text| text.contains(FILE)), "{errors:?}");
        assert!(errors[0].contains("were appended, expected"), "{errors:?}");
        // It is reopened after a second.
        wait_until("the partition is online", || !client.run("XADD t#1 * n 2").is_error(""));
        client.run("XADD t#2 * n 3");
        for read in ["XRANGE t - +", "XREVRANGE t + -"] {
            let error = error_of(&mut client, read);
            assert!(error.contains(FILE), "{read}: {error}");
        }
        assert_eq!(client.run("XRANGE t - +").array().len(), 4);
        assert!(server.is_running());
        server.stop();
    }
}

#[test]
fn a_backend_that_panics_does_not_end_the_server() {
    let mut server = setup(false, r#"["panic-append:t-1:1", "panic-read:t-2:1"]"#).start();
    let mut client = server.client();
    client.set_patience(Duration::from_secs(30));
    assert!(!client.run("XADD t#1 * n 1").is_error(""));
    for _ in 0..3 {
        let reply = client.run("XADD t#1 * n 2");
        assert!(reply.error().contains("panicked: scripted panic at append"), "{reply:?}");
        assert!(reply.error().contains(FILE), "{reply:?}");
    }
    assert!(!client.run("XADD t#2 * n 3").is_error(""));
    let error = error_of(&mut client, "XRANGE t - +");
    assert!(error.contains("scripted panic at read"), "{error}");
    // Another topic is in another backend.
    assert!(!client.run("XADD elsewhere * n 4").is_error(""));
    assert_eq!(client.run("PING").text(), "PONG");
    assert!(server.is_running());
    server.stop();
}

#[test]
fn a_backend_that_does_not_open_stops_the_start() {
    for (faults, parts) in [
        (r#"["panic-open:*"]"#, ["panicked: scripted panic at open", FILE]),
        (r#"["fail-open:*"]"#, ["the script says so", "open"]),
        (r#"["nonsense"]"#, ["faults", "found 'nonsense'"]),
    ] {
        let failure = setup(true, faults).start_refused();
        for part in parts {
            assert!(failure.stderr.contains(part), "{part:?} is not in {failure}");
        }
    }
}
