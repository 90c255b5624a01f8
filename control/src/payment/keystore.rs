//! Encrypted private keys, as go-ethereum keeps them: Web3 Secret Storage, version 3.
//!
//! ```text
//!   password ── scrypt or PBKDF2, at the file's cost ──▶ 32 bytes
//!                                                         ├─ first half: the key of AES-128-CTR, private key ⇄ ciphertext
//!                                                         └─ second half: keccak256(half ‖ ciphertext) is the file's `mac`
//! ```
//!
//! Invariants:
//! - Text and bytes in, text and bytes out: where the file lies and who may read it is the caller's affair.
//! - A file is untrusted: what it may cost is bounded before anything is derived, and no file makes this panic.
//! - Nothing is decrypted before its MAC was compared, and that takes the same time wherever the two differ.
//! - The buffers that hold what the password and the file give are wiped after use. A [`LocalKey`] keeps the private key, as it must.
//!   scrypt's table goes back to the allocator as it is: it holds no key, but whoever reads it can try passwords at no cost.

mod file;
mod kdf;

use std::io;

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use ticket::address::Address;
use ticket::keccak::keccak256;
use ticket::sender::{BadKey, LocalKey};
use zeroize::Zeroizing;

use crate::world::World;

use file::Sealed;
use kdf::{Derived, Kdf};

/// Bytes of a private key, and so of its ciphertext: a stream cipher adds none.
const KEY_BYTES: usize = 32;
/// Bytes of the counter that AES-128-CTR starts from.
const IV_BYTES: usize = 16;

/// Why there is no key, or no keystore. The operator is told: it is their file and their password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not JSON, or lacks what a keystore has.
    #[error("this is not a keystore file: {0}")]
    Shape(String),
    /// Another version of the format.
    #[error(
        "the keystore has version {0}, and only version 3 can be read; `geth account update` rewrites it"
    )]
    Version(String),
    /// The file is sealed in a way that go-ethereum does not read either.
    #[error("the keystore's `{field}` is {value}; it must be {known}")]
    Unsupported {
        /// Which field.
        field: &'static str,
        /// What it says, quoted and shortened.
        value: String,
        /// What can be read.
        known: &'static str,
    },
    /// A field is not hexadecimal, or not as long as it must be.
    #[error(
        "the keystore's `{field}` must be {wanted} in hexadecimal digits; the file is damaged, or so old that `geth account update` should rewrite it"
    )]
    Bytes {
        /// Which field.
        field: &'static str,
        /// How many bytes.
        wanted: String,
    },
    /// The file asks for more time or memory than a key is worth, or for less than the method can do.
    #[error("the keystore's cost `{field}` is {value}; it must be {wanted}")]
    Cost {
        /// Which parameter, or product of parameters.
        field: &'static str,
        /// What the file says.
        value: u128,
        /// What is taken.
        wanted: String,
    },
    /// The MAC differs. A damaged file looks the same, but is rare.
    #[error(
        "the password does not open this keystore; give the one that it was made with (or the file is damaged)"
    )]
    WrongPassword,
    /// The key is another account's than the file says.
    #[error(
        "the keystore says that it is {named}'s, but its key is {actual}'s; the file was altered"
    )]
    WrongAddress {
        /// The file's address.
        named: Address,
        /// The key's address.
        actual: Address,
    },
    /// What was sealed is no private key.
    #[error("the keystore holds no private key")]
    Key(#[source] BadKey),
    /// The system gave no randomness.
    #[error("no randomness for a keystore")]
    Randomness(#[source] io::Error),
}

/// What guessing one password costs whoever has the file, and what opening it costs us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cost {
    /// go-ethereum's own choice: 256 MiB, and some half a second.
    #[default]
    Standard,
    /// go-ethereum's `--lightkdf`: 4 MiB, and some ten milliseconds.
    Light,
}

