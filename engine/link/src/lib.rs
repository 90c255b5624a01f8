//! What the two planes say to each other.
//!
//! The control plane holds an [`Engine`], the data plane holds a [`Control`]; neither knows the other's runtime.
//! Everything here is plain data that can be sent between threads, and for payments the rings by which they go.
//!
//! Invariants:
//! - A [`Command`] is answered exactly once: dropping a [`Reply`] answers [`Refusal::Stopped`].
//! - A [`Report`] is never waited for: the data plane hands it over and goes on.
//! - A [`Visitor`] owns its socket; whoever drops it closes it.

#![forbid(unsafe_code)]

mod charge;
mod command;
pub mod payment;
mod report;

pub use charge::{Charge, ChargeReply, Charged, NotCharged};
pub use payment::{Chain, PaymentReply, Receipt};

pub use command::{Answer, Command, Filter, OpenSession, Process, Refusal, Reply};
pub use report::{EndCause, Report, SessionStats, Stage, StageLatency};

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The data plane as the control plane sees it.
pub trait Engine: Send + Sync {
    /// Hands over a command. Never blocks: a full mailbox answers [`Refusal::Busy`] at once.
    fn submit(&self, command: Command, reply: Reply);

    /// Opens a private stream on which the engine serves trickle over HTTP/1.1, as if it had been accepted.
    ///
    /// The control plane uses it for trickle requests that reach it by a road the shards do not serve (HTTP/2).
    fn connect(&self) -> std::io::Result<OwnedFd>;

    /// Hands over a payment. `source` tells whoever sends payments apart, so that one of them cannot take another's turn; a connection's
    /// number will do. Never blocks: when too many wait already it answers [`ticket::Refusal::Busy`] at once.
    ///
    /// An engine that was started without payments answers [`ticket::Refusal::Recipient`]: it is nobody's.
    fn pay(&self, payment: ticket::Received, source: u64, reply: PaymentReply) {
        let _ = (payment, source);
        reply.refuse(ticket::Refusal::Recipient);
    }

    /// Takes pixels from an account, which may go below zero; the answer comes once that is on disk. Never blocks: when too many charges
    /// wait already it answers [`NotCharged::Busy`] at once.
    ///
    /// It is carried out with the next batch of payments, behind the credits of that batch, and never waits for a second one because
    /// others pay: a payment that was handed in before it, from here, comes first unless there are more payments than fit into a batch.
    ///
    /// An engine that was started without payments answers [`NotCharged::NoAccount`].
    fn charge(&self, charge: Charge, reply: ChargeReply) {
        let _ = charge;
        reply.send(Err(NotCharged::NoAccount));
    }

    /// How many more sessions of the usual kind it could carry now, as far as that is known; more may fit, or fewer. Waits for nobody.
    fn room(&self) -> Option<u32> {
        None
    }

    /// What is wrong with the data plane now, a sentence each; empty when all is well. Waits for nobody.
    fn health(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The control plane as the data plane sees it.
pub trait Control: Send + Sync {
    /// Takes note of something that happened. Must not block.
    fn report(&self, report: Report);

    /// Takes over a connection whose first request is not trickle. Must not block.
    ///
    /// # Errors
    /// Gives the visitor back when the control plane has no room; the caller answers 503 and closes.
    fn visit(&self, visitor: Visitor) -> Result<(), Visitor>;

    /// Appends the body of the answer to a payment that was credited whole: what the payer needs for the next one. `auth_token` is the message
    /// that came with it, empty when none did. Must not block.
    fn receipt(&self, receipt: &Receipt, auth_token: &[u8], body: &mut Vec<u8>) {
        let _ = (receipt, auth_token, body);
    }
}

/// A connection that the data plane accepted and the control plane shall serve.
#[derive(Debug)]
pub struct Visitor {
    /// The byte stream, in cleartext: the client's own TCP socket, or the near end of a socket pair when the shard keeps TLS.
    pub stream: OwnedFd,
    /// What kind of socket `stream` is.
    pub kind: StreamKind,
    /// Bytes that were already read from the client and must be served first.
    pub prefix: Vec<u8>,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Whether the client came over TLS.
    pub tls: bool,
}

/// The two kinds of socket a [`Visitor`] may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A TCP socket.
    Tcp,
    /// One end of a Unix stream socket pair.
    Unix,
}
