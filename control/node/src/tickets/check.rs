//! Test vectors, through every verifier.

use std::fmt::Write as _;
use std::path::Path;

use control::ticket::address::{Address, Hash};
use control::ticket::layout::{self, Digest, Ticket};
use control::ticket::signature::SignatureFault;
use control::ticket::verify::{Claim, Limits, Verifier};
use control::ticket::{ExpectedValue, Signature, Wei};
use engine::VerifierChoice;
use serde_json::Value;

use crate::failure::{Failure, Reason};

/// A list of findings; empty when all is as expected.
type Findings = Vec<String>;

/// Reads a file and puts all of it through: a line of `out` each, and a total.
pub(super) fn run(file: &Path, out: &mut String) -> Result<(), Failure> {
    let unreadable = |why: String| {
        let fix = "give a JSON file with a list `vectors`, a list `signature_vectors`, or both; see `millstream ticket check --help`";
        let what = format!("{} is no file of vectors", file.display());
        Failure::new(Reason::Usage, what, why, fix)
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let vectors: Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let lists = [
        list(&vectors, "vectors"),
        list(&vectors, "signature_vectors"),
    ];
    if lists.iter().all(|list| list.is_empty()) {
        return Err(unreadable("neither list has anything in it".to_owned()));
    }
    let [tickets, signatures] = lists;
    let mut bench = Bench::new();
    out.push_str(&bench.header());
    let mut wrong = 0;
    let checks = tickets
        .iter()
        .map(|vector| ("ticket", vector))
        .chain(signatures.iter().map(|vector| ("signature", vector)));
    let mut total = 0;
    for (kind, vector) in checks {
        let name = vector["name"].as_str().unwrap_or("(no name)");
        let outcome = match kind {
            "ticket" => bench.ticket(vector),
            _ => bench.signature(vector),
        };
        total += 1;
        let said = match &outcome {
            Ok((findings, summary)) if findings.is_empty() => {
                format!("ok    {kind:<9}  {name:<28}  {summary}")
            }
            Ok((findings, _)) => format!("FAIL  {kind:<9}  {name:<28}  {}", findings.join("; ")),
            Err(missing) => format!("FAIL  {kind:<9}  {name:<28}  {missing}"),
        };
        wrong += usize::from(!said.starts_with("ok"));
        let _ = writeln!(out, "{said}");
    }
    let _ = writeln!(
        out,
        "\n{} of {total} vectors agree, through {}",
        total - wrong,
        bench.names()
    );
    match wrong {
        0 => Ok(()),
        _ => {
            let fix = "a line that says FAIL tells what was found and what was expected";
            let why = format!("{wrong} of {total} do not");
            let what = "not all vectors agree";
            Err(Failure::new(Reason::No, what, why, fix))
        }
    }
}

fn list<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    vectors[name].as_array().map_or(&[], Vec::as_slice)
}

