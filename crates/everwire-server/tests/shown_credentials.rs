//! By whom a shown credential is judged: this server, or the application that is to see what this server cannot check.

mod common;

use common::{
    Site,
    application::Application,
    issuer::{ISSUERS, Issuer, now_s},
    key_server::{KeyServer, jwk},
};
use everwire_server::{
    Config,
    config::{Action, Jwks, Revoked, Url},
};
use serde_json::json;

/// Where this server's keys for tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Keys,
    KeyServer,
    /// A key server that has never answered.
    SilentKeyServer,
    Both,
    None,
}

/// A credential that a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Valid,
    Forged,
    Expired,
    Revoked,
    Opaque,
    UnknownApiKey,
}

fn signer() -> &'static Issuer {
    &ISSUERS[3]
}

impl Shows {
    fn text(self) -> String {
        let claims = |jti: &str| json!({"sub": "ada", "jti": jti, "iat": now_s()});
        match self {
            Self::Valid => signer().token(claims("good")),
            Self::Revoked => signer().token(claims("revoked")),
            Self::Expired => {
                let mut claims = claims("old");
                claims["exp"] = json!(now_s() - 3600);
                signer().token(claims)
            }
            Self::Forged => {
                let good = signer().token(claims("good"));
                let (message, _) = good.rsplit_once('.').unwrap();
                let other = ISSUERS[0].token(claims("good"));
                let (_, signature) = other.rsplit_once('.').unwrap();
                format!("{message}.{signature}")
            }
            Self::Opaque => "an-opaque-one".to_owned(),
            Self::UnknownApiKey => "ewk_nobody_00".to_owned(),
        }
    }

    /// The status of a read that everybody may, and whether the application is shown the credential.
    fn expected(self, source: Source, is_passed_on: bool) -> (u16, bool) {
        match (self, source) {
            (Self::UnknownApiKey, _) => (401, false),
            (Self::Opaque, _) | (_, Source::None) => match is_passed_on {
                true => (200, true),
                false => (401, false),
            },
            (_, Source::SilentKeyServer) => (503, false),
            (Self::Valid, _) => (200, false),
            (Self::Forged | Self::Expired | Self::Revoked, _) => (401, false),
        }
    }
}

#[test]
fn whatever_this_server_could_check_it_checks_whether_or_not_others_are_passed_on() {
    use Shows::{Expired, Forged, Opaque, Revoked as TakenBack, UnknownApiKey, Valid};
    use Source::{Both, Keys, SilentKeyServer};
    for source in [Keys, Source::KeyServer, SilentKeyServer, Both, Source::None] {
        for is_passed_on in [true, false] {
            let application = Application::start(|_| json!({"allow": true}));
            let key_server = KeyServer::start(&[jwk(signer().kid, &signer().point)]);
            key_server.holds(source == SilentKeyServer);
            let site = Site::with(|config| {
                application.decides(config);
                config.webhooks.connect = true;
                if is_passed_on {
                    config.webhooks.headers = vec!["authorization".to_owned()];
                }
                config.channels.decide = Vec::new();
                config.channels.anonymous = vec![Action::Read];
                trust(config, source, &key_server);
            });
            for shows in [Valid, Forged, Expired, TakenBack, Opaque, UnknownApiKey] {
                let text = shows.text();
                let (status, is_seen) = shows.expected(source, is_passed_on);
                let case = format!("{shows:?}, keys from {source:?}, passed on: {is_passed_on}");
                let read = site.ask(&format!(
                    "GET /channels/c?offset=-1&live=long-poll HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n\
                     Authorization: Bearer {text}\r\n\r\n"
                ));
                let found = if read.status == 204 { 200 } else { read.status };
                assert_eq!(found, status, "a read: {case}: {}", read.text());
                let asked = application.asked().len();
                let mut session = site.connect();
                session.send(format!(
                    "GET /connect?token={text} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"
                ));
                let head = session.head();
                assert_eq!(head[9..12], status.to_string(), "a session: {case}: {head}");
                let asked = application.asked().split_off(asked);
                let shown = serde_json::to_string(&asked).unwrap().contains(&text);
                assert_eq!(
                    shown, is_seen,
                    "{case}: the application was asked {asked:?}"
                );
            }
            key_server.holds(false);
        }
    }
}

fn trust(config: &mut Config, source: Source, key_server: &KeyServer) {
    if matches!(source, Source::Keys | Source::Both) {
        config.tokens.keys = vec![signer().key()];
    }
    if matches!(
        source,
        Source::KeyServer | Source::SilentKeyServer | Source::Both
    ) {
        config.tokens.jwks = vec![Jwks {
            url: Url::parse(&key_server.url()).unwrap(),
            issuer: None,
        }];
        config.tokens.jwks_interval_ms = 1;
    }
    if source == Source::SilentKeyServer {
        config.tokens.jwks_fetch_ms = 50;
    }
    config.tokens.revoked =
        vec![serde_json::from_value::<Revoked>(json!({"jti": "revoked"})).unwrap()];
}
