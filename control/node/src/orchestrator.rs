//! An orchestrator in this process: the two planes wired together, watched, drained and stopped.
//!
//! ```text
//!   start: preflight ─► certificate ─► inbox ─► engine (shards listen) ─► control runs
//!   stop:  refuse sessions ─► engine drains ─► last goodbyes ─► connections finish ─► engine stops
//! ```
//!
//! Invariants:
//! - A start that fails leaves nothing behind that runs.
//! - Every step of the stop has a deadline, and a second signal skips to its end.
//! - The control plane's threads keep off the shards' CPUs when there are others.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use control::orchestrator::auth::Webhook;
use control::orchestrator::{self as plane, Handle};
use control::payment::Identity;
use control::ticket::Address;
use control::world::{System, World};
use engine::{Engine, TrickleConfig, TrickleListen};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::addr::{Listen, ServiceUrl};
use crate::cert::{self, Tls};
use crate::cores;
use crate::device::DeviceChoice;
use crate::failure::{Failure, Reason};
use crate::models::Offer;
use crate::payments::{Parts, Writing};
use crate::ping;
use crate::plan::Plan;
use crate::preflight;
use crate::report::{self, Report, Style};
use crate::secrets;

/// The control plane is not where the work is.
const CONTROL_THREADS: usize = 2;
/// Sessions say goodbye for a second after their end, and delete a channel; twice that is plenty.
const GOODBYE: Duration = Duration::from_secs(4);
/// How long connections may finish what they are at.
const LINGER: Duration = Duration::from_secs(2);
/// How long shards and lanes may take to end once they are told to.
const STOP: Duration = Duration::from_secs(10);

/// An orchestrator that runs.
///
/// It owns a runtime, so it must be started and ended outside of one. Dropped, it is cut off without a drain.
pub(crate) struct Running {
    service: ServiceUrl,
    engine: engine::Handle,
    control: Handle,
    served: JoinHandle<()>,
    runtime: Runtime,
    drain: Duration,
    device: DeviceChoice,
    writing: Option<Writing>,
    report: Report,
}

