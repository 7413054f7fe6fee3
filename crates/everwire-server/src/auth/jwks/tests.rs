use std::sync::LazyLock;

use aws_lc_rs::{
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of each kind that is taken.
fn good() -> [Value; 3] {
    static GOOD: LazyLock<[Value; 3]> = LazyLock::new(make);
    GOOD.clone()
}

fn make() -> [Value; 3] {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa = rsa.public_key();
    let ec = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let ed = Ed25519KeyPair::generate().unwrap();
    [
        json!({"kty": "RSA", "n": base64url(rsa.modulus().big_endian_without_leading_zero()),
               "e": base64url(rsa.exponent().big_endian_without_leading_zero())}),
        json!({"kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(ed.public_key())}),
    ]
}

/// A key on P-384.
fn p384() -> Value {
    let ec = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-384", "x": base64url(&point[1..49]), "y": base64url(&point[49..])})
}

/// The eight points of small order on Ed25519, each in every encoding: for each of them anybody can make signatures.
#[test]
fn a_key_of_small_order_is_not_used_however_it_is_written() {
    let highest = |lowest: u8| {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (lowest, 0x7f);
        y
    };
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let order_8: [u8; 32] =
        std::array::from_fn(|at| u8::from_str_radix(&order_8[2 * at..2 * at + 2], 16).unwrap());
    // Its opposite, from the prime 2^255 - 19, byte by byte.
    let mut opposite = [0; 32];
    let mut borrow = 0_i32;
    for at in 0..32 {
        let of_prime = i32::from(highest(0xed)[at]);
        let left = of_prime - i32::from(order_8[at]) - borrow;
        borrow = i32::from(left < 0);
        opposite[at] = (left + 256 * borrow) as u8;
    }
    let small = [
        [0; 32],
        one,
        highest(0xec),
        order_8,
        opposite,
        highest(0xed),
        highest(0xee),
    ];
    for y in small {
        for sign in [0, 0x80] {
            let mut y = y;
            y[31] |= sign;
            let key = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(y)});
            let error = parse(&[key]).unwrap_err().to_string();
            assert!(error.contains("small order"), "{y:02x?} gave {error}");
        }
    }
    let [_, _, ed] = good();
    assert!(parse(&[ed]).is_ok());
}

/// A key with other members; null takes one away.
fn with(key: &Value, change: impl Into<Value>) -> Value {
    let mut key = key.clone();
    let change = change.into();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(key.as_object_mut().unwrap().remove(name)),
            value => key[name] = value.clone(),
        }
    }
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, DocumentError> {
    KeySet::parse(
        json!({"keys": keys}).to_string().as_bytes(),
        100,
        "https://a/",
    )
}

#[test]
fn the_kind_of_a_key_decides_its_one_algorithm() {
    let [rsa, ec, ed] = good();
    for (key, expected) in [
        (rsa.clone(), Algorithm::Rs256),
        (with(&rsa, json!({"alg": "RS256"})), Algorithm::Rs256),
        (with(&rsa, json!({"alg": "PS256"})), Algorithm::Ps256),
        (p384(), Algorithm::Es384),
        (with(&p384(), json!({"alg": "ES384"})), Algorithm::Es384),
        (ec.clone(), Algorithm::Es256),
        (with(&ec, json!({"alg": "ES256"})), Algorithm::Es256),
        (ed.clone(), Algorithm::EdDsa),
        (with(&ed, json!({"alg": "EdDSA"})), Algorithm::EdDsa),
        (with(&ed, json!({"alg": "Ed25519"})), Algorithm::EdDsa),
        (
            with(&ec, json!({"use": "sig", "key_ops": ["verify"]})),
            Algorithm::Es256,
        ),
        (
            with(&ec, json!({"x5c": ["…"], "x5t": "a", "exp": 7})),
            Algorithm::Es256,
        ),
    ] {
        let set = parse(&[with(&key, json!({"kid": "a"}))]).unwrap();
        assert_eq!(set.find(Some("a")).unwrap().algorithm, expected, "{key}");
        assert!(set.find(Some("b")).is_none());
        assert!(set.find(None).is_some(), "it is the only one");
    }
}