/// The verifiers.
struct Bench {
    verifiers: Vec<Box<dyn Verifier>>,
    missing: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        // A sender has a table from its first signature on.
        let limits = Limits {
            table_after: 1,
            ..Limits::default()
        };
        let mut bench = Self {
            verifiers: Vec::new(),
            missing: Vec::new(),
        };
        for choice in [
            VerifierChoice::Reference,
            VerifierChoice::Known,
            VerifierChoice::Vector,
        ] {
            match choice.make(limits) {
                Ok(verifier) => bench.verifiers.push(verifier),
                Err(why) => bench.missing.push(why),
            }
        }
        bench
    }

    fn header(&self) -> String {
        self.missing
            .iter()
            .map(|why| format!("note  not asked: {why}\n"))
            .collect()
    }

    fn names(&self) -> String {
        let names: Vec<_> = self
            .verifiers
            .iter()
            .map(|verifier| verifier.name())
            .collect();
        format!("{} verifiers ({})", names.len(), names.join(", "))
    }

    /// A ticket: its bytes, hashes, signature, draw and value.
    fn ticket(&mut self, vector: &Value) -> Result<(Findings, String), String> {
        let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
        let ticket = Ticket {
            recipient: address(&inputs["recipient"], "recipient")?,
            sender: address(&inputs["sender"], "sender")?,
            face_value: wei(&inputs["face_value_dec"], "face_value_dec")?,
            win_prob: wei(&inputs["win_prob_dec"], "win_prob_dec")?,
            sender_nonce: number(&inputs["sender_nonce"], "sender_nonce")?,
            recipient_rand_hash: Hash(bytes(
                &expected["recipient_rand_hash"],
                "recipient_rand_hash",
            )?),
            creation_round: number(&inputs["creation_round"], "creation_round")?,
            creation_round_block_hash: Hash(bytes(
                &inputs["creation_round_block_hash"],
                "creation_round_block_hash",
            )?),
        };
        let mut findings = Vec::new();
        let mut same = |name: &str, found: String| match expected[name].as_str() {
            Some(wanted) if wanted.eq_ignore_ascii_case(&found) => {}
            Some(wanted) => findings.push(format!("{name} is {found}, not {wanted}")),
            None => findings.push(format!("no {name} is expected")),
        };
        same("flattened", hex(ticket.flatten().as_bytes()));
        same("ticket_hash", hex(&ticket.hash().0));
        let digest = ticket.digest();
        same("eip191_digest", hex(&digest.0));
        let rand: [u8; 32] = bytes(&expected["recipient_rand"], "recipient_rand")?;
        let signature: [u8; 65] = bytes(&expected["signature"], "signature")?;
        let signature =
            Signature::parse(&signature).map_err(|fault| format!("signature: {fault}"))?;
        let draw = layout::draw(&signature, &rand);
        same("win_hash", hex(&draw));
        let has_won = layout::wins(&draw, ticket.win_prob);
        if expected["won"].as_bool() != Some(has_won) {
            findings.push(format!(
                "it {}, which is not expected",
                if has_won { "wins" } else { "loses" }
            ));
        }
        self.ask(
            &digest,
            &signature,
            ticket.sender,
            Some(ticket.sender),
            &mut findings,
        );
        let value = ExpectedValue::of(ticket.face_value, ticket.win_prob);
        let summary = format!(
            "{}, worth {} wei",
            if has_won { "wins" } else { "loses" },
            value.floor_wei()
        );
        Ok((findings, summary))
    }

    /// A signature: what the contract says of it.
    fn signature(&mut self, vector: &Value) -> Result<(Findings, String), String> {
        let digest = Digest(bytes(&vector["digest"], "digest")?);
        let sender = address(&vector["sender"], "sender")?;
        let raw = vector["signature"]
            .as_str()
            .and_then(unhex)
            .ok_or("no signature in it")?;
        let accepts = vector["contract_accepts"]
            .as_bool()
            .ok_or("no contract_accepts in it")?;
        let mut findings = Vec::new();
        let verdict = match Signature::parse(&raw) {
            Err(fault) => Some(fault.contract_text()),
            Ok(signature) => {
                // An older form of the file has no address; then only the verdict counts.
                let recovered = match &vector["go_livepeer_recovered"] {
                    Value::String(text) => Some(
                        text.parse::<Address>()
                            .map_err(|error| format!("go_livepeer_recovered: {error}"))?,
                    ),
                    _ => None,
                };
                let found = self.ask(&digest, &signature, sender, recovered, &mut findings);
                match found {
                    Some(signer) if signer == sender => None,
                    Some(_) => Some("invalid signature over ticket hash"),
                    None => Some(SignatureFault::Unrecoverable.contract_text()),
                }
            }
        };
        if verdict != vector["contract_revert"].as_str() {
            findings.push(format!(
                "the verdict is {}, not {}",
                verdict.unwrap_or("accepted"),
                vector["contract_revert"]
            ));
        }
        if verdict.is_none() != accepts {
            findings.push(format!(
                "the contract {} it",
                if accepts { "accepts" } else { "refuses" }
            ));
        }
        Ok((findings, verdict.unwrap_or("accepted").to_owned()))
    }

    /// Asks every verifier whose signature it is, and whether it is the sender's, before and after the sender is known.
    fn ask(
        &mut self,
        digest: &Digest,
        signature: &Signature,
        sender: Address,
        signer: Option<Address>,
        findings: &mut Findings,
    ) -> Option<Address> {
        let text = |signer: Option<Address>| {
            signer.map_or("nobody's".to_owned(), |signer| format!("{signer}'s"))
        };
        let claim = Claim {
            digest: *digest,
            signature: *signature,
            sender,
        };
        let mut answer = signer;
        for verifier in &mut self.verifiers {
            // Eight times the same, so that vectors are full.
            let (mut signers, mut genuine) = (Vec::new(), Vec::new());
            verifier.recover(&[(*digest, *signature); 8], &mut signers);
            if let Some(wrong) = signers.iter().find(|found| **found != signer) {
                findings.push(format!(
                    "{}: it is {}, not {}",
                    verifier.name(),
                    text(*wrong),
                    text(signer)
                ));
                answer = *wrong;
            }
            for _ in 0..2 {
                verifier.verify(&[claim; 8], &mut genuine);
            }
            let expected = signer == Some(sender);
            if genuine.iter().any(|is_genuine| *is_genuine != expected) {
                let word = if expected {
                    "is not found to be"
                } else {
                    "is found to be"
                };
                findings.push(format!("{}: it {word} the sender's", verifier.name()));
            }
        }
        answer
    }
}

fn address(value: &Value, name: &str) -> Result<Address, String> {
    let text = value.as_str().ok_or_else(|| format!("no {name} in it"))?;
    text.parse().map_err(|error| format!("{name}: {error}"))
}

fn wei(value: &Value, name: &str) -> Result<Wei, String> {
    let text = value.as_str().ok_or_else(|| format!("no {name} in it"))?;
    text.parse()
        .map_err(|error| format!("{name} `{text}`: {error}"))
}

fn number<T: TryFrom<u64>>(value: &Value, name: &str) -> Result<T, String> {
    value
        .as_u64()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("no {name} in it, or none that fits"))
}

fn bytes<const N: usize>(value: &Value, name: &str) -> Result<[u8; N], String> {
    let bytes = value
        .as_str()
        .and_then(unhex)
        .ok_or_else(|| format!("no {name} in it"))?;
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("{name} has {length} bytes, not {N}"))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| {
            u8::from_str_radix(
                std::str::from_utf8(pair)
                    .ok()
                    .filter(|pair| pair.len() == 2)?,
                16,
            )
            .ok()
        })
        .collect()
}
