//! The front desk: what this node says of itself, and what it offers to whom.
//!
//! Everything that is told to gateways comes from here: the answer to a handshake, the answer to a payment, and parameters that are asked for
//! anew. It is used from both planes: a shard that answers a payment calls [`Desk::write_result`] on its own thread.
//!
//! Invariants:
//! - Nothing here waits, but for a lock that is held while a pointer is copied.
//! - A fresh auth token is given for a handshake, or to whoever proved to be the sender; an answer to a payment repeats the one that came
//!   with it. Stock gateways read the token of every answer that has ticket parameters, so there is always one.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use link::Receipt;
use proto::Message;
use proto::net::{self, AuthToken, Capabilities, HardwareInformation, OrchestratorInfo};
use ticket::wire::{PriceInfo, put_bytes, put_message};
use ticket::{Address, Price, SessionId, Wei};
use tokio::time::timeout;

use super::auth::Webhook;
use super::limits;
use super::registry::Registry;
use super::{Gpu, Payments};
use crate::capability::{self, Capability, LiveModel};
use crate::payment::offers::{Unoffered, to_message};
use crate::payment::token::Tokens;
use crate::payment::{Identity, Offers};
use crate::world::{World, random_hex};

/// What a desk is set up with.
pub(super) struct Setup {
    pub(super) identity: Arc<Identity>,
    pub(super) tokens: Tokens,
    pub(super) payments: Option<Payments>,
    /// Who is asked about gateways.
    pub(super) webhook: Option<Arc<Webhook>>,
    /// Every model id that can be asked for.
    pub(super) models: Vec<String>,
    pub(super) version: String,
    pub(super) nodes: Vec<String>,
    pub(super) hardware: Vec<HardwareInformation>,
}

/// See the module.
pub(super) struct Desk {
    setup: Setup,
    registry: Arc<Registry>,
    world: Arc<dyn World>,
    service_url: OnceLock<Box<str>>,
    /// Weak, since the engine holds the inbox, and the inbox this.
    engine: OnceLock<Weak<dyn link::Engine>>,
    capabilities: RwLock<Arc<Can>>,
}

/// What the node can do at this moment, as a value and as bytes.
struct Can {
    capabilities: Capabilities,
    bytes: Vec<u8>,
}

impl Can {
    fn of(capabilities: Capabilities) -> Arc<Self> {
        let bytes = capabilities.encode_to_vec();
        Arc::new(Self {
            capabilities,
            bytes,
        })
    }
}

impl Desk {
    pub(super) fn new(setup: Setup, registry: Arc<Registry>, world: Arc<dyn World>) -> Self {
        let desk = Self {
            setup,
            registry,
            world,
            service_url: OnceLock::new(),
            engine: OnceLock::new(),
            capabilities: RwLock::new(Can::of(Capabilities::default())),
        };
        desk.look_around();
        desk
    }

    /// Says where this node is reached: scheme, host and port; and what does its work. The first word counts.
    pub(super) fn open(&self, service_url: &str, engine: &Arc<dyn link::Engine>) {
        let _said_before = self.service_url.set(service_url.into());
        let _said_before = self.engine.set(Arc::downgrade(engine));
        self.look_around();
    }

    /// Whether one more session fits, as far as is known: a place for it, and a lane that has time.
    pub(super) fn has_room(&self) -> bool {
        self.registry.has_room() && self.engine_room() > 0
    }

    /// What the lanes could still carry; no bound where that is not known.
    fn engine_room(&self) -> u32 {
        let engine = self.engine.get().and_then(Weak::upgrade);
        let room = engine.and_then(|engine| engine.room());
        room.unwrap_or(u32::MAX)
    }

    /// Where this node is reached; empty before that is known.
    pub(super) fn service_url(&self) -> &str {
        self.service_url.get().map_or("", |url| url)
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.setup.identity
    }

    pub(super) const fn tokens(&self) -> &Tokens {
        &self.setup.tokens
    }

    pub(super) fn webhook(&self) -> Option<&Webhook> {
        self.setup.webhook.as_deref()
    }

    /// The least that a sender has to pay for work on a model; free where nothing is paid.
    pub(super) fn least(&self, sender: &Address, model_id: &str) -> Price {
        let Some(payments) = self.payments() else {
            return Price::FREE;
        };
        let set = self.webhook().and_then(|webhook| webhook.price(sender));
        set.unwrap_or_else(|| {
            let live = Capability::LIVE_VIDEO_TO_VIDEO.0;
            payments.offers.prices().model_price(sender, live, model_id)
        })
    }

    pub(super) const fn payments(&self) -> Option<&Payments> {
        self.setup.payments.as_ref()
    }

