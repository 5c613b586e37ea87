//! Waiting in a group: first come, first served, and each event to one.

use wafka_tests::Reply;

use super::{PARTITIONS, add, blocked_reader, ids, pending, server, wait_for_blocked};

const NO_GROUP: &str = "NOGROUP No such key 'topic' or consumer group 'g' in XREADGROUP with GROUP option";

#[test]
fn readers_are_served_in_the_order_they_came_in() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut writer = server.client();
        writer.run("XGROUP CREATE topic g $ MKSTREAM");
        let mut readers = Vec::new();
        for number in 1..=8 {
            readers.push(blocked_reader(&server, &format!("c{number}")));
            wait_for_blocked(&mut writer, number);
        }
        for (number, mut reader) in readers.into_iter().enumerate() {
            let id = add(&mut writer, "topic");
            assert_eq!(ids(&reader.reply()), [id], "{partitions} partitions, reader {number}");
        }
        assert_eq!(pending(&mut writer), 8);
    }
}

#[test]
fn each_event_of_a_batch_goes_to_one_reader() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut writer = server.client();
        writer.run("XGROUP CREATE topic g $ MKSTREAM");
        let mut readers: Vec<_> = (0..20).map(|n| blocked_reader(&server, &format!("c{n}"))).collect();
        wait_for_blocked(&mut writer, readers.len());
        for _ in 0..readers.len() {
            writer.send(&["XADD", "topic", "*", "field", "value"]);
        }
        let mut added: Vec<String> = readers.iter().map(|_| writer.reply().text().to_owned()).collect();
        let mut got: Vec<String> = readers.iter_mut().flat_map(|reader| ids(&reader.reply())).collect();
        added.sort();
        got.sort();
        assert_eq!(got, added);
    }
}

#[test]
fn a_thousand_readers_get_an_event_each() {
    let server = server(2);
    let mut writer = server.client();
    writer.run("XGROUP CREATE topic g $ MKSTREAM");
    let mut readers: Vec<_> = (0..1_000).map(|n| blocked_reader(&server, &format!("c{n}"))).collect();
    wait_for_blocked(&mut writer, readers.len());
    let first = add(&mut writer, "topic");
    wait_for_blocked(&mut writer, readers.len() - 1);
    let mut added = vec![first];
    for _ in 1..readers.len() {
        writer.send(&["XADD", "topic", "*", "field", "value"]);
    }
    added.extend((1..readers.len()).map(|_| writer.reply().text().to_owned()));
    let mut got: Vec<String> = readers.iter_mut().flat_map(|reader| ids(&reader.reply())).collect();
    got.sort();
    added.sort();
    assert_eq!(got, added);
    assert_eq!(pending(&mut writer), 1_000);
}

/// Whoever asks without blocking gets nothing that somebody waits for already.
#[test]
fn a_newcomer_does_not_overtake_who_waits() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut writer = server.client();
        writer.run("XGROUP CREATE topic g $ MKSTREAM");
        let mut newcomer = server.client();
        for round in 0..50 {
            let mut reader = blocked_reader(&server, "waits");
            wait_for_blocked(&mut writer, 1);
            let id = add(&mut writer, "topic");
            let reply = newcomer.run("XREADGROUP GROUP g new STREAMS topic >");
            assert_eq!(reply, Reply::Nil, "round {round}");
            assert_eq!(ids(&reader.reply()), [id]);
        }
    }
}

#[test]
fn a_newcomer_gets_what_those_who_wait_leave() {
    let server = server(2);
    let mut writer = server.client();
    writer.run("XGROUP CREATE topic g $ MKSTREAM");
    let mut reader = blocked_reader(&server, "waits");
    wait_for_blocked(&mut writer, 1);
    for _ in 0..3 {
        writer.send(&["XADD", "topic", "*", "field", "value"]);
    }
    writer.send(&["XREADGROUP", "GROUP", "g", "new", "STREAMS", "topic", ">"]);
    let added: Vec<String> = (0..3).map(|_| writer.reply().text().to_owned()).collect();
    assert_eq!(ids(&reader.reply()), added[..1]);
    assert_eq!(ids(&writer.reply()), added[1..]);
}