/// Starts one. Returns once it serves.
pub(crate) fn start(mut plan: Plan) -> Result<Running, Failure> {
    let mut notes = preflight::check(&mut plan)?;
    let offer = Offer::make(plan.models_dir.as_deref(), plan.onnxruntime.as_deref())?;
    notes.extend(plan.payments.notes(&plane::every_model(&offer.ids())));
    let world: Arc<dyn World> = Arc::new(System);
    let has_tls = plan.listen.tls || plan.trickle_listen.is_some_and(|listen| listen.tls);
    let tls = match has_tls {
        true => Some(cert::prepare(
            plan.tls_files.as_ref(),
            &plan.service.host,
            &plan.data_dir,
            &*world,
        )?),
        false => None,
    };
    let token_key = secrets::kept(&plan.data_dir, secrets::TOKEN_KEY, &*world)?;
    let Money {
        people,
        identity,
        payments,
        tickets,
        writing,
    } = Money::of(plan.payments.open(&plan.data_dir, &world)?);
    let identity = Arc::new(identity);
    let trickle = TrickleConfig {
        autocreate: plan.autocreate,
        owner_delete: plan.owner_delete,
        changefeed: plan.changefeed,
        ..TrickleConfig::default()
    };
    let (inbox, orchestrator) = plane::new(
        plane::Config {
            trickle_base: trickle.base.clone(),
            owner_tokens: plan.owner_delete,
            sessions: plan.limits.sessions,
            keep_alive: plan.limits.keep_alive,
            models: offer.ids(),
            payments,
            rules: plan.payments.rules(),
            identity: Arc::clone(&identity),
            token_key,
            nodes: plan.nodes.clone(),
            gpus: plan.device.gpus.clone(),
            webhook: webhook(plan.auth_webhook.as_deref(), &world)?,
            ..plane::Config::default()
        },
        world,
    );
    let runtime = runtime(&plan.placement.spare)?;
    let tls_of = |listen: &Listen| {
        let tls = tls.as_ref().filter(|_| listen.tls);
        tls.map(|tls| Arc::clone(&tls.config))
    };
    let engine = Engine::start_with(
        engine::Config {
            listen: plan.listen.addr,
            tls: tls_of(&plan.listen),
            trickle_listen: plan.trickle_listen.map(|listen| TrickleListen {
                addr: listen.addr,
                tls: tls_of(&listen),
            }),
            cores: plan.placement.cores.clone(),
            lanes: plan.placement.lanes,
            device: plan.device.for_engine(),
            models: offer.models.clone(),
            trickle,
            limits: plan.limits.clone(),
        },
        Arc::new(inbox),
        tickets,
    )
    .map_err(|error| {
        Failure::new(
            Reason::Engine,
            "the engine did not start",
            error.to_string(),
            "the reason names what is missing; `--log debug` tells more",
        )
    })?;
    let local = engine.local_addr();
    // Port 0 means that peers are told the port which the system picked.
    let service = match plan.service.port {
        0 => plan.service.at(local.port()),
        _ => plan.service.clone(),
    };
    let trickle_local = engine.trickle_addr();
    let trickle_service = plan.trickle_service.as_ref().map(|url| match url.port {
        0 => url.at(trickle_local.unwrap_or(local).port()),
        _ => url.clone(),
    });
    let control = orchestrator.handle();
    let urls = plane::Urls {
        service: service.to_string(),
        trickle: trickle_service.as_ref().unwrap_or(&service).to_string(),
    };
    let served = runtime.spawn(orchestrator.run(Arc::new(engine.clone()), urls));
    let addresses = Addresses {
        service: &service,
        local,
        trickle_service: trickle_service.as_ref(),
        trickle_local,
        tls: tls.as_ref(),
    };
    let mut report = describe(&plan, &addresses, people, &offer.lines, &notes);
    let running = Running {
        service,
        engine,
        control,
        served,
        runtime,
        drain: plan.drain,
        device: plan.device,
        writing,
        report: Report::default(),
    };
    let verdict = match plan.ping.then(|| running.ping(&identity)) {
        None => "not asked for".to_owned(),
        Some(Ok(verdict)) => verdict,
        Some(Err(failure)) => {
            running.stop();
            return Err(failure);
        }
    };
    report.row("ping", verdict);
    Ok(Running { report, ..running })
}

fn webhook(url: Option<&str>, world: &Arc<dyn World>) -> Result<Option<Arc<Webhook>>, Failure> {
    let Some(url) = url else { return Ok(None) };
    let webhook = Webhook::new(url, Arc::clone(world)).map_err(|error| {
        Failure::usage(
            format!("auth-webhook-url `{url}` cannot be asked"),
            error.to_string(),
        )
    })?;
    Ok(Some(Arc::new(webhook)))
}

/// What of payments a start hands on.
struct Money {
    /// Who signs, and who is paid.
    people: Option<(Address, Address)>,
    identity: Identity,
    payments: Option<plane::Payments>,
    tickets: Option<engine::Tickets>,
    writing: Option<Writing>,
}

impl Money {
    fn of(parts: Option<Parts>) -> Self {
        match parts {
            Some(parts) => Self {
                people: Some(parts.people),
                identity: parts.identity,
                payments: Some(parts.control),
                tickets: Some(parts.tickets),
                writing: Some(parts.writing),
            },
            None => Self {
                people: None,
                identity: Identity::nobody(),
                payments: None,
                tickets: None,
                writing: None,
            },
        }
    }
}

