//! Who may connect and do what: passwords, `maxclients`, killing, pausing, unblocking, idle clients.

mod support;

use support::{TestServer, request};

#[test]
fn nothing_works_before_the_password_but_giving_it() {
    let server = TestServer::with(|config| config.server.requirepass = "secret".to_owned());
    let mut client = server.client();
    client.check("PING", "-NOAUTH Authentication required.\r\n");
    client.check("XADD s * f v", "-NOAUTH Authentication required.\r\n");
    client.check("NOSUCH", "-ERR unknown command 'NOSUCH'\r\n");
    client.check("XLEN", "-ERR wrong number of arguments for 'xlen' command\r\n");
    client.command("HELLO 3");
    assert!(client.line().starts_with("-NOAUTH HELLO must be called with the client already authenticated"));
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    client.check("AUTH wrong", wrong).check("AUTH nobody secret", wrong).check("AUTH default wrong", wrong);
    client.check("AUTH a b c", "-ERR syntax error\r\n");
    // In one pipeline with what needs it.
    client.send(
        [request("AUTH secret"), request("XADD s 1-1 f v"), request("RESET"), request("PING")].concat(),
    );
    client.expect("+OK\r\n$3\r\n1-1\r\n+RESET\r\n-NOAUTH Authentication required.\r\n");
    client.command("HELLO 3 AUTH default secret SETNAME me");
    assert_eq!(client.line(), "%7");
}

#[test]
fn requests_are_small_before_the_password() {
    let server = TestServer::with(|config| config.server.requirepass = "secret".to_owned());
    let mut client = server.client();
    client.send("*11\r\n").expect("-ERR Protocol error: unauthenticated multibulk length\r\n").expect_end();
    let mut client = server.client();
    client
        .send("*1\r\n$20000\r\n")
        .expect("-ERR Protocol error: unauthenticated bulk length\r\n")
        .expect_end();
    // The limits end with the password, in the middle of a pipeline.
    let mut client = server.client();
    let value = "v".repeat(20_000);
    client.send([request("AUTH secret"), request(&format!("ECHO {value}"))].concat());
    client.expect("+OK\r\n").expect(support::bulk(&value));
}

#[test]
fn a_password_set_later_is_for_new_clients() {
    let server = TestServer::start();
    let mut old = server.client();
    old.check("AUTH default anything", "+OK\r\n");
    old.command("AUTH anything");
    assert!(old.line().starts_with("-ERR AUTH <password> called without any password configured"));
    old.check("CONFIG SET requirepass secret", "+OK\r\n").check("PING", "+PONG\r\n");
    let mut new = server.client();
    new.check("PING", "-NOAUTH Authentication required.\r\n")
        .check("AUTH secret", "+OK\r\n")
        .check("PING", "+PONG\r\n");
}

#[test]
fn there_are_no_more_clients_than_allowed() {
    let server = TestServer::with(|config| config.server.maxclients = 2);
    let mut first = server.client();
    let mut second = server.client();
    first.check("PING", "+PONG\r\n");
    second.check("PING", "+PONG\r\n");
    server.client().expect("-ERR max number of clients reached\r\n").expect_end();
    second.check("QUIT", "+OK\r\n").expect_end();
    // The place is free once the server has noticed, which the first client can see.
    while !{
        first.command("CLIENT LIST");
        first.bulk().lines().count() == 1
    } {}
    server.client().check("PING", "+PONG\r\n");
    first.check("CONFIG SET maxclients 3", "+OK\r\n");
}

#[test]
fn clients_are_listed() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("CLIENT SETNAME me", "+OK\r\n").check("CLIENT SETINFO LIB-NAME lib", "+OK\r\n");
    client.check("CLIENT SETINFO LIB-VER 1.2", "+OK\r\n").check("SELECT 3", "+OK\r\n");
    client.command("CLIENT INFO");
    let info = client.bulk();
    let local = client.stream.local_addr().unwrap();
    for part in ["id=1 ", &format!("addr={local} "), "name=me ", "flags=N ", "db=3 ", "cmd=client|info "] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
    assert!(
        info.contains("resp=2 lib-name=lib lib-ver=1.2 tot-net-in=189 tot-net-out=20 tot-cmds=4\n"),
        "{info}"
    );
    let mut other = server.client();
    other.check("CLIENT ID", ":2\r\n").command("CLIENT LIST");
    let list = other.bulk();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.lines().nth(1).unwrap().contains("cmd=client|list "), "{list}");
    other.command("CLIENT LIST ID 1 77");
    assert_eq!(other.bulk().lines().count(), 1);
    other.command("CLIENT LIST TYPE pubsub");
    assert_eq!(other.bulk(), "");
    other.check("CLIENT LIST TYPE nope", "-ERR Unknown client type 'nope'\r\n");
    other.check("CLIENT LIST ID", "-ERR syntax error\r\n");
}

