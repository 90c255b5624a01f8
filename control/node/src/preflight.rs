//! Looks before the leap: everything the node needs of the system, asked for before anything is started.
//!
//! Each thing missing is said with its reason and its remedy, all of them in one go. The checks that only read a number
//! are pure functions of it.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::{Failure, Reason};
use crate::plan::Plan;

/// What a shard's rings may lock, as glommio demands it.
const MEMLOCK_PER_SHARD: u64 = 512 << 10;
/// Files beside connections: rings, eventfds, listeners, lanes, private streams, the log.
const FILES_BESIDE: u64 = 512;
/// Which files the data directory has, and in what form; the database has a version of its own.
const LAYOUT: &str = "1";
const LAYOUT_FILE: &str = "layout-version";
/// Fewer connections than this on a shard are no service.
const CONNECTIONS_MIN: u64 = 64;

/// Checks everything, raises what may be raised, and fits the plan to what there is. Notes say what was fitted.
pub(crate) fn check(plan: &mut Plan) -> Result<Vec<String>, Failure> {
    let mut failures = Vec::new();
    let mut notes = Vec::new();
    let shards = plan.placement.cores.len() as u64;
    failures.extend(memlock(raised(Resource::Memlock), shards));
    failures.extend(io_uring().err());
    match open_files(
        raised(Resource::Nofile),
        shards,
        plan.limits.connections as u64,
    ) {
        Ok(connections) if connections < plan.limits.connections => {
            if plan.connections_asked {
                notes.push(format!(
                    "connections were cut to {} by the open-files limit; raise it with `ulimit -n` or LimitNOFILE=",
                    connections * plan.placement.cores.len()
                ));
            }
            plan.limits.connections = connections;
        }
        Ok(_) => {}
        Err(failure) => failures.push(failure),
    }
    failures.extend(data_dir(&plan.data_dir).err());
    failures.extend(port(plan.listen.addr, "--http-addr").err());
    if let Some(listen) = &plan.trickle_listen {
        failures.extend(port(listen.addr, "--trickle-addr").err());
    }
    match Failure::all(failures) {
        Some(failure) => Err(failure),
        None => Ok(notes),
    }
}