impl Running {
    /// What it is and what it may take, for the operator.
    pub(crate) fn report(&self, style: Style) -> String {
        self.report.render(style)
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    /// Calls `act` at the first SIGINT, which then no longer ends the process by itself.
    pub(crate) fn on_interrupt(&self, act: impl FnOnce() + Send + 'static) {
        self.runtime.spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                act();
            }
        });
    }

    fn ping(&self, identity: &Identity) -> Result<String, Failure> {
        self.runtime
            .block_on(ping::ping(&self.service, identity, &System))
    }

    /// What peers are told.
    pub(crate) const fn service(&self) -> &ServiceUrl {
        &self.service
    }

    /// What processes its frames.
    pub(crate) const fn device(&self) -> &DeviceChoice {
        &self.device
    }

    /// From now on SIGTERM and SIGINT are heard, and no longer end the process by themselves.
    pub(crate) fn hear_signals(&self) -> Result<Signals, Failure> {
        let _inside = self.runtime.enter();
        Signals::listen().map_err(|error| {
            Failure::new(
                Reason::Control,
                "signals cannot be heard",
                error.to_string(),
                "start it with SIGTERM and SIGINT not blocked",
            )
        })
    }

    /// Serves until SIGTERM or SIGINT, then drains and stops.
    pub(crate) fn until_signal(mut self, mut signals: Signals) -> Result<(), Failure> {
        let ended = self.runtime.block_on(async {
            tokio::select! {
                name = signals.next() => {
                    let sessions = self.control.sessions();
                    tracing::info!(signal = name, sessions, deadline = ?self.drain, "draining");
                    tokio::select! {
                        () = drain(&self.engine, &self.control, self.drain) => {}
                        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
                    }
                    Ok(())
                }
                ended = &mut self.served => Err(ended),
            }
        });
        match ended {
            Ok(()) => {
                self.stop();
                tracing::info!("stopped");
                Ok(())
            }
            Err(ended) => {
                let why = ended
                    .err()
                    .map_or_else(|| "it let go".to_owned(), |error| error.to_string());
                self.stop();
                Err(Failure::new(
                    Reason::Control,
                    "the control plane ended by itself",
                    why,
                    "this is a defect: please report it with the log",
                ))
            }
        }
    }

    /// Stops now: connections get a moment to finish, sessions get none.
    pub(crate) fn stop(self) {
        tracing::debug!(service = %self.service(), lost = self.control.reports_lost(), "stopping");
        self.control.stop(LINGER);
        if !self.served.is_finished() {
            let finished = async { tokio::time::timeout(2 * LINGER, self.served).await };
            if self.runtime.block_on(finished).is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        // A thread of its own, because it may take for ever and we may not.
        let (tx, rx) = mpsc::channel();
        let engine = self.engine.clone();
        std::thread::spawn(move || {
            engine.stop();
            // Nobody waits any more once the deadline has passed.
            tx.send(()).ok();
        });
        if rx.recv_timeout(STOP).is_err() {
            tracing::warn!("some shards or lanes did not end in time");
        }
        if let Some(writing) = self.writing {
            writing.finish(LINGER);
        }
        self.runtime.shutdown_timeout(LINGER);
    }
}

/// Lets running sessions go on until they end or the deadline comes, and lets all say goodbye.
async fn drain(engine: &engine::Handle, control: &Handle, deadline: Duration) {
    control.drain();
    let engine = engine.clone();
    let drained = tokio::task::spawn_blocking(move || engine.drain(deadline));
    if tokio::time::timeout(deadline + STOP, drained)
        .await
        .is_err()
    {
        return tracing::warn!("the data plane did not drain in time");
    }
    if tokio::time::timeout(GOODBYE, control.idle()).await.is_err() {
        tracing::warn!(
            sessions = control.sessions(),
            "some sessions did not end in time"
        );
    }
}

