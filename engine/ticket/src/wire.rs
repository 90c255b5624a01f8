//! Payments and ticket parameters on the wire: Protocol Buffers, read without copying.
//!
//! Three messages of go-livepeer's package `net` travel in payments. They are small and fixed, so they are read here by hand, field
//! by field where they lie; a test holds every message against prost.
//!
//! Rules that differ from a general reader's, each towards safety:
//! - A length that reaches beyond the message, a group, a varint of more than 64 bits or a tag of 0 is malformed.
//! - A known field with another wire type than its own is malformed; general readers disagree about that one.
//! - Unknown fields are skipped, and a scalar that is repeated counts as its last, as the specification has it.
//! - An embedded message that is repeated is malformed: the specification merges the copies, nobody sends them, and two readers that
//!   differ there would differ about money.

mod creds;
mod params;
mod payment;
mod reader;
mod writer;

pub use creds::{NoPurpose, Purpose};
pub use params::{PriceInfo, TicketParams};
pub use payment::{PaymentView, TicketView, Tickets};
pub use reader::Malformed;
pub use writer::{Payment, put_bytes, put_int64, put_message, put_uint32};
