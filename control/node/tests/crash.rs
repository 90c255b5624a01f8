//! `kill -9` at random moments under load, and no wei too much or too little afterwards.
//!
//! ```text
//!   loadgen    many senders, in their own order and out of it, forged and repeated payments   ── ledger ──┐
//!   witness    one sender in mid-stream, who keeps every ticket                               ── tickets ─┤ held against the node's
//!   node       killed, started again on the same data                                         ── record ──┘ record, to the last part
//! ```
//!
//! A payment whose answer the crash took is sent again; whichever it was, it counts once. The witness knows more: a ticket's draw can
//! be made again from its signature and the secret number, so which of his tickets win is known, one by one.
//!
//! `MILLSTREAM_CRASH_ROUNDS` is how many rounds; `MILLSTREAM_SEED` says when to kill.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use control::store::Store;
use control::ticket::address::Hash;
use control::ticket::book::{self, Book, Commitment};
use control::ticket::received::{Cursor, Parsed, Received};
use control::ticket::{Address, SessionId, Signature, Wei, layout};
use loadgen::conduct::{Lengths, OwnLimits, Plan, Stop, conduct};
use loadgen::outcome::Repro;
use loadgen::sample::Sampler;
use loadgen::target::{Target, Trust};
use loadgen::tickets::{Ledger, Options, Tickets};

use gateway::{Client, Gateway};
use node::{Node, PAID_HALF_WIN};

const ROUNDS: u64 = 4;
const LOAD: &str = "senders = 40\nrate = 800\nconnections = 16\ntickets_per_payment = \"1..6\"\n\
                    bad = \"2%\"\nreplay = \"3%\"\nreorder = 4\n";
