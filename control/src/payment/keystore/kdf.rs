//! From a password to the 32 bytes that seal a key, at a cost that the file names.
//!
//! Invariant: a [`Kdf`] is within the limits below, so deriving takes bounded time and memory, whoever wrote the file.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::file::{hex_bytes, quoted, shape};
use super::{Cost, Error};

/// What is derived. Files may name more bytes (`dklen`), but those after the 32nd seal nothing, and both methods give the same first 32
/// however many follow.
pub(super) type Derived = Zeroizing<[u8; DERIVED_BYTES]>;

/// Bytes of a salt that we make.
pub(super) const SALT_BYTES: usize = 32;
/// Half is the cipher's, half is the MAC's.
const DERIVED_BYTES: usize = 32;
/// `dklen` of other writers: twice what is used is the most that was ever of use to anybody.
const DKLEN_MAX: u64 = 64;
/// Four times what anybody writes.
const SALT_BYTES_MAX: usize = 128;

/// scrypt's table: N × r × 128 bytes. Four times go-ethereum's, 2^18 × 8 × 128 = 256 MiB.
const SCRYPT_MEMORY_MAX: u128 = 1 << 30;
/// The table is gone through p times: N × r × p × 128 bytes. Sixteen times go-ethereum's: ten seconds
/// at r = 8, and 25 at r = 1, where the table is read in small pieces.
const SCRYPT_WORK_MAX: u128 = 1 << 32;
/// Everybody writes 8 (and the format's own example 1).
const SCRYPT_R_MAX: u64 = 64;
/// go-ethereum writes 1 or 6, the format's example 8. With r it bounds the other memory: 64 × 64 × 128 = 512 KiB.
const SCRYPT_P_MAX: u64 = 64;
/// Rounds of PBKDF2, 262144 in old files and 1000000 in newer ones. This many take a second or
/// two, and several on a machine without instructions for SHA.
const PBKDF2_ROUNDS_MAX: u64 = 10_000_000;

/// A method with its salt and its cost, which is within the limits.
pub(super) struct Kdf {
    method: Method,
    salt: Vec<u8>,
}

enum Method {
    Scrypt(scrypt::Params),
    /// With HMAC-SHA-256.
    Pbkdf2 {
        rounds: u32,
    },
}

/// `kdfparams` of scrypt. The fields stand in the order in which Go prints a map.
#[derive(Serialize, Deserialize)]
struct ScryptFields {
    dklen: u64,
    n: u64,
    p: u64,
    r: u64,
    salt: String,
}

/// `kdfparams` of PBKDF2.
#[derive(Serialize, Deserialize)]
struct Pbkdf2Fields {
    c: u64,
    dklen: u64,
    prf: String,
    salt: String,
}

const SCRYPT: &str = "scrypt";
const PBKDF2: &str = "pbkdf2";
const HMAC_SHA256: &str = "hmac-sha256";

impl Kdf {
    /// What go-ethereum takes for a new file.
    pub(super) fn of_cost(cost: Cost, salt: &[u8; SALT_BYTES]) -> Self {
        let (log_n, p) = match cost {
            Cost::Standard => (18, 1),
            Cost::Light => (12, 6),
        };
        let params = scrypt::Params::new(log_n, 8, p)
            .unwrap_or_else(|_| unreachable!("both are within scrypt's range"));
        Self {
            method: Method::Scrypt(params),
            salt: salt.to_vec(),
        }
    }

    /// Of a file's `kdf` and `kdfparams`.
    pub(super) fn read(kdf: &str, params: Value) -> Result<Self, Error> {
        match kdf {
            SCRYPT => {
                Self::of_scrypt(&serde_json::from_value(params).map_err(|error| shape(&error))?)
            }
            PBKDF2 => {
                Self::of_pbkdf2(&serde_json::from_value(params).map_err(|error| shape(&error))?)
            }
            other => Err(Error::Unsupported {
                field: "kdf",
                value: quoted(other),
                known: "scrypt or pbkdf2",
            }),
        }
    }

