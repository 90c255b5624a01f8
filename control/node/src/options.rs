//! Every setting, as it may come from a flag, the environment or a file; what none of them says is `None`.
//!
//! One struct serves all three, so a setting that exists in one exists in the others under the same name.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Reason};

/// Settings of an orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Options {
    /// The URL that peers are told: https or http, a host and a port [default: https://127.0.0.1:8935]
    #[arg(
        long,
        value_name = "URL",
        env = "MILLSTREAM_SERVICE_ADDR",
        help_heading = "Addresses"
    )]
    pub(crate) service_addr: Option<String>,

    /// Where to listen: [http://|https://]ADDRESS[:PORT]; http:// leaves TLS to a proxy [default: all addresses, or the loopback address that the service URL names, at the service's port]
    #[arg(
        long,
        value_name = "ADDR",
        env = "MILLSTREAM_HTTP_ADDR",
        help_heading = "Addresses"
    )]
    pub(crate) http_addr: Option<String>,

    /// Where to serve trickle alone, beside the address for all: [http://|https://]ADDRESS[:PORT], as --http-addr where it says nothing else [default: no second address]
    #[arg(
        long,
        value_name = "ADDR",
        env = "MILLSTREAM_TRICKLE_ADDR",
        help_heading = "Addresses"
    )]
    pub(crate) trickle_addr: Option<String>,

    /// The URL that peers are told for trickle, where it is not the service URL [default: the service URL]
    #[arg(
        long,
        value_name = "URL",
        env = "MILLSTREAM_TRICKLE_SERVICE_ADDR",
        help_heading = "Addresses"
    )]
    pub(crate) trickle_service_addr: Option<String>,

    /// A certificate chain, PEM, in place of a self-signed one [default: self-signed at every start]
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_TLS_CERT",
        help_heading = "Addresses"
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key, PEM [default: made with the certificate]
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_TLS_KEY",
        help_heading = "Addresses"
    )]
    pub(crate) tls_key: Option<PathBuf>,

    /// The CPUs that carry the network, one shard each, such as 0,2-3 [default: the first half of the CPUs]
    #[arg(
        long,
        value_name = "LIST",
        env = "MILLSTREAM_CORES",
        help_heading = "Machine"
    )]
    pub(crate) cores: Option<String>,

    /// How many lanes process video beside the shards [default: one for every other CPU, at least 1; one for a GPU that both decodes and encodes]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_LANES",
        help_heading = "Machine"
    )]
    pub(crate) lanes: Option<usize>,

    /// What processes frames: auto, cpu, cuda or cuda:N; auto takes a GPU that works and otherwise the CPU [default: auto]
    #[arg(
        long,
        value_name = "DEVICE",
        env = "MILLSTREAM_DEVICE",
        help_heading = "Machine"
    )]
    pub(crate) device: Option<String>,

    /// Offer each NAME.onnx of this directory to sessions as the model onnx/NAME [default: no directory]
    #[arg(
        long,
        value_name = "DIR",
        env = "MILLSTREAM_MODELS_DIR",
        help_heading = "Machine"
    )]
    pub(crate) models_dir: Option<PathBuf>,

    /// Run models with this libonnxruntime.so, 1.20 or later [default: the system's, else tract, which is built in and slower]
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_ONNXRUNTIME",
        help_heading = "Machine"
    )]
    pub(crate) onnxruntime: Option<PathBuf>,

    /// Where key.pem and cert.pem are written [default: $XDG_DATA_HOME/millstream, or ~/.millstream]
    #[arg(
        long,
        value_name = "DIR",
        env = "MILLSTREAM_DATA_DIR",
        help_heading = "Machine"
    )]
    pub(crate) data_dir: Option<PathBuf>,

    /// Create a channel when somebody publishes to a name that does not exist [default: false]
    #[arg(long, value_name = "BOOL", env = "MILLSTREAM_TRICKLE_AUTOCREATE", help_heading = "Trickle",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) trickle_autocreate: Option<bool>,

    /// Let a session's channels be deleted only by those who were given its URLs [default: false]
    #[arg(long, value_name = "BOOL", env = "MILLSTREAM_TRICKLE_OWNER_DELETE", help_heading = "Trickle",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) trickle_owner_delete: Option<bool>,

    /// Announce channels that come and go on the channel _changes, a JSON object each [default: false]
    #[arg(long, value_name = "BOOL", env = "MILLSTREAM_TRICKLE_CHANGEFEED", help_heading = "Trickle",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) trickle_changefeed: Option<bool>,

    /// How busy a lane may be, in percent of its time, and still take a session; over it, 503 [default: 85]
    #[arg(
        long,
        value_name = "PERCENT",
        env = "MILLSTREAM_LANE_PERCENT",
        help_heading = "Limits"
    )]
    pub(crate) lane_percent: Option<u32>,

    /// Live sessions at once, whatever the lanes could do; one more is answered 503 [default: 256]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_MAX_SESSIONS",
        help_heading = "Limits"
    )]
    pub(crate) max_sessions: Option<usize>,

    /// End a session that has had no input for this long [default: 60]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MILLSTREAM_SESSION_IDLE",
        help_heading = "Limits"
    )]
    pub(crate) session_idle: Option<u64>,

    /// Connections at once, over all shards [default: 32768 a shard, or what the open-files limit allows]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_MAX_CONNECTIONS",
        help_heading = "Limits"
    )]
    pub(crate) max_connections: Option<usize>,

    /// Channels at once, over all shards [default: 4096 a shard]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_MAX_CHANNELS",
        help_heading = "Limits"
    )]
    pub(crate) max_channels: Option<usize>,

    /// The longest segment [default: 286]
    #[arg(
        long,
        value_name = "MIB",
        env = "MILLSTREAM_MAX_SEGMENT_MIB",
        help_heading = "Limits"
    )]
    pub(crate) max_segment_mib: Option<u64>,

    /// What one channel may hold over all its segments [default: 572]
    #[arg(
        long,
        value_name = "MIB",
        env = "MILLSTREAM_MAX_CHANNEL_MIB",
        help_heading = "Limits"
    )]
    pub(crate) max_channel_mib: Option<u64>,

    /// Memory for what channels hold, over all shards [default: 1024 a shard, at most half of the machine's]
    #[arg(
        long,
        value_name = "MIB",
        env = "MILLSTREAM_PAGE_MEMORY_MIB",
        help_heading = "Limits"
    )]
    pub(crate) page_memory_mib: Option<u64>,

    /// The chain that payments are on: offchain for none; memory for one of the node's own that ticks with the clock, for trying out and for measuring [default: offchain]
    #[arg(
        long,
        value_name = "NAME",
        env = "MILLSTREAM_NETWORK",
        help_heading = "Payments"
    )]
    pub(crate) network: Option<String>,

    /// The account that is paid, 0x and 40 hexadecimal digits [default: nobody's]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "MILLSTREAM_ETH_ORCH_ADDR",
        help_heading = "Payments"
    )]
    pub(crate) eth_orch_addr: Option<String>,

    /// The account that signs: a keystore file, or a directory of them as geth keeps it [default: on the memory network a key of its own, kept in the data directory]
    #[arg(
        long,
        value_name = "PATH",
        env = "MILLSTREAM_ETH_KEYSTORE_PATH",
        help_heading = "Payments"
    )]
    pub(crate) eth_keystore_path: Option<PathBuf>,

    /// Which account of the keystore directory [default: the only one]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "MILLSTREAM_ETH_ACCT_ADDR",
        help_heading = "Payments"
    )]
    pub(crate) eth_acct_addr: Option<String>,

    /// What opens the keystore: a file that holds it, or the password itself [default: none]
    #[arg(
        long,
        value_name = "TEXT",
        env = "MILLSTREAM_ETH_PASSWORD",
        help_heading = "Payments"
    )]
    pub(crate) eth_password: Option<String>,

    /// What --pixels-per-unit pixels cost [default: none, and needed where payments are taken]
    #[arg(
        long,
        value_name = "WEI",
        env = "MILLSTREAM_PRICE_PER_UNIT",
        help_heading = "Payments"
    )]
    pub(crate) price_per_unit: Option<u64>,

    /// The pixels that --price-per-unit pays for [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_PIXELS_PER_UNIT",
        help_heading = "Payments"
    )]
    pub(crate) pixels_per_unit: Option<u64>,

    /// Prices of their own for some gateways, {"gateways":[{"ethaddress","priceperunit","pixelsperunit"}]}, as JSON or the file that holds it [default: none]
    #[arg(
        long,
        value_name = "JSON",
        env = "MILLSTREAM_PRICE_PER_GATEWAY",
        help_heading = "Payments"
    )]
    pub(crate) price_per_gateway: Option<String>,

    /// Prices of models, [{"pipeline","model_id","price_per_unit","pixels_per_unit","gateway"}], as JSON or the file that holds it; others cost --price-per-unit [default: none]
    #[arg(
        long,
        value_name = "JSON",
        env = "MILLSTREAM_AI_MODELS",
        help_heading = "Payments"
    )]
    pub(crate) ai_models: Option<String>,

    /// Raise prices by what redeeming winners costs [default: true]
    #[arg(long, value_name = "BOOL", env = "MILLSTREAM_AUTO_ADJUST_PRICE", help_heading = "Payments",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) auto_adjust_price: Option<bool>,

    /// The least time between two charges of a live session, as --livePaymentInterval of its gateways [default: 5]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MILLSTREAM_LIVE_PAYMENT_INTERVAL",
        help_heading = "Payments"
    )]
    pub(crate) live_payment_interval: Option<u64>,

    /// How long a live session may go on with its account below zero; then its channels are closed [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MILLSTREAM_PAYMENT_GRACE",
        help_heading = "Payments"
    )]
    pub(crate) payment_grace: Option<u64>,

    /// What one ticket is worth: face value times win probability [default: 8000000000]
    #[arg(
        long,
        value_name = "WEI",
        env = "MILLSTREAM_TICKET_EV",
        help_heading = "Payments"
    )]
    pub(crate) ticket_ev: Option<u64>,

    /// The largest face value of a ticket; 0 for no bound but the sender's funds [default: 0]
    #[arg(
        long,
        value_name = "WEI",
        env = "MILLSTREAM_MAX_FACE_VALUE",
        help_heading = "Payments"
    )]
    pub(crate) max_face_value: Option<u64>,

    /// Who checks signatures: reference is libsecp256k1, known remembers senders' keys, vector does so eight at a time on AVX-512 IFMA, auto takes the fastest that this processor has [default: auto]
    #[arg(
        long,
        value_name = "NAME",
        env = "MILLSTREAM_TICKET_VERIFIER",
        help_heading = "Payments"
    )]
    pub(crate) ticket_verifier: Option<String>,

    /// Tickets that are checked, and written to disk, together [default: 256]
    #[arg(
        long,
        value_name = "N",
        env = "MILLSTREAM_TICKET_BATCH",
        help_heading = "Payments"
    )]
    pub(crate) ticket_batch: Option<usize>,

    /// How long a payment waits for others to be checked with [default: 200]
    #[arg(
        long,
        value_name = "MICROSECONDS",
        env = "MILLSTREAM_TICKET_WAIT",
        help_heading = "Payments"
    )]
    pub(crate) ticket_wait: Option<u64>,

    /// Ask this URL whether a gateway may come in, and at which price: POST {"id": its account} [default: everybody may]
    #[arg(
        long,
        value_name = "URL",
        env = "MILLSTREAM_AUTH_WEBHOOK_URL",
        help_heading = "Gateways"
    )]
    pub(crate) auth_webhook_url: Option<String>,

    /// Tell gateways of further orchestrators: their https URLs, with commas between [default: none]
    #[arg(
        long,
        value_name = "LIST",
        env = "MILLSTREAM_NODES",
        help_heading = "Gateways"
    )]
    pub(crate) nodes: Option<String>,

    /// Ping the service URL when all is up, as a gateway would, and end if nobody answers [default: true]
    #[arg(long, value_name = "BOOL", env = "MILLSTREAM_STARTUP_AVAILABILITY_CHECK", help_heading = "Gateways",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) startup_availability_check: Option<bool>,

    /// How long sessions may go on after SIGTERM; a second signal ends them at once [default: 30]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MILLSTREAM_DRAIN_TIMEOUT",
        help_heading = "Operation"
    )]
    pub(crate) drain_timeout: Option<u64>,

    /// What to log: error, warn, info, debug, trace, or a filter such as info,control=debug [default: info]
    #[arg(
        long,
        value_name = "FILTER",
        env = "MILLSTREAM_LOG",
        help_heading = "Operation"
    )]
    pub(crate) log: Option<String>,
}

