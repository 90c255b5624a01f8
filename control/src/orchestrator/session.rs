//! One live session as the control plane sees it: a task that opens it, speaks for it, and buries it.
//!
//! ```text
//!            OpenSession            paid          SessionEnded             1 s
//!   opening ─────────────► awaiting ─────► live ─────────────► farewell ─────────► events channel deleted, seat given back
//!      │ refused, late         │ not paid     │ silent, abandoned, unpaid  ▲
//!      ▼                       └──────────────┴── CloseSession ── 10 s ────┘
//!    seat given back
//! ```
//!
//! Invariants:
//! - The seat is held from before the session is asked for until its last channel is gone.
//! - Nobody's absence keeps a session: a caller that hung up, an opening that came too late and a data plane that fell
//!   silent all lead to `CloseSession`, and every wait has a deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use link::{Answer, Command, EndCause, OpenSession, Process, Refusal, SessionStats};
use ticket::{Address, Price};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::bill::{Bill, News};
use super::commands::{Commands, Outcome};
use super::desk::Desk;
use super::events::{self, Trace};
use super::limits;
use super::params;
use super::purchase::{Payer, is_less};
use super::registry::{End, Mail, Note, Seat};
use super::state::{self, Meter};
use super::view::View;
use super::voice::Voice;
use crate::payment::tab::Rules;
use crate::world::World;

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The data plane has no room.
    NoRoom,
    /// The data plane did not answer in time.
    Late,
    /// The data plane cannot do it.
    Failed(String),
}

/// Everything a session's task starts with.
pub(super) struct Session {
    pub(super) seat: Seat,
    pub(super) mail: Mail,
    pub(super) view: watch::Sender<View>,
    pub(super) commands: Commands,
    pub(super) world: Arc<dyn World>,
    pub(super) owner_token: Option<String>,
    /// Ids of the models that parameters may name.
    pub(super) models: Arc<[String]>,
    /// Keys of the start parameters that mean nothing to the model.
    pub(super) ignored: Vec<String>,
    /// Hears who pays, if anybody has to; the session ends when that is never said.
    pub(super) payer: oneshot::Receiver<Option<Payer>>,
    /// How it is charged.
    pub(super) rules: Rules,
    /// Knows what other models cost.
    pub(super) desk: Arc<Desk>,
}

impl Session {
    /// Lives through the whole session; `opened` hears how the opening went, no later than `deadline`.
    pub(super) async fn run(
        self,
        deadline: Instant,
        opened: oneshot::Sender<Result<(), OpenError>>,
    ) {
        let view = Arc::new(self.view);
        let voice = Voice::new(
            self.seat.manifest_id(),
            Arc::clone(&view),
            self.commands.clone(),
            Arc::clone(&self.world),
        );
        let mut live = Live {
            manifest_id: self.seat.manifest_id().to_owned(),
            mail: self.mail,
            view,
            voice,
            commands: self.commands,
            world: self.world,
            meter: Meter::default(),
            closing: None,
            heard: Instant::now(),
            lost_told: 0,
            models: self.models,
            desk: self.desk,
            is_known: true,
            bill: None,
        };
        if !live.open(self.owner_token, deadline, opened).await {
            return;
        }
        live.await_payer(self.payer, self.rules).await;
        let (cause, stats) = live.live(&self.ignored).await;
        live.farewell(&cause, stats).await;
        drop(self.seat);
    }
}

struct Live {
    manifest_id: String,
    mail: Mail,
    view: Arc<watch::Sender<View>>,
    voice: Voice,
    commands: Commands,
    world: Arc<dyn World>,
    meter: Meter,
    /// Set once the session was told to end: when to stop waiting for it.
    closing: Option<Instant>,
    /// When the data plane was last heard of.
    heard: Instant,
    lost_told: u64,
    models: Arc<[String]>,
    desk: Arc<Desk>,
    /// Whether anybody was told of its channels.
    is_known: bool,
    /// What it is charged; `None` when it is free.
    bill: Option<Bill>,
}

impl Live {
    /// Whether there is a session now.
    async fn open(
        &mut self,
        owner_token: Option<String>,
        deadline: Instant,
        opened: oneshot::Sender<Result<(), OpenError>>,
    ) -> bool {
        let command = Command::OpenSession(OpenSession {
            manifest_id: self.manifest_id.clone(),
            process: self.view.borrow().process.clone(),
            owner_token,
        });
        let error = match self.commands.call(command, deadline).await {
            Outcome::Answered(Answer::Done) => {
                if opened.send(Ok(())).is_err() {
                    tracing::debug!(
                        manifest_id = self.manifest_id,
                        "the caller hung up before its session was open"
                    );
                    self.close().await;
                }
                return true;
            }
            // Somebody else's: it must not be closed from here.
            Outcome::Answered(Answer::Already) => {
                OpenError::Failed("the manifest id is taken".to_owned())
            }
            Outcome::Refused(Refusal::Full(limit)) => {
                tracing::info!(limit, "no room for a session");
                OpenError::NoRoom
            }
            Outcome::Refused(Refusal::Draining | Refusal::Busy) => OpenError::NoRoom,
            Outcome::Refused(refusal) => OpenError::Failed(refusal.to_string()),
            Outcome::Late(pending) => {
                // The caller may be gone as well.
                drop(opened.send(Err(OpenError::Late)));
                tracing::warn!(
                    manifest_id = self.manifest_id,
                    "the data plane did not open a session in time"
                );
                let born = matches!(
                    timeout(limits::START_LATE, pending).await,
                    Ok(Ok(Ok(Answer::Done)))
                );
                if born {
                    self.close().await;
                }
                return born;
            }
        };
        drop(opened.send(Err(error)));
        false
    }

