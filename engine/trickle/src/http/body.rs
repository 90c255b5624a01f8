//! Request body framing (RFC 9112 sections 6 and 7): which of the bytes that arrived are payload.
//!
//! The bytes stay where they are; this names ranges of them. Chunk lines may be split anywhere. Chunk extensions and
//! trailers are skipped, within a bound.

use core::ops::Range;

/// The longest chunk line with its extensions, and the longest trailer section, in bytes.
const LINE_BYTES_MAX: u32 = 4 << 10;

/// Where in its body a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Content-Length: this many bytes to come.
    Sized(u64),
    /// Transfer-Encoding: chunked.
    Chunked(Chunk),
    /// All of it has been seen.
    Done,
}

/// Where in a chunked body a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// In the size line.
    Size {
        /// The value of the digits so far.
        value: u64,
        /// Digits so far.
        digits: u8,
    },
    /// In the rest of the size line.
    Extension {
        /// The chunk's size.
        size: u64,
        /// Bytes skipped.
        skipped: u32,
        /// Whether the last byte was a CR.
        cr: bool,
    },
    /// In the payload.
    Data(u64),
    /// After the payload: CR, then LF.
    DataEnd {
        /// Whether the CR has been seen.
        cr: bool,
    },
    /// In the trailer section.
    Trailer {
        /// Bytes skipped.
        skipped: u32,
        /// Bytes in the current line, not counting CR.
        line: u32,
        /// Whether the last byte was a CR.
        cr: bool,
    },
}

/// A body that breaks the framing rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyError;

/// What comes next in the bytes at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Payload, at this range of the bytes given.
    Payload(Range<usize>),
    /// The bytes given are used up.
    More,
    /// The body is complete; the bytes from here on belong to the next request.
    Done(usize),
}

impl Body {
    /// A chunked body's start.
    pub const fn chunked() -> Self {
        Self::Chunked(Chunk::Size {
            value: 0,
            digits: 0,
        })
    }

    /// A body of `len` bytes.
    pub const fn sized(len: u64) -> Self {
        if len == 0 {
            Self::Done
        } else {
            Self::Sized(len)
        }
    }

    /// Finds the next piece in `bytes[*at..]` and moves `at` past it.
    ///
    /// # Errors
    /// [`BodyError`] when the chunk framing is broken; the connection cannot go on.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Piece, BodyError> {
        while *at < bytes.len() {
            match self {
                Self::Done => break,
                Self::Sized(left) => {
                    let range = take(bytes.len(), at, *left);
                    *self = Self::sized(*left - range.len() as u64);
                    return Ok(Piece::Payload(range));
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let range = take(bytes.len(), at, *left);
                    let left = *left - range.len() as u64;
                    *self = Self::Chunked(if left == 0 {
                        Chunk::DataEnd { cr: false }
                    } else {
                        Chunk::Data(left)
                    });
                    return Ok(Piece::Payload(range));
                }
                Self::Chunked(chunk) => {
                    *self = chunk.step(bytes[*at])?;
                    *at += 1;
                }
            }
        }
        Ok(if *self == Self::Done {
            Piece::Done(*at)
        } else {
            Piece::More
        })
    }
}

fn take(len: usize, at: &mut usize, left: u64) -> Range<usize> {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(len - *at);
    let range = *at..*at + n;
    *at += n;
    range
}

