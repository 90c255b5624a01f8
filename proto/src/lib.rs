//! Livepeer's gRPC: package `net` of go-livepeer 0.9.1, messages, clients and servers.
//!
//! The definitions are `proto/net/*.proto`. The code is generated from them and checked in, so that building needs no compiler for
//! them; `tests/generated.rs` generates it again and compares, and writes it when `MILLSTREAM_REGENERATE=1`.

#![forbid(unsafe_code)]

#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all)]
#[rustfmt::skip]
pub mod net;

pub use prost::Message;
