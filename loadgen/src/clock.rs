//! Monotonic nanoseconds, and a timer that an epoll can wait for.
//!
//! An epoll's own timeout is in milliseconds, which is a third of the latencies that are measured here.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Now, on the monotonic clock.
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// The CPU time that this process has used so far.
pub fn own_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// The CPU time that this thread has used so far.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// A timer that becomes readable at a point of the monotonic clock.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
    armed_ns: u64,
}

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        Ok(Self { fd, armed_ns: 0 })
    }

    /// Arms it for `at_ns`; a point in the past makes it readable at once.
    ///
    /// Arming for a new point clears readability, so the timer never has to be read.
    pub fn arm(&mut self, at_ns: u64) -> io::Result<()> {
        if self.armed_ns != at_ns {
            let at = Timespec {
                tv_sec: (at_ns / SECOND).cast_signed(),
                tv_nsec: (at_ns % SECOND).cast_signed(),
            };
            let once = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: at,
            };
            timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed_ns = at_ns;
        }
        Ok(())
    }

    /// What to wait for.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.cast_unsigned() * SECOND + time.tv_nsec.cast_unsigned()
}
