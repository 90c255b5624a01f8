//! What go-livepeer's recipient takes, or dies of, and ours refuses. The numbers are those of the list of known weaknesses.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::{Recipient, each, key, pay, payment, session, vectors, wei};
use ticket::address::{Address, Hash};
use ticket::amount::Wei;
use ticket::keccak::{Permute, Plain, State};
use ticket::layout::Digest;
use ticket::price::PriceFault;
use ticket::refusal::Remedy;
use ticket::sender::LocalKey;
use ticket::verify::{Claim, Reference, Verifier};
use ticket::wire::{Payment, PriceInfo, TicketParams};
use ticket::{Check, Price, Refusal, Secret, Signature};

fn price() -> Price {
    Price::new(1_200, 1).unwrap()
}

/// A payment of one ticket, with its parts open to change.
struct Forged {
    params: TicketParams,
    sender: Address,
    price: Option<PriceInfo>,
    tickets: Vec<(u32, Signature)>,
}

impl Forged {
    fn new(recipient: &mut Recipient, key: &LocalKey) -> Self {
        let params = recipient.offer(key.address(), session("a"), price());
        Self {
            params,
            sender: key.address(),
            price: Some(info(1_200, 1)),
            tickets: sign(key, &params, &[1]),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let payment = Payment {
            params: Some(&self.params),
            sender: self.sender,
            expected_price: self.price,
            tickets: &self.tickets,
        };
        payment.write(&mut bytes);
        bytes
    }
}

fn info(price_per_unit: i64, pixels_per_unit: i64) -> PriceInfo {
    PriceInfo {
        price_per_unit,
        pixels_per_unit,
    }
}

/// Tickets under any parameters at all, properly signed.
fn sign(key: &LocalKey, params: &TicketParams, nonces: &[u32]) -> Vec<(u32, Signature)> {
    let ticket = |sender_nonce| ticket::Ticket {
        recipient: params.recipient,
        sender: key.address(),
        face_value: params.face_value,
        win_prob: params.win_prob,
        sender_nonce,
        recipient_rand_hash: params.recipient_rand_hash,
        creation_round: params.creation_round.unsigned_abs(),
        creation_round_block_hash: params.creation_round_block_hash,
    };
    nonces
        .iter()
        .map(|nonce| (*nonce, key.sign(&ticket(*nonce).digest())))
        .collect()
}

/// Takes a payment made by `change`, and shows that an unchanged one would have been good.
fn verdict(change: impl FnOnce(&mut Forged, &LocalKey)) -> Result<(), Refusal> {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let mut forged = Forged::new(&mut recipient, &key);
    let honest = forged.bytes();
    change(&mut forged, &key);
    let verdicts = recipient.take(&forged.bytes(), session("a"));
    assert_eq!(verdicts.len(), 1);
    if verdicts[0].is_err() {
        assert_eq!(
            recipient.balance(key.address(), session("a")),
            "none",
            "nothing was credited"
        );
        assert_eq!(
            recipient.take(&honest, session("a")),
            [Ok(())],
            "and the nonce is still free"
        );
    }
    verdicts[0]
}

#[test]
fn s1_a_price_that_is_split_elsewhere_is_not_ours() {
    let file = vectors();
    let pair = each(&file, "hmac_ambiguity_vectors")
        .find(|vector| vector["name"] == "price_resplit")
        .unwrap();
    let forged = |name: &str| pair["forged"][name].as_i64().unwrap();
    let outcome = verdict(|payment, _| {
        payment.price = Some(info(forged("price_per_unit"), forged("pixels_per_unit")))
    });
    assert_eq!(outcome, Err(Refusal::Rand));
}

#[test]
fn s1_a_face_value_and_probability_that_are_split_elsewhere_are_not_ours() {
    let outcome = verdict(|payment, key| {
        // The first byte of the one moves to the end of the other: the joined bytes are the same.
        let (face, probability) = (payment.params.face_value, payment.params.win_prob);
        let bits = probability.bit_len().div_ceil(8) * 8 - 8;
        payment.params.face_value = (face << 8) | (probability >> bits);
        payment.params.win_prob = probability & ((Wei::ONE << bits) - Wei::ONE);
        payment.tickets = sign(key, &payment.params, &[1]);
    });
    assert_eq!(outcome, Err(Refusal::Rand));
}

#[test]
fn s1_no_two_offers_are_the_same_message_to_the_mac() {
    let file = vectors();
    let secret = Secret::new(&support::SECRET);
    for pair in each(&file, "hmac_ambiguity_vectors") {
        let hashes = ["honest", "forged"].map(|side| {
            let side = &pair[side];
            let price = Price::new(
                side["price_per_unit"].as_i64().unwrap(),
                side["pixels_per_unit"].as_i64().unwrap(),
            );
            let round = u64::try_from(side["creation_round"].as_i64().unwrap());
            let (Ok(price), Ok(creation_round)) = (price, round) else {
                return None; // it does not even become an offer: see S2 and S3
            };
            let terms = ticket::secret::Terms {
                recipient: Address([1; 20]),
                sender: side["sender"].as_str().unwrap().parse().unwrap(),
                session: session("a"),
                price,
                face_value: wei(&side["face_value_dec"]),
                win_prob: wei(&side["win_prob_dec"]),
                seed: Wei::from_be_slice(&support::bytes(&side["seed_min_bytes"])),
                expiration_block: side["expiration_block"].as_u64().unwrap(),
                creation_round,
                creation_round_block_hash: Hash(support::array(&side["creation_round_block_hash"])),
            };
            Some(secret.offer(&terms).recipient_rand_hash)
        });
        assert!(
            hashes[0].is_some() && hashes[0] != hashes[1],
            "{}",
            pair["name"]
        );
    }
}

#[test]
fn s2_a_negative_price_is_no_price() {
    for (wei, pixels) in [(-1_200, 1), (1_200, -1), (-1_200, -1), (i64::MIN, 1)] {
        let outcome = verdict(|payment, _| payment.price = Some(info(wei, pixels)));
        assert_eq!(outcome, Err(Refusal::Price(PriceFault::Negative)));
        assert!(
            outcome
                .unwrap_err()
                .to_string()
                .starts_with("invalid expected price sent with payment err=")
        );
    }
}

#[test]
fn s3_a_negative_round_is_no_round() {
    for round in [-3_456, 0, i64::MIN] {
        let outcome = verdict(|payment, key| {
            payment.params.creation_round = round;
            payment.tickets = sign(key, &payment.params, &[1]);
        });
        assert_eq!(outcome, Err(Refusal::Round), "{round}");
    }
    let outcome = verdict(|payment, key| {
        payment.params.creation_round += 1;
        payment.tickets = sign(key, &payment.params, &[1]);
    });
    assert_eq!(outcome, Err(Refusal::Rand), "a round is ours or not");
}

#[test]
fn s4_work_is_paid_at_our_price_whatever_the_payer_says() {
    // Neither a smaller price, nor none, nor one that is not there.
    for price in [
        Some(info(1, 1)),
        Some(info(0, 1)),
        Some(info(1_200, 2)),
        Some(info(1, 0)),
        Some(info(0, 0)),
        None,
    ] {
        assert!(
            verdict(|payment, _| payment.price = price).is_err(),
            "{price:?}"
        );
    }
    assert_eq!(
        verdict(|payment, _| payment.price = None),
        Err(Refusal::Price(PriceFault::NoPixels))
    );
    // The same price in other numbers is the same price.
    assert_eq!(
        verdict(|payment, _| payment.price = Some(info(2_400, 2))),
        Ok(())
    );
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let mut gateway = pay(&key, &params, price());
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Ok(())]
    );
    let account = recipient.book.account(key.address(), session("a")).unwrap();
    assert_eq!(account.price, price());
    // 8e9 wei pay for 6,666,666 pixels at 1,200 each, and not for one more.
    assert!(account.covers(Wei::ZERO, 6_666_666) && !account.covers(Wei::ZERO, 6_666_667));
}

