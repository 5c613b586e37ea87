//! A server that does not renew, and one that slept.

use wafka_storage::memory::Reach;

use crate::nodes::{Cluster, reply_that_begins, until};
use crate::support::request;

#[test]
fn a_lapsed_owner_refuses_writes_until_it_has_renewed() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let mut client = owner.client();
    client.check("XADD t 1-1 f v", "$3\r\n1-1\r\n").check("XGROUP CREATE t g 0", "+OK\r\n");
    client.check("MULTI", "+OK\r\n").check("XADD t 2-1 f v", "+QUEUED\r\n");
    owner.reach(Reach::Logs);
    cluster.let_leases_end();
    let mut other = owner.client();
    let text = other.command("XADD t 2-1 f v").line();
    assert!(text.starts_with("-LAPSED Wafka's lease on the data (epoch 1) ended at "), "{text}");
    let text = reply_that_begins(&mut other, "XADD t 2-1 f v", "-LAPSED");
    assert!(text.ends_with("; what may write is refused until it is"), "{text}");
    for command in ["XACK t g 1-1", "XREADGROUP GROUP g c STREAMS t >", "DEL t", "TOPIC CREATE u"] {
        assert!(other.command(command).line().starts_with("-LAPSED"), "{command}");
    }
    let text = client.command("EXEC").line();
    assert!(text.starts_with("-EXECABORT Transaction discarded because of: LAPSED Wafka's"), "{text}");
    other.check("XLEN t", ":1\r\n").check("PING", "+PONG\r\n");
    other.check("XRANGE t - + COUNT 1", "*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert_eq!(owner.info("wafka_role").as_deref(), Some("lapsed"));
    // Pipelined, too.
    other.send([request("XADD t 2-1 f v"), request("XLEN t")].concat());
    assert!(other.line().starts_with("-LAPSED"));
    other.expect(":1\r\n");
    owner.reach(Reach::Everything);
    reply_that_begins(&mut other, "XADD t 2-1 f v", "$3");
    other.expect("2-1\r\n").check("XLEN t", ":2\r\n");
    assert_eq!(owner.info("wafka_role").as_deref(), Some("owner"));
    assert_eq!(owner.info("wafka_epoch").as_deref(), Some("1"));
}

#[test]
fn an_owner_that_lost_the_data_says_why_and_never_appends_again() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let mut client = owner.client();
    client.check("XADD t 1-1 f v", "$3\r\n1-1\r\n").check("XGROUP CREATE t g $", "+OK\r\n");
    let mut blocked = owner.client();
    blocked.command("XREAD BLOCK 0 STREAMS t $");
    let mut in_group = owner.client();
    in_group.command("XREADGROUP GROUP g c BLOCK 0 STREAMS t >");
    until(|| (owner.info("blocked_clients").as_deref() == Some("2")).then_some(()));
    let standby = cluster.server();
    owner.reach(Reach::Logs);
    cluster.let_leases_end();
    standby.serves();
    standby.client().check("XADD t 2-1 f v", "$3\r\n2-1\r\n");
    assert!(client.command("XADD t 3-1 f v").line().starts_with("-LAPSED"));
    owner.reach(Reach::Everything);
    let text = reply_that_begins(&mut client, "XADD t 3-1 f v", "-FENCED");
    let by = format!(
        "-FENCED Wafka no longer owns the data: {} took it over at epoch 2, after this server's lease had ended at ",
        standby.owner()
    );
    assert!(text.starts_with(&by), "{text}");
    assert!(text.ends_with("; restart this server to make it a standby"), "{text}");
    for client in [&mut blocked, &mut in_group] {
        assert_eq!(client.line(), text);
        // It is as good as any other then.
        client.check("ECHO x", "$1\r\nx\r\n");
    }
    for command in ["XRANGE t - +", "PING", "XREAD BLOCK 0 STREAMS t $", "TOPIC LIST"] {
        assert_eq!(client.command(command).line(), text, "{command}");
    }
    assert_eq!(owner.info("wafka_role").as_deref(), Some("fenced"));
    assert_eq!(owner.info("wafka_owner"), Some(standby.owner().replace(" at ", " ")));
    assert_eq!(owner.info("wafka_refusal").as_deref(), Some(&text[1..]));
    assert!(owner.stop());
    standby.client().check("XLEN t", ":2\r\n");
}

#[test]
fn an_owner_that_slept_is_fenced_by_what_it_writes() {
    let cluster = Cluster::new();
    let owner = cluster.server_that_sleeps();
    let mut client = owner.client();
    client.check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    let standby = cluster.server();
    // For it no time has passed, and it is not told before it asks.
    owner.reach(Reach::Logs);
    cluster.let_leases_end();
    standby.serves();
    let text = client.command("XADD t 2-1 f v").line();
    assert!(text.starts_with('-') && text.contains("does not own the data"), "{text}");
    standby.client().check("XLEN t", ":1\r\n").check("XADD t 2-1 f v", "$3\r\n2-1\r\n");
    owner.reach(Reach::Everything);
    reply_that_begins(&mut client, "XLEN t", "-FENCED");
}
