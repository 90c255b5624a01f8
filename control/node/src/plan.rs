//! Settings turned into a plan: every default filled in, every value checked, nothing opened or bound yet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Limits;
use engine::probe::Probe;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::addr::{Listen, ServiceUrl};
use crate::cores::{self, Placement};
use crate::device::{DeviceChoice, Wanted};
use crate::failure::{Failure, Reason};
use crate::options::Options;
use crate::payments::{PaymentOptions, PaymentPlan};

const SERVICE_ADDR: &str = "https://127.0.0.1:8935";
const DRAIN_SECONDS: u64 = 30;
/// Longer than any supervisor waits.
const SECONDS_MAX: u64 = 24 * 3_600;
const LOG: &str = "info";
const MIB: u64 = 1 << 20;
/// Less than this a shard cannot hold one stream.
const PAGE_BYTES_MIN: usize = 16 << 20;

/// What the machine offers.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The CPUs that this process may use, sorted.
    pub(crate) cpus: Vec<usize>,
    /// Physical memory, if it is known.
    pub(crate) memory_bytes: Option<u64>,
    /// `$XDG_DATA_HOME`
    pub(crate) data_home: Option<PathBuf>,
    /// `$HOME`
    pub(crate) home: Option<PathBuf>,
    /// What can process frames.
    pub(crate) devices: Probe,
}

impl Machine {
    /// Asks the system.
    pub(crate) fn probe() -> Self {
        let cpus = match sched_getaffinity(None) {
            Ok(set) => (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .collect(),
            // More CPUs than the set can name: use the ones that it can.
            Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        };
        let (data_home, home) = homes();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpus,
            memory_bytes: memory_bytes(&meminfo),
            data_home,
            home,
            devices: engine::devices(),
        }
    }
}

/// Everything an orchestrator needs to start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) service: ServiceUrl,
    pub(crate) listen: Listen,
    /// Where trickle alone is served as well.
    pub(crate) trickle_listen: Option<Listen>,
    /// What peers are told for trickle, where it is not the service URL.
    pub(crate) trickle_service: Option<ServiceUrl>,
    /// The operator's own certificate and key.
    pub(crate) tls_files: Option<(PathBuf, PathBuf)>,
    pub(crate) placement: Placement,
    pub(crate) device: DeviceChoice,
    /// Where ONNX files lie.
    pub(crate) models_dir: Option<PathBuf>,
    /// The library that runs them, when one was named.
    pub(crate) onnxruntime: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) autocreate: bool,
    pub(crate) owner_delete: bool,
    pub(crate) changefeed: bool,
    /// Who is asked whether a gateway may come in.
    pub(crate) auth_webhook: Option<String>,
    /// Further orchestrators that gateways are told of.
    pub(crate) nodes: Vec<String>,
    /// Whether the service URL is pinged at the start.
    pub(crate) ping: bool,
    /// How payments are taken, if they are.
    pub(crate) payments: PaymentPlan,
    /// Whether the operator asked for this many connections, or only did not mind.
    pub(crate) connections_asked: bool,
    /// A shard's own share of each bound.
    pub(crate) limits: Limits,
    pub(crate) drain: Duration,
    pub(crate) log: String,
}

