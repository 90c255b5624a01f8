//! Clients of the floor: one socket each, a hello, then bare chunks.

use std::net::TcpStream;

use super::{Failure, Peers, Plan, Tally};
use crate::chunk::Reader;
use crate::net::{Net, Token};

/// Everybody who talks to a floor.
#[derive(Debug, Default)]
pub(super) struct Floor {
    publishers: Vec<Token>,
    /// By token; `None` for a publisher.
    readers: Vec<Option<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    index: usize,
    reader: Reader,
}

impl Peers for Floor {
    fn start(&mut self, plan: &Plan, net: &mut Net) -> Result<(), Failure> {
        for index in 0..plan.publishers * plan.subscribers_each {
            let token = connect(plan, net, &format!("S {}\n", index / plan.subscribers_each))?;
            assert_eq!(token, self.readers.len(), "tokens of a fresh net count up");
            self.readers.push(Some(Subscriber {
                index: index as usize,
                reader: Reader::default(),
            }));
        }
        for group in 0..plan.publishers {
            self.publishers
                .push(connect(plan, net, &format!("P {group}\n"))?);
            self.readers.push(None);
        }
        Ok(())
    }

    fn send(
        &mut self,
        net: &mut Net,
        group: u32,
        _number: u64,
        chunk: [&[u8]; 2],
    ) -> Result<(), Failure> {
        let token = self.publishers[group as usize];
        net.send(token, &chunk)
            .map_err(|error| Failure::new(format!("publisher {group}: {error}")))
    }

    fn handle_bytes(
        &mut self,
        _: &mut Net,
        token: Token,
        bytes: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let Some(subscriber) = &mut self.readers[token] else {
            return Err(Failure::new("the floor dropped a publisher"));
        };
        if bytes.is_empty() {
            return Err(Failure::new(format!(
                "the floor dropped subscriber {}",
                subscriber.index
            )));
        }
        tally.handle_payload(subscriber.index, &mut subscriber.reader, bytes, now_ns);
        Ok(())
    }

    fn end(&mut self, _: &mut Net) -> Result<(), Failure> {
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

fn connect(plan: &Plan, net: &mut Net, hello: &str) -> Result<Token, Failure> {
    let stream = TcpStream::connect(plan.addr).map_err(|error| {
        Failure::new(format!(
            "cannot connect to the floor at {}: {error}",
            plan.addr
        ))
    })?;
    let token = net.add(stream)?;
    net.send(token, &[hello.as_bytes()])?;
    Ok(token)
}
