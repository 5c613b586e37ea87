use proptest::collection::vec;
use proptest::prelude::*;

use super::{glob_match, parse_i64, parse_u64};

#[test]
fn integers_are_strict() {
    for (text, number) in [
        ("0", Some(0)),
        ("7", Some(7)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), number, "{text}");
    }
    for text in [
        "",
        "-",
        "-0",
        "00",
        "01",
        "-01",
        "+1",
        " 1",
        "1 ",
        "1x",
        "--1",
        "1\0",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    for text in ["", "18446744073709551616", "99999999999999999999", "-1", "01", "1.0"] {
        assert_eq!(parse_u64(text.as_bytes()), None, "{text}");
    }
}

fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    for text in matching {
        assert!(glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
    }
    for text in other {
        assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
    }
}

#[test]
fn globs() {
    check("", &[""], &["a"]);
    check("*", &["", "a", "abc"], &[]);
    check("a*", &["a", "abc"], &["", "ba"]);
    check("a**b*c", &["abc", "axxbyyc", "abbcc"], &["ab", "abcd"]);
    check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
    check("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]);
    check("h[^e]llo", &["hallo"], &["hello", "hllo"]);
    check("h[a-b]llo", &["hallo", "hbllo"], &["hcllo", "h-llo"]);
    check("[z-a]", &["a", "m", "z"], &["A"]);
    check(r"a\*b", &["a*b"], &["axb"]);
    check(r"[\]\-]x", &["]x", "-x"], &[r"\x"]);
    check("*[0-9]?", &["a1b", "123"], &["abc", "1"]);
    check("x*yz*", &["xyz", "xyyz", "xyz1yz"], &["xy", "xzy"]);
}

#[test]
fn malformed_globs_are_read_as_redis_does() {
    check("a[bc", &["ab", "ac"], &["a", "ad", "a["]);
    check("[", &[], &["[", "", "a"]);
    check("[]a", &[], &["a", "]a", "]"]);
    check("[^]", &["a", "]"], &[""]);
    check("[a-]", &["a", "]", "^"], &["-"]);
    check("[a-", &["a", "-"], &["b"]);
    check(r"a\", &[r"a\"], &["a"]);
    check(r"[\", &[r"\"], &["a"]);
}

#[test]
fn globs_without_case() {
    for (pattern, text) in [("ABC", "abc"), ("a[B-D]", "AC"), ("[^x]", "a"), ("Max*", "maxMEMORY")] {
        assert!(glob_match(pattern.as_bytes(), text.as_bytes(), true), "{pattern} {text}");
    }
    assert!(!glob_match(b"[^x]", b"X", true));
    assert!(!glob_match(b"ABC", b"abc", false));
}

#[test]
fn many_stars_take_polynomial_time() {
    let pattern = "a*".repeat(64) + "b";
    let text = "a".repeat(4096);
    assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false));
    assert!(glob_match(pattern.as_bytes(), (text + "b").as_bytes(), false));
}

/// The meaning of a pattern of literals, `?` and `*`, written down without care for time.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|from| naive(rest, &text[from..])),
        ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
        ([literal, rest @ ..], [byte, text @ ..]) => literal == byte && naive(rest, text),
        (_, []) => false,
    }
}

proptest! {
    #[test]
    fn integers_come_back(number in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(parse_i64(number.to_string().as_bytes()), Some(number));
        prop_assert_eq!(parse_u64(unsigned.to_string().as_bytes()), Some(unsigned));
    }

    #[test]
    fn an_integer_is_how_it_prints(bytes in vec(prop::sample::select(b"-+ 0123456789x".to_vec()), 0..22)) {
        if let Some(number) = parse_i64(&bytes) {
            prop_assert_eq!(number.to_string().into_bytes(), bytes);
        } else if let Some(number) = str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i64>().ok()) {
            prop_assert_ne!(number.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn globs_mean_what_they_say(
        pattern in vec(prop::sample::select(b"ab*?".to_vec()), 0..10),
        text in vec(prop::sample::select(b"ab".to_vec()), 0..12),
    ) {
        prop_assert_eq!(glob_match(&pattern, &text, false), naive(&pattern, &text));
    }

    #[test]
    fn a_star_before_any_pattern_skips_any_prefix(
        pattern in vec(prop_oneof![prop::sample::select(br"[]^-\*?ab".to_vec()), any::<u8>()], 0..20),
        text in vec(prop_oneof![prop::sample::select(br"[]^-\*?ab".to_vec()), any::<u8>()], 0..6),
        prefix in vec(any::<u8>(), 0..6),
        nocase in any::<bool>(),
    ) {
        let starred = [b"*", pattern.as_slice()].concat();
        let longer = [prefix, text.clone()].concat();
        prop_assert!(!glob_match(&pattern, &text, nocase) || glob_match(&starred, &longer, nocase));
    }

    #[test]
    fn an_escaped_text_matches_itself_only(text in vec(any::<u8>(), 0..10), other in vec(any::<u8>(), 0..10)) {
        let pattern: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
        prop_assert!(glob_match(&pattern, &text, false));
        prop_assert_eq!(glob_match(&pattern, &other, false), text == other);
    }
}
