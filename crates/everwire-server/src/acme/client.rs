//! One conversation with the authority: an order from its beginning to the certificate (RFC 8555, section 7.1).
//!
//! ```text
//!  account ─▶ order ─▶ for each name: answer a challenge ─▶ ready ─▶ request with a new key ─▶ certificate
//! ```
//!
//! The protocol is `instant-acme`'s; what to do when something is refused is decided here.

use std::{sync::Arc, time::Duration};

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};

use super::{
    account::{Access, Accounts},
    challenges::{Answer, Challenges},
    failure::{self, Failure},
    issued::Issued,
    schedule::Window,
    told::Listener,
};
use crate::{
    config::{Acme, Challenge, Domain},
    tls::Certificates,
};

/// Talks to one authority about one certificate.
pub(crate) struct Client {
    pub domains: Vec<Domain>,
    pub challenge: Challenge,
    pub profile: Option<String>,
    pub accounts: Accounts,
    pub listener: Listener,
    pub challenges: Arc<Challenges>,
    pub certificates: Arc<Certificates>,
}

impl Client {
    /// By these settings.
    pub fn new(
        settings: &Acme,
        accounts: Accounts,
        listener: Listener,
        challenges: Arc<Challenges>,
        certificates: Arc<Certificates>,
    ) -> Self {
        Self {
            domains: settings.domains.clone(),
            challenge: settings.challenge,
            profile: (!settings.profile.is_empty()).then(|| settings.profile.clone()),
            accounts,
            listener,
            challenges,
            certificates,
        }
    }

    /// Gets a certificate, in place of another if there is one. What was begun is left to expire if it takes too long, or
    /// if `before_issue` fails, which is awaited when all names are verified: from then on the authority counts a
    /// certificate.
    pub async fn order(
        &self,
        replaces: Option<&CertificateIdentifier<'static>>,
        before_issue: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Issued, Failure> {
        let order = self.whole_order(replaces, before_issue);
        match tokio::time::timeout(ORDER_TIME_MAX, order).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::timed_out(format!(
                "the authority did not issue a certificate within {} s",
                ORDER_TIME_MAX.as_secs()
            ))),
        }
    }

    /// Asks when a certificate should be renewed, and after how many seconds to ask again. Nothing if the authority does
    /// not tell (RFC 9773).
    pub async fn window(
        &self,
        id: &CertificateIdentifier<'static>,
    ) -> Result<Option<(Window, u64)>, Failure> {
        let access = self.accounts.access(&self.listener).await?;
        match access.account.renewal_info(id).await {
            Ok((info, ask_after)) => {
                let second = |at: i64| u64::try_from(at).unwrap_or(0);
                let window = Window {
                    start_s: second(info.suggested_window.start.unix_timestamp()),
                    end_s: second(info.suggested_window.end.unix_timestamp()),
                };
                Ok(Some((window, ask_after.as_secs())))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(self.failed("the authority does not say when to renew", &error)),
        }
    }

    async fn whole_order(
        &self,
        replaces: Option<&CertificateIdentifier<'static>>,
        before_issue: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Issued, Failure> {
        let mut order = self.new_order(replaces).await?;
        let answers = self.answer_all(&mut order).await?;
        self.ready(&mut order).await?;
        // The names are verified.
        drop(answers);
        before_issue.await?;
        let key = order.finalize().await;
        let key = key.map_err(|error| self.failed("the authority took no request", &error))?;
        let chain = order.poll_certificate(&PATIENCE).await;
        let chain =
            chain.map_err(|error| self.failed("the authority issued no certificate", &error))?;
        issued_for(&self.domains, &key, &chain)
    }

    /// Opens an order. An account that the authority does not take any more, since it was deactivated or its database
    /// was lost, is replaced, once.
    async fn new_order(
        &self,
        replaces: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Order, Failure> {
        let access = self.accounts.access(&self.listener).await?;
        let refused = match self.open(&access, replaces).await {
            Ok(order) => return Ok(order),
            Err(Error::Api(problem)) if access.was_stored && is_about_account(&problem) => problem,
            Err(error) => return Err(self.failed(ORDER, &error)),
        };
        tracing::warn!(
            error = failure::describe(&refused),
            "the certificate authority does not take the stored account any more; registering a new one"
        );
        self.accounts.put_aside().await?;
        let access = self.accounts.access(&self.listener).await?;
        self.open(&access, None)
            .await
            .map_err(|error| self.failed(ORDER, &error))
    }

    /// RFC 9773, section 5: an order says which certificate it replaces, where the authority wants to know. If that is of
    /// no use (it was replaced already, or is another account's, or nobody listens), the order goes without.
    async fn open(
        &self,
        access: &Access,
        replaces: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Order, Error> {
        let identifiers: Vec<Identifier> = self.domains.iter().map(identifier).collect();
        let new = || {
            let new = NewOrder::new(&identifiers);
            match &self.profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        if let Some(replaces) = replaces {
            match access
                .account
                .new_order(&new().replaces(replaces.clone()))
                .await
            {
                Ok(order) => return Ok(order),
                Err(Error::Api(problem)) if failure::is(&problem, "rateLimited") => {
                    return Err(Error::Api(problem));
                }
                Err(_) => {}
            }
        }
        access.account.new_order(&new()).await
    }

    /// Begins to answer the challenges of all names that are not verified yet.
    async fn answer_all(&self, order: &mut Order) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.failed("the order cannot be read", &error))?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                status => {
                    return Err(Failure::refused(format!(
                        "the authority does not verify {name} any more: its authorization is {status:?}"
                    )));
                }
            }
            let kind = match self.challenge {
                Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
                Challenge::Http01 => ChallengeType::Http01,
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                return Err(Failure::refused(format!(
                    "the authority does not verify {name} by {}; choose another acme.challenge",
                    self.challenge.name()
                )));
            };
            let key = challenge.key_authorization();
            answers.push(match self.challenge {
                Challenge::Http01 => Answer::http(&self.challenges, &challenge.token, key.as_str()),
                Challenge::TlsAlpn01 => {
                    let domain = name.parse::<Domain>().map_err(Failure::refused)?;
                    Answer::tls(&self.certificates, &domain, key.digest().as_ref())
                        .map_err(|error| Failure::refused(error.to_string()))?
                }
            });
            // Only now: the authority may look at once.
            let begun = challenge.set_ready().await;
            begun.map_err(|error| self.failed("the authority takes no answer", &error))?;
        }
        Ok(answers)
    }

    /// Waits until all names are verified.
    async fn ready(&self, order: &mut Order) -> Result<(), Failure> {
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Ready) => Ok(()),
            // An order's own error is less telling than its challenges' (RFC 8555, section 7.1.6).
            Ok(_) | Err(Error::Api(_)) => Err(Failure::refused(self.why_not(order).await)),
            Err(error) => Err(self.failed("the authority did not verify the names", &error)),
        }
    }

    /// What the authority found in the way of each name.
    async fn why_not(&self, order: &mut Order) -> String {
        let mut found = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let name = state.identifier().to_string();
            let errors = state.challenges.iter().filter_map(|one| one.error.as_ref());
            found.extend(errors.map(|problem| format!("{name}: {}", failure::describe(problem))));
        }
        let port = match self.challenge {
            Challenge::TlsAlpn01 => "TLS at port 443",
            Challenge::Http01 => "clear text at port 80",
        };
        format!(
            "the authority could not verify {}; see that the names lead to this machine, and that {port} of them \
             reaches this server (acme.challenge is {})",
            match found.is_empty() {
                true => "all names".to_owned(),
                false => found.join("; "),
            },
            self.challenge.name()
        )
    }

    fn failed(&self, doing: &str, error: &Error) -> Failure {
        Failure::of(doing, error, self.listener.told())
    }
}

