//! Tokens by their claims and by the clock, API keys, and what a caller may do. Forged tokens are tried on a whole
//! server, in `tests/credentials.rs`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::config::{Action, Rules};

const SECRET: &str = "a secret of more than 32 bytes, just so";
const NOW_S: u64 = 1_790_000_000;

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).unwrap()
}

/// A token with these claims, and an end in time.
fn token_with(claims: &Value) -> String {
    let mut all = json!({"sub": "ada", "exp": NOW_S + 60});
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    token(&all)
}

fn authority(settings: &str) -> Authority {
    let text = format!("{settings}\n[[tokens.keys]]\nalg = \"HS256\"\nsecret = \"{SECRET}\"\n");
    let config = Config::from_toml(&text).unwrap();
    Authority::new(&config, &mut |_| unreachable!("no file is named")).unwrap()
}

fn judged(settings: &str, token: &str) -> Result<Option<u64>, String> {
    let judged = authority(settings).judge(token, NOW_S * 1000);
    judged
        .map(|caller| caller.ends_ms())
        .map_err(|error| error.to_string())
}

#[test]
fn a_token_is_taken_in_its_time_with_some_leeway_and_ends_with_it() {
    let none = "";
    let ends = |seconds: u64| Ok(Some(seconds * 1000));
    let refused = |what: &str| Err(what.to_owned());
    for (settings, claims, expected) in [
        (none, json!({"exp": NOW_S + 60}), ends(NOW_S + 90)),
        (none, json!({"exp": NOW_S as f64 + 60.7}), ends(NOW_S + 90)),
        (none, json!({"exp": NOW_S - 29}), ends(NOW_S + 1)),
        (
            none,
            json!({"exp": NOW_S - 30}),
            refused("expired 30 s ago"),
        ),
        (none, json!({"exp": 0}), refused("expired")),
        (
            "tokens.leeway_s = 0",
            json!({"exp": NOW_S}),
            refused("expired 0 s ago"),
        ),
        (
            "tokens.leeway_s = 0",
            json!({"exp": NOW_S + 1}),
            ends(NOW_S + 1),
        ),
        (
            none,
            json!({"exp": NOW_S + 60, "nbf": NOW_S + 30}),
            ends(NOW_S + 90),
        ),
        (
            none,
            json!({"exp": NOW_S + 60, "nbf": NOW_S + 31}),
            refused("another 31 s"),
        ),
        (none, json!({"exp": NOW_S + 86_430}), ends(NOW_S + 86_460)),
        (
            none,
            json!({"exp": NOW_S + 86_431}),
            refused("valid for 86431 s, and at most 86400 s"),
        ),
        (
            none,
            json!({"exp": NOW_S + 60, "iat": NOW_S - 90_000}),
            refused("valid for 90060 s"),
        ),
        (
            none,
            json!({"exp": NOW_S + 90_000, "iat": NOW_S + 30}),
            refused("valid for 90000 s"),
        ),
        (none, json!({"exp": 9e15}), refused("at most 86400 s")),
        (none, json!({"exp": 1e300}), refused("a number of seconds")),
        (none, json!({"exp": -1}), refused("a number of seconds")),
        (none, json!({"exp": "soon"}), refused("invalid type")),
        (none, json!({"exp": null}), refused("`exp` is missing")),
        (none, json!({}), refused("`exp` is missing")),
        ("tokens.exp_required = false", json!({}), Ok(None)),
        (
            "tokens.exp_required = false",
            json!({"exp": NOW_S - 30}),
            refused("expired"),
        ),
    ] {
        match (judged(settings, &token(&claims)), expected) {
            (Err(found), Err(expected)) => {
                assert!(found.contains(&expected), "{claims} gave {found}");
            }
            (found, expected) => assert_eq!(found, expected, "{settings} {claims}"),
        }
    }
}