impl Options {
    /// These settings, and where they say nothing the others.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            service_addr: self.service_addr.or(other.service_addr),
            http_addr: self.http_addr.or(other.http_addr),
            trickle_addr: self.trickle_addr.or(other.trickle_addr),
            trickle_service_addr: self.trickle_service_addr.or(other.trickle_service_addr),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            cores: self.cores.or(other.cores),
            lanes: self.lanes.or(other.lanes),
            device: self.device.or(other.device),
            models_dir: self.models_dir.or(other.models_dir),
            onnxruntime: self.onnxruntime.or(other.onnxruntime),
            data_dir: self.data_dir.or(other.data_dir),
            trickle_autocreate: self.trickle_autocreate.or(other.trickle_autocreate),
            trickle_owner_delete: self.trickle_owner_delete.or(other.trickle_owner_delete),
            trickle_changefeed: self.trickle_changefeed.or(other.trickle_changefeed),
            lane_percent: self.lane_percent.or(other.lane_percent),
            max_sessions: self.max_sessions.or(other.max_sessions),
            session_idle: self.session_idle.or(other.session_idle),
            max_connections: self.max_connections.or(other.max_connections),
            max_channels: self.max_channels.or(other.max_channels),
            max_segment_mib: self.max_segment_mib.or(other.max_segment_mib),
            max_channel_mib: self.max_channel_mib.or(other.max_channel_mib),
            page_memory_mib: self.page_memory_mib.or(other.page_memory_mib),
            network: self.network.or(other.network),
            eth_orch_addr: self.eth_orch_addr.or(other.eth_orch_addr),
            eth_keystore_path: self.eth_keystore_path.or(other.eth_keystore_path),
            eth_acct_addr: self.eth_acct_addr.or(other.eth_acct_addr),
            eth_password: self.eth_password.or(other.eth_password),
            price_per_unit: self.price_per_unit.or(other.price_per_unit),
            pixels_per_unit: self.pixels_per_unit.or(other.pixels_per_unit),
            price_per_gateway: self.price_per_gateway.or(other.price_per_gateway),
            ai_models: self.ai_models.or(other.ai_models),
            auto_adjust_price: self.auto_adjust_price.or(other.auto_adjust_price),
            live_payment_interval: self.live_payment_interval.or(other.live_payment_interval),
            payment_grace: self.payment_grace.or(other.payment_grace),
            ticket_ev: self.ticket_ev.or(other.ticket_ev),
            max_face_value: self.max_face_value.or(other.max_face_value),
            ticket_verifier: self.ticket_verifier.or(other.ticket_verifier),
            ticket_batch: self.ticket_batch.or(other.ticket_batch),
            ticket_wait: self.ticket_wait.or(other.ticket_wait),
            auth_webhook_url: self.auth_webhook_url.or(other.auth_webhook_url),
            nodes: self.nodes.or(other.nodes),
            startup_availability_check: self
                .startup_availability_check
                .or(other.startup_availability_check),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            log: self.log.or(other.log),
        }
    }

    /// Settings from a file. A key that is not known is an error that names it.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let what = || format!("the configuration file {} cannot be used", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                Reason::Usage,
                what(),
                error.to_string(),
                "give the path of a file that this user may read",
            )
        })?;
        Self::from_toml(&text).map_err(|why| {
            let why = why.trim_end().replace('\n', "\n       ");
            Failure::new(
                Reason::Usage,
                what(),
                why,
                "`millstream config example` prints every key",
            )
        })
    }

    /// Settings from a file's text.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// These settings as a file's text.
    pub(crate) fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self)
            .map_err(|error| Failure::usage("the settings cannot be printed", error.to_string()))
    }

    /// The name of every setting.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> Vec<String> {
        let value = serde_json::to_value(self).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first_counts_setting_by_setting() {
        let flags = Options {
            lanes: Some(3),
            trickle_autocreate: Some(false),
            ..Options::default()
        };
        let file =
            Options::from_toml("lanes = 7\ntrickle-autocreate = true\nmax-sessions = 2\n").unwrap();
        let merged = flags.or(file);
        assert_eq!(merged.lanes, Some(3));
        assert_eq!(
            merged.trickle_autocreate,
            Some(false),
            "a flag can switch off what a file switches on"
        );
        assert_eq!(merged.max_sessions, Some(2));
        assert_eq!(merged.log, None);
    }

    #[test]
    fn no_setting_is_forgotten_when_two_are_merged() {
        let full = Options {
            service_addr: Some("a".into()),
            http_addr: Some("b".into()),
            trickle_addr: Some("t".into()),
            trickle_service_addr: Some("s".into()),
            tls_cert: Some("c".into()),
            tls_key: Some("d".into()),
            cores: Some("e".into()),
            lanes: Some(1),
            device: Some("cpu".into()),
            models_dir: Some("m".into()),
            onnxruntime: Some("o".into()),
            data_dir: Some("f".into()),
            trickle_autocreate: Some(true),
            trickle_owner_delete: Some(true),
            trickle_changefeed: Some(true),
            lane_percent: Some(1),
            max_sessions: Some(1),
            session_idle: Some(1),
            max_connections: Some(1),
            max_channels: Some(1),
            max_segment_mib: Some(1),
            max_channel_mib: Some(1),
            page_memory_mib: Some(1),
            network: Some("p".into()),
            eth_orch_addr: Some("p".into()),
            eth_keystore_path: Some("k".into()),
            eth_acct_addr: Some("q".into()),
            eth_password: Some("q".into()),
            price_per_gateway: Some("q".into()),
            ai_models: Some("q".into()),
            auto_adjust_price: Some(true),
            live_payment_interval: Some(1),
            payment_grace: Some(1),
            auth_webhook_url: Some("q".into()),
            nodes: Some("q".into()),
            startup_availability_check: Some(true),
            price_per_unit: Some(1),
            pixels_per_unit: Some(1),
            ticket_ev: Some(1),
            max_face_value: Some(1),
            ticket_verifier: Some("p".into()),
            ticket_batch: Some(1),
            ticket_wait: Some(1),
            drain_timeout: Some(1),
            log: Some("g".into()),
        };
        assert_eq!(Options::default().or(full.clone()), full);
        assert_eq!(full.clone().or(Options::default()), full);
        assert_eq!(Options::from_toml(&full.to_toml().unwrap()), Ok(full));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Options::from_toml("lanes = 1\nlane = 2\n").unwrap_err();
        assert!(
            error.contains("unknown field `lane`") && error.contains("line 2"),
            "{error}"
        );
        let error = Options::from_toml("lanes = \"many\"").unwrap_err();
        assert!(
            error.contains("line 1") && error.contains("invalid type"),
            "{error}"
        );
    }
}
