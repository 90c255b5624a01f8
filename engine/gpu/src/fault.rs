//! What a device does when it fails, as the one who asked has to know it.

/// A device call that failed for a reason of the device and not of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The device, or this process's context on it, is gone: an illegal address, a reset, a driver that was unloaded. Nothing
    /// that was made on the backend works any more; drop all of it and open the backend anew.
    #[error("device lost: {call} failed with {name}")]
    Lost {
        /// The driver call that said so.
        call: &'static str,
        /// The driver's name for the error.
        name: &'static str,
    },
    /// There is no memory, or no engine session, for one more. Whoever asked is hurt and nobody else.
    #[error("the device is full: {call} failed with {name}")]
    Full {
        /// The driver call that said so.
        call: &'static str,
        /// The driver's name for the error.
        name: &'static str,
    },
    /// The call failed and the context lives: this stream's decoder, encoder or kernel cannot go on, others can.
    #[error("{call} failed with {name}")]
    Failed {
        /// The driver call that said so.
        call: &'static str,
        /// The driver's name for the error.
        name: &'static str,
    },
    /// A wait for the device ran past its deadline. The context is not to be trusted any more: as [`Fault::Lost`].
    #[error("the device did not answer within {waited_ms} ms: {call}")]
    Stuck {
        /// What was waited for.
        call: &'static str,
        /// For how long.
        waited_ms: u32,
    },
}

impl Fault {
    /// Whether everything on the backend is gone with it, and not only what the call was about.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Stuck { .. })
    }
}
