//! Fetches the keys of key servers, for as long as they are trusted: one task for each, on the workers.

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use tokio::time::sleep_until;

use crate::{
    auth::{Asked, Authority, DocumentError, Fetch, Taken},
    metrics::Metrics,
    outbound::{Limits, Outbound},
    parts::{Part, Parts},
    shard::{Mail, Mailbox},
};

/// Fetches from those of an authority's key servers that nobody fetches from yet.
/// Each shard looks at its lines when other keys have come.
pub(crate) fn keep(
    authority: &Authority,
    outbound: &Outbound,
    metrics: &Arc<Metrics>,
    shards: &[Arc<Mailbox>],
    parts: &Parts,
) {
    for asked in authority.key_servers().unkept() {
        let (outbound, metrics, shards) = (outbound.clone(), metrics.clone(), shards.to_vec());
        let workers = outbound.workers().clone();
        let asked = Arc::downgrade(&asked);
        let start = move || {
            let keeper = Keeper {
                asked: asked.clone(),
                outbound: outbound.clone(),
                metrics: metrics.clone(),
                shards: shards.clone(),
                standing: None,
            };
            keeper.run()
        };
        workers.spawn(parts.clone().supervise(Part::KeyServer, start));
    }
}

struct Keeper {
    /// Held by those who trust it; without them it is not asked any more.
    asked: Weak<Asked>,
    outbound: Outbound,
    metrics: Arc<Metrics>,
    /// Those who serve lines, which a key that is withdrawn ends.
    shards: Vec<Arc<Mailbox>>,
    /// What was last told of it.
    standing: Option<Standing>,
}

/// Where tokens of a key server stand, as an operator wants to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its keys are those that it has now, or had a moment ago.
    Fresh,
    /// It does not answer, and its last keys are used.
    Stale,
    /// There are no keys: its tokens are not taken.
    Missing,
}

impl Keeper {
    async fn run(mut self) {
        while let Some(asked) = self.asked.upgrade() {
            if let Some(fetch) = asked.poll_fetch(Instant::now()) {
                self.fetch(&asked, fetch).await;
                continue;
            }
            self.look(&asked, "");
            let (wake_at, hastened) = (asked.wake_at(), asked.hastened());
            drop(asked);
            let due = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = hastened.notified() => {}
            }
        }
        self.metrics.key_server_is_stale(self.is_stale(), false);
    }

    async fn fetch(&mut self, asked: &Asked, fetch: Fetch<'_>) {
        let limits = asked.limits();
        let limits = Limits {
            time_max: limits.time_max,
            content_bytes_max: limits.bytes_max,
        };
        let outcome = match self.answer(asked, limits).await {
            Ok((document, fresh)) => fetch
                .take_document(&document, fresh, Instant::now())
                .map_err(|error: DocumentError| format!("its document is refused: {error}")),
            Err(reason) => {
                fetch.fail(Instant::now());
                Err(reason)
            }
        };
        self.metrics.keys_fetched(outcome.is_ok());
        match outcome {
            Ok(taken) => {
                if taken.is_new {
                    self.shards
                        .iter()
                        .for_each(|shard| shard.post(Mail::Revoked));
                }
                tell_new(asked, &taken);
                self.look(asked, "");
            }
            Err(reason) => self.look(asked, &reason),
        }
    }

    /// The document, and for how long it says to be fresh.
    async fn answer(
        &self,
        asked: &Asked,
        limits: Limits,
    ) -> Result<(Bytes, Option<Duration>), String> {
        let request = Request::builder()
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let sent = self
            .outbound
            .send(asked.address(), request, None, limits)
            .await;
        let answer = sent.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => {
                let fresh = fresh_for(answer.headers());
                Ok((answer.into_body(), fresh))
            }
            status if status.is_redirection() => Err(format!(
                "it answered {status}, and redirects are not followed; write the address that it names as `url`"
            )),
            status => Err(format!("it answered {status}")),
        }
    }

    /// Tells an operator how a key server stands, when that has changed.
    fn look(&mut self, asked: &Asked, reason: &str) {
        let standing = match (asked.has_keys(), asked.is_stale(Instant::now())) {
            (false, _) => Standing::Missing,
            (true, true) => Standing::Stale,
            (true, false) => Standing::Fresh,
        };
        let before = self.is_stale();
        if self.standing.replace(standing) == Some(standing) {
            return;
        }
        self.metrics.key_server_is_stale(before, self.is_stale());
        let url = asked.url();
        match standing {
            Standing::Fresh => tracing::info!(%url, "the keys of a key server are fresh"),
            Standing::Stale => tracing::warn!(
                %url,
                reason,
                "a key server does not give its keys; tokens are checked with the last ones, for tokens.jwks_stale_s_max at most"
            ),
            Standing::Missing => tracing::error!(
                %url,
                reason,
                "there are no keys of a key server; tokens that are signed with them are answered with 503 until it gives some"
            ),
        }
    }

    fn is_stale(&self) -> bool {
        matches!(self.standing, Some(Standing::Stale | Standing::Missing))
    }
}