#[test]
fn a_token_is_for_this_server_and_from_its_issuer() {
    let named = "tokens.audience = \"live\"\ntokens.issuer = \"shop\"";
    let good = json!({"aud": "live", "iss": "shop"});
    for (settings, claims, expected) in [
        (named, good.clone(), Ok(())),
        (
            named,
            json!({"aud": ["mail", "live"], "iss": "shop"}),
            Ok(()),
        ),
        (
            named,
            json!({"aud": "mail", "iss": "shop"}),
            Err("`aud` does not name"),
        ),
        (
            named,
            json!({"aud": [], "iss": "shop"}),
            Err("`aud` does not name"),
        ),
        (
            named,
            json!({"aud": {"live": 1}, "iss": "shop"}),
            Err("`aud` is a string"),
        ),
        (named, json!({"iss": "shop"}), Err("`aud` is missing")),
        (named, json!({"aud": "live"}), Err("`iss` is missing")),
        (
            named,
            json!({"aud": "live", "iss": "Shop"}),
            Err("`iss` is not"),
        ),
        ("", good, Err("this server has no name")),
        ("", json!({"iss": "anybody"}), Ok(())),
    ] {
        match (judged(settings, &token_with(&claims)), expected) {
            (Err(found), Err(expected)) => {
                assert!(found.contains(expected), "{claims} gave {found}");
            }
            (found, expected) => {
                assert_eq!(found.map(drop), expected.map_err(str::to_owned), "{claims}");
            }
        }
    }
}

#[test]
fn senseless_claims_are_refused_by_name() {
    let grants: Vec<_> = (0..101).map(|_| json!({"match": "a", "can": []})).collect();
    for (claims, expected) in [
        (json!({"sub": ""}), "`sub`"),
        (json!({"sub": "~ada"}), "nobody vouches for"),
        (json!({"sub": "a\u{0}b"}), "`sub`"),
        (json!({"sub": 7}), "invalid type"),
        (
            json!({"channels": [{"match": "a*", "can": []}]}),
            "is no pattern",
        ),
        (
            json!({"channels": [{"match": "a/../b", "can": []}]}),
            "is no pattern",
        ),
        (
            json!({"channels": [{"match": "a", "can": ["fly"]}]}),
            "unknown variant `fly`",
        ),
        (
            json!({"channels": [{"match": "a", "can": [], "not": "b"}]}),
            "unknown field `not`",
        ),
        (
            json!({"channels": [{"can": ["read"]}]}),
            "missing field `match`",
        ),
        (json!({"channels": grants}), "at most 100 are taken"),
    ] {
        let error = judged("", &token_with(&claims)).unwrap_err();
        assert!(error.contains(expected), "{claims} gave {error}");
    }
}

#[test]
fn a_caller_may_what_anybody_may_and_what_its_credential_grants() {
    let settings = r#"
        channels.anonymous = ["read"]
        rules = [{ match = "closed/**", anonymous = [] }]"#;
    let rules = Rules::new(&Config::from_toml(settings).unwrap());
    let all = ["read", "publish", "manage", "presence"];
    let claims = json!({"channels": [
        {"match": "chat/*", "can": ["publish"]},
        {"match": "**", "can": ["presence"]},
        {"match": "$everwire/sessions", "can": all},
        {"match": "$presence/**", "can": all},
    ]});
    let caller = authority("")
        .judge(&token_with(&claims), NOW_S * 1000)
        .unwrap();
    for (name, known, anybody) in [
        ("news", &["read", "presence"][..], &["read"][..]),
        ("chat/a", &["read", "publish", "presence"], &["read"]),
        ("chat/a/b", &["read", "presence"], &["read"]),
        ("chat", &["read", "presence"], &["read"]),
        ("closed/a", &["presence"], &[]),
        ("$everwire/sessions", &["read"], &[]),
        ("$everwire/channels", &[], &[]),
        ("$presence/chat", &[], &[]),
    ] {
        let name = name.parse().unwrap();
        for (caller, expected) in [(&caller, known), (&Caller::Anybody, anybody)] {
            let permitted: Vec<_> = [
                Action::Read,
                Action::Publish,
                Action::Manage,
                Action::Presence,
            ]
            .into_iter()
            .filter(|action| caller.permits(&rules, *action, &name))
            .map(Action::name)
            .collect();
            assert_eq!(permitted, expected, "{name}, {caller:?}");
        }
    }
}

