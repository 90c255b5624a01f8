//! Payments, signed before anything is measured.

use control::ticket::address::{Address, Hash};
use control::ticket::amount::Wei;
use control::ticket::float::Funds;
use control::ticket::offer::{self, Head, Policy};
use control::ticket::sender::{self, LocalKey, PaymentSession};
use control::ticket::wire::PriceInfo;
use control::ticket::{Price, Secret, SessionId};
use link::Chain;

/// The recipient of every payment.
pub(crate) const RECIPIENT: Address = Address([0xbb; 20]);
const SECRET: [u8; 32] = [3; 32];
const TICKET_EV_WEI: u64 = 8_000_000_000;
/// One ticket in so many wins.
const ONE_IN: u64 = 100;

/// Senders and the payments that they will make.
pub struct Purse {
    /// In the order in which they are to be paid: senders by turns.
    pub payments: Vec<Vec<u8>>,
    /// Tickets in each.
    pub tickets_each: u32,
}

/// A chain on which nothing happens and everyone is rich.
pub(crate) struct Still;

impl Chain for Still {
    fn head(&self) -> Head {
        Head {
            l1_block: 1_000,
            round: 5,
            round_block_hash: Hash([4; 32]),
            gas_price: Wei::ZERO,
        }
    }

    fn funds(&self, _sender: &Address) -> Option<Funds> {
        Some(rich())
    }
}

fn rich() -> Funds {
    Funds {
        deposit: Wei::MAX >> 1,
        reserve: Wei::MAX >> 2,
        pool_size: 1,
        ..Funds::default()
    }
}

/// The secret that all of it is offered with.
pub(crate) fn secret() -> Secret {
    Secret::new(&SECRET)
}

/// The session, and the account, of every payment.
pub(crate) fn session() -> SessionId {
    SessionId::new("stream").expect("a name")
}

impl Purse {
    /// Signs payments of `tickets_each` tickets, of so many senders by turns, until there are `tickets` in all. It takes some 25 µs a
    /// ticket, shared by the threads of this machine.
    pub fn fill(senders: usize, tickets_each: u32, tickets: usize) -> Self {
        let payments = tickets.div_ceil(tickets_each as usize);
        let each = payments.div_ceil(senders);
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(senders);
        let mut by_sender: Vec<Vec<Vec<u8>>> = Vec::new();
        std::thread::scope(|scope| {
            let work = (0..threads).map(|thread| {
                scope.spawn(move || {
                    let own = (thread..senders).step_by(threads);
                    own.map(|sender| (sender, sign(sender, each, tickets_each)))
                        .collect::<Vec<_>>()
                })
            });
            let mut signed: Vec<_> = work
                .collect::<Vec<_>>()
                .into_iter()
                .flat_map(|thread| thread.join().expect("it signs"))
                .collect();
            signed.sort_by_key(|(sender, _)| *sender);
            by_sender = signed.into_iter().map(|(_, payments)| payments).collect();
        });
        let mut turns = Vec::with_capacity(payments);
        for turn in 0..each {
            turns.extend(
                by_sender
                    .iter_mut()
                    .map(|payments| std::mem::take(&mut payments[turn])),
            );
        }
        turns.truncate(payments);
        Self {
            payments: turns,
            tickets_each,
        }
    }

    /// Payments in the name of one sender, whose parameters hold, signed by somebody else.
    pub fn forge(sender: usize, tickets_each: u32, payments: usize) -> Self {
        let thief = LocalKey::new([0x66; 32]).expect("a key");
        let payments = (0..payments)
            .map(|n| {
                let mut seed = [0xff; 32];
                seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
                let mut session = accept(&key_of(sender), seed);
                let unsigned = session.tickets(tickets_each).expect("there are as many");
                let signed: Vec<_> = unsigned
                    .tickets()
                    .iter()
                    .map(|(nonce, digest)| (*nonce, thief.sign(digest)))
                    .collect();
                let mut bytes = Vec::new();
                unsigned.write(&signed, &mut bytes);
                bytes
            })
            .collect();
        Self {
            payments,
            tickets_each,
        }
    }
}

fn key_of(sender: usize) -> LocalKey {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&(sender as u64 + 1).to_be_bytes());
    LocalKey::new(key).expect("a small number is a key")
}

/// One sender's payments, under as many parameters as they take.
fn sign(sender: usize, payments: usize, tickets_each: u32) -> Vec<Vec<u8>> {
    let key = key_of(sender);
    let mut session: Option<PaymentSession> = None;
    let mut seed = [0; 32];
    (0..payments)
        .map(|n| {
            if session
                .as_ref()
                .is_none_or(|session| session.left() < tickets_each)
            {
                seed[..16].copy_from_slice(&(((sender as u128) << 64) | n as u128).to_be_bytes());
                session = Some(accept(&key, seed));
            }
            let mut bytes = Vec::new();
            let session = session.as_mut().expect("it was just made");
            session
                .tickets(tickets_each)
                .expect("there are as many left")
                .write_signed(&key, &mut bytes);
            bytes
        })
        .collect()
}

fn accept(key: &LocalKey, seed: [u8; 32]) -> PaymentSession {
    let policy = Policy {
        recipient: RECIPIENT,
        ticket_ev: Wei::from(TICKET_EV_WEI),
        face_value_max: Wei::from(TICKET_EV_WEI * ONE_IN),
        redeem_gas: 0,
    };
    let price = Price::new(1_200, 1).expect("a price");
    let who = (key.address(), session(), price);
    let terms = offer::quote(&policy, &Still.head(), (&rich(), Wei::ZERO), who, seed)
        .expect("everyone is rich");
    let params = secret().offer(&terms);
    let limits = sender::Limits {
        ticket_ev_max: Wei::MAX,
        total_ev_max: Wei::MAX,
        deposit_multiplier: 1,
    };
    let accepted =
        sender::accept(&params, 1, (0, 0), &rich(), &limits).expect("it is as it should be");
    let price = PriceInfo {
        price_per_unit: 1_200,
        pixels_per_unit: 1,
    };
    PaymentSession::new(key.address(), accepted, price)
}
