//! Keccak, one message at a time or many at once.
//!
//! All that a vector unit can do better than plain code is the permutation, so that is the seam: [`Permute`] takes any number of
//! states. Padding and absorbing are here, once for all.
//!
//! Sources: the Keccak reference for keccak256 (padding 0x01, not SHA-3's 0x06); NIST SP 800-185 for KMAC256.

/// The 1600 bits that are permuted: word `x + 5y`, each little-endian.
pub type State = [u64; 25];

/// Bytes absorbed a permutation, at 256 bits of security.
pub const RATE_BYTES: usize = 136;
/// States that are permuted together: a multiple of every vector width, and small enough for a stack.
const TOGETHER: usize = 32;
const PAD_KECCAK: u8 = 0x01;
const PAD_CSHAKE: u8 = 0x04;

/// Whoever applies Keccak-f\[1600\].
pub trait Permute {
    /// Permutes each state.
    fn permute(&mut self, states: &mut [State]);
}

/// One after the other, in plain Rust.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Permute for Plain {
    fn permute(&mut self, states: &mut [State]) {
        keccak::Keccak::new().with_f1600(|f1600| states.iter_mut().for_each(f1600));
    }
}

/// The keccak256 of `bytes`.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    let mut state = [0; 25];
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk() {
        absorb(&mut state, block);
        Plain.permute(core::slice::from_mut(&mut state));
        rest = after;
    }
    absorb(&mut state, &padded(rest, PAD_KECCAK));
    Plain.permute(core::slice::from_mut(&mut state));
    squeeze(&state)
}

/// The keccak256 of each of `hashes.len()` messages of `message_bytes` bytes, which lie one behind the other.
///
/// # Panics
/// When `messages` is not that long.
pub fn keccak256_many(
    by: &mut (impl Permute + ?Sized),
    message_bytes: usize,
    messages: &[u8],
    hashes: &mut [[u8; 32]],
) {
    sponge_many(by, &[0; 25], PAD_KECCAK, message_bytes, messages, hashes);
}

fn sponge_many(
    by: &mut (impl Permute + ?Sized),
    start: &State,
    pad: u8,
    message_bytes: usize,
    messages: &[u8],
    hashes: &mut [[u8; 32]],
) {
    assert_eq!(
        messages.len(),
        message_bytes * hashes.len(),
        "as many messages as hashes"
    );
    let whole_blocks = message_bytes / RATE_BYTES;
    for (group, hashes) in hashes.chunks_mut(TOGETHER).enumerate() {
        let mut states = [*start; TOGETHER];
        let states = &mut states[..hashes.len()];
        let message = |n: usize| {
            let at = (group * TOGETHER + n) * message_bytes;
            &messages[at..at + message_bytes]
        };
        for block in 0..=whole_blocks {
            for (n, state) in states.iter_mut().enumerate() {
                let rest = &message(n)[block * RATE_BYTES..];
                match rest.first_chunk() {
                    Some(whole) => absorb(state, whole),
                    None => absorb(state, &padded(rest, pad)),
                }
            }
            by.permute(states);
        }
        for (hash, state) in hashes.iter_mut().zip(states) {
            *hash = squeeze(state);
        }
    }
}

fn absorb(state: &mut State, block: &[u8; RATE_BYTES]) {
    let (words, _) = block.as_chunks();
    for (lane, word) in state.iter_mut().zip(words) {
        *lane ^= u64::from_le_bytes(*word);
    }
}

