//! What opens, what does not, and with which words; against the examples of the format and the files of other programs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::*;

/// Of the format's own two examples.
const EXAMPLE_KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
const EXAMPLE_ADDRESS: &str = "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b";
const EXAMPLE_PASSWORD: &[u8] = b"testpassword";
const EXAMPLE_PBKDF2: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;
const EXAMPLE_SCRYPT: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "r": 1,
            "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;

/// Two files of other programs for one key, the bytes 1 to 32: Python's eth-keyfile, and ethers of JavaScript, which writes `Crypto` and
/// fields of its own.
const OTHERS_PASSWORD: &str = "pässword 密";
const BY_ETH_KEYFILE: &str = r#"{"address": "6370eF2f4Db3611D657b90667De398a2Cc2a370C", "crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "5daf891bf9a9896b421f645a410a81b3"}, "ciphertext": "c14b705d22c099a8c30b49a40272dcdca52ed11e2ce06226602f83b5c7657ebb", "kdf": "scrypt", "kdfparams": {"dklen": 32, "n": 4096, "r": 8, "p": 1, "salt": "0145fe644c93ca85f107559f06d09077"}, "mac": "cbcde302245260d1452701c1714f66a544357997ff5600056fc41c917c370406"}, "id": "a3e2e248-994c-436b-9389-a9b9c448859c", "version": 3}"#;
const BY_ETHERS: &str = r#"{"address":"6370ef2f4db3611d657b90667de398a2cc2a370c","id":"4ee58dcb-92b2-4f68-9b46-5b4e5caced4f","version":3,"Crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"5c5e47b3c2ff14b2c7ecf4ee304959e0"},"ciphertext":"333826c42ec8f7872df4dbf6a2bfea74a7e951f05ae201a96d0c88a86c19d2e1","kdf":"scrypt","kdfparams":{"salt":"942643d29b590c646492a8e198acef0ecbac2b58378f8c999c461bb45c5799fd","n":4096,"dklen":32,"p":1,"r":8},"mac":"8d181edf1946932a0a1a460768b99e12f67c5b668c4c35f296ea4e9f28d34913"}}"#;

/// Chance that starts anywhere and goes on by one; the clock is not asked.
struct Counting(AtomicU8);

