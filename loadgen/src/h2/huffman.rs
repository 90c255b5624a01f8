//! HPACK's Huffman code (RFC 7541, appendix B), made from the lengths of its codes.
//!
//! The code is canonical: codes of one length are numbered in the order of their symbols, and go on from the shorter ones. So the
//! lengths are all there is to know.

use super::Malformed;

/// Appends what the bits mean.
pub(super) fn decode(bytes: &[u8], into: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut code, mut length) = (0_u32, 0);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            length += 1;
            let Some(within) = code
                .checked_sub(TABLE.first[length])
                .filter(|within| *within < TABLE.count[length])
            else {
                if length == LENGTH_MAX {
                    return Err(Malformed("no such Huffman code"));
                }
                continue;
            };
            // The last symbol of all is the end, which nobody may write.
            let symbol = TABLE.symbols[(TABLE.before[length] + within) as usize];
            into.push(u8::try_from(symbol).map_err(|_| Malformed("a Huffman code has an end"))?);
            (code, length) = (0, 0);
        }
    }
    // A byte is filled up with the beginning of the end, which is all ones.
    match length < 8 && code == (1 << length) - 1 {
        true => Ok(()),
        false => Err(Malformed("a Huffman code is cut")),
    }
}

struct Table {
    /// By length: the least code of that length, how many there are, and how many symbols have shorter ones.
    first: [u32; LENGTH_MAX + 1],
    count: [u32; LENGTH_MAX + 1],
    before: [u32; LENGTH_MAX + 1],
    /// In the order of their codes.
    symbols: [u16; SYMBOLS],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        first: [0; LENGTH_MAX + 1],
        count: [0; LENGTH_MAX + 1],
        before: [0; LENGTH_MAX + 1],
        symbols: [0; SYMBOLS],
    };
    let (mut length, mut code, mut placed) = (1, 0, 0);
    while length <= LENGTH_MAX {
        code <<= 1;
        table.first[length] = code;
        table.before[length] = placed as u32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                table.symbols[placed] = symbol as u16;
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        table.count[length] = code - table.first[length];
        length += 1;
    }
    assert!(placed == SYMBOLS && code == 1 << LENGTH_MAX, "a whole code");
    table
}

const SYMBOLS: usize = 257;
const LENGTH_MAX: usize = 30;
/// Bits of the code of each byte, and of the end.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(hex: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut into = Vec::new();
        decode(hex, &mut into).map(|()| into)
    }

    #[test]
    fn the_rfcs_examples_read_as_the_rfc_says() {
        let www = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(text(&www).unwrap(), b"www.example.com");
        assert_eq!(
            text(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(),
            b"no-cache"
        );
        assert_eq!(text(&[]).unwrap(), b"");
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte_and_nobody_writes_the_end() {
        for wrong in [&[0xff][..], &[0xff; 4], &[0b0000_0000]] {
            assert!(text(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(text(&[0b0000_0111]).unwrap(), b"0");
    }
}
