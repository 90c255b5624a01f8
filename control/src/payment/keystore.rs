//! Encrypted private keys.