/// The soft limit after it was raised to the hard one; `None` is no limit.
fn raised(resource: Resource) -> Option<u64> {
    let limit = getrlimit(resource);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(resource, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn memlock(limit: Option<u64>, shards: u64) -> Option<Failure> {
    let (limit, needed) = (limit?, shards * MEMLOCK_PER_SHARD);
    (limit < needed).then(|| {
        Failure::new(
            Reason::Memlock,
            "too little memory may be locked",
            format!(
                "{shards} shards lock {} KiB for their rings, and the limit is {} KiB",
                needed >> 10,
                limit >> 10
            ),
            "`ulimit -l unlimited` in the shell, `LimitMEMLOCK=64M` in a systemd unit, \
             `--ulimit memlock=-1` for a container, or fewer --cores",
        )
    })
}

/// Connections a shard can have with this many files.
fn open_files(limit: Option<u64>, shards: u64, wanted: u64) -> Result<usize, Failure> {
    let Some(limit) = limit else {
        return Ok(usize::try_from(wanted).unwrap_or(usize::MAX));
    };
    let each = limit.saturating_sub(FILES_BESIDE) / shards;
    if each < CONNECTIONS_MIN {
        return Err(Failure::new(
            Reason::OpenFiles,
            "too few files may be open at once",
            format!(
                "{shards} shards need {} at least, and the limit is {limit}",
                FILES_BESIDE + shards * CONNECTIONS_MIN
            ),
            "`ulimit -n 65536` in the shell, `LimitNOFILE=65536` in a systemd unit, \
             `--ulimit nofile=65536` for a container",
        ));
    }
    Ok(usize::try_from(each.min(wanted)).unwrap_or(usize::MAX))
}

fn io_uring() -> Result<(), Failure> {
    let Err(error) = io_uring::IoUring::new(2) else {
        return Ok(());
    };
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    Err(io_uring_failure(&error, sysctl.as_deref().map(str::trim)))
}

fn io_uring_failure(error: &io::Error, sysctl: Option<&str>) -> Failure {
    const CONTAINER: &str = "the container's seccomp profile must allow io_uring_setup, io_uring_enter and \
                             io_uring_register; with docker, `--security-opt seccomp=unconfined` or a profile that does";
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let (why, fix) = match (errno, sysctl) {
        (Some(Errno::NOSYS), _) => (
            "the kernel answers ENOSYS: it is older than 5.8 or built without io_uring, or a sandbox hides it".into(),
            format!("use a newer kernel; or, in a container: {CONTAINER}"),
        ),
        (Some(Errno::PERM | Errno::ACCESS), Some(level @ ("1" | "2"))) => (
            format!("the kernel answers EPERM: the sysctl kernel.io_uring_disabled is {level}"),
            "`sysctl -w kernel.io_uring_disabled=0`, and the same line in /etc/sysctl.d/ to keep it".into(),
        ),
        (Some(Errno::PERM | Errno::ACCESS), _) => (
            "the kernel answers EPERM though the sysctl allows io_uring: a sandbox forbids it".into(),
            CONTAINER.into(),
        ),
        (Some(Errno::NOMEM), _) => (
            "the kernel answers ENOMEM: too little memory may be locked".into(),
            "`ulimit -l unlimited` in the shell, `LimitMEMLOCK=64M` in a systemd unit".into(),
        ),
        (Some(Errno::MFILE | Errno::NFILE), _) => (
            format!("no more files can be opened: {error}"),
            "`ulimit -n 65536` in the shell, `LimitNOFILE=65536` in a systemd unit".into(),
        ),
        _ => (error.to_string(), "see io_uring_setup(2) for what the kernel means by that".into()),
    };
    Failure::new(
        Reason::IoUring,
        "io_uring cannot be used, and the shards run on it",
        why,
        fix,
    )
}

/// Makes the directory if it is not there, tries it, and looks which layout it has.
fn data_dir(dir: &Path) -> Result<(), Failure> {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let write = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)
    };
    write()
        .and_then(|()| layout(dir))
        .map_err(|error| {
            Failure::new(
                Reason::DataDir,
                format!("the data directory {} cannot be written", dir.display()),
                error.to_string(),
                "give --data-dir DIR a directory that this user may write",
            )
        })?
        .map_or(Ok(()), |found| {
            Err(Failure::new(
                Reason::DataDir,
                format!("the data directory {} is another version's", dir.display()),
                format!("its {LAYOUT_FILE} says {found:?}, and this build knows {LAYOUT}"),
                "use the build that wrote it or a newer one, or give --data-dir DIR another directory",
            ))
        })
}

