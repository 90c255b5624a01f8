//! An orchestrator for tests, as far as payments go: it offers, checks and credits as the crate `ticket` does, and errs by script.
//!
//! A thread a connection, and one lock around the book: what was credited is known exactly, and in which order payments came.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use loadgen::tickets::Ledger;
use rustls::ServerConfig;
use ticket::book::{self, Entry};
use ticket::check::Asked;
use ticket::float::Funds;
use ticket::offer::{self, Head, Policy};
use ticket::received::{Cursor, Parsed};
use ticket::verify::{Known, Limits, Portable};
use ticket::wire::{PriceInfo, Purpose, TicketParams, put_message};
use ticket::{Address, Book, Check, Hash, Price, Received, Refusal, Secret, SessionId, Wei};

use crate::support::http::{Reading, Request, Wire, answer, answer_with, self_signed, wire};

/// What is done about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is checked and credited, and answered.
    Serve,
    /// Its connection is closed.
    DropBefore,
    /// It is checked and credited, and its connection is closed.
    DropAfter,
    /// It is answered 200, whatever it is; what is good of it is credited.
    Believe,
    /// It is answered 503.
    Busy,
    /// Half of its tickets are credited, and the sender's reserve is said to be too small for the others.
    Half,
}

/// By number of a payment, as they come.
pub(crate) type Script = fn(usize) -> Action;

/// A running orchestrator.
pub(crate) struct Orchestrator {
    pub(crate) url: String,
    shared: Arc<Shared>,
    listening: Arc<Mutex<Option<TcpListener>>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    state: Arc<Mutex<State>>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

struct State {
    secret: Secret,
    policy: Policy,
    head: Head,
    funds: Funds,
    check: Check,
    book: Book,
    entry: Entry,
    offers: u64,
    /// Payments as they came.
    came: Vec<(Address, u32)>,
    /// Answers by status.
    statuses: Vec<u16>,
}

impl Orchestrator {
    pub(crate) fn start(script: Script) -> Self {
        Self::serve(Arc::new(Mutex::new(State::new())), script, None)
    }

    pub(crate) fn start_tls(script: Script) -> Self {
        let state = Arc::new(Mutex::new(State::new()));
        Self::serve(state, script, Some(self_signed()))
    }

    /// The same book behind another door, after this one was killed or not.
    pub(crate) fn restart(&self, script: Script) -> Self {
        Self::serve(Arc::clone(&self.shared.state), script, None)
    }

