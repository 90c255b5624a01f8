//! The handshake with a client that is not ours: grpcio, the library that Python has of C, with stubs that protoc makes of `proto/net`.
//!
//! It looks at what our own client does not: it checks the node's certificate, insists on `h2` by ALPN, and has an HTTP/2 and a protobuf of its
//! own. What comes of each call is printed by `peers/handshake.py` and judged here. Four worlds: off-chain and paid, over TLS and in the clear.
//!
//! The interpreter is `MILLSTREAM_PYTHON_GRPC`, else `.venv-grpc/bin/python` at the root of the repository, else `python3`. Where it has no
//! grpcio and grpcio-tools the test steps aside and says so, unless `MILLSTREAM_REQUIRE_TOOLS` is set.

#[path = "support/node.rs"]
mod node;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::gateway::client;
use control::ticket::sender::LocalKey;
use control::ticket::signature::signer_of_text;
use control::ticket::{Address, Wei};
use node::{Node, PAID_HALF_WIN};
use serde_json::{Value, json};

/// What every node here is started with, beside its address.
const COMMON: [&str; 10] = [
    "--device",
    "cpu",
    "--max-sessions",
    "3",
    "--lanes",
    "1",
    // So that it is the three places that count, however slow the machine is.
    "--lane-percent",
    "1000",
    "--nodes",
    "https://b.example:8935,c.example",
];
/// What one model costs, where others cost 1200 wei a pixel.
const PRICES: [&str; 2] = [
    "--ai-models",
    r#"[{"pipeline": "live-video-to-video", "model_id": "builtin/edges", "price_per_unit": 7, "pixels_per_unit": 2}]"#,
];
const MODEL: &str = "builtin/edges";
/// Half of the tickets of `PAID_HALF_WIN` win.
const TICKET_EV_WEI: u64 = 8_000_000_000;
const FACE_VALUE_WEI: u64 = 16_000_000_000;
/// The memory network's.
const BLOCK_SECONDS: u64 = 12;
const ROUND_BLOCKS: u64 = 5_760;

#[test]
fn off_chain_over_tls() {
    World::OFF_CHAIN.over("https").shakes_hands();
}

#[test]
fn off_chain_in_the_clear() {
    World::OFF_CHAIN.over("http").shakes_hands();
}

#[test]
fn paid_over_tls() {
    World::PAID.over("https").shakes_hands();
}

#[test]
fn paid_in_the_clear() {
    World::PAID.over("http").shakes_hands();
}

#[derive(Clone, Copy)]
struct World {
    is_paid: bool,
    scheme: &'static str,
}

impl World {
    const OFF_CHAIN: Self = Self {
        is_paid: false,
        scheme: "https",
    };
    const PAID: Self = Self {
        is_paid: true,
        ..Self::OFF_CHAIN
    };

    fn over(self, scheme: &'static str) -> Self {
        Self { scheme, ..self }
    }

    fn shakes_hands(self) {
        let Some(python) = python_with_grpcio() else {
            return;
        };
        let mut node = self.start();
        let key = LocalKey::new([0x51; 32]).unwrap();
        // Off-chain a signature means nothing and does no harm: signed and unsigned are both heard.
        let senders: &[Option<&LocalKey>] = match self.is_paid {
            true => &[Some(&key)],
            false => &[None, Some(&key)],
        };
        for sender in senders {
            let said = self.talk(&python, &node, *sender);
            self.judge_greetings(&said, &node);
            self.judge_pings(&said);
            judge_ends(&said["end"]);
            judge_unknown(&said["unknown"]);
            self.judge_info(answer(&said["still_there"]), &node);
        }
        assert!(node.child.try_wait().unwrap().is_none(), "it lives on");
    }

    fn start(self) -> Node {
        let name = format!("grpc-{}-{}", self.scheme, self.is_paid);
        let service = format!("{}://localhost:0", self.scheme);
        let mut args = vec!["--service-addr", &service];
        args.extend(COMMON);
        if self.is_paid {
            // Its `--lanes 1` is among the common ones.
            args.extend(&PAID_HALF_WIN[..10]);
            args.extend(PRICES);
        }
        Node::start(&name, &args)
    }

