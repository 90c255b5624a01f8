//! The live sessions of the node: who is there, how to reach them, and how many more fit.
//!
//! Invariants:
//! - A session's place is a [`Seat`]. It is given back when the seat is dropped, so exactly once, on every road out.
//! - `deliver` never waits: what a session has no room for is lost, counted, and told to it.
//! - The end of a session is never lost: it travels in a slot of its own.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use link::{EndCause, Report, SessionStats};
use tokio::sync::{mpsc, oneshot, watch};

use super::limits;
use super::view::View;

/// The table of live sessions.
pub(super) struct Registry {
    sessions_max: usize,
    draining: AtomicBool,
    table: Mutex<HashMap<String, Entry>>,
    count: watch::Sender<usize>,
}

/// Why no session was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// How a session ended.
pub(super) type End = (EndCause, SessionStats);

struct Entry {
    notes: mpsc::Sender<Note>,
    messages: mpsc::Sender<Vec<u8>>,
    progress: watch::Sender<Option<SessionStats>>,
    ended: Option<oneshot::Sender<End>>,
    lost: Arc<AtomicU64>,
    view: watch::Receiver<View>,
}

/// A small report to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    FirstInput(String),
    FirstOutput,
    Trouble(String),
}

/// Where a session hears from the data plane.
pub(super) struct Mail {
    pub(super) notes: mpsc::Receiver<Note>,
    pub(super) messages: mpsc::Receiver<Vec<u8>>,
    pub(super) progress: watch::Receiver<Option<SessionStats>>,
    pub(super) ended: oneshot::Receiver<End>,
    /// Reports that found no room.
    pub(super) lost: Arc<AtomicU64>,
}

/// A session's place at the table.
pub(super) struct Seat {
    registry: Arc<Registry>,
    manifest_id: String,
}

impl Seat {
    pub(super) fn manifest_id(&self) -> &str {
        &self.manifest_id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.registry.lock();
        table.remove(&self.manifest_id);
        self.registry.count.send_replace(table.len());
    }
}

impl Registry {
    pub(super) fn new(sessions_max: usize) -> Arc<Self> {
        Arc::new(Self {
            sessions_max,
            draining: AtomicBool::new(false),
            table: Mutex::new(HashMap::new()),
            count: watch::Sender::new(0),
        })
    }

    /// Takes a place for a new session, whose state can be read from `view`.
    pub(super) fn admit(
        self: &Arc<Self>,
        manifest_id: &str,
        view: watch::Receiver<View>,
    ) -> Result<(Seat, Mail), NoRoom> {
        let (notes_tx, notes) = mpsc::channel(limits::SESSION_NOTES);
        let (messages_tx, messages) = mpsc::channel(limits::SESSION_MESSAGES);
        let (progress_tx, progress) = watch::channel(None);
        let (ended_tx, ended) = oneshot::channel();
        let lost = Arc::new(AtomicU64::new(0));
        let entry = Entry {
            notes: notes_tx,
            messages: messages_tx,
            progress: progress_tx,
            ended: Some(ended_tx),
            lost: Arc::clone(&lost),
            view,
        };
        let mut table = self.lock();
        if self.draining.load(Ordering::Acquire) || table.len() >= self.sessions_max {
            return Err(NoRoom);
        }
        match table.entry(manifest_id.to_owned()) {
            // The same 128 random bits twice: refuse rather than share.
            hash_map::Entry::Occupied(_) => return Err(NoRoom),
            hash_map::Entry::Vacant(vacant) => vacant.insert(entry),
        };
        self.count.send_replace(table.len());
        let seat = Seat {
            registry: Arc::clone(self),
            manifest_id: manifest_id.to_owned(),
        };
        Ok((
            seat,
            Mail {
                notes,
                messages,
                progress,
                ended,
                lost,
            },
        ))
    }

    /// Hands a report to its session. A report for nobody is dropped: its session is over.
    pub(super) fn deliver(&self, report: Report) {
        let mut table = self.lock();
        match report {
            Report::ControlMessage { manifest_id, bytes } => {
                if let Some(entry) = table.get(&manifest_id) {
                    entry.count_lost(entry.messages.try_send(bytes).is_err());
                }
            }
            Report::FirstInput {
                manifest_id,
                description,
            } => {
                note(&table, &manifest_id, Note::FirstInput(description));
            }
            Report::FirstOutput { manifest_id } => note(&table, &manifest_id, Note::FirstOutput),
            Report::Trouble {
                manifest_id,
                message,
            } => note(&table, &manifest_id, Note::Trouble(message)),
            Report::Progress { manifest_id, stats } => {
                if let Some(entry) = table.get(&manifest_id) {
                    entry.progress.send_replace(Some(stats));
                }
            }
            Report::SessionEnded {
                manifest_id,
                cause,
                stats,
            } => {
                if let Some(tx) = table
                    .get_mut(&manifest_id)
                    .and_then(|entry| entry.ended.take())
                {
                    // Nobody listens any more only when the session is being torn down already.
                    drop(tx.send((cause, stats)));
                }
            }
            other => tracing::debug!(?other, "a report of an unknown kind"),
        }
    }

