//! Connections that are not trickle: taken over from the data plane and served as HTTP/1.1 or HTTP/2.
//!
//! Invariants:
//! - A connection is a task; its panic or its stall is its own.
//! - There are never more than `visitors` of them. When all places are taken, whoever has been idle for longest makes room, if that is long enough:
//!   connections that want nothing keep nobody out. When all have something to do the queue fills, and the shard says 503.
//! - A connection ends when it has been idle for `keep_alive`, when its peer leaves our bytes unread for a minute, and
//!   when the node stops. A request that is being served is never idle: a parked subscriber may wait for ever.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use link::Visitor;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tower_service::Service;

use super::limits;
use super::stream::{Keeping, Pulse, Stream};
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
        let guests = Arc::new(Guests::default());
        let mut inside = JoinSet::new();
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                () = stopping(&mut self.phase) => break,
                Some(_) = inside.join_next(), if !inside.is_empty() => {}
                // A visitor for whom there is no place waits at the door, the others in the queue, whose length is known outside.
                Some(visitor) = visitors.recv(), if waiting.is_none() => waiting = Some(visitor),
                place = place(&places, &guests), if waiting.is_some() => {
                    let Some(visitor) = waiting.take() else { continue };
                    let (door, guests) = (self.clone(), Arc::clone(&guests));
                    inside.spawn(async move {
                        door.serve(visitor, &guests).await;
                        drop(place);
                    });
                }
            }
        }
        drop((visitors, waiting));
        let deadline = match *self.phase.borrow() {
            Phase::Stopping { deadline } => deadline,
            Phase::Running => Instant::now(),
        };
        let all = async { while inside.join_next().await.is_some() {} };
        // What is left then is dropped with the set, and closed by that.
        drop(tokio::time::timeout_at(deadline, all).await);
    }

    async fn serve(mut self, visitor: Visitor, guests: &Guests) {
        let peer = visitor.peer;
        let stream = match Stream::new(visitor) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(?peer, %error, "a visitor's socket is of no use"),
        };
        let pulse = stream.pulse();
        let guest = guests.enter(stream.pulse());
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
                () = guest.leave.notified() => {
                    // It may have begun something since it was chosen.
                    if pulse.idle() >= limits::IDLE_MIN {
                        return tracing::debug!(?peer, "an idle visitor makes room for another");
                    }
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

/// Waits for a place, and has one made if somebody idles on theirs.
async fn place(places: &Arc<Semaphore>, guests: &Guests) -> Option<Place> {
    loop {
        if places.available_permits() == 0 {
            guests.make_room();
        }
        let place = Arc::clone(places).acquire_owned();
        if let Ok(place) = timeout(limits::PLACE_PATIENCE, place).await {
            // Nobody closes the semaphore, and without a place nobody comes in.
            return place.ok();
        }
    }
}

/// Who is inside.
#[derive(Default)]
struct Guests {
    inside: Mutex<BTreeMap<u64, Arc<Guest>>>,
    entered: AtomicU64,
}

struct Guest {
    pulse: Arc<Pulse>,
    leave: Notify,
}

/// A guest's entry in the list, for as long as it is held.
struct Inside<'a> {
    guests: &'a Guests,
    number: u64,
    guest: Arc<Guest>,
}

impl Guests {
    fn enter(&self, pulse: Arc<Pulse>) -> Inside<'_> {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let leave = Notify::new();
        let guest = Arc::new(Guest { pulse, leave });
        self.lock().insert(number, Arc::clone(&guest));
        Inside {
            guests: self,
            number,
            guest,
        }
    }

    /// Asks whoever has been idle for longest to leave, if that is long enough.
    fn make_room(&self) {
        let inside = self.lock();
        let longest = inside.values().max_by_key(|guest| guest.pulse.idle());
        if let Some(guest) = longest.filter(|guest| guest.pulse.idle() >= limits::IDLE_MIN) {
            guest.leave.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Guest>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Inside<'_> {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.guests.lock().remove(&self.number);
    }
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
