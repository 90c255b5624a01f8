//! The JSON of a keystore: text to checked bytes, and back.
//!
//! Invariants:
//! - Every length is checked here, so what comes out has the sizes that the cipher takes.
//! - What is not needed is not asked for: `id` may be anything or missing, `address` may be missing, other fields are passed over.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ticket::address::Address;

use super::kdf::Kdf;
use super::{Error, IV_BYTES, KEY_BYTES};

/// What a keystore says.
pub(super) struct Sealed {
    pub(super) address: Option<Address>,
    pub(super) kdf: Kdf,
    pub(super) iv: [u8; IV_BYTES],
    pub(super) ciphertext: [u8; KEY_BYTES],
    pub(super) mac: [u8; 32],
}

/// Reads, and checks what can be checked without the password.
pub(super) fn read(json: &str) -> Result<Sealed, Error> {
    // The version first: another one's fields may be others.
    let Versioned { version } = serde_json::from_str(json).map_err(|error| shape(&error))?;
    if version.as_u64() != Some(VERSION) {
        return Err(Error::Version(match &version {
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            _ => "no number".to_owned(),
        }));
    }
    let File {
        address, crypto, ..
    } = serde_json::from_str(json).map_err(|error| shape(&error))?;
    if crypto.cipher != CIPHER {
        return Err(Error::Unsupported {
            field: "cipher",
            value: quoted(&crypto.cipher),
            known: CIPHER,
        });
    }
    Ok(Sealed {
        address: match address {
            Some(text) => Some(Address(exactly("address", &text)?)),
            None => None,
        },
        kdf: Kdf::read(&crypto.kdf, crypto.kdfparams)?,
        iv: exactly("iv", &crypto.cipherparams.iv)?,
        ciphertext: exactly("ciphertext", &crypto.ciphertext)?,
        mac: exactly("mac", &crypto.mac)?,
    })
}

/// Writes, as go-ethereum does: one line, no newline.
pub(super) fn write(sealed: &Sealed, id: &str) -> Result<String, Error> {
    let (kdf, kdfparams) = sealed.kdf.write().map_err(|error| shape(&error))?;
    let file = File {
        address: sealed.address.map(|address| hex::encode(address.0)),
        crypto: Crypto {
            cipher: CIPHER.to_owned(),
            ciphertext: hex::encode(sealed.ciphertext),
            cipherparams: CipherParams {
                iv: hex::encode(sealed.iv),
            },
            kdf: kdf.to_owned(),
            kdfparams,
            mac: hex::encode(sealed.mac),
        },
        id: id.into(),
        version: VERSION,
    };
    serde_json::to_string(&file).map_err(|error| shape(&error))
}

/// The bytes of a text of hexadecimal digits; some programs put `0x` before them.
pub(super) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()
}

/// What a file says, to be shown: in quotes, so that nothing of it reaches a terminal as it is.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text, 40))
}

/// What parsing says, which quotes the file.
pub(super) fn shape(error: &serde_json::Error) -> Error {
    Error::Shape(shortened(&error.to_string(), 200))
}

/// Enough to find the place in the file; a file may say a lot.
fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn exactly<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], Error> {
    hex_bytes(text)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Error::Bytes {
            field,
            wanted: format!("{N} bytes"),
        })
}

const VERSION: u64 = 3;
const CIPHER: &str = "aes-128-ctr";

#[derive(Deserialize)]
struct Versioned {
    version: Value,
}

/// The file. Fields stand in the order in which go-ethereum writes them.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    address: Option<String>,
    /// Early files have it with a capital letter, and go-ethereum's reader does not mind.
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default)]
    id: Value,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    ciphertext: String,
    cipherparams: CipherParams,
    kdf: String,
    kdfparams: Value,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}
