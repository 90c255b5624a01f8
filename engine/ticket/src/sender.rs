//! The paying side: which parameters a gateway accepts, and the tickets it makes under them.
//!
//! ```text
//!   TicketParams ──accept──▶ PaymentSession ──tickets(n)──▶ Unsigned ──sign──▶ nonces and signatures ──▶ wire::Payment
//!                 rules                      nonces                   local key, or a signer elsewhere
//! ```
//!
//! Invariants:
//! - A nonce is used once under a set of parameters, counted from 1, whatever becomes of its ticket.
//! - Parameters that were not accepted are never signed for.
//! - Signing is a step of its own, so that it may happen in another process.

mod accept;
mod session;
mod sign;

pub use accept::{Accepted, Declined, Limits, accept};
pub use session::{Exhausted, PaymentSession, Unsigned};
pub use sign::{BadKey, LocalKey};
