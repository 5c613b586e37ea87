use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use super::*;
use crate::reply::ReplyError;

/// What stands before the topic in a command, which is all a stand-in server needs to tell commands apart.
const COMMAND: &[u8] = b"*5\r\n$4\r\nXADD\r\n";

/// A server of one connection that answers its n-th command with `reply(n)`, and closes for an empty reply.
fn stand_in(reply: impl Fn(u64) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut pending, mut buffer, mut commands) = (Vec::new(), [0; 4096], 0);
        while let Ok(got @ 1..) = stream.read(&mut buffer) {
            pending.extend_from_slice(&buffer[..got]);
            while let Some(at) = memchr::memmem::find(&pending, COMMAND) {
                pending.drain(..at + COMMAND.len());
                let reply = reply(commands);
                commands += 1;
                if reply.is_empty() {
                    stream.shutdown(Shutdown::Both).unwrap();
                    return;
                }
                // Byte by byte, so that replies arrive in pieces.
                for byte in reply.bytes() {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                }
            }
        }
    });
    addr
}

fn id(number: u64) -> String {
    let id = format!("1763859377000-{number}");
    format!("${}\r\n{id}\r\n", id.len())
}

fn plan(addr: SocketAddr) -> Plan {
    Plan { addr, conns: 1, pipeline: 4, size: 100, topics: 1, base: "bench".into(), samples: 3 }
}

#[test]
fn exactly_the_wanted_events_are_sent_and_counted() {
    let outcome = run(&plan(stand_in(id)), Stop::Events(50)).unwrap();
    assert_eq!((outcome.ledger.events(), outcome.summary.events), (50, 50));
    let mut expected = crate::ledger::Acked::default();
    for seq in 0..50 {
        expected.add(Id { ms: 1_763_859_377_000, seq });
    }
    assert_eq!(outcome.ledger.conns, [expected]);
    assert!((1..=3).contains(&outcome.samples.len()));
    for sample in outcome.samples {
        assert_eq!(sample.origin, (0, sample.id.seq));
    }
}

#[test]
fn a_condition_ends_the_run_with_every_reply_taken() {
    let mut looks = 0;
    let mut condition = || {
        looks += 1;
        Ok(looks == 2)
    };
    let outcome = run(&plan(stand_in(id)), Stop::When(&mut condition)).unwrap();
    assert!(outcome.ledger.events() > 0 && outcome.ledger.events().is_multiple_of(4));
    assert_eq!(looks, 2);
}

#[test]
fn a_time_ends_the_run() {
    let time = Duration::from_millis(20);
    let outcome = run(&plan(stand_in(id)), Stop::After(time)).unwrap();
    assert!(outcome.summary.seconds >= 0.02 && outcome.ledger.events() > 0);
}

#[test]
fn an_error_reply_ends_the_run_and_is_told() {
    let addr = stand_in(|n| if n == 9 { "-OFFLINE partition 2\r\n".into() } else { id(n) });
    match run(&plan(addr), Stop::Events(50)) {
        Err(BenchError::Reply { what, source }) => {
            assert_eq!(source, ReplyError::Server("OFFLINE partition 2".into()));
            assert_eq!(what, "XADD 9 on connection 0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_id_that_does_not_increase_is_an_error() {
    let addr = stand_in(|n| id(n - n / 30));
    assert!(matches!(run(&plan(addr), Stop::Events(50)), Err(BenchError::IdOrder { .. })));
}

#[test]
fn a_closed_connection_is_an_error() {
    let addr = stand_in(|n| if n == 21 { String::new() } else { id(n) });
    let error = run(&plan(addr), Stop::Events(50)).unwrap_err();
    assert!(matches!(error, BenchError::Closed { .. } | BenchError::Io { .. }), "{error}");
}

#[test]
fn a_reply_nobody_asked_for_is_an_error() {
    let addr = stand_in(|n| if n == 3 { id(3) + &id(4) } else { id(n) });
    assert!(run(&plan(addr), Stop::Events(4000)).is_err());
}

#[test]
fn plans_that_cannot_be_run_are_refused() {
    let good = plan("127.0.0.1:1".parse().unwrap());
    for bad in [
        Plan { conns: 0, ..good.clone() },
        Plan { conns: 10_000, ..good.clone() },
        Plan { pipeline: 0, ..good.clone() },
        Plan { topics: 0, ..good.clone() },
        Plan { size: 17, ..good.clone() },
    ] {
        assert!(matches!(run(&bad, Stop::Events(1)), Err(BenchError::Setup(_))));
    }
}