    /// From now on nobody is admitted.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        // Whoever watches the places looks again: none is free any more.
        self.count.send_modify(|_| {});
    }

    /// Whether somebody would be admitted now.
    pub(super) fn has_room(&self) -> bool {
        !self.draining() && *self.count.borrow() < self.sessions_max
    }

    /// How many sessions each model has that was asked for.
    pub(super) fn by_model(&self) -> BTreeMap<String, u32> {
        let mut by_model = BTreeMap::new();
        for entry in self.lock().values() {
            *by_model
                .entry(entry.view.borrow().model_id.clone())
                .or_default() += 1;
        }
        by_model
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn sessions_max(&self) -> usize {
        self.sessions_max
    }

    /// Places taken, now and as it changes.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// How a session is doing.
    pub(super) fn view(&self, manifest_id: &str) -> Option<View> {
        self.lock()
            .get(manifest_id)
            .map(|entry| entry.view.borrow().clone())
    }

    /// Held for a few map operations and never across an await; a panic in between leaves a whole table.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn count_lost(&self, lost: bool) {
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
    }
}

fn note(table: &HashMap<String, Entry>, manifest_id: &str, note: Note) {
    if let Some(entry) = table.get(manifest_id) {
        entry.count_lost(entry.notes.try_send(note).is_err());
    }
}

#[cfg(test)]
mod tests {
    use link::{Filter, Process};

    use super::*;

    fn admit(registry: &Arc<Registry>, id: &str) -> Result<(Seat, Mail), NoRoom> {
        let (_, view) = watch::channel(View::new(
            "builtin/blur".into(),
            Process::Filter(Filter::Blur { radius_px: 4 }),
            0,
        ));
        registry.admit(id, view)
    }

    fn message(id: &str) -> Report {
        Report::ControlMessage {
            manifest_id: id.into(),
            bytes: vec![1],
        }
    }

    #[test]
    fn a_place_is_given_back_once_whatever_happens() {
        let registry = Registry::new(1);
        let (seat, mail) = admit(&registry, "a").unwrap();
        assert_eq!(admit(&registry, "b").err(), Some(NoRoom));
        let worker = std::thread::spawn(move || {
            let _both = (seat, mail);
            panic!("this session is broken");
        });
        assert!(worker.join().is_err());
        assert_eq!(*registry.count().borrow(), 0);
        let held = admit(&registry, "b").unwrap();
        assert_eq!(*registry.count().borrow(), 1);
        drop(held);
        assert_eq!(*registry.count().borrow(), 0);
    }

    #[test]
    fn nobody_shares_an_id() {
        let registry = Registry::new(2);
        let _a = admit(&registry, "a").unwrap();
        assert_eq!(admit(&registry, "a").err(), Some(NoRoom));
    }

    #[test]
    fn a_flood_is_lost_and_counted_but_the_end_arrives() {
        let registry = Registry::new(1);
        let (_seat, mut mail) = admit(&registry, "a").unwrap();
        for _ in 0..1_000 {
            registry.deliver(message("a"));
            registry.deliver(Report::Trouble {
                manifest_id: "a".into(),
                message: "x".into(),
            });
        }
        let end = || Report::SessionEnded {
            manifest_id: "a".into(),
            cause: EndCause::InputEnded,
            stats: Default::default(),
        };
        registry.deliver(end());
        registry.deliver(end());
        assert_eq!(mail.ended.try_recv().unwrap().0, EndCause::InputEnded);
        let kept = limits::SESSION_MESSAGES + limits::SESSION_NOTES;
        assert_eq!(mail.lost.load(Ordering::Relaxed), 2_000 - kept as u64);
    }

    #[test]
    fn a_report_for_nobody_is_dropped() {
        let registry = Registry::new(1);
        registry.deliver(message("nobody"));
        assert!(registry.view("nobody").is_none());
    }

    #[test]
    fn a_draining_table_admits_nobody() {
        let registry = Registry::new(4);
        registry.drain();
        assert_eq!(admit(&registry, "a").err(), Some(NoRoom));
    }
}