    /// Waits until it is known who pays. Whoever is to say so has a deadline, and a request that is given up says it by going away.
    async fn await_payer(&mut self, payer: oneshot::Receiver<Option<Payer>>, rules: Rules) {
        if self.closing.is_some() {
            return;
        }
        match payer.await {
            Ok(payer) => {
                self.bill = payer.map(|payer| Bill::new(payer, rules, self.commands.clone()));
                self.show_bill();
            }
            Err(_) => {
                self.is_known = false;
                self.close().await;
            }
        }
    }

    async fn live(&mut self, ignored: &[String]) -> End {
        if self.closing.is_none() {
            self.voice.trace(Trace::Request, None).await;
            self.voice.status().await;
            if !ignored.is_empty() {
                self.voice.params(ignored).await;
            }
        }
        let mut second = interval(std::time::Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status_due = Instant::now() + limits::STATUS_EVERY;
        loop {
            tokio::select! {
                biased;
                // The table keeps the sending ends as long as this task keeps its seat.
                Some(note) = self.mail.notes.recv() => self.noted(note).await,
                Ok(()) = self.mail.progress.changed() => self.progressed().await,
                news = news(&mut self.bill), if self.bill.is_some() => self.billed(news).await,
                end = &mut self.mail.ended => {
                    return end.unwrap_or_else(|_| self.lost_end("the session was forgotten"));
                }
                _ = second.tick() => {
                    self.look().await;
                    if let Some(bill) = &mut self.bill && self.closing.is_none() {
                        bill.look();
                    }
                    let now = Instant::now();
                    if now >= status_due {
                        status_due = now + limits::STATUS_EVERY;
                        self.voice.status().await;
                    }
                    match self.closing {
                        Some(deadline) if now >= deadline => {
                            return self.lost_end("the data plane did not end the session in time");
                        }
                        None if now >= self.heard + limits::SILENCE => {
                            tracing::warn!(manifest_id = self.manifest_id, "the data plane fell silent about a session");
                            self.close().await;
                        }
                        _ => {}
                    }
                }
                // Last, so that a flood of messages delays nothing else.
                Some(bytes) = self.mail.messages.recv() => self.told(&bytes).await,
            }
        }
    }

    async fn farewell(&mut self, cause: &EndCause, stats: SessionStats) {
        tracing::info!(
            manifest_id = self.manifest_id,
            ?cause,
            frames_in = stats.frames_in,
            frames_out = stats.frames_out,
            "session ended"
        );
        if self.is_known {
            self.say_goodbye(cause, stats).await;
        }
        let name = self.voice.channel().to_owned();
        let deadline = Instant::now() + limits::COMMAND;
        match self
            .commands
            .call(Command::DeleteChannel { name }, deadline)
            .await
        {
            Outcome::Answered(_) | Outcome::Refused(Refusal::Unknown) => {}
            other => tracing::warn!(
                manifest_id = self.manifest_id,
                ?other,
                "the events channel stays until it is swept"
            ),
        }
    }

    /// The last charge, and the last that is said on the events channel.
    async fn say_goodbye(&mut self, cause: &EndCause, stats: SessionStats) {
        let now_ms = self.world.unix_ms();
        if let Some(bill) = &mut self.bill {
            bill.close(&stats).await;
            self.show_bill();
        }
        if let EndCause::BadInput(why) | EndCause::Failed(why) = cause {
            self.voice.last_words(why).await;
        }
        self.view.send_modify(|view| {
            view.stats = stats;
            view.state = state::ended(cause);
            view.state_since_ms = now_ms;
        });
        self.voice.status().await;
        sleep(limits::GOODBYE).await;
    }

    async fn noted(&mut self, note: Note) {
        self.heard = Instant::now();
        match note {
            Note::FirstInput(what) => {
                tracing::info!(
                    manifest_id = self.manifest_id,
                    input = events::bounded(&what),
                    "first input"
                );
                self.voice.trace(Trace::FirstInput, Some(&what)).await;
            }
            Note::FirstOutput => self.voice.trace(Trace::FirstOutput, None).await,
            Note::Trouble(message) => self.voice.trouble(&message).await,
        }
    }

    async fn progressed(&mut self) {
        self.heard = Instant::now();
        let Some(stats) = self.mail.progress.borrow_and_update().clone() else {
            return;
        };
        self.meter.note(self.world.unix_ms(), &stats);
        if let Some(bill) = &mut self.bill {
            bill.saw(&stats);
            if self.closing.is_none() {
                bill.look();
            }
        }
        let rates = self.meter.rates();
        self.view
            .send_modify(|view| (view.stats, view.rates) = (stats, rates));
        self.look().await;
    }

    /// A charge came to something.
    async fn billed(&mut self, news: News) {
        self.show_bill();
        match news {
            News::None => {}
            News::Overdue(why) => {
                tracing::info!(manifest_id = self.manifest_id, why);
                self.voice.last_words(&why).await;
            }
            News::Settled(how) => {
                tracing::info!(manifest_id = self.manifest_id, how);
                self.voice.settled(&how).await;
            }
            News::Over(why) => {
                tracing::info!(manifest_id = self.manifest_id, why, "a session ends unpaid");
                if self.closing.is_none() {
                    self.voice.last_words(&why).await;
                    self.close().await;
                }
            }
        }
    }

    fn show_bill(&self) {
        let bill = self.bill.as_ref().map(Bill::view);
        self.view.send_modify(|view| view.bill = bill);
    }

    /// Looks at the state, and says so when it is another.
    async fn look(&mut self) {
        let now_ms = self.world.unix_ms();
        let state = state::running(&self.view.borrow().stats, &self.meter, now_ms);
        let changed = self.view.send_if_modified(|view| {
            let changed = view.state != state;
            if changed {
                (view.state, view.state_since_ms) = (state, now_ms);
            }
            changed
        });
        if changed {
            self.voice.status().await;
        }
        let lost = self.mail.lost.load(Ordering::Relaxed);
        if lost > self.lost_told && self.voice.may_tell_trouble() {
            let more = lost - std::mem::replace(&mut self.lost_told, lost);
            self.voice
                .trouble(&format!("{more} messages came too fast and were lost"))
                .await;
        }
    }

    /// A message came on the control channel.
    async fn told(&mut self, bytes: &[u8]) {
        let current = self.view.borrow().process.clone();
        let update = match params::message(&current, bytes, &self.models) {
            Ok(params::Message::Nothing) => return,
            Ok(params::Message::Update(update)) => update,
            Err(why) => return self.voice.trouble(&why).await,
        };
        if let Err(why) = self.may_do(&update.process) {
            return self.voice.trouble(&why).await;
        }
        if update.process != current {
            let command = Command::SetProcess {
                manifest_id: self.manifest_id.clone(),
                process: update.process.clone(),
            };
            match self
                .commands
                .call(command, Instant::now() + limits::COMMAND)
                .await
            {
                Outcome::Answered(_) => {}
                Outcome::Refused(why) => {
                    return self
                        .voice
                        .trouble(&format!("parameters not changed: {why}"))
                        .await;
                }
                Outcome::Late(_) => {
                    return self
                        .voice
                        .trouble("parameters may not have been changed: no answer")
                        .await;
                }
            }
        }
        let now_ms = self.world.unix_ms();
        self.view
            .send_modify(|view| (view.process, view.params_since_ms) = (update.process, now_ms));
        self.voice.params(&update.ignored).await;
    }

    /// Whether what is paid is enough for that: nobody begins with a cheap model and goes on with a dear one.
    fn may_do(&self, process: &Process) -> Result<(), String> {
        let (sender, paid) = match self.bill.as_ref().map(Bill::payer) {
            Some(payer) => (payer.sender, payer.price),
            None => (Address::ZERO, Price::FREE),
        };
        let model_id = params::model_id(process);
        let least = self.desk.least(&sender, &model_id);
        match is_less(&paid, &least) {
            true => Err(format!(
                "{model_id} costs {least} wei a pixel, and this session is paid for at {paid}: start another for it"
            )),
            false => Ok(()),
        }
    }

    /// Asks for the end. What follows is a `SessionEnded`, or the closing deadline.
    async fn close(&mut self) {
        self.closing = Some(Instant::now() + limits::CLOSE);
        let command = Command::CloseSession {
            manifest_id: self.manifest_id.clone(),
        };
        if let Outcome::Refused(Refusal::Unknown | Refusal::Stopped) = self
            .commands
            .call(command, Instant::now() + limits::COMMAND)
            .await
        {
            // Its end, if it ever had one, is on the way already; one second is plenty.
            self.closing = Some(Instant::now() + limits::GOODBYE);
        }
    }

    fn lost_end(&self, why: &str) -> End {
        tracing::error!(manifest_id = self.manifest_id, why);
        (
            EndCause::Failed(why.to_owned()),
            self.view.borrow().stats.clone(),
        )
    }
}

/// What a bill has to say; for ever nothing without one.
async fn news(bill: &mut Option<Bill>) -> News {
    match bill {
        Some(bill) => bill.news().await,
        None => std::future::pending().await,
    }
}
