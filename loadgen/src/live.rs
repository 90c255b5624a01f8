//! x
pub mod clip;
pub mod mark;
pub mod ts;