impl Plan {
    /// Fills in and checks.
    pub(crate) fn resolve(options: Options, machine: &Machine) -> Result<Self, Failure> {
        let service_addr = options.service_addr.as_deref().unwrap_or(SERVICE_ADDR);
        if service_addr == "none" {
            return Err(Failure::usage(
                "a node that only names others is not here yet",
                "service-addr is `none`, which go-livepeer takes for that; name a host of that name as https://none",
            ));
        }
        let service = ServiceUrl::parse(service_addr)
            .map_err(|why| bad("service-addr", service_addr, why))?;
        let http_addr = options.http_addr.as_deref().unwrap_or_default();
        let listen = Listen::complete(http_addr, &service)
            .map_err(|why| bad("http-addr", http_addr, why))?;
        let trickle_listen = trickle_listen(options.trickle_addr.as_deref(), &listen)?;
        // An empty variable, or the example's own line switched on, means none; so it does for the second address.
        let told = options.trickle_service_addr.filter(|url| !url.is_empty());
        let trickle_service = told
            .map(|url| {
                ServiceUrl::parse(&url).map_err(|why| bad("trickle-service-addr", &url, why))
            })
            .transpose()?;
        let has_tls = listen.tls || trickle_listen.is_some_and(|listen| listen.tls);
        let tls_files = match (options.tls_cert, options.tls_key) {
            (None, None) => None,
            (Some(_), Some(_)) if !has_tls => {
                return Err(Failure::usage(
                    "a certificate was given, but the port speaks no TLS",
                    format!("the listening address is {listen}"),
                ));
            }
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => {
                return Err(Failure::usage(
                    "half a certificate was given",
                    "--tls-cert and --tls-key go together",
                ));
            }
        };
        let wanted = options.device.as_deref().map_or(Ok(Wanted::Auto), |text| {
            Wanted::parse(text).map_err(|why| bad("device", text, why))
        })?;
        let device = DeviceChoice::make(wanted, &machine.devices)?;
        // Lanes on one device take turns there: more than one is for what is left to the CPU.
        let lanes = options.lanes.or(device.does_all_steps.then_some(1));
        let placement = Placement::new(&machine.cpus, options.cores.as_deref(), lanes)
            .map_err(|why| Failure::usage("the CPUs cannot be shared out like that", why))?;
        let data_dir = options
            .data_dir
            .or_else(|| data_dir(machine.data_home.as_deref(), machine.home.as_deref()))
            .ok_or_else(|| {
                Failure::new(
                    Reason::DataDir,
                    "there is no data directory",
                    "neither XDG_DATA_HOME nor HOME is set",
                    "give --data-dir DIR",
                )
            })?;

        let payments = PaymentPlan::resolve(&PaymentOptions {
            network: options.network.as_deref(),
            eth_orch_addr: options.eth_orch_addr.as_deref(),
            keystore: (
                options.eth_keystore_path.as_deref(),
                options.eth_acct_addr.as_deref(),
                options.eth_password.as_deref(),
            ),
            price: (options.price_per_unit, options.pixels_per_unit),
            price_per_gateway: options.price_per_gateway.as_deref(),
            ai_models: options.ai_models.as_deref(),
            auto_adjust: options.auto_adjust_price,
            live: (options.live_payment_interval, options.payment_grace),
            ticket_ev: options.ticket_ev,
            max_face_value: options.max_face_value,
            verifier: options.ticket_verifier.as_deref(),
            gather: (options.ticket_batch, options.ticket_wait),
        })?;
        let shards = placement.cores.len();
        let usual = Limits::default();
        let connections_asked = options.max_connections.is_some();
        let limits = Limits {
            lane_percent: match options.lane_percent {
                None => usual.lane_percent,
                Some(percent @ 1..=1000) => percent,
                Some(other) => {
                    let why = "it can be 1 to 1000; over 100, sessions that come late share what there is";
                    return Err(bad("lane-percent", &other.to_string(), why.to_owned()));
                }
            },
            sessions: at_least_one("max-sessions", options.max_sessions)?.unwrap_or(usual.sessions),
            session_idle: seconds("session-idle", options.session_idle, 1)?
                .unwrap_or(usual.session_idle),
            connections: at_least_one("max-connections", options.max_connections)?
                .map_or(usual.connections, |all| all.div_ceil(shards)),
            channels: at_least_one("max-channels", options.max_channels)?
                .map_or(usual.channels, |all| all.div_ceil(shards)),
            segment_bytes: mib("max-segment-mib", options.max_segment_mib)?
                .unwrap_or(usual.segment_bytes),
            channel_bytes: mib("max-channel-mib", options.max_channel_mib)?
                .unwrap_or(usual.channel_bytes),
            page_bytes: page_bytes(options.page_memory_mib, shards, machine, usual.page_bytes)?,
            ..usual
        };
        if limits.channel_bytes < limits.segment_bytes {
            return Err(Failure::usage(
                "a channel could not hold one longest segment",
                "max-channel-mib is less than max-segment-mib",
            ));
        }
        Ok(Self {
            service,
            listen,
            trickle_listen,
            trickle_service,
            tls_files,
            placement,
            device,
            // An empty variable, or the example's own line switched on, means none.
            models_dir: options.models_dir.filter(|dir| !dir.as_os_str().is_empty()),
            onnxruntime: options
                .onnxruntime
                .filter(|file| !file.as_os_str().is_empty()),
            data_dir,
            autocreate: options.trickle_autocreate.unwrap_or(false),
            owner_delete: options.trickle_owner_delete.unwrap_or(false),
            changefeed: options.trickle_changefeed.unwrap_or(false),
            auth_webhook: webhook(options.auth_webhook_url)?,
            nodes: nodes(options.nodes.as_deref().unwrap_or_default())?,
            ping: options.startup_availability_check.unwrap_or(true),
            payments,
            connections_asked,
            limits,
            drain: seconds("drain-timeout", options.drain_timeout, 0)?
                .unwrap_or(Duration::from_secs(DRAIN_SECONDS)),
            log: options.log.unwrap_or_else(|| LOG.to_owned()),
        })
    }

