use super::*;

const ENTRY: &[u8] = b"*2\r\n$15\r\n1763859377000-3\r\n*2\r\n$1\r\nf\r\n$5\r\nhello\r\n";

fn id(ms: u64, seq: u64) -> Id {
    Id { ms, seq }
}

#[test]
fn an_id_is_read_with_the_bytes_it_takes() {
    let bytes = b"$15\r\n1763859377000-0\r\n$17\r\n1763859377000-123\r\n";
    let (first, used) = added(bytes).unwrap().unwrap();
    assert_eq!((first, used), (id(1_763_859_377_000, 0), 22));
    let (second, rest) = added(&bytes[used..]).unwrap().unwrap();
    assert_eq!((second, used + rest), (id(1_763_859_377_000, 123), bytes.len()));
}

#[test]
fn every_prefix_of_an_id_asks_for_more() {
    let bytes = b"$15\r\n1763859377000-0\r\n";
    for end in 0..bytes.len() {
        assert_eq!(added(&bytes[..end]), Ok(None), "after {end} bytes");
    }
}

#[test]
fn an_error_reply_is_an_error_once_its_line_is_whole() {
    let bytes = b"-OFFLINE partition 2 is offline\r\n$15\r\n";
    assert_eq!(added(&bytes[..10]), Ok(None));
    assert_eq!(added(bytes), Err(ReplyError::Server("OFFLINE partition 2 is offline".into())));
}

#[test]
fn anything_but_an_id_is_unexpected() {
    let wrong: [&[u8]; 9] = [
        b":1\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"$5\r\nhello\r\n",
        b"$3\r\n1-x\r\n",
        b"$3\r\n1-2xx",
        b"$\r\n",
        b"$3\rx",
        b"$99999999999\r\n",
    ];
    for bytes in wrong {
        assert!(matches!(added(bytes), Err(ReplyError::Unexpected { .. })), "{bytes:?}");
    }
}

#[test]
fn decimals() {
    assert_eq!(decimal(b"0"), Some(0));
    assert_eq!(decimal(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
    for wrong in [&b""[..], b"-1", b"1a", b"10000000000000000000"] {
        assert_eq!(decimal(wrong), None);
    }
}

#[test]
fn a_read_is_scanned_at_every_split() {
    let head = b"*1\r\n*2\r\n$5\r\nbench\r\n*2\r\n";
    for end in 0..head.len() {
        assert_eq!(xread_head(&head[..end]), Ok(None), "head after {end} bytes");
    }
    assert_eq!(xread_head(head), Ok(Some((Some(2), head.len()))));
    let mut scanner = EntryScanner::default();
    for end in 0..ENTRY.len() {
        assert_eq!(scanner.scan(&ENTRY[..end]), Ok(None), "entry after {end} bytes");
    }
    let expected = Entry { id: id(1_763_859_377_000, 3), payload: b"hello", used: ENTRY.len() };
    assert_eq!(scanner.scan(ENTRY), Ok(Some(expected)));
}

#[test]
fn an_empty_read_is_null() {
    assert_eq!(xread_head(b"*-1\r\n"), Ok(Some((None, 5))));
    for end in 0..5 {
        assert_eq!(xread_head(&b"*-1\r\n"[..end]), Ok(None));
    }
    assert_eq!(xread_head(b"-ERR no\r\n"), Err(ReplyError::Server("ERR no".into())));
    assert!(xread_head(b"*2\r\n*2\r\n").is_err());
}

#[test]
fn entries_may_change_their_shape() {
    let mut scanner = EntryScanner::default();
    let other = b"*2\r\n$3\r\n1-2\r\n*2\r\n$5\r\nfield\r\n$0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(scanner.scan(ENTRY).unwrap().unwrap().payload, b"hello");
        let entry = scanner.scan(other).unwrap().unwrap();
        assert_eq!((entry.id, entry.payload, entry.used), (id(1, 2), &b""[..], other.len()));
    }
}

#[test]
fn an_entry_of_another_form_is_unexpected() {
    let wrong: [&[u8]; 4] = [
        b"*3\r\n$3\r\n1-2\r\n",
        b"*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nf\r\n$2\r\nabcd\r\n",
        b"*2\r\n$3\r\n1-2\r\n*-1\r\n",
    ];
    for bytes in wrong {
        assert!(EntryScanner::default().scan(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
    }
}
