//! The commands a connection sends. They are laid out once; between two batches only digits are rewritten in place,
//! so that the client costs the servers it shares the machine with as little as possible.
//!
//! A payload says where it comes from: `CCCC-NNNNNNNNNNNN ` (the connection, then the event's number on that
//! connection, both decimal with leading zeros), then letters and digits up to the wanted size.

/// Decimal digits of a connection's number.
pub const CONN_DIGITS: usize = 4;
/// Decimal digits of an event's number on its connection.
pub const COUNTER_DIGITS: usize = 12;
/// The smallest payload: both numbers, a dash, a space.
pub const MIN_SIZE: usize = CONN_DIGITS + 1 + COUNTER_DIGITS + 1;
/// The most connections a payload can tell apart.
pub const MAX_CONNS: usize = 9_999;

/// The name of topic `index` of `topics`: the base name itself when there is one topic, else `base:` and the index
/// with leading zeros, so that all names are equally long.
#[must_use]
pub fn topic_name(base: &str, index: usize, topics: usize) -> String {
    match index_digits(topics) {
        0 => base.to_owned(),
        width => format!("{base}:{index:0width$}"),
    }
}

/// Where connection `conn` of `conns` starts its walk over the topics: spread out, so that they don't go in step.
#[must_use]
pub fn first_topic(conn: usize, conns: usize, topics: usize) -> usize {
    conn * topics / conns
}

fn index_digits(topics: usize) -> usize {
    if topics == 1 { 0 } else { (topics - 1).to_string().len() }
}

/// One connection's pipeline of `XADD topic * f payload` commands, all of the same length.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    command_len: usize,
    counter_at: usize,
    index_at: usize,
    index_digits: usize,
    topics: usize,
    next_topic: usize,
}

impl Batch {
    /// Commands for the events 0..`pipeline` of connection `conn` (of `conns`), with payloads of `size` bytes.
    /// The caller keeps `conn <= MAX_CONNS`, `size >= MIN_SIZE`, `pipeline >= 1` and `topics >= 1`.
    #[must_use]
    pub fn new(base: &str, topics: usize, conn: usize, conns: usize, pipeline: usize, size: usize) -> Self {
        let key = topic_name(base, 0, topics);
        let mut command =
            format!("*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n$1\r\nf\r\n${size}\r\n", key.len())
                .into_bytes();
        let index_digits = index_digits(topics);
        let key_start = "*5\r\n$4\r\nXADD\r\n$\r\n".len() + key.len().to_string().len();
        let payload_at = command.len();
        command.extend_from_slice(format!("{conn:0CONN_DIGITS$}-{:0COUNTER_DIGITS$} ", 0).as_bytes());
        command.extend(filler(conn as u64).take(size - MIN_SIZE));
        command.extend_from_slice(b"\r\n");
        let mut batch = Self {
            command_len: command.len(),
            bytes: command.repeat(pipeline),
            counter_at: payload_at + CONN_DIGITS + 1,
            index_at: key_start + key.len() - index_digits,
            index_digits,
            topics,
            next_topic: first_topic(conn, conns, topics),
        };
        for (number, command) in batch.bytes.chunks_exact_mut(batch.command_len).enumerate() {
            add_decimal(&mut command[batch.counter_at..][..COUNTER_DIGITS], number as u64);
        }
        batch.name_topics();
        batch
    }

    /// The first `commands` commands, as they go to the socket.
    #[must_use]
    pub fn bytes(&self, commands: usize) -> &[u8] {
        &self.bytes[..commands * self.command_len]
    }

    /// Turns every command into the one that follows the whole batch: the counters go up by the batch's length, the
    /// topics go on in their cycle.
    pub fn advance(&mut self) {
        let pipeline = (self.bytes.len() / self.command_len) as u64;
        for command in self.bytes.chunks_exact_mut(self.command_len) {
            add_decimal(&mut command[self.counter_at..][..COUNTER_DIGITS], pipeline);
        }
        self.name_topics();
    }

    fn name_topics(&mut self) {
        if self.index_digits == 0 {
            return;
        }
        for command in self.bytes.chunks_exact_mut(self.command_len) {
            let index = &mut command[self.index_at..][..self.index_digits];
            index.fill(b'0');
            add_decimal(index, self.next_topic as u64);
            self.next_topic = (self.next_topic + 1) % self.topics;
        }
    }
}

