//! The floor: the least that a server can do which copies a publisher's bytes to its subscribers.
//!
//! One thread, one epoll, no protocol. A peer says who it is in one line, `P 3` or `S 3`: publisher or subscriber of group 3.
//! From then on, whatever a publisher sends is read once, into one buffer, and written to every subscriber of its group.
//! Nothing is parsed, kept, counted or timed, so what a real server spends beyond this is the price of its protocol.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::str::FromStr;

use crate::net::{Net, Token};

/// Serves until the process ends.
///
/// # Errors
/// Only when the epoll or the listener breaks. A peer that breaks is dropped.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let net = Net::new()?;
    net.watch(listener, LISTENER)?;
    let mut floor = Floor {
        net,
        peers: HashMap::new(),
        groups: HashMap::new(),
    };
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Vec::new();
    loop {
        floor.net.wait(&mut events, None)?;
        for event in &events {
            if event.token == LISTENER {
                floor.accept(listener)?;
                continue;
            }
            if event.writable && floor.net.flush(event.token).is_err() {
                floor.drop_peer(event.token);
            }
            if event.readable {
                match floor.net.read(event.token, &mut buffer) {
                    Ok(None) => {}
                    Ok(Some(count)) if count > 0 => {
                        floor.handle_bytes(event.token, &buffer[..count])
                    }
                    Ok(Some(_)) | Err(_) => floor.drop_peer(event.token),
                }
            }
        }
    }
}

/// The role that a peer's first line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hello {
    Publisher(u32),
    Subscriber(u32),
}

impl FromStr for Hello {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        match line.split_once(' ') {
            Some(("P", group)) => Ok(Self::Publisher(group.parse().map_err(|_| ())?)),
            Some(("S", group)) => Ok(Self::Subscriber(group.parse().map_err(|_| ())?)),
            _ => Err(()),
        }
    }
}

#[derive(Debug)]
enum Peer {
    ExpectHello(Vec<u8>),
    Known(Hello),
}

struct Floor {
    net: Net,
    peers: HashMap<Token, Peer>,
    groups: HashMap<u32, Vec<Token>>,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let token = self.net.add(stream)?;
                    self.peers.insert(token, Peer::ExpectHello(Vec::new()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn handle_bytes(&mut self, token: Token, bytes: &[u8]) {
        match self.peers.get_mut(&token) {
            Some(Peer::Known(Hello::Publisher(group))) => {
                let group = *group;
                self.copy_to(group, bytes);
            }
            Some(Peer::ExpectHello(line)) => {
                line.extend_from_slice(bytes);
                let Some(end) = line.iter().position(|&byte| byte == b'\n') else {
                    if line.len() > HELLO_BYTES_MAX {
                        self.drop_peer(token);
                    }
                    return;
                };
                let rest = line.split_off(end + 1);
                let hello = std::str::from_utf8(&line[..end])
                    .ok()
                    .and_then(|line| line.parse().ok());
                self.handle_hello(token, hello, &rest);
            }
            Some(Peer::Known(Hello::Subscriber(_))) | None => self.drop_peer(token),
        }
    }

    fn handle_hello(&mut self, token: Token, hello: Option<Hello>, rest: &[u8]) {
        let Some(hello) = hello else {
            return self.drop_peer(token);
        };
        self.peers.insert(token, Peer::Known(hello));
        match hello {
            Hello::Subscriber(group) => self.groups.entry(group).or_default().push(token),
            Hello::Publisher(group) if !rest.is_empty() => self.copy_to(group, rest),
            Hello::Publisher(_) => {}
        }
    }

    fn copy_to(&mut self, group: u32, bytes: &[u8]) {
        let Some(subscribers) = self.groups.get(&group) else {
            return;
        };
        let mut broken = Vec::new();
        for &token in subscribers {
            if self.net.send(token, &[bytes]).is_err() {
                broken.push(token);
            }
        }
        for token in broken {
            self.drop_peer(token);
        }
    }

    fn drop_peer(&mut self, token: Token) {
        if let Some(Peer::Known(Hello::Subscriber(group))) = self.peers.remove(&token)
            && let Some(subscribers) = self.groups.get_mut(&group)
        {
            subscribers.retain(|&other| other != token);
        }
        self.net.close(token);
    }
}

const LISTENER: Token = usize::MAX;
/// Four chunks of 16 KiB: enough that a read never splits what a publisher wrote at once.
const READ_BYTES: usize = 64 << 10;
/// `S 4294967295`.
const HELLO_BYTES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_names_role_and_group() {
        assert_eq!("P 3".parse(), Ok(Hello::Publisher(3)));
        assert_eq!("S 4294967295".parse(), Ok(Hello::Subscriber(u32::MAX)));
        for bad in [
            "",
            "P",
            "P ",
            "P x",
            "Q 1",
            "P -1",
            "P 4294967296",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(bad.parse::<Hello>(), Err(()), "{bad}");
        }
    }
}
