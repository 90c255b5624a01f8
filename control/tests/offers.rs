//! Offers, on a chain that says what the test wants: who can pay, what redeeming costs, and what is added for it.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use control::payment::Offers;
use control::payment::offers::Unoffered;
use control::payment::prices::{Config, Prices, Rate};
use control::world::System;
use link::Chain;
use ticket::address::{Address, Hash};
use ticket::amount::Wei;
use ticket::float::Funds;
use ticket::offer::{Head, NoOffer, Policy};
use ticket::secret::Secret;
use ticket::{Price, SessionId};

const SENDER: Address = Address([7; 20]);
const GWEI: u64 = 1_000_000_000;

#[derive(Clone)]
struct Said(Arc<Mutex<(Head, Option<Funds>)>>);

impl Chain for Said {
    fn head(&self) -> Head {
        self.0.lock().unwrap().0
    }

    fn funds(&self, _sender: &Address) -> Option<Funds> {
        self.0.lock().unwrap().1
    }
}

fn ether(parts_of_1000: u64) -> Wei {
    Wei::from(parts_of_1000) * Wei::from(10).pow(Wei::from(15))
}

fn chain() -> Said {
    let head = Head {
        l1_block: 1_000,
        round: 5,
        round_block_hash: Hash([3; 32]),
        gas_price: Wei::from(GWEI / 100),
    };
    let funds = Funds {
        deposit: ether(1_000),
        reserve: ether(1_000),
        pool_size: 1,
        ..Funds::default()
    };
    Said(Arc::new(Mutex::new((head, Some(funds)))))
}

fn offers(chain: &Said, price: (u64, u64), auto_adjust: bool) -> Offers {
    let pixels = NonZeroU64::new(price.1).unwrap();
    let config = Config {
        base: Rate::new(Wei::from(price.0), pixels),
        senders: Vec::new(),
        models: Vec::new(),
    };
    let policy = Policy {
        recipient: Address([1; 20]),
        ticket_ev: Wei::from(8 * GWEI),
        face_value_max: Wei::ZERO,
        redeem_gas: 1_200_000,
    };
    Offers::new(
        policy,
        (Prices::new(config).unwrap(), auto_adjust),
        Secret::new(&[5; 32]),
        Arc::new(chain.clone()),
        Arc::new(System),
    )
}

#[test]
fn a_sender_that_cannot_pay_is_offered_nothing() {
    let chain = chain();
    let offers = offers(&chain, (1_200, 1), true);
    let session = SessionId::new("s").unwrap();
    let price = || offers.price(&SENDER, None, Wei::ZERO);
    let make = |pending| offers.make(SENDER, session, Price::new(1_200, 1).unwrap(), pending);
    assert!(price().is_ok() && make(Wei::ZERO).is_ok());

    let set = |change: fn(&mut (Head, Option<Funds>))| change(&mut chain.0.lock().unwrap());
    set(|said| {
        said.1 = said.1.map(|funds| Funds {
            reserve: Wei::from(1),
            ..funds
        })
    });
    assert_eq!(price(), Err(Unoffered::No(NoOffer::Reserve)));
    assert_eq!(
        make(Wei::ZERO).unwrap_err().to_string(),
        "insufficient sender reserve"
    );
    // Winners that wait to be redeemed have a claim on what there is.
    set(|said| {
        said.1 = said.1.map(|funds| Funds {
            reserve: ether(1_000),
            deposit: Wei::ZERO,
            ..funds
        })
    });
    assert!(make(Wei::ZERO).is_ok());
    assert_eq!(make(ether(1_000)), Err(Unoffered::No(NoOffer::Reserve)));

    set(|said| said.1 = None);
    assert_eq!(price(), Err(Unoffered::SenderUnknown));
    assert_eq!(make(Wei::ZERO).unwrap_err().status(), 503);
    // What is free needs nothing behind it, and no overhead.
    let free = self::offers(&chain, (0, 1), true);
    assert_eq!(free.price(&SENDER, None, Wei::ZERO), Ok(Price::FREE));
}

#[test]
fn redeeming_is_added_to_the_price_as_go_adds_it() {
    let chain = chain();
    // A redemption costs 1.2 million gas at 0.01 gwei, and a winner is worth a hundred of them: one per cent is added.
    let price = |offers: &Offers| offers.price(&SENDER, None, Wei::ZERO).unwrap();
    let adjusted = offers(&chain, (1_200, 1), true);
    assert_eq!(price(&adjusted), Price::new(1_212, 1).unwrap());
    assert_eq!(
        price(&offers(&chain, (1_200, 1), false)),
        Price::new(1_200, 1).unwrap()
    );
    // A third and its hundredth, cut to thousandths: 0.336.
    assert_eq!(
        price(&offers(&chain, (1, 3), true)),
        Price::new(336, 1_000).unwrap()
    );
    // Where the float is small, so is the face value, and more is added: 1.2e13 wei a redemption, of 4.8e13.
    chain.0.lock().unwrap().1 = Some(Funds {
        deposit: ether(1_000),
        reserve: Wei::from(48_000 * GWEI),
        pool_size: 1,
        ..Funds::default()
    });
    assert_eq!(price(&adjusted), Price::new(1_500, 1).unwrap());
    // Where gas costs nothing, nothing is added.
    chain.0.lock().unwrap().0.gas_price = Wei::ZERO;
    assert_eq!(price(&adjusted), Price::new(1_200, 1).unwrap());
}

#[test]
fn an_offer_is_good_for_forty_blocks_of_a_round_that_began() {
    let chain = chain();
    let offers = offers(&chain, (1_200, 1), true);
    let make = || {
        offers.make(
            SENDER,
            SessionId::new("s").unwrap(),
            Price::new(1_200, 1).unwrap(),
            Wei::ZERO,
        )
    };
    let params = make().unwrap();
    assert_eq!(params.expiration_block, Wei::from(1_040));
    assert_eq!(
        (params.creation_round, params.creation_round_block_hash),
        (5, Hash([3; 32]))
    );
    assert_ne!(
        make().unwrap().recipient_rand_hash,
        params.recipient_rand_hash
    );
    chain.0.lock().unwrap().0.round_block_hash = Hash::ZERO;
    assert_eq!(make(), Err(Unoffered::No(NoOffer::NoRound)));
}
