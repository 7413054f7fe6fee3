//! Configurations that contradict themselves, or open more than they seem to: each is told, with the setting to change.

use everwire_server::Config;

/// Each setting that names an address, with whether it takes clear text at all.
#[test]
fn every_setting_that_names_an_address_keeps_to_the_rule_of_clear_text() {
    const SETTINGS: [(&str, &str, bool); 3] = [
        ("webhooks.url", "webhooks.url = \"URL\"", true),
        (
            "tokens.jwks[0].url",
            "tokens.jwks = [{ url = \"URL\" }]",
            true,
        ),
        (
            "acme.directory",
            "acme = { domains = [\"a.example\"], directory = \"URL\" }\ntls.mode = \"only\"",
            false,
        ),
    ];
    // The URL, whether it is secure, whether it stays on this machine.
    const URLS: [(&str, bool, bool); 8] = [
        ("https://example.org/", true, false),
        ("https://127.0.0.1/", true, true),
        ("http://127.0.0.1:81/", false, true),
        ("http://[::1]/", false, true),
        ("http://localhost:81/", false, true),
        ("http://localhost.example.org/", false, false),
        ("http://10.0.0.1/", false, false),
        ("http://example.org/", false, false),
    ];
    for (setting, toml, takes_clear_text) in SETTINGS {
        for (text, is_secure, is_local) in URLS {
            for insecure in [false, true] {
                let toml = toml.replace("URL", text);
                let read = Config::from_toml(&format!(
                    "{toml}\noutbound.insecure_clear_text = {insecure}\n"
                ));
                let is_fine = is_secure || (takes_clear_text && (is_local || insecure));
                match read {
                    Ok(_) => assert!(is_fine, "{toml}, insecure: {insecure}"),
                    Err(error) => {
                        assert!(!is_fine, "{toml}, insecure: {insecure}: {error}");
                        assert_eq!(error.setting(), Some(setting), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn certificates_of_clients_are_asked_for_where_they_can_be_shown() {
    let tls = |mode: &str, auth: &str, rest: &str| {
        let certificates = "certificates = [{ cert_file = \"c\", key_file = \"k\" }]";
        format!("[tls]\nmode = \"{mode}\"\nclient_auth = \"{auth}\"\n{certificates}\n{rest}")
    };
    let acme = |challenge: &str| {
        format!(
            "client_ca_file = \"x\"\n[acme]\ndomains = [\"a.example\"]\nchallenge = \"{challenge}\""
        )
    };
    let ca = "client_ca_file = \"x\"";
    for (toml, expected) in [
        (tls("off", "off", ""), None),
        (tls("off", "optional", ca), Some("tls.client_auth")),
        (tls("off", "required", ca), Some("tls.client_auth")),
        (tls("only", "required", ca), None),
        (tls("only", "required", ""), Some("tls.client_ca_file")),
        (tls("both", "required", ca), None),
        (tls("both", "required", &acme("http-01")), None),
        (
            tls("both", "required", &acme("tls-alpn-01")),
            Some("acme.challenge"),
        ),
        (
            tls("only", "required", &acme("http-01")),
            Some("acme.challenge"),
        ),
        (tls("only", "optional", &acme("tls-alpn-01")), None),
    ] {
        let read = Config::from_toml(&toml);
        let found = read.as_ref().err().and_then(|error| error.setting());
        assert_eq!(found, expected, "{toml}: {read:?}");
    }
}
