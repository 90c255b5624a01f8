//! Fields of a protobuf message, one after the other where they lie: as much as an orchestrator's answers need.
//!
//! Total: of whatever bytes it is given it makes fields or a [`Malformed`], and always comes to an end.

use std::fmt;

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no protobuf message")
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes, text, or another message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which are of no interest here.
    Fixed,
}

/// The fields of a message; after a [`Malformed`] there are no more.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn next_field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| Malformed)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        match tag >> 3 {
            0 => Err(Malformed),
            number => Ok((number, value)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ticket::wire::{put_bytes, put_int64, put_message};

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Malformed> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        put_int64(&mut bytes, 1, -5);
        put_bytes(&mut bytes, 2, b"hello");
        put_message(&mut bytes, 1_000, |into| put_int64(into, 7, 300));
        bytes.extend_from_slice(&[9 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend_from_slice(&[10 << 3 | 5, 1, 2, 3, 4]);
        let inner = [7 << 3, 0xac, 2];
        assert_eq!(
            fields(&bytes).unwrap(),
            [
                (1, Value::Varint((-5_i64).cast_unsigned())),
                (2, Value::Bytes(b"hello")),
                (1_000, Value::Bytes(&inner)),
                (9, Value::Fixed),
                (10, Value::Fixed),
            ]
        );
        for wrong in [
            &[8][..],
            &[0x12, 3, b'a'],
            &[0, 0],
            &[11],
            &[0x08, 0x80],
            &[0x08; 1],
            &[0xff; 12],
            &[9, 0, 0],
        ] {
            assert_eq!(fields(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let count = Fields::of(&bytes).count();
            prop_assert!(count <= bytes.len());
        }
    }
}
