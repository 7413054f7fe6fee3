//! Who asks, and whether that may be done: by the rules, by a credential, or because the application says so.
//!
//! ```text
//!  anybody may ─▶ yes          what a rule has the application decide, nobody may unasked
//!  the credential grants it ─▶ yes      shown, or what the application answered to `connect`
//!  the application decides ─▶ as it says
//!  otherwise ─▶ no
//! ```

use everwire_channel::{ChannelName, Draft};
use everwire_wire::Problem;
use http::request::Parts;

use super::{Context, Origin};
use crate::{
    auth::{Caller, Credential, was_revoked},
    clock,
    config::Action,
    cost::Cost,
    payload_type::PayloadType,
    proxy::Client,
    publish,
    rate::Account,
    webhook::{Evidence, Proposal, Question},
};

/// Who asks, and from where.
pub(crate) struct Asker<'r> {
    pub caller: Caller,
    pub client: &'r Client,
    /// Who pays for what it does.
    pub account: Account,
    pub origin: &'r Origin,
    /// Until when what it asks for may be, in Unix milliseconds.
    pub ends_ms: Option<u64>,
    /// What the application is shown, if there is one that decides.
    pub evidence: Option<Evidence>,
    /// It may read because the application said so.
    pub is_lent: bool,
    /// The application may still be asked who that is.
    is_stranger: bool,
}

/// How something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It may.
    Granted,
    /// If the application says so.
    Asked,
}

