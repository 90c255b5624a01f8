//! The orchestrator role: live sessions, their events, and every connection that is not trickle.
//!
//! The two planes need each other, so they start in two steps:
//!
//! ```text
//!   let (inbox, orchestrator) = orchestrator::new(config, world);      nothing runs yet
//!   let engine = Engine::start(…, Arc::new(inbox))?;                   shards listen; visitors and reports wait, bounded
//!   let handle = orchestrator.handle();
//!   orchestrator.run(Arc::new(engine), service_url).await              until handle.stop(…)
//! ```
//!
//! ```text
//!   data plane ── Inbox ─┬─ visitors ─► door ─► http ─┬─► handshake ─► desk
//!                        │                            ├─► live, purchase ─► session, bill (a task each) ─┐
//!                        │                            └─► bridge ─► a private stream ────────────────────┼─► data plane
//!                        └─ reports ──► registry ─────────────────────► session ─────────────────────────┘
//! ```
//!
//! Invariants:
//! - A session holds its place (`registry::Seat`) until its last channel is gone, and gives it back exactly once.
//! - Nothing is spawned before `run`, and nothing that `run` spawned outlives the stop by more than its deadline.

pub mod auth;
mod bill;
mod bridge;
mod commands;
mod desk;
mod door;
mod events;
mod handshake;
mod http;
mod inbox;
mod limits;
mod live;
mod params;
mod payment;
mod purchase;
mod registry;
mod session;
mod state;
mod stream;
mod view;
mod voice;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use link::Visitor;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::auth::Webhook;
use self::commands::Commands;
use self::desk::{Desk, Setup};
use self::door::Door;
use self::handshake::Handshake;
use self::inbox::Outbox;
use self::registry::Registry;
use crate::payment::tab::Rules;
use crate::payment::token::Tokens;
use crate::payment::{Identity, Ledger, Offers};
use crate::world::World;

pub use self::inbox::Inbox;

/// What the orchestrator's control plane is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The path under which channels live; begins and ends with a slash. The engine's own.
    pub trickle_base: String,
    /// Whether sessions get a token without which their channels cannot be deleted. The engine's `owner_delete`.
    pub owner_tokens: bool,
    /// Live sessions at once.
    pub sessions: usize,
    /// Connections served at once that are not trickle.
    pub visitors: usize,
    /// How long such a connection may sit between two requests.
    pub keep_alive: Duration,
    /// Ids of the models that the engine was given, such as `onnx/denoise`. The built-in filters need no mention.
    pub models: Vec<String>,
    /// What payments need; `None` where none are taken. The engine has then to be started with tickets as well.
    pub payments: Option<Payments>,
    /// How sessions that are paid for are charged.
    pub rules: Rules,
    /// Who the node is to gateways.
    pub identity: Arc<Identity>,
    /// What auth tokens are made with: 32 bytes that nobody else has, and that a restart does not change.
    pub token_key: [u8; 32],
    /// What the node says its version is: a go-livepeer version whose wire it speaks.
    pub version: String,
    /// Further orchestrators that gateways are told of, as URLs.
    pub nodes: Vec<String>,
    /// The devices that models run on, for those who ask.
    pub gpus: Vec<Gpu>,
    /// Who is asked whether a gateway may come in.
    pub webhook: Option<Arc<Webhook>>,
}

/// A device that models run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub compute: (u32, u32),
    /// Free and in all, in bytes.
    pub memory_bytes: (u64, u64),
}

/// The version of go-livepeer whose wire is spoken.
pub const SPEAKS: &str = "0.9.1";

/// What payments need.
#[derive(Debug, Clone)]
pub struct Payments {
    /// What was recorded.
    pub ledger: Ledger,
    /// What is offered.
    pub offers: Arc<Offers>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trickle_base: "/ai/trickle/".to_owned(),
            owner_tokens: false,
            sessions: 16,
            visitors: 1_024,
            keep_alive: Duration::from_secs(600),
            models: Vec::new(),
            payments: None,
            rules: Rules::default(),
            identity: Arc::new(Identity::nobody()),
            token_key: [0; 32],
            version: SPEAKS.to_owned(),
            nodes: Vec::new(),
            gpus: Vec::new(),
            webhook: None,
        }
    }
}

/// Every id that a session may ask for, when the engine was given `models`.
pub fn every_model(models: &[String]) -> Vec<String> {
    params::every_model(models)
}

/// Prepares an orchestrator: the inbox is for the engine, the rest waits for it.
pub fn new(config: Config, world: Arc<dyn World>) -> (Inbox, Orchestrator) {
    let registry = Registry::new(config.sessions);
    let models = params::every_model(&config.models);
    let setup = Setup {
        identity: Arc::clone(&config.identity),
        tokens: Tokens::new(&config.token_key),
        payments: config.payments.clone(),
        webhook: config.webhook.clone(),
        hardware: desk::hardware(&models, &config.gpus),
        models,
        version: config.version.clone(),
        nodes: config.nodes.clone(),
    };
    let desk = Arc::new(Desk::new(setup, Arc::clone(&registry), Arc::clone(&world)));
    let (inbox, outbox, visitors, lost) = inbox::pair(config.sessions, Arc::clone(&desk));
    let phase = watch::Sender::new(Phase::Running);
    let handle = Handle {
        registry: Arc::clone(&registry),
        phase: Arc::new(phase),
        lost,
    };
    (
        inbox,
        Orchestrator {
            config,
            world,
            desk,
            registry,
            outbox,
            visitors,
            handle,
        },
    )
}