#[test]
fn s4_a_payment_of_nothing_opens_no_account() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let mut bytes = Vec::new();
    let nothing = Payment {
        params: None,
        sender: key.address(),
        expected_price: Some(info(0, 1)),
        tickets: &[],
    };
    nothing.write(&mut bytes);
    assert_eq!(recipient.take(&bytes, session("a")), []);
    assert!(
        recipient
            .book
            .account(key.address(), session("a"))
            .is_none()
    );
    // Tickets without parameters are worth nothing either.
    let params = recipient.offer(key.address(), session("a"), price());
    let tickets = sign(&key, &params, &[1]);
    bytes.clear();
    Payment {
        tickets: &tickets,
        ..nothing
    }
    .write(&mut bytes);
    assert_eq!(
        recipient.take(&bytes, session("a")),
        [Err(Refusal::NoParams)]
    );
}

#[test]
fn s5_only_an_authentic_ticket_settles_the_price_of_a_session() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let dear = Price::new(9_000, 1).unwrap();
    let cheap = price();
    let at_dear = recipient.offer(key.address(), session("a"), dear);
    let at_cheap = recipient.offer(key.address(), session("a"), cheap);
    // A payment at the cheap price that nobody signed.
    let mut forged = Forged::new(&mut recipient, &key);
    forged.params = at_cheap;
    forged.tickets = vec![(1, Signature::of_parts([1; 32], [1; 32], false).unwrap())];
    assert_eq!(
        recipient.take(&forged.bytes(), session("a")),
        [Err(Refusal::Signature)]
    );
    assert!(
        recipient
            .book
            .account(key.address(), session("a"))
            .is_none(),
        "nothing is settled by that"
    );
    // The first good one does, and later ones at another price of ours only pay.
    let mut gateway = pay(&key, &at_dear, dear);
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Ok(())]
    );
    let mut gateway = pay(&key, &at_cheap, cheap);
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Ok(())]
    );
    let account = recipient.book.account(key.address(), session("a")).unwrap();
    assert_eq!(
        (account.price, account.balance().to_string()),
        (dear, "16000000000".to_owned())
    );
}

