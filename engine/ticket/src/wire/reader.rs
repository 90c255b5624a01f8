//! Fields of a message, one after the other, where they lie.

use core::fmt;

/// The bytes are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within a field.
    Truncated,
    /// A varint of more than 64 bits.
    Varint,
    /// A field number of 0, or a wire type that proto3 does not have.
    Tag,
    /// A known field has another wire type than its own.
    WireType {
        /// The field's number.
        field: u32,
    },
    /// An embedded message appears twice.
    Repeated {
        /// The field's number.
        field: u32,
    },
    /// An integer of more than 32 bytes.
    TooWide {
        /// The field's number.
        field: u32,
    },
    /// More tickets than one set of parameters can have.
    TooManyTickets,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends within a field"),
            Self::Varint => f.write_str("a number of more than 64 bits"),
            Self::Tag => f.write_str("a field number or wire type that does not exist"),
            Self::WireType { field } => {
                write!(f, "field {field} has another wire type than its own")
            }
            Self::Repeated { field } => write!(f, "field {field} appears twice"),
            Self::TooWide { field } => {
                write!(f, "field {field} is an integer of more than 32 bytes")
            }
            Self::TooManyTickets => f.write_str("more tickets than one set of parameters can have"),
        }
    }
}

impl core::error::Error for Malformed {}

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's number and its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes: no field of ours.
    Fixed,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes that have not been read.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::Tag)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Malformed::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| Malformed::Truncated)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed::Tag),
        };
        Ok(Some(Field { number, value }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Tags, lengths and most numbers are one byte.
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (n, byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte has room for one bit.
            if n == 9 && *byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[n + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            Malformed::Truncated
        } else {
            Malformed::Varint
        })
    }
}

impl<'a> Field<'a> {
    /// Its bytes: of a string, bytes, or an embedded message.
    pub(crate) const fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::WireType { field: self.number }),
        }
    }

    /// Its number.
    pub(crate) const fn varint(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(Malformed::WireType { field: self.number }),
        }
    }

    /// An embedded message that may appear once.
    pub(crate) fn once(&self, seen: &mut Option<&'a [u8]>) -> Result<(), Malformed> {
        match seen.replace(self.bytes()?) {
            None => Ok(()),
            Some(_) => Err(Malformed::Repeated { field: self.number }),
        }
    }
}