#[test]
fn nobody_may_become_another() {
    let authority = authority("");
    let of = |claims: Value| authority.judge(&token_with(&claims), NOW_S * 1000).unwrap();
    let (ada, later) = (of(json!({})), of(json!({"jti": "2"})));
    let (bob, nobody) = (of(json!({"sub": "bob"})), of(json!({"sub": null})));
    for (from, to, expected) in [
        (&Caller::Anybody, &ada, true),
        (&ada, &later, true),
        (&ada, &bob, false),
        (&ada, &nobody, false),
        (&nobody, &ada, false),
        // Whoever is not named may be anybody.
        (&nobody, &nobody, false),
        (&ada, &Caller::Anybody, false),
    ] {
        assert_eq!(from.may_become(to), expected, "{from:?} {to:?}");
    }
}

#[test]
fn an_api_key_is_taken_by_its_digest_and_two_of_one_name_while_one_is_replaced() {
    let [old, new, other] = [1, 2, 3].map(|n| NewKey::new("shop", [n; GENERATED_BYTES]).unwrap());
    let grants = r#"channels = [{ match = "orders/*", can = ["publish"] }]"#;
    let text = [&old, &new]
        .map(|key| {
            format!(
                "[[keys]]\nid = \"shop\"\nsha256 = \"{}\"\n{grants}\n",
                key.sha256
            )
        })
        .concat();
    let config = Config::from_toml(&text).unwrap();
    let authority = Authority::new(&config, &mut |_| unreachable!("no file is named")).unwrap();
    let rules = Rules::new(&config);
    for key in [&old, &new] {
        let caller = authority.judge(&key.key, 0).unwrap();
        assert!(caller.permits(&rules, Action::Publish, &"orders/7".parse().unwrap()));
        assert!(!caller.permits(&rules, Action::Read, &"orders/7".parse().unwrap()));
        assert_eq!(caller.ends_ms(), None);
    }
    let longer = format!("{}0", new.key);
    let of_another = new.key.replace("shop", "shap");
    for wrong in [
        &other.key,
        &longer,
        &of_another,
        &new.key[..20],
        "ewk_",
        "ewk_shop",
        "ewk_shop_",
        &new.sha256,
    ] {
        assert!(authority.judge(wrong, 0).is_err(), "{wrong}");
    }
    assert!(!format!("{authority:?}").contains("ewk_"));
}

