//! What the control plane asks of the data plane.

use std::fmt;

/// One request to the data plane.
#[derive(Debug, Clone)]
pub enum Command {
    /// Create the four channels of a live session and the pipeline between them.
    OpenSession(OpenSession),
    /// Change what a running session does to its frames; takes effect on the next frame.
    SetProcess {
        /// The session.
        manifest_id: String,
        /// The new process.
        process: Process,
    },
    /// End a session and close its channels.
    CloseSession {
        /// The session.
        manifest_id: String,
    },
    /// Create a channel that belongs to no session.
    CreateChannel {
        /// One path segment, at most 256 bytes.
        name: String,
        /// The channel's content type.
        mime: String,
        /// When set, only requests that carry it may delete the channel.
        owner_token: Option<String>,
    },
    /// Close and remove a channel.
    DeleteChannel {
        /// The channel.
        name: String,
    },
    /// Publish `bytes` as one whole segment, at the head of the channel.
    Publish {
        /// The channel.
        name: String,
        /// The segment's body, at most 1 MiB.
        bytes: Vec<u8>,
    },
}

/// What a live session needs to start.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// The session's id; the channels are `{manifest_id}`, `-out`, `-control` and `-events`.
    pub manifest_id: String,
    /// What to do to each frame.
    pub process: Process,
    /// When set, only requests that carry it may delete the session's channels.
    pub owner_token: Option<String>,
}

/// How frames are processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// A built-in filter.
    Filter(Filter),
    /// A model that was handed to the engine when it started.
    Model {
        /// As it was handed over: `onnx/NAME`.
        id: String,
    },
}

/// The built-in filters with their parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Frames are decoded and encoded again, otherwise unchanged.
    Passthrough,
    /// Chroma is drawn towards grey.
    Grayscale {
        /// 0 leaves the colour, 100 removes it.
        amount_percent: u8,
    },
    /// The luma gradient (Sobel), chroma removed.
    Edges {
        /// 100 shows the gradient as it is; 1 to 1000.
        gain_percent: u16,
    },
    /// A box blur.
    Blur {
        /// 1 to 64.
        radius_px: u8,
    },
    /// Square blocks of one colour.
    Pixelate {
        /// 2 to 128.
        block_px: u8,
    },
    /// The negative.
    Invert {
        /// 0 leaves the picture, 100 is the full negative.
        amount_percent: u8,
    },
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// It was done before: the channel or session already existed, or was already gone.
    Already,
}

/// A command that was not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such session or channel.
    Unknown,
    /// A limit was reached; the text names it.
    Full(&'static str),
    /// The mailbox of the shard is full; try again.
    Busy,
    /// The node is draining and takes nothing new.
    Draining,
    /// The engine stopped before it answered.
    Stopped,
    /// The command cannot be understood; the text says why.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such session or channel"),
            Self::Full(limit) => write!(f, "limit reached: {limit}"),
            Self::Busy => f.write_str("the shard's mailbox is full"),
            Self::Draining => f.write_str("the node is draining"),
            Self::Stopped => f.write_str("the engine has stopped"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

type Callback = Box<dyn FnOnce(Result<Answer, Refusal>) + Send>;

/// The way back for a command's outcome. It cannot be lost: dropping it answers [`Refusal::Stopped`].
pub struct Reply(Option<Callback>);

impl Reply {
    /// A reply that calls `callback` once, on whichever thread answers; it must not block.
    pub fn new(callback: impl FnOnce(Result<Answer, Refusal>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// A reply for a sender who does not care.
    pub fn ignore() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn send(mut self, outcome: Result<Answer, Refusal>) {
        if let Some(callback) = self.0.take() {
            callback(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(Refusal::Stopped));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_dropped_reply_still_answers() {
        let (tx, rx) = channel();
        let tx2 = tx.clone();
        drop(Reply::new(move |outcome| tx.send(outcome).unwrap()));
        assert_eq!(rx.recv().unwrap(), Err(Refusal::Stopped));
        Reply::new(move |outcome| tx2.send(outcome).unwrap()).send(Ok(Answer::Done));
        assert_eq!(rx.recv().unwrap(), Ok(Answer::Done));
        assert!(rx.recv().is_err(), "answered once, not twice");
    }
}
