//! The trickle server as its peers see it: every route, every conformance case, every allowance, over real sockets.
//!
//! Each test runs in four worlds at once: in cleartext and under TLS, with one shard and with two. The worlds are shared by
//! all tests, so each test also runs beside strangers. What needs an engine of its own is in `bounds`.

#[path = "../support/mod.rs"]
mod support;

mod cases_parked;
mod cases_retry;
mod epochs;
mod http;
mod publish;
mod routes;
mod subscribe;
mod weaknesses;
