//! The server under load: where it is, how it is spoken to, and how our traffic is tagged.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::failure::Failure;

/// A server.
#[derive(Debug, Clone)]
pub struct Target {
    /// As the user wrote it, without a path.
    pub url: String,
    /// `https` rather than `http`.
    pub is_tls: bool,
    /// For `Host` and for the certificate.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The first address that the name resolves to.
    pub addr: SocketAddr,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Header lines, each with its end, that every request carries.
    pub tag: String,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's: orchestrators sign their own, and stock peers do not check either.
    #[default]
    Anyone,
    /// Those that these roots, a PEM file, vouch for.
    Roots(PathBuf),
}

impl Target {
    /// Resolves `http://host[:port]` or `https://host[:port]`; the port defaults to 8935, an orchestrator's.
    ///
    /// # Errors
    /// The URL is not one of those, or the name has no address.
    pub fn resolve(url: &str, trust: Trust, tag: String) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::new(format!(
                "{url:?} is not a server: {why}; write https://HOST:PORT or http://HOST:PORT"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("the scheme is neither http nor https")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong("there is more, or less, than a host and a port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("no such port"))?)
            }
            _ => (authority, PORT_DEFAULT),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addr = (bare, port)
            .to_socket_addrs()
            .map_err(|error| Failure::new(format!("{host} has no address: {error}")))?
            .next()
            .ok_or_else(|| Failure::new(format!("{host} has no address")))?;
        Ok(Self {
            url: format!("{scheme}://{host}:{port}"),
            is_tls,
            host: bare.to_owned(),
            port,
            addr,
            trust,
            tag,
        })
    }

    /// The value of `Host`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// On this machine, so that its process can be watched.
    pub fn is_local(&self) -> bool {
        self.addr.ip().is_loopback()
    }

    /// In a network of one's own: loopback, private or link-local. Others are somebody's orchestrator.
    pub fn is_private(&self) -> bool {
        match self.addr.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        }
    }

    /// The path, with its leading slash, of a URL of this server's, or of a path that was given without a host.
    ///
    /// # Errors
    /// The URL leads to another host or scheme.
    pub fn path_of(&self, url: &str) -> Result<String, Failure> {
        if url.starts_with('/') {
            return Ok(url.to_owned());
        }
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if path.is_empty() {
            return Err(Failure::new(format!("{url:?} has no path")));
        }
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        if port.is_some_and(|port: u16| port != self.port) {
            return Err(Failure::new(format!(
                "{url:?} leads to another port than {}; give that server as --target",
                self.url
            )));
        }
        Ok(path.to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

const PORT_DEFAULT: u16 = 8935;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<Target, Failure> {
        Target::resolve(url, Trust::Anyone, String::new())
    }

    #[test]
    fn urls_are_taken_apart() {
        let target = resolve("https://127.0.0.1").unwrap();
        assert!(target.is_tls && target.is_local() && target.port == 8935);
        let target = resolve("http://[::1]:80/").unwrap();
        assert_eq!(
            (target.host.as_str(), target.authority().as_str()),
            ("::1", "[::1]:80")
        );
        assert!(!resolve("http://8.8.8.8:1").unwrap().is_private());
        assert!(resolve("http://10.1.2.3:1").unwrap().is_private());
        for wrong in [
            "127.0.0.1:8935",
            "ftp://a",
            "http://a/b",
            "http://a:b",
            "http://",
        ] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_of_the_server_gives_its_path() {
        let target = resolve("http://127.0.0.1:8935").unwrap();
        assert_eq!(
            target.path_of("https://example.net:8935/a/b").unwrap(),
            "/a/b"
        );
        assert_eq!(target.path_of("/a/b").unwrap(), "/a/b");
        assert!(target.path_of("https://example.net:1/a").is_err());
        assert!(target.path_of("https://example.net:8935").is_err());
    }
}
