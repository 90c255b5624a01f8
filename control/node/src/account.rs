//! The account that signs: which keystore file, opened with which password.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use control::payment::keystore;
use control::ticket::Address;
use control::ticket::sender::LocalKey;
use control::world::World;

use crate::failure::{Failure, Reason};
use crate::secrets;

/// The longest keystore that is read; real ones have 500 bytes.
const KEYSTORE_BYTES_MAX: u64 = 64 << 10;

/// Where the key is and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountPlan {
    /// A file, or a directory of them.
    pub(crate) path: PathBuf,
    /// Which one of a directory.
    pub(crate) address: Option<Address>,
    /// A file that holds the password, or the password.
    pub(crate) password: String,
}

/// Which account signs, if one was named.
pub(crate) fn named(
    (path, address, password): (Option<&Path>, Option<&str>, Option<&str>),
) -> Result<Option<AccountPlan>, Failure> {
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return match given(address).or(given(password)) {
            None => Ok(None),
            Some(_) => Err(Failure::usage(
                "there is no keystore",
                "eth-acct-addr and eth-password are for a keystore, and eth-keystore-path names none",
            )),
        };
    };
    let address = match given(address) {
        None => None,
        Some(text) => Some(text.parse().map_err(|error| {
            Failure::usage(
                format!("eth-acct-addr `{text}` is not understood"),
                format!("{error}"),
            )
        })?),
    };
    Ok(Some(AccountPlan {
        path: PathBuf::from(path),
        address,
        password: given(password).unwrap_or_default(),
    }))
}

/// The account of a node on the memory network that was given none: made once, worth nothing.
pub(crate) fn of_memory(data_dir: &Path, world: &dyn World) -> Result<LocalKey, Failure> {
    let bytes = secrets::kept(data_dir, secrets::MEMORY_KEY, world)?;
    LocalKey::new(bytes).map_err(|error| {
        Failure::new(
            Reason::Account,
            format!(
                "{} is no private key",
                data_dir.join(secrets::MEMORY_KEY).display()
            ),
            error.to_string(),
            "remove it: another is made",
        )
    })
}

impl AccountPlan {
    /// Opens the key. At geth's usual cost that takes half a second.
    pub(crate) fn open(&self) -> Result<LocalKey, Failure> {
        let file = self.file()?;
        let began = Instant::now();
        let json = read(&file)?;
        let key = keystore::decrypt(&json, &password(&self.password)?).map_err(|error| {
            failed(
                format!("{} gives no key", file.display()),
                error.to_string(),
                "check --eth-keystore-path and --eth-password",
            )
        })?;
        tracing::debug!(account = %key.address(), took = ?began.elapsed(), "the keystore is open");
        match self.address {
            Some(address) if address != key.address() => Err(failed(
                format!("{} is another account's", file.display()),
                format!(
                    "it is {}'s, and --eth-acct-addr says {address}",
                    key.address()
                ),
                "name the right file, or the right account",
            )),
            _ => Ok(key),
        }
    }

    /// The password's file; a password itself is not printed.
    pub(crate) fn password_file(&self) -> Option<String> {
        Path::new(&self.password)
            .is_file()
            .then(|| self.password.clone())
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        if !self.path.is_dir() {
            return Ok(self.path.clone());
        }
        let unreadable = |error: std::io::Error| {
            failed(
                format!("the keystore {} cannot be read", self.path.display()),
                error.to_string(),
                "give --eth-keystore-path a file or a directory that this user may read",
            )
        };
        let mut files: Vec<PathBuf> = fs::read_dir(&self.path)
            .map_err(unreadable)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        if let Some(address) = self.address {
            // geth's names end with the address, without 0x and in lower case.
            let digits = address.to_string().trim_start_matches("0x").to_lowercase();
            files.retain(|path| path.to_string_lossy().to_lowercase().ends_with(&digits));
        }
        match &files[..] {
            [only] => Ok(only.clone()),
            [] => Err(failed(
                format!("the keystore {} has no such key", self.path.display()),
                match self.address {
                    Some(address) => format!("no file is named for {address}"),
                    None => "it is empty".to_owned(),
                },
                "name the file with --eth-keystore-path",
            )),
            several => Err(failed(
                format!("the keystore {} has several keys", self.path.display()),
                format!("{} files, and --eth-acct-addr names none", several.len()),
                "say which with --eth-acct-addr",
            )),
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let read = || {
        let length = fs::metadata(file)?.len();
        if length > KEYSTORE_BYTES_MAX {
            let why = format!("it has {length} bytes, and keystore files have some 500");
            return Err(std::io::Error::other(why));
        }
        fs::read_to_string(file)
    };
    read().map_err(|error| {
        failed(
            format!("the keystore file {} cannot be read", file.display()),
            error.to_string(),
            "give --eth-keystore-path a file that this user may read",
        )
    })
}

/// The password itself, or the first line of the file of that name.
fn password(text: &str) -> Result<Vec<u8>, Failure> {
    let path = Path::new(text);
    if text.is_empty() || !path.is_file() {
        return Ok(text.as_bytes().to_vec());
    }
    let held = fs::read_to_string(path).map_err(|error| {
        failed(
            format!("the password file {} cannot be read", path.display()),
            error.to_string(),
            "give --eth-password a file that this user may read, or the password",
        )
    })?;
    let line = held.lines().next().unwrap_or_default();
    Ok(line.as_bytes().to_vec())
}

fn failed(what: String, why: String, fix: &str) -> Failure {
    Failure::new(Reason::Account, what, why, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::payment::keystore::{Cost, encrypt, file_name};
    use control::world::System;

    #[test]
    fn a_key_is_found_in_a_file_or_a_directory_and_opened_by_a_file_or_a_word() {
        let dir = std::env::temp_dir().join(format!("millstream-account-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let keys = [1, 2].map(|n| LocalKey::new([n; 32]).unwrap());
        for (n, key) in keys.iter().enumerate() {
            let json = encrypt(&[n as u8 + 1; 32], b"open", Cost::Light, &System).unwrap();
            fs::write(dir.join(file_name(key.address(), n as u64)), json).unwrap();
        }
        let word = std::env::temp_dir().join(format!("millstream-word-{}", std::process::id()));
        fs::write(&word, "open\n").unwrap();
        let plan = |address: Option<Address>, password: &str| AccountPlan {
            path: dir.clone(),
            address,
            password: password.to_owned(),
        };
        let second = Some(keys[1].address());
        for password in ["open", word.to_str().unwrap()] {
            let key = plan(second, password).open().unwrap();
            assert_eq!(key.address(), keys[1].address());
        }
        let text = |plan: AccountPlan| plan.open().unwrap_err().to_string();
        assert!(text(plan(None, "open")).contains("say which with --eth-acct-addr"));
        assert!(text(plan(second, "shut")).contains("does not open this keystore"));
        let nobody = Some(Address([9; 20]));
        assert!(text(plan(nobody, "open")).contains("no file is named for"));
        let missing = AccountPlan {
            path: dir.join("missing"),
            ..plan(None, "")
        };
        assert!(text(missing).contains("cannot be read"));
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_file(&word).unwrap();
    }
}
