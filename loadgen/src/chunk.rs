//! The chunk: what a publisher sends and how a subscriber knows that it got it whole.
//!
//! ```text
//!  0        8        12       16       24       32                     bytes
//!  ┌────────┬────────┬────────┬────────┬────────┬─────── … ───────────┐
//!  │ magic  │ group  │ bytes  │ number │ due ns │ pattern             │
//!  └────────┴────────┴────────┴────────┴────────┴─────── … ───────────┘
//! ```
//!
//! Invariants:
//! - The pattern depends on the whole header, so that a wrong bit in either shows, and bytes of another chunk or channel are not
//!   taken for these.
//! - Cutting the stream elsewhere changes nothing but the receive times.

use std::sync::Arc;

/// Length of the header.
pub const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"millchnk";
/// Patterns start at one of these many offsets in the table, by the top 16 bits of a hash.
const PATTERN_OFFSETS: usize = 1 << 16;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who publishes it.
    pub group: u32,
    /// Length of the chunk, header included.
    pub bytes: u32,
    /// Which one it is.
    pub number: u64,
    /// When it was to be sent.
    pub due_ns: u64,
}

impl Header {
    /// Of a chunk's first bytes; `None` when they are too few, or of something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let word = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let long = |at: usize| header[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        (header[..8] == MAGIC).then_some(Self {
            group: word(8)?,
            bytes: word(12)?,
            number: long(16)?,
            due_ns: long(24)?,
        })
    }
}

/// The bytes that follow a header, for every group and number.
#[derive(Debug, Clone)]
pub struct Pattern {
    table: Arc<[u8]>,
    chunk_bytes: usize,
    is_header_only: bool,
}

