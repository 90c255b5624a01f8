//! Who sleeps on this shard, how to wake it, and when to wake it at the latest.
//!
//! A sleeper that can do what it is woken for at once, without its task, says so by being [`Prompt`]: a subscriber to whom a chunk
//! is to be sent. The bytes are then still in the cache, and no task has to be scheduled for them.
//!
//! Hubs name a sleeper by number. Its waker lies here; so does its deadline, in one ordered set that a single timer walks.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::task::Waker;

use trickle::{Millis, Waiter};

/// Does what it is woken for at once, when it can.
pub(crate) trait Prompt {
    /// Whether all is done, so that its task need not be woken.
    fn act(&self) -> bool;
}

/// The sleepers of one shard.
#[derive(Default)]
pub(crate) struct Sleepers {
    table: RefCell<Table>,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<Waiter>,
    deadlines: BTreeSet<(Millis, Waiter)>,
}

#[derive(Default)]
struct Entry {
    waker: Option<Waker>,
    prompt: Option<Weak<dyn Prompt>>,
    woken: bool,
    deadline: Option<Millis>,
}

impl Sleepers {
    /// A number for a new sleeper.
    pub(crate) fn register(&self) -> Waiter {
        let mut table = self.table.borrow_mut();
        if let Some(waiter) = table.free.pop() {
            return waiter;
        }
        table.entries.push(Entry::default());
        Waiter::try_from(table.entries.len() - 1)
            .expect("fewer sleepers than the process may have descriptors")
    }

    /// Says who can act at once for a sleeper.
    pub(crate) fn attach(&self, waiter: Waiter, prompt: Weak<dyn Prompt>) {
        self.table.borrow_mut().entries[waiter as usize].prompt = Some(prompt);
    }

    /// Who can act at once for a sleeper.
    pub(crate) fn prompt(&self, waiter: Waiter) -> Option<Rc<dyn Prompt>> {
        let table = self.table.borrow();
        table
            .entries
            .get(waiter as usize)?
            .prompt
            .as_ref()?
            .upgrade()
    }

    /// Forgets a sleeper; its number will be given to another. A wake-up meant for the old one may reach the new one, who
    /// finds nothing to do.
    pub(crate) fn unregister(&self, waiter: Waiter) {
        let mut table = self.table.borrow_mut();
        let entry = std::mem::take(&mut table.entries[waiter as usize]);
        if let Some(deadline) = entry.deadline {
            table.deadlines.remove(&(deadline, waiter));
        }
        table.free.push(waiter);
    }

    /// Notes how to wake a sleeper that is about to sleep, and by when.
    pub(crate) fn sleep(&self, waiter: Waiter, waker: &Waker, deadline: Option<Millis>) {
        let table = &mut *self.table.borrow_mut();
        let entry = &mut table.entries[waiter as usize];
        if !entry
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            entry.waker = Some(waker.clone());
        }
        table.keep_deadline(waiter, deadline);
    }

    /// Notes by when to wake a sleeper whose task sleeps on.
    pub(crate) fn keep_deadline(&self, waiter: Waiter, deadline: Option<Millis>) {
        self.table.borrow_mut().keep_deadline(waiter, deadline);
    }

    /// Whether the sleeper was woken since this was last asked.
    pub(crate) fn take_woken(&self, waiter: Waiter) -> bool {
        std::mem::take(&mut self.table.borrow_mut().entries[waiter as usize].woken)
    }

    /// Wakes a sleeper.
    pub(crate) fn wake(&self, waiter: Waiter) {
        self.table.borrow_mut().wake(waiter);
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn wake_due(&self, now: Millis) {
        let mut table = self.table.borrow_mut();
        while let Some(&(deadline, waiter)) = table.deadlines.first() {
            if deadline > now {
                break;
            }
            table.deadlines.pop_first();
            table.entries[waiter as usize].deadline = None;
            table.wake(waiter);
        }
    }

    /// Wakes everyone: the shard stops.
    pub(crate) fn wake_all(&self) {
        let mut table = self.table.borrow_mut();
        for waiter in 0..table.entries.len() {
            table.wake(Waiter::try_from(waiter).unwrap_or(Waiter::MAX));
        }
    }
}

impl Table {
    fn keep_deadline(&mut self, waiter: Waiter, deadline: Option<Millis>) {
        let entry = &mut self.entries[waiter as usize];
        // A deadline that moves later is left to fire early and be looked at again: most never fire at all.
        if let Some(deadline) = deadline
            && entry.deadline.is_none_or(|known| known > deadline)
        {
            if let Some(known) = entry.deadline.replace(deadline) {
                self.deadlines.remove(&(known, waiter));
            }
            self.deadlines.insert((deadline, waiter));
        }
    }

    fn wake(&mut self, waiter: Waiter) {
        if let Some(entry) = self.entries.get_mut(waiter as usize) {
            entry.woken = true;
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }
}
