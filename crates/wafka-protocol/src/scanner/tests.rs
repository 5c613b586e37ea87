use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::{self, types::Resp2Frame};
use redis_protocol::resp3::{self, types::Resp3Frame};

use super::{MAX_KEPT, MAX_RESERVED, RequestScanner};
use crate::{Args, Limits, ProtocolError, Scanned};

type Request = Vec<Vec<u8>>;

/// Feeds `bytes` to a scanner in pieces of the given lengths (the last piece takes the rest), as a connection does:
/// append, scan what is complete, drop it from the front. The requests found and how it ended.
fn feed(
    bytes: &[u8],
    cuts: &[usize],
    limits: &Limits,
) -> (Vec<Request>, Result<Option<Scanned>, ProtocolError>) {
    let (mut scanner, mut buf, mut requests) = (RequestScanner::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        buf.extend_from_slice(piece);
        loop {
            match scanner.scan(&buf, limits) {
                Ok(Some(Scanned { consumed })) => {
                    let mut args = Args::new();
                    scanner.args(&buf, &mut args);
                    requests.push(request(&args));
                    drop(args);
                    buf.drain(..consumed);
                }
                Ok(None) => {
                    let hint = scanner.needed(buf.len());
                    assert!(hint <= limits.max_bulk_len.saturating_add(2), "hint {hint}");
                    break;
                }
                Err(error) => {
                    assert_eq!(scanner.scan(&buf, limits), Err(error), "an error lasts");
                    return (requests, Err(error));
                }
            }
        }
    }
    (requests, Ok(None))
}

fn request(args: &[&[u8]]) -> Request {
    args.iter().map(|arg| arg.to_vec()).collect()
}

/// Whole and byte by byte, `bytes` are exactly these requests.
fn check(bytes: &[u8], expected: &[&[&[u8]]]) {
    let limits = Limits::default();
    let expected: Vec<Request> = expected.iter().map(|args| request(args)).collect();
    for cuts in [vec![], vec![1; bytes.len()]] {
        assert_eq!(feed(bytes, &cuts, &limits), (expected.clone(), Ok(None)), "{}", bytes.escape_ascii());
    }
}

/// Whole and byte by byte, `bytes` end in an error of this text.
fn refuse(bytes: &[u8], limits: &Limits, text: &str) {
    for cuts in [vec![], vec![1; bytes.len()]] {
        let found = feed(bytes, &cuts, limits).1.map_err(|error| error.to_string());
        assert_eq!(found, Err(format!("Protocol error: {text}")), "{}", bytes.escape_ascii());
    }
}

#[test]
fn requests_are_found_in_a_pipeline() {
    check(b"*2\r\n$4\r\nXLEN\r\n$1\r\ns\r\n*1\r\n$4\r\nPING\r\n", &[&[b"XLEN", b"s"], &[b"PING"]]);
    check(b"*2\r\n$0\r\n\r\n$4\r\n\r\n$1\r\n", &[&[b"", b"\r\n$1"]]);
    check(b"PING\r\nset k 'a b'\n*1\r\n$4\r\nPING\r\n", &[&[b"PING"], &[b"set", b"k", b"a b"], &[b"PING"]]);
    check(b"$4\r\n", &[&[b"$4"]]);
}

#[test]
fn lengths_of_every_number_of_digits() {
    for len in [1, 9, 10, 99, 100, 999, 1000, 12_345, 100_000] {
        let arg = vec![b'x'; len];
        let mut bytes = format!("*1\r\n${len}\r\n").into_bytes();
        bytes.extend_from_slice(&arg);
        bytes.extend_from_slice(b"\r\n");
        let found = feed(&bytes, &[7, 3, 1], &Limits::default());
        assert_eq!(found, (vec![vec![arg]], Ok(None)));
    }
    let mut bytes = b"*12\r\n".to_vec();
    bytes.extend(b"$1\r\na\r\n".repeat(12));
    check(&bytes, &[&[b"a".as_slice(); 12]]);
}

#[test]
fn empty_requests_complete_without_arguments() {
    check(
        b"\r\n\n  \r\n*0\r\n*-1\r\n*-9223372036854775808\r\nPING\r\n",
        &[&[], &[], &[], &[], &[], &[], &[b"PING"]],
    );
}