/// The load goes on for longer than any node lives.
const WINDOW: Duration = Duration::from_secs(4);
/// A node is killed within this time after it recorded the first payment of the load. The witness pays from its start.
const LIFE_MS: u64 = 1_500;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn no_crash_costs_a_wei_or_makes_one() {
    let rounds = setting("MILLSTREAM_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = setting("MILLSTREAM_SEED").unwrap_or(1);
    println!("{rounds} rounds, seed {seed}");
    let url = format!("http://{}", port_of_no_client());
    let mut node = Node::start("crash", &args(&url));
    let target = Target::resolve(&url, Trust::Anyone, String::new()).expect("a URL");
    let addr = node.addr;
    let witness = Watch::default();
    let mut ledger = Ledger::default();
    let mut commitments = BTreeMap::new();
    let began = Instant::now();
    let paid = std::thread::scope(|scope| {
        let mine = Witness::new(addr);
        let witness_address = mine.gateway.address();
        let paying = scope.spawn(|| mine.pay(&witness));
        // Whatever fails here, the witness stops, and the scope can end.
        let stop = StopOnDrop(&witness.stop);
        for round in 1..=rounds {
            let life = Duration::from_millis(random(seed, round) % LIFE_MS);
            let tickets = load(&target, std::mem::take(&mut ledger));
            let before = tickets.ledger().tickets();
            let loading = scope.spawn({
                let tickets = tickets.clone();
                move || carry_out(&tickets)
            });
            await_load(&node.dir, &witness_address, &commitments);
            std::thread::sleep(life);
            node.crash();
            let outcome = loading.join().expect("it loads");
            assert!(outcome.is_err(), "the node was killed under it");
            node.start_again("crash", &args(&url));
            ledger = tickets.ledger();
            let (known, open) = (ledger.tickets() - before, ledger.open());
            let settled = ledger
                .settle(&target, &Stop::default())
                .expect("the node is there again");
            assert_eq!(settled.open, [], "{settled}");
            let record = Store::look(&node.dir).expect("a record");
            let book = record.book(book::Limits::default()).expect("a sound one");
            compare(&ledger, &book);
            remember(&book, &mut commitments);
            println!(
                "round {round}: killed after {} ms: {known} tickets answered, {open} payments open, of which {} had been recorded; \
                 {} accounts agree",
                life.as_millis(),
                settled.credited_before,
                ledger.accounts().count(),
            );
        }
        drop(stop);
        paying.join().expect("the witness pays to the end")
    });
    let record = Store::look(&node.dir).expect("a record");
    let winners = paid.compare(&record, &commitments);
    println!(
        "{rounds} crashes in {:.0} s: {} tickets of {} senders, and {} of a witness ({} payments sent twice), agree to the wei; \
         each of {} winners of his is recorded, once",
        began.elapsed().as_secs_f64(),
        ledger.tickets(),
        ledger.accounts().count(),
        paid.tickets.len(),
        witness.again.load(Ordering::Relaxed),
        winners,
    );
}

/// The node's flags, at an address.
fn args(service_addr: &str) -> Vec<&str> {
    // There is much to be lost.
    [&["--service-addr", service_addr], &PAID_HALF_WIN[..]].concat()
}

/// An address that no outgoing connection is given, and so none that tries this port while nobody listens can be connected to
/// itself and keep it.
fn port_of_no_client() -> SocketAddr {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| {
        let first = range.split_whitespace().next()?;
        first.parse::<u16>().ok()
    });
    let first = first.unwrap_or(32_768);
    (1024..first)
        .rev()
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|addr| TcpListener::bind(addr).is_ok())
        .expect("a port that is free")
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// SplitMix64, the `n`th of a seed.
fn random(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// === the load ===

fn load(target: &Target, ledger: Ledger) -> Tickets {
    let options: Options = toml::from_str(LOAD).expect("options");
    Tickets::resolve(&options, target.clone(), 1, |_| {})
        .expect("a load")
        .with_ledger(ledger)
}

/// Waits until a sender of the load has paid under parameters that are not known yet.
fn await_load(dir: &Path, witness: &Address, known: &BTreeMap<Hash, Commitment>) {
    let until = Instant::now() + PATIENCE;
    loop {
        let record = Store::look(dir).expect("a record");
        let book = record.book(book::Limits::default()).expect("a sound one");
        let is_new = |(_, commitment): (u32, &Commitment)| {
            commitment.sender != *witness && !known.contains_key(&commitment.rand_hash)
        };
        if book.commitments().any(is_new) {
            return;
        }
        assert!(Instant::now() < until, "no payment of the load is recorded");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn carry_out(tickets: &Tickets) -> Result<(), String> {
    let plan = Plan {
        lengths: Lengths {
            warmup: Duration::ZERO,
            window: WINDOW,
            cooldown: Duration::ZERO,
            drain: Duration::from_secs(2),
        },
        threads: 1,
        cpus: Vec::new(),
        is_busy_polling: false,
        // Tests share their machine with others: the generator may be late.
        own_limits: OwnLimits {
            lateness_p99_ms: 1e6,
            cpu_share: 1e6,
        },
        sampler: Sampler::default(),
        repro: Repro::default(),
        sinks: Vec::new(),
        stop: Stop::default(),
    };
    match conduct(tickets, plan) {
        Ok(outcome) if outcome.lost == 0 && outcome.counts.errors.is_empty() => Ok(()),
        Ok(outcome) => Err(format!("{:?}", outcome.counts)),
        Err(why) => Err(why.to_string()),
    }
}

/// Every account of the ledger has the same credit in the book.
fn compare(ledger: &Ledger, book: &Book) {
    for account in ledger.accounts() {
        let name = SessionId::new(&account.manifest_id).expect("a name");
        let recorded = book.account(account.sender, name);
        let recorded = recorded.map(|account| account.credit.parts());
        assert_eq!(
            recorded.unwrap_or_default(),
            account.credit,
            "{} {}",
            account.sender,
            account.manifest_id
        );
    }
}

// === the witness ===

/// What the test and its witness tell each other.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    /// Payments that were sent a second time, for want of an answer.
    again: AtomicU64,
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Witness {
    gateway: Gateway,
    addr: SocketAddr,
    client: Option<Client>,
}

const STREAM: &str = "witness";

impl Witness {
    fn new(addr: SocketAddr) -> Self {
        Self {
            gateway: Gateway::new(0x55, STREAM),
            addr,
            client: None,
        }
    }

    /// Pays without a pause until it is told to stop. What is not answered is sent again, and nothing else may go wrong.
    fn pay(mut self, watch: &Watch) -> Paid {
        let mut paid = Paid {
            sender: self.gateway.address(),
            tickets: Vec::new(),
        };
        let mut n = 0;
        while !watch.stop.load(Ordering::Relaxed) {
            n += 1;
            let tickets = u32::try_from(1 + n % 7).expect("a small number");
            if self.gateway.left() < tickets {
                self.persist(|gateway, client| gateway.try_refresh(client));
            }
            let payment = self.gateway.payment(tickets);
            let mut tries = 0;
            self.persist(|gateway, client| {
                tries += 1;
                let answer = client.try_pay(&payment, gateway)?;
                let was_before = answer
                    .text()
                    .starts_with("invalid ticket senderNonce: already seen");
                assert!(
                    answer.status == 200 || (answer.status == 400 && was_before && tries > 1),
                    "mid-stream: {} {}",
                    answer.status,
                    answer.text()
                );
                Ok(())
            });
            watch
                .again
                .fetch_add(u64::from(tries > 1), Ordering::Relaxed);
            paid.keep(payment);
        }
        paid
    }

    /// Tries until there is an answer, over as many connections as it takes.
    fn persist(&mut self, mut what: impl FnMut(&mut Gateway, &mut Client) -> std::io::Result<()>) {
        let until = Instant::now() + PATIENCE;
        loop {
            let client = self
                .client
                .take()
                .map_or_else(|| Client::try_connect(self.addr), Ok);
            let done =
                client.and_then(|mut client| what(&mut self.gateway, &mut client).map(|()| client));
            match done {
                Ok(client) => {
                    self.client = Some(client);
                    return;
                }
                Err(error) => assert!(
                    Instant::now() < until,
                    "the node does not come back: {error}"
                ),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// All tickets of the witness.
struct Paid {
    sender: Address,
    tickets: Vec<(Hash, u32, Signature)>,
}

type Ticket = (Hash, u32);

impl Paid {
    fn keep(&mut self, payment: Vec<u8>) {
        let name = SessionId::new(STREAM).expect("a name");
        let Parsed::Payment(payment) = Received::parse(payment, name, name) else {
            panic!("it is a payment")
        };
        let slips = payment.slips(&mut Cursor::default()).collect::<Vec<_>>();
        for (nonce, signature) in slips {
            let signature = signature.expect("it is signed");
            self.tickets.push((*payment.rand_hash(), nonce, signature));
        }
    }

    /// Those that win, by the contract's rule.
    fn winners(&self, commitments: &BTreeMap<Hash, Commitment>) -> BTreeSet<Ticket> {
        let has_won = |(hash, _, signature): &&(Hash, u32, Signature)| {
            let commitment = &commitments[hash];
            let draw = layout::draw(signature, &commitment.recipient_rand);
            layout::wins(&draw, commitment.win_prob)
        };
        let winners = self.tickets.iter().filter(has_won);
        winners.map(|(hash, nonce, _)| (*hash, *nonce)).collect()
    }

    /// How many of them won, once all of it agrees.
    fn compare(&self, record: &Store, commitments: &BTreeMap<Hash, Commitment>) -> usize {
        let book = record.book(book::Limits::default()).expect("a sound one");
        let mut commitments = commitments.clone();
        remember(&book, &mut commitments);
        let name = SessionId::new(STREAM).expect("a name");
        let credit = book.account(self.sender, name).expect("it was paid").credit;
        let worth = self.tickets.iter().map(|(hash, ..)| {
            let Commitment {
                face_value,
                win_prob,
                ..
            } = commitments[hash];
            control::ticket::ExpectedValue::of(face_value, win_prob)
        });
        let mut expected = control::ticket::amount::Credit::ZERO;
        worth.for_each(|value| expected += value);
        assert_eq!(credit.parts(), expected.parts(), "the witness's account");
        let winners = self.winners(&commitments);
        let recorded = record.winners_of(&self.sender).expect("a record");
        assert_eq!(recorded.len(), winners.len(), "no winner is recorded twice");
        let recorded: BTreeSet<Ticket> = recorded.into_iter().collect();
        let missing: Vec<_> = winners.difference(&recorded).collect();
        let invented: Vec<_> = recorded.difference(&winners).collect();
        assert_eq!(
            (missing.len(), invented.len()),
            (0, 0),
            "{missing:?} {invented:?}"
        );
        // And what is held against the sender's funds is what they are worth.
        let face_values = winners.iter().map(|(hash, _)| commitments[hash].face_value);
        assert_eq!(book.pending(&self.sender), face_values.sum::<Wei>());
        winners.len()
    }
}

/// Every commitment that there is now.
fn remember(book: &Book, commitments: &mut BTreeMap<Hash, Commitment>) {
    for (_, commitment) in book.commitments() {
        commitments.insert(commitment.rand_hash, commitment.clone());
    }
}
