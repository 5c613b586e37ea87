//! Rendezvous hash, also called highest random weight: David Thaler and Chinya Ravishankar, "Using Name-Based Mappings to
//! Increase Hit Rates", 1998. The weights are those of Christian Schindelhauer and Gunnar Schomaker, "Weighted
//! Distributed Hash Tables", 2005 (the logarithmic method): of the scores `-weight / ln(hash)` the highest wins, where
//! `hash` lies between 0 and 1.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Who gets which values.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendezvous {
    /// What tells a partition's hashes from those of the others.
    seeds: Vec<u64>,
    /// The partitions' weights; empty when all are the same.
    weights: Vec<f64>,
}

impl Rendezvous {
    /// Among so many partitions, all of the same weight.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Rendezvous { seeds: (1..=partitions).map(seed).collect(), weights: Vec::new() }
    }

    /// Among partitions of these weights, positive numbers or 0: a partition with twice the weight of another gets
    /// twice as many values, one with 0 none.
    #[must_use]
    pub fn weighted(weights: &[f64]) -> Self {
        let mut chosen = Self::new(u16::try_from(weights.len()).unwrap_or(u16::MAX));
        if weights.iter().any(|weight| *weight != weights[0]) {
            chosen.weights = weights.to_vec();
        }
        chosen
    }

    /// The 0-based index of the partition that gets `value`.
    #[must_use]
    pub fn choose(&self, value: &[u8]) -> u16 {
        let hashes = self.seeds.iter().map(|seed| xxh3_64_with_seed(value, *seed));
        if self.weights.is_empty() {
            // The score rises with these bits of the hash, strictly.
            highest(hashes.map(bits))
        } else {
            heaviest(hashes.map(unit).zip(self.weights.iter().copied()))
        }
    }
}

/// XXH3 of the partition's number, from 1, as four bytes, the lowest first.
fn seed(number: u16) -> u64 {
    xxh3_64(&u32::from(number).to_le_bytes())
}

/// What counts of a hash: as many bits as [`unit`] can tell apart, so that the same ones win whether or not weights
/// make logarithms necessary.
fn bits(hash: u64) -> u64 {
    hash >> 12
}

/// These bits of a hash as a number between 0 and 1 that is neither: the logarithm is finite and not 0.
fn unit(hash: u64) -> f64 {
    (bits(hash) as f64 + 0.5) / (1_u64 << 52) as f64
}

fn score(unit: f64, weight: f64) -> f64 {
    weight / -libm::log(unit)
}

/// The index of the highest score; of the same ones, the first.
fn highest<T: PartialOrd>(scores: impl Iterator<Item = T>) -> u16 {
    let mut best: Option<(u16, T)> = None;
    for (index, score) in (0..).zip(scores) {
        if best.as_ref().is_none_or(|(_, highest)| score > *highest) {
            best = Some((index, score));
        }
    }
    best.map_or(0, |(index, _)| index)
}