impl World for Counting {
    fn unix_ms(&self) -> u64 {
        unreachable!("a keystore has no date")
    }

    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for byte in bytes {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct NoChance;

impl World for NoChance {
    fn unix_ms(&self) -> u64 {
        0
    }

    fn fill(&self, _bytes: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("none left"))
    }
}

fn world() -> Counting {
    Counting(AtomicU8::new(0))
}

fn one_to_32() -> [u8; 32] {
    std::array::from_fn(|n| u8::try_from(n + 1).unwrap())
}

/// A keystore that costs next to nothing: what else is wrong with it is found at once.
fn cheap() -> String {
    let params = serde_json::json!({"dklen": 32, "n": 2, "p": 1, "r": 1, "salt": "00ff"});
    let kdf = Kdf::read("scrypt", params).unwrap();
    seal(&one_to_32(), b"pw", kdf, &world()).unwrap()
}

/// Opens the cheap one after a change of its text.
fn opened(from: &str, to: &str) -> Result<LocalKey, Error> {
    let (before, after) = (cheap(), cheap().replacen(from, to, 1));
    assert!(before.contains(from), "{from} is not in {before}");
    decrypt(&after, b"pw")
}

fn refusal(from: &str, to: &str) -> String {
    opened(from, to).unwrap_err().to_string()
}

#[test]
fn the_formats_own_examples_open() {
    for json in [EXAMPLE_PBKDF2, EXAMPLE_SCRYPT] {
        let key = decrypt(json, EXAMPLE_PASSWORD).unwrap();
        assert_eq!(key.address(), EXAMPLE_ADDRESS.parse().unwrap());
        let expected = LocalKey::new(hex::decode(EXAMPLE_KEY).unwrap().try_into().unwrap());
        assert_eq!(key.address(), expected.unwrap().address());
    }
}

#[test]
fn files_of_other_programs_open() {
    let key = LocalKey::new(one_to_32()).unwrap();
    for json in [BY_ETH_KEYFILE, BY_ETHERS] {
        let opened = decrypt(json, OTHERS_PASSWORD.as_bytes()).unwrap();
        assert_eq!(opened.address(), key.address());
    }
}

#[test]
fn what_is_written_opens_again_and_reads_as_geth_writes_it() {
    let json = encrypt(&one_to_32(), b"pw", Cost::Light, &world()).unwrap();
    let key = decrypt(&json, b"pw").unwrap();
    assert_eq!(key.address(), LocalKey::new(one_to_32()).unwrap().address());

    // The world counts: the salt is 0 to 31, the iv 32 to 47, the id 48 to 63 with its version and variant.
    let salt = hex::encode((0..32).collect::<Vec<u8>>());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ciphertext = value["crypto"]["ciphertext"].as_str().unwrap();
    let mac = value["crypto"]["mac"].as_str().unwrap();
    assert_eq!((ciphertext.len(), mac.len()), (64, 64));
    assert_eq!(
        json,
        format!(
            concat!(
                r#"{{"address":"6370ef2f4db3611d657b90667de398a2cc2a370c","crypto":{{"cipher":"aes-128-ctr","ciphertext":"{}","#,
                r#""cipherparams":{{"iv":"202122232425262728292a2b2c2d2e2f"}},"kdf":"scrypt","#,
                r#""kdfparams":{{"dklen":32,"n":4096,"p":6,"r":8,"salt":"{}"}},"mac":"{}"}},"#,
                r#""id":"30313233-3435-4637-b839-3a3b3c3d3e3f","version":3}}"#
            ),
            ciphertext, salt, mac
        )
    );
}

#[test]
fn the_costs_are_geths() {
    for (cost, n, p) in [(Cost::Standard, 262_144, 1), (Cost::Light, 4_096, 6)] {
        let (kdf, params) = Kdf::of_cost(cost, &[0; 32]).write().unwrap();
        assert_eq!(kdf, "scrypt");
        let salt = "00".repeat(32);
        let expected = serde_json::json!({"dklen": 32, "n": n, "p": p, "r": 8, "salt": salt});
        assert_eq!(params, expected);
        assert!(Kdf::read(kdf, params).is_ok(), "within our own limits");
    }
}

#[test]
fn pbkdf2_is_written_as_it_was_read() {
    let params = serde_json::json!({"c": 7, "dklen": 32, "prf": "hmac-sha256", "salt": "00ff"});
    let kdf = Kdf::read("pbkdf2", params.clone()).unwrap();
    assert_eq!(kdf.write().unwrap(), ("pbkdf2", params));
}

#[test]
fn another_password_or_a_changed_file_does_not_open() {
    let json = encrypt(&one_to_32(), b"pw", Cost::Light, &world()).unwrap();
    for password in [&b"pW"[..], b"", b"pw\n"] {
        let error = decrypt(&json, password).unwrap_err();
        assert!(matches!(error, Error::WrongPassword));
        assert!(
            error
                .to_string()
                .contains("give the one that it was made with")
        );
    }
    let value: serde_json::Value = serde_json::from_str(&cheap()).unwrap();
    for field in ["ciphertext", "mac"] {
        let text = value["crypto"][field].as_str().unwrap();
        for at in [0, 31, 63] {
            let mut changed = text.to_owned();
            let other = if &text[at..=at] == "0" { "1" } else { "0" };
            changed.replace_range(at..=at, other);
            assert!(matches!(opened(text, &changed), Err(Error::WrongPassword)));
        }
    }
    assert!(matches!(opened("00ff", "00fe"), Err(Error::WrongPassword)));
    // The MAC does not cover the iv: another key comes out, and the address tells.
    assert!(matches!(
        opened("0a0b0c0d", "0a0b0c0e"),
        Err(Error::WrongAddress { .. })
    ));
}

#[test]
fn the_address_may_be_missing_but_not_wrong() {
    let address = LocalKey::new(one_to_32()).unwrap().address();
    let written = r#""address":"6370ef2f4db3611d657b90667de398a2cc2a370c","#;
    for fine in [
        "",
        r#""address":null,"#,
        r#""address":"6370EF2F4DB3611D657B90667DE398A2CC2A370C","#,
        r#""address":"0x6370eF2f4Db3611D657b90667De398a2Cc2a370C","#,
    ] {
        assert_eq!(opened(written, fine).unwrap().address(), address, "{fine}");
    }
    let Err(Error::WrongAddress { named, actual }) = opened("6370ef2f", "7370ef2f") else {
        panic!("another address");
    };
    assert_eq!((named.0[0], actual), (0x73, address));
    assert!(refusal("6370ef2f", "6370ef").contains("`address` must be 20 bytes"));
    assert!(refusal("6370ef2f", "6370ef2g").contains("`address` must be 20 bytes"));
}

#[test]
fn what_is_not_needed_may_be_anything() {
    for (from, to) in [
        (r#""crypto""#, r#""Crypto""#),
        (r#""id":"10111213-1415-4617-9819-1a1b1c1d1e1f","#, ""),
        (
            r#""10111213-1415-4617-9819-1a1b1c1d1e1f""#,
            r#"{"of": ["any", "form"]}"#,
        ),
        (
            r#""version":3"#,
            r#""version":3,"name":"orchestrator","meta":{"x":[1.5]}"#,
        ),
        (r#""kdf":"#, r#""hint":1,"kdf":"#),
        (r#""n":2"#, r#""n":2,"more":null"#),
        (r#""iv":"0001"#, r#""iv":"0x0001"#),
        // Only the first 32 derived bytes are used, and they are the same ones.
        (r#""dklen":32"#, r#""dklen":64"#),
    ] {
        assert!(opened(from, to).is_ok(), "{to}");
    }
}

#[test]
fn only_what_geth_reads_is_read() {
    for (from, to, text) in [
        (
            r#""version":3"#,
            r#""version":1"#,
            "has version 1, and only version 3",
        ),
        (
            r#""version":3"#,
            r#""version":"1""#,
            "has version \"1\", and only version 3",
        ),
        (r#""version":3"#, r#""version":[]"#, "has version no number"),
        (r#""version":3"#, r#""v":3"#, "missing field `version`"),
        (r#""crypto""#, r#""cripto""#, "missing field `crypto`"),
        (r#""crypto""#, r#""Crypto":{},"crypto""#, "missing field"),
        (r#""mac""#, r#""mag""#, "missing field `mac`"),
        (
            "aes-128-ctr",
            "aes-128-cbc",
            "`cipher` is \"aes-128-cbc\"; it must be aes-128-ctr",
        ),
        (
            "scrypt",
            "argon2id",
            "`kdf` is \"argon2id\"; it must be scrypt or pbkdf2",
        ),
        ("scrypt", r"\u001b[2J", r#"`kdf` is "\u{1b}[2J""#),
        ("scrypt", "pbkdf2", "missing field `c`"),
        ("{", "", "not a keystore file"),
        (r#""n":2"#, r#""n":-2"#, "not a keystore file"),
        (r#""n":2"#, r#""n":2.5"#, "not a keystore file"),
        (r#""n":2"#, r#""n":"2""#, "not a keystore file"),
        (r#""n":2"#, r#""n":1e300"#, "not a keystore file"),
        (
            r#""n":2"#,
            r#""n":99999999999999999999"#,
            "not a keystore file",
        ),
    ] {
        let refusal = refusal(from, to);
        assert!(refusal.contains(text), "{to}: {refusal}");
    }
    for json in [
        "",
        "null",
        "[]",
        "3",
        "{}",
        r#"{"version":3}"#,
        &"[".repeat(1 << 16),
    ] {
        assert!(matches!(decrypt(json, b"pw"), Err(Error::Shape(_))));
    }
}

#[test]
fn a_file_does_not_decide_what_it_costs() {
    for (from, to, text) in [
        (r#""n":2"#, r#""n":0"#, "a power of two"),
        (r#""n":2"#, r#""n":1"#, "a power of two"),
        (r#""n":2"#, r#""n":262143"#, "a power of two"),
        (r#""n":2"#, r#""n":18446744073709551615"#, "a power of two"),
        (
            r#""n":2"#,
            r#""n":16777216"#,
            "n × r × 128 bytes` is 2147483648",
        ),
        (
            r#""n":2"#,
            r#""n":9223372036854775808"#,
            "n × r × 128 bytes",
        ),
        (
            r#""n":2,"p":1"#,
            r#""n":8388608,"p":5"#,
            "n × r × p × 128 bytes",
        ),
        (r#""r":1"#, r#""r":0"#, "`r` is 0; it must be 1 to 64"),
        (r#""r":1"#, r#""r":65"#, "`r` is 65"),
        (r#""r":1"#, r#""r":4294967297"#, "`r` is 4294967297"),
        (r#""p":1"#, r#""p":0"#, "`p` is 0; it must be 1 to 64"),
        (
            r#""p":1"#,
            r#""p":18446744073709551615"#,
            "`p` is 18446744073709551615",
        ),
        (
            r#""dklen":32"#,
            r#""dklen":31"#,
            "`dklen` is 31; it must be 32 to 64",
        ),
        (
            r#""dklen":32"#,
            r#""dklen":4294967296"#,
            "`dklen` is 4294967296",
        ),
    ] {
        let refusal = refusal(from, to);
        assert!(refusal.contains(text), "{to}: {refusal}");
    }
    for (from, to, text) in [
        ("262144", "0", "`c` is 0; it must be 1 to 10000000"),
        ("262144", "10000001", "`c` is 10000001"),
        ("262144", "4294967296", "`c` is 4294967296"),
        (r#""dklen": 32"#, r#""dklen": 65"#, "`dklen` is 65"),
        (
            "hmac-sha256",
            "hmac-sha512",
            "`prf` is \"hmac-sha512\"; it must be hmac-sha256",
        ),
        ("ae3c", "ae3", "`salt` must be at most 128 bytes"),
    ] {
        let json = EXAMPLE_PBKDF2.replacen(from, to, 1);
        let refusal = decrypt(&json, EXAMPLE_PASSWORD).unwrap_err().to_string();
        assert!(refusal.contains(text), "{to}: {refusal}");
    }
}

#[test]
fn every_length_is_the_one_that_it_must_be() {
    let value: serde_json::Value = serde_json::from_str(&cheap()).unwrap();
    let crypto = &value["crypto"];
    for (field, text, bytes) in [
        ("ciphertext", &crypto["ciphertext"], 32),
        ("mac", &crypto["mac"], 32),
        ("iv", &crypto["cipherparams"]["iv"], 16),
    ] {
        let text = text.as_str().unwrap();
        let expected = format!("`{field}` must be {bytes} bytes");
        for damaged in [
            String::new(),
            text[2..].to_owned(),
            text[1..].to_owned(),
            format!("{text}00"),
            format!("zz{}", &text[2..]),
            format!("é{}", &text[2..]),
        ] {
            let refusal = refusal(text, &damaged);
            assert!(refusal.contains(&expected), "{damaged}: {refusal}");
        }
    }
    assert!(refusal("00ff", &"00".repeat(129)).contains("`salt` must be at most 128 bytes"));
    assert!(matches!(
        opened("00ff", &"00".repeat(128)),
        Err(Error::WrongPassword)
    ));
    assert!(matches!(opened("00ff", ""), Err(Error::WrongPassword)));
}

#[test]
fn no_damage_to_a_file_makes_it_panic() {
    let (json, address) = (cheap(), LocalKey::new(one_to_32()).unwrap().address());
    for at in 0..json.len() {
        let cut = decrypt(&json[..at], b"pw");
        assert!(matches!(cut, Err(Error::Shape(_))), "cut at {at}");
        for byte in ["0", "9", "f", "\"", "}", ",", " ", "\0", "é"] {
            let mut changed = json.clone();
            changed.replace_range(at..=at, byte);
            // What opens still is the same key, where nothing binds the byte: the id, the space between.
            if let Ok(key) = decrypt(&changed, b"pw") {
                assert_eq!(key.address(), address, "{changed}");
            }
        }
    }
}

#[test]
fn what_a_file_says_is_shown_short() {
    let long = "x".repeat(1 << 20);
    for (from, to) in [
        ("scrypt", long.clone()),
        (r#""n":2"#, format!(r#""n":"{long}""#)),
        (r#""version":3"#, format!(r#""version":"{long}""#)),
    ] {
        assert!(refusal(from, &to).len() < 400);
    }
}

#[test]
fn a_key_that_is_none_is_neither_written_nor_read() {
    for bytes in [[0; 32], [0xff; 32]] {
        let refused = encrypt(&bytes, b"pw", Cost::Light, &world());
        assert!(matches!(refused, Err(Error::Key(_))));
    }
    // A MAC over a ciphertext of zero is right, and zero is no key.
    let params = serde_json::json!({"dklen": 32, "n": 2, "p": 1, "r": 1, "salt": ""});
    let kdf = Kdf::read("scrypt", params).unwrap();
    let derived = kdf.derive(b"pw");
    let (iv, mut ciphertext) = ([7; 16], [0; 32]);
    apply_cipher(&derived, &iv, &mut ciphertext);
    let mac = mac(&derived, &ciphertext);
    let sealed = Sealed {
        address: None,
        kdf,
        iv,
        ciphertext,
        mac,
    };
    let json = file::write(&sealed, "").unwrap();
    assert!(matches!(decrypt(&json, b"pw"), Err(Error::Key(_))));
}

#[test]
fn without_chance_there_is_no_keystore() {
    let refused = encrypt(&one_to_32(), b"pw", Cost::Light, &NoChance);
    assert!(matches!(refused, Err(Error::Randomness(_))));
}

#[test]
fn the_name_is_the_one_that_geth_gives() {
    let address: Address = EXAMPLE_ADDRESS.parse().unwrap();
    for (unix_ms, date) in [
        (0, "1970-01-01T00-00-00.000000000Z"),
        (951_782_399_999, "2000-02-28T23-59-59.999000000Z"),
        (951_782_400_000, "2000-02-29T00-00-00.000000000Z"),
        (1_795_805_205_123, "2026-11-27T18-46-45.123000000Z"),
        (4_107_542_400_000, "2100-03-01T00-00-00.000000000Z"),
    ] {
        assert_eq!(
            file_name(address, unix_ms),
            format!("UTC--{date}--008aeeda4d805471df9b2a5b0f38a0c3bcba786b")
        );
    }
    // However wrong the clock.
    assert!(file_name(address, u64::MAX).ends_with("Z--008aeeda4d805471df9b2a5b0f38a0c3bcba786b"));
}

#[test]
fn the_calendar_is_another_librarys() {
    for days in (0..150_000).chain([1_000_000, 2_000_000, 2_932_896]) {
        let expected = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(days * SECONDS_A_DAY);
        let (year, month, day) = date(days);
        assert_eq!(i32::try_from(year).unwrap(), expected.year(), "{days}");
        assert_eq!(month, u64::from(u8::from(expected.month())), "{days}");
        assert_eq!(day, u64::from(expected.day()), "{days}");
    }
}
