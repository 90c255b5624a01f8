//! Probabilistic tickets as values.
//!
//! A gateway pays with signed lottery tickets. Each names a face value and a win probability that the orchestrator chose; few
//! win, and only winners go to the chain. Everything else is arithmetic, and all of it is here:
//!
//! ```text
//!   orchestrator                                                                             gateway
//!   offer::quote ─▶ TicketParams ───────────────────────────────────────▶ sender::accept ─▶ Sender
//!                                                                                              │ signs
//!   payment bytes ─▶ Received ─▶ Opened ─▶ Authentic ─▶ Book: credited, once  ◀────────────────┘
//!                    parse      ours?      signed by      └▶ Winning ─▶ Entry ─▶ journal
//!                               (Secret)   the sender? (Verifier)
//! ```
//!
//! Invariants:
//! - Time, chance and the chain are arguments. Nothing here asks the world for anything.
//! - What was proven is a type. Only [`Secret::open`] makes an [`Opened`], only [`Check`] makes an [`Authentic`] of one, only an
//!   authentic ticket is credited, and only a winning one gets into the journal.
//! - The parameters in a payment are the sender's claim. What they are worth is said by the MAC over them, which we made.
//! - Money is integers: a credit is `face value × win probability` in parts of 2^256 − 1 of a wei, a debit is pixels.
//! - [`Book::apply`] is the only way that a book changes, so a book is what its journal says.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod amount;
pub mod book;
pub mod check;
pub mod curve;
pub mod float;
pub mod keccak;
pub mod layout;
pub mod nonces;
pub mod offer;
pub mod price;
pub mod received;
pub mod refusal;
pub mod secret;
pub mod sender;
pub mod session;
pub mod signature;
pub mod verify;
pub mod wire;

pub use address::{Address, Hash};
pub use amount::{ExpectedValue, Wei};
pub use book::Book;
pub use check::{Authentic, Check, Winning};
pub use layout::Ticket;
pub use price::Price;
pub use received::{Blank, Received};
pub use refusal::Refusal;
pub use secret::{Opened, Secret};
pub use session::SessionId;
pub use signature::Signature;
pub use verify::Verifier;
