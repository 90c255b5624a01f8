//! Messages, appended field by field in the order of their numbers, defaults left out: as go's library writes them.

use alloc::vec::Vec;

use super::params::{PriceInfo, TicketParams};
use crate::address::Address;
use crate::signature::Signature;

/// A payment to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Payment<'a> {
    /// As the orchestrator offered them; absent when nothing is paid.
    pub params: Option<&'a TicketParams>,
    /// Who pays.
    pub sender: Address,
    /// The price that it was told.
    pub expected_price: Option<PriceInfo>,
    /// Nonces and signatures.
    pub tickets: &'a [(u32, Signature)],
}

impl Payment<'_> {
    /// Appends the message.
    pub fn write(&self, into: &mut Vec<u8>) {
        if let Some(params) = self.params {
            put_message(into, 1, |into| params.write_bare(into));
        }
        put_bytes(into, 2, &self.sender.0);
        if let Some(params) = self.params {
            put_message(into, 3, |into| params.write_expiration(into));
        }
        for (nonce, signature) in self.tickets {
            put_message(into, 4, |into| {
                put_uint32(into, 1, *nonce);
                put_bytes(into, 2, &signature.to_bytes());
            });
        }
        if let Some(price) = self.expected_price {
            put_message(into, 5, |into| price.write(into));
        }
    }
}

/// Appends bytes or a string, unless empty.
pub fn put_bytes(into: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_varint(into, u64::from(field) << 3 | 2);
        put_varint(into, bytes.len() as u64);
        into.extend_from_slice(bytes);
    }
}

/// Appends an embedded message, also when empty: its presence means something.
pub fn put_message(into: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(into, u64::from(field) << 3 | 2);
    let at = into.len();
    write(into);
    // The length goes before what it measures, so that is moved: by one byte, or two for long ones.
    let mut length = into.len() - at;
    let mut prefix = [0; 10];
    let mut prefix_bytes = 0;
    loop {
        let more = length > 0x7f;
        prefix[prefix_bytes] = (length & 0x7f) as u8 | u8::from(more) << 7;
        prefix_bytes += 1;
        length >>= 7;
        if !more {
            break;
        }
    }
    into.splice(at..at, prefix[..prefix_bytes].iter().copied());
}

/// Appends a uint32, unless 0.
pub fn put_uint32(into: &mut Vec<u8>, field: u32, value: u32) {
    put_int64(into, field, i64::from(value));
}

/// Appends an int64, unless 0. A negative one takes ten bytes.
pub fn put_int64(into: &mut Vec<u8>, field: u32, value: i64) {
    if value != 0 {
        put_varint(into, u64::from(field) << 3);
        put_varint(into, value.cast_unsigned());
    }
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push((value & 0x7f) as u8);
}
