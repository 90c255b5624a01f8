//! Where the data plane leaves its reports and its visitors.
//!
//! It is handed to the engine before the control plane runs, and called on the engine's own threads.
//!
//! Invariants:
//! - Nothing here waits: every queue is bounded and only tried.
//! - The end of a session cannot be lost. It has a queue of its own, with room for every session there can be; a session
//!   ends once and keeps its place at the table until that was read, so the queue is never full.
//! - What is lost under pressure is counted, progress first: it has the smallest queue and the next one says more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use link::{Receipt, Report, Visitor};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::desk::Desk;
use super::limits;
use super::registry::Registry;

/// The control plane as the data plane holds it: the `Arc<dyn link::Control>` that an engine is started with.
pub struct Inbox {
    messages: mpsc::Sender<Report>,
    notes: mpsc::Sender<Report>,
    progress: mpsc::Sender<Report>,
    ended: mpsc::Sender<Report>,
    visitors: mpsc::Sender<Visitor>,
    lost: Arc<AtomicU64>,
    desk: Arc<Desk>,
}

/// The reading end.
pub(super) struct Outbox {
    messages: mpsc::Receiver<Report>,
    notes: mpsc::Receiver<Report>,
    progress: mpsc::Receiver<Report>,
    ended: mpsc::Receiver<Report>,
}

/// Both ends, and the visitors' queue.
pub(super) fn pair(
    sessions_max: usize,
    desk: Arc<Desk>,
) -> (Inbox, Outbox, mpsc::Receiver<Visitor>, Arc<AtomicU64>) {
    let (messages_tx, messages) = mpsc::channel(limits::MESSAGES_WAITING);
    let (notes_tx, notes) = mpsc::channel(limits::NOTES_WAITING);
    let (progress_tx, progress) = mpsc::channel(limits::PROGRESS_WAITING);
    let (ended_tx, ended) = mpsc::channel(sessions_max.max(1));
    let (visitors_tx, visitors) = mpsc::channel(limits::VISITORS_WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    let inbox = Inbox {
        messages: messages_tx,
        notes: notes_tx,
        progress: progress_tx,
        ended: ended_tx,
        visitors: visitors_tx,
        lost: Arc::clone(&lost),
        desk,
    };
    (
        inbox,
        Outbox {
            messages,
            notes,
            progress,
            ended,
        },
        visitors,
        lost,
    )
}

impl link::Control for Inbox {
    fn report(&self, report: Report) {
        let queue = match &report {
            Report::ControlMessage { .. } => &self.messages,
            Report::Progress { .. } => &self.progress,
            Report::SessionEnded { .. } => &self.ended,
            _ => &self.notes,
        };
        if let Err(TrySendError::Full(report)) = queue.try_send(report) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if let Report::SessionEnded { manifest_id, .. } = report {
                // The session's own watch over silence will find it.
                tracing::error!(
                    manifest_id,
                    "an engine reported more ends than there are sessions"
                );
            }
        }
    }

    fn receipt(&self, receipt: &Receipt, auth_token: &[u8], body: &mut Vec<u8>) {
        self.desk.write_result(receipt, auth_token, body);
    }

    fn visit(&self, visitor: Visitor) -> Result<(), Visitor> {
        self.visitors
            .try_send(visitor)
            .map_err(|error| match error {
                TrySendError::Full(visitor) | TrySendError::Closed(visitor) => visitor,
            })
    }
}

impl Outbox {
    /// Sorts reports to their sessions until the inbox is dropped. What a session did comes before its end.
    pub(super) async fn dispatch(mut self, registry: Arc<Registry>) {
        loop {
            let report = tokio::select! {
                biased;
                Some(report) = self.notes.recv() => report,
                Some(report) = self.messages.recv() => report,
                Some(report) = self.ended.recv() => report,
                Some(report) = self.progress.recv() => report,
                else => return,
            };
            registry.deliver(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use link::{Control, EndCause};

    use super::super::desk;
    use super::*;

    fn ended(id: usize) -> Report {
        Report::SessionEnded {
            manifest_id: id.to_string(),
            cause: EndCause::Closed,
            stats: Default::default(),
        }
    }

    #[test]
    fn a_flood_of_everything_leaves_room_for_every_end() {
        let (inbox, mut outbox, _visitors, lost) = pair(3, desk::tests::bare(3));
        for _ in 0..5_000 {
            inbox.report(Report::Progress {
                manifest_id: "0".into(),
                stats: Default::default(),
            });
            inbox.report(Report::Trouble {
                manifest_id: "0".into(),
                message: String::new(),
            });
            inbox.report(Report::ControlMessage {
                manifest_id: "0".into(),
                bytes: vec![],
            });
        }
        (0..3).for_each(|id| inbox.report(ended(id)));
        for id in 0..3 {
            let Ok(Report::SessionEnded { manifest_id, .. }) = outbox.ended.try_recv() else {
                panic!("lost {id}")
            };
            assert_eq!(manifest_id, id.to_string());
        }
        let kept = limits::PROGRESS_WAITING + limits::NOTES_WAITING + limits::MESSAGES_WAITING;
        assert_eq!(lost.load(Ordering::Relaxed), 15_000 - kept as u64);
    }

    #[test]
    fn a_visitor_without_room_is_given_back() {
        let (inbox, _outbox, visitors, _lost) = pair(1, desk::tests::bare(1));
        let visitor = || {
            let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
            Visitor {
                stream: near.into(),
                kind: link::StreamKind::Unix,
                prefix: vec![],
                peer: None,
                tls: false,
            }
        };
        for _ in 0..limits::VISITORS_WAITING {
            inbox.visit(visitor()).unwrap();
        }
        assert!(inbox.visit(visitor()).is_err(), "the queue is full");
        drop(visitors);
        assert!(inbox.visit(visitor()).is_err(), "the control plane is gone");
    }
}
