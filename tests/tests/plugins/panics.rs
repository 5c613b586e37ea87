//! A strategy that panics costs its topic, and nothing else; people see it, and can mend it.

use wafka_tests::{Client, Reply, plugins};

use crate::support::Workshop;

const FILE: &str = "libwafka_test_partitioner.so";

/// With the strategy `odd`, which panics when it is told to.
fn workshop(more: &str) -> Workshop {
    let shop = Workshop::new();
    shop.configure(&[&plugins::path("wafka_test_partitioner")], more);
    shop
}

fn create(topic: &str, behave: &str) -> String {
    format!("TOPIC CREATE {topic} PARTITIONER odd OPTION behave {behave}")
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn panics(client: &mut Client) -> i64 {
    client.run("PLUGIN LIST").array()[0].get("panics").int()
}

/// The server is there, and other topics are.
#[track_caller]
fn goes_on(client: &mut Client) {
    assert!(!client.run("XADD other * f v").is_error(""));
    assert!(client.run("XLEN other").int() > 0);
}

#[test]
fn a_strategy_that_panics_when_it_is_made_leaves_no_topic() {
    let shop = workshop("");
    let server = shop.setup.start();
    let mut client = server.client();
    let refused = client.run(&create("t", "panic-in-new"));
    says(refused.error(), &["'odd'", FILE, "told to panic in new"]);
    assert_eq!(client.run("EXISTS t").int(), 0);
    assert_eq!(panics(&mut client), 1);
    goes_on(&mut client);
    // A change to such options changes nothing.
    assert_eq!(client.run(&create("good", "well")).text(), "OK");
    says(client.run("TOPIC ALTER good OPTION behave panic-in-new").error(), &[FILE, "told to panic in new"]);
    assert!(!client.run("XADD good * f v").is_error(""));
    let server = server.restart();
    let mut client = server.client();
    assert_eq!(client.run("EXISTS t good").int(), 1);
    assert!(!client.run("XADD good * f v").is_error(""));
    assert_eq!(client.run(&create("t", "well")).text(), "OK");
}

#[test]
fn a_declared_topic_whose_strategy_panics_stops_the_start() {
    let shop = workshop("[topics.declared]\npartitioner = \"odd\"\nbehave = \"panic-in-new\"\n");
    let parts = ["declared", "'odd'", FILE, "told to panic in new"];
    let (status, _, checked) = shop.check();
    assert_eq!(status, Some(1), "{checked}");
    says(&checked, &parts);
    let failure = shop.setup.start_refused();
    assert_eq!(failure.status.and_then(|status| status.code()), Some(1), "{failure}");
    says(&failure.stderr, &parts);
}

#[test]
fn a_route_that_panics_makes_its_topic_read_only_until_the_strategy_is_made_anew() {
    let shop = workshop("");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run(&create("t", "panic-in-route"));
    client.run(&create("sister", "panic-in-route"));
    assert!(!client.run("XADD t 1-1 f v").is_error(""));
    assert!(client.run("TOPIC DESCRIBE t").get("read_only") == &Reply::Nil);
    says(client.run("XADD t 2-1 panic now").error(), &[FILE, "told to panic in route", "topic 't'"]);
    assert_eq!(panics(&mut client), 1);
    for line in ["XADD t 3-1 f v", "XADD t#1 3-1 f v"] {
        let refused = client.run(line);
        assert!(refused.is_error("READONLY"), "{line}: {refused:?}");
        says(refused.error(), &[FILE, "told to panic in route", "TOPIC ALTER"]);
    }
    let described = client.run("TOPIC DESCRIBE t");
    says(described.get("read_only").text(), &[FILE, "told to panic in route", "TOPIC ALTER", "next start"]);
    says(client.run("INFO plugins").text(), &["panics=1"]);
    // What is there can be read, and others are not concerned.
    assert_eq!(client.run("XLEN t").int(), 1);
    assert_eq!(client.run("XRANGE t - +").array().len(), 1);
    assert!(!client.run("XADD sister * f v").is_error(""));
    goes_on(&mut client);

    assert_eq!(client.run("TOPIC ALTER t").text(), "OK");
    assert!(client.run("TOPIC DESCRIBE t").get("read_only") == &Reply::Nil);
    assert_eq!(client.run("XADD t 3-1 f v").text(), "3-1");

    assert!(client.run("XADD t 4-1 panic again").is_error(""));
    assert!(client.run("XADD t 4-1 f v").is_error("READONLY"));
    let server = server.restart();
    let mut client = server.client();
    assert_eq!(client.run("XADD t 4-1 f v").text(), "4-1");
    assert_eq!(client.run("XLEN t").int(), 3);
}

#[test]
fn a_topic_whose_strategy_panics_when_it_goes_is_deleted() {
    let shop = workshop("");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run(&create("t", "panic-in-drop"));
    assert!(!client.run("XADD t * f v").is_error(""));
    assert_eq!(client.run("DEL t").int(), 1);
    server.wait_for_log("told to panic in drop");
    assert_eq!(client.run("EXISTS t").int(), 0);
    goes_on(&mut client);
    // One more goes by being changed, and one with the server.
    client.run(&create("t", "panic-in-drop"));
    assert_eq!(client.run("TOPIC ALTER t").text(), "OK");
    assert_eq!(client.run("XLEN t").int(), 0);
    let server = server.restart();
    assert_eq!(server.client().run("EXISTS t other").int(), 2);
}
