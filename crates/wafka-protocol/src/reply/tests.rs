use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use redis_protocol::resp2::{self, types::OwnedFrame as Frame2};
use redis_protocol::resp3::{self, types::OwnedFrame as Frame3, types::VerbatimStringFormat};
use wafka_core::EventId;

use super::{ReplyWriter, RespVersion};

/// A reply as the caller means it.
#[derive(Clone, Debug)]
enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Id(EventId),
    Null,
    NullArray,
    Double(f64),
    Boolean(bool),
    Verbatim(bool, Vec<u8>),
    Array(Vec<Reply>),
    Push(Vec<Reply>),
    Map(BTreeMap<Vec<u8>, Reply>),
    Set(BTreeSet<Vec<u8>>),
}

impl Reply {
    fn write(&self, writer: &mut ReplyWriter<'_>) {
        match self {
            Reply::Simple(text) => writer.simple(text),
            Reply::Error(text) => writer.error(text),
            Reply::Integer(value) => writer.integer(*value),
            Reply::Bulk(bytes) => writer.bulk(bytes),
            Reply::Id(id) => writer.bulk_id(*id),
            Reply::Null => writer.null(),
            Reply::NullArray => writer.null_array(),
            Reply::Double(value) => writer.double(*value),
            Reply::Boolean(value) => writer.boolean(*value),
            Reply::Verbatim(markdown, bytes) => writer.verbatim(if *markdown { "mkd" } else { "txt" }, bytes),
            Reply::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Reply::Push(items) => {
                writer.push(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Reply::Map(pairs) => {
                writer.map(pairs.len());
                for (key, value) in pairs {
                    writer.bulk(key);
                    value.write(writer);
                }
            }
            Reply::Set(items) => {
                writer.set(items.len());
                items.iter().for_each(|item| writer.bulk(item));
            }
        }
    }

    /// Whether a RESP2 client understood this reply.
    fn is2(&self, frame: &Frame2) -> bool {
        match (self, frame) {
            (Reply::Simple(text), Frame2::SimpleString(found)) => one_line(text).as_bytes() == found,
            (Reply::Error(text), Frame2::Error(found)) => error_line(text) == *found,
            (Reply::Integer(value), Frame2::Integer(found)) => value == found,
            (Reply::Bulk(bytes) | Reply::Verbatim(_, bytes), Frame2::BulkString(found)) => bytes == found,
            (Reply::Id(id), Frame2::BulkString(found)) => id.to_string().as_bytes() == found,
            (Reply::Null | Reply::NullArray, Frame2::Null) => true,
            (Reply::Double(value), Frame2::BulkString(found)) => {
                str::from_utf8(found).is_ok_and(|text| text.parse() == Ok(*value))
            }
            (Reply::Boolean(value), Frame2::Integer(found)) => i64::from(*value) == *found,
            (Reply::Array(items) | Reply::Push(items), Frame2::Array(found)) => {
                items.len() == found.len() && items.iter().zip(found).all(|(item, frame)| item.is2(frame))
            }
            (Reply::Map(pairs), Frame2::Array(found)) => {
                pairs.len() * 2 == found.len()
                    && pairs.iter().zip(found.chunks(2)).all(|((key, value), pair)| {
                        pair[0] == Frame2::BulkString(key.clone()) && value.is2(&pair[1])
                    })
            }
            (Reply::Set(items), Frame2::Array(found)) => {
                items.iter().cloned().map(Frame2::BulkString).collect::<Vec<_>>() == *found
            }
            _ => false,
        }
    }

    /// Whether a RESP3 client understood this reply.
    fn is3(&self, frame: &Frame3) -> bool {
        match (self, frame) {
            (Reply::Simple(text), Frame3::SimpleString { data, .. }) => one_line(text).as_bytes() == data,
            (Reply::Error(text), Frame3::SimpleError { data, .. }) => error_line(text) == *data,
            (Reply::Integer(value), Frame3::Number { data, .. }) => value == data,
            (Reply::Bulk(bytes), Frame3::BlobString { data, .. }) => bytes == data,
            (Reply::Verbatim(markdown, bytes), Frame3::VerbatimString { data, format, .. }) => {
                bytes == data && *markdown == (*format == VerbatimStringFormat::Markdown)
            }
            (Reply::Id(id), Frame3::BlobString { data, .. }) => id.to_string().as_bytes() == data,
            (Reply::Null | Reply::NullArray, Frame3::Null) => true,
            (Reply::Double(value), Frame3::Double { data, .. }) => value == data,
            (Reply::Boolean(value), Frame3::Boolean { data, .. }) => value == data,
            (Reply::Array(items), Frame3::Array { data, .. })
            | (Reply::Push(items), Frame3::Push { data, .. }) => {
                items.len() == data.len() && items.iter().zip(data).all(|(item, frame)| item.is3(frame))
            }
            (Reply::Map(pairs), Frame3::Map { data, .. }) => {
                pairs.len() == data.len()
                    && pairs
                        .iter()
                        .all(|(key, value)| data.get(&blob(key)).is_some_and(|found| value.is3(found)))
            }
            (Reply::Set(items), Frame3::Set { data, .. }) => {
                items.len() == data.len() && items.iter().all(|item| data.contains(&blob(item)))
            }
            _ => false,
        }
    }
}

fn blob(bytes: &[u8]) -> Frame3 {
    Frame3::BlobString { data: bytes.to_vec(), attributes: None }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn error_line(text: &str) -> String {
    one_line(text.trim_matches(['\r', '\n']))
}

fn replies() -> impl Strategy<Value = Reply> {
    let bytes = || vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        "[ -~\r\né]{0,20}".prop_map(Reply::Simple),
        "[A-Z]{1,8} [ -~\r\né]{0,20}".prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        any::<(u64, u64)>().prop_map(|(ms, seq)| Reply::Id(EventId { ms, seq })),
        Just(Reply::Null),
        Just(Reply::NullArray),
        any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan()).prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        (any::<bool>(), bytes()).prop_map(|(markdown, bytes)| Reply::Verbatim(markdown, bytes)),
        btree_set(bytes(), 0..5).prop_map(Reply::Set),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Reply::Array),
            vec(inner.clone(), 1..6).prop_map(Reply::Push),
            btree_map(bytes(), inner, 0..5).prop_map(Reply::Map),
        ]
    })
}

