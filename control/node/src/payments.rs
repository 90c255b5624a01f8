//! How payments are taken: from settings to a plan, and from a plan to the parts that do it.
//!
//! ```text
//!   settings ─▶ PaymentPlan ─▶ store ─▶ secret, book ─┬─▶ identity, ledger, offers ─▶ control plane
//!                        └───▶ key of the account ────┴─▶ tickets ──────────────────▶ engine
//! ```

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control::capability::Capability;
use control::link::payment::journal;
use control::orchestrator::Payments;
use control::payment::prices::Prices;
use control::payment::tab::Rules;
use control::payment::{ClockChain, Identity, Ledger, Offers, Writer};
use control::store::{Error, Store};
use control::ticket::offer::Policy;
use control::ticket::{Address, Price, Secret, Wei, book};
use control::world::World;
use engine::{Gather, Tickets, VerifierChoice};

use crate::account::{self, AccountPlan};
use crate::failure::{Failure, Reason};
use crate::options::Options;
use crate::price_list;

const OFFCHAIN: &str = "offchain";
const MEMORY: &str = "memory";
/// Gas that a redemption takes on Arbitrum.
const REDEEM_GAS: u64 = 1_200_000;
const TICKET_EV_WEI: u64 = 8_000_000_000;
/// A batch is worked on for about a millisecond at most, and others wait meanwhile.
const BATCH_MAX: usize = 4_096;
/// More than anybody would wait for nothing.
const WAIT_US_MAX: u64 = 1_000_000;
/// An hour: longer, and it is no live payment any more.
const LIVE_SECONDS_MAX: u64 = 3_600;

/// The settings that payments have.
#[derive(Default)]
pub(crate) struct PaymentOptions<'a> {
    pub(crate) network: Option<&'a str>,
    pub(crate) eth_orch_addr: Option<&'a str>,
    /// Path, account, password.
    pub(crate) keystore: (Option<&'a Path>, Option<&'a str>, Option<&'a str>),
    pub(crate) price: (Option<u64>, Option<u64>),
    pub(crate) price_per_gateway: Option<&'a str>,
    pub(crate) ai_models: Option<&'a str>,
    pub(crate) auto_adjust: Option<bool>,
    /// Seconds: interval, grace.
    pub(crate) live: (Option<u64>, Option<u64>),
    pub(crate) ticket_ev: Option<u64>,
    pub(crate) max_face_value: Option<u64>,
    pub(crate) verifier: Option<&'a str>,
    pub(crate) gather: (Option<usize>, Option<u64>),
}

/// How payments are taken.
#[derive(Debug, Clone)]
pub(crate) struct PaymentPlan {
    /// Off-chain nobody is.
    is_paid: bool,
    /// Who is paid, if not the account that signs.
    recipient: Option<Address>,
    account: Option<AccountPlan>,
    price: Price,
    prices: Prices,
    auto_adjust: bool,
    /// What was read and means nothing here.
    notes: Vec<String>,
    /// The two as they were given, to be printed again.
    texts: (Option<String>, Option<String>),
    rules: Rules,
    ticket_ev_wei: u64,
    face_value_max_wei: u64,
    verifier: VerifierChoice,
    gather: Gather,
}