    fn serve(state: Arc<Mutex<State>>, script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script,
            state,
            sockets: Arc::default(),
        });
        let (serving, accepting) = (Arc::clone(&shared), listener.try_clone().unwrap());
        let listening = Arc::new(Mutex::new(Some(listener)));
        let is_up = Arc::clone(&listening);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if is_up.lock().unwrap().is_none() {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                let mut sockets = serving.sockets.lock().unwrap();
                sockets.push(stream.try_clone().unwrap());
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                thread::spawn(move || {
                    let socket = stream.try_clone().unwrap();
                    let mut wire = wire(stream, tls);
                    // A client may go as it likes.
                    let _ = serving.attend(&mut *wire);
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            url,
            shared,
            listening,
        }
    }

    /// As `kill -9` does it: every connection breaks, and no other is taken.
    pub(crate) fn kill(&self) {
        let addr = self.listening.lock().unwrap().take().unwrap().local_addr();
        // So that the one who accepts sees it.
        let _ = TcpStream::connect(addr.unwrap());
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Changes what is offered from now on.
    pub(crate) fn set_policy(&self, ticket_ev: u64, face_value_max: u64) {
        let mut state = self.state();
        state.policy.ticket_ev = Wei::from(ticket_ev);
        state.policy.face_value_max = Wei::from(face_value_max);
    }

    /// Tells of an L1 block: what was offered long before expires.
    pub(crate) fn see_block(&self, block: u64) {
        let State { book, entry, .. } = &mut *self.state();
        book.see_block(block, entry);
    }

    /// Payments that came: sender, and first nonce.
    pub(crate) fn came(&self) -> Vec<(Address, u32)> {
        self.state().came.clone()
    }

    /// Payments that were answered so.
    pub(crate) fn answered(&self, status: u16) -> u64 {
        let state = self.state();
        state.statuses.iter().filter(|it| **it == status).count() as u64
    }

    /// Tickets that are credited, over all accounts.
    pub(crate) fn credited(&self) -> u64 {
        let state = self.state();
        let nonces = state.book.commitments().map(|(_, it)| it.nonces.count());
        nonces.map(u64::from).sum()
    }

    /// Accounts of the book that are not the ledger's to the last part, and accounts that only one of them has.
    pub(crate) fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let state = self.state();
        let book: Vec<_> = state.book.accounts().map(|(_, account)| account).collect();
        let in_book = |sender, name: &str| {
            book.iter()
                .find(|account| account.sender == sender && account.name.as_str() == name)
        };
        let mut differences = Vec::new();
        for account in &book {
            let name = account.name.as_str();
            match ledger.account(account.sender, name) {
                Some(ours) if ours.credit == account.credit.parts() => {}
                ours => differences.push(format!("{name}: {account:?} {ours:?}")),
            }
        }
        for ours in ledger.accounts().filter(|it| !it.credit.is_zero()) {
            if in_book(ours.sender, &ours.manifest_id).is_none() {
                differences.push(format!("{ours:?} is in the ledger alone"));
            }
        }
        differences
    }
}

impl Shared {
    fn attend(&self, wire: &mut dyn Wire) -> io::Result<()> {
        let mut reading = Reading::new();
        while let Some(request) = reading.request(wire)? {
            let length = request.field("content-length").unwrap_or("0");
            let body = reading.body(wire, length.parse().unwrap())?;
            match (request.method.as_str(), request.path.as_str()) {
                ("POST", "/refresh-payment") => {
                    let (status, body) = self.state.lock().unwrap().refresh(&body);
                    answer_with(wire, status, "", body.as_bytes())?;
                }
                ("POST", "/payment") => {
                    assert_eq!(body, b"");
                    if self.pay(wire, &request)?.is_none() {
                        return Ok(());
                    }
                }
                _ => answer(wire, 404, "")?,
            }
            if request.is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: there is no answer, and no connection any more.
    fn pay(&self, wire: &mut dyn Wire, request: &Request) -> io::Result<Option<()>> {
        let bytes = |name| BASE64.decode(request.field(name).unwrap()).unwrap();
        let (payment, purpose) = (bytes("livepeer-payment"), bytes("livepeer-segment"));
        let purpose = Purpose::parse(&purpose).unwrap();
        let name = std::str::from_utf8(purpose.manifest_id).unwrap();
        let session = SessionId::new(name).unwrap();
        let Parsed::Payment(payment) = Received::parse(payment, session, session) else {
            panic!("no payment");
        };
        let mut state = self.state.lock().unwrap();
        let number = state.came.len();
        let first = payment.slips(&mut Cursor::default()).next().unwrap().0;
        state.came.push((*payment.sender(), first));
        let action = (self.script)(number);
        let tickets = match action {
            Action::DropBefore | Action::Busy => 0,
            Action::Half => payment.tickets() / 2,
            _ => payment.tickets(),
        };
        let sender = *payment.sender();
        let verdict = state.credit(payment, tickets);
        let (status, body) = match (action, verdict) {
            (Action::DropBefore | Action::DropAfter, _) => return Ok(None),
            (Action::Busy, _) => (503, format!("{}\n", Refusal::Busy).into_bytes()),
            (Action::Half, _) => (400, format!("{}\n", Refusal::Reserve).into_bytes()),
            (Action::Serve, Err(why)) => (why.status(), format!("{why}\n").into_bytes()),
            (Action::Serve, Ok(())) | (Action::Believe, _) => {
                let params = state.offer(sender, session).unwrap();
                let mut body = Vec::new();
                put_message(&mut body, 16, |into| write_info(into, &params));
                (200, body)
            }
        };
        state.statuses.push(status);
        drop(state);
        answer_with(wire, status, "", &body)?;
        Ok(Some(()))
    }
}

impl State {
    fn new() -> Self {
        let recipient = Address([0xbb; 20]);
        let secret = Secret::new(&[3; 32]);
        let known = Known::new(Portable::default(), Limits::default());
        let head = Head {
            l1_block: 21_000_000,
            round: 3_456,
            round_block_hash: Hash([0x41; 32]),
            // So that a winner is worth as much as it may be.
            gas_price: Wei::from(1_000_000_u64),
        };
        let (mut book, mut entry) = (Book::new(book::Limits::default()), Entry::default());
        book.see_block(head.l1_block, &mut entry);
        Self {
            policy: Policy {
                recipient,
                // So that a ticket is worth no whole number of wei.
                ticket_ev: Wei::from(8_000_000_011_u64),
                face_value_max: Wei::from(8_000_000_000_000_u64),
                redeem_gas: 100_000,
            },
            funds: Funds {
                deposit: Wei::from(10).pow(Wei::from(24)),
                reserve: Wei::from(10).pow(Wei::from(24)),
                pool_size: 1,
                ..Funds::default()
            },
            check: Check::new(recipient, secret.clone(), Box::new(known)),
            secret,
            head,
            book,
            entry,
            offers: 0,
            came: Vec::new(),
            statuses: Vec::new(),
        }
    }

    fn refresh(&mut self, body: &[u8]) -> (u16, String) {
        let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| asked[name].as_str().unwrap().to_owned();
        let (sender, manifest_id) = (text("sender").parse().unwrap(), text("manifest_id"));
        let session = SessionId::new(&manifest_id).unwrap();
        match self.offer(sender, session) {
            Ok(params) => {
                let mut info = Vec::new();
                write_info(&mut info, &params);
                let answer = serde_json::json!({
                    "payment_params": BASE64.encode(info),
                    "orchestrator": "https://example.net:8935",
                    "manifest_id": manifest_id,
                    "payment_url": "https://example.net:8935/payment",
                });
                (200, answer.to_string())
            }
            Err(why) => (400, format!("{why}\n")),
        }
    }

    fn offer(&mut self, sender: Address, session: SessionId) -> Result<TicketParams, String> {
        self.offers += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.offers.to_be_bytes());
        let pending = self.book.pending(&sender);
        let terms = offer::quote(
            &self.policy,
            &self.head,
            (&self.funds, pending),
            (sender, session, price()),
            seed,
        )
        .map_err(|why| why.to_string())?;
        Ok(self.secret.offer(&terms))
    }

    /// Credits what is good of the first `tickets` of a payment, or says why some of it is not.
    fn credit(&mut self, payment: Received, tickets: u32) -> Result<(), Refusal> {
        let mut opened = Vec::new();
        self.check.open(&mut vec![payment], &mut opened);
        let opened = opened.remove(0).map_err(|(_, why)| why)?;
        let payment = opened.payment();
        let (account, round) = (payment.account(), self.head.round);
        let admitted = self
            .book
            .admit(&opened, account, Some(&self.funds), round)?;
        let slips: Vec<_> = payment.slips(&mut Cursor::default()).collect();
        let mut outcome = Ok(());
        for (nonce, signature) in slips.into_iter().take(tickets as usize) {
            let fate = self.book.look(&admitted, &opened, nonce).and_then(|()| {
                let asked = Asked {
                    opened: &opened,
                    nonce,
                    signature: signature.ok_or(Refusal::Signature)?,
                };
                let mut proven = Vec::new();
                self.check.prove([asked].into_iter(), &mut proven);
                let ticket = proven.remove(0)?;
                self.book
                    .credit(&admitted, &opened, &ticket, &mut self.entry)
            });
            outcome = outcome.and(fate);
        }
        outcome
    }
}

fn price() -> Price {
    Price::new(1_200, 7).unwrap()
}

fn write_info(into: &mut Vec<u8>, params: &TicketParams) {
    let (price_per_unit, pixels_per_unit) = price().to_wire();
    put_message(into, 2, |into| params.write(into));
    put_message(into, 3, |into| {
        PriceInfo {
            price_per_unit,
            pixels_per_unit,
        }
        .write(into);
    });
}
