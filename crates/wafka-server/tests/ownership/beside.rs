//! A backend beside the default one, whose lease lapses and is lost.

use wafka_core::storage::{Acquired, Owner, Ownership as _};
use wafka_storage::memory::Reach;

use crate::nodes::{Cluster, reply_that_begins, until};

/// What would make or delete a topic, there or with others.
const CHANGES: [&str; 7] = [
    "DEL t",
    "UNLINK t",
    "RENAME t u",
    "COPY t u",
    "EXPIRE t 0",
    "FLUSHALL",
    "TOPIC CREATE u BACKEND shared",
];

#[test]
fn topics_beside_the_default_backend_are_refused_as_its_own_would_be() {
    let cluster = Cluster::new();
    let node = cluster.server_beside();
    let mut client = node.client();
    client.check("TOPIC CREATE t BACKEND shared", "+OK\r\n").check("XADD own 1-1 f v", "$3\r\n1-1\r\n");
    // Its time is real time: a machine that is busy may let it lapse.
    reply_that_begins(&mut client, "XADD t 1-1 f v", "$3");
    client.expect("1-1\r\n");
    assert_eq!(node.info("wafka_role"), None);
    let is = |role: &str| node.info("wafka_backend_shared") == Some(format!("role={role},epoch=1"));
    until(|| is("owner").then_some(()));
    let mut blocked = node.client();
    blocked.command("XREAD BLOCK 0 STREAMS t $");
    until(|| (node.info("blocked_clients").as_deref() == Some("1")).then_some(()));

    node.reach(Reach::Logs);
    let text = reply_that_begins(&mut client, "XTRIM t MAXLEN 100", "-LAPSED");
    assert!(text.contains("lease on the data of backend 'shared' (epoch 1) ended"), "{text}");
    for command in ["XADD t 2-1 f v", "XGROUP CREATE t g 0", "XDEL t 1-1"].into_iter().chain(CHANGES) {
        assert!(client.command(command).line().starts_with("-LAPSED"), "{command}");
    }
    assert!(is("lapsed"));
    client.check("XLEN t", ":1\r\n").check("XADD own 2-1 f v", "$3\r\n2-1\r\n");
    node.reach(Reach::Everything);
    until(|| is("owner").then_some(()));

    node.reach(Reach::Logs);
    cluster.let_leases_end();
    let other = cluster.memory.server();
    let owner = Owner { id: "other".to_owned(), address: "there:2".to_owned() };
    assert!(matches!(other.acquire(&owner), Ok(Acquired::Ours(_))));
    client.check("XLEN t", ":1\r\n");
    node.reach(Reach::Everything);
    let text = reply_that_begins(&mut client, "XLEN t", "-FENCED");
    let expected =
        "-FENCED Wafka no longer owns the data of backend 'shared': other at there:2 took it over at epoch 2";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(blocked.line(), text);
    let others =
        ["XRANGE t - +", "XADD t 3-1 f v", "XREAD STREAMS t 0", "XGROUP CREATE t g 0", "XINFO STREAM t"];
    for command in others.into_iter().chain(CHANGES) {
        assert_eq!(client.command(command).line(), text, "{command}");
    }
    assert!(is("fenced"));
    assert_eq!(node.info("wafka_backend_shared_refusal").as_deref(), Some(&text[1..]));
    client.check("XLEN own", ":2\r\n").check("XADD own 3-1 f v", "$3\r\n3-1\r\n").check("PING", "+PONG\r\n");
    assert!(node.stop());
}