#[test]
fn a_key_that_is_of_no_use_is_left_out_with_the_reason_and_the_others_are_taken() {
    let [rsa, ec, ed] = good();
    let long = "A".repeat(2000);
    for (key, expected) in [
        (with(&rsa, json!({"alg": "RS512"})), "another algorithm"),
        (with(&rsa, json!({"alg": "PS384"})), "another algorithm"),
        (with(&rsa, json!({"alg": "HS512"})), "another algorithm"),
        (with(&ec, json!({"alg": "ES384"})), "another algorithm"),
        (with(&rsa, json!({"alg": "ES256"})), "another algorithm"),
        (with(&rsa, json!({"alg": "HS256"})), "another algorithm"),
        (with(&rsa, json!({"alg": "none"})), "another algorithm"),
        (with(&rsa, json!({"use": "enc"})), "`use`"),
        (
            with(&rsa, json!({"key_ops": ["encrypt", "sign"]})),
            "`key_ops`",
        ),
        (
            with(&rsa, json!({"n": base64url([0xff; 255])})),
            "fewer than 2048 bits",
        ),
        (
            with(
                &rsa,
                json!({"n": base64url([&[0; 9][..], &[0xff; 255]].concat())}),
            ),
            "fewer than 2048 bits",
        ),
        (
            with(
                &rsa,
                json!({"n": base64url([&[0x7f][..], &[0xff; 255]].concat())}),
            ),
            "fewer than 2048 bits",
        ),
        (
            with(&rsa, json!({"n": base64url([0xff; 1025])})),
            "more than 8192 bits",
        ),
        (with(&rsa, json!({"n": ""})), "fewer than 2048 bits"),
        (with(&rsa, json!({"n": null})), "lacks a part"),
        (with(&rsa, json!({"e": base64url([0])})), "no RSA key"),
        (with(&rsa, json!({"e": base64url([2])})), "no RSA key"),
        (with(&rsa, json!({"e": base64url([1])})), "no RSA key"),
        (with(&rsa, json!({"e": base64url([0xff; 9])})), "no RSA key"),
        (with(&rsa, json!({"e": "AQ=="})), "not base64url"),
        (with(&rsa, json!({"d": "AQAB"})), "private key"),
        (with(&rsa, json!({"d": 7})), "private key"),
        (with(&ec, json!({"crv": "P-384"})), "not as long as"),
        (with(&ec, json!({"crv": "P-521"})), "another curve"),
        // The point at infinity has no coordinates; zeros are on neither curve.
        (
            with(
                &ec,
                json!({"x": base64url([0; 32]), "y": base64url([0; 32])}),
            ),
            "no point",
        ),
        (
            with(
                &ec,
                json!({"crv": "P-384", "x": base64url([0; 48]), "y": base64url([0; 48])}),
            ),
            "no point",
        ),
        (with(&ec, json!({"x": "", "y": ""})), "not as long as"),
        (with(&ec, json!({"crv": null})), "another curve"),
        (
            with(&ec, json!({"x": base64url([1; 31])})),
            "not as long as",
        ),
        (with(&ec, json!({"x": base64url([1; 32])})), "no point"),
        (with(&ec, json!({"y": null})), "lacks a part"),
        (with(&ec, json!({"crv": "Ed25519"})), "another curve"),
        (with(&ed, json!({"crv": "X25519"})), "another curve"),
        (with(&ed, json!({"crv": "Ed448"})), "another curve"),
        (
            with(&ed, json!({"x": base64url([1; 33])})),
            "not as long as",
        ),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "shared secret"),
        (
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            "shared secret",
        ),
        (
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": ""}),
            "not known here",
        ),
        (json!({"kty": ["RSA"]}), "is no object with `kty`"),
        (json!({"kid": "a"}), "is no object with `kty`"),
        (json!(["RSA"]), "is no object"),
        (json!(null), "is no object"),
        (with(&ec, json!({"kid": long})), "over 256 bytes"),
    ] {
        let alone = parse(std::slice::from_ref(&key)).unwrap_err();
        assert!(
            matches!(alone, DocumentError::Nothing(_)),
            "{key} gave {alone}"
        );
        let other = with(&ed, json!({"kid": "good"}));
        let set = parse(&[key.clone(), other]).unwrap();
        assert_eq!(set.keys.len(), 1, "{key}");
        assert_eq!(set.left_out.len(), 1, "{key}");
        let reasons = set.reasons();
        assert!(reasons.contains(expected), "{key} gave {reasons}");
        assert!(reasons.len() < 200, "{reasons}");
        assert!(!reasons.contains("c2VjcmV0"), "{reasons}");
    }
}

