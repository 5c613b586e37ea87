//! Fields of every kind that a producer can send, made from a number, so that who knows the number knows the fields.

use fastrand::Rng;

use crate::events::Fields;

/// The seed of all tests' random choices: `$WAFKA_TEST_SEED`, or always the same.
///
/// # Panics
/// When the variable holds something that is no number.
#[must_use]
pub fn seed() -> u64 {
    match std::env::var("WAFKA_TEST_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WAFKA_TEST_SEED is no number: {text}")),
        Err(_) => 20_261_123,
    }
}

/// The fields of a producer's n-th event: `p` and `n` tell which it is, then come some of every kind.
#[must_use]
pub fn fields(producer: u64, n: u64) -> Fields {
    let mut rng = Rng::with_seed(producer.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n);
    let mut fields = vec![b"p".to_vec(), text(producer), b"n".to_vec(), text(n)];
    for _ in 0..rng.usize(..3) {
        fields.push(part(&mut rng));
        fields.push(part(&mut rng));
    }
    fields
}

/// Which event fields made by [`fields`] are: the producer, and its count.
///
/// # Panics
/// When they are not.
#[must_use]
#[track_caller]
pub fn identify(fields: &Fields) -> (u64, u64) {
    let number = |at: usize| std::str::from_utf8(fields.get(at)?).ok()?.parse::<u64>().ok();
    match (number(1), number(3)) {
        (Some(producer), Some(n)) => (producer, n),
        _ => panic!("not an event of these tests: {fields:?}"),
    }
}

fn text(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A field or value: text, JSON, or any bytes.
pub fn part(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..10) {
        0 => Vec::new(),
        1 => b"status".to_vec(),
        2 => format!("{{\"order\":{{\"total\":{},\"paid\":true}}}}", rng.u32(..)).into_bytes(),
        3 => b"[1, 2.50,\"three\"]".to_vec(),
        4 => b"{\"base64\":\"aGk=\"}".to_vec(),
        5 => b"{\"not\":json".to_vec(),
        6 => "\"quoted\"\n\t\\ über \u{1f69a} \u{7f}".as_bytes().to_vec(),
        7 => b"nul \0 and \xff\xfe bytes\r\n".to_vec(),
        8 => (0..rng.usize(..300)).map(|_| rng.u8(..)).collect(),
        _ => (0..rng.usize(..120)).map(|_| rng.alphanumeric() as u8).collect(),
    }
}
