//! Header fields (HPACK, RFC 7541): requests are written in the plainest way, responses are read in every way.
//!
//! A request's fields are the same for every call, so they are written once, as a [`Head`], without a table. A peer writes with a
//! table of the last fields, which is kept here as it keeps it: [`TABLE_BYTES`], unless it says that it uses less.

use std::collections::VecDeque;

use super::{FIELDS_BYTES_MAX, Malformed, huffman};

/// A request's fields, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head(Vec<u8>);

impl Head {
    /// Of a POST. Names are in lower case.
    pub fn post(is_tls: bool, authority: &str, path: &str, fields: &[(&str, &str)]) -> Self {
        let scheme = if is_tls { "https" } else { "http" };
        let mut bytes = Vec::new();
        let front = [
            (":method", "POST"),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ];
        for (name, value) in front.iter().chain(fields) {
            // A literal, to be kept by nobody, with its name written out.
            bytes.push(0);
            put_text(&mut bytes, name);
            put_text(&mut bytes, value);
        }
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    let mut left = text.len();
    if left < 127 {
        into.push(left as u8);
    } else {
        into.push(127);
        left -= 127;
        while left >= 128 {
            into.push(left as u8 | 128);
            left >>= 7;
        }
        into.push(left as u8);
    }
    into.extend_from_slice(text.as_bytes());
}

/// What a peer's fields refer to.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    /// What the peer uses of it.
    bytes_max: usize,
    /// And what it may.
    limit: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self::with_limit(TABLE_BYTES)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            table: VecDeque::new(),
            bytes: 0,
            bytes_max: limit,
            limit,
        }
    }

    /// Hands out each field of a block.
    ///
    /// # Errors
    /// It is none; what was handed out before is of no use.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut total = 0;
        while let Some(&first) = block.first() {
            let (name, value, is_kept) = match first {
                0x80.. => {
                    let (name, value) = self.entry(integer(&mut block, 7)?)?;
                    (name.to_vec(), value.to_vec(), false)
                }
                0x20..0x40 => {
                    let bytes_max = integer(&mut block, 5)?;
                    if bytes_max > self.limit {
                        return Err(Malformed("a table is larger than it may be"));
                    }
                    self.bytes_max = bytes_max;
                    self.evict();
                    continue;
                }
                _ => {
                    let is_kept = first & 0x40 != 0;
                    let name = match integer(&mut block, if is_kept { 6 } else { 4 })? {
                        0 => text(&mut block)?,
                        index => self.entry(index)?.0.to_vec(),
                    };
                    (name, text(&mut block)?, is_kept)
                }
            };
            total += name.len() + value.len() + ENTRY_BYTES;
            if total > FIELDS_BYTES_MAX {
                return Err(Malformed("there are more header fields than we take"));
            }
            field(&name, &value);
            if is_kept {
                self.bytes += name.len() + value.len() + ENTRY_BYTES;
                self.table.push_front((name, value));
                self.evict();
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let unknown = Malformed("a field refers to nothing");
        let at = index.checked_sub(1).ok_or(unknown)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(at - STATIC.len()).ok_or(unknown)?;
        Ok((name, value))
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((name, value)) = self.table.pop_back()
        {
            self.bytes -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// A number whose first part is the last `bits` of a byte.
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let cut = Malformed("header fields are cut");
    let (&first, mut rest) = block.split_first().ok_or(cut)?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(cut)?;
            rest = after;
            value += usize::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
            shift += 7;
            if shift > 21 {
                return Err(Malformed("a number is larger than anything here"));
            }
        }
    }
    *block = rest;
    Ok(value)
}

fn text(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (bytes, rest) = block
        .split_at_checked(length)
        .ok_or(Malformed("header fields are cut"))?;
    *block = rest;
    if !is_coded {
        return Ok(bytes.to_vec());
    }
    let mut plain = Vec::new();
    huffman::decode(bytes, &mut plain)?;
    Ok(plain)
}

const TABLE_BYTES: usize = 4_096;
/// What an entry counts for beside its texts.
const ENTRY_BYTES: usize = 32;
/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut fields = Vec::new();
        decoder.decode(block, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            fields.push(format!("{}={}", text(name), text(value)));
        })?;
        Ok(fields)
    }

    #[test]
    fn the_rfcs_responses_read_as_the_rfc_says() {
        // C.6: two responses one after the other, Huffman code and all, with a table of 256 bytes.
        let mut decoder = Decoder::with_limit(256);
        let first = [
            0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0,
            0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81,
            0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff, 0x6e, 0x91, 0x9d, 0x29, 0xad, 0x17, 0x18,
            0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
        ];
        let rest = [
            "cache-control=private",
            "date=Mon, 21 Oct 2013 20:13:21 GMT",
            "location=https://www.example.com",
        ];
        let read = fields(&mut decoder, &first).unwrap();
        assert_eq!(
            (read[0].as_str(), &read[1..]),
            (":status=302", &rest.map(str::to_owned)[..])
        );
        assert_eq!(decoder.bytes, 222);
        let second = [0x48, 0x83, 0x64, 0x0e, 0xff, 0xc1, 0xc0, 0xbf];
        let read = fields(&mut decoder, &second).unwrap();
        assert_eq!(
            (read[0].as_str(), &read[1..]),
            (":status=307", &rest.map(str::to_owned)[..])
        );
        // The status before it had to go.
        assert_eq!((decoder.table.len(), decoder.bytes), (4, 222));
        assert_eq!(fields(&mut decoder, &[0x20]).unwrap(), [""; 0]);
        assert_eq!((decoder.table.len(), decoder.bytes), (0, 0));
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let long = "x".repeat(70_000 / 2);
        let head = Head::post(
            true,
            "a:1",
            "/net.X/Y",
            &[("te", "trailers"), ("long", &long)],
        );
        let read = fields(&mut Decoder::new(), head.bytes()).unwrap();
        let want = [
            ":method=POST",
            ":scheme=https",
            ":authority=a:1",
            ":path=/net.X/Y",
            "te=trailers",
        ];
        assert_eq!(read[..5], want);
        assert_eq!(read[5].len(), 5 + long.len());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wrong in [
            &[0x80][..],
            &[0xff],
            &[0xff, 0x80, 0x80, 0x80, 0x80, 1],
            &[0xbe],
            &[0x3f, 0xe2, 0x1f],
            &[0, 5, b'a'],
        ] {
            assert!(fields(&mut Decoder::new(), wrong).is_err(), "{wrong:?}");
        }
        // A small block that stands for a large one.
        let mut bomb = vec![0x40, 1, b'a', 127, 0x81, 30];
        bomb.resize(bomb.len() + 3_968, b'b');
        bomb.extend_from_slice(&[0xbe; 20]);
        assert!(fields(&mut Decoder::new(), &bomb).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_not(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..5)) {
            let mut decoder = Decoder::new();
            for block in blocks {
                let _ = fields(&mut decoder, &block);
                prop_assert!(decoder.bytes <= TABLE_BYTES);
            }
        }
    }
}
