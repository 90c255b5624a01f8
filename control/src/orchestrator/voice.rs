//! What a session says on its events channel, one event at a time and in order.
//!
//! Invariants:
//! - An event that cannot be placed in 2 s is lost, not queued: the next status says more.
//! - Errors are told at a rate that leaves room for the rest: a channel keeps only five segments.
//! - A peer may delete the channel; then nothing is said any more, and nothing else changes.

use std::sync::Arc;

use link::{Command, Refusal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::commands::{Commands, Outcome};
use super::events::{self, Trace};
use super::limits;
use super::view::View;
use crate::world::World;

/// A session's voice.
pub(super) struct Voice {
    channel: String,
    view: Arc<watch::Sender<View>>,
    commands: Commands,
    world: Arc<dyn World>,
    open: bool,
    error_told_ms: u64,
    errors_untold: u64,
}

impl Voice {
    pub(super) fn new(
        manifest_id: &str,
        view: Arc<watch::Sender<View>>,
        commands: Commands,
        world: Arc<dyn World>,
    ) -> Self {
        Self {
            channel: format!("{manifest_id}-events"),
            view,
            commands,
            world,
            open: true,
            error_told_ms: 0,
            errors_untold: 0,
        }
    }

    /// The events channel's name.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// How the session is doing.
    pub(super) async fn status(&mut self) {
        let event = events::status(&self.view.borrow(), self.world.unix_ms());
        self.say(event).await;
    }

    /// The parameters now in force, and the keys that meant nothing.
    pub(super) async fn params(&mut self, ignored: &[String]) {
        let event = events::params_update(&self.view.borrow(), ignored, self.world.unix_ms());
        self.say(event).await;
    }

    /// A point of the start was passed.
    pub(super) async fn trace(&mut self, point: Trace, detail: Option<&str>) {
        let event = events::trace(point, detail, self.world.unix_ms());
        self.say(event).await;
    }

    /// Something went wrong that the gateway should know.
    pub(super) async fn trouble(&mut self, message: &str) {
        let now_ms = self.world.unix_ms();
        let message = events::bounded(message);
        tracing::debug!(channel = self.channel, message, "trouble");
        self.view.send_modify(|view| {
            (view.last_error, view.last_error_ms) = (Some(message.to_owned()), now_ms);
        });
        if !self.may_tell_trouble() {
            self.errors_untold += 1;
            return;
        }
        self.error_told_ms = now_ms;
        let text = match std::mem::take(&mut self.errors_untold) {
            0 => message.to_owned(),
            untold => format!("{message} (and {untold} more before it)"),
        };
        let event = events::error(&self.view.borrow().model_id, &text, now_ms);
        self.say(event).await;
    }

    /// What was owed is paid.
    pub(super) async fn settled(&mut self, how: &str) {
        let event = events::payment(&self.view.borrow().model_id, how, self.world.unix_ms());
        self.say(event).await;
    }

    /// The error that ended the session; it is told in any case.
    pub(super) async fn last_words(&mut self, message: &str) {
        self.error_told_ms = 0;
        self.trouble(message).await;
    }

    /// Whether trouble would be told now rather than counted.
    pub(super) fn may_tell_trouble(&self) -> bool {
        self.world.unix_ms() >= self.error_told_ms.saturating_add(limits::ERROR_EVERY_MS)
    }

    async fn say(&mut self, event: serde_json::Value) {
        if !self.open {
            return;
        }
        let command = Command::Publish {
            name: self.channel.clone(),
            bytes: event.to_string().into_bytes(),
        };
        let deadline = Instant::now() + limits::COMMAND;
        match self.commands.call(command, deadline).await {
            Outcome::Answered(_) => {}
            Outcome::Refused(Refusal::Unknown) => {
                tracing::debug!(channel = self.channel, "deleted by a peer");
                self.open = false;
            }
            other => tracing::debug!(channel = self.channel, ?other, "an event was lost"),
        }
    }
}