#[test]
fn senseless_keys_are_refused_at_start_with_their_place_and_what_to_do() {
    let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEH+8BJZxL5WkT1DioVJF3h0xX4+Ln\nYDIsYclAdj6OKkHy3YyOGeIl2wITLbtXKoIJqVHfEx8bI6JgrUBhePZnGA==\n-----END PUBLIC KEY-----\n";
    let good = format!("secret = \"{SECRET}\"");
    let key = |alg: &str, rest: &str| format!("[[tokens.keys]]\nalg = \"{alg}\"\n{rest}\n");
    for (text, expected) in [
        (
            key("HS256", "secret = \"short\""),
            "`tokens.keys[0].secret` has 5 bytes and needs at least 32",
        ),
        (
            key("HS256", "secret_file = \"/short\""),
            "`tokens.keys[0].secret_file` has 6 bytes",
        ),
        (
            key("HS256", "secret_file = \"/none\""),
            "`tokens.keys[0].secret_file` is /none, which cannot be read",
        ),
        (
            key("HS256", ""),
            "exactly one of `secret` and `secret_file`",
        ),
        (
            key("HS256", &format!("{good}\nsecret_file = \"/long\"")),
            "exactly one of `secret`",
        ),
        (
            key("HS256", &format!("public_key = '''{p256}'''")),
            "is for RS256, PS256, ES256, ES384 and EdDSA",
        ),
        (key("ES256", &good), "ES256 is checked with the public key"),
        (
            key("ES256", "public_key = \"hello\""),
            "is no public key as PEM",
        ),
        (
            key("EdDSA", &format!("public_key = '''{p256}'''")),
            "no key for EdDSA, which needs an Ed25519 key",
        ),
        (
            key("HS512", &good),
            "needs at least 64; `openssl rand -hex 64`",
        ),
        (
            key("ES384", &format!("public_key = '''{p256}'''")),
            "no key for ES384, which needs an elliptic-curve key on P-384",
        ),
        (
            key("PS256", &format!("public_key = '''{p256}'''")),
            "no key for PS256",
        ),
        (
            key("RS256", &format!("public_key = '''{p256}'''")),
            "no key for RS256",
        ),
        (
            key("ES256", "public_key = \"-----BEGIN PRIVATE KEY-----\""),
            "is a private key",
        ),
        (
            key(
                "ES256",
                "public_key = \"-----BEGIN PUBLIC KEY-----\\n!\\n-----END PUBLIC KEY-----\"",
            ),
            "no key for ES256",
        ),
        (
            key("HS256", &good).repeat(2),
            "`tokens.keys[1].kid` is missing as in an earlier key",
        ),
        (
            key("HS256", &format!("kid = \"a\"\n{good}")).repeat(2),
            "`tokens.keys[1].kid` is `a` as in an earlier key",
        ),
        (
            key("HS256", &format!("kid = \"\"\n{good}")),
            "`tokens.keys[0].kid` is empty",
        ),
        (
            "[[keys]]\nid = \"A_b\"\nsha256 = \"\"\nchannels = []".to_owned(),
            "`keys[0].id` is \"A_b\"; use 1 to 32",
        ),
        (
            "[[keys]]\nid = \"a\"\nsha256 = \"12\"\nchannels = []".to_owned(),
            "`keys[0].sha256` is not 64 hexadecimal digits",
        ),
    ] {
        let config = Config::from_toml(&text).unwrap();
        let mut read = |path: &Path| match path.to_str() {
            Some("/short") => Ok(b"short.\r\n".to_vec()),
            Some("/long") => Ok(SECRET.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let error = Authority::new(&config, &mut read).unwrap_err().to_string();
        assert!(error.contains(expected), "{text} gave {error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}

/// A token that could not be taken back is not taken: by its own name, or by its user's and the time of its issue.
#[test]
fn what_could_not_be_revoked_is_not_taken() {
    for (claims, expected) in [
        (json!({"jti": "a".repeat(256)}), true),
        (json!({"jti": "a".repeat(257)}), false),
        (json!({"jti": ""}), false),
        (json!({"iat": NOW_S}), true),
        (json!({"iat": NOW_S + 30}), true),
        (json!({"iat": NOW_S + 31}), false),
        (json!({"iat": NOW_S + 30, "exp": NOW_S + 100}), true),
    ] {
        let found = judged("", &token_with(&claims));
        assert_eq!(found.is_ok(), expected, "{claims}: {found:?}");
    }
}

/// Members that are there as `null`, and arrays in the place of objects.
#[test]
fn what_could_be_read_in_two_ways_is_no_token() {
    let claims = json!({"exp": NOW_S + 60}).to_string();
    let grants = |grants: &str| format!(r#"{{"exp":{},"channels":{grants}}}"#, NOW_S + 60);
    for (header, claims, expected) in [
        (r#"{"alg":"HS256"}"#, &claims, true),
        (r#"{"alg":"HS256","kid":null}"#, &claims, true),
        (r#"{"alg":"HS256","crit":null}"#, &claims, false),
        (r#"{"alg":"HS256","crit":[]}"#, &claims, false),
        (r#"{"alg":"HS256","crit":{}}"#, &claims, false),
        (r#"["HS256"]"#, &claims, false),
        (r#"["HS256",null,null]"#, &claims, false),
        (
            r#"{"alg":"HS256"}"#,
            &grants(r#"[{"match":"a","can":["read"]}]"#),
            true,
        ),
        (r#"{"alg":"HS256"}"#, &grants(r#"[["a",["read"]]]"#), false),
        (r#"{"alg":"HS256"}"#, &grants("null"), false),
        (
            r#"{"alg":"HS256"}"#,
            &grants(r#"{"0":{"match":"a","can":["read"]}}"#),
            false,
        ),
        (
            r#"{"alg":"HS256"}"#,
            &format!("[null,null,null,{}]", NOW_S + 60),
            false,
        ),
    ] {
        let [head, body] =
            [header, claims.as_str()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let message = format!("{head}.{body}");
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
        let found = judged("", &format!("{message}.{}", signature.unwrap()));
        assert_eq!(found.is_ok(), expected, "{header} {claims}: {found:?}");
    }
}