/// The two signals that mean the end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A runtime whose threads stay on the CPUs `spare`, if there are any.
fn runtime(spare: &[usize]) -> Result<Runtime, Failure> {
    let set = (!spare.is_empty()).then(|| {
        let mut set = CpuSet::new();
        spare
            .iter()
            .filter(|cpu| **cpu < CpuSet::MAX_CPU)
            .for_each(|cpu| set.set(*cpu));
        set
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .on_thread_start(move || {
            if let Some(Err(error)) = set.as_ref().map(|set| sched_setaffinity(None, set)) {
                tracing::debug!(%error, "a control thread stays where it is");
            }
        })
        .build()
        .map_err(|error| {
            Failure::new(
                Reason::Control,
                "the control plane did not start",
                error.to_string(),
                "check the limits on threads and open files",
            )
        })
}

/// Where it is reached, as the report says it.
struct Addresses<'a> {
    service: &'a ServiceUrl,
    local: SocketAddr,
    trickle_service: Option<&'a ServiceUrl>,
    trickle_local: Option<SocketAddr>,
    tls: Option<&'a Tls>,
}

impl Addresses<'_> {
    fn report(&self, plan: &Plan, report: &mut Report) {
        let how = |listen: &Listen| match self.tls.filter(|_| listen.tls) {
            Some(tls) => format!("TLS, {}", tls.origin),
            None => "cleartext".to_owned(),
        };
        report.row("service", self.service.to_string());
        report.row(
            "listening",
            format!("{}, {}", self.local, how(&plan.listen)),
        );
        if let Some((addr, listen)) = self.trickle_local.zip(plan.trickle_listen.as_ref()) {
            report.row("", format!("{addr}, {}, trickle alone", how(listen)));
        }
        if let Some(tls) = self.tls {
            report.row("", format!("SHA-256 {}", tls.fingerprint));
        }
        if let Some(url) = self.trickle_service {
            report.row("trickle", format!("peers are told {url}"));
        }
    }
}

fn describe(
    plan: &Plan,
    addresses: &Addresses<'_>,
    people: Option<(Address, Address)>,
    models: &[String],
    notes: &[String],
) -> Report {
    let (limits, place) = (&plan.limits, &plan.placement);
    let shards = place.cores.len();
    let pages = limits.page_bytes as u64;
    let mut report = Report::new(format!(
        "millstream {} orchestrator",
        env!("CARGO_PKG_VERSION")
    ));
    addresses.report(plan, &mut report);
    report.row(
        "shards",
        format!("{shards}, on CPU {}", cores::to_list(&place.cores)),
    );
    let beside = match place.spare.is_empty() {
        true => "sharing the shards' CPUs: expect jitter".to_owned(),
        false => format!("beside them, on CPU {}", cores::to_list(&place.spare)),
    };
    report.row("lanes", format!("{}, {beside}", place.lanes));
    report.rows("device", &plan.device.lines);
    report.rows("models", models);
    report.rows("payments", &plan.payments.lines(people));
    report.row(
        "sessions",
        format!(
            "at most {}, ended after {} s without input",
            limits.sessions,
            limits.session_idle.as_secs()
        ),
    );
    report.row(
        "limits",
        format!(
            "{} connections, {} channels, {} a segment, {} a channel",
            limits.connections * shards,
            limits.channels * shards,
            report::bytes(limits.segment_bytes),
            report::bytes(limits.channel_bytes)
        ),
    );
    report.row(
        "memory",
        format!(
            "channels hold at most {} ({shards} x {})",
            report::bytes(pages.saturating_mul(shards as u64)),
            report::bytes(pages)
        ),
    );
    let created = if plan.autocreate {
        "by sessions and by publishing"
    } else {
        "by sessions only"
    };
    let deleted = if plan.owner_delete {
        "by their owner only"
    } else {
        "by whoever knows their name"
    };
    report.row("channels", format!("created {created}, deleted {deleted}"));
    report.row("data", plan.data_dir.display().to_string());
    report.row(
        "drain",
        format!("{} s after SIGTERM or SIGINT", plan.drain.as_secs()),
    );
    for note in notes {
        report.row("note", note.as_str());
    }
    report
}