impl Chunk {
    fn step(self, byte: u8) -> Result<Body, BodyError> {
        Ok(Body::Chunked(match self {
            Self::Size { value, digits } => match (byte as char).to_digit(16) {
                Some(digit) if digits < 15 => Self::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                },
                Some(_) => return Err(BodyError),
                None if digits == 0 => return Err(BodyError),
                None => {
                    return Self::Extension {
                        size: value,
                        skipped: 0,
                        cr: false,
                    }
                    .step(byte);
                }
            },
            Self::Extension { size, cr: true, .. } => match (byte, size) {
                (b'\n', 0) => Self::Trailer {
                    skipped: 0,
                    line: 0,
                    cr: false,
                },
                (b'\n', _) => Self::Data(size),
                _ => return Err(BodyError),
            },
            Self::Extension {
                size,
                skipped,
                cr: false,
            } => match byte {
                b'\r' => Self::Extension {
                    size,
                    skipped,
                    cr: true,
                },
                b';' | b' ' | b'\t' if skipped == 0 => Self::Extension {
                    size,
                    skipped: 1,
                    cr: false,
                },
                b'\n' => return Err(BodyError),
                _ if skipped > 0 && skipped < LINE_BYTES_MAX => Self::Extension {
                    size,
                    skipped: skipped + 1,
                    cr: false,
                },
                _ => return Err(BodyError),
            },
            Self::DataEnd { cr: false } if byte == b'\r' => Self::DataEnd { cr: true },
            Self::DataEnd { cr: true } if byte == b'\n' => Self::Size {
                value: 0,
                digits: 0,
            },
            Self::Trailer {
                line: 0, cr: true, ..
            } if byte == b'\n' => return Ok(Body::Done),
            Self::Trailer {
                skipped, cr: true, ..
            } if byte == b'\n' => Self::Trailer {
                skipped,
                line: 0,
                cr: false,
            },
            Self::Trailer {
                skipped,
                line,
                cr: false,
            } if skipped < LINE_BYTES_MAX => match byte {
                b'\r' => Self::Trailer {
                    skipped: skipped + 1,
                    line,
                    cr: true,
                },
                b'\n' => return Err(BodyError),
                _ => Self::Trailer {
                    skipped: skipped + 1,
                    line: line + 1,
                    cr: false,
                },
            },
            Self::Data(_) | Self::DataEnd { .. } | Self::Trailer { .. } => return Err(BodyError),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Feeds `wire` in pieces cut at `cuts`; returns the payload and what was left over.
    fn decode(
        mut body: Body,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let mut payload = Vec::new();
        let mut begin = 0;
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (wire.len() + 1)).collect();
        ends.push(wire.len());
        ends.sort_unstable();
        for end in ends {
            let bytes = &wire[begin..end];
            let mut at = 0;
            loop {
                match body.next(bytes, &mut at)? {
                    Piece::Payload(range) => payload.extend_from_slice(&bytes[range]),
                    Piece::More => break,
                    Piece::Done(at) => return Ok((payload, begin + at, true)),
                }
            }
            begin = end;
        }
        Ok((payload, begin, false))
    }

    proptest! {
        #[test]
        fn payload_does_not_depend_on_how_it_arrives(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            extension in "(;[a-z]{0,9}=[a-z]{0,9})?",
            trailer in "([A-Z][a-z]{0,9}: [a-z]{0,9}\r\n){0,3}",
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(alloc::format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
                expected.extend_from_slice(chunk);
            }
            wire.extend_from_slice(alloc::format!("0\r\n{trailer}\r\n").as_bytes());
            let end = wire.len();
            wire.extend_from_slice(b"GET /next");
            prop_assert_eq!(decode(Body::chunked(), &wire, &cuts), Ok((expected, end, true)));
        }

        #[test]
        fn random_bytes_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..600), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
            let _ = decode(Body::chunked(), &wire, &cuts);
        }

        #[test]
        fn a_sized_body_is_what_it_says(len in 0u64..500, extra in 0usize..20, cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
            let wire = alloc::vec![7u8; usize::try_from(len).unwrap() + extra];
            let (payload, end, done) = decode(Body::sized(len), &wire, &cuts).unwrap();
            prop_assert_eq!((payload.len() as u64, end as u64, done), (len, len, true));
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"5\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"11111111111111111\r\n",
            b"0\r\nA: b\n",
            b"-1\r\n",
            b"0x3\r\n",
        ] {
            assert_eq!(
                decode(Body::chunked(), wire, &[]),
                Err(BodyError),
                "{:?}",
                core::str::from_utf8(wire)
            );
        }
    }
}