#[test]
fn clients_are_killed() {
    let server = TestServer::start();
    let mut killer = server.client();
    killer.check("CLIENT ID", ":1\r\n");
    // Waiting for a request, and waiting for data.
    for command in ["PING", "XREAD BLOCK 0 STREAMS s $"] {
        let mut victim = server.client();
        victim.command("CLIENT ID");
        let id = victim.integer();
        victim.command(command);
        if command == "PING" {
            victim.expect("+PONG\r\n");
        } else {
            wait_until_blocked(&mut killer);
        }
        killer.check(&format!("CLIENT KILL ID {id}"), ":1\r\n");
        victim.expect_end();
    }
    let mut victim = server.client();
    victim.check("PING", "+PONG\r\n");
    let addr = victim.stream.local_addr().unwrap();
    killer.check(&format!("CLIENT KILL {addr}"), "+OK\r\n");
    victim.expect_end();
    killer.check("CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n").check("CLIENT KILL ID 99999", ":0\r\n");
    // Oneself only when asked for, and then with a reply.
    killer.check("CLIENT KILL TYPE normal", ":0\r\n");
    killer.check("CLIENT KILL ID 1 SKIPME no", ":1\r\n").expect_end();
}

fn wait_until_blocked(client: &mut support::Client) {
    loop {
        client.command("INFO clients");
        if client.bulk().contains("blocked_clients:1\r\n") {
            return;
        }
    }
}