/// What of the data directory this build does not know; the file that says so is written when it is not there.
fn layout(dir: &Path) -> io::Result<Option<String>> {
    let path = dir.join(LAYOUT_FILE);
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == LAYOUT => Ok(None),
        Ok(found) => Ok(Some(found.trim().chars().take(40).collect())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::write(&path, format!("{LAYOUT}\n"))?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether an address can be listened on; `flag` is the one that says another.
fn port(addr: SocketAddr, flag: &str) -> Result<(), Failure> {
    match TcpListener::bind(addr) {
        Ok(_closed_again) => Ok(()),
        Err(error) => Err(port_failure(addr, flag, &error)),
    }
}

fn port_failure(addr: SocketAddr, flag: &str, error: &io::Error) -> Failure {
    let port = addr.port();
    let fix = match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "`ss -ltnp 'sport = :{port}'` names who has it; stop that, or choose another with {flag}"
            )
        }
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 are for root: choose one above with {flag}, or \
             `sysctl -w net.ipv4.ip_unprivileged_port_start={port}`"
        ),
        ErrorKind::AddrNotAvailable => {
            format!(
                "`ip addr` lists this machine's addresses; choose one of them with {flag}, or leave it out"
            )
        }
        _ => format!("choose another address with {flag}"),
    };
    Failure::new(
        Reason::Port,
        format!("cannot listen on {addr}"),
        error.to_string(),
        fix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uring(errno: Errno, sysctl: Option<&str>) -> String {
        io_uring_failure(&errno.into(), sysctl).to_string()
    }

    #[test]
    fn no_io_uring_is_explained_by_its_cause() {
        let text = uring(Errno::PERM, Some("2"));
        assert!(text.contains("kernel.io_uring_disabled is 2"), "{text}");
        assert!(
            text.contains("fix: `sysctl -w kernel.io_uring_disabled=0`"),
            "{text}"
        );
        let text = uring(Errno::PERM, Some("0"));
        assert!(
            text.contains("seccomp") && !text.contains("sysctl -w"),
            "{text}"
        );
        assert!(uring(Errno::PERM, None).contains("seccomp"));
        assert!(uring(Errno::NOSYS, None).contains("newer kernel"));
        assert!(uring(Errno::NOMEM, Some("0")).contains("LimitMEMLOCK=64M"));
        assert!(uring(Errno::MFILE, Some("0")).contains("LimitNOFILE"));
        assert!(uring(Errno::INVAL, Some("0")).contains("io_uring_setup(2)"));
        assert_eq!(io_uring_failure(&Errno::PERM.into(), None).status(), 10);
    }

    #[test]
    fn memlock_is_half_a_mebibyte_a_shard() {
        assert_eq!(memlock(None, 64), None);
        assert_eq!(memlock(Some(1 << 20), 2), None);
        let failure = memlock(Some(64 << 10), 2).unwrap();
        assert_eq!(failure.status(), 11);
        let text = failure.to_string();
        assert!(
            text.contains("2 shards lock 1024 KiB for their rings, and the limit is 64 KiB"),
            "{text}"
        );
        assert!(
            text.contains("ulimit -l") && text.contains("LimitMEMLOCK=64M"),
            "{text}"
        );
    }

    #[test]
    fn connections_fit_the_files() {
        assert_eq!(open_files(None, 2, 100).unwrap(), 100);
        assert_eq!(open_files(Some(1 << 20), 2, 100).unwrap(), 100);
        assert_eq!(open_files(Some(2_512), 2, 32_768).unwrap(), 1_000);
        let failure = open_files(Some(600), 2, 100).unwrap_err();
        assert_eq!(failure.status(), 14);
        assert!(failure.to_string().contains("LimitNOFILE=65536"));
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let failure = port(addr, "--trickle-addr").unwrap_err();
        assert_eq!(failure.status(), 12);
        let text = failure.to_string();
        assert!(text.contains(&format!("cannot listen on {addr}")), "{text}");
        assert!(
            text.contains(&format!("sport = :{}", addr.port())),
            "{text}"
        );
        assert!(text.contains("another with --trickle-addr"), "{text}");
        drop(taken);
        port(addr, "--http-addr").unwrap();
        let denied = port_failure(
            "0.0.0.0:443".parse().unwrap(),
            "--http-addr",
            &ErrorKind::PermissionDenied.into(),
        );
        assert!(denied.to_string().contains("ports below 1024"));
    }

    #[test]
    fn a_data_directory_is_made_and_tried() {
        let dir = std::env::temp_dir()
            .join(format!("millstream-data-{}", std::process::id()))
            .join("deep");
        data_dir(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.join(LAYOUT_FILE)).unwrap(), "1\n");
        data_dir(&dir).unwrap();
        fs::write(dir.join(LAYOUT_FILE), "2\n").unwrap();
        let newer = data_dir(&dir).unwrap_err().to_string();
        assert!(
            newer.contains("says \"2\", and this build knows 1"),
            "{newer}"
        );
        let file = dir.join("file");
        fs::write(&file, b"").unwrap();
        assert_eq!(data_dir(&file.join("x")).unwrap_err().status(), 13);
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}
