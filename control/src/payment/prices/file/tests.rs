//! What operators write, and with which words it is refused.

use super::super::number::decimal;
use super::*;

const ADDRESS: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

fn gateway_rate(entry: &str) -> Result<String, String> {
    gateways(&format!("{{\"gateways\":[{entry}]}}"))
        .map(|prices| prices[0].rate.to_string())
        .map_err(|fault| fault.to_string())
}

fn one_model(entry: &str) -> Result<ModelEntry, String> {
    models(&format!("[{entry}]"))
        .map(|mut models| models.remove(0))
        .map_err(|fault| fault.to_string())
}

#[test]
fn gateways_are_read_under_both_their_names() {
    let other = "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359";
    let prices = gateways(&format!(
        r#"{{
            "broadcasters": [{{"ethaddress":"{other}","priceperunit":"1200.5","pixelsperunit":2}}],
            "gateways": [{{"ethaddress":"{ADDRESS}","priceperunit":0.5,"currency":"Eth","pixelsperunit":1000000000000}}]
        }}"#
    ))
    .unwrap();
    let expected = [(other, "2401/4"), (ADDRESS, "500000/1")];
    for (price, (sender, rate)) in prices.iter().zip(expected) {
        assert_eq!(price.sender, sender.parse().unwrap());
        assert_eq!(price.rate.to_string(), rate);
    }
    assert_eq!(prices.len(), 2);
}

