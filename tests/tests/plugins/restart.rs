//! A plugin that is missing, or another one, when the server starts again.

use std::fs;

use wafka_tests::Client;

use crate::support::Workshop;

/// The topic `placed` has this many events, can be read, and answers an `XADD` so.
#[track_caller]
fn is_read_only(client: &mut Client, events: usize, parts: &[&str]) {
    let reply = client.run("XADD placed * to 1");
    let text = reply.error();
    let described = client.run("TOPIC DESCRIBE placed");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
        assert!(described.get("read_only").text().contains(part), "{part:?} is not in {described:?}");
    }
    assert_eq!(client.run("XRANGE placed - +").array().len(), events);
    // Other topics have nothing to do with it.
    assert!(client.run("XADD cyclic * f v").text().contains('-'));
}

fn placed(client: &mut Client) -> [i64; 2] {
    [client.run("XLEN placed#1").int(), client.run("XLEN placed#2").int()]
}

#[test]
fn a_topic_waits_for_its_strategy_and_goes_on_as_before() {
    let shop = Workshop::new();
    let plugin = shop.strategy("place.so", &[]);
    shop.configure(&[&plugin], "");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("TOPIC CREATE placed PARTITIONER place");
    client.run("XADD placed * to 2");
    server.kill();

    // No plugin any more.
    shop.configure(&[], "");
    let server = shop.setup.start();
    is_read_only(&mut server.client(), 1, &["'place'", "key, round-robin"]);
    server.wait_for_log("read-only");
    server.stop();

    // The plugin routes otherwise.
    let other = shop.strategy("other.so", &["ROUTE_VERSION=2"]);
    shop.configure(&[&other], "");
    let server = shop.setup.start();
    is_read_only(&mut server.client(), 1, &["'place'", "version 1", "2"]);
    server.stop();

    // Another release of the plugin that routes as before.
    let newer = shop.strategy("newer.so", &["VERSION=\"2.0.0\""]);
    shop.configure(&[&newer], "");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("XADD placed * to 2");
    assert_eq!(placed(&mut client), [0, 2]);
    server.stop();
}

#[test]
fn a_plugin_whose_file_is_gone_stops_the_start_until_it_is_back() {
    let shop = Workshop::new();
    let plugin = shop.strategy("place.so", &[]);
    shop.configure(&[&plugin], "");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("TOPIC CREATE placed PARTITIONER place");
    client.run("XADD placed * to 2");
    // A server that runs does not care what becomes of the file.
    let aside = shop.path("aside.so");
    fs::rename(&plugin, &aside).unwrap();
    client.run("XADD placed * to 2");
    server.kill();
    shop.refused(&["plugins", plugin.to_str().unwrap(), "No such file"]);
    fs::rename(&aside, &plugin).unwrap();
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("XADD placed * to 1");
    assert_eq!(placed(&mut client), [1, 2]);
    server.stop();
}
