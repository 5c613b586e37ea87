//! Kafka's hash of keys.

/// Where Kafka's default partitioner puts a key: `toPositive(murmur2(key)) % partitions`
/// (`org.apache.kafka.clients.producer.internals.BuiltInPartitioner`). The index, from 0.
#[inline]
#[must_use]
pub fn kafka_partition(key: &[u8], partitions: u16) -> u16 {
    let positive = murmur2(key) & 0x7fff_ffff;
    u16::try_from(positive % u32::from(partitions.max(1))).unwrap_or(0)
}

/// MurmurHash2, 32 bits, by Austin Appleby (public domain), with the seed that Kafka chose.
#[inline]
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let length = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_kafka() {
        // From Kafka's UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn keys_land_where_a_kafka_producer_puts_them() {
        assert_eq!(kafka_partition(b"100:48069", 12), 9);
        assert_eq!(kafka_partition(b"TT0124", 15), 10);
    }
}
