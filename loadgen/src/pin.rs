//! Which CPU a thread may run on.
//!
//! A child inherits the mask of the thread that spawns it, so a whole server is pinned by pinning ourselves for the length
//! of the spawn: no code runs between fork and exec.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread, and what it spawns from now on, to one CPU.
pub fn to(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::other(format!("CPU {cpu}: no such CPU")));
    }
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::other(format!(
            "CPU {cpu}: {error}; is it among those that `nproc` and the container allow?"
        ))
    })
}

/// Does `work` pinned to `cpu`, and goes back to where it was.
pub fn while_on<T>(cpu: usize, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    to(cpu)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_restored() {
        let before = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU)
            .find(|&cpu| before.is_set(cpu))
            .unwrap();
        let within = while_on(cpu, || Ok(sched_getaffinity(None)?)).unwrap();
        assert_eq!(within.count(), 1);
        assert!(within.is_set(cpu));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = to(CpuSet::MAX_CPU - 1).unwrap_err().to_string();
        assert!(error.contains("CPU 1023"), "{error}");
    }
}