    /// The plan as settings, every one of them said.
    pub(crate) fn to_options(&self) -> Options {
        let shards = self.placement.cores.len();
        Options {
            service_addr: Some(self.service.to_string()),
            http_addr: Some(self.listen.to_string()),
            trickle_addr: self.trickle_listen.map(|listen| listen.to_string()),
            trickle_service_addr: self.trickle_service.as_ref().map(ServiceUrl::to_string),
            tls_cert: self.tls_files.as_ref().map(|(cert, _)| cert.clone()),
            tls_key: self.tls_files.as_ref().map(|(_, key)| key.clone()),
            cores: Some(cores::to_list(&self.placement.cores)),
            lanes: Some(self.placement.lanes),
            // As it was asked for: a file that is printed here may be read where there is a GPU.
            device: Some(self.device.wanted.to_string()),
            models_dir: self.models_dir.clone(),
            onnxruntime: self.onnxruntime.clone(),
            data_dir: Some(self.data_dir.clone()),
            trickle_autocreate: Some(self.autocreate),
            trickle_owner_delete: Some(self.owner_delete),
            trickle_changefeed: Some(self.changefeed),
            lane_percent: Some(self.limits.lane_percent),
            max_sessions: Some(self.limits.sessions),
            session_idle: Some(self.limits.session_idle.as_secs()),
            max_connections: Some(self.limits.connections * shards),
            max_channels: Some(self.limits.channels * shards),
            max_segment_mib: Some(self.limits.segment_bytes / MIB),
            max_channel_mib: Some(self.limits.channel_bytes / MIB),
            page_memory_mib: Some(self.limits.page_bytes as u64 * shards as u64 / MIB),
            auth_webhook_url: self.auth_webhook.clone(),
            nodes: (!self.nodes.is_empty()).then(|| self.nodes.join(",")),
            startup_availability_check: Some(self.ping),
            drain_timeout: Some(self.drain.as_secs()),
            log: Some(self.log.clone()),
            ..self.payments.to_options()
        }
    }
}

/// Where trickle alone is served, if anywhere; `all` is where all is.
fn trickle_listen(text: Option<&str>, all: &Listen) -> Result<Option<Listen>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let listen = all
        .but(text)
        .map_err(|why| bad("trickle-addr", text, why))?;
    if engine::config::is_same_place(listen.addr, all.addr) {
        return Err(Failure::usage(
            format!("trickle-addr `{text}` is no second address"),
            format!(
                "the node listens on {} already: give it a port of its own",
                all.addr
            ),
        ));
    }
    Ok(Some(listen))
}

fn bad(name: &str, value: &str, why: String) -> Failure {
    Failure::usage(format!("{name} `{value}` is not understood"), why)
}

fn webhook(url: Option<String>) -> Result<Option<String>, Failure> {
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    match url.starts_with("http://") || url.starts_with("https://") {
        true => Ok(Some(url)),
        false => Err(bad(
            "auth-webhook-url",
            &url,
            "it begins with http:// or https://".to_owned(),
        )),
    }
}

/// Gateways take https alone here, and add it where it is missing.
fn nodes(list: &str) -> Result<Vec<String>, Failure> {
    let each = list
        .split(',')
        .map(str::trim)
        .filter(|node| !node.is_empty());
    each.map(|node| {
        let url = match node.contains("://") {
            true => node.to_owned(),
            false => format!("https://{node}"),
        };
        let parsed = ServiceUrl::parse(&url).map_err(|why| bad("nodes", node, why))?;
        match parsed.tls {
            true => Ok(parsed.to_string()),
            false => Err(bad(
                "nodes",
                node,
                "gateways take https URLs alone".to_owned(),
            )),
        }
    })
    .collect()
}

fn at_least_one(name: &str, value: Option<usize>) -> Result<Option<usize>, Failure> {
    match value {
        Some(0) => Err(Failure::usage(
            format!("{name} is 0"),
            "nothing could ever be served",
        )),
        value => Ok(value),
    }
}

fn seconds(name: &str, value: Option<u64>, min: u64) -> Result<Option<Duration>, Failure> {
    match value {
        Some(value) if !(min..=SECONDS_MAX).contains(&value) => Err(Failure::usage(
            format!("{name} is {value} seconds"),
            format!("it can be {min} to {SECONDS_MAX}"),
        )),
        value => Ok(value.map(Duration::from_secs)),
    }
}

