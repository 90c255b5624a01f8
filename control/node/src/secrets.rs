//! Secrets that a node makes once and keeps in its data directory, each in a file that others cannot read.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use control::world::World;

use crate::cert;
use crate::failure::{Failure, Reason};

/// What auth tokens are made with.
pub(crate) const TOKEN_KEY: &str = "auth-token.key";
/// The account of a node on the memory network that was given none.
pub(crate) const MEMORY_KEY: &str = "memory-account.key";

const BYTES: usize = 32;

/// The secret of that name: what is there, or a new one.
pub(crate) fn kept(data_dir: &Path, name: &str, world: &dyn World) -> Result<[u8; BYTES], Failure> {
    let path = data_dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(|| {
            Failure::new(
                Reason::DataDir,
                format!("{} is not a secret of this node", path.display()),
                "it does not hold 64 hexadecimal digits",
                "restore it from a backup, or remove it: a new one is made, and what the old one vouched for is void",
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut secret = [0; BYTES];
            world.fill(&mut secret).map_err(|error| {
                Failure::new(
                    Reason::DataDir,
                    "there is no randomness for a secret",
                    error.to_string(),
                    "the kernel's random number generator has to work before anything secret is made",
                )
            })?;
            let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            cert::write(&path, format!("{text}\n").as_bytes(), 0o600)?;
            Ok(secret)
        }
        Err(error) => Err(Failure::new(
            Reason::DataDir,
            format!("{} cannot be read", path.display()),
            error.to_string(),
            "give --data-dir DIR a directory whose files this user may read",
        )),
    }
}

fn parse(text: &str) -> Option<[u8; BYTES]> {
    let text = text.trim();
    if text.len() != 2 * BYTES || !text.is_ascii() {
        return None;
    }
    let mut secret = [0; BYTES];
    for (n, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::world::System;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_for_nobody_else() {
        let dir = std::env::temp_dir().join(format!("millstream-secrets-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let first = kept(&dir, TOKEN_KEY, &System).unwrap();
        assert_eq!(kept(&dir, TOKEN_KEY, &System).unwrap(), first);
        assert_ne!(kept(&dir, MEMORY_KEY, &System).unwrap(), first);
        let mode = fs::metadata(dir.join(TOKEN_KEY))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.join(TOKEN_KEY), "+1").unwrap();
        let failure = kept(&dir, TOKEN_KEY, &System).unwrap_err();
        assert_eq!(failure.status(), 13);
        fs::remove_dir_all(&dir).unwrap();
    }
}
