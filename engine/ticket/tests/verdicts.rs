//! What becomes of payments: replayed, reordered, too many, too late; and what the book says afterwards.

mod support;

use proptest::prelude::*;
use support::{Recipient, key, pay, payment, session};
use ticket::amount::Wei;
use ticket::book::{self, Book, Entry, Op, Ops, Snapshot};
use ticket::sender::PaymentSession;
use ticket::{Price, Refusal};

fn price() -> Price {
    Price::new(1_200, 1).unwrap()
}

/// Tickets as one expects their values to add up: 8e9 wei each, rounded up by less than a wei in all.
fn worth(tickets: u64) -> String {
    (tickets * 8_000_000_000).to_string()
}

#[test]
fn a_whole_payment_that_comes_again_is_seen_and_changes_nothing() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let bytes = payment(&key, &mut pay(&key, &params, price()), 100);
    assert_eq!(recipient.take(&bytes, session("a")), [Ok(()); 100]);
    assert_eq!(recipient.balance(key.address(), session("a")), worth(100));
    let before = (recipient.book.clone(), recipient.entry.clone());
    for (n, verdict) in (1..).zip(recipient.take(&bytes, session("a"))) {
        let seen = Refusal::NonceSeen {
            sender: key.address(),
            nonce: n,
        };
        assert_eq!(verdict, Err(seen));
        assert_eq!(
            seen.to_string(),
            format!(
                "invalid ticket senderNonce: already seen sender={} nonce={n}",
                key.address()
            )
        );
    }
    assert_eq!((recipient.book, recipient.entry), before);
}

#[test]
fn a_burst_of_600_in_any_order_is_taken_whole_and_the_601st_is_not() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let mut gateway = pay(&key, &params, price());
    let mut burst: Vec<_> = (0..600).map(|_| payment(&key, &mut gateway, 1)).collect();
    // The worst order there is: every far one first.
    burst.reverse();
    burst.rotate_left(300);
    for bytes in &burst {
        assert_eq!(recipient.take(bytes, session("a")), [Ok(())]);
    }
    assert_eq!(recipient.balance(key.address(), session("a")), worth(600));
    assert_eq!(
        gateway.tickets(1).unwrap_err().to_string(),
        "these ticket params are good for 0 more tickets: ask for new ones"
    );
    // A gateway that does not count.
    let mut careless = PaymentSession::resumed(key.address(), *gateway.accepted(), info(), 0);
    let unsigned = careless.tickets(1).unwrap();
    let beyond = Refusal::NonceFull {
        sender: key.address(),
        nonce: 601,
    };
    // Nonce 601 under the same parameters, signed as it should be.
    let ticket = ticket::Ticket {
        recipient: params.recipient,
        sender: key.address(),
        face_value: params.face_value,
        win_prob: params.win_prob,
        sender_nonce: 601,
        recipient_rand_hash: params.recipient_rand_hash,
        creation_round: params.creation_round.unsigned_abs(),
        creation_round_block_hash: params.creation_round_block_hash,
    };
    let mut bytes = Vec::new();
    unsigned.write(&[(601, key.sign(&ticket.digest()))], &mut bytes);
    assert_eq!(recipient.take(&bytes, session("a")), [Err(beyond)]);
    assert!(
        beyond
            .to_string()
            .starts_with("invalid ticket senderNonce: too many values")
    );
    // New parameters, and it goes on.
    let params = recipient.offer(key.address(), session("a"), price());
    assert_eq!(
        recipient.take(
            &payment(&key, &mut pay(&key, &params, price()), 1),
            session("a")
        ),
        [Ok(())]
    );
}

fn info() -> ticket::wire::PriceInfo {
    ticket::wire::PriceInfo {
        price_per_unit: 1_200,
        pixels_per_unit: 1,
    }
}