impl PaymentPlan {
    /// Fills in and checks.
    pub(crate) fn resolve(options: &PaymentOptions<'_>) -> Result<Self, Failure> {
        let bad = |name: &str, value: &str, why: String| {
            Failure::usage(format!("{name} `{value}` is not understood"), why)
        };
        let is_paid = match options.network.unwrap_or(OFFCHAIN) {
            OFFCHAIN => false,
            MEMORY => true,
            other => {
                let why =
                    "it can be offchain or memory; the chain of Livepeer is not spoken to yet";
                return Err(bad("network", other, why.to_owned()));
            }
        };
        let address = options.eth_orch_addr.filter(|text| !text.is_empty());
        let recipient = match address {
            Some(text) => Some(
                text.parse()
                    .map_err(|error| bad("eth-orch-addr", text, format!("{error}")))?,
            ),
            None => None,
        };
        let (wei, pixels) = options.price;
        let part = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let price =
            Price::new(part(wei.unwrap_or(0)), part(pixels.unwrap_or(1))).map_err(|fault| {
                Failure::usage(
                    "the price is none",
                    format!("price-per-unit, pixels-per-unit: {fault}"),
                )
            })?;
        let mut notes = Vec::new();
        let prices = price_list::read(options, price, &mut notes)?;
        let account = account::named(options.keystore)?;
        let ticket_ev_wei = options.ticket_ev.unwrap_or(TICKET_EV_WEI);
        let missing = match (is_paid, recipient) {
            (true, _) if wei.is_none() => Some("price-per-unit says what work costs; 0 is free"),
            (true, _) if ticket_ev_wei == 0 => {
                Some("ticket-ev is 0, and tickets that are worth nothing pay for nothing")
            }
            (false, Some(_)) => {
                Some("eth-orch-addr is for a node that is paid, and network is offchain")
            }
            (false, _) if account.is_some() => {
                Some("eth-keystore-path is for a node that is paid, and network is offchain")
            }
            _ => None,
        };
        if let Some(why) = missing {
            return Err(Failure::usage("payments cannot be taken like that", why));
        }
        let usual = Gather::default();
        let gather = Gather {
            batch_tickets: match options.gather.0 {
                None => usual.batch_tickets,
                Some(tickets @ 1..=BATCH_MAX) => tickets,
                Some(other) => {
                    return Err(bad(
                        "ticket-batch",
                        &other.to_string(),
                        format!("it can be 1 to {BATCH_MAX}"),
                    ));
                }
            },
            wait: match options.gather.1 {
                None => usual.wait,
                Some(us @ 0..=WAIT_US_MAX) => Duration::from_micros(us),
                Some(other) => {
                    return Err(bad(
                        "ticket-wait",
                        &other.to_string(),
                        format!("it can be 0 to {WAIT_US_MAX} microseconds"),
                    ));
                }
            },
            ..usual
        };
        let usual_rules = Rules::default();
        let rules = Rules {
            interval: match options.live.0 {
                None => usual_rules.interval,
                Some(seconds @ 1..=LIVE_SECONDS_MAX) => Duration::from_secs(seconds),
                Some(other) => {
                    let why = format!("it can be 1 to {LIVE_SECONDS_MAX} seconds");
                    return Err(bad("live-payment-interval", &other.to_string(), why));
                }
            },
            grace: match options.live.1 {
                None => usual_rules.grace,
                Some(seconds @ 0..=LIVE_SECONDS_MAX) => Duration::from_secs(seconds),
                Some(other) => {
                    let why = format!("it can be 0 to {LIVE_SECONDS_MAX} seconds");
                    return Err(bad("payment-grace", &other.to_string(), why));
                }
            },
        };
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            is_paid,
            recipient: recipient.filter(|_| is_paid),
            account,
            prices,
            notes,
            auto_adjust: options.auto_adjust.unwrap_or(true),
            texts: (text(options.price_per_gateway), text(options.ai_models)),
            rules,
            price,
            ticket_ev_wei,
            face_value_max_wei: options.max_face_value.unwrap_or(0),
            verifier: verifier(options.verifier.unwrap_or("auto"))
                .map_err(|why| bad("ticket-verifier", options.verifier.unwrap_or_default(), why))?,
            gather,
        })
    }

    /// The plan as settings.
    pub(crate) fn to_options(&self) -> Options {
        let (wei, pixels) = self.price.to_wire();
        Options {
            network: Some(if self.is_paid { MEMORY } else { OFFCHAIN }.to_owned()),
            eth_orch_addr: self.recipient.map(|recipient| recipient.to_string()),
            price_per_unit: Some(wei.unsigned_abs()),
            pixels_per_unit: Some(pixels.unsigned_abs()),
            eth_keystore_path: self.account.as_ref().map(|account| account.path.clone()),
            eth_acct_addr: self
                .account
                .as_ref()
                .and_then(|account| account.address)
                .map(|address| address.to_string()),
            eth_password: self.account.as_ref().and_then(AccountPlan::password_file),
            price_per_gateway: self.texts.0.clone(),
            ai_models: self.texts.1.clone(),
            auto_adjust_price: Some(self.auto_adjust),
            live_payment_interval: Some(self.rules.interval.as_secs()),
            payment_grace: Some(self.rules.grace.as_secs()),
            ticket_ev: Some(self.ticket_ev_wei),
            max_face_value: Some(self.face_value_max_wei),
            ticket_verifier: Some(name(self.verifier).to_owned()),
            ticket_batch: Some(self.gather.batch_tickets),
            ticket_wait: u64::try_from(self.gather.wait.as_micros()).ok(),
            ..Options::default()
        }
    }

    /// What the operator should know of what was read, on a node that offers these models.
    pub(crate) fn notes(&self, models: &[String]) -> Vec<String> {
        let mut notes = self.notes.clone();
        let priced = self.prices.list(&Address::ZERO);
        let live = priced
            .iter()
            .filter(|price| price.capability == Capability::LIVE_VIDEO_TO_VIDEO.0);
        let strangers = live.filter(|price| !models.contains(&price.constraint));
        notes.extend(strangers.map(|price| {
            format!(
                "--ai-models has a price for {}, which this node does not offer",
                price.constraint
            )
        }));
        notes
    }

    /// How live sessions are charged.
    pub(crate) const fn rules(&self) -> Rules {
        self.rules
    }

    /// For the start-up report, once it is known who signs and who is paid.
    pub(crate) fn lines(&self, people: Option<(Address, Address)>) -> Vec<String> {
        let Some((signer, recipient)) = people else {
            return vec!["none are taken: the node is off-chain".to_owned()];
        };
        let Gather {
            batch_tickets,
            wait,
            ..
        } = self.gather;
        let to = match signer == recipient {
            true => recipient.to_string(),
            false => format!("{recipient}, signed for by {signer}"),
        };
        vec![
            format!(
                "to {to}, {} wei a pixel, {} wei a ticket",
                self.price, self.ticket_ev_wei
            ),
            format!(
                "a live session is charged every {} s, and ends {} s after its account went below zero",
                self.rules.interval.as_secs(),
                self.rules.grace.as_secs()
            ),
            "on a chain of the node's own: nothing on it is worth anything".to_owned(),
            format!(
                "checked by the {}, {batch_tickets} tickets or {} us at a time",
                self.verifier.outlook().unwrap_or_else(|why| why),
                wait.as_micros()
            ),
        ]
    }

    /// Opens the record and makes the parts; `None` when payments are not taken.
    pub(crate) fn open(
        &self,
        data_dir: &Path,
        world: &Arc<dyn World>,
    ) -> Result<Option<Parts>, Failure> {
        if !self.is_paid {
            return Ok(None);
        }
        let key = match &self.account {
            Some(account) => account.open()?,
            None => account::of_memory(data_dir, &**world)?,
        };
        let signer = key.address();
        let recipient = self.recipient.unwrap_or(signer);
        let failed = |error: Error| {
            let fix = match error {
                Error::InUse(_) => "stop the other node, or give this one another --data-dir",
                Error::Open { .. } => "give --data-dir a directory that this user may write to",
                _ => "the reason says what is wrong with it; nothing in it was changed",
            };
            Failure::new(
                Reason::Payments,
                "the record of payments cannot be used",
                error.to_string(),
                fix,
            )
        };
        let mut fresh = [0; 32];
        world.fill(&mut fresh).map_err(|error| {
            let fix =
                "the kernel's random number generator has to work before anything secret is made";
            Failure::new(
                Reason::Payments,
                "there is no randomness for a secret",
                error.to_string(),
                fix,
            )
        })?;
        let mut store = Store::open(data_dir).map_err(failed)?;
        let secret = Secret::new(&store.recipient_secret(fresh).map_err(failed)?);
        let (ledger, writer) =
            Ledger::open(store, recipient, book::Limits::default(), world.clone())
                .map_err(failed)?;
        let chain = Arc::new(ClockChain::new(world.clone()));
        let policy = Policy {
            recipient,
            ticket_ev: Wei::from(self.ticket_ev_wei),
            face_value_max: Wei::from(self.face_value_max_wei),
            redeem_gas: REDEEM_GAS,
        };
        let offers = Offers::new(
            policy,
            (self.prices.clone(), self.auto_adjust),
            secret.clone(),
            chain.clone(),
            world.clone(),
        );
        let (lane_end, journal_end) = journal();
        let tickets = Tickets {
            recipient,
            secret,
            book: ledger.book().clone(),
            journal: lane_end,
            chain,
            verifier: self.verifier,
            keys: engine::tickets::Limits::default(),
            gather: self.gather,
        };
        let writing = Writing::start(writer, journal_end)?;
        Ok(Some(Parts {
            people: (signer, recipient),
            identity: Identity::of(key),
            control: Payments {
                ledger,
                offers: Arc::new(offers),
            },
            tickets,
            writing,
        }))
    }
}

