//! The self-ping: whether a gateway reaches this node where it says it is, and finds it there.
//!
//! It connects to the service URL as a gateway would, TLS and HTTP/2 and all, and has a value signed. Somebody else who answers there signs with
//! another account.

use std::time::Duration;

use control::gateway::client::{Connection, Deadlines, Failed};
use control::gateway::{Target, trusting};
use control::payment::Identity;
use control::world::World;

use crate::addr::ServiceUrl;
use crate::failure::{Failure, Reason};

/// What is sent: as long as what stock nodes send.
const VALUE_BYTES: usize = 32;

/// Pings a service URL, and says how long that took.
pub(crate) async fn ping(
    service: &ServiceUrl,
    identity: &Identity,
    world: &dyn World,
) -> Result<String, Failure> {
    let unreachable = |why: String| {
        Failure::new(
            Reason::Unreachable,
            format!("nobody can be reached at {service}, where gateways are told to go"),
            why,
            "check --service-addr, the firewall and what forwards the port; if gateways reach it though this machine cannot, \
             give --startup-availability-check=false",
        )
    };
    let mut value = [0; VALUE_BYTES];
    world
        .fill(&mut value)
        .map_err(|error| unreachable(error.to_string()))?;
    let began = std::time::Instant::now();
    let signature = call(service, value.to_vec())
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let is_ours = match identity.sign(&value) {
        ours if ours.is_empty() => signature.is_empty(),
        _ => identity.believes(&identity.address(), &value, &signature),
    };
    match is_ours {
        true => Ok(format!("{service} answers, after {:.1?}", began.elapsed())),
        false => Err(Failure::new(
            Reason::Unreachable,
            format!("somebody else answers at {service}, where gateways are told to go"),
            "the answer is not signed by this node's account",
            "check --service-addr, and where its name and port lead to",
        )),
    }
}

async fn call(service: &ServiceUrl, value: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let target: Target = service
        .to_string()
        .parse()
        .map_err(|error: control::gateway::BadTarget| Failed::Connection(error.to_string()))?;
    let tls = trusting().map_err(|error| Failed::Connection(error.to_string()))?;
    let deadlines = Deadlines {
        connect: Duration::from_secs(3),
        call: Duration::from_secs(5),
    };
    Connection::open(&target, &tls, deadlines)
        .await?
        .ping(value)
        .await
}