#[test]
fn s5_parameters_pay_into_the_session_that_they_were_offered_for() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let bytes = payment(&key, &mut pay(&key, &params, price()), 1);
    assert_eq!(recipient.take(&bytes, session("b")), [Err(Refusal::Rand)]);
    assert_eq!(recipient.take(&bytes, session("a")), [Ok(())]);
}

#[test]
fn s6_tickets_that_nothing_covers_are_not_credited() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    // Every second ticket wins, and deposit and reserve are good for three winners.
    recipient.policy.face_value_max = recipient.policy.ticket_ev * Wei::from(2);
    let params = recipient.offer(key.address(), session("a"), price());
    recipient.funds.deposit = params.face_value * Wei::from(2);
    recipient.funds.reserve = params.face_value;
    let mut gateway = pay(&key, &params, price());
    let mut credited = 0u64;
    for _ in 0..60 {
        let pending = recipient.book.pending(&key.address());
        match recipient.take(&payment(&key, &mut gateway, 1), session("a"))[0] {
            Ok(()) => credited += 1,
            Err(why) => {
                assert_eq!(why, Refusal::Reserve);
                assert_eq!(why.to_string(), "insufficient sender reserve");
                assert_eq!(
                    pending,
                    params.face_value * Wei::from(3),
                    "three winners wait to be settled"
                );
            }
        }
    }
    assert_eq!(
        recipient.book.pending(&key.address()),
        params.face_value * Wei::from(3)
    );
    assert!((3..60).contains(&credited), "{credited}");
    // Another sender's funds are another matter.
    let other = support::key(2);
    let params = recipient.offer(other.address(), session("a"), price());
    assert_eq!(
        recipient.take(
            &payment(&other, &mut pay(&other, &params, price()), 1),
            session("a")
        ),
        [Ok(())]
    );
}

#[test]
fn s6_winners_of_one_payment_count_against_its_later_tickets() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    recipient.policy.face_value_max = recipient.policy.ticket_ev * Wei::from(2);
    let params = recipient.offer(key.address(), session("a"), price());
    recipient.funds.deposit = params.face_value;
    recipient.funds.reserve = Wei::ZERO;
    let verdicts = recipient.take(
        &payment(&key, &mut pay(&key, &params, price()), 40),
        session("a"),
    );
    let first_refused = verdicts
        .iter()
        .position(Result::is_err)
        .expect("one of 40 wins");
    assert!(
        verdicts[first_refused..]
            .iter()
            .all(|verdict| *verdict == Err(Refusal::Reserve))
    );
    assert_eq!(recipient.book.pending(&key.address()), params.face_value);
}

