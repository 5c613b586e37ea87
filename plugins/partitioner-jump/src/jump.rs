//! Jump consistent hash: John Lamping and Eric Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014
//! (arXiv:1406.2294), figure 1.

/// The bucket of a key among `buckets`, from 0; 0 when there are none.
///
/// Every bucket gets its share of the keys, and with one bucket more a key stays where it was or moves to the new one.
/// The keys should be uniformly distributed themselves: hashes are.
#[must_use]
pub fn jump(key: u64, buckets: u32) -> u32 {
    // The numerator of figure 1, `double(1LL << 31)`.
    const RANGE: f64 = (1_u64 << 31) as f64;
    let mut state = key;
    let mut bucket = 0_u64;
    let mut next = 0_u64;
    while next < u64::from(buckets) {
        bucket = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Below 2^32 * 2^31, where a double is exact enough for the floor to be the paper's.
        next = ((bucket + 1) as f64 * (RANGE / ((state >> 33) + 1) as f64)) as u64;
    }
    u32::try_from(bucket).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From Guava's `HashingTest.testConsistentHash_linearCongruentialGeneratorCompatibility`.
    #[test]
    fn agrees_with_guava() {
        let golden = [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83];
        for (key, bucket) in (0..).zip(golden) {
            assert_eq!(jump(key, 100), bucket, "{key}");
        }
        for (key, buckets, bucket) in [
            (10_863_919_174_838_991, 11, 6),
            (2_016_238_256_797_177_309, 11, 3),
            (1_673_758_223_894_951_030, 11, 5),
            (2, 100_001, 80_343),
            (2201, 100_001, 22_152),
            (2202, 100_001, 15_018),
        ] {
            assert_eq!(jump(key, buckets), bucket, "{key} over {buckets}");
        }
    }

    /// What the C++ of the paper's figure 1 prints for 1 to 20 buckets, compiled with g++ 12.
    #[test]
    fn agrees_with_the_paper() {
        let golden: [(u64, [u32; 20]); 4] = [
            (0, [0; 20]),
            (1, [0, 0, 0, 0, 0, 0, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 17, 17, 17]),
            (0xdead_beef, [0, 1, 2, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 16, 16, 16, 16]),
            (0x0ddc_0ffe_ebad_f00d, [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 15, 15, 15, 15, 15]),
        ];
        for (key, by_buckets) in golden {
            for (buckets, bucket) in (1..).zip(by_buckets) {
                assert_eq!(jump(key, buckets), bucket, "{key:#x} over {buckets}");
            }
        }
    }

    #[test]
    fn every_bucket_gets_its_share() {
        for buckets in [2, 3, 7, 10, 64] {
            let keys = 20_000 * u64::from(buckets);
            let mut counts = vec![0_u32; buckets as usize];
            // The golden ratio's multiples are spread over all keys, as hashes are.
            for n in 1..=keys {
                counts[jump(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), buckets) as usize] += 1;
            }
            for count in counts {
                assert!((19_000..=21_000).contains(&count), "{count} of 20000 over {buckets}");
            }
        }
    }

    proptest! {
        /// Monotone: nothing moves between buckets that there were before.
        #[test]
        fn a_key_stays_or_moves_to_the_new_bucket(key: u64, buckets in 1_u32..70_000) {
            let (before, after) = (jump(key, buckets), jump(key, buckets + 1));
            prop_assert!(before < buckets);
            prop_assert!(after == before || after == buckets, "{before} to {after}");
        }

        #[test]
        fn one_bucket_has_it_all(key: u64) {
            prop_assert_eq!(jump(key, 1), 0);
            prop_assert_eq!(jump(key, 0), 0);
        }
    }
}
