//! A topic whose strategy is a plugin's, and what operators see.

use wafka_tests::{Client, Reply, Server};

use crate::support::{Workshop, sha256};

fn lengths(client: &mut Client, topic: &str) -> [i64; 2] {
    [1, 2].map(|partition| client.call(&["XLEN", &format!("{topic}#{partition}")]).int())
}

fn slow_calls(client: &mut Client) -> i64 {
    client.run("PLUGIN LIST").array()[0].get("slow_calls").int()
}

fn start(shop: &Workshop) -> (Server, Client) {
    let server = shop.setup.start();
    let client = server.client();
    (server, client)
}

#[test]
fn events_go_where_the_plugin_says() {
    let shop = Workshop::new();
    shop.configure(&[&shop.strategy("place.so", &[])], "[topics.declared]\npartitioner = \"place\"\n");
    let (server, mut client) = start(&shop);
    client.run("TOPIC CREATE made PARTITIONER place");
    for topic in ["declared", "made"] {
        for _ in 0..5 {
            client.call(&["XADD", topic, "*", "n", "1", "to", "2"]);
        }
        assert_eq!(lengths(&mut client, topic), [0, 5]);
        // Without the field round-robin decides, and the topic counts.
        client.call(&["XADD", topic, "*", "n", "1"]);
        client.call(&["XADD", topic, "*", "n", "1"]);
        assert_eq!(lengths(&mut client, topic), [1, 6]);
        let described = client.call(&["TOPIC", "DESCRIBE", topic]);
        assert_eq!(described.get("partitioner").text(), "place");
        assert_eq!(described.get("unkeyed_events").int(), 2);
    }
    let server = server.restart();
    let mut client = server.client();
    client.run("XADD made * to 1");
    assert_eq!(lengths(&mut client, "made"), [2, 6]);
}

#[test]
fn what_a_strategy_does_wrong_is_the_producer_s_error_and_nothing_else() {
    let shop = Workshop::new();
    let plugin = shop.strategy("place.so", &[]);
    shop.configure(&[&plugin], "[topics.t]\npartitioner = \"place\"\n");
    let (server, mut client) = start(&shop);
    let path = plugin.to_str().unwrap();
    for (to, parts) in
        [("beyond", [path, "2"]), ("strange", [path, "-77"]), ("fail", ["'place'", "no such place"])]
    {
        let reply = client.call(&["XADD", "t", "*", "to", to]);
        let text = reply.error();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        assert_eq!(client.run("XLEN t").int(), 0, "{to}");
        client.run("XADD other * f v");
        // The strategy is at work for what comes next.
        client.run("XADD t 0-* to 2");
        assert_eq!(client.run("XTRIM t MAXLEN 0").int(), 1);
    }
    let refused = client.run("TOPIC CREATE bad PARTITIONER place OPTION colour red");
    let text = refused.error();
    assert!(text.contains("'colour'") && text.contains("no options"), "{text}");
    assert_eq!(client.run("EXISTS bad").int(), 0);
    server.stop();
}

#[test]
fn operators_see_what_is_loaded() {
    let shop = Workshop::new();
    let (server, mut client) = start(&shop);
    assert_eq!(client.run("PLUGIN LIST"), Reply::Array(Vec::new()));
    assert!(!client.run("INFO plugins").text().contains("plugin:"));
    server.stop();
    let [one, two] = [("one.so", "NAME=\"one\""), ("two.so", "NAME=\"two\"")]
        .map(|(file, name)| shop.strategy(file, &[name]));
    shop.configure(&[&two, &one], "[topics.t]\npartitioner = \"two\"\n");
    let (server, mut client) = start(&shop);
    let plugins = client.run("PLUGIN LIST");
    let plugins = plugins.array();
    assert_eq!(plugins.len(), 2);
    for (plugin, name, file) in [(&plugins[0], "two", &two), (&plugins[1], "one", &one)] {
        for (key, value) in [
            ("name", name),
            ("version", "1.2.3"),
            ("kind", "partitioner"),
            ("description", "a strategy for tests"),
            ("file", file.canonicalize().unwrap().to_str().unwrap()),
            ("sha256", &sha256(file)),
            ("abi", "1.1"),
        ] {
            assert_eq!(plugin.get(key).text(), value, "{key}");
        }
    }
    let info = client.run("INFO plugins").text().to_owned();
    assert!(
        info.contains("plugin:name=two,kind=partitioner,ver=1.2.3,abi=1.1,slow_calls=0,panics=0\r\n"),
        "{info}"
    );
    assert!(format!("{:?}", client.run("PLUGIN HELP")).contains("LIST"));
    assert_eq!(slow_calls(&mut client), 0);
    server.wait_for_log("plugin loaded");
    let gate = shop.path("gate");
    std::thread::scope(|scope| {
        let routing = scope.spawn(|| server.client().call(&["XADD", "t", "*", "to", gate.to_str().unwrap()]));
        server.wait_for_log("has not returned");
        std::fs::write(&gate, "").unwrap();
        assert!(routing.join().unwrap().text().contains('-'));
    });
    assert_eq!(slow_calls(&mut client), 1);
}