#[test]
fn faults_have_redis_s_texts() {
    let limits = Limits::default();
    for bytes in [
        "*\r\n",
        "*x\r\n",
        "*01\r\n",
        "*+1\r\n",
        "*1 \r\n",
        "*-0\r\n",
        "*1048577\r\n",
        "*3000000000\r\n",
        "*99999999999999999999\r\n",
        "*1\rx",
    ] {
        refuse(bytes.as_bytes(), &limits, "invalid multibulk length");
    }
    for bytes in ["$\r\n", "$-1\r\n", "$blabla\r\n", "$00\r\n", "$536870913\r\n", "$2000000000\r\n", "$1\rx"]
    {
        refuse(format!("*1\r\n{bytes}").as_bytes(), &limits, "invalid bulk length");
    }
    refuse(b"*1\r\nfoo\r\n", &limits, "expected '$', got 'f'");
    refuse(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", &limits, "expected '$', got 'f'");
    refuse(b"*1\r\n*1\r\n$4\r\nPING\r\n", &limits, "expected '$', got '*'");
    refuse(b"*1\r\n$3\r\nPING\r\n", &limits, "expected CRLF after the bytes of a bulk");
    refuse(b"PING 'a\r\n", &limits, "unbalanced quotes in request");
}

#[test]
fn endless_lines_are_refused_at_64_kib() {
    let limits = Limits::default();
    let long = "1".repeat(64 * 1024 + 1);
    for (start, text) in [
        ("", "too big inline request"),
        ("*", "too big mbulk count string"),
        ("*1\r\n$", "too big bulk count string"),
    ] {
        for end in ["", "\r\n"] {
            let bytes = format!("{start}{long}{end}");
            for cuts in [vec![], vec![1000; 66]] {
                let found = feed(bytes.as_bytes(), &cuts, &limits).1.map_err(|error| error.to_string());
                assert_eq!(found, Err(format!("Protocol error: {text}")), "{start}");
            }
        }
    }
    let longest = "a".repeat(64 * 1024);
    check(format!("{longest}\n").as_bytes(), &[&[longest.as_bytes()]]);
}

#[test]
fn unauthenticated_clients_send_little() {
    let limits = Limits::unauthenticated();
    refuse(b"*11\r\n", &limits, "unauthenticated multibulk length");
    refuse(b"*1048577\r\n", &limits, "invalid multibulk length");
    refuse(b"*1\r\n$16385\r\n", &limits, "unauthenticated bulk length");
    refuse(b"*1\r\n$536870913\r\n", &limits, "invalid bulk length");
    let args = vec![vec![b'x'; 16 * 1024]; 10];
    assert_eq!(feed(&encode2(&args), &[], &limits), (vec![args], Ok(None)));
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let limits = Limits { max_request_len: 24, ..Limits::default() };
    let fits = b"*2\r\n$4\r\nECHO\r\n$4\r\nabcd\r\n";
    assert_eq!(fits.len(), 24);
    assert_eq!(feed(fits, &[], &limits).1, Ok(None));
    refuse(b"*2\r\n$4\r\nECHO\r\n$5\r\n", &limits, "too big request");
    let limits = Limits {
        max_bulk_len: usize::MAX,
        max_request_len: usize::MAX,
        max_args: usize::MAX,
        ..Limits::default()
    };
    refuse(b"*1\r\n$9223372036854775807\r\n", &limits, "too big request");
}

#[test]
fn bytes_once_scanned_are_not_looked_at_again() {
    let mut bytes = b"*3\r\n".to_vec();
    for arg in [b"XADD".repeat(500), b"y".repeat(3000), b"z".repeat(70_000)] {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(&arg);
        bytes.extend_from_slice(b"\r\n");
    }
    for bytes in [bytes, format!("{}\n", "w ".repeat(20_000)).into_bytes()] {
        let limits = Limits::default();
        let (mut scanner, mut buf) = (RequestScanner::new(), Vec::new());
        for piece in bytes.chunks(64) {
            buf.extend_from_slice(piece);
            if let Some(done) = scanner.scan(&buf, &limits).unwrap() {
                assert_eq!(done.consumed, bytes.len());
            } else {
                // Whatever has been passed over may change without being noticed.
                buf[1..scanner.pos.max(scanner.searched)].fill(b'!');
                assert!(scanner.announced.is_some() || scanner.searched + 1 >= buf.len());
            }
        }
        assert!(matches!(scanner.state, super::State::Complete(_)));
    }
}

#[test]
fn memory_follows_what_arrived() {
    let limits = Limits::default();
    let mut scanner = RequestScanner::new();
    let mut buf = b"*1048576\r\n".to_vec();
    assert_eq!(scanner.scan(&buf, &limits), Ok(None));
    assert!(scanner.ranges.capacity() <= MAX_RESERVED);
    buf.extend(b"$1\r\na\r\n".repeat(1_048_576));
    assert_eq!(scanner.scan(&buf, &limits), Ok(Some(Scanned { consumed: buf.len() })));
    let mut args = Args::new();
    scanner.args(&buf, &mut args);
    assert_eq!(args.len(), 1_048_576);
    drop(args);
    assert_eq!(scanner.scan(b"", &limits), Ok(None));
    assert!(scanner.ranges.capacity() <= MAX_KEPT, "given back");
}

#[test]
fn there_are_no_arguments_before_the_end() {
    let mut scanner = RequestScanner::new();
    let buf = b"*2\r\n$1\r\na\r\n$5\r\nbc";
    assert_eq!(scanner.scan(buf, &Limits::default()), Ok(None));
    assert_eq!(scanner.needed(buf.len()), 5);
    let mut args = Args::from_iter([b"old".as_slice()]);
    scanner.args(buf, &mut args);
    assert!(args.is_empty());
}

fn encode2(args: &[Vec<u8>]) -> Vec<u8> {
    let bulks = args.iter().map(|arg| resp2::types::OwnedFrame::BulkString(arg.clone())).collect();
    let frame = resp2::types::OwnedFrame::Array(bulks);
    let mut bytes = vec![0; frame.encode_len(false)];
    let len = resp2::encode::encode(&mut bytes, &frame, false).unwrap();
    assert_eq!(len, bytes.len());
    bytes
}

fn encode3(args: &[Vec<u8>]) -> Vec<u8> {
    let bulk = |arg: &Vec<u8>| resp3::types::OwnedFrame::BlobString { data: arg.clone(), attributes: None };
    let frame = resp3::types::OwnedFrame::Array { data: args.iter().map(bulk).collect(), attributes: None };
    let mut bytes = vec![0; frame.encode_len(false)];
    let len = resp3::encode::complete::encode(&mut bytes, &frame, false).unwrap();
    assert_eq!(len, bytes.len());
    bytes
}

/// Bytes that resemble requests often enough to get far into the scanner.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*1\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"*0\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        Just(b"*12345678901\r\n".to_vec()),
        Just(b"$0\r\n\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"$10\r\n0123456789\r\n".to_vec()),
        Just(b"$100\r\n".to_vec()),
        Just(b"$1000000000\r\n".to_vec()),
        Just(b"PING 'a b' \"\\x41\"\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        vec(prop::sample::select(b"*$-+019x'\"\\ \r\n\0".to_vec()), 0..6),
        vec(any::<u8>(), 0..40),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (0..6_usize, 0..300_usize, 0..80_usize, 0..400_usize, any::<bool>()).prop_map(
        |(max_args, max_bulk_len, max_inline_len, max_request_len, unauthenticated)| Limits {
            max_args,
            max_bulk_len,
            max_inline_len,
            max_request_len,
            unauthenticated,
        },
    )
}

proptest! {
    #[test]
    fn requests_of_another_encoder_scan_to_their_arguments(
        requests in vec(vec(vec(any::<u8>(), 0..200), 1..20), 0..5),
        cuts in vec(0..300_usize, 0..20),
    ) {
        let two: Vec<u8> = requests.iter().flat_map(|args| encode2(args)).collect();
        prop_assert_eq!(feed(&two, &cuts, &Limits::default()), (requests.clone(), Ok(None)));
        let three: Vec<u8> = requests.iter().flat_map(|args| encode3(args)).collect();
        prop_assert_eq!(feed(&three, &cuts, &Limits::default()), (requests, Ok(None)));
    }

    #[test]
    fn cuts_do_not_change_the_outcome(
        bytes in nearly_requests(),
        cuts in vec(0..20_usize, 0..60),
        limits in prop_oneof![Just(Limits::default()), small_limits()],
    ) {
        let whole = feed(&bytes, &[], &limits);
        prop_assert_eq!(&feed(&bytes, &cuts, &limits), &whole);
        prop_assert_eq!(&feed(&bytes, &vec![1; bytes.len()], &limits), &whole);
    }

    #[test]
    fn quoted_words_come_back(args in vec(vec(any::<u8>(), 0..30), 1..8), cuts in vec(0..20_usize, 0..20)) {
        let words: Vec<String> = args
            .iter()
            .map(|arg| format!("\"{}\"", arg.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()))
            .collect();
        let line = format!("{}\r\n", words.join(" "));
        prop_assert_eq!(feed(line.as_bytes(), &cuts, &Limits::default()), (vec![args], Ok(None)));
    }
}
