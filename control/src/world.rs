//! Wall-clock time and chance, asked for in one place so that a test can hand in its own.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the control plane asks of the world.
pub trait World: Send + Sync + 'static {
    /// Unix time in milliseconds.
    fn unix_ms(&self) -> u64;

    /// Fills `bytes` with bytes that nobody can guess.
    ///
    /// # Errors
    /// When the system has no randomness to give; nothing that must be secret may then be made.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl World for System {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}

/// `N` random bytes as lower-case hex.
pub(crate) fn random_hex<const N: usize>(world: &dyn World) -> io::Result<String> {
    let mut bytes = [0; N];
    world.fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_as_long_as_it_was_asked_to_be_and_never_the_same() {
        let (a, b) = (
            random_hex::<16>(&System).unwrap(),
            random_hex::<16>(&System).unwrap(),
        );
        assert_eq!(a.len(), 32);
        assert!(
            a.bytes()
                .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        );
        assert_ne!(a, b);
    }
}