/// Opens a keystore.
///
/// The password is taken as it is: whoever reads it from a file takes the line's end off first, as geth does. This takes half a second
/// of a core at the standard cost, and up to half a minute at the most that a file may ask for: it has no place on a thread that serves.
///
/// # Errors
/// See [`Error`]; the text says what to do.
pub fn decrypt(json: &str, password: &[u8]) -> Result<LocalKey, Error> {
    let sealed = file::read(json)?;
    let derived = sealed.kdf.derive(password);
    let actual = mac(&derived, &sealed.ciphertext);
    if !bool::from(actual[..].ct_eq(&sealed.mac[..])) {
        return Err(Error::WrongPassword);
    }
    let mut bytes = Zeroizing::new(sealed.ciphertext);
    apply_cipher(&derived, &sealed.iv, &mut bytes);
    let key = LocalKey::new(*bytes).map_err(Error::Key)?;
    match sealed.address {
        Some(named) if named != key.address() => Err(Error::WrongAddress {
            named,
            actual: key.address(),
        }),
        _ => Ok(key),
    }
}

/// Makes the keystore of `key`, as one line of JSON with the fields in go-ethereum's order.
///
/// # Errors
/// When `key` is no private key, or the system has no randomness.
pub fn encrypt(
    key: &[u8; 32],
    password: &[u8],
    cost: Cost,
    world: &dyn World,
) -> Result<String, Error> {
    let mut salt = [0; kdf::SALT_BYTES];
    world.fill(&mut salt).map_err(Error::Randomness)?;
    seal(key, password, Kdf::of_cost(cost, &salt), world)
}

/// The name that go-ethereum gives a keystore file: when it was made, and whose it is.
#[must_use]
pub fn file_name(address: Address, unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!(
        "UTC--{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{:09}Z--{}",
        ms * 1_000_000,
        hex::encode(address.0)
    )
}

fn seal(key: &[u8; 32], password: &[u8], kdf: Kdf, world: &dyn World) -> Result<String, Error> {
    let address = LocalKey::new(*key).map_err(Error::Key)?.address();
    let (mut iv, mut id) = ([0; IV_BYTES], [0; 16]);
    world.fill(&mut iv).map_err(Error::Randomness)?;
    world.fill(&mut id).map_err(Error::Randomness)?;
    let derived = kdf.derive(password);
    let mut ciphertext = *key;
    apply_cipher(&derived, &iv, &mut ciphertext);
    let sealed = Sealed {
        address: Some(address),
        mac: mac(&derived, &ciphertext),
        kdf,
        iv,
        ciphertext,
    };
    file::write(&sealed, &uuid(id))
}

/// keccak256 of the second half of what was derived, and the ciphertext.
fn mac(derived: &Derived, ciphertext: &[u8; KEY_BYTES]) -> [u8; 32] {
    let mut message = Zeroizing::new([0; 16 + KEY_BYTES]);
    message[..16].copy_from_slice(&derived[16..]);
    message[16..].copy_from_slice(ciphertext);
    keccak256(&message[..])
}

/// AES-128-CTR under the first half of what was derived; the same way there and back.
fn apply_cipher(derived: &Derived, iv: &[u8; IV_BYTES], bytes: &mut [u8; KEY_BYTES]) {
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&derived[..16]);
    Ctr128BE::<Aes128>::new((&*key).into(), iv.into()).apply_keystream(bytes);
}

/// A random UUID (RFC 9562, version 4) of 16 random bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-")
}

const SECONDS_A_DAY: u64 = 86_400;
/// The calendar repeats after so many years, and they have so many days: 400 × 365, and 97 leap days.
const CYCLE_YEARS: u64 = 400;
const CYCLE_DAYS: u64 = 146_097;

/// Year, month and day, so many days after 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / CYCLE_DAYS * CYCLE_YEARS;
    let mut rest = days % CYCLE_DAYS;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while rest >= 365 + u64::from(is_leap(year)) {
        rest -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests;
