use super::super::offset_of;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const TOPIC: &[u8] = b"deliveries";

fn encode(flat: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = EventEncoder::new(TOPIC, PartitionId(1));
    encoder.encode(&mut out, EventId::new(1_795_402_577_000, 0), 54, &[], Fields::new(flat).unwrap());
    out
}

fn decode(line: &[u8]) -> Result<Vec<Vec<u8>>, LineError> {
    let mut buf = FieldBuf::new();
    let event = EventLine::parse(line)?;
    let fields = event.fields(&mut buf)?;
    Ok(fields.parts().map(<[u8]>::to_vec).collect())
}

fn message(line: &[u8]) -> String {
    String::from_utf8(EventLine::parse(line).unwrap().message().to_vec()).unwrap()
}

fn sealed(content: &str) -> Vec<u8> {
    let mut line = content.as_bytes().to_vec();
    seal(&mut line, 0);
    line
}

#[test]
fn the_line_is_this() {
    // Checksum computed independently, with a bitwise CRC-32C.
    let line = encode(&[b"truck", b"7", b"status", b"ontime"]);
    let expected = concat!(
        r#"{"event_id":"1795402577000-0","topic_name":"deliveries","partition":1,"offset":54,"#,
        r#""timestamp":"2026-11-23T02:56:17.000Z","message":{"truck":"7","status":"ontime"},"crc32c":"70a3bea1"}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn messages_are_these() {
    let cases: &[(&[&[u8]], &str)] = &[
        (&[], "{}"),
        (&[b"", b""], r#"{"":""}"#),
        (&[b"b", b"1", b"a", b"2"], r#"{"b":"1","a":"2"}"#),
        (&[b"a", b"1", b"a", b"2"], r#"[["a","1"],["a","2"]]"#),
        (&[b"a", b"\xff"], r#"{"a":{"base64":"/w=="}}"#),
        (&[b"a", b"1", b"\xff", b"2"], r#"[["a","1"],[{"base64":"/w=="},"2"]]"#),
        (&[b"order", br#"{"total": 3}"#], r#"{"order":{"total": 3}}"#),
        (&[b"{}", b"{}"], r#"{"{}":{}}"#),
        (&[b"a", b"{}\n"], r#"{"a":"{}\n"}"#),
        (&[b"a", br#"{ "base64":"eA=="}"#], r#"{"a":"{ \"base64\":\"eA==\"}"}"#),
        (&[b"base64", b"eA=="], r#"{"base64":"eA=="}"#),
    ];
    for (flat, json) in cases {
        let line = encode(flat);
        assert_eq!(message(&line), *json);
        assert_eq!(decode(&line).unwrap(), *flat);
    }
}

#[test]
fn a_mebibyte_of_anything_comes_back() {
    let binary: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let values = [
        vec![b'x'; 1 << 20],
        vec![b'"'; 1 << 20],
        vec![0; 1 << 20],
        binary,
        vec![b'['; 1 << 20],
        "é".repeat(1 << 19).into(),
    ];
    let array = format!("[{}1]", "1,".repeat(1 << 19)).into_bytes();
    for value in values.iter().chain([&array]) {
        let line = encode(&[b"value", value]);
        assert!(decode(&line).unwrap()[1] == *value, "{:?}…", &value[..8]);
    }
    assert!(message(&encode(&[b"value", &array])).starts_with(r#"{"value":[1,1"#));
}

#[test]
fn control_characters_do_not_blow_a_line_up() {
    let controls = vec![0u8; 1 << 20];
    let line = encode(&[b"a", &controls]);
    assert!(message(&line).starts_with(r#"{"a":{"base64":"AAAA"#));
    assert!(line.len() < (1 << 20) * 4 / 3 + 300);
    assert!(decode(&line).unwrap() == [b"a", &controls[..]]);
    // A name that is not a string makes pairs of the fields.
    let line = encode(&[&controls, b"1"]);
    assert!(message(&line).starts_with(r#"[[{"base64":"AAAA"#));
    assert!(decode(&line).unwrap() == [&controls[..], b"1"]);
}

#[test]
fn many_fields_and_a_repeat_among_them() {
    let names: Vec<Vec<u8>> = (0..2000).map(|i| format!("field{i}").into_bytes()).collect();
    let mut flat: Vec<&[u8]> = names.iter().flat_map(|name| [&name[..], b"v"]).collect();
    assert!(message(&encode(&flat)).starts_with('{'));
    flat.extend([&names[77][..], b"w"]);
    let line = encode(&flat);
    assert!(message(&line).starts_with('['));
    assert_eq!(decode(&line).unwrap(), flat);
}

#[test]
fn a_copy_differs_in_place_alone() {
    let values: [&[u8]; 4] = [b"plain", b"\xff\x00\n", br#"{"a":[1,2]}"#, b""];
    let mut out = Vec::new();
    for (offset, value) in values.iter().enumerate() {
        let flat: [&[u8]; 4] = [b"f", value, b"g", value];
        let metadata: &[(&str, &[u8])] = if offset % 2 == 0 { &[] } else { &[("producer", b"\xfe\"")] };
        let id = EventId::new(7 + offset as u64, 3);
        let fields = Fields::new(&flat).unwrap();
        let mut line = Vec::new();
        EventEncoder::new(TOPIC, PartitionId(1)).encode(&mut line, id, offset as u64, metadata, fields);
        out.clear();
        let mut other = EventEncoder::new(b"other", PartitionId(9));
        other.copy(&mut out, &EventLine::parse(&line).unwrap(), 100);
        let mut expected = Vec::new();
        EventEncoder::new(b"other", PartitionId(9)).encode(&mut expected, id, 100, metadata, fields);
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

#[test]
fn metadata_stands_before_the_message_and_unknown_keys_are_passed_over() {
    let mut out = Vec::new();
    let fields: [&[u8]; 2] = [b"a", b"1"];
    EventEncoder::new(TOPIC, PartitionId(1)).encode(
        &mut out,
        EventId::new(1, 0),
        0,
        &[("key", b"a\"b"), ("producer", b"p")],
        Fields::new(&fields).unwrap(),
    );
    let text = String::from_utf8(out.clone()).unwrap();
    assert!(text.contains(r#"Z","key":"a\"b","producer":"p","message":{"a":"1"},"#), "{text}");
    let read = |line: &[u8]| -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        let metadata = EventLine::parse(line).unwrap().metadata().map(Result::unwrap);
        metadata.map(|(key, value)| (text(key), text(value))).collect()
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(read(&out), [pair("key", "a\"b"), pair("producer", "p")]);

    let later = sealed(concat!(
        r#"{"event_id":"1-0","topic_name":"a","partition":1,"offset":0,"timestamp":"1970-01-01T00:00:00.001Z","#,
        r#""n":-1.5,"t":true,"o":{"message":[{},"}"]},"l":[ ],"b":{"base64":"eA=="},"message":{"a":"1"}"#
    ));
    let expected = [
        pair("n", "-1.5"),
        pair("t", "true"),
        pair("o", r#"{"message":[{},"}"]}"#),
        pair("l", "[ ]"),
        pair("b", "x"),
    ];
    assert_eq!(read(&later), expected);
    assert_eq!(decode(&later).unwrap(), fields);
}

#[test]
fn whole_lines_that_are_no_event_lines_are_refused() {
    let good = r#"{"event_id":"1-0","topic_name":"a","partition":1,"offset":0,"timestamp":"1970-01-01T00:00:00.001Z","message":{"a":"1"}"#;
    assert!(decode(&sealed(good)).is_ok());
    for (part, bad) in [
        ("event_id", "Event_id"),
        ("1-0", "01-0"),
        ("1-0", "1"),
        ("1-0", "18446744073709551616-0"),
        ("\"a\",", "a,"),
        ("\"a\",", "{\"base64\":1},"),
        ("partition\":1", "partition\":65536"),
        ("offset\":0", "offset\":-1"),
        ("offset\":0", "offset\":0.5"),
        (".001Z", ".01Z"),
        (",\"message\"", ",\"messages\""),
        (",\"message\"", ",,\"message\""),
        (r#"{"a":"1"}"#, "1"),
        (r#"{"a":"1"}"#, r#"{"a":1}"#),
        (r#"{"a":"1"}"#, r#"{"a":"1",}"#),
        (r#"{"a":"1"}"#, r#"{"a" :"1"}"#),
        (r#"{"a":"1"}"#, r#"{"a":"1"}}"#),
        (r#"{"a":"1"}"#, r#"{"a":"\ud800"}"#),
        (r#"{"a":"1"}"#, r#"{"a":{"base64":"eA"}}"#),
        (r#"{"a":"1"}"#, r#"{{"base64":"eA=="}:"1"}"#),
        (r#"{"a":"1"}"#, r#"[["a"]]"#),
        (r#"{"a":"1"}"#, r#"[["a","1","2"]]"#),
        (r#"{"a":"1"}"#, r#"[[["a"],"1"]]"#),
        (r#"{"a":"1"}"#, ""),
    ] {
        let line = sealed(&good.replacen(part, bad, 1));
        assert!(matches!(decode(&line), Err(LineError::Syntax { .. })), "{part} -> {bad}");
    }
}

#[test]
fn errors_say_what_and_where() {
    let line = sealed(r#"{"event_id":"1-x","#);
    let error = decode(&line).unwrap_err();
    assert_eq!(error.to_string(), "at byte 15 of the line: expected an unsigned 64-bit decimal number");
    let error = decode(&sealed("{")).unwrap_err();
    assert_eq!(error.to_string(), r#"at byte 0 of the line: expected {"event_id":""#);
}

/// Bytes that meet the codec's every branch.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a-c]{0,2}".prop_map(String::into_bytes),
        2 => any::<String>().prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..80),
        2 => "[\"\\\\\n\r\t\0\u{7f}\u{2028}é😀x]{0,40}".prop_map(String::into_bytes),
        2 => "[\\[\\]{}\",:\\\\ 1a\n]{0,12}".prop_map(String::into_bytes),
        2 => json_value().prop_map(|value| value.to_string().into_bytes()),
        1 => json_value().prop_map(|value| serde_json::to_vec_pretty(&value).unwrap()),
        1 => "\\{ ?\"(base64|\\\\u0062ase64)\" ?: ?\"[A-Za-z0-9+/]{0,6}=?=?\" ?\\}[ \n]?".prop_map(String::into_bytes),
        1 => "\\[\"(\\\\ud[89a-f]0[0-9]){1,3}\"\\]".prop_map(String::into_bytes),
        1 => (95..105usize).prop_map(|depth| ("[".repeat(depth) + &"]".repeat(depth)).into_bytes()),
    ]
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec(("base64|[a-z\"]{0,3}", inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec((part(), part()), 0..20)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
}

/// The message as any reader of JSON sees it, brought back to bytes by the rules of the format.
fn as_others_read(message: &serde_json::Value) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    use base64::Engine;
    let bytes = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Object(form) if form.len() == 1 && form.contains_key("base64") => {
            let digits = form["base64"].as_str().unwrap();
            Some(base64::engine::general_purpose::STANDARD.decode(digits).unwrap())
        }
        // Verbatim: its bytes are not to be had from the parsed value.
        _ => None,
    };
    match message {
        serde_json::Value::Object(entries) => {
            entries.iter().map(|(name, value)| (name.clone().into_bytes(), bytes(value))).collect()
        }
        serde_json::Value::Array(pairs) => {
            pairs.iter().map(|pair| (bytes(&pair[0]).unwrap(), bytes(&pair[1]))).collect()
        }
        _ => panic!("a message is an object or an array"),
    }
}

proptest! {
    #[test]
    fn every_field_list_comes_back(events in vec((parts(), any::<u64>(), any::<u64>(), any::<u64>()), 1..4), topic: Vec<u8>, partition: u16) {
        let mut encoder = EventEncoder::new(&topic, PartitionId(partition));
        let mut buf = FieldBuf::new();
        let mut headers = HeaderReader::default();
        for (parts, ms, seq, offset) in events {
            let flat: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            let mut line = Vec::new();
            let id = EventId::new(ms, seq);
            encoder.encode(&mut line, id, offset, &[], Fields::new(&flat).unwrap());

            prop_assert_eq!(memchr::memchr3(b'\n', b'\r', 0, &line), Some(line.len() - 1));
            prop_assert_eq!(offset_of(&line), Some(offset));
            prop_assert_eq!(EventLine::peek(&line), Some((id, offset)));
            let header = headers.read(&line).unwrap();
            prop_assert_eq!((header.id, header.offset, header.partition), (id, offset, PartitionId(partition)));
            prop_assert_eq!(header.event(verify(&line).unwrap()).unwrap().message_at, EventLine::parse(&line).unwrap().message_at);
            let event = EventLine::parse(&line).unwrap();
            prop_assert_eq!((event.id, event.offset, event.partition), (id, offset, PartitionId(partition)));
            prop_assert_eq!(event.topic_name().unwrap(), &topic[..]);
            prop_assert_eq!(event.metadata().count(), 0);
            let fields = event.fields(&mut buf).unwrap();
            prop_assert_eq!(std::str::from_utf8(fields.id_text()).unwrap(), format!("{ms}-{seq}"));
            prop_assert_eq!(fields.len() * 2, parts.len());
            prop_assert_eq!(fields.parts().collect::<Vec<_>>(), &flat[..]);
            prop_assert_eq!(fields.iter().collect::<Vec<_>>(), Fields::new(&flat).unwrap().iter().collect::<Vec<_>>());

            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&line).unwrap();
            let keys: Vec<_> = object.keys().map(String::as_str).collect();
            prop_assert_eq!(keys, ["event_id", "topic_name", "partition", "offset", "timestamp", "message", "crc32c"]);
            let read = as_others_read(&object["message"]);
            prop_assert_eq!(read.len() * 2, parts.len());
            for ((name, value), pair) in read.iter().zip(parts.chunks(2)) {
                prop_assert_eq!(name, &pair[0]);
                prop_assert_eq!(value.as_ref().unwrap_or(&pair[1]), &pair[1]);
            }
        }
    }

    #[test]
    fn an_encoder_that_remembers_writes_what_a_new_one_writes(ids in vec((0u64..3, 0u64..30, 0u64..200), 1..30)) {
        let flat: [&[u8]; 2] = [b"a", b"1"];
        let fields = Fields::new(&flat).unwrap();
        let mut encoder = EventEncoder::new(TOPIC, PartitionId(2));
        let (mut kept, mut fresh) = (Vec::new(), Vec::new());
        for (ms, seq, offset) in ids {
            let id = EventId::new(999 + ms, seq);
            encoder.encode(&mut kept, id, offset, &[], fields);
            EventEncoder::new(TOPIC, PartitionId(2)).encode(&mut fresh, id, offset, &[], fields);
        }
        prop_assert_eq!(kept, fresh);
    }

    #[test]
    fn a_change_of_any_byte_shows(parts in parts(), at: prop::sample::Index, flip in 1u8..) {
        let flat: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        let mut line = encode(&flat);
        let at = at.index(line.len());
        line[at] ^= flip;
        prop_assert!(verify(&line).is_err());
        prop_assert!(EventLine::parse(&line).is_err());
        let _ = (EventLine::peek(&line), offset_of(&line));
    }

    /// A wrong line under a right checksum: parsing refuses it or reads something, and agrees with itself.
    #[test]
    fn no_bytes_make_parsing_panic(parts in parts(), edits in vec((any::<prop::sample::Index>(), 0usize..3, prop::sample::select(b"\"\\{}[],:0a\xff\0".to_vec())), 1..4)) {
        let flat: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        let line = encode(&flat);
        let mut content = verify(&line).unwrap().to_vec();
        for (at, remove, insert) in edits {
            let at = at.index(content.len());
            let end = (at + remove).min(content.len());
            content.splice(at..end, [insert]);
        }
        seal(&mut content, 0);
        let mut buf = FieldBuf::new();
        // A reader that comes from another line sees what one sees that begins here.
        let mut headers = HeaderReader::default();
        headers.read(&line).unwrap();
        let (kept, fresh) = (headers.read(&content), EventHeader::read(&content));
        prop_assert_eq!(format!("{kept:?}"), format!("{fresh:?}"));
        if let Ok(event) = EventLine::parse(&content) {
            prop_assert_eq!(EventLine::peek(&content), Some((event.id, event.offset)));
            prop_assert_eq!(offset_of(&content), Some(event.offset));
            let _ = (event.topic_name(), event.metadata().count());
            if let Ok(fields) = event.fields(&mut buf) {
                prop_assert_eq!(fields.parts().len() % 2, 0);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_line(bytes: Vec<u8>) {
        prop_assert!(EventLine::parse(&bytes).is_err());
        let _ = (EventLine::peek(&bytes), offset_of(&bytes));
    }
}
