//! Live sessions, through a running engine and plain sockets.
//!
//! - [`media`]: what comes in comes out, whatever the stream looks like.
//! - [`damage`]: what is broken costs itself.
//! - [`life`]: how a session begins, is told things, and ends.

#[path = "../session_support/mod.rs"]
mod session_support;

mod damage;
mod life;
mod media;