    /// Its `kdf` and `kdfparams`.
    pub(super) fn write(&self) -> Result<(&'static str, Value), serde_json::Error> {
        let dklen = DERIVED_BYTES as u64;
        let salt = hex::encode(&self.salt);
        Ok(match self.method {
            Method::Scrypt(params) => (
                SCRYPT,
                serde_json::to_value(ScryptFields {
                    dklen,
                    n: params.n(),
                    p: params.p().into(),
                    r: params.r().into(),
                    salt,
                })?,
            ),
            Method::Pbkdf2 { rounds } => (
                PBKDF2,
                serde_json::to_value(Pbkdf2Fields {
                    c: rounds.into(),
                    dklen,
                    prf: HMAC_SHA256.to_owned(),
                    salt,
                })?,
            ),
        })
    }

    /// What the password gives. Slow, as it is meant to be.
    pub(super) fn derive(&self, password: &[u8]) -> Derived {
        let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
        match &self.method {
            Method::Scrypt(params) => {
                scrypt::scrypt(password, &self.salt, params, &mut derived[..])
                    .unwrap_or_else(|_| unreachable!("32 bytes are within scrypt's range"))
            }
            Method::Pbkdf2 { rounds } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &self.salt, *rounds, &mut derived[..]);
            }
        }
        derived
    }

    fn of_scrypt(fields: &ScryptFields) -> Result<Self, Error> {
        let &ScryptFields { dklen, n, p, r, .. } = fields;
        let salt = salt(&fields.salt)?;
        within("dklen", dklen, DERIVED_BYTES as u64, DKLEN_MAX)?;
        let r = within("r", r, 1, SCRYPT_R_MAX)?;
        let p = within("p", p, 1, SCRYPT_P_MAX)?;
        if n < 2 || !n.is_power_of_two() {
            return Err(Error::Cost {
                field: "n",
                value: n.into(),
                wanted: "a power of two, and more than 1".to_owned(),
            });
        }
        // u128 holds any product of a u64 and the two that are bounded.
        let memory = 128 * u128::from(n) * u128::from(r);
        at_most("n × r × 128 bytes", memory, SCRYPT_MEMORY_MAX)?;
        let work = memory * u128::from(p);
        at_most("n × r × p × 128 bytes", work, SCRYPT_WORK_MAX)?;
        let log_n = u8::try_from(n.ilog2()).unwrap_or(u8::MAX);
        let params = scrypt::Params::new(log_n, r, p).map_err(|_| {
            Error::Shape("`kdfparams` are beyond what scrypt is defined for".to_owned())
        })?;
        Ok(Self {
            method: Method::Scrypt(params),
            salt,
        })
    }

    fn of_pbkdf2(fields: &Pbkdf2Fields) -> Result<Self, Error> {
        if fields.prf != HMAC_SHA256 {
            return Err(Error::Unsupported {
                field: "prf",
                value: quoted(&fields.prf),
                known: HMAC_SHA256,
            });
        }
        within("dklen", fields.dklen, DERIVED_BYTES as u64, DKLEN_MAX)?;
        let rounds = within("c", fields.c, 1, PBKDF2_ROUNDS_MAX)?;
        Ok(Self {
            method: Method::Pbkdf2 { rounds },
            salt: salt(&fields.salt)?,
        })
    }
}

fn salt(text: &str) -> Result<Vec<u8>, Error> {
    hex_bytes(text)
        .filter(|salt| salt.len() <= SALT_BYTES_MAX)
        .ok_or_else(|| Error::Bytes {
            field: "salt",
            wanted: format!("at most {SALT_BYTES_MAX} bytes"),
        })
}

/// The limits of whatever comes here fit 32 bits.
fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<u32, Error> {
    u32::try_from(value)
        .ok()
        .filter(|_| (min..=max).contains(&value))
        .ok_or_else(|| Error::Cost {
            field,
            value: value.into(),
            wanted: format!("{min} to {max}"),
        })
}

fn at_most(field: &'static str, value: u128, max: u128) -> Result<(), Error> {
    if value <= max {
        return Ok(());
    }
    Err(Error::Cost {
        field,
        value,
        wanted: format!("at most {max}"),
    })
}