#[test]
fn s6_a_sender_who_is_about_to_leave_is_not_credited() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let bytes = payment(&key, &mut pay(&key, &params, price()), 1);
    for (withdraw_round, expected) in [
        (3_457, Err(Refusal::Unlocking)),
        (1, Err(Refusal::Unlocking)),
        (3_458, Ok(())),
    ] {
        recipient.funds.withdraw_round = withdraw_round;
        assert_eq!(
            recipient.take(&bytes, session("a")),
            [expected],
            "{withdraw_round}"
        );
    }
}

/// Counts the signatures that it is asked about.
struct Counting(Arc<AtomicUsize>);

impl Permute for Counting {
    fn permute(&mut self, states: &mut [State]) {
        Plain.permute(states);
    }
}

impl Verifier for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn verify(&mut self, claims: &[Claim], genuine: &mut Vec<bool>) {
        self.0.fetch_add(claims.len(), Relaxed);
        Reference.verify(claims, genuine);
    }

    fn recover(&mut self, signatures: &[(Digest, Signature)], signers: &mut Vec<Option<Address>>) {
        Reference.recover(signatures, signers);
    }
}

#[test]
fn s8_made_up_senders_cost_one_mac_and_nothing_else() {
    // The order of things is in the types: a signature is asked about with an `Opened`, and the sender's funds likewise. What does not
    // open is never proven, never admitted, and leaves nothing behind.
    let (mut recipient, key) = (Recipient::new(), key(1));
    let before = (recipient.book.clone(), recipient.entry.clone());
    let mut forged = Forged::new(&mut recipient, &key);
    for n in 0..200u8 {
        let stranger = support::key(n.max(1));
        forged.sender = stranger.address();
        forged.tickets = sign(&stranger, &forged.params, &[1]);
        if stranger.address() != key.address() {
            assert_eq!(
                recipient.take(&forged.bytes(), session("a")),
                [Err(Refusal::Rand)]
            );
        }
    }
    assert_eq!((recipient.book.clone(), recipient.entry.clone()), before);
    assert_eq!(Refusal::Rand.remedy(), Remedy::None);
}

#[test]
fn s8_signatures_are_looked_at_only_under_parameters_of_ours() {
    let counter = Arc::new(AtomicUsize::new(0));
    let (mut recipient, key) = (Recipient::new(), key(1));
    recipient.check = Check::new(
        recipient.policy.recipient,
        recipient.secret.clone(),
        Box::new(Counting(counter.clone())),
    );
    let mut forged = Forged::new(&mut recipient, &key);
    let honest = forged.bytes();
    forged.params.seed += Wei::ONE;
    assert_eq!(
        recipient.take(&forged.bytes(), session("a")),
        [Err(Refusal::Rand)]
    );
    assert_eq!(counter.load(Relaxed), 0);
    assert_eq!(recipient.take(&honest, session("a")), [Ok(())]);
    assert_eq!(counter.load(Relaxed), 1);
}

#[test]
fn s9_what_is_missing_is_said_and_nothing_panics() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let forged = Forged::new(&mut recipient, &key);
    let whole = forged.bytes();
    // Field 3, the expiration parameters, left out: go-livepeer dereferences nil.
    let mut bytes = whole.clone();
    let expiration = {
        let mut inner = Vec::new();
        ticket::wire::put_message(&mut inner, 3, |into| {
            ticket::wire::put_int64(into, 1, forged.params.creation_round);
            ticket::wire::put_bytes(into, 2, &forged.params.creation_round_block_hash.0);
        });
        inner
    };
    let at = bytes
        .windows(expiration.len())
        .position(|window| window == expiration)
        .unwrap();
    bytes.drain(at..at + expiration.len());
    assert_eq!(
        recipient.take(&bytes, session("a")),
        [Err(Refusal::NoExpiration)]
    );
    // Nobody's payment.
    let nobody = Forged {
        sender: Address::ZERO,
        ..Forged::new(&mut recipient, &key)
    };
    assert_eq!(
        recipient.take(&nobody.bytes(), session("a")),
        [Err(Refusal::Sender)]
    );
    let elsewhere = |payment: &mut Forged, key: &LocalKey| {
        payment.params.recipient = Address([9; 20]);
        payment.tickets = sign(key, &payment.params, &[1]);
    };
    assert_eq!(verdict(elsewhere), Err(Refusal::Recipient));
    // Any prefix of a payment is a payment, or malformed, and never a panic.
    for end in 0..whole.len() {
        drop(ticket::Received::parse(
            whole[..end].to_vec(),
            session("a"),
            session("a"),
        ));
    }
}