fn written(version: RespVersion, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut ReplyWriter::new(&mut out, version));
    out
}

proptest! {
    #[test]
    fn another_decoder_understands_every_reply(replies in vec(replies(), 1..4)) {
        let write_all = |writer: &mut ReplyWriter<'_>| replies.iter().for_each(|reply| reply.write(writer));
        let two = written(RespVersion::V2, write_all);
        let mut rest = two.as_slice();
        for reply in &replies {
            let (frame, len) = resp2::decode::decode(rest).unwrap().unwrap();
            prop_assert!(reply.is2(&frame), "{reply:?} was read as {frame:?}");
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());

        let three = written(RespVersion::V3, write_all);
        let mut rest = three.as_slice();
        for reply in &replies {
            let (frame, len) = resp3::decode::complete::decode(rest).unwrap().unwrap();
            prop_assert!(reply.is3(&frame), "{reply:?} was read as {frame:?}");
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
    }
}

fn check(write: impl Fn(&mut ReplyWriter<'_>), two: &str, three: &str) {
    assert_eq!(String::from_utf8(written(RespVersion::V2, &write)).unwrap(), two);
    assert_eq!(String::from_utf8(written(RespVersion::V3, &write)).unwrap(), three);
}

#[test]
fn replies_are_redis_s_bytes() {
    check(|w| w.ok(), "+OK\r\n", "+OK\r\n");
    check(|w| w.error("ERR a\r\nb\n\r\n"), "-ERR a  b\r\n", "-ERR a  b\r\n");
    check(|w| w.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
    check(
        |w| w.bulk_id(EventId { ms: 1_763_859_377_000, seq: 0 }),
        "$15\r\n1763859377000-0\r\n",
        "$15\r\n1763859377000-0\r\n",
    );
    check(|w| w.null(), "$-1\r\n", "_\r\n");
    check(|w| w.null_array(), "*-1\r\n", "_\r\n");
    check(|w| w.map(2), "*4\r\n", "%2\r\n");
    check(|w| w.set(2), "*2\r\n", "~2\r\n");
    check(|w| w.push(3), "*3\r\n", ">3\r\n");
    check(|w| w.boolean(true), ":1\r\n", "#t\r\n");
    check(|w| w.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
    check(|w| w.verbatim("x", b"hi"), "$2\r\nhi\r\n", "=6\r\nx  :hi\r\n");
}

#[test]
fn doubles_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (1e16, "10000000000000000"),
        (1e300, "1e300"),
        (1.25e-9, "1.25e-9"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        let bulk = format!("${}\r\n{text}\r\n", text.len());
        check(|w| w.double(value), &bulk, &format!(",{text}\r\n"));
    }
}
