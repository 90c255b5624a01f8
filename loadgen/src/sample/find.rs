//! Who listens on a port of this machine.
//!
//! ```text
//!   127.0.0.1:8935 ──▶ /proc/net/tcp, tcp6 ──▶ inode 1594 ──▶ /proc/PID/fd/7 = socket:[1594] ──▶ PID
//! ```
//!
//! Only our own network namespace shows, and of other users' processes only what root may see. A server in a container whose port is
//! published is not there: what listens is the container engine's proxy, and that is not taken for the server.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The process that listens on `addr`; `None` when it does not show, for which [`locate`] has the reason.
pub fn find_server(addr: SocketAddr) -> Option<u32> {
    locate(addr).ok()
}

/// The process that listens on `addr`.
///
/// # Errors
/// Why it does not show, in words.
pub fn locate(addr: SocketAddr) -> Result<u32, String> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A kernel without IPv6 has no second one.
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| listener(line, addr)));
    }
    if inodes.is_empty() {
        return Err(format!(
            "nobody listens on {addr} in this network namespace: the server is on another machine, or in a container"
        ));
    }
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let pid = owner(&links).ok_or_else(|| {
        format!("something listens on {addr}, but its process is not ours to see; run as its user, as root, or give its number")
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if PROXIES.contains(&name.trim()) {
        return Err(format!(
            "what listens on {addr} is {}, a container engine's proxy; give the number of the server's own process",
            name.trim()
        ));
    }
    Ok(pid)
}

/// The least number that holds one of the sockets: of a server that has forked, the first.
fn owner(links: &[String]) -> Option<u32> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find(|pid| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|link| {
                links
                    .iter()
                    .any(|wanted| link.as_os_str() == wanted.as_str())
            })
        })
    })
}

/// The inode of a line of `/proc/net/tcp` or `tcp6`, when it is of a socket that takes connections to `addr`.
fn listener(line: &str, addr: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (*fields.get(1)?, *fields.get(3)?, *fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if state != LISTEN || port != addr.port() {
        return None;
    }
    let ip = address(ip)?;
    let is_for_us = match (ip, addr.ip()) {
        (ip, wanted) if ip == wanted || ip.to_canonical() == wanted.to_canonical() => true,
        (IpAddr::V4(ip), IpAddr::V4(_)) => ip.is_unspecified(),
        // Bound to all addresses of IPv6, it commonly takes those of IPv4 too.
        (IpAddr::V6(ip), _) => ip.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    is_for_us.then(|| inode.parse().ok()).flatten()
}

/// Words of 32 bits, each in the machine's own order of bytes.
fn address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(bytes).ok()?,
        ))),
        _ => None,
    }
}

/// The kernel's TCP_LISTEN.
const LISTEN: &str = "0A";
const PROXIES: &[&str] = &[
    "docker-proxy",
    "rootlesskit",
    "rootlessport",
    "slirp4netns",
    "pasta",
];

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TAIL: &str = "00000000:00000000 00:00000000 00000000  0  0 1594 1 0 100 0 0 10 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_is_of_a_listener_or_not() {
        let line = |local: &str, state: &str| format!("0: {local} 00000000:0000 {state} {TAIL}");
        let any6 = "00000000000000000000000000000000:22E7";
        let loopback6 = "00000000000000000000000001000000:22E7";
        let v4: SocketAddr = "127.0.0.1:8935".parse().unwrap();
        let v6: SocketAddr = "[::1]:8935".parse().unwrap();
        for (local, state, addr, found) in [
            ("0100007F:22E7", LISTEN, v4, true),
            ("00000000:22E7", LISTEN, v4, true),
            (any6, LISTEN, v4, true),
            (loopback6, LISTEN, v6, true),
            ("0100007F:22E7", "01", v4, false),
            ("0100007F:22E8", LISTEN, v4, false),
            ("0200000A:22E7", LISTEN, v4, false),
            ("00000000:22E7", LISTEN, v6, false),
            ("0100:22E7", LISTEN, v4, false),
        ] {
            let inode = listener(&line(local, state), addr);
            assert_eq!(inode, found.then_some(1_594), "{local} {state} {addr}");
        }
        assert_eq!(listener("", v4), None);
    }

    #[test]
    fn our_own_listener_is_found_and_an_empty_port_is_explained() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(find_server(addr), Some(std::process::id()));
        // Nobody can listen on port 0.
        let why = locate("127.0.0.1:0".parse().unwrap()).unwrap_err();
        assert!(why.contains("nobody listens"), "{why}");
    }
}