    /// Unix seconds.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.world.unix_ms() / 1_000).unwrap_or(i64::MAX)
    }

    /// What the node can do at this moment.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.can().capabilities.clone()
    }

    fn can(&self) -> Arc<Can> {
        let can = self
            .capabilities
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&can)
    }

    /// Whether a model can be asked for.
    pub(super) fn offers_model(&self, id: &str) -> bool {
        self.setup.models.iter().any(|model| model == id)
    }

    /// Takes note of how many more sessions fit: of places, and of what the lanes could carry.
    pub(super) fn look_around(&self) {
        let in_use = self.registry.by_model();
        let taken: u32 = in_use.values().sum();
        let places = u32::try_from(self.registry.sessions_max()).unwrap_or(u32::MAX);
        let idle = match self.registry.draining() {
            true => 0,
            false => places.saturating_sub(taken).min(self.engine_room()),
        };
        let of = |id: &String| LiveModel {
            id: id.clone(),
            warm: true,
            idle,
            in_use: in_use.get(id).copied().unwrap_or(0),
        };
        let models: Vec<_> = self.setup.models.iter().map(of).collect();
        let offer = capability::Offer {
            models: &models,
            version: &self.setup.version,
        };
        let can = Can::of(offer.capabilities());
        *self
            .capabilities
            .write()
            .unwrap_or_else(PoisonError::into_inner) = can;
    }

    /// Looks whenever a session has begun or ended, and every so often, since lanes measure what sessions need.
    pub(super) async fn keep_looking(self: Arc<Self>) {
        let mut count = self.registry.count();
        // An error is the end of the table of sessions; the time that has passed is not.
        while !matches!(
            timeout(limits::LOOK_EVERY, count.changed()).await,
            Ok(Err(_))
        ) {
            self.look_around();
        }
    }

    // === what is said ===

    /// The answer to a handshake. `wanted` are the job's capabilities, `price` is what somebody else has set for this sender.
    pub(super) fn greet(
        &self,
        sender: Address,
        wanted: Option<&Capabilities>,
        price: Option<Price>,
    ) -> Result<OrchestratorInfo, Unoffered> {
        let session = random_hex::<16>(&*self.world).map_err(|_| Unoffered::NoChance)?;
        let token = self
            .setup
            .tokens
            .issue(&sender, &session, self.now())
            .ok_or(Unoffered::NoChance)?;
        let mut info = self.info(sender, token, |payments| {
            let pending = payments.ledger.book().pending(&sender);
            let price = match price {
                Some(price) => price,
                None => payments.offers.price(&sender, wanted, pending)?,
            };
            Ok((price, pending))
        })?;
        if wanted.is_none() {
            info.hardware.clone_from(&self.setup.hardware);
            if let Some(payments) = self.payments() {
                info.capabilities_prices = payments.offers.prices().list(&sender);
            }
        }
        info.nodes.clone_from(&self.setup.nodes);
        Ok(info)
    }

    /// What a sender needs to go on paying into an account, at the account's price.
    pub(super) fn renew(
        &self,
        sender: Address,
        token: AuthToken,
        price: Price,
    ) -> Result<OrchestratorInfo, Unoffered> {
        self.info(sender, token, |payments| {
            Ok((price, payments.ledger.book().pending(&sender)))
        })
    }

    /// Who we are, where and what we can; and where payments are taken, at which price and under which parameters.
    fn info(
        &self,
        sender: Address,
        token: AuthToken,
        price: impl FnOnce(&Payments) -> Result<(Price, Wei), Unoffered>,
    ) -> Result<OrchestratorInfo, Unoffered> {
        let mut info = OrchestratorInfo {
            transcoder: self.service_url().to_owned(),
            address: self.setup.identity.address().0.to_vec(),
            capabilities: Some(self.capabilities()),
            ..OrchestratorInfo::default()
        };
        if let Some(payments) = self.payments() {
            let (price, pending) = price(payments)?;
            let session = SessionId::new(&token.session_id).ok_or(Unoffered::NoChance)?;
            let params = payments.offers.make(sender, session, price, pending)?;
            info.ticket_params = Some(to_message(&params));
            info.price_info = Some(price_info(price));
        }
        info.auth_token = Some(token);
        Ok(info)
    }

    /// Appends the answer to a payment, a `PaymentResult` with an offer for the next one: at a shard's counter, so field by field.
    /// `token` is the auth token that came with the payment, as its message's bytes. A sender for whom there is no offer just now gets
    /// no parameters, and goes on under those that it has.
    pub(super) fn write_result(&self, receipt: &Receipt, token: &[u8], body: &mut Vec<u8>) {
        let Some(Payments { offers, .. }) = self.payments() else {
            return;
        };
        let price = receipt
            .price
            .map_or_else(|| offers.price(&receipt.sender, None, receipt.pending), Ok);
        put_message(body, 16, |info| {
            put_bytes(info, 1, self.service_url().as_bytes());
            if let Ok(price) = price {
                write_offer(offers, receipt, price, info);
            }
            put_bytes(info, 4, &self.setup.identity.address().0);
            put_bytes(info, 5, &self.can().bytes);
            put_message(info, 6, |into| match token {
                // A payer who shows no token pays by its account's name alone; what names it proves nothing.
                [] => put_bytes(into, 2, receipt.session.as_str().as_bytes()),
                token => into.extend_from_slice(token),
            });
        });
    }
}