#[test]
fn a_number_is_taken_with_zeros_before_it() {
    let [rsa, _, _] = good();
    let n = BASE64_URL_SAFE_NO_PAD
        .decode(rsa["n"].as_str().unwrap())
        .unwrap();
    let padded = with(&rsa, json!({"n": base64url([&[0][..], &n].concat())}));
    assert!(parse(&[padded]).is_ok());
}

#[test]
fn a_document_that_could_be_taken_for_two_things_is_refused_as_a_whole() {
    let [rsa, ec, ed] = good();
    let named = |key: &Value| with(key, json!({"kid": "a"}));
    for keys in [
        [named(&rsa), named(&ec)],
        [named(&ed), named(&ed)],
        [ec, ed],
    ] {
        let error = parse(&keys).unwrap_err();
        assert!(matches!(error, DocumentError::Twice(_)), "{error}");
    }
    // What could not be meant anyway does not count.
    assert!(parse(&[named(&rsa), with(&named(&rsa), json!({"use": "enc"}))]).is_ok());
}

#[test]
fn what_is_no_jwk_set_is_told_apart() {
    for text in [
        "",
        "<html>",
        "[]",
        "[[]]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[]} "#.trim_end_matches(['}', ' ']),
    ] {
        let error = KeySet::parse(text.as_bytes(), 100, "https://a/").unwrap_err();
        assert!(
            matches!(error, DocumentError::Malformed(_)),
            "{text} gave {error}"
        );
    }
    let error = KeySet::parse(br#"{"keys":[]}"#, 100, "https://a/").unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of its keys can be used here: there are none"
    );
}

#[test]
fn no_more_keys_are_read_than_may_be() {
    let [_, _, ed] = good();
    let keys: Vec<_> = (0..101)
        .map(|n| with(&ed, json!({"kid": n.to_string()})))
        .collect();
    assert_eq!(parse(&keys[..100]).unwrap().keys.len(), 100);
    let error = parse(&keys).unwrap_err();
    assert_eq!(
        error,
        DocumentError::TooMany {
            keys: 101,
            keys_max: 100
        }
    );
    // Thousands of keys that are of no use are not told one by one.
    let useless: Vec<_> = (0..5_000).map(|_| json!({"kty": "oct"})).collect();
    let text = json!({"keys": useless}).to_string();
    let error = KeySet::parse(text.as_bytes(), 5_000, "https://a/")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("and 4995 more") && error.len() < 1_000,
        "{error}"
    );
}

fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "RS256", "a", "AQAB", ""
        ])
        .prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..70).prop_map(|bytes| base64url(bytes).into()),
        prop::collection::vec(Just(Value::from("verify")), 0..3).prop_map(Value::from),
    ]
}

proptest! {
    /// Whatever a document holds: each key is taken or left out, names are not there twice, and each has one algorithm.
    #[test]
    fn what_is_taken_of_a_document_keeps_the_rules(
        changes in prop::collection::vec(
            prop::collection::hash_map(
                prop::sample::select(vec!["kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "d"]),
                member(),
                0..4,
            ),
            0..6,
        ),
    ) {
        let good = good();
        let keys: Vec<Value> = changes
            .iter()
            .enumerate()
            .map(|(index, change)| with(&good[1 + index % 2], json!(change)))
            .collect();
        match parse(&keys) {
            Ok(set) => {
                prop_assert_eq!(set.keys.len() + set.left_out.len(), keys.len());
                for (index, key) in set.keys.iter().enumerate() {
                    prop_assert!(key.algorithm != Algorithm::Hs256);
                    prop_assert!(set.keys[..index].iter().all(|other| other.kid != key.kid));
                    prop_assert!(std::ptr::eq(set.find(key.kid.as_deref()).unwrap(), key));
                }
            }
            Err(DocumentError::Twice(_)) => prop_assert!(keys.len() > 1),
            Err(error) => prop_assert!(matches!(error, DocumentError::Nothing(_)), "{}", error),
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = KeySet::parse(&bytes, 10, "https://a/");
    }
}