#[test]
fn parameters_expire_with_their_block_and_stay_expired() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let mut gateway = pay(&key, &params, price());
    let expiry = recipient.head.l1_block + 40;
    let mut entry = Entry::default();
    recipient.book.see_block(expiry - 1, &mut entry);
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Ok(())]
    );
    recipient.book.see_block(expiry, &mut entry);
    assert_eq!(
        recipient.book.commitments().count(),
        0,
        "its nonces are forgotten"
    );
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Err(Refusal::Expired)]
    );
    assert_eq!(Refusal::Expired.to_string(), "TicketParams expired");
    // A chain that goes back does not bring them back.
    recipient.book.see_block(expiry - 10, &mut entry);
    assert_eq!(recipient.book.block(), expiry);
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Err(Refusal::Expired)]
    );
    assert_eq!(
        recipient.balance(key.address(), session("a")),
        worth(1),
        "what was paid stays"
    );
}

#[test]
fn a_forged_sender_is_found_by_the_mac_or_by_the_signature() {
    let (mut recipient, victim, thief) = (Recipient::new(), key(1), key(2));
    let params = recipient.offer(victim.address(), session("a"), price());
    let mut gateway = pay(&victim, &params, price());
    // The thief signs tickets that name the victim.
    let mut bytes = Vec::new();
    gateway.tickets(3).unwrap().write_signed(&thief, &mut bytes);
    assert_eq!(
        recipient.take(&bytes, session("a")),
        [Err(Refusal::Signature); 3]
    );
    // The thief signs for himself, under the victim's parameters.
    let mut own = pay(&thief, &params, price());
    assert_eq!(
        recipient.take(&payment(&thief, &mut own, 1), session("a")),
        [Err(Refusal::Rand)]
    );
    assert_eq!(recipient.balance(victim.address(), session("a")), "none");
}

#[test]
fn a_full_book_says_so_and_takes_what_it_has_begun() {
    let limits = book::Limits {
        accounts: 6,
        commitments: 8,
        account_idle_blocks: 100,
    };
    let mut recipient = Recipient::with(limits);
    let open = |recipient: &mut Recipient, n: u8, name: &str| {
        let params = recipient.offer(key(n).address(), session(name), price());
        let mut gateway = pay(&key(n), &params, price());
        let verdict = recipient.take(&payment(&key(n), &mut gateway, 1), session(name))[0];
        (verdict, gateway)
    };
    let (first, mut gateway) = open(&mut recipient, 1, "a");
    assert_eq!(first, Ok(()));
    assert_eq!(
        open(&mut recipient, 1, "b").0,
        Err(Refusal::Full),
        "one account of six is a sender's share"
    );
    assert_eq!(open(&mut recipient, 1, "a").0, Ok(()));
    assert_eq!(
        open(&mut recipient, 1, "a").0,
        Err(Refusal::Full),
        "and two commitments of eight"
    );
    for n in 2..=4 {
        assert_eq!(open(&mut recipient, n, "a").0, Ok(()));
        assert_eq!(open(&mut recipient, n, "a").0, Ok(()));
    }
    assert_eq!(
        open(&mut recipient, 5, "a").0,
        Err(Refusal::Full),
        "no more commitments"
    );
    assert_eq!(
        recipient.take(&payment(&key(1), &mut gateway, 1), session("a")),
        [Ok(())]
    );
    assert_eq!(Refusal::Full.status(), 503);
    // Time makes room.
    let pass = |recipient: &mut Recipient, blocks: u64| {
        recipient.head.l1_block += blocks;
        recipient
            .book
            .see_block(recipient.head.l1_block, &mut recipient.entry);
    };
    pass(&mut recipient, 40);
    assert_eq!(open(&mut recipient, 5, "a").0, Ok(()));
    assert_eq!(open(&mut recipient, 6, "a").0, Ok(()));
    assert_eq!(
        open(&mut recipient, 7, "a").0,
        Err(Refusal::Full),
        "no more accounts"
    );
    pass(&mut recipient, 61);
    assert_eq!(
        recipient.book.accounts().count(),
        2,
        "nothing happened to the others for long"
    );
    assert_eq!(open(&mut recipient, 7, "a").0, Ok(()));
}