fn mib(name: &str, value: Option<u64>) -> Result<Option<u64>, Failure> {
    let bytes = value.map(|mib| mib.checked_mul(MIB).filter(|bytes| *bytes > 0));
    match bytes {
        Some(None) => Err(Failure::usage(
            format!("{name} is out of range"),
            "it can be 1 to 17592186044415",
        )),
        bytes => Ok(bytes.flatten()),
    }
}

/// A shard's share of the memory for channels.
fn page_bytes(
    asked: Option<u64>,
    shards: usize,
    machine: &Machine,
    usual: usize,
) -> Result<usize, Failure> {
    let share = |all: u64| usize::try_from(all / shards as u64).unwrap_or(usize::MAX);
    match mib("page-memory-mib", asked)? {
        Some(all) if share(all) < PAGE_BYTES_MIN => Err(Failure::usage(
            format!("page-memory-mib is {}", all / MIB),
            format!(
                "a shard needs {} MiB, and there are {shards}",
                PAGE_BYTES_MIN >> 20
            ),
        )),
        Some(all) => Ok(share(all)),
        None => {
            let half = machine
                .memory_bytes
                .map_or(usize::MAX, |all| share(all / 2));
            Ok(usual.min(half.max(PAGE_BYTES_MIN)))
        }
    }
}

/// Where a node keeps its data when nobody says.
pub(crate) fn usual_data_dir() -> Option<PathBuf> {
    let (data_home, home) = homes();
    data_dir(data_home.as_deref(), home.as_deref())
}

/// `$XDG_DATA_HOME` and `$HOME`.
fn homes() -> (Option<PathBuf>, Option<PathBuf>) {
    let path = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    (path("XDG_DATA_HOME"), path("HOME"))
}

fn data_dir(data_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let shared = data_home.map(|home| home.join("millstream"));
    shared.or_else(|| home.map(|home| home.join(".millstream")))
}