/// What a node that is paid is made of.
pub(crate) struct Parts {
    /// Who signs, and who is paid.
    pub(crate) people: (Address, Address),
    pub(crate) identity: Identity,
    pub(crate) control: Payments,
    pub(crate) tickets: Tickets,
    pub(crate) writing: Writing,
}

/// The thread that writes payments to disk.
pub(crate) struct Writing(JoinHandle<()>);

impl Writing {
    fn start(writer: Writer, journal: control::link::payment::JournalEnd) -> Result<Self, Failure> {
        writer.start(journal).map(Self).map_err(|error| {
            let fix = "check the limit on threads";
            Failure::new(
                Reason::Payments,
                "payments cannot be recorded",
                error.to_string(),
                fix,
            )
        })
    }

    /// Waits until it has written what the engine left, once that has stopped.
    pub(crate) fn finish(self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.0.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !self.0.is_finished() {
            tracing::warn!(
                "the record of payments was not tidied in time; nothing is lost by that"
            );
        }
    }
}

const VERIFIERS: [(&str, VerifierChoice); 4] = [
    ("auto", VerifierChoice::Auto),
    ("reference", VerifierChoice::Reference),
    ("known", VerifierChoice::Known),
    ("vector", VerifierChoice::Vector),
];

fn verifier(text: &str) -> Result<VerifierChoice, String> {
    let found = VERIFIERS.iter().find(|(name, _)| *name == text);
    found
        .map(|(_, choice)| *choice)
        .ok_or_else(|| "it can be auto, reference, known or vector".to_owned())
}