/// The last block: what is left, the padding's first bit with its domain, and its last bit.
fn padded(rest: &[u8], pad: u8) -> [u8; RATE_BYTES] {
    let mut block = [0; RATE_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block[rest.len()] = pad;
    block[RATE_BYTES - 1] |= 0x80;
    block
}

fn squeeze(state: &State) -> [u8; 32] {
    let mut hash = [0; 32];
    let (words, _) = hash.as_chunks_mut();
    for (word, lane) in words.iter_mut().zip(state) {
        *word = lane.to_le_bytes();
    }
    hash
}

/// KMAC256 with a key of 32 bytes, a customisation string, and 32 bytes of output. The two blocks that key and string fill are
/// absorbed once.
#[derive(Clone)]
pub struct Kmac {
    keyed: State,
}

impl Kmac {
    /// # Panics
    /// When `custom` is longer than 31 bytes: its length is encoded in one.
    #[must_use]
    pub fn new(key: &[u8; 32], custom: &str) -> Self {
        let mut keyed = [0; 25];
        let custom_bits = u8::try_from(custom.len() * 8).expect("a short customisation string");
        // bytepad(encode_string("KMAC") ‖ encode_string(custom), 136), then bytepad(encode_string(key), 136).
        let head = [
            &[1, 136, 1, 32][..],
            b"KMAC",
            &[1, custom_bits],
            custom.as_bytes(),
        ];
        // The key's length is 256 bits: two bytes.
        let tail = [&[1, 136, 2, 1, 0][..], key];
        for parts in [&head[..], &tail[..]] {
            let mut block = [0; RATE_BYTES];
            let mut at = 0;
            for part in parts {
                block[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            absorb(&mut keyed, &block);
            Plain.permute(core::slice::from_mut(&mut keyed));
        }
        Self { keyed }
    }

    /// The MAC of each message. The last [`KMAC_TRAILER_BYTES`] of each are not the caller's: the output length goes there.
    ///
    /// # Panics
    /// When there are not as many messages as MACs.
    pub fn mac_many<const N: usize>(
        &self,
        by: &mut (impl Permute + ?Sized),
        messages: &mut [[u8; N]],
        macs: &mut [[u8; 32]],
    ) {
        for message in &mut *messages {
            if let Some(trailer) = message.last_chunk_mut() {
                *trailer = RIGHT_ENCODED_256;
            }
        }
        sponge_many(
            by,
            &self.keyed,
            PAD_CSHAKE,
            N,
            messages.as_flattened(),
            macs,
        );
    }
}

/// Bytes behind a KMAC message that say how long the output is.
pub const KMAC_TRAILER_BYTES: usize = RIGHT_ENCODED_256.len();
/// `right_encode(256)`.
const RIGHT_ENCODED_256: [u8; 3] = [1, 0, 2];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use tiny_keccak::{Hasher, Kmac as Oracle};

    fn oracle(bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        let mut hasher = tiny_keccak::Keccak::v256();
        hasher.update(bytes);
        hasher.finalize(&mut hash);
        hash
    }

    #[test]
    fn every_length_around_a_block_hashes_as_another_library_does() {
        for length in (0..300).chain([407, 408, 409]) {
            let bytes: Vec<u8> = (0..length)
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            assert_eq!(keccak256(&bytes), oracle(&bytes), "{length} bytes");
            let count = 1 + length % 70;
            let mut messages = Vec::new();
            for n in 0..count {
                messages.extend(
                    bytes
                        .iter()
                        .map(|byte| byte.wrapping_add(u8::try_from(n).unwrap())),
                );
            }
            let mut hashes = vec![[0; 32]; count];
            keccak256_many(&mut Plain, length, &messages, &mut hashes);
            for (n, hash) in hashes.iter().enumerate() {
                assert_eq!(*hash, oracle(&messages[n * length..(n + 1) * length]));
            }
        }
    }

    #[test]
    fn kmac_is_the_standards() {
        // NIST's sample 4 (KMAC256): key 40..5F, data 00 01 02 03, "My Tagged Application"; the output there is 512 bits, so the
        // other library, which also passes that sample, is asked for ours.
        let key: [u8; 32] = core::array::from_fn(|n| 0x40 + u8::try_from(n).unwrap());
        for custom in [
            "My Tagged Application",
            "",
            "0123456789abcdef0123456789abcde",
        ] {
            for count in [1, 3, 40] {
                let mut messages = vec![[0u8; 267]; count];
                for (n, message) in messages.iter_mut().enumerate() {
                    message[..264].fill(u8::try_from(n).unwrap());
                }
                let mut macs = vec![[0; 32]; count];
                Kmac::new(&key, custom).mac_many(&mut Plain, &mut messages, &mut macs);
                for (message, mac) in messages.iter().zip(&macs) {
                    let mut expected = [0; 32];
                    let mut oracle = Oracle::v256(&key, custom.as_bytes());
                    oracle.update(&message[..264]);
                    oracle.finalize(&mut expected);
                    assert_eq!(*mac, expected);
                }
            }
        }
    }
}
