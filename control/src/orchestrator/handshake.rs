//! `net.Orchestrator`: how gateways find out what this node can do and what it costs, over gRPC.
//!
//! | method | answer |
//! |---|---|
//! | GetOrchestrator | who we are, price, ticket parameters, auth token, capabilities; or the first of the refusals below |
//! | Ping | the value, signed |
//! | EndTranscodingSession | nothing, when the token is ours |
//!
//! Refusals are plain texts with the status UNKNOWN, as go-livepeer's are, since gateways match them:
//!
//! ```text
//!   Invalid orchestrator request: orchestrator req sig check failed      the sender did not sign its address
//!   Invalid orchestrator request: OrchestratorCapped                     no room, or the node drains; not for those who say they do not mind
//!   authentication failed: …                                             the operator's webhook says no
//!   insufficient sender reserve, …                                       nothing can be offered to this sender
//!   Invalid auth token                                                   a session's end, without a right to it
//! ```
//!
//! The signature is over the sender's address and nothing else: whoever has seen it can send it again. So a handshake costs next to nothing and
//! gives away nothing but parameters that are of use to the sender alone.

use std::fmt;
use std::sync::Arc;

use proto::net::orchestrator_server::{Orchestrator, OrchestratorServer};
use proto::net::{
    Capabilities, EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo,
    OrchestratorRequest, PingPong,
};
use ticket::Address;
use tonic::{Request, Response, Status};

use super::auth::Denied;
use super::desk::Desk;
use crate::capability::Capability;
use crate::payment::offers::Unoffered;

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 256 << 10;
/// The longest value that is signed. Stock nodes send 32 bytes. Whoever pings chooses what our account signs, so it must be nothing that means
/// anything elsewhere: the shortest segment credentials have 65 bytes, a ticket has 168 or 232.
const PING_BYTES_MAX: usize = 64;

/// The gRPC service.
pub(super) type Service = OrchestratorServer<Handshake>;

/// See the module.
#[derive(Clone)]
pub(super) struct Handshake {
    desk: Arc<Desk>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Refused {
    Signature,
    Capped,
    Denied(Denied),
    Unoffered(Unoffered),
    Token,
    LongPing,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => {
                f.write_str("Invalid orchestrator request: orchestrator req sig check failed")
            }
            Self::Capped => f.write_str("Invalid orchestrator request: OrchestratorCapped"),
            Self::Denied(why) => why.fmt(f),
            Self::Unoffered(why) => why.fmt(f),
            Self::Token => f.write_str("Invalid auth token"),
            Self::LongPing => write!(f, "a ping has at most {PING_BYTES_MAX} bytes"),
        }
    }
}

impl From<Refused> for Status {
    fn from(why: Refused) -> Self {
        tracing::debug!(%why, "a handshake is refused");
        Self::unknown(why.to_string())
    }
}

impl Handshake {
    /// The service, to be routed to.
    pub(super) fn service(desk: Arc<Desk>) -> Service {
        OrchestratorServer::new(Self { desk }).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn greet(&self, request: OrchestratorRequest) -> Result<OrchestratorInfo, Refused> {
        let sender = Address::from_wire(&request.address);
        if !self
            .desk
            .identity()
            .believes_greeting(&sender, &request.sig)
        {
            return Err(Refused::Signature);
        }
        let wanted = request.capabilities.as_ref();
        if !request.ignore_capacity_check && !self.has_room(wanted) {
            return Err(Refused::Capped);
        }
        let price = match self.desk.webhook() {
            Some(webhook) => webhook.allow(sender).await.map_err(Refused::Denied)?,
            None => None,
        };
        self.desk
            .greet(sender, wanted, price)
            .map_err(Refused::Unoffered)
    }

    /// Whether one more session fits, on one of the models that are wanted when any is named.
    fn has_room(&self, wanted: Option<&Capabilities>) -> bool {
        if !self.desk.has_room() {
            return false;
        }
        let live = wanted
            .and_then(|wanted| wanted.constraints.as_ref())
            .and_then(|all| all.per_capability.get(&Capability::LIVE_VIDEO_TO_VIDEO.0));
        live.is_none_or(|live| live.models.keys().any(|id| self.desk.offers_model(id)))
    }
}

#[tonic::async_trait]
impl Orchestrator for Handshake {
    async fn get_orchestrator(
        &self,
        request: Request<OrchestratorRequest>,
    ) -> Result<Response<OrchestratorInfo>, Status> {
        Ok(Response::new(self.greet(request.into_inner()).await?))
    }

    async fn end_transcoding_session(
        &self,
        request: Request<EndTranscodingSessionRequest>,
    ) -> Result<Response<EndTranscodingSessionResponse>, Status> {
        let token = request.into_inner().auth_token;
        let session = self
            .desk
            .tokens()
            .names(token.as_ref())
            .map_err(|_| Refused::Token)?;
        // Only segment transcoding has such sessions, and this node does none: there is nothing to end, as when it has ended already.
        tracing::debug!(%session, "a session's end was asked for");
        Ok(Response::new(EndTranscodingSessionResponse {}))
    }

    async fn ping(&self, request: Request<PingPong>) -> Result<Response<PingPong>, Status> {
        let value = request.into_inner().value;
        if value.len() > PING_BYTES_MAX {
            return Err(Refused::LongPing.into());
        }
        Ok(Response::new(PingPong {
            value: self.desk.identity().sign(&value),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::desk;
    use super::*;
    use tonic::Code;

    fn off_chain() -> Handshake {
        Handshake {
            desk: desk::tests::bare(1),
        }
    }

    #[tokio::test]
    async fn an_end_without_a_token_is_refused_and_one_with_ours_is_not() {
        let handshake = off_chain();
        let end = async |auth_token| {
            let request = Request::new(EndTranscodingSessionRequest { auth_token });
            handshake.end_transcoding_session(request).await.map(drop)
        };
        let refused = end(None).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unknown, "Invalid auth token")
        );
        let greeted = handshake.greet(OrchestratorRequest::default()).await;
        assert!(end(greeted.unwrap().auth_token).await.is_ok());
    }

    #[tokio::test]
    async fn a_ping_signs_nothing_that_means_something_elsewhere() {
        let ping = async |length| {
            let value = vec![1; length];
            off_chain().ping(Request::new(PingPong { value })).await
        };
        assert!(ping(PING_BYTES_MAX).await.is_ok());
        let refused = ping(PING_BYTES_MAX + 1).await.unwrap_err();
        assert_eq!(refused.message(), "a ping has at most 64 bytes");
    }

    #[test]
    fn the_texts_that_gateways_match_are_pinned() {
        let texts =
            [Refused::Signature, Refused::Capped, Refused::Token].map(|why| why.to_string());
        assert_eq!(
            texts,
            [
                "Invalid orchestrator request: orchestrator req sig check failed",
                "Invalid orchestrator request: OrchestratorCapped",
                "Invalid auth token",
            ]
        );
    }
}