#[test]
fn blocked_clients_are_unblocked() {
    let server = TestServer::start();
    let mut other = server.client();
    other.check("CLIENT ID", ":1\r\n");
    let mut blocked = server.client();
    for (how, reply) in [
        ("CLIENT UNBLOCK 2", "*-1\r\n"),
        ("CLIENT UNBLOCK 2 TIMEOUT", "*-1\r\n"),
        ("CLIENT UNBLOCK 2 ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ] {
        // What is pipelined behind waits for it.
        blocked.send([request("XREAD BLOCK 0 STREAMS s $"), request("PING")].concat());
        wait_until_blocked(&mut other);
        other.check(how, ":1\r\n");
        blocked.expect(reply).expect("+PONG\r\n");
    }
    other.check("CLIENT UNBLOCK 2", ":0\r\n").check("CLIENT UNBLOCK 77", ":0\r\n");
    other.check("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range\r\n");
}

#[test]
fn a_blocked_subscriber_that_did_not_read_is_unblocked() {
    // More than the sockets take: the server stands in the middle of sending it, and has nothing to send behind it.
    const LEN: usize = 24_000_000;
    let server = TestServer::start();
    let (mut other, mut blocked) = (server.client(), server.client());
    blocked.command("HELLO 3 SETNAME slow");
    while blocked.line() != "*0" {}
    blocked.check("SUBSCRIBE a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    blocked.send([request("XREAD BLOCK 0 STREAMS s $"), request("PING")].concat());
    wait_until_blocked(&mut other);
    other.check(&format!("PUBLISH a {}", "m".repeat(LEN)), ":1\r\n");
    let clients = server.server().shared().clients.all();
    let slow = clients.iter().find(|client| client.labels.lock().name == b"slow").unwrap();
    while slow.totals.output_bytes.get() < 100_000 {
        std::thread::yield_now();
    }
    other.check(&format!("CLIENT UNBLOCK {}", slow.id), ":1\r\n");
    blocked.expect(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n");
    assert_eq!(blocked.bulk().len(), LEN);
    blocked.expect("_\r\n+PONG\r\n");
}

#[test]
fn a_blocked_client_that_leaves_is_forgotten() {
    let server = TestServer::start();
    let mut other = server.client();
    let mut blocked = server.client();
    blocked.command("XREAD BLOCK 0 STREAMS s $");
    wait_until_blocked(&mut other);
    drop(blocked);
    while !{
        other.command("INFO clients");
        other.bulk().contains("connected_clients:1\r\n")
    } {}
    other.command("INFO clients");
    assert!(other.bulk().contains("blocked_clients:0\r\n"));
}

#[test]
fn a_blocked_client_that_leaves_with_much_sent_ahead_is_forgotten() {
    let server = TestServer::start();
    let mut other = server.client();
    let mut blocked = server.client();
    blocked.command("XREAD BLOCK 0 STREAMS s $");
    wait_until_blocked(&mut other);
    blocked.send(request(&format!("ECHO {}", "v".repeat(100))).repeat(1000));
    // The server reads only so far ahead; it must see the end behind that, too.
    drop(blocked);
    while !{
        other.command("INFO clients");
        other.bulk().contains("connected_clients:1\r\n")
    } {}
}

#[test]
fn a_blocked_client_is_not_disturbed_by_what_it_sent_ahead() {
    let server = TestServer::start();
    let mut other = server.client();
    let mut blocked = server.client();
    blocked.command("XREAD BLOCK 0 STREAMS s $");
    wait_until_blocked(&mut other);
    blocked.send(request("PING").repeat(10_000));
    other.check("XADD s 1-1 f v", "$3\r\n1-1\r\n");
    blocked.expect("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    blocked.expect("+PONG\r\n".repeat(10_000));
}

#[test]
fn a_pause_holds_commands_back() {
    let server = TestServer::start();
    let mut admin = server.client();
    let mut producer = server.client();
    admin.check("CLIENT PAUSE 600000 WRITE", "+OK\r\n");
    producer.check("PING", "+PONG\r\n").check("XLEN s", ":0\r\n");
    producer.send([request("XADD s 1-1 f v"), request("PING")].concat());
    // The other connection sees that nothing was appended while the producer's command is on hold.
    admin.check("XLEN s", ":0\r\n").check("CLIENT UNPAUSE", "+OK\r\n");
    producer.expect("$3\r\n1-1\r\n+PONG\r\n");
    admin.check("CLIENT PAUSE 600000", "+OK\r\n");
    producer.command("PING");
    admin.check("CLIENT UNPAUSE", "+OK\r\n");
    producer.expect("+PONG\r\n");
    // A client on hold notices that it is killed.
    producer.command("CLIENT ID");
    let id = producer.integer();
    admin.check("CLIENT PAUSE 600000 WRITE", "+OK\r\n");
    producer.command("XADD s 2-1 f v");
    admin.check(&format!("CLIENT KILL ID {id}"), ":1\r\n");
    producer.expect_end();
    admin.check("CLIENT UNPAUSE", "+OK\r\n").check("XLEN s", ":1\r\n");
    admin.check("CLIENT PAUSE 1", "+OK\r\n").check("PING", "+PONG\r\n");
    admin.check("CLIENT PAUSE -1", "-ERR timeout is negative\r\n");
    admin.check("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range\r\n");
}

#[test]
fn a_client_is_idle_only_when_it_could_act() {
    let server = TestServer::with(|config| config.server.timeout = 1);
    let mut reader = server.client();
    let mut paused = server.client();
    let mut other = server.client();
    reader.check("CLIENT SETNAME reader", "+OK\r\n");
    other.check("CLIENT PAUSE 3500 WRITE", "+OK\r\n");
    // Longer than the limit and what the clock for it takes.
    paused.command("XADD s 1-1 f v");
    reader.check("XREAD BLOCK 2500 STREAMS t $", "*-1\r\n");
    let mut list = server.client();
    list.command("CLIENT LIST");
    let clients = list.bulk();
    let line = clients.lines().find(|line| line.contains("name=reader")).unwrap();
    assert!(line.contains(" idle=0 "), "{line}");
    paused.expect("$3\r\n1-1\r\n");
}

#[test]
fn idle_clients_are_closed() {
    let server = TestServer::with(|config| config.server.timeout = 1);
    let mut idle = server.client();
    idle.check("PING", "+PONG\r\n").expect_end();
}
