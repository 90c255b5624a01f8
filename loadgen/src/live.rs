//! x
pub mod mark;
pub mod ts;
