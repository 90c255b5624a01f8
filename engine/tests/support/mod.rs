//! What the wire tests share: a running engine, a client that sees every byte, and helpers that live in another process.
//!
//! - [`world`] starts engines, in cleartext and under TLS, with one shard and with two.
//! - [`client`] speaks HTTP/1.1 by hand, so that a test can send half a head and can tell an end from a reset.
//! - [`tls`] is the certificate, and a client that believes it.
//! - [`child`] runs a part of a test in a process of its own, when memory or allocations of the engine alone are counted.

// Each test binary takes what it needs.
#![allow(dead_code, unused_imports)]

pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod tls;
pub(crate) mod world;

pub(crate) use client::{Client, End, Head, Response};
pub(crate) use world::{World, for_each_world, for_each_world_with};

use std::time::{Duration, Instant};

/// Long enough that what would come at once has come, and that what was sent has been looked at.
pub(crate) const BEAT: Duration = Duration::from_millis(150);

/// Milliseconds.
pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits until `is_so`, at most a few seconds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::sleep(ms(10));
    }
}

/// Bytes that look like nothing and are the same every time (SplitMix64).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