#[test]
fn a_reader_of_several_topics_is_served_by_any() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut writer = server.client();
        writer.run("XGROUP CREATE a g $ MKSTREAM");
        writer.run("XGROUP CREATE b g $ MKSTREAM");
        let mut reader = server.client();
        for topic in ["a", "b", "a"] {
            reader.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "a", "b", ">", ">"]);
            wait_for_blocked(&mut writer, 1);
            let id = add(&mut writer, topic);
            let reply = reader.reply();
            assert_eq!(ids(&reply), [id]);
            assert_eq!(reply.array()[0].array()[0].text(), topic);
        }
        // The same key twice is one place in its line.
        reader.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "a", "a", ">", ">"]);
        wait_for_blocked(&mut writer, 1);
        let id = add(&mut writer, "a");
        assert_eq!(ids(&reader.reply()), [id]);
    }
}

#[test]
fn what_is_pending_never_blocks() {
    let server = server(2);
    let mut client = server.client();
    client.run("XGROUP CREATE topic g $ MKSTREAM");
    let mut reader = blocked_reader(&server, "waits");
    wait_for_blocked(&mut client, 1);
    assert!(ids(&client.run("XREADGROUP GROUP g c BLOCK 0 STREAMS topic 0")).is_empty());
    let reply = client.run("XREADGROUP GROUP g c BLOCK 0 STREAMS topic topic > 0");
    assert_eq!(reply.array().len(), 1, "only what was asked for by id is listed: {reply:?}");
    let id = add(&mut client, "topic");
    assert_eq!(ids(&reader.reply()), [id]);
}

#[test]
fn the_end_of_the_group_or_the_topic_ends_the_waiting() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut other = server.client();
        for end in ["XGROUP DESTROY topic g", "DEL topic", "FLUSHALL", "UNLINK topic", "PEXPIRE topic 1"] {
            other.run("XGROUP CREATE topic g $ MKSTREAM");
            let mut readers = [blocked_reader(&server, "a"), blocked_reader(&server, "b")];
            wait_for_blocked(&mut other, 2);
            other.run(end);
            for reader in &mut readers {
                assert_eq!(reader.reply().error(), NO_GROUP, "{end}");
            }
        }
    }
}

/// However soon the group is there again, it is not the one that was waited for.
#[test]
fn a_group_made_anew_is_another_group() {
    let server = server(2);
    let mut other = server.client();
    other.run("XGROUP CREATE topic g $ MKSTREAM");
    for _ in 0..20 {
        let mut reader = blocked_reader(&server, "c");
        wait_for_blocked(&mut other, 1);
        other.send_raw(b"XGROUP DESTROY topic g\r\nXGROUP CREATE topic g $\r\nXADD topic * f v\r\n");
        for _ in 0..3 {
            other.reply();
        }
        assert_eq!(reader.reply().error(), NO_GROUP);
        let mut reader = blocked_reader(&server, "c");
        assert_eq!(ids(&reader.reply()).len(), 1);
    }
}

#[test]
fn unblocking_and_time_outs() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut other = server.client();
        other.run("XGROUP CREATE topic g $ MKSTREAM");
        let mut reader = server.client();
        let id = reader.run("CLIENT ID").int();
        for (how, reply) in [
            (String::new(), Reply::Nil),
            (" TIMEOUT".to_owned(), Reply::Nil),
            (" ERROR".to_owned(), Reply::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned())),
        ] {
            reader.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "topic", ">"]);
            reader.send(&["PING"]);
            wait_for_blocked(&mut other, 1);
            assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}{how}")), Reply::Int(1));
            assert_eq!(reader.reply(), reply);
            assert_eq!(
                reader.reply(),
                Reply::Status("PONG".to_owned()),
                "what stands behind it waits with it"
            );
        }
        let started = std::time::Instant::now();
        assert_eq!(reader.run("XREADGROUP GROUP g c BLOCK 50 STREAMS topic >"), Reply::Nil);
        assert!(started.elapsed().as_millis() >= 50);
        // Nobody is left in the line who could take what comes.
        let added = add(&mut other, "topic");
        assert_eq!(ids(&reader.run("XREADGROUP GROUP g c STREAMS topic >")), [added]);
    }
}

