//! Connections that are not trickle: taken over from the data plane and served as HTTP/1.1 or HTTP/2.
//!
//! Invariants:
//! - A connection is a task; its panic or its stall is its own.
//! - There are never more than `visitors` of them. When all places are taken the queue fills, and the shard says 503.
//! - A connection ends when it has been idle for `keep_alive`, when its peer leaves our bytes unread for a minute, and
//!   when the node stops. A request that is being served is never idle: a parked subscriber may wait for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use link::Visitor;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tower_service::Service;

use super::limits;
use super::stream::{Keeping, Stream};
use super::{Phase, http};

/// What the door needs to know.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) router: Router,
    pub(super) trickle_base: Arc<str>,
    pub(super) visitors_max: usize,
    pub(super) keep_alive: Duration,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Door {
    /// Lets visitors in until the node stops, then waits for those inside until the phase's deadline.
    pub(super) async fn open(mut self, mut visitors: mpsc::Receiver<Visitor>) {
        let places = Arc::new(Semaphore::new(self.visitors_max));
        let mut inside = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stopping(&mut self.phase) => break,
                Some(_) = inside.join_next(), if !inside.is_empty() => {}
                // First a place, then a visitor: who finds none stays in the queue, whose length is known outside.
                Some((visitor, place)) = next(&places, &mut visitors) => {
                    let door = self.clone();
                    inside.spawn(async move {
                        door.serve(visitor).await;
                        drop(place);
                    });
                }
            }
        }
        drop(visitors);
        let deadline = match *self.phase.borrow() {
            Phase::Stopping { deadline } => deadline,
            Phase::Running => Instant::now(),
        };
        let all = async { while inside.join_next().await.is_some() {} };
        // What is left then is dropped with the set, and closed by that.
        drop(tokio::time::timeout_at(deadline, all).await);
    }

    async fn serve(mut self, visitor: Visitor) {
        let peer = visitor.peer;
        let stream = match Stream::new(visitor) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(?peer, %error, "a visitor's socket is of no use"),
        };
        let pulse = stream.pulse();
        let service = {
            let (pulse, router, base) = (
                stream.pulse(),
                self.router.clone(),
                Arc::clone(&self.trickle_base),
            );
            service_fn(move |mut request: Request<Incoming>| {
                let in_flight = pulse.request();
                http::normalise(request.uri_mut(), &base);
                let answer = router.clone().call(request.map(Body::new));
                async move {
                    let response: Response<Body> = answer.await?;
                    Ok::<_, Infallible>(response.map(|body| Keeping::new(body, in_flight)))
                }
            })
        };
        let builder = http_builder();
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut look = interval(limits::LOOK_EVERY);
        let mut cut_at: Option<Instant> = None;
        loop {
            tokio::select! {
                served = connection.as_mut() => {
                    // Clients that go away in the middle are a normal day.
                    if let Err(error) = served {
                        tracing::debug!(?peer, %error, "a visitor's connection ended early");
                    }
                    return;
                }
                () = stopping(&mut self.phase), if cut_at.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    let Phase::Stopping { deadline } = *self.phase.borrow() else { return };
                    cut_at = Some(deadline);
                }
                _ = look.tick(), if cut_at.is_none() => {
                    if pulse.blocked() >= limits::STALLED {
                        return tracing::debug!(?peer, "a visitor reads nothing and is cut");
                    }
                    if pulse.idle() >= self.keep_alive {
                        connection.as_mut().graceful_shutdown();
                        cut_at = Some(Instant::now() + limits::FINISH);
                    }
                }
                () = sleep_until(cut_at.unwrap_or_else(Instant::now)), if cut_at.is_some() => return,
            }
        }
    }
}

fn http_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD)
        // `Lp-Trickle-Seq`, as it is written in the protocol and by every other server of it.
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS)
        .max_header_list_size(limits::HEADER_LIST_BYTES)
        .keep_alive_interval(limits::STALLED)
        .keep_alive_timeout(limits::FINISH);
    builder
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn next(
    places: &Arc<Semaphore>,
    visitors: &mut mpsc::Receiver<Visitor>,
) -> Option<(Visitor, Place)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    Some((visitors.recv().await?, place))
}

async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // When nobody is left to say stop, it is time to stop.
    drop(
        phase
            .wait_for(|phase| matches!(phase, Phase::Stopping { .. }))
            .await
            .map(drop),
    );
}
