//! Configurations: no input panics, what is accepted is printed so that it reads back as itself, and no secret is shown.
#![no_main]

use std::io;

use everwire_server::{Config, auth::Authority, config::to_documented_toml};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "zq7-never-to-be-shown-zq7-never-to-be-shown";

fuzz_target!(|text: &str| {
    // Where the input says `$`, there stands a secret.
    let text = text.replace('$', SECRET);
    match Config::from_toml(&text) {
        Ok(config) => {
            let mut read = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
            let authority = Authority::new(&config, &mut read);
            let secrets = config
                .tokens
                .keys
                .iter()
                .filter_map(|key| key.secret.as_ref());
            let has_secrets = secrets.clone().count() > 0;
            let printed = to_documented_toml(&config);
            for secret in secrets.filter(|secret| secret.reveal() == SECRET) {
                let others = text.matches(SECRET).count() > 1;
                assert!(others || !printed.contains(secret.reveal()));
                assert!(others || !format!("{config:?} {authority:?}").contains(secret.reveal()));
            }
            if !has_secrets {
                assert_eq!(Config::from_toml(&printed).unwrap(), config);
            }
        }
        Err(error) => drop(error.to_string()),
    }
});
