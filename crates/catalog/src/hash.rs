//! A fast hash for maps whose keys are the catalog's own: tens of thousands of names are put into one when a catalog is read. Nobody
//! outside chooses the keys, so nothing has to withstand chosen ones.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map with this hash.
pub(crate) type Map<K, V> = HashMap<K, V, Hash>;

/// Makes its hashers.
pub(crate) type Hash = BuildHasherDefault<Words>;

/// Eight bytes at a time: turn, mix in, multiply (the hash of the Firefox and Rust compilers).
#[derive(Default)]
pub(crate) struct Words(u64);

impl Words {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // The map looks at the topmost and the lowest bits.
        self.0 ^ (self.0 >> 32)
    }
}
