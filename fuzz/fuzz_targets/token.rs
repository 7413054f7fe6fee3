//! Tokens: no input panics, what nobody signed is refused, and what is signed and accepted keeps the rules.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use everwire_server::{
    Config,
    auth::{Authority, Caller},
    config::{Action, Rules},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "a secret of more than 32 bytes, just so";
const NOW_MS: u64 = 1_790_000_000_000;
const GOOD_HEADER: &str = r#"{"alg":"HS256","kid":"a"}"#;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let keys = format!("[[tokens.keys]]\nkid = \"a\"\nalg = \"HS256\"\nsecret = \"{SECRET}\"\n");
    Config::from_toml(&keys).unwrap()
});

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new(&CONFIG, &mut |_| unreachable!("no file is named")).unwrap());

fuzz_target!(|input: (&str, &str, bool)| {
    let (header, claims, good_header) = input;
    // What came in as it is: nobody signed it.
    assert!(AUTHORITY.judge(header, NOW_MS).is_err());
    let header = if good_header { GOOD_HEADER } else { header };
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    assert!(
        AUTHORITY
            .judge(&format!("{message}.{claims}"), NOW_MS)
            .is_err()
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    let token = format!("{message}.{signature}");
    match AUTHORITY.judge(&token, NOW_MS) {
        Ok(caller) => check(&caller, &token),
        Err(error) => assert!(!error.to_string().contains(&signature)),
    }
});

/// A signed token was taken.
fn check(caller: &Caller, token: &str) {
    let tokens = &CONFIG.tokens;
    let life_ms = (tokens.life_s_max + 2 * tokens.leeway_s) * 1000;
    let ends_ms = caller.ends_ms().expect("a token has to have an end");
    assert!((NOW_MS..=NOW_MS + life_ms).contains(&ends_ms));
    assert!(
        caller
            .user()
            .is_none_or(|user| !user.as_str().starts_with('~'))
    );
    assert!(caller.as_known().unwrap().grants.len() <= tokens.grants_max);
    let again = AUTHORITY.judge(token, NOW_MS).expect("it is remembered");
    assert!(caller.may_become(&again));
    assert!(
        AUTHORITY.judge(token, ends_ms).is_err(),
        "not beyond its end"
    );
    let rules = Rules::new(&CONFIG);
    for name in ["$presence/a", "$presence", "$everwire/sessions"] {
        let name = name.parse().unwrap();
        for action in [Action::Publish, Action::Manage, Action::Presence] {
            assert!(!caller.permits(&rules, action, &name));
        }
    }
    assert!(!caller.permits(&rules, Action::Read, &"$presence/a".parse().unwrap()));
}
