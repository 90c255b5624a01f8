//! Payments, outside of the data plane: what is offered, what was recorded, and the keys that sign.
//!
//! ```text
//!   offers ── parameters ──▶ gateway ── tickets ──▶ ticket lane (data plane) ── batches ──▶ ledger ──▶ store
//!     ▲                                                                                       │
//!     └── what is pending, at which price ◀── receipts, or ───────────────────────────────────┘
//! ```

pub mod chain;
pub mod identity;
pub mod keystore;
pub mod ledger;
pub mod offers;
pub mod prices;
pub mod tab;
pub mod token;

pub use chain::ClockChain;
pub use identity::Identity;
pub use ledger::{Ledger, Writer};
pub use offers::Offers;
pub use prices::Prices;
