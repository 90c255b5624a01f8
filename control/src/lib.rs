//! The control plane: what may be slow.
//!
//! It runs on tokio, beside the data plane and never inside it. The two know each other only through [`link`]: the
//! control plane is handed an `Arc<dyn link::Engine>` and gives out an `impl link::Control`. A folder a role:
//!
//! - [`orchestrator`]: the handshake, the live session API and its bills, the road of HTTP/2 into trickle, status, capacity, drain;
//! - [`payment`]: prices, offers, accounts, what was recorded, and the keys that sign;
//! - [`creds`]: what a gateway says and signs of a segment or a payment;
//! - [`capability`]: what a node can do and what a job needs, for both ends;
//! - [`gateway`]: the client of orchestrators, and how many of them are asked what they offer;
//! - [`tls`]: the node's certificate and its TLS settings;
//! - [`world`]: the only door to wall-clock time and chance.
//!
//! Invariants:
//! - Nothing here reads the environment or a file, and nothing ends the process.
//! - Every queue has a bound, and every wait on a peer or on the data plane has a deadline.
//! - What a peer sends can end its own request, connection or session and nothing else.

#![forbid(unsafe_code)]

pub mod capability;
pub mod creds;
pub mod gateway;
pub mod orchestrator;
pub mod payment;
pub mod printable;
pub mod store;
pub mod tls;
pub mod world;

pub use link;
pub use proto;
pub use ticket;