fn tell_new(asked: &Asked, taken: &Taken) {
    let Taken {
        keys,
        is_new,
        left_out,
    } = taken;
    if !is_new {
        return;
    }
    let url = asked.url();
    tracing::info!(%url, keys, "a key server has given keys");
    if let Some(reasons) = left_out {
        tracing::warn!(%url, reasons, "some keys of a key server are not used");
    }
}

/// For how long an answer is fresh, if it says so (RFC 9111, sections 4.2 and 5.2.2).
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(header::CACHE_CONTROL).iter();
    let directives = directives
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut fresh_s = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        if ["no-store", "no-cache"]
            .iter()
            .any(|no| name.eq_ignore_ascii_case(no))
        {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            fresh_s = value.trim().trim_matches('"').parse::<u64>().ok();
        }
    }
    let age = headers
        .get(header::AGE)
        .and_then(|age| age.to_str().ok()?.parse().ok());
    fresh_s.map(|s| Duration::from_secs(s.saturating_sub(age.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, runtime::Handle, select, time::timeout};

    use super::*;
    use crate::{config::Config, stop::Stop};

    /// A keeper that ends while it waits for an answer leaves nobody behind who would ask.
    #[tokio::test]
    async fn a_key_server_is_asked_again_whose_keeper_panicked_while_it_waited() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let config: Config = toml::from_str(&format!(
            "[tokens]\njwks_interval_ms = 1\n[[tokens.jwks]]\nurl = \"http://{address}/keys\""
        ))
        .unwrap();
        let mut none = |_: &std::path::Path| unreachable!("no file is named");
        let authority = Authority::new(&config, &mut none).unwrap();
        let metrics = Arc::new(Metrics::new());
        let workers = Handle::current();
        let outbound = Outbound::new(&config.outbound, workers, metrics.clone(), &mut none);
        let outbound = outbound.unwrap();
        let asked = authority.key_servers().unkept().next().unwrap();
        let keeper = || Keeper {
            asked: Arc::downgrade(&asked),
            outbound: outbound.clone(),
            metrics: metrics.clone(),
            shards: Vec::new(),
            standing: None,
        };
        let (_stop, stopping) = Stop::new();
        let parts = Parts::new(stopping, metrics.clone());
        let mut starts = 0;
        let (asks, server) = (Arc::new(tokio::sync::Notify::new()), &server);
        let part = parts.supervise(Part::KeyServer, || {
            starts += 1;
            let (start, keeper, asks) = (starts, keeper(), asks.clone());
            async move {
                select! {
                    () = keeper.run() => {}
                    // It has been asked, and never answers.
                    _ = server.accept() => {}
                }
                match start {
                    1 => panic!("planted"),
                    _ => asks.notify_one(),
                }
            }
        });
        let again = async {
            select! {
                () = part => {}
                () = asks.notified() => {}
            }
        };
        let patience = Duration::from_secs(8);
        assert!(timeout(patience, again).await.is_ok(), "nobody asks again");
        assert!(starts > 1);
    }

    #[test]
    fn an_answer_is_fresh_for_as_long_as_it_says_from_when_it_was_made() {
        for (cache_control, age, expected_s) in [
            (None, None, None),
            (Some("public"), None, None),
            (
                Some("public, Max-Age=600, must-revalidate"),
                None,
                Some(600),
            ),
            (Some("max-age=\"60\""), None, Some(60)),
            (Some("max-age=600"), Some("200"), Some(400)),
            (Some("max-age=600"), Some("700"), Some(0)),
            (Some("max-age=600, no-cache"), None, Some(0)),
            (Some("no-store"), None, Some(0)),
            (Some("max-age=soon"), None, None),
            (Some("s-maxage=60"), None, None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CACHE_CONTROL, cache_control), (header::AGE, age)] {
                headers.extend(value.map(|value| (name, value.parse().unwrap())));
            }
            let expected = expected_s.map(Duration::from_secs);
            assert_eq!(fresh_for(&headers), expected, "{cache_control:?} {age:?}");
        }
    }
}
