//! Where an orchestrator is: `https://host:8935`, and the forms in which that is written down.
//!
//! Without a scheme it is `https`, without a port 8935. A path is let be: go-livepeer's gateway asks at the host, whatever follows it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::printable::printable;

/// An orchestrator's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    is_tls: bool,
    /// A name or an address, an IPv6 address without brackets.
    host: String,
    port: u16,
}

/// The text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of an orchestrator: {why}")]
pub struct BadTarget {
    text: String,
    why: &'static str,
}

/// go-livepeer's.
const PORT: u16 = 8935;
const TEXT_CHARS_MAX: usize = 512;

impl Target {
    /// Whether TLS is spoken there.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = |why| BadTarget {
            text: printable(text, 80),
            why,
        };
        if text.len() > TEXT_CHARS_MAX {
            return Err(bad("it is too long"));
        }
        let (is_tls, rest) = match text.split_once("://") {
            None => (true, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err(bad("the scheme is https or http")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, port) = split(&rest[..end])
            .ok_or_else(|| bad("it goes host, or host:port; an IPv6 address stands in brackets"))?;
        let port = match port.map(str::parse) {
            None => PORT,
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(bad("the port is a number from 1 to 65535")),
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// A host that can be one, and what stands behind its colon.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    let (host, port) = match text.split_once(':') {
        None => (text, None),
        Some((host, port)) => (host, Some(port)),
    };
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_host = !host.is_empty() && host.bytes().all(is_known);
    is_host.then_some((host, port))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOST: &str = "it goes host, or host:port; an IPv6 address stands in brackets";

    #[test]
    fn what_is_missing_is_filled_in() {
        for (text, whole) in [
            ("video.example.net", "https://video.example.net:8935"),
            ("video.example.net:80", "https://video.example.net:80"),
            ("https://10.0.0.1", "https://10.0.0.1:8935"),
            ("HTTP://a_b", "http://a_b:8935"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            (
                "https://video.example.net/path?q#f",
                "https://video.example.net:8935",
            ),
            ("[::1]", "https://[::1]:8935"),
            ("https://[2001:db8::7]:443", "https://[2001:db8::7]:443"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), whole);
            assert_eq!(whole.parse(), Ok(target));
        }
        let target: Target = "[::1]:1".parse().unwrap();
        assert_eq!(
            (target.host(), target.port(), target.is_tls()),
            ("::1", 1, true)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (text, why) in [
            ("", HOST),
            ("https://", HOST),
            ("https:///x", HOST),
            (":8935", HOST),
            ("ftp://x", "the scheme is https or http"),
            ("x y", HOST),
            ("::1", HOST),
            ("[x]:1", HOST),
            ("[::1]1", HOST),
            ("user:word@x", "the port is a number from 1 to 65535"),
            ("user@x", HOST),
            ("x:", "the port is a number from 1 to 65535"),
            ("x:0", "the port is a number from 1 to 65535"),
            ("x:65536", "the port is a number from 1 to 65535"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is no address of an orchestrator: {why}")
            );
        }
        assert!("x".repeat(600).parse::<Target>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), host in "[a-z@:\\[\\].0-9]{0,20}") {
            for text in [text, format!("http://{host}"), host] {
                if let Ok(target) = text.parse::<Target>() {
                    prop_assert_eq!(target.to_string().parse(), Ok(target));
                }
            }
        }
    }
}