fn write_offer(offers: &Offers, receipt: &Receipt, price: Price, info: &mut Vec<u8>) {
    if let Ok(params) = offers.make(receipt.sender, receipt.session, price, receipt.pending) {
        put_message(info, 2, |into| params.write(into));
    }
    let (price_per_unit, pixels_per_unit) = price.to_wire();
    let price = PriceInfo {
        price_per_unit,
        pixels_per_unit,
    };
    put_message(info, 3, |into| price.write(into));
}

fn price_info(price: Price) -> net::PriceInfo {
    let (price_per_unit, pixels_per_unit) = price.to_wire();
    net::PriceInfo {
        price_per_unit,
        pixels_per_unit,
        ..net::PriceInfo::default()
    }
}

/// Every model on every device, as those who only look are told.
pub(super) fn hardware(models: &[String], gpus: &[Gpu]) -> Vec<HardwareInformation> {
    if gpus.is_empty() {
        return Vec::new();
    }
    let infos = gpus.iter().enumerate().map(|(index, gpu)| {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let info = net::GpuComputeInfo {
            id: gpu.id.clone(),
            name: gpu.name.clone(),
            major: gpu.compute.0,
            minor: gpu.compute.1,
            memory_free: bytes(gpu.memory_bytes.0),
            memory_total: bytes(gpu.memory_bytes.1),
        };
        (index.to_string(), info)
    });
    let gpu_info: std::collections::BTreeMap<_, _> = infos.collect();
    let of = |model: &String| HardwareInformation {
        pipeline: Capability::LIVE_VIDEO_TO_VIDEO
            .pipeline()
            .unwrap_or_default(),
        model_id: model.clone(),
        gpu_info: gpu_info.clone(),
    };
    models.iter().map(of).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::world::System;

    /// Off-chain, with places for so many sessions.
    pub(in super::super) fn bare(sessions_max: usize) -> Arc<Desk> {
        let setup = Setup {
            identity: Arc::new(Identity::nobody()),
            tokens: Tokens::new(&[1; 32]),
            payments: None,
            webhook: None,
            models: vec!["noop".to_owned(), "builtin/edges".to_owned()],
            version: "0.9.1".to_owned(),
            nodes: vec!["https://b.example:8935".to_owned()],
            hardware: Vec::new(),
        };
        let desk = Desk::new(setup, Registry::new(sessions_max), Arc::new(System));
        let _first = desk.service_url.set("https://a.example:8935".into());
        Arc::new(desk)
    }

    #[test]
    fn off_chain_a_greeting_has_everything_but_money() {
        let info = bare(3).greet(Address::ZERO, None, None).unwrap();
        assert_eq!(info.transcoder, "https://a.example:8935");
        assert_eq!((info.ticket_params, info.price_info), (None, None));
        assert_eq!(info.address, [0; 20]);
        assert_eq!(info.nodes, ["https://b.example:8935"]);
        let token = info.auth_token.unwrap();
        assert_eq!((token.token.len(), token.session_id.len()), (32, 32));
        let capabilities = info.capabilities.unwrap();
        let models = LiveModel::of(&capabilities);
        let shown: Vec<_> = models
            .map(|model| (model.id, model.idle, model.in_use))
            .collect();
        assert_eq!(
            shown,
            [
                ("builtin/edges".to_owned(), 3, 0),
                ("noop".to_owned(), 3, 0)
            ]
        );
    }

    #[test]
    fn a_greeting_has_gos_fields_in_their_places() {
        let desk = bare(3);
        let info = desk.greet(Address::ZERO, None, None).unwrap();
        let token = info.auth_token.clone().unwrap();
        let mut expected = Vec::new();
        put_bytes(&mut expected, 1, b"https://a.example:8935");
        put_bytes(&mut expected, 4, &[0; 20]);
        put_bytes(&mut expected, 5, &desk.can().bytes);
        put_message(&mut expected, 6, |into| {
            put_bytes(into, 1, &token.token);
            put_bytes(into, 2, token.session_id.as_bytes());
            ticket::wire::put_int64(into, 3, token.expiration);
        });
        // Field 34: a tag of two bytes.
        expected.extend_from_slice(&[0x92, 0x02, 22]);
        expected.extend_from_slice(b"https://b.example:8935");
        assert_eq!(hex::encode(info.encode_to_vec()), hex::encode(expected));
    }

    #[test]
    fn no_two_greetings_have_the_same_session() {
        let desk = bare(1);
        let session = || {
            let info = desk.greet(Address::ZERO, None, None).unwrap();
            info.auth_token.unwrap().session_id
        };
        assert_ne!(session(), session());
    }
}