/// The index of the highest score of numbers and weights; of the same ones, the first.
fn heaviest(partitions: impl Iterator<Item = (f64, f64)>) -> u16 {
    let (mut best, mut highest) = (0, 0.0);
    for (index, (unit, weight)) in (0..).zip(partitions) {
        // As -ln(u) is at least 1 - u, what cannot win is known without the logarithm, which costs more than all the rest.
        if weight > highest * (1.0 - unit) {
            let score = score(unit, weight);
            if score > highest {
                (best, highest) = (index, score);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example that came with the Python code of Wikipedia's article "Rendezvous hashing": the hashes
    /// are MurmurHash3's of the key, with the seeds 123, 567 and 789, and node 3 gets "foo" and "bar", node 2 "hello".
    #[test]
    fn scores_agree_with_the_published_example() {
        let weights = [100.0, 200.0, 300.0];
        for (units, scores, node) in [
            (
                [0.533_621_709_963_020_2, 0.456_153_033_841_552_6, 0.669_227_929_581_099_7],
                [159.218_403_386_842_97, 254.800_789_180_506_48, 746.955_084_349_299_8],
                2,
            ),
            (
                [0.407_944_391_130_910_1, 0.419_394_411_155_164_4, 0.387_755_396_559_441_7],
                [111.529_419_533_852_28, 230.164_565_506_450_8, 316.662_609_364_841_4],
                2,
            ),
            (
                [0.816_696_970_533_868_9, 0.905_688_408_476_457_8, 0.627_870_076_318_480_2],
                [493.858_479_599_343_87, 2_018.979_373_257_991, 644.576_294_002_580_9],
                1,
            ),
        ] {
            let found: Vec<f64> = units.into_iter().zip(weights).map(|(unit, w)| score(unit, w)).collect();
            for (found, expected) in found.iter().zip(scores) {
                assert!((found - expected).abs() < expected * 1e-14, "{found}, expected {expected}");
            }
            assert_eq!(heaviest(units.into_iter().zip(weights)), node);
        }
    }

    /// Computed with python-xxhash 3 and mpmath (300 bits) from the formula above.
    #[test]
    fn values_land_where_the_formula_says() {
        let golden: [(&[u8], [u16; 6]); 8] = [
            (b"", [3, 4, 39, 3, 2, 2]),
            (b"7", [3, 7, 50, 3, 2, 2]),
            (b"21", [1, 1, 54, 1, 1, 2]),
            (b"TT0124", [1, 1, 40, 1, 1, 2]),
            (b"100:48069", [3, 6, 32, 3, 0, 2]),
            ("trück".as_bytes(), [0, 4, 52, 3, 2, 2]),
            (b"\x00\xff\x80", [3, 3, 53, 3, 1, 2]),
            (b"a-little-bit-longer-string", [0, 0, 74, 0, 0, 0]),
        ];
        let all = [
            Rendezvous::new(4),
            Rendezvous::weighted(&[3.5; 10]),
            Rendezvous::new(100),
            Rendezvous::weighted(&[1.0, 2.0, 3.0, 4.0]),
            Rendezvous::weighted(&[100.0, 200.0, 300.0]),
            Rendezvous::weighted(&[0.5, 0.0, 8.25]),
        ];
        for (value, expected) in golden {
            assert_eq!(all.each_ref().map(|rendezvous| rendezvous.choose(value)), expected, "{value:?}");
        }
    }

    #[test]
    fn every_partition_gets_what_it_weighs() {
        for weights in [&[1.0; 5][..], &[1.0, 2.0, 3.0, 4.0], &[0.5, 0.0, 7.5, 2.0], &[1000.0, 1000.0, 1.0]] {
            let rendezvous = Rendezvous::weighted(weights);
            let mut counts = vec![0_u32; weights.len()];
            for n in 0..100_000_u32 {
                counts[usize::from(rendezvous.choose(n.to_string().as_bytes()))] += 1;
            }
            let sum: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let expected = 100_000.0 * weight / sum;
                // Five standard deviations of a binomial distribution, at most.
                let margin = 5.0 * expected.sqrt();
                assert!((f64::from(*count) - expected).abs() <= margin, "{counts:?} for {weights:?}");
            }
        }
    }

    #[test]
    fn hashes_become_numbers_between_0_and_1() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
        assert!(score(unit(0), 1.0) > 0.0 && score(unit(u64::MAX), 1e6).is_finite());
        assert_eq!(highest([2.0, 3.0, 3.0].into_iter()), 1, "the first of the same");
        assert_eq!(highest(std::iter::empty::<f64>()), 0);
    }

    /// All the same, or not.
    fn weights() -> impl Strategy<Value = Vec<f64>> {
        let weight = 0.001_f64..1000.0;
        prop_oneof![
            (weight.clone(), 1_usize..20).prop_map(|(weight, count)| vec![weight; count]),
            proptest::collection::vec(weight, 1..20),
        ]
    }

    /// Hashes that differ where a logarithm cannot tell them apart are the same for everybody: the first wins.
    #[test]
    fn the_same_win_with_weights_and_without() {
        for (first, second, winner) in
            [(0xabcd_0000, 0xabcd_0fff, 0), (0xabcd_0fff, 0xabcd_1000, 1), (u64::MAX - 0xfff, u64::MAX, 0)]
        {
            let hashes = [first, second];
            assert_eq!(highest(hashes.map(bits).into_iter()), winner, "{hashes:x?}");
            assert_eq!(heaviest(hashes.map(|hash| (unit(hash), 3.5)).into_iter()), winner, "{hashes:x?}");
        }
    }

    fn weight() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), 0.001_f64..1000.0]
    }

    proptest! {
        /// Minimal movement: a partition more, or one that weighs more, takes values and none move otherwise.
        #[test]
        fn values_move_only_to_what_grows(
            value: Vec<u8>,
            mut weights in weights(),
            grown: proptest::sample::Index,
            factor in 1.0_f64..10.0,
        ) {
            let before = Rendezvous::weighted(&weights).choose(&value);
            let grown = grown.index(weights.len());
            let mut heavier = weights.clone();
            heavier[grown] *= factor;
            let after = Rendezvous::weighted(&heavier).choose(&value);
            prop_assert!(after == before || usize::from(after) == grown, "{before} to {after}");
            weights.push(factor);
            let after = Rendezvous::weighted(&weights).choose(&value);
            prop_assert!(after == before || usize::from(after) == weights.len() - 1, "{before} to {after}");
        }

        /// Most logarithms are spared, which changes nothing.
        #[test]
        fn the_highest_score_wins(
            partitions in proptest::collection::vec((0.0_f64..1.0, weight()), 1..40)
        ) {
            let units = |(unit, weight): &(f64, f64)| (unit.max(f64::EPSILON), *weight);
            let scores = partitions.iter().map(units).map(|(unit, weight)| score(unit, weight));
            prop_assert_eq!(heaviest(partitions.iter().map(units)), highest(scores));
        }

        #[test]
        fn the_same_without_weights(value: Vec<u8>, partitions in 1_u16..200) {
            let before = Rendezvous::new(partitions).choose(&value);
            let after = Rendezvous::new(partitions + 1).choose(&value);
            prop_assert!(after == before || after == partitions, "{before} to {after}");
        }

        #[test]
        fn nothing_goes_to_a_partition_without_weight(
            value: Vec<u8>, mut weights in proptest::collection::vec(weight(), 0..20)
        ) {
            weights.push(1.0);
            let chosen = Rendezvous::weighted(&weights).choose(&value);
            prop_assert!(weights[usize::from(chosen)] > 0.0);
        }
    }
}
