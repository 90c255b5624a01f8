//! A gateway that finds, pays and streams: the handshake by gRPC, the rest by HTTP/1.1.

#![allow(dead_code)] // each test uses a part of it

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::capability::Job;
use control::creds::flatten;
use control::gateway::client::{Connection, Deadlines, request};
use control::gateway::trusting;
use control::proto::Message;
use control::proto::net::{AuthToken, OrchestratorInfo, SegData};
use control::ticket::amount::ExpectedValue;
use control::ticket::float::Funds;
use control::ticket::keccak::keccak256;
use control::ticket::sender::{self, LocalKey, PaymentSession};
use control::ticket::wire::{Payment, PriceInfo, TicketParams};
use control::ticket::{Address, Signature, Wei};

/// A gateway with a key.
pub(crate) struct Peer {
    pub(crate) key: LocalKey,
    node: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Peer {
    pub(crate) fn new(key: u8, node: SocketAddr) -> Self {
        Self {
            key: LocalKey::new([key; 32]).unwrap(),
            node,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.key.address()
    }

    /// Calls with a connection of its own, in cleartext.
    pub(crate) fn call<T>(&self, call: impl AsyncFnOnce(Connection) -> T) -> T {
        let target = format!("http://{}", self.node).parse().unwrap();
        let tls = trusting().unwrap();
        self.runtime.block_on(async {
            let connection = Connection::open(&target, &tls, Deadlines::default());
            call(connection.await.unwrap()).await
        })
    }

    /// A handshake, for a model or for none.
    pub(crate) fn greet(&self, model: Option<&str>) -> Result<OrchestratorInfo, String> {
        let job = model.map(|id| {
            Job {
                model: Some(id),
                ..Job::live()
            }
            .capabilities()
        });
        let request = request(Some(&self.key), job, false);
        self.call(async |mut connection| connection.orchestrator(request).await)
            .map_err(|error| error.to_string())
    }

    /// A purse under what an orchestrator offered.
    pub(crate) fn purse(&self, info: &OrchestratorInfo) -> Purse {
        let mut purse = Purse {
            key: self.key.clone(),
            session: None,
            token: info.auth_token.clone().unwrap(),
            credit: Wei::ZERO,
            price: PriceInfo::default(),
        };
        purse.renew(info);
        purse
    }
}

/// Tickets under one offer after another.
pub(crate) struct Purse {
    key: LocalKey,
    session: Option<PaymentSession>,
    pub(crate) token: AuthToken,
    /// What its tickets were worth, in whole wei.
    pub(crate) credit: Wei,
    pub(crate) price: PriceInfo,
}

/// Nonces and signatures.
pub(crate) type Tickets = Vec<(u32, Signature)>;

impl Purse {
    /// Goes on under another offer; the token stays.
    pub(crate) fn renew(&mut self, info: &OrchestratorInfo) {
        let params = info.ticket_params.as_ref().expect("ticket params");
        let params = TicketParams::parse(&params.encode_to_vec()).unwrap();
        let own = Funds {
            deposit: Wei::MAX,
            reserve: Wei::MAX,
            ..Funds::default()
        };
        let limits = sender::Limits {
            ticket_ev_max: Wei::MAX,
            total_ev_max: Wei::MAX,
            deposit_multiplier: 1,
        };
        let accepted = sender::accept(&params, 1, (0, 0), &own, &limits).unwrap();
        let price = info.price_info.as_ref().expect("a price");
        self.price = PriceInfo {
            price_per_unit: price.price_per_unit,
            pixels_per_unit: price.pixels_per_unit,
        };
        match &mut self.session {
            Some(session) => session.renew(accepted, self.price),
            None => {
                let session = PaymentSession::new(self.key.address(), accepted, self.price);
                self.session = Some(session);
            }
        }
    }

    /// What a ticket is worth.
    pub(crate) fn value(&self) -> ExpectedValue {
        self.session.as_ref().unwrap().accepted().value()
    }

    /// A payment of so many tickets.
    pub(crate) fn payment(&mut self, tickets: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let session = self.session.as_mut().unwrap();
        let unsigned = session.tickets(tickets).unwrap();
        unsigned.write_signed(&self.key, &mut bytes);
        self.credit += Wei::from(tickets) * self.value().floor_wei();
        bytes
    }

    /// A payment as somebody writes it who changes what he was told.
    pub(crate) fn forged(&self, change: impl FnOnce(&mut Payment<'_>)) -> Vec<u8> {
        let mut payment = Payment {
            params: None,
            sender: self.key.address(),
            expected_price: Some(self.price),
            tickets: &[],
        };
        change(&mut payment);
        let mut bytes = Vec::new();
        payment.write(&mut bytes);
        bytes
    }

    /// The parameters it works under.
    pub(crate) fn params(&self) -> TicketParams {
        *self.session.as_ref().unwrap().accepted().params()
    }

    /// Credentials, signed.
    pub(crate) fn creds(&self, manifest_id: &str) -> SegData {
        let mut data = SegData {
            manifest_id: manifest_id.as_bytes().to_vec(),
            hash: keccak256(b"").to_vec(),
            profiles: b"invalid".to_vec(),
            auth_token: Some(self.token.clone()),
            ..SegData::default()
        };
        data.sig = self.key.sign_text(&flatten(&data)).to_bytes().to_vec();
        data
    }

    /// Both header fields.
    pub(crate) fn headers(&self, payment: &[u8], manifest_id: &str) -> String {
        headers(payment, &self.creds(manifest_id))
    }
}

/// Both header fields.
pub(crate) fn headers(payment: &[u8], creds: &SegData) -> String {
    format!(
        "Livepeer-Payment: {}\r\nLivepeer-Segment: {}\r\n",
        STANDARD.encode(payment),
        STANDARD.encode(creds.encode_to_vec())
    )
}