/// One who leaves, for whatever reason, passes the turn on.
#[test]
fn a_reader_that_leaves_makes_room_for_the_next() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut writer = server.client();
        writer.run("XGROUP CREATE topic g $ MKSTREAM");
        let first = blocked_reader(&server, "first");
        wait_for_blocked(&mut writer, 1);
        let mut second = blocked_reader(&server, "second");
        wait_for_blocked(&mut writer, 2);
        drop(first);
        wait_for_blocked(&mut writer, 1);
        let id = add(&mut writer, "topic");
        assert_eq!(ids(&second.reply()), [id]);
        assert_eq!(pending(&mut writer), 1);
    }
}

#[test]
fn groups_do_not_wait_for_each_other() {
    let server = server(3);
    let mut writer = server.client();
    let mut readers = Vec::new();
    for group in 0..30 {
        writer.run(&format!("XGROUP CREATE topic g{group} $ MKSTREAM"));
        let mut reader = server.client();
        reader.send(&[
            "XREADGROUP",
            "GROUP",
            &format!("g{group}"),
            "c",
            "BLOCK",
            "0",
            "STREAMS",
            "topic",
            ">",
        ]);
        readers.push(reader);
    }
    wait_for_blocked(&mut writer, readers.len());
    let id = add(&mut writer, "topic");
    for mut reader in readers {
        assert_eq!(ids(&reader.reply()), [id.as_str()]);
    }
}

#[test]
fn groups_are_of_whole_topics() {
    let server = server(2);
    let mut client = server.client();
    client.run("XADD topic * f v");
    for command in [
        "XGROUP CREATE topic#1 g 0",
        "XREADGROUP GROUP g c STREAMS topic#1 >",
        "XACK topic#1 g 1-1",
        "XPENDING topic#1 g",
        "XINFO GROUPS topic#1",
    ] {
        let reply = client.run(command);
        assert!(reply.error().contains("this command is for whole topics only"), "{command}: {reply:?}");
    }
}

/// To those who wait a transaction is one step: they see what is there after it.
#[test]
fn transactions_are_one_step_for_who_waits() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut other = server.client();
        other.run("XGROUP CREATE topic g $ MKSTREAM");
        let exec = |other: &mut wafka_tests::Client, commands: &[&str]| {
            other.run("MULTI");
            for command in commands {
                other.run(command);
            }
            other.run("EXEC")
        };
        let mut reader = blocked_reader(&server, "c");
        wait_for_blocked(&mut other, 1);
        // What the transaction reads itself is not there for others.
        exec(&mut other, &["XADD topic 1-1 f v", "XREADGROUP GROUP g own BLOCK 0 STREAMS topic >"]);
        exec(&mut other, &["XADD topic 2-1 f v", "XADD topic 2-2 f v", "XDEL topic 2-1"]);
        assert_eq!(ids(&reader.reply()), ["2-2"]);
        // A group that is there again afterwards was never away.
        let mut reader = blocked_reader(&server, "c");
        wait_for_blocked(&mut other, 1);
        exec(&mut other, &["XGROUP DESTROY topic g", "XGROUP CREATE topic g $", "XADD topic 3-1 f v"]);
        assert_eq!(ids(&reader.reply()), ["3-1"]);
        let mut reader = blocked_reader(&server, "c");
        wait_for_blocked(&mut other, 1);
        exec(&mut other, &["XADD topic 4-1 f v", "DEL topic"]);
        assert_eq!(reader.reply().error(), NO_GROUP);
    }
}

/// Who waits is served by events alone: what `XGROUP SETID` goes back to is for whoever asks next.
#[test]
fn setting_the_id_back_serves_nobody_who_waits() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut client = server.client();
        let first = add(&mut client, "topic");
        client.run("XGROUP CREATE topic g $");
        let mut reader = blocked_reader(&server, "waits");
        wait_for_blocked(&mut client, 1);
        client.run("XGROUP SETID topic g 0");
        assert_eq!(ids(&client.run("XREADGROUP GROUP g c STREAMS topic >")), [first.as_str()]);
        client.run("XGROUP SETID topic g 0");
        assert_eq!(ids(&client.run("XREADGROUP GROUP g c BLOCK 0 STREAMS topic >")), [first.as_str()]);
        client.run("XGROUP SETID topic g 0");
        let second = add(&mut client, "topic");
        assert_eq!(ids(&reader.reply()), [first]);
        assert_eq!(ids(&client.run("XREADGROUP GROUP g c STREAMS topic >")), [second]);
    }
}