#[test]
fn a_gateway_that_gets_the_same_parameters_again_goes_on_counting() {
    let (mut recipient, key) = (Recipient::new(), key(1));
    let params = recipient.offer(key.address(), session("a"), price());
    let mut gateway = pay(&key, &params, price());
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 5), session("a")),
        [Ok(()); 5]
    );
    gateway.renew(*gateway.clone().accepted(), info());
    assert_eq!(
        recipient.take(&payment(&key, &mut gateway, 1), session("a")),
        [Ok(())],
        "go-livepeer's would send nonce 1 again"
    );
    let params = recipient.offer(key.address(), session("a"), price());
    gateway.renew(*pay(&key, &params, price()).accepted(), info());
    assert_eq!(gateway.nonce(), 0);
}

/// One thing that may happen.
#[derive(Debug, Clone, Copy)]
enum Step {
    Offer {
        sender: u8,
        session: u8,
    },
    Pay {
        gateway: usize,
        tickets: u32,
    },
    Replay {
        payment: usize,
    },
    Blocks {
        blocks: u64,
    },
    Debit {
        sender: u8,
        session: u8,
        pixels: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u8..4, 0u8..2).prop_map(|(sender, session)| Step::Offer { sender, session }),
        (0usize..8, 1u32..4).prop_map(|(gateway, tickets)| Step::Pay { gateway, tickets }),
        (0usize..8).prop_map(|payment| Step::Replay { payment }),
        (0u64..60).prop_map(|blocks| Step::Blocks { blocks }),
        (1u8..4, 0u8..2, any::<u64>()).prop_map(|(sender, session, pixels)| Step::Debit {
            sender,
            session,
            pixels
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, whoever replays the journal from the start has the book; so has whoever begins with a snapshot of the middle;
    /// and what the book credits is what was answered with yes.
    #[test]
    fn a_book_is_what_its_journal_says(steps in proptest::collection::vec(any_step(), 1..40), cut in any::<prop::sample::Index>()) {
        let limits = book::Limits { account_idle_blocks: 90, ..book::Limits::default() };
        let mut recipient = Recipient::with(limits);
        recipient.policy.face_value_max = recipient.policy.ticket_ev * Wei::from(2);
        let mut replica = Book::new(limits);
        let mut restored = None;
        let (mut gateways, mut payments, mut accepted) = (Vec::new(), Vec::new(), 0u64);
        let has_forgotten = steps.iter().map(|step| if let Step::Blocks { blocks } = step { *blocks } else { 0 }).sum::<u64>() > 90;
        let cut = cut.index(steps.len());
        for (n, step) in steps.into_iter().enumerate() {
            let name = |number: u8| session(if number == 0 { "a" } else { "b" });
            match step {
                Step::Offer { sender, session } => {
                    let params = recipient.offer(key(sender).address(), name(session), price());
                    gateways.push((sender, name(session), pay(&key(sender), &params, price())));
                }
                Step::Pay { gateway, tickets } if gateway < gateways.len() => {
                    let (sender, session, gateway) = &mut gateways[gateway];
                    let bytes = payment(&key(*sender), gateway, tickets);
                    accepted += recipient.take(&bytes, *session).iter().filter(|verdict| verdict.is_ok()).count() as u64;
                    payments.push((bytes, *session));
                }
                Step::Replay { payment } if payment < payments.len() => {
                    let (bytes, session) = payments[payment].clone();
                    for verdict in recipient.take(&bytes, session) {
                        prop_assert!(verdict.is_err(), "a replay was credited");
                    }
                }
                Step::Blocks { blocks } => {
                    recipient.head.l1_block += blocks;
                    let block = recipient.head.l1_block;
                    let Recipient { book, entry, .. } = &mut recipient;
                    book.see_block(block, entry);
                }
                Step::Debit { sender, session, pixels } => {
                    let Recipient { book, entry, .. } = &mut recipient;
                    // Of an account that is not there, nothing is taken.
                    let _ = book.debit(key(sender).address(), name(session), pixels, entry);
                }
                Step::Pay { .. } | Step::Replay { .. } => {}
            }
            // The journal gets a batch an entry.
            let entry = std::mem::take(&mut recipient.entry);
            for op in entry.ops() {
                let op = op.unwrap();
                replica.apply(&op).unwrap();
                if let Some(restored) = &mut restored {
                    Book::apply(restored, &op).unwrap();
                }
            }
            if n == cut {
                restored = Some(Book::restore(limits, snapshot(&recipient.book)).unwrap());
            }
        }
        prop_assert_eq!(&replica, &recipient.book);
        prop_assert_eq!(restored.as_ref(), Some(&recipient.book));
        // Accounts may have been forgotten meanwhile; what is there adds up to no more than was answered with yes.
        let value = ticket::ExpectedValue::of(recipient.policy.ticket_ev * Wei::from(2), ticket::offer::win_prob(recipient.policy.ticket_ev, recipient.policy.ticket_ev * Wei::from(2)));
        let credited: ruint::Uint<640, 10> = recipient.book.accounts().map(|(_, account)| account.credit.parts()).fold(ruint::Uint::ZERO, |sum, parts| sum + parts);
        let (tickets, rest) = credited.div_rem(value.parts().to());
        prop_assert!(rest.is_zero() && tickets <= ruint::Uint::from(accepted));
        prop_assert!(has_forgotten || tickets == ruint::Uint::from(accepted));
    }

    #[test]
    fn entries_come_out_as_they_went_in(block in any::<u64>(), slot in any::<u32>(), nonce in any::<u32>(), pixels in any::<u64>()) {
        let ops = [
            Op::Block { block },
            Op::Account { slot, sender: key(1).address(), name: session("grün"), price: Price::new(i64::MAX, 7).unwrap() },
            Op::Commitment {
                slot, sender: key(2).address(), rand_hash: ticket::Hash([1; 32]), recipient_rand: [2; 32], face_value: Wei::MAX, win_prob: Wei::ONE,
                expiration_block: block, creation_round: pixels, creation_round_block_hash: ticket::Hash([3; 32]),
            },
            Op::Credit { commitment: slot, account: nonce, nonce },
            Op::Win { commitment: slot, nonce, signature: key(1).sign(&ticket::layout::Digest([9; 32])) },
            Op::Debit { account: slot, pixels },
        ];
        let mut entry = Entry::default();
        prop_assert!(entry.is_empty());
        ops.iter().for_each(|op| entry.push(op));
        prop_assert!(entry.ops().map(Result::unwrap).eq(ops));
        // Cut anywhere, it is read to the cut and no further.
        for end in 0..entry.as_bytes().len() {
            let read: Vec<_> = Ops::of(&entry.as_bytes()[..end]).take_while(Result::is_ok).map(Result::unwrap).collect();
            prop_assert_eq!(&read[..], &ops[..read.len()]);
        }
        prop_assert!(Ops::of(&[9, 9, 9]).next().unwrap().is_err(), "another version");
    }

    #[test]
    fn a_journal_that_is_damaged_is_refused_or_read_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut book = Book::new(book::Limits::default());
        for op in Ops::of(&[&[1], &bytes[..]].concat()) {
            match op {
                Ok(op) => drop(book.apply(&op)),
                Err(_) => break,
            }
        }
    }
}

fn snapshot(book: &Book) -> Snapshot {
    let senders: std::collections::BTreeSet<_> =
        book.accounts().map(|(_, account)| account.sender).collect();
    // Winners outlive accounts; a real snapshot takes them from where winners are kept.
    let senders = senders.into_iter().chain((1..4).map(|n| key(n).address()));
    Snapshot {
        block: book.block(),
        accounts: book
            .accounts()
            .map(|(slot, account)| (slot, account.clone()))
            .collect(),
        commitments: book
            .commitments()
            .map(|(slot, commitment)| (slot, commitment.clone()))
            .collect(),
        pending: senders
            .map(|sender| (sender, book.pending(&sender)))
            .filter(|(_, pending)| !pending.is_zero())
            .collect(),
    }
}