/// What an authority issued, if it is for all that was asked for. It may be for more: it is shown to whoever asks for that,
/// and files that the configuration names come before it.
fn issued_for(domains: &[Domain], key: &str, chain: &str) -> Result<Issued, Failure> {
    match Issued::new(key, chain) {
        Some(issued) if issued.covers(domains) => Ok(issued),
        Some(_) => Err(Failure::wasted(
            "the authority issued a certificate that is not for all of acme.domains",
        )),
        None => Err(Failure::wasted(
            "the authority issued something that is no certificate",
        )),
    }
}

fn identifier(domain: &Domain) -> Identifier {
    match domain {
        Domain::Name(name) => Identifier::Dns(name.clone()),
        Domain::Address(address) => Identifier::Ip(*address),
    }
}

/// Whether an order was refused for the account: it does not exist, or is not valid (RFC 8555, sections 6.7 and 7.3.6).
fn is_about_account(problem: &Problem) -> bool {
    ["accountDoesNotExist", "unauthorized"]
        .iter()
        .any(|kind| failure::is(problem, kind))
}

const ORDER: &str = "the authority took no order";

/// How often and how long a state is looked at that the authority changes in its own time.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// For all of an order.
const ORDER_TIME_MAX: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    /// A chain and its key as an authority issues them for these names.
    fn chain(names: &[&str], common_name: &str) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (key.serialize_pem(), certificate.pem())
    }

    /// An authority that is hostile or wrong: its certificate would stand in for the one that was asked for.
    #[test]
    fn a_certificate_for_other_names_than_were_asked_for_is_refused() {
        let domains = ["live.example.org", "a.example.org"].map(|name| name.parse().unwrap());
        for (names, is_taken) in [
            (&["live.example.org", "a.example.org"][..], true),
            (&["A.example.org", "LIVE.example.org"], true),
            (&["live.example.org", "a.example.org", "bank.example"], true),
            (&["live.example.org"], false),
            (&["bank.example"], false),
            (&["live.example.org.bank.example", "a.example.org"], false),
            // A wildcard is not what was asked for, and leaves out what is below.
            (&["*.example.org"], false),
            (&["live.example.org", "*.a.example.org"], false),
            (&["192.0.2.1"], false),
            (&[], false),
        ] {
            // What clients do not read any more does not count (RFC 9525, section 2).
            let (key, chain) = chain(names, "live.example.org");
            let found = issued_for(&domains, &key, &chain);
            assert_eq!(found.is_ok(), is_taken, "{names:?}");
        }
        let (key, _) = chain(&["live.example.org"], "");
        for broken in ["", "not a certificate", &key] {
            assert!(issued_for(&domains, &key, broken).is_err(), "{broken:?}");
        }
    }
}
