//! What an orchestrator does about payments, for scripted ones: it offers, checks and credits as the crate `ticket` does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use loadgen::tickets::Parts;
use proto::Message as _;
use proto::net::{
    AuthToken, OrchestratorInfo, OrchestratorRequest, PaymentResult, PriceInfo, SegData,
};
use ticket::book::{self, Entry};
use ticket::check::Asked;
use ticket::float::Funds;
use ticket::keccak::keccak256;
use ticket::offer::{self, Head, Policy};
use ticket::received::{Cursor, Parsed};
use ticket::signature::signer_of_text;
use ticket::verify::{Known, Limits, Portable};
use ticket::wire::{Purpose, TicketParams};
use ticket::{Address, Book, Check, Hash, Price, Received, Refusal, Secret, SessionId, Wei};

/// See the module.
pub struct Payee {
    secret: Secret,
    policy: Policy,
    head: Head,
    funds: Funds,
    check: Check,
    book: Book,
    entry: Entry,
    offers: u64,
}

impl Payee {
    pub fn new() -> Self {
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
        }
    }

    /// Parameters for a sender's session.
    pub fn offer(&mut self, sender: Address, session: SessionId) -> Result<TicketParams, String> {
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
    pub fn credit(&mut self, payment: Received, tickets: u32) -> Result<(), Refusal> {
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

    /// Answers `GetOrchestrator`, with a session of its own each time. A request that its sender did not sign is a panic.
    pub fn answer(&mut self, request: &OrchestratorRequest) -> Result<OrchestratorInfo, String> {
        let sender = Address::from_wire(&request.address);
        let name = sender.checksummed();
        assert_eq!(signer_of_text(name.as_bytes(), &request.sig), Ok(sender));
        let session = format!("session-{}", self.offers);
        let params = self.offer(sender, SessionId::new(&session).unwrap())?;
        Ok(info(&params, token(&session)))
    }

    /// An answer to somebody whom it does not know.
    pub fn any_answer(&mut self) -> OrchestratorInfo {
        let (nobody, session) = (Address([1; 20]), SessionId::new("any").unwrap());
        info(&self.offer(nobody, session).unwrap(), token("any"))
    }

    /// The answer to a payment that was taken: parameters for the next, under the same token.
    pub fn result(&mut self, sender: Address, creds: SegData) -> Vec<u8> {
        let token = creds.auth_token.unwrap();
        let session = SessionId::new(&token.session_id).unwrap();
        let params = self.offer(sender, session).unwrap();
        let info = Some(info(&params, token));
        PaymentResult { info }.encode_to_vec()
    }

    /// Changes what is offered from now on.
    pub fn set_policy(&mut self, ticket_ev: u64, face_value_max: u64) {
        self.policy.ticket_ev = Wei::from(ticket_ev);
        self.policy.face_value_max = Wei::from(face_value_max);
    }

    /// Tells of an L1 block: what was offered long before expires.
    pub fn see_block(&mut self, block: u64) {
        self.book.see_block(block, &mut self.entry);
    }

    /// Every account: who pays, what for, and what is credited, in parts.
    pub fn accounts(&self) -> Vec<(Address, String, Parts)> {
        let accounts = self.book.accounts().map(|(_, it)| it);
        accounts
            .map(|it| (it.sender, it.name.as_str().to_owned(), it.credit.parts()))
            .collect()
    }

    /// Tickets that are credited, over all accounts.
    pub fn credited(&self) -> u64 {
        let nonces = self.book.commitments().map(|(_, it)| it.nonces.count());
        nonces.map(u64::from).sum()
    }
}

/// Takes a payment's headers apart; to be credited is `account`, or the manifest that the credentials name. What is not the sender's own
/// word, or for no session that was given, is a panic.
pub fn open(payment: &str, purpose: &str, account: Option<&str>) -> (Received, SegData) {
    let bytes = |text: &str| BASE64.decode(text).unwrap();
    let (payment, purpose) = (bytes(payment), bytes(purpose));
    let (session, manifest) = Purpose::parse(&purpose).unwrap().ids().unwrap();
    let account = account.map_or(manifest, |name| SessionId::new(name).unwrap());
    let Parsed::Payment(payment) = Received::parse(payment, session, account) else {
        panic!("no payment");
    };
    let creds = check_credentials(&purpose, payment.sender());
    (payment, creds)
}

/// What a pixel costs.
pub fn price() -> Price {
    Price::new(1_200, 7).unwrap()
}

fn info(params: &TicketParams, token: AuthToken) -> OrchestratorInfo {
    let (price_per_unit, pixels_per_unit) = price().to_wire();
    let mut bytes = Vec::new();
    params.write(&mut bytes);
    OrchestratorInfo {
        transcoder: "https://example.net:8935".to_owned(),
        ticket_params: Some(proto::net::TicketParams::decode(&bytes[..]).unwrap()),
        price_info: Some(PriceInfo {
            price_per_unit,
            pixels_per_unit,
            ..PriceInfo::default()
        }),
        auth_token: Some(token),
        ..OrchestratorInfo::default()
    }
}

fn token(session: &str) -> AuthToken {
    AuthToken {
        token: format!("right to {session}").into_bytes(),
        session_id: session.to_owned(),
        expiration: 4_000_000_000,
    }
}

/// That they are the sender's, and for a session that was given.
fn check_credentials(bytes: &[u8], sender: &Address) -> SegData {
    let creds = SegData::decode(bytes).unwrap();
    let given = creds.auth_token.as_ref().unwrap();
    assert_eq!(*given, token(&given.session_id));
    assert_eq!(creds.hash, keccak256(b""));
    assert_eq!(creds.profiles, b"invalid");
    let signed = [&creds.manifest_id[..], &[0; 32], &creds.hash].concat();
    assert_eq!(signer_of_text(&signed, &creds.sig), Ok(*sender));
    creds
}