/// An orchestrator that does not run yet.
pub struct Orchestrator {
    config: Config,
    world: Arc<dyn World>,
    desk: Arc<Desk>,
    registry: Arc<Registry>,
    outbox: Outbox,
    visitors: mpsc::Receiver<Visitor>,
    handle: Handle,
}

impl Orchestrator {
    /// The way to drain and to stop it, before and while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until [`Handle::stop`], and then for as long as that allows. Dropping it cuts everything at once.
    ///
    /// `urls` say what peers reach this node by, scheme, host and port and nothing behind it.
    pub async fn run(self, engine: Arc<dyn link::Engine>, urls: Urls) {
        self.desk.open(urls.service.trim_end_matches('/'), &engine);
        let phase = self.handle.phase.subscribe();
        let handshake = Handshake::service(Arc::clone(&self.desk));
        let app = App {
            registry: Arc::clone(&self.registry),
            commands: Commands::new(engine),
            world: self.world,
            desk: Arc::clone(&self.desk),
            trickle_url: urls.trickle.trim_end_matches('/').into(),
            trickle_base: self.config.trickle_base.into(),
            owner_tokens: self.config.owner_tokens,
            models: self.config.models.into(),
            rules: self.config.rules,
            phase: phase.clone(),
        };
        let door = Door {
            trickle_base: Arc::clone(&app.trickle_base),
            router: http::router(app, handshake),
            visitors_max: self.config.visitors,
            keep_alive: self.config.keep_alive,
            phase,
        };
        // However this future ends, the tasks it spawned hear of it.
        let _guard = StopOnDrop(Arc::clone(&self.handle.phase));
        tokio::select! {
            () = door.open(self.visitors) => {}
            () = self.outbox.dispatch(self.registry) => tracing::debug!("the data plane let go of its inbox"),
            () = self.desk.keep_looking() => {}
        }
    }
}

/// What peers reach a node by: scheme, host and port.
#[derive(Debug, Clone)]
pub struct Urls {
    /// For the handshake and everything else.
    pub service: String,
    /// For channels; usually the same.
    pub trickle: String,
}

impl From<String> for Urls {
    /// One for both.
    fn from(url: String) -> Self {
        Self {
            service: url.clone(),
            trickle: url,
        }
    }
}

/// Drains and stops a running orchestrator.
#[derive(Clone)]
pub struct Handle {
    registry: Arc<Registry>,
    phase: Arc<watch::Sender<Phase>>,
    lost: Arc<AtomicU64>,
}

impl Handle {
    /// From now on new sessions are refused as if the node were full; running ones go on.
    pub fn drain(&self) {
        self.registry.drain();
    }

    /// Live sessions now, those that are saying goodbye included.
    pub fn sessions(&self) -> usize {
        *self.registry.count().borrow()
    }

    /// Resolves when there is no session. The caller brings the deadline.
    pub async fn idle(&self) {
        let mut count = self.registry.count();
        // The table outlives this handle, so the count is always there to be waited for.
        drop(count.wait_for(|count| *count == 0).await.map(drop));
    }

    /// Stops: connections get `linger` to finish what they are at, sessions get nothing. Later calls change nothing.
    pub fn stop(&self, linger: Duration) {
        self.phase.send_if_modified(|phase| match phase {
            Phase::Running => {
                *phase = Phase::Stopping {
                    deadline: Instant::now() + linger,
                };
                true
            }
            Phase::Stopping { .. } => false,
        });
    }

    /// Reports of the data plane that found no room since the start.
    pub fn reports_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Whether the node runs.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    Stopping { deadline: Instant },
}

/// What every request can reach.
#[derive(Clone)]
struct App {
    registry: Arc<Registry>,
    commands: Commands,
    world: Arc<dyn World>,
    desk: Arc<Desk>,
    /// What channels are reached by.
    trickle_url: Arc<str>,
    trickle_base: Arc<str>,
    owner_tokens: bool,
    models: Arc<[String]>,
    rules: Rules,
    phase: watch::Receiver<Phase>,
}

impl App {
    /// Runs `task` beside the request, until it is done or the node stops.
    fn spawn_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut phase = self.phase.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                _ = phase.wait_for(|phase| matches!(phase, Phase::Stopping { .. })) => {}
            }
        });
    }
}

struct StopOnDrop(Arc<watch::Sender<Phase>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(Phase::Stopping {
            deadline: Instant::now(),
        });
    }
}
