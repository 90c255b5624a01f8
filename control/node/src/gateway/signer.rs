//! Who asks: an account of a keystore, one that is made for a single run, or nobody.

use std::fs;
use std::path::Path;

use control::payment::keystore;
use control::ticket::Address;
use control::ticket::sender::LocalKey;
use control::world::{System, World};

use crate::failure::{Failure, Reason};

/// See the module.
#[derive(Debug)]
pub(super) enum Signer {
    /// Off-chain.
    Nobody,
    /// Of no further use to anybody.
    MadeUp(LocalKey),
    /// The operator's.
    Keystore(LocalKey),
}

/// Random bytes are no key once in 2^128 times.
const KEY_TRIES: usize = 4;
/// A keystore has some 500 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Signer {
    pub(super) fn made_up() -> Result<Self, Failure> {
        let failed = |why: String| {
            let fix = "the kernel's random number generator has to work before anything can be signed; or ask with --offchain";
            Failure::new(Reason::Control, "no key can be made", why, fix)
        };
        for _ in 0..KEY_TRIES {
            let mut bytes = [0; 32];
            System
                .fill(&mut bytes)
                .map_err(|error| failed(error.to_string()))?;
            if let Ok(key) = LocalKey::new(bytes) {
                return Ok(Self::MadeUp(key));
            }
        }
        Err(failed("the random bytes are not random".to_owned()))
    }

    /// `password` may be the password, or name a file with it, as with go-livepeer.
    pub(super) fn of_keystore(path: &Path, password: &str) -> Result<Self, Failure> {
        let failed = |why: String| {
            let what = format!("the keystore {} cannot be opened", path.display());
            let fix = "give --eth-keystore-path a file that geth or go-livepeer made, and --eth-password its password or a file with it";
            Failure::new(Reason::Usage, what, why, fix)
        };
        let password = match Path::new(password) {
            file if file.is_file() => read(file)
                .map_err(|why| failed(format!("its password is in {}: {why}", file.display())))?,
            _ => password.to_owned(),
        };
        let json = read(path).map_err(&failed)?;
        let password = password.strip_suffix('\n').unwrap_or(&password);
        let password = password.strip_suffix('\r').unwrap_or(password);
        keystore::decrypt(&json, password.as_bytes())
            .map(Self::Keystore)
            .map_err(|error| failed(error.to_string()))
    }

    pub(super) fn key(&self) -> Option<&LocalKey> {
        match self {
            Self::Nobody => None,
            Self::MadeUp(key) | Self::Keystore(key) => Some(key),
        }
    }

    pub(super) fn address(&self) -> Option<Address> {
        self.key().map(LocalKey::address)
    }

    /// For programs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::MadeUp(_) => "made-up",
            Self::Keystore(_) => "keystore",
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Nobody => "asked off-chain, by nobody and unsigned".to_owned(),
            Self::MadeUp(key) => format!("asked as {}, a key made for this run", key.address()),
            Self::Keystore(key) => format!("asked as {}, of the keystore", key.address()),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes, and cannot be one"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
