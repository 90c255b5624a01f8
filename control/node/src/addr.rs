//! Addresses as operators write them.
//!
//! The service URL is what peers are told; the listening address is where the socket is. The second follows from the
//! first unless it is given: a loopback service listens on loopback, any other on all addresses, at the same port. An address for
//! trickle alone is as the first where it does not say otherwise, so it says a port at least.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of a go-livepeer orchestrator.
const PORT: u16 = 8935;

/// What peers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceUrl {
    /// Whether peers speak TLS to it.
    pub(crate) tls: bool,
    /// A name, or an IP literal without brackets.
    pub(crate) host: String,
    /// 0 stands for the port that the system picks.
    pub(crate) port: u16,
}

/// Where the socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The address; port 0 lets the system pick.
    pub(crate) addr: SocketAddr,
    /// Whether TLS is spoken on it.
    pub(crate) tls: bool,
}

impl ServiceUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = split_scheme(text)?;
        let (host, port) = split_port(rest)?;
        let host = host.ok_or_else(|| "it names no host".to_owned())?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if !host.chars().all(known) {
            return Err(format!("`{host}` is neither a host name nor an address"));
        }
        Ok(Self {
            tls: scheme.unwrap_or(true),
            host,
            port: port.unwrap_or(PORT),
        })
    }

    /// The same URL at another port.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self {
            port,
            ..self.clone()
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Listen {
    /// Completes what the operator wrote, which may be nothing, a host, a `:port`, or both, after a scheme or not.
    pub(crate) fn complete(text: &str, service: &ServiceUrl) -> Result<Self, String> {
        let usual = Self {
            addr: SocketAddr::new(default_ip(&service.host), service.port),
            tls: service.tls,
        };
        usual.but(text)
    }

    /// This address, but for what `text` says of another.
    pub(crate) fn but(&self, text: &str) -> Result<Self, String> {
        let (scheme, rest) = split_scheme(text)?;
        let (host, port) = split_port(rest)?;
        let ip = match host.as_deref() {
            None => self.addr.ip(),
            Some("localhost") => Ipv4Addr::LOCALHOST.into(),
            Some(host) => host.parse().map_err(|_| {
                format!(
                    "`{host}` is not an IP address; a socket listens on an address, not on a name"
                )
            })?,
        };
        Ok(Self {
            addr: SocketAddr::new(ip, port.unwrap_or(self.addr.port())),
            tls: scheme.unwrap_or(self.tls),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.addr)
    }
}

/// Loopback stays loopback; every other host is one of ours behind all addresses.
fn default_ip(host: &str) -> IpAddr {
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => ip,
        Ok(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Whether it says TLS, if it says; and the rest without a lone trailing slash.
fn split_scheme(text: &str) -> Result<(Option<bool>, &str), String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (Some(true), rest),
        Some(("http", rest)) => (Some(false), rest),
        Some((other, _)) => return Err(format!("the scheme is http or https, not `{other}`")),
        None => (None, text),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    match rest.find(['/', '?', '#', '@']) {
        Some(at) => Err(format!(
            "it goes on with `{}` after host and port",
            &rest[at..]
        )),
        None => Ok((tls, rest)),
    }
}

/// `host`, `host:port`, `:port`, `[v6]`, `[v6]:port`, a bare v6 address, or nothing.
fn split_port(text: &str) -> Result<(Option<String>, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a `[` is not closed")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| format!("`{host}` is not an IPv6 address"))?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(format!("`{rest}` follows the address")),
        }
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
        return Err(format!("`{host}` holds a colon but is not an IPv6 address"));
    }
    let port = port
        .map(|port| {
            port.parse()
                .map_err(|_| format!("`{port}` is not a port, 0 to 65535"))
        })
        .transpose()?;
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> String {
        ServiceUrl::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_service_url_is_completed() {
        assert_eq!(
            service("https://node.example:1234"),
            "https://node.example:1234"
        );
        assert_eq!(service("http://node.example/"), "http://node.example:8935");
        assert_eq!(service("node.example"), "https://node.example:8935");
        assert_eq!(service("10.0.0.1:80"), "https://10.0.0.1:80");
        assert_eq!(service("https://[::1]"), "https://[::1]:8935");
        assert_eq!(service("::1"), "https://[::1]:8935");
        assert_eq!(service("[2001:db8::1]:99"), "https://[2001:db8::1]:99");
    }

    #[test]
    fn what_is_no_service_url_is_said_to_be_none() {
        for (text, reason) in [
            ("", "names no host"),
            (":8935", "names no host"),
            ("ftp://x", "not `ftp`"),
            ("https://x:8935/path", "goes on with `/path`"),
            ("https://user@x", "goes on with `@x`"),
            ("https://x:port", "`port` is not a port"),
            ("https://x:70000", "`70000` is not a port"),
            ("https://[::1", "not closed"),
            ("https://[::1]x", "`x` follows"),
            ("https://a:b:c", "is not an IPv6 address"),
            ("https://h\u{f6}st", "neither a host name"),
            ("https://a b", "neither a host name"),
        ] {
            let error = ServiceUrl::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    fn listen(text: &str, url: &str) -> (String, bool) {
        let listen = Listen::complete(text, &ServiceUrl::parse(url).unwrap()).unwrap();
        (listen.addr.to_string(), listen.tls)
    }

    #[test]
    fn the_listening_address_follows_from_the_service() {
        assert_eq!(
            listen("", "https://127.0.0.1:8935"),
            ("127.0.0.1:8935".into(), true)
        );
        assert_eq!(
            listen("", "http://localhost:1"),
            ("127.0.0.1:1".into(), false)
        );
        assert_eq!(listen("", "https://[::1]:5"), ("[::1]:5".into(), true));
        assert_eq!(
            listen("", "https://node.example"),
            ("0.0.0.0:8935".into(), true)
        );
        assert_eq!(
            listen("", "https://[2001:db8::1]"),
            ("[::]:8935".into(), true)
        );
    }

    #[test]
    fn a_second_address_is_as_the_first_where_it_says_nothing_else() {
        let service = ServiceUrl::parse("https://node.example:7000").unwrap();
        let first = Listen::complete("10.0.0.1", &service).unwrap();
        for (text, expected) in [
            (":9000", "https://10.0.0.1:9000"),
            ("http://:9000", "http://10.0.0.1:9000"),
            ("127.0.0.1:9000", "https://127.0.0.1:9000"),
            ("http://[::1]:0", "http://[::1]:0"),
            ("127.0.0.1", "https://127.0.0.1:7000"),
        ] {
            assert_eq!(first.but(text).unwrap().to_string(), expected);
        }
        assert!(first.but("ftp://:1").is_err());
    }

    #[test]
    fn the_listening_address_can_be_given_in_parts() {
        let url = "https://node.example:7000";
        assert_eq!(listen(":9000", url), ("0.0.0.0:9000".into(), true));
        assert_eq!(listen("10.0.0.1", url), ("10.0.0.1:7000".into(), true));
        assert_eq!(listen("10.0.0.1:9000", url), ("10.0.0.1:9000".into(), true));
        assert_eq!(listen("[::1]:9000", url), ("[::1]:9000".into(), true));
        assert_eq!(
            listen("http://127.0.0.1:9000", url),
            ("127.0.0.1:9000".into(), false),
            "behind a proxy"
        );
        assert_eq!(
            listen("https://:0", "http://node.example"),
            ("0.0.0.0:0".into(), true)
        );
        assert_eq!(listen("http://", url), ("0.0.0.0:7000".into(), false));
        let error = Listen::complete("node.example", &ServiceUrl::parse(url).unwrap()).unwrap_err();
        assert!(error.contains("is not an IP address"), "{error}");
        assert!(Listen::complete("http://1.2.3.4/x", &ServiceUrl::parse(url).unwrap()).is_err());
    }
}