impl Pattern {
    /// A pattern for chunks of `chunk_bytes`, header included.
    pub fn new(chunk_bytes: usize) -> Self {
        assert!(
            chunk_bytes >= HEADER_BYTES,
            "a chunk holds at least its header of {HEADER_BYTES} bytes"
        );
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let table = (0..chunk_bytes - HEADER_BYTES + PATTERN_OFFSETS)
            .map(|_| {
                state ^= state << 13; // xorshift64
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        Self {
            table,
            chunk_bytes,
            is_header_only: false,
        }
    }

    /// The same for chunks of another length, at most that of [`Self::new`]; they share one table.
    #[must_use]
    pub fn with_chunk_bytes(&self, chunk_bytes: usize) -> Self {
        let most = self.table.len() - PATTERN_OFFSETS + HEADER_BYTES;
        assert!(
            (HEADER_BYTES..=most).contains(&chunk_bytes),
            "a chunk has {HEADER_BYTES} to {most} bytes here, not {chunk_bytes}"
        );
        Self {
            chunk_bytes,
            ..self.clone()
        }
    }

    /// The same for a reader that looks at headers alone, for when it has no time for more.
    #[must_use]
    pub fn header_only(mut self) -> Self {
        self.is_header_only = true;
        self
    }

    /// Length of a chunk, header included.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The header of a chunk.
    pub fn header(&self, group: u32, number: u64, due_ns: u64) -> [u8; HEADER_BYTES] {
        let bytes = u32::try_from(self.chunk_bytes).unwrap_or(u32::MAX);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&group.to_le_bytes());
        header[12..16].copy_from_slice(&bytes.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        header[24..].copy_from_slice(&due_ns.to_le_bytes());
        header
    }

    /// What follows a header. What follows another one is, as good as always, something else.
    pub fn body(&self, header: &[u8; HEADER_BYTES]) -> &[u8] {
        // A multiplicative hash, a word at a time; two headers collide once in 65,536.
        let hash = header
            .chunks_exact(8)
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                (hash ^ word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
        let offset = usize::try_from(hash >> 48).unwrap_or(0);
        &self.table[offset..offset + self.chunk_bytes - HEADER_BYTES]
    }
}

/// A chunk that arrived to its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Who published it, by its own word.
    pub group: u32,
    /// Which one it is, by its own word.
    pub number: u64,
    /// When it was to be sent.
    pub due_ns: u64,
    /// When its first byte was received.
    pub first_ns: u64,
    /// When its last byte was received.
    pub last_ns: u64,
    /// Whether every byte was as sent. When not, nothing above but the times can be trusted.
    pub intact: bool,
}

/// Finds chunks in a stream that may be cut anywhere.
#[derive(Debug, Default)]
pub struct Reader {
    header: [u8; HEADER_BYTES],
    at: usize,
    first_ns: u64,
    intact: bool,
}

impl Reader {
    /// Takes bytes that were received at `now_ns`; calls `arrived` for each chunk that they complete.
    pub fn handle_bytes(
        &mut self,
        mut input: &[u8],
        now_ns: u64,
        pattern: &Pattern,
        mut arrived: impl FnMut(Arrived),
    ) {
        while !input.is_empty() {
            if self.at == 0 {
                (self.first_ns, self.intact) = (now_ns, true);
            }
            if self.at < HEADER_BYTES {
                let (taken, rest) = input.split_at(input.len().min(HEADER_BYTES - self.at));
                self.header[self.at..self.at + taken.len()].copy_from_slice(taken);
                self.at += taken.len();
                input = rest;
                if self.at == HEADER_BYTES {
                    self.intact =
                        self.header == pattern.header(self.group(), self.number(), self.due_ns());
                }
            }
            if self.at >= HEADER_BYTES {
                let (taken, rest) = input.split_at(input.len().min(pattern.chunk_bytes - self.at));
                if self.intact && !pattern.is_header_only {
                    let from = self.at - HEADER_BYTES;
                    self.intact = pattern.body(&self.header)[from..from + taken.len()] == *taken;
                }
                self.at += taken.len();
                input = rest;
                if self.at == pattern.chunk_bytes {
                    arrived(self.arrived(now_ns));
                    self.at = 0;
                }
            }
        }
    }

    /// Whether the stream stands between two chunks.
    pub fn is_at_boundary(&self) -> bool {
        self.at == 0
    }

    fn arrived(&self, last_ns: u64) -> Arrived {
        Arrived {
            group: self.group(),
            number: self.number(),
            due_ns: self.due_ns(),
            first_ns: self.first_ns,
            last_ns,
            intact: self.intact,
        }
    }

    fn group(&self) -> u32 {
        u32::from_le_bytes(self.header[8..12].try_into().unwrap_or_default())
    }

    fn number(&self) -> u64 {
        u64::from_le_bytes(self.header[16..24].try_into().unwrap_or_default())
    }

    fn due_ns(&self) -> u64 {
        u64::from_le_bytes(self.header[24..].try_into().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pattern: &Pattern, group: u32, numbers: std::ops::Range<u64>) -> Vec<u8> {
        numbers
            .flat_map(|n| {
                let header = pattern.header(group, n, 1_000 + n);
                [header.as_slice(), pattern.body(&header)].concat()
            })
            .collect()
    }

    fn read(pattern: &Pattern, bytes: &[u8], step: usize) -> Vec<Arrived> {
        let (mut reader, mut all) = (Reader::default(), Vec::new());
        for (i, part) in bytes.chunks(step).enumerate() {
            reader.handle_bytes(part, i as u64, pattern, |chunk| all.push(chunk));
        }
        assert!(reader.is_at_boundary());
        all
    }

    #[test]
    fn any_cut_gives_the_same_chunks() {
        let pattern = Pattern::new(300);
        let bytes = stream(&pattern, 7, 0..9);
        for step in [1, 2, 31, 32, 33, 299, 300, 301, 5_000] {
            let got = read(&pattern, &bytes, step);
            assert_eq!(got.len(), 9, "step {step}");
            for (n, chunk) in (0..).zip(&got) {
                assert!(
                    chunk.intact
                        && chunk.group == 7
                        && chunk.number == n
                        && chunk.due_ns == 1_000 + n
                );
                assert!(chunk.first_ns <= chunk.last_ns);
            }
        }
    }

    #[test]
    fn a_chunk_of_nothing_but_its_header_is_a_chunk() {
        let pattern = Pattern::new(HEADER_BYTES);
        assert_eq!(read(&pattern, &stream(&pattern, 0, 0..4), 5).len(), 4);
    }

    #[test]
    fn lengths_share_a_table_and_are_told_apart() {
        let long = Pattern::new(500);
        let short = long.with_chunk_bytes(300);
        let bytes = stream(&short, 3, 0..5);
        assert!(read(&short, &bytes, 77).iter().all(|chunk| chunk.intact));
        assert!(!read(&long, &bytes, 77).iter().any(|chunk| chunk.intact));
        let header = Header::parse(&bytes[300..]).unwrap();
        assert_eq!((header.bytes, header.number), (300, 1));
        assert_eq!(Header::parse(&bytes[1..]), None);
        assert_eq!(Header::parse(&bytes[..31]), None);
    }

    #[test]
    fn one_who_looks_at_headers_alone_sees_no_wrong_body() {
        let pattern = Pattern::new(300).header_only();
        let mut bytes = stream(&pattern, 3, 0..2);
        bytes[200] ^= 1;
        assert!(read(&pattern, &bytes, 64).iter().all(|chunk| chunk.intact));
        bytes[9] ^= 1;
        assert!(
            read(&pattern, &bytes, 64).iter().all(|chunk| chunk.intact),
            "another group"
        );
        bytes[2] ^= 1;
        assert!(!read(&pattern, &bytes, 64)[0].intact);
    }

    #[test]
    fn one_wrong_byte_spoils_its_chunk_and_no_other() {
        let pattern = Pattern::new(300);
        for wrong in 300..600 {
            let mut bytes = stream(&pattern, 7, 0..3);
            bytes[wrong] ^= 0x40;
            let intact: Vec<bool> = read(&pattern, &bytes, 64)
                .iter()
                .map(|chunk| chunk.intact)
                .collect();
            assert_eq!(intact, [true, false, true], "byte {wrong}");
        }
    }
}
