//! The little of HTTP/1.1 that trickle needs: body framing in, response heads out.

pub mod body;
pub mod respond;

pub use body::{Body, BodyError, Piece};