/// `MemTotal` of `/proc/meminfo`.
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    total
        .split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1_024)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn machine() -> Machine {
        Machine {
            cpus: vec![0, 1, 2, 3],
            memory_bytes: Some(16 << 30),
            data_home: None,
            home: Some("/home/mill".into()),
            devices: crate::device::tests::bare(),
        }
    }

    fn plan(toml: &str) -> Result<Plan, String> {
        Plan::resolve(Options::from_toml(toml).unwrap(), &machine())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn nothing_said_is_a_node_on_loopback() {
        let plan = plan("").unwrap();
        assert_eq!(plan.service.to_string(), "https://127.0.0.1:8935");
        assert_eq!(
            plan.listen,
            Listen {
                addr: "127.0.0.1:8935".parse().unwrap(),
                tls: true
            }
        );
        assert_eq!(
            (plan.placement.cores, plan.placement.lanes),
            (vec![0, 1], 2)
        );
        assert_eq!(plan.data_dir, PathBuf::from("/home/mill/.millstream"));
        assert_eq!(plan.device.wanted, Wanted::Auto);
        assert_eq!(
            plan.device.lines[0],
            "no CUDA driver (libcuda.so.1 not found); using CPU"
        );
        assert_eq!(plan.models_dir, None);
        assert_eq!(self::plan("models-dir = \"\"").unwrap().models_dir, None);
        assert!(!plan.autocreate && !plan.owner_delete && !plan.connections_asked);
        assert_eq!(plan.limits.page_bytes, Limits::default().page_bytes);
        assert_eq!(plan.drain, Duration::from_secs(30));
    }

    #[test]
    fn a_second_address_is_optional_and_has_tls_or_not_for_itself() {
        let plan = |toml: &str| plan(&format!("service-addr = \"https://node.example\"\n{toml}"));
        let none = plan("trickle-addr = \"\"\ntrickle-service-addr = \"\"").unwrap();
        assert_eq!((none.trickle_listen, none.trickle_service), (None, None));
        let some = plan(
            "trickle-addr = \"http://127.0.0.1:9000\"\ntrickle-service-addr = \"https://cdn.example:443\"",
        )
        .unwrap();
        let listen = some.trickle_listen.map(|listen| listen.to_string());
        assert_eq!(listen.as_deref(), Some("http://127.0.0.1:9000"));
        let told = some.trickle_service.map(|url| url.to_string());
        assert_eq!(told.as_deref(), Some("https://cdn.example:443"));
        // A certificate may be for the second address alone.
        let files = "tls-cert = \"c\"\ntls-key = \"k\"\nhttp-addr = \"http://:8935\"";
        assert!(plan(&format!("{files}\ntrickle-addr = \"https://:1\"")).is_ok());
        assert!(plan(&format!("{files}\ntrickle-addr = \":1\"")).is_err());
    }

    #[test]
    fn totals_are_shared_among_the_shards() {
        let plan = plan(
            "cores = \"0-2\"\nmax-connections = 1000\nmax-channels = 31\npage-memory-mib = 96\n",
        )
        .unwrap();
        assert_eq!((plan.limits.connections, plan.limits.channels), (334, 11));
        assert_eq!(plan.limits.page_bytes, 32 << 20);
        assert!(plan.connections_asked);
    }

    #[test]
    fn channels_take_half_of_a_small_machine_at_most() {
        let small = Machine {
            memory_bytes: Some(1 << 30),
            ..machine()
        };
        let plan = Plan::resolve(Options::default(), &small).unwrap();
        assert_eq!(
            plan.limits.page_bytes,
            256 << 20,
            "1 GiB, half of it, two shards"
        );
        assert_eq!(
            memory_bytes("MemFree: 1 kB\nMemTotal:       16384 kB\n"),
            Some(16 << 20)
        );
        assert_eq!(memory_bytes("MemTotal: lots"), None);
    }

    #[test]
    fn the_data_directory_follows_the_desktop_rules() {
        let desktop = Machine {
            data_home: Some("/xdg".into()),
            ..machine()
        };
        let plan = Plan::resolve(Options::default(), &desktop).unwrap();
        assert_eq!(plan.data_dir, PathBuf::from("/xdg/millstream"));
        let homeless = Machine {
            home: None,
            ..machine()
        };
        assert_eq!(
            Plan::resolve(Options::default(), &homeless)
                .unwrap_err()
                .status(),
            13
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        for (toml, reason) in [
            (
                "service-addr = \"ftp://x\"",
                "service-addr `ftp://x` is not understood",
            ),
            (
                "service-addr = \"none\"",
                "a node that only names others is not here yet",
            ),
            (
                "http-addr = \"x.example\"",
                "http-addr `x.example` is not understood",
            ),
            (
                "trickle-addr = \"ftp://x\"",
                "trickle-addr `ftp://x` is not understood",
            ),
            (
                "trickle-addr = \"127.0.0.1\"",
                "the node listens on 127.0.0.1:8935 already",
            ),
            (
                "trickle-addr = \"0.0.0.0:8935\"",
                "trickle-addr `0.0.0.0:8935` is no second address",
            ),
            (
                "trickle-service-addr = \"https://x/y\"",
                "trickle-service-addr `https://x/y` is not understood",
            ),
            (
                "tls-cert = \"c.pem\"",
                "--tls-cert and --tls-key go together",
            ),
            (
                "service-addr = \"http://x\"\ntls-cert = \"c\"\ntls-key = \"k\"",
                "the port speaks no TLS",
            ),
            ("cores = \"9\"", "CPU 9 is not among those"),
            ("lanes = 0", "0 lanes"),
            ("lane-percent = 0", "lane-percent `0` is not understood"),
            ("device = \"gpu\"", "device `gpu` is not understood"),
            ("device = \"cuda:0\"", "device `cuda:0` cannot be used"),
            (
                "device = \"cuda\"",
                "why: no CUDA driver (libcuda.so.1 not found)",
            ),
            ("max-sessions = 0", "max-sessions is 0"),
            ("session-idle = 0", "session-idle is 0 seconds"),
            ("drain-timeout = 99999999", "it can be 0 to 86400"),
            (
                "page-memory-mib = 8",
                "a shard needs 16 MiB, and there are 2",
            ),
            ("max-segment-mib = 0", "max-segment-mib is out of range"),
            (
                "max-segment-mib = 9000000000000000000",
                "max-segment-mib is out of range",
            ),
            (
                "max-segment-mib = 600\nmax-channel-mib = 599",
                "max-channel-mib is less than",
            ),
        ] {
            let text = plan(toml).unwrap_err();
            assert!(text.contains(reason), "{toml}: {text}");
        }
    }

    #[test]
    fn a_plan_printed_and_read_again_is_the_same_plan() {
        let first =
            plan("service-addr = \"https://node.example\"\ncores = \"1-2\"\nlog = \"debug\"\ntrickle-addr = \":9000\"")
                .unwrap();
        let printed = first.to_options().to_toml().unwrap();
        let second = plan(&printed).unwrap();
        assert_eq!(second.to_options().to_toml().unwrap(), printed);
    }
}