    /// Runs the client through all its calls.
    fn talk(self, python: &Path, node: &Node, sender: Option<&LocalKey>) -> Value {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let greeting = client::request(sender, None, false);
        let mut command = Command::new(python);
        command
            .arg(here.join("tests/peers/handshake.py"))
            .arg(here.join("../../proto"))
            .arg(format!("localhost:{}", node.addr.port()))
            .args(["--model", MODEL])
            .args(["--address", &to_hex(&greeting.address)])
            .args(["--sig", &to_hex(&greeting.sig)]);
        if self.scheme == "https" {
            command.arg("--root").arg(node.dir.join("cert.pem"));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn judge_greetings(self, said: &Value, node: &Node) {
        let (look, job) = (answer(&said["look"]), answer(&said["job"]));
        self.judge_info(look, node);
        self.judge_info(job, node);
        assert_ne!(
            look["auth_token"]["session_id"], job["auth_token"]["session_id"],
            "a session of its own for each"
        );
        // Who only looks is told the price of work in general and those of models; who has a job, the price of that.
        if self.is_paid {
            let seed = |info: &Value| info["ticket_params"]["seed"].clone();
            assert_ne!(seed(look), seed(job));
            let price = json!({"pricePerUnit": "1200", "pixelsPerUnit": "1"});
            assert_eq!(look["price_info"], price);
            let price = json!({"pricePerUnit": "7", "pixelsPerUnit": "2"});
            assert_eq!(job["price_info"], price);
            let mut listed = price;
            listed["capability"] = 35.into();
            listed["constraint"] = MODEL.into();
            assert_eq!(look["capabilities_prices"], json!([listed]));
        } else {
            for nothing in ["ticket_params", "price_info", "capabilities_prices"] {
                assert_eq!(look[nothing], Value::Null, "{nothing}");
            }
        }
        assert_eq!(job["capabilities_prices"], Value::Null);

        // Zeros for an address and no signature: a gateway that is off-chain.
        match self.is_paid {
            true => refused(
                &said["nobody"],
                "Invalid orchestrator request: orchestrator req sig check failed",
            ),
            false => self.judge_info(answer(&said["nobody"]), node),
        }
        refused(
            &said["other_model"],
            "Invalid orchestrator request: OrchestratorCapped",
        );
    }

    /// All that is said in any answer.
    fn judge_info(self, info: &Value, node: &Node) {
        let service = format!("{}://localhost:{}", self.scheme, node.addr.port());
        assert_eq!(info["transcoder"], service.as_str());
        let nodes = ["https://b.example:8935", "https://c.example:8935"];
        assert_eq!(info["nodes"], json!(nodes));
        // No GPU, and no store but the node itself.
        assert_eq!(
            (&info["hardware"], &info["storage"]),
            (&Value::Null, &Value::Null)
        );
        judge_token(&info["auth_token"]);
        judge_capabilities(&info["capabilities"]);
        let address = Address::from_wire(&bytes(&info["address"]));
        assert_eq!(address == Address::ZERO, !self.is_paid);
        if self.is_paid {
            judge_params(&info["ticket_params"]);
        }
    }

    fn judge_pings(self, said: &Value) {
        let address = bytes(&answer(&said["job"])["address"]);
        let thirty_two: Vec<u8> = (0..32).collect();
        for (name, value) in [("ping", &thirty_two[..]), ("ping_64", &[0; 64])] {
            let signature = &answer(&said[name])["value"];
            match self.is_paid {
                true => assert_eq!(
                    signer_of_text(value, &bytes(signature)),
                    Ok(Address::from_wire(&address)),
                    "signed by whom the answer to a greeting names"
                ),
                false => assert_eq!(*signature, Value::Null, "nobody signs with no bytes"),
            }
        }
        refused(&said["ping_65"], "a ping has at most 64 bytes");
    }
}

fn judge_token(token: &Value) {
    assert_eq!(bytes(&token["token"]).len(), 32);
    let session = token["session_id"].as_str().unwrap();
    assert!(
        session.len() == 32 && session.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{session}"
    );
    let holds = number(&token["expiration"]) - now();
    assert!(
        (1_740..=1_800).contains(&holds),
        "half an hour, not {holds} s"
    );
}

fn judge_capabilities(capabilities: &Value) {
    let words = capabilities["bitstring"].as_array().unwrap();
    let bits: Vec<u64> = (0..64 * words.len() as u64)
        .filter(|bit| number(&words[*bit as usize / 64]) >> (bit % 64) & 1 == 1)
        .collect();
    // What every node has, and live video.
    let all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 26, 35];
    assert_eq!(bits, all);
    let once: Value = all.iter().map(|bit| (bit.to_string(), json!(1))).collect();
    assert_eq!(capabilities["capacities"], once);
    assert_eq!(capabilities["mandatories"], Value::Null);
    assert_eq!(capabilities["version"], "0.9.1");
    let constraints = &capabilities["constraints"];
    assert_eq!(constraints["minVersion"], Value::Null);
    let models = [
        "noop",
        "builtin/passthrough",
        "builtin/grayscale",
        "builtin/edges",
        "builtin/blur",
        "builtin/pixelate",
        "builtin/invert",
        "onnx/denoise",
    ];
    // Three sessions fit, of any of them, and none runs.
    let idle = |model: &&str| ((*model).to_owned(), json!({"warm": true, "capacity": 3}));
    let models: Value = models.iter().map(idle).collect();
    let live_alone = json!({"35": {"models": models}});
    assert_eq!(constraints["PerCapability"], live_alone);
}

fn judge_params(params: &Value) {
    let integer = |name: &str| {
        let bytes = bytes(&params[name]);
        assert_ne!(bytes.first(), Some(&0), "{name}: no leading zeros");
        Wei::try_from_be_slice(&bytes).unwrap()
    };
    let (face_value, ev) = (Wei::from(FACE_VALUE_WEI), Wei::from(TICKET_EV_WEI));
    let recipient: Address = PAID_HALF_WIN[3].parse().unwrap();
    assert_eq!(bytes(&params["recipient"]), recipient.0);
    assert_eq!(integer("face_value"), face_value);
    assert_eq!(integer("win_prob"), ev * Wei::MAX.div_ceil(face_value));
    assert_eq!(bytes(&params["recipient_rand_hash"]).len(), 32);
    // 32 bytes of chance, a few of which may be zeros in front.
    assert!(integer("seed") > Wei::from(u128::MAX));
    let block = now() / BLOCK_SECONDS;
    let expires = integer("expiration_block").to::<u64>();
    assert!(
        (block + 35..=block + 40).contains(&expires),
        "{expires} at {block}"
    );
    let made = &params["expiration_params"];
    let (round, made_in) = (block / ROUND_BLOCKS, number(&made["creation_round"]));
    assert!(
        made_in == round || made_in + 1 == round,
        "{made_in} at {round}"
    );
    assert_eq!(bytes(&made["creation_round_block_hash"]).len(), 32);
}

/// A session may be ended by whoever shows its token, any number of times; by nobody else, and nobody else ends the node.
fn judge_ends(ends: &Value) {
    let ends = ends.as_object().unwrap();
    for (name, end) in ends {
        match name.as_str() {
            "good" | "again" => assert_eq!(*answer(end), json!({}), "{name}"),
            _ => refused(end, "Invalid auth token"),
        }
    }
    assert_eq!(ends.len(), 8);
}

fn judge_unknown(calls: &Value) {
    let calls = calls.as_object().unwrap();
    for (name, call) in calls {
        assert_eq!(call["code"], "UNIMPLEMENTED", "{name}: {call}");
    }
    assert_eq!(calls.len(), 4);
}

/// The message that came back.
#[track_caller]
fn answer(call: &Value) -> &Value {
    assert!(call["answer"].is_object(), "{call}");
    &call["answer"]
}

/// As plain errors of go-livepeer's are, for gateways match their texts.
#[track_caller]
fn refused(call: &Value, text: &str) {
    assert_eq!(*call, json!({"code": "UNKNOWN", "text": text}));
}

/// Bytes are base64 in protobuf's JSON; none at all are left out.
#[track_caller]
fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Integers of 64 bits are strings in protobuf's JSON.
#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// An interpreter that has what the client needs.
fn python_with_grpcio() -> Option<PathBuf> {
    let of_environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv-grpc/bin/python");
    let python = std::env::var_os("MILLSTREAM_PYTHON_GRPC")
        .map(PathBuf::from)
        .or_else(|| of_environment.exists().then_some(of_environment))
        .unwrap_or_else(|| "python3".into());
    let has_it = Command::new(&python)
        .args(["-c", "import grpc, grpc_tools"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_it {
        return Some(python);
    }
    let why = format!(
        "{} has no grpcio and grpcio-tools; make one that has with `python3 -m venv .venv-grpc && \
         .venv-grpc/bin/pip install grpcio grpcio-tools`",
        python.display()
    );
    assert!(
        std::env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(),
        "MILLSTREAM_REQUIRE_TOOLS is set, and {why}"
    );
    println!("SKIPPED: {why}");
    None
}
