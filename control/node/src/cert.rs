//! The certificate's files: read when the operator has one, made and written when not.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::tls::{self, SelfSigned, TlsError};
use control::world::World;
use rustls::ServerConfig;

use crate::failure::{Failure, Reason};

/// The port's TLS, and what to say about it.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// Where the certificate is from, for people.
    pub(crate) origin: String,
    /// SHA-256, in pairs.
    pub(crate) fingerprint: String,
}

/// Reads the operator's certificate, or makes one for `host` and writes it to `data_dir`.
pub(crate) fn prepare(
    own: Option<&(PathBuf, PathBuf)>,
    host: &str,
    data_dir: &Path,
    world: &dyn World,
) -> Result<Tls, Failure> {
    let (cert, key, origin) = match own {
        Some((cert, key)) => (read(cert)?, read(key)?, cert.display().to_string()),
        None => {
            let made = SelfSigned::generate(host, world).map_err(|error| unusable(&error))?;
            write(&data_dir.join("key.pem"), made.key_pem.as_bytes(), 0o600)?;
            write(&data_dir.join("cert.pem"), made.cert_pem.as_bytes(), 0o644)?;
            (
                made.cert_pem.into_bytes(),
                made.key_pem.into_bytes(),
                "self-signed".to_owned(),
            )
        }
    };
    let config = tls::server_config(&cert, &key).map_err(|error| unusable(&error))?;
    let fingerprint = tls::fingerprint(&cert).map_err(|error| unusable(&error))?;
    Ok(Tls {
        config: Arc::new(config),
        origin,
        fingerprint,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::new(
            Reason::Tls,
            format!("{} cannot be read", path.display()),
            error.to_string(),
            "give --tls-cert and --tls-key as PEM files that this user may read",
        )
    })
}

fn unusable(error: &TlsError) -> Failure {
    Failure::new(
        Reason::Tls,
        "there is no TLS with this certificate",
        error.to_string(),
        "check --tls-cert and --tls-key, or leave both out for a self-signed certificate",
    )
}

/// Never half written, and never readable by others for a moment: a new file takes the old one's place.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        // What a killed process left; in a container every process has the same number.
        drop(fs::remove_file(&fresh));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            drop(fs::remove_file(&fresh));
        }
        written
    };
    replace().map_err(|error| {
        Failure::new(
            Reason::DataDir,
            format!("{} cannot be written", path.display()),
            error.to_string(),
            "give --data-dir DIR a directory that this user may write",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use control::world::System;

    use super::*;

    #[test]
    fn a_made_certificate_is_written_and_can_be_given_back() {
        let dir = std::env::temp_dir().join(format!("millstream-cert-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let made = prepare(None, "node.example", &dir, &System).unwrap();
        let again = prepare(None, "node.example", &dir, &System).unwrap();
        assert_ne!(
            made.fingerprint, again.fingerprint,
            "a new one at every start"
        );
        let mode = fs::metadata(dir.join("key.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let own = (dir.join("cert.pem"), dir.join("key.pem"));
        let read = prepare(Some(&own), "ignored", &dir, &System).unwrap();
        assert_eq!(read.fingerprint, again.fingerprint);
        let mixed = prepare(Some(&(own.0.clone(), own.0)), "x", &dir, &System)
            .err()
            .unwrap();
        assert_eq!(mixed.status(), 15);
        let absent = prepare(Some(&("/nowhere".into(), own.1)), "x", &dir, &System)
            .err()
            .unwrap();
        assert!(absent.to_string().contains("/nowhere cannot be read"));
        let unwritable = prepare(None, "x", Path::new("/nowhere"), &System)
            .err()
            .unwrap();
        assert_eq!(unwritable.status(), 13);
        let left = fs::read_dir(&dir).unwrap().count();
        assert_eq!(left, 2, "nothing half written stays behind");
        fs::remove_dir_all(&dir).unwrap();
    }
}
