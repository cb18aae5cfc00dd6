//! Deterministic uids and name suffixes: the same seed gives the same sequence.

use uuid::Builder;

/// The alphabet of generated names, as in Kubernetes: no vowels and no similar digits.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A generator of identifiers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Names {
    state: u64,
}

impl Names {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A UUID of version 4.
    pub(crate) fn uid(&mut self) -> String {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }

    /// Five letters and digits, as `generateName` appends them.
    pub(crate) fn suffix(&mut self) -> String {
        let mut bits = self.next();
        let mut letters = String::new();
        for _ in 0..5 {
            let index = usize::try_from(bits % 27).unwrap_or_default();
            letters.push(char::from(ALPHABET[index]));
            bits /= 27;
        }
        letters
    }
}