#[test]
fn numbers_are_read_as_they_were_written() {
    for (number, rate) in [
        ("1200", "1200/1"),
        ("\"1200\"", "1200/1"),
        ("0.3", "3/10"),
        ("\" 0.3 \"", "3/10"),
        ("1.2e3", "1200/1"),
        ("9007199254740993.1", "90071992547409931/10"),
        ("0", "0/1"),
    ] {
        let entry =
            format!(r#"{{"EthAddress":"{ADDRESS}","pricePerUnit":{number},"pixelsperunit":1}}"#);
        assert_eq!(gateway_rate(&entry).as_deref(), Ok(rate), "{number}");
    }
}

#[test]
fn a_wrong_gateway_is_named() {
    let with = |rest: &str| format!("{{\"ethaddress\":\"{ADDRESS}\",{rest}}}");
    for (entry, fault) in [
        (
            with(r#""priceperunit":1,"pixelsperunit":0"#),
            "gateways[0]: `pixelsperunit` is not a whole number above 0",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1.5"#),
            "gateways[0]: `pixelsperunit` is not a whole number above 0",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":-1"#),
            "gateways[0]: `pixelsperunit` is not a whole number above 0",
        ),
        (
            with(r#""priceperunit":-1,"pixelsperunit":1"#),
            "gateways[0]: `priceperunit`: negative, and a price is not",
        ),
        (
            with(r#""priceperunit":"cheap","pixelsperunit":1"#),
            "gateways[0]: `priceperunit`: not a number",
        ),
        (
            with(r#""priceperunit":[1],"pixelsperunit":1"#),
            "gateways[0]: `priceperunit`: not a number",
        ),
        (
            with(r#""priceperunit":1e70,"currency":"eth","pixelsperunit":1"#),
            "gateways[0]: `priceperunit`: more digits than can be held exactly",
        ),
        (
            with(r#""priceperunit":null,"pixelsperunit":1"#),
            "gateways[0]: `priceperunit` is missing",
        ),
        (
            with(r#""priceperunit":1"#),
            "gateways[0]: `pixelsperunit` is missing",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1,"curency":"eth""#),
            "gateways[0]: `curency` means nothing here; was `currency` meant?",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1,"note":"x""#),
            "gateways[0]: `note` means nothing here; known are ethaddress, priceperunit, currency, pixelsperunit",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1,"PricePerUnit":2"#),
            "gateways[0]: `priceperunit` is given twice",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1,"currency":5"#),
            "gateways[0]: `currency` is not a text",
        ),
        (
            with(r#""priceperunit":1,"pixelsperunit":1,"currency":"USD""#),
            "gateways[0]: `currency`: the currency \"USD\" needs a price feed of a chain, which this node does not read yet; give the price in wei",
        ),
        (
            r#"{"priceperunit":1,"pixelsperunit":1}"#.to_owned(),
            "gateways[0]: `ethaddress` is missing",
        ),
        (
            r#"{"ethaddress":"0x12","priceperunit":1,"pixelsperunit":1}"#.to_owned(),
            "gateways[0]: `ethaddress` \"0x12\": an address is 0x and 40 hexadecimal digits",
        ),
    ] {
        assert_eq!(gateway_rate(&entry).unwrap_err(), fault, "{entry}");
    }
    let twice = with(r#""priceperunit":1,"pixelsperunit":1"#);
    let fault = gateways(&format!(
        r#"{{"gateways":[{twice}],"broadcasters":[{}]}}"#,
        twice.to_lowercase()
    ));
    assert_eq!(
        fault.unwrap_err().to_string(),
        "gateways[0]: the same as broadcasters[0]"
    );
}

#[test]
fn a_file_of_another_shape_is_refused() {
    for (text, part) in [
        ("", "this is not JSON of the form"),
        ("[]", "an object"),
        ("{}", "the file: `gateways` is missing"),
        ("{\"gateways\":[]}", "the file: `gateways` is missing"),
        ("{\"gateways\":{}}", "a sequence"),
        ("{\"gateways\":[1]}", "an object"),
        ("{\"gateway\":[]}", "was `gateways` meant?"),
        ("{\"gateways\":[]} x", "trailing characters"),
    ] {
        let fault = gateways(text).unwrap_err().to_string();
        assert!(fault.contains(part), "{text}: {fault}");
    }
    for text in ["[", "[1]", "[{}", "[[]]"] {
        let fault = models(text).unwrap_err().to_string();
        assert!(fault.starts_with("this is not JSON of the form"), "{fault}");
    }
}

#[test]
fn models_are_read_as_go_livepeer_writes_them() {
    let entry = one_model(&format!(
        r#"{{
            "pipeline": "live-video-to-video", "model_id": "noop", "warm": true, "capacity": 4,
            "price_per_unit": "0.5", "pixels_per_unit": 1000000000000, "currency": "ETH", "gateway": "{ADDRESS}",
            "url": "http://runner:8000 ", "token": "secret", "optimization_flags": {{"SFAST": true, "CACHE": "big"}},
            "something_of_others": [1, 2]
        }}"#
    ))
    .unwrap();
    assert_eq!((entry.capability, entry.model_id.as_str()), (35, "noop"));
    assert_eq!((entry.warm, entry.capacity), (true, Some(4)));
    assert_eq!(entry.gateway, Some(ADDRESS.parse().unwrap()));
    assert_eq!(entry.url, "http://runner:8000");
    let flags: Vec<_> = entry
        .optimization_flags
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(flags, ["CACHE=big", "SFAST=true"]);
    let rate = entry.rate(Rate::FREE, NonZeroU64::MIN).unwrap();
    assert_eq!(rate.to_string(), "500000/1");
    let shown = format!("{entry:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(entry.token, Token("secret".to_owned()));
}

#[test]
fn what_a_model_does_not_say_is_the_nodes() {
    for gateway in ["\"\"", "\"default\"", "null"] {
        let entry = one_model(&format!(
            r#"{{"pipeline":"llm","model_id":"m","gateway":{gateway},"warm":null}}"#
        ))
        .unwrap();
        assert_eq!((entry.gateway, entry.warm), (None, false));
        let per_unit = decimal("0.3").unwrap();
        let rate = entry.rate(per_unit, NonZeroU64::new(3).unwrap()).unwrap();
        assert_eq!(rate.to_string(), "1/10");
    }
    let entry = one_model(r#"{"pipeline":"llm","model_id":"m","price_per_unit":6}"#).unwrap();
    let rate = entry.rate(Rate::FREE, NonZeroU64::new(4).unwrap()).unwrap();
    assert_eq!(rate.to_string(), "3/2");
}

#[test]
fn the_short_form_names_pipeline_model_and_warmth() {
    let list =
        models("text-to-image:ByteDance/SDXL-Lightning:true, live-video-to-video:noop:0").unwrap();
    let told: Vec<_> = list
        .iter()
        .map(|entry| (entry.capability, entry.model_id.as_str(), entry.warm))
        .collect();
    assert_eq!(
        told,
        [(27, "ByteDance/SDXL-Lightning", true), (35, "noop", false)]
    );
    for (text, fault) in [
        (
            "llm:m",
            "models[0] \"llm:m\": a model is written pipeline:model:warm, and warm is true or false",
        ),
        (
            "llm:m:yes",
            "models[0] \"llm:m:yes\": a model is written pipeline:model:warm, and warm is true or false",
        ),
        (
            "llm:m:1,llm:m:1:2",
            "models[1] \"llm:m:1:2\": a model is written pipeline:model:warm, and warm is true or false",
        ),
        (
            "",
            "models[0] \"\": a model is written pipeline:model:warm, and warm is true or false",
        ),
        ("llm::1", "models[0] \"llm::1\": `model_id` is missing"),
    ] {
        assert_eq!(models(text).unwrap_err().to_string(), fault);
    }
    let fault = models("byoc:m:true").unwrap_err().to_string();
    assert!(fault.starts_with(
        "models[0] \"byoc:m:true\": `pipeline` \"byoc\" is unknown; known are text-to-image, "
    ));
}

#[test]
fn a_wrong_model_is_named() {
    let with = |rest: &str| format!(r#"{{"pipeline":"llm","model_id":"m",{rest}}}"#);
    for (entry, fault) in [
        (
            r#"{"pipeline":"llm","modelid":"m"}"#.to_owned(),
            "models[0]: `modelid` means nothing here; was `model_id` meant?",
        ),
        (
            r#"{"pipeline":"llm","model":"m"}"#.to_owned(),
            "models[0]: `model` means nothing here; was `model_id` meant?",
        ),
        (
            r#"{"pipeline":"llm","name":"m"}"#.to_owned(),
            "models[0]: `model_id` is missing",
        ),
        (
            r#"{"pipeline":"llm","model_id":""}"#.to_owned(),
            "models[0]: `model_id` is missing",
        ),
        (
            r#"{"model_id":"m"}"#.to_owned(),
            "models[0]: `pipeline` is missing",
        ),
        (
            with(r#""warm":"yes""#),
            "models[0]: `warm` is not true or false",
        ),
        (
            with(r#""capacity":-1"#),
            "models[0]: `capacity` is not a whole number",
        ),
        (
            with(r#""capacity":1.5"#),
            "models[0]: `capacity` is not a whole number",
        ),
        (
            with(r#""price_per_unit":-0.1"#),
            "models[0]: `price_per_unit`: negative, and a price is not",
        ),
        (
            with(r#""pixels_per_unit":0"#),
            "models[0]: `pixels_per_unit` is not a whole number above 0",
        ),
        (
            with(r#""currency":"EUR""#),
            "models[0]: `currency`: the currency \"EUR\" needs a price feed of a chain, which this node does not read yet; give the price in wei",
        ),
        (
            with(r#""optimization_flags":{"A":1}"#),
            "models[0]: `optimization_flags` is not an object of texts, true and false",
        ),
        (
            with(r#""gateway":"me""#),
            "models[0]: `gateway` \"me\": an address is 0x and 40 hexadecimal digits",
        ),
    ] {
        assert_eq!(one_model(&entry).unwrap_err(), fault, "{entry}");
    }
}

#[test]
fn a_model_may_have_several_runners_and_gateways_but_one_price_for_each() {
    let list = |entries: &[&str]| {
        let entries: Vec<_> = entries
            .iter()
            .map(|rest| format!(r#"{{"pipeline":"llm","model_id":"m"{rest}}}"#))
            .collect();
        models(&format!("[{}]", entries.join(",")))
            .map(|models| models.len())
            .map_err(|fault| fault.to_string())
    };
    let gateway = format!(r#","price_per_unit":3,"gateway":"{ADDRESS}""#);
    for (entries, outcome) in [
        (&[r#","url":"http://a""#, r#","url":"http://b""#][..], Ok(2)),
        (&[r#","price_per_unit":2"#, &gateway], Ok(2)),
        (&["", ""], Err("models[1]: the same as models[0]")),
        (
            &[
                r#","price_per_unit":2,"url":"a""#,
                r#","price_per_unit":3,"url":"b""#,
            ],
            Err("models[1]: another price than models[0] has for the same model and gateway"),
        ),
        (
            &[r#","url":"a""#, r#","warm":true,"url":"b""#],
            Err("models[1]: `warm` is not what models[0] says of the same model"),
        ),
    ] {
        assert_eq!(list(entries), outcome.map_err(str::to_owned), "{entries:?}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let valid = format!(
        r#"{{"gateways":[{{"ethaddress":"{ADDRESS}","priceperunit":0.5,"currency":"eth","pixelsperunit":1}}]}}"#
    );
    let model = r#"[{"pipeline":"llm","model_id":"é","price_per_unit":"1e3","optimization_flags":{"A":true}}]"#;
    for text in [valid.as_str(), model] {
        for (at, _) in text.char_indices() {
            let cut = &text[..at];
            assert!(gateways(cut).is_err(), "{cut}");
            assert!(models(cut).is_err(), "{cut}");
        }
    }
}