/// Adds to a number in fixed-width decimal digits; beyond the highest digit it wraps around. Stops at the first digit
/// that nothing is carried into, which after a few digits is nearly always.
fn add_decimal(digits: &mut [u8], mut add: u64) {
    for digit in digits.iter_mut().rev() {
        if add == 0 {
            break;
        }
        let sum = u64::from(*digit - b'0') + add;
        *digit = b'0' + (sum % 10) as u8;
        add = sum / 10;
    }
}

/// Letters and digits without a pattern (a linear congruential generator, constants of Knuth's MMIX), so that nothing
/// in a server gains from a payload that repeats itself.
fn filler(seed: u64) -> impl Iterator<Item = u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ALPHABET[(state >> 58) as usize]
    })
}

/// Where an event comes from, read from its payload: connection and number on it. `None` when this is not a payload
/// of this program.
#[must_use]
pub fn origin(payload: &[u8]) -> Option<(usize, u64)> {
    let (conn, rest) = payload.split_at_checked(CONN_DIGITS)?;
    let (dash, rest) = rest.split_first()?;
    let (counter, rest) = rest.split_at_checked(COUNTER_DIGITS)?;
    if *dash != b'-' || rest.first() != Some(&b' ') {
        return None;
    }
    let conn = crate::reply::decimal(conn)?;
    Some((usize::try_from(conn).ok()?, crate::reply::decimal(counter)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(batch: &Batch, count: usize) -> Vec<(String, usize, u64, usize)> {
        let text = batch.bytes(count);
        assert_eq!(text.len() % count, 0);
        text.chunks(text.len() / count)
            .map(|command| {
                let text = String::from_utf8(command.to_vec()).unwrap();
                let parts: Vec<&str> = text.split("\r\n").collect();
                assert_eq!(parts[0], "*5");
                assert_eq!((parts[2], parts[6], parts[8], parts[11]), ("XADD", "*", "f", ""));
                for pair in parts[1..11].chunks(2) {
                    assert_eq!(pair[0], format!("${}", pair[1].len()));
                }
                let (conn, counter) = origin(parts[10].as_bytes()).unwrap();
                (parts[4].to_owned(), conn, counter, parts[10].len())
            })
            .collect()
    }

    #[test]
    fn one_topic_counts_up_across_batches() {
        let mut batch = Batch::new("bench", 1, 7, 50, 3, 100);
        for round in 0..2000 {
            let expected: Vec<_> = (0..3).map(|i| ("bench".to_owned(), 7, round * 3 + i, 100)).collect();
            assert_eq!(commands(&batch, 3), expected);
            batch.advance();
        }
    }

    #[test]
    fn many_topics_are_visited_in_turn() {
        let (topics, conns, pipeline) = (1000, 50, 64);
        let mut batch = Batch::new("bench", topics, 49, conns, pipeline, MIN_SIZE);
        let mut number = 0;
        for _ in 0..40 {
            for command in commands(&batch, pipeline) {
                let topic = (first_topic(49, conns, topics) + number) % topics;
                assert_eq!(command, (format!("bench:{topic:03}"), 49, number as u64, MIN_SIZE));
                number += 1;
            }
            batch.advance();
        }
    }

    #[test]
    fn a_short_batch_is_a_prefix() {
        let batch = Batch::new("bench", 1, 0, 1, 64, 1024);
        assert_eq!(commands(&batch, 5).len(), 5);
        assert!(batch.bytes(64).starts_with(batch.bytes(5)));
    }

    #[test]
    fn adding_carries_and_stops() {
        let mut digits = *b"000999";
        add_decimal(&mut digits, 1);
        assert_eq!(&digits, b"001000");
        add_decimal(&mut digits, 12_345);
        assert_eq!(&digits, b"013345");
        let mut full = *b"99";
        add_decimal(&mut full, 1);
        assert_eq!(&full, b"00");
    }

    #[test]
    fn a_foreign_payload_has_no_origin() {
        assert_eq!(origin(b"0012-000000000345 x"), Some((12, 345)));
        for foreign in
            [&b""[..], b"0012", b"0012-000000000345", b"0012+000000000345 x", b"00a2-000000000345 x"]
        {
            assert_eq!(origin(foreign), None);
        }
    }

    #[test]
    fn names_of_topics_are_equally_long() {
        assert_eq!(topic_name("bench", 0, 1), "bench");
        assert_eq!(topic_name("bench", 7, 10), "bench:7");
        assert_eq!(topic_name("bench", 7, 1000), "bench:007");
        assert_eq!(topic_name("bench", 7, 1001), "bench:0007");
    }
}