impl Context {
    /// Who asks, by the credential that the request shows, and pays what that costs.
    ///
    /// # Errors
    ///
    /// The credential is none that is taken, or more is asked for than may be.
    pub(super) async fn asker<'r>(
        &self,
        parts: &Parts,
        origin: &'r Origin,
        client: &'r Client,
        cost: Cost,
    ) -> Result<Asker<'r>, Problem> {
        match self.who_asks(parts, origin, client).await {
            Ok(asker) => {
                self.shared.till().charge(asker.account, cost)?;
                Ok(asker)
            }
            Err(problem) => Err(self.charge_refusal(client, problem)),
        }
    }

    async fn who_asks<'r>(
        &self,
        parts: &Parts,
        origin: &'r Origin,
        client: &'r Client,
    ) -> Result<Asker<'r>, Problem> {
        let authority = &self.shared.live.authority;
        let desk = self.shared.live.desk.as_ref();
        let cookie = self.shared.live.config.tokens.cookie.as_str();
        let vouches = origin.vouches(&parts.headers);
        let cookie = (!cookie.is_empty() && vouches).then_some(cookie);
        let shown = Credential::of(&parts.headers, parts.uri.query(), cookie)?;
        let shown = shown.as_ref().map(Credential::reveal);
        let webhooks = desk.map(|desk| desk.settings());
        let is_passed_on = |shown: &&str| authority.kind_of(shown).is_passed_on(webhooks);
        let foreign = shown.filter(is_passed_on);
        let caller = match shown {
            Some(shown) if foreign.is_none() => {
                // To check a signature costs as much as a page.
                let admit = || self.shared.till().charge(self.stranger(client), Cost::Read);
                authority.caller(shown, admit).await?
            }
            Some(_) | None => Caller::Anybody,
        };
        let evidence = desk.map(|desk| {
            Evidence::of(
                desk.settings(),
                client.address,
                &parts.headers,
                vouches,
                foreign,
            )
        });
        Ok(Asker {
            is_stranger: matches!(caller, Caller::Anybody)
                && desk.is_some_and(|desk| desk.settings().connect),
            ends_ms: caller.ends_ms(),
            account: self.shared.rate.account(&caller, client.address),
            caller,
            client,
            is_lent: false,
            origin,
            evidence,
        })
    }

    /// Has the application say who asks, where it is to say that and the caller has shown nothing else.
    pub(super) async fn introduce(&self, asker: &mut Asker<'_>) -> Result<(), Problem> {
        if !std::mem::take(&mut asker.is_stranger) {
            return Ok(());
        }
        if let (Some(desk), Some(evidence)) = (&self.shared.live.desk, &asker.evidence) {
            let decision = desk
                .decide(Question::connect(evidence), asker.account)
                .await;
            let allowed = decision.permission(clock::unix_ms())?;
            asker.caller = allowed.caller.clone();
            // The answer may be a remembered one.
            if let Some(known) = asker.caller.as_known()
                && self.shared.live.authority.is_revoked(known)
            {
                return Err(was_revoked());
            }
            asker.account = (self.shared.rate).account(&asker.caller, asker.client.address);
            asker.end_by(allowed.until_ms);
        }
        Ok(())
    }

    /// How this may be done by who asks, if at all.
    pub(super) async fn leave(
        &self,
        asker: &mut Asker<'_>,
        action: Action,
        name: &ChannelName,
    ) -> Result<Leave, Problem> {
        let rules = &self.shared.live.rules;
        if rules.permits_anybody(action, name) {
            return Ok(Leave::Granted);
        }
        self.introduce(asker).await?;
        asker.leave(self, action, name)
    }

    /// Whether this may be done by who asks, and if need be, whether the application says so.
    pub(super) async fn permit(
        &self,
        asker: &mut Asker<'_>,
        action: Action,
        name: &ChannelName,
    ) -> Result<(), Problem> {
        if self.leave(asker, action, name).await? == Leave::Asked
            && let (Some(desk), Some(evidence)) = (&self.shared.live.desk, &asker.evidence)
        {
            let question = Question::permit(action, evidence, &asker.caller, name);
            let allowed = desk
                .decide(question, asker.account)
                .await
                .permission(clock::unix_ms())?;
            asker.is_lent = true;
            asker.end_by(allowed.until_ms);
        }
        Ok(())
    }

    /// Has the application judge what is published, where it decides that; where it has something else in its place, that
    /// is in `entries` then.
    pub(super) async fn judge(
        &self,
        (asker, leave): (&Asker<'_>, Leave),
        name: &ChannelName,
        (payload_type, close): (Option<&PayloadType>, bool),
        entries: &mut [Draft],
    ) -> Result<(), Problem> {
        let (Leave::Asked, Some(desk), Some(evidence)) =
            (leave, &self.shared.live.desk, &asker.evidence)
        else {
            return Ok(());
        };
        let content_type = payload_type.map(PayloadType::media_type);
        let proposal = Proposal {
            content_type,
            entries,
            close,
        };
        let question = Question::publish(desk.settings(), evidence, &asker.caller, name, proposal)?;
        let allowed = desk
            .decide(question, asker.account)
            .await
            .permission(clock::unix_ms())?;
        let replaced = publish::replaced(&allowed, content_type, entries.len())?;
        for (entry, payload) in entries.iter_mut().zip(replaced.into_iter().flatten()) {
            entry.payload = payload;
        }
        Ok(())
    }
}

impl Asker<'_> {
    /// Whether the application may still be asked who that is.
    pub fn is_stranger(&self) -> bool {
        self.is_stranger
    }

    /// How this may be done, now that it is known who asks.
    pub fn leave(
        &self,
        context: &Context,
        action: Action,
        name: &ChannelName,
    ) -> Result<Leave, Problem> {
        let rules = &context.shared.live.rules;
        let may_ask = self.evidence.is_some() && rules.is_decided(action, name);
        match self.caller.permit(rules, action, name) {
            Err(_) if may_ask => Ok(Leave::Asked),
            permitted => permitted.map(|()| Leave::Granted),
        }
    }

    /// What is asked for ends at this time at the latest.
    fn end_by(&mut self, until_ms: Option<u64>) {
        self.ends_ms = [self.ends_ms, until_ms].into_iter().flatten().min();
    }
}