fn added(client: &mut Client, words: &str) {
    assert!(client.run(words).text().contains('-'), "{words}");
}

/// A server that has two threads for connections, where a route of topic `t` is stuck in the first one until the gate
/// is there. Connections go to the threads in turn, so the client that is returned is in the other.
fn stuck(shop: &Workshop, gate: &std::path::Path) -> (Server, Client, Client) {
    let plugin = shop.strategy("place.so", &[]);
    shop.configure(
        &[&plugin],
        "[server]\nio_threads = 2\nshutdown_timeout = 1\n[topics.t]\npartitioner = \"place\"\n[topics.same]\n\
         partitioner = \"place\"\n[topics.other]\n",
    );
    let server = shop.setup.start();
    let (mut producer, mut client) = (server.client(), server.client());
    for key in ["t", "same", "other"] {
        assert!(producer.call(&["XADD", key, "*", "to", "1"]).text().contains('-'));
        assert!(client.call(&["XADD", key, "*", "to", "2"]).text().contains('-'));
    }
    producer.send(&["XADD", "t", "*", "to", gate.to_str().unwrap()]);
    server.wait_for_log("route has not returned");
    client.set_patience(std::time::Duration::from_secs(10));
    (server, producer, client)
}

#[test]
fn what_a_route_that_hangs_does_not_hold_up() {
    let shop = Workshop::new();
    let gate = shop.path("gate");
    let (server, mut producer, mut client) = stuck(&shop, &gate);
    let plugin = shop.path("place.so").canonicalize().unwrap();
    assert_eq!(client.run("PING").text(), "PONG");
    added(&mut client, "XADD other * f v");
    // Another topic of that strategy, and the topic itself, but for what is to be routed.
    added(&mut client, "XADD same * to 1");
    assert_eq!(client.run("XLEN t").int(), 2);
    assert_eq!(client.run("XRANGE t - +").array().len(), 2);
    added(&mut client, "XADD t#1 * f v");
    assert_eq!(client.run("XLEN t").int(), 3);
    assert_eq!(client.run("TOPIC DESCRIBE t").get("partitioner").text(), "place");
    assert_eq!(client.run("BROKER LIST").array().len(), 2);
    assert_eq!(client.run("EXPIRE t 1000").int(), 1);
    assert_eq!(slow_calls(&mut client), 1);
    for _ in 0..100 {
        // At once, so that those behind it on the thread do not wait for a whole pipeline.
        let refused = client.run("XADD t * to 1");
        for part in ["BUSY", "'place'", plugin.to_str().unwrap(), "'t'", " s "] {
            assert!(refused.error().contains(part), "{part:?} is not in: {}", refused.error());
        }
    }
    std::fs::write(&gate, "").unwrap();
    assert!(producer.reply().text().contains('-'));
    added(&mut client, "XADD t * to 1");
    assert_eq!(lengths(&mut client, "t").iter().sum::<i64>(), 5);
    server.stop();
}

#[test]
fn a_route_that_hangs_does_not_hold_up_the_end() {
    for by_signal in [true, false] {
        let shop = Workshop::new();
        let (server, producer, mut client) = stuck(&shop, &shop.path("never"));
        added(&mut client, "XADD t#1 * f last");
        if by_signal {
            server.terminate();
        } else {
            client.send(&["SHUTDOWN"]);
        }
        let (status, log) = server.wait_for_end();
        assert!(status.success(), "{status}: {log}");
        let said = log.lines().find(|line| line.contains("a route has not returned")).unwrap();
        for part in ["place.so", "place", "topic=t"] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
        drop(producer);
        let server = shop.setup.start();
        assert_eq!(server.client().run("XLEN t").int(), 3);
        server.stop();
    }
}