fn name(choice: VerifierChoice) -> &'static str {
    let found = VERIFIERS.iter().find(|(_, known)| *known == choice);
    found.map_or("auto", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(change: impl FnOnce(&mut PaymentOptions<'static>)) -> Result<PaymentPlan, String> {
        let mut options = PaymentOptions {
            network: Some(MEMORY),
            eth_orch_addr: Some("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
            keystore: (None, None, None),
            price: (Some(1_200), None),
            price_per_gateway: None,
            ai_models: None,
            auto_adjust: None,
            live: (None, None),
            ticket_ev: None,
            max_face_value: None,
            verifier: None,
            gather: (None, None),
        };
        change(&mut options);
        PaymentPlan::resolve(&options).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_node_is_off_chain_unless_it_is_told_otherwise() {
        let plan = resolve(|o| (o.network, o.eth_orch_addr) = (None, None)).unwrap();
        assert!(!plan.is_paid);
        assert_eq!(plan.lines(None), ["none are taken: the node is off-chain"]);
        let plan = resolve(|_| ()).unwrap();
        assert_eq!(plan.gather, Gather::default());
        let recipient = plan.recipient.unwrap();
        assert!(plan.lines(Some((recipient, recipient)))[0].starts_with(
            "to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed, 1200/1 wei a pixel, 8000000000 wei"
        ));
        let signed = plan.lines(Some((Address([1; 20]), recipient)));
        assert!(signed[0].contains("BeAed, signed for by 0x0101"));
        assert_eq!(
            signed[1],
            "a live session is charged every 5 s, and ends 10 s after its account went below zero"
        );
    }

    #[test]
    fn what_is_not_used_is_said() {
        let models = |more: &str| {
            let json = format!(
                r#"[{{"pipeline":"live-video-to-video","model_id":"noop","price_per_unit":1{more}}}]"#
            );
            // For as long as the tests run.
            let json: &'static str = json.leak();
            let plan = resolve(|o| o.ai_models = Some(json)).unwrap();
            plan.notes(&["noop".to_owned()])
        };
        let strange =
            "--ai-models has a price for builtin/passthrough, which this node does not offer";
        assert_eq!(models(""), [strange]);
        let notes = models(r#","capacity":4"#);
        assert!(notes[0].contains("as of noop, is not"), "{notes:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        type Change = fn(&mut PaymentOptions<'static>);
        let cases: [(Change, &str); 16] = [
            (
                |o| o.network = Some("mainnet"),
                "network `mainnet` is not understood",
            ),
            (
                |o| o.network = Some("arbitrum-one-mainnet"),
                "the chain of Livepeer is not spoken to yet",
            ),
            (|o| o.network = None, "network is offchain"),
            (
                |o| o.keystore = (None, Some("0x12"), None),
                "eth-keystore-path names none",
            ),
            (
                |o| {
                    o.keystore = (
                        Some(Path::new("k")),
                        Some("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
                        None,
                    );
                    (o.network, o.eth_orch_addr) = (None, None);
                },
                "eth-keystore-path is for a node that is paid",
            ),
            (
                |o| o.ai_models = Some("[{\"pipeline\":\"live-video-to-video\"}]"),
                "ai-models is not understood",
            ),
            (
                |o| o.price_per_gateway = Some("{}"),
                "price-per-gateway is not understood",
            ),
            (
                |o| o.live = (Some(0), None),
                "live-payment-interval `0` is not understood",
            ),
            (
                |o| o.live = (None, Some(3_601)),
                "payment-grace `3601` is not understood",
            ),
            (
                |o| o.eth_orch_addr = Some("0x12"),
                "eth-orch-addr `0x12` is not understood",
            ),
            (
                |o| o.eth_orch_addr = Some("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
                "mistyped?",
            ),
            (
                |o| o.price = (None, None),
                "price-per-unit says what work costs",
            ),
            (|o| o.price = (Some(1), Some(0)), "pixels per unit is 0"),
            (|o| o.ticket_ev = Some(0), "ticket-ev is 0"),
            (
                |o| o.verifier = Some("gpu"),
                "it can be auto, reference, known or vector",
            ),
            (
                |o| o.gather = (Some(0), None),
                "ticket-batch `0` is not understood",
            ),
        ];
        for (change, reason) in cases {
            let text = resolve(change).unwrap_err();
            assert!(text.contains(reason), "{text}");
        }
    }
}
