//! What a token claims (RFC 7519, section 4), once its signature was checked.

use everwire_channel::UserName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CredentialError, Known, Proof, Who, vouched};
use crate::config::{Grant, Object, REVOCABLE_ID_BYTES_MAX, Tokens, objects};

/// The claims that are looked at. Others are ignored (RFC 7519, section 4); one of these that is there twice is refused,
/// since two readers of the token could take it for two different things.
#[derive(Deserialize)]
#[serde(expecting = "an object of claims")]
pub(super) struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<Date>,
    nbf: Option<Date>,
    iat: Option<Date>,
    jti: Option<String>,
    #[serde(default, deserialize_with = "objects")]
    channels: Vec<Grant>,
    info: Option<Box<RawValue>>,
}

/// The claims on which a token is taken: kept, to be judged anew when other terms hold.
#[derive(Debug, Default)]
pub struct Told {
    iss: Option<String>,
    aud: Option<Audience>,
    exp_s: Option<u64>,
    nbf_s: Option<u64>,
    iat_s: Option<u64>,
    grants: usize,
}

/// One audience or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`aud` is a string or an array of strings")]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2, NumericDate).
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Date(u64);

impl TryFrom<f64> for Date {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        // Up to here every whole second has a number of its own; it is some 285 million years off.
        const LAST: f64 = 9_007_199_254_740_992.0;
        match seconds {
            0.0..=LAST => Ok(Self(seconds as u64)),
            _ => Err("a time is a number of seconds since 1970"),
        }
    }
}

impl Claims {
    /// Reads the middle part of a token, decoded.
    pub fn parse(json: &[u8]) -> Result<Self, CredentialError> {
        let Object(claims) =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        Ok(claims)
    }

    /// Who that is, if the claims hold here and now, and the issuer is this one (empty is any).
    pub fn check(
        self,
        settings: &Tokens,
        issuer: &str,
        proof: Proof,
        now_ms: u64,
    ) -> Result<Known, CredentialError> {
        let second = |date: Option<Date>| date.map(|Date(second)| second);
        let told = Told {
            iss: self.iss,
            aud: self.aud,
            exp_s: second(self.exp),
            nbf_s: second(self.nbf),
            iat_s: second(self.iat),
            grants: self.channels.len(),
        };
        let ends_ms = told.check(settings, issuer, now_ms)?;
        check_revocable(self.jti.as_deref())?;
        Ok(Known {
            proof,
            who: Who::Token {
                user: self.sub.as_deref().map(user).transpose()?,
                info: self.info,
                id: self.jti,
                issued_s: told.iat_s,
            },
            grants: self.channels,
            can: Vec::new(),
            ends_ms,
            told: Some(Box::new(told)),
        })
    }
}

impl Told {
    /// When the token ends, in Unix milliseconds, if it is taken on these terms now.
    pub(super) fn check(
        &self,
        settings: &Tokens,
        issuer: &str,
        now_ms: u64,
    ) -> Result<Option<u64>, CredentialError> {
        self.check_issuer(issuer)?;
        self.check_audience(settings)?;
        let ends_ms = self.check_time(settings, now_ms / 1000)?;
        let grants_max = settings.grants_max;
        if self.grants > grants_max {
            return Err(invalid(format!(
                "`channels` has {} grants, and at most {grants_max} are taken (tokens.grants_max); use patterns",
                self.grants
            )));
        }
        Ok(ends_ms)
    }

    fn check_issuer(&self, wanted: &str) -> Result<(), CredentialError> {
        match self.iss.as_deref() {
            _ if wanted.is_empty() => Ok(()),
            Some(iss) if iss == wanted => Ok(()),
            Some(_) => Err(invalid(
                "`iss` is not the issuer that this server trusts (tokens.issuer, or `issuer` of its key server)",
            )),
            None => Err(invalid(
                "`iss` is missing, and this server trusts one issuer (tokens.issuer, or `issuer` of its key server)",
            )),
        }
    }

    /// Who does not find himself in `aud` has to refuse (RFC 7519, section 4.1.3).
    fn check_audience(&self, settings: &Tokens) -> Result<(), CredentialError> {
        let wanted = settings.audience.as_str();
        let is_named = match &self.aud {
            None if wanted.is_empty() => return Ok(()),
            None => {
                return Err(invalid(
                    "`aud` is missing, and this server has a name (tokens.audience)",
                ));
            }
            Some(_) if wanted.is_empty() => {
                return Err(invalid(
                    "`aud` names somebody, and this server has no name (tokens.audience)",
                ));
            }
            Some(Audience::One(aud)) => aud == wanted,
            Some(Audience::Several(all)) => all.iter().any(|aud| aud == wanted),
        };
        match is_named {
            true => Ok(()),
            false => Err(invalid(
                "`aud` does not name this server (tokens.audience); the token is for another",
            )),
        }
    }

    /// When it ends, in Unix milliseconds, if its time is now.
    fn check_time(&self, settings: &Tokens, now_s: u64) -> Result<Option<u64>, CredentialError> {
        let leeway_s = settings.leeway_s;
        if let Some(nbf) = self.nbf_s
            && nbf > now_s + leeway_s
        {
            return Err(CredentialError::TooEarly { in_s: nbf - now_s });
        }
        // What is issued further ahead than clocks may differ could not be taken back by its user's name.
        if let Some(iat) = self.iat_s
            && iat > now_s + leeway_s
        {
            return Err(invalid(format!(
                "`iat` is {} s ahead, more than clocks may differ by (tokens.leeway_s); compare the clocks of its \
                 issuer and this server",
                iat - now_s
            )));
        }
        let Some(exp) = self.exp_s else {
            return match settings.exp_required {
                true => Err(invalid(
                    "`exp` is missing; say when the token ends, in seconds since 1970",
                )),
                false => Ok(None),
            };
        };
        if exp + leeway_s <= now_s {
            return Err(CredentialError::Expired { ago_s: now_s - exp });
        }
        // An `iat` that lies ahead does not shorten a life.
        let begins_s = self.iat_s.map_or(now_s, |iat| iat.min(now_s));
        let life_s = exp.saturating_sub(begins_s);
        if life_s > settings.life_s_max.saturating_add(leeway_s) {
            return Err(CredentialError::TooLongLived {
                life_s,
                life_s_max: settings.life_s_max,
            });
        }
        Ok(Some((exp + leeway_s).saturating_mul(1000)))
    }
}

/// Refuses a token that could not be taken back by its own name.
fn check_revocable(jti: Option<&str>) -> Result<(), CredentialError> {
    match jti.map_or(1, str::len) {
        1..=REVOCABLE_ID_BYTES_MAX => Ok(()),
        bytes => Err(invalid(format!(
            "`jti` has {bytes} bytes; a token can be taken back by one of 1 to {REVOCABLE_ID_BYTES_MAX}"
        ))),
    }
}

fn user(sub: &str) -> Result<UserName, CredentialError> {
    vouched(sub).map_err(|error| invalid(format!("`sub`: {error}")))
}

fn invalid(problem: impl Into<String>) -> CredentialError {
    CredentialError::Claims(problem.into())
}
