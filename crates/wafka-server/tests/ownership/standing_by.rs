//! What a standby does, and what it says.

use wafka_server::command::{Flags, Handler, table};
use wafka_storage::memory::Reach;

use crate::nodes::{Cluster, TIME_TO_LIVE};
use crate::support::request;

/// What a standby says as long as the owner's lease has just been renewed: time stands still here.
fn loading(owner: &str) -> String {
    let millis = TIME_TO_LIVE.as_millis();
    format!(
        "-LOADING Wafka is a standby: {owner} owns the data since epoch 1, for another {millis} ms unless it renews\r\n"
    )
}

#[test]
fn it_answers_as_redis_does_while_it_loads_and_says_why() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    owner.client().check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    let standby = cluster.server();
    let loading = loading(&owner.owner());
    let mut client = standby.client();
    for command in
        ["PING", "XADD t * f v", "XRANGE t - +", "XREAD BLOCK 0 STREAMS t 0", "KEYS *", "TOPIC LIST"]
    {
        client.check(command, &loading);
    }
    client.check("ECHO x", "$1\r\nx\r\n").check("SELECT 1", "+OK\r\n").check("CLIENT SETNAME me", "+OK\r\n");
    // A pipeline, in its order.
    client.send([request("ECHO a"), request("XLEN t"), request("ECHO b")].concat());
    client.expect(format!("$1\r\na\r\n{loading}$1\r\nb\r\n"));
    client
        .check("MULTI", "+OK\r\n")
        .check("XADD t * f v", &loading)
        .check("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    client.check("MULTI", "+OK\r\n").check("ECHO x", "+QUEUED\r\n").check("EXEC", "*1\r\n$1\r\nx\r\n");
    client.check("CONFIG SET appendfsync no", &loading);
    client.check("CONFIG GET appendfsync", "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n");
    for (field, found) in [
        ("loading", "1".to_owned()),
        ("wafka_role", "standby".to_owned()),
        ("wafka_epoch", "1".to_owned()),
        ("wafka_owner", owner.owner().replace(" at ", " ")),
        ("wafka_refusal", loading.trim_end()[1..].to_owned()),
    ] {
        assert_eq!(standby.info(field), Some(found), "{field}");
    }
    assert_eq!(owner.info("wafka_role").as_deref(), Some("owner"));
    assert_eq!(owner.info("wafka_refusal"), None);
    assert_eq!(owner.info("loading").as_deref(), Some("0"));
}

#[test]
fn a_lone_server_says_nothing_of_owners() {
    let server = crate::support::TestServer::start();
    let info = server.client().command("INFO").bulk();
    assert!(!info.contains("wafka_role") && info.contains("wafka_version"), "{info}");
}

/// No command that Redis executes while it loads may need topics.
#[test]
fn every_command_for_loading_times_is_answered() {
    let cluster = Cluster::new();
    let _owner = cluster.server();
    let standby = cluster.server();
    let mut tried = 0;
    for command in table::commands() {
        let ends = matches!(
            command.full_name,
            "shutdown" | "quit" | "client|kill" | "client|reply" | "client|pause"
        );
        let is_container = matches!(command.handler, Handler::Container(_));
        if ends || is_container || !command.flags.contains(Flags::LOADING) {
            continue;
        }
        let name = command.full_name.replace('|', " ");
        let words = name.split(' ').count();
        for more in 0..3 {
            let count = usize::from(command.arity.unsigned_abs()) + more - words;
            if !command.accepts(words + count) {
                break;
            }
            let mut line = name.clone();
            (0..count).for_each(|_| line.push_str(" 0"));
            let mut client = standby.client();
            // A handler that panics ends its connection.
            client.command(&line).command("RESET").line();
            tried += 1;
        }
    }
    assert!(tried > 80, "{tried}");
    assert!(standby.client().command("PING").line().starts_with("-LOADING"));
}

#[test]
fn when_the_engine_cannot_be_asked_it_says_so() {
    let cluster = Cluster::new();
    let _owner = cluster.server();
    let standby = cluster.server();
    standby.reach(Reach::Reads);
    let mut client = standby.client();
    let text = crate::nodes::reply_that_begins(
        &mut client,
        "XLEN t",
        "-LOADING Wafka is a standby: it cannot be found out who owns the data: ",
    );
    assert!(text.contains("the engine did not answer"), "{text}");
}

#[test]
fn what_is_advertised_is_told() {
    let cluster = Cluster::new();
    let advertise = |config: &mut wafka_server::config::Config| {
        config.server.advertise = "wafka-1.example:6379".to_owned();
    };
    let owner = cluster.server_with(advertise, cluster.clock()).unwrap();
    let standby = cluster.server();
    let reply = standby.client().command("PING").line();
    assert!(
        reply.contains(&format!("{} at wafka-1.example:6379 owns", owner.server().shared().run_id)),
        "{reply}"
    );
}
