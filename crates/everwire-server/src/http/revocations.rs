//! `/revocations`: tokens that are taken back before their time is over.
//!
//! ```text
//!  POST {"jti":…} or {"sub":…,"before":…} ─▶ the list ─▶ who shows such a token is refused from now on
//!                                               └─────▶ each shard, each task: lines that were opened with one end
//!  GET                                    ─▶ what is on it
//! ```

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{Response, request::Parts};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    Asker, Context, answer,
    body::{self, Allowance},
};
use crate::{
    auth, clock,
    config::{Duty, Object, Revoked, RevokedSaid},
    shard::Mail,
};

impl Context {
    /// `GET /revocations`.
    pub(super) async fn revoked(
        &self,
        content: Incoming,
        asker: &Asker<'_>,
    ) -> Result<Response<Bytes>, Problem> {
        let live = &self.shared.live;
        auth::permit_duty(&asker.caller, Duty::Revoke, live.config.dev)?;
        body::refuse(content, &live.config).await?;
        let all = live
            .authority
            .revocations()
            .all(&live.config.tokens, clock::unix_ms());
        self.shared.metrics.revocations(all.len());
        Ok(answer::json(json!({"revocations": all}).to_string().into()))
    }

    /// `POST /revocations`.
    pub(super) async fn revoke(
        &self,
        parts: &Parts,
        content: Incoming,
        asker: &Asker<'_>,
    ) -> Result<Response<Bytes>, Problem> {
        auth::permit_duty(&asker.caller, Duty::Revoke, self.shared.live.config.dev)?;
        let allowance = Allowance::to_publish(&self.shared, asker.account);
        let content = body::collect(content, parts, &self.shared, allowance).await?;
        self.take_back(&content.bytes)
    }

    fn take_back(&self, content: &[u8]) -> Result<Response<Bytes>, Problem> {
        let bad = |problem: String| Problem::new(ProblemKind::BadContent, problem);
        let now_ms = clock::unix_ms();
        let now_s = now_ms / 1000;
        let Object::<RevokedSaid>(said) =
            serde_json::from_slice(content).map_err(|error| bad(error.to_string()))?;
        let live = &self.shared.live;
        let tokens = &live.config.tokens;
        // Whatever was issued in this second, too: it may have been issued before, by a clock that is ahead.
        let latest_s = now_s + 1 + tokens.leeway_s;
        let revoked = said.before_or(Some(latest_s)).map_err(bad)?;
        if let Revoked::User { before_s, .. } = revoked
            && before_s > latest_s
        {
            return Err(bad(format!(
                "`before` is {} s ahead, so it would refuse tokens that are not issued yet; it is in seconds since 1970",
                before_s - now_s
            )));
        }
        let revocations = live.authority.revocations();
        let count = revocations.add(&revoked, tokens, now_ms).map_err(|_| {
            let detail = format!(
                "{} revocations are kept already (tokens.revocations_max), each until no token that it concerns can be \
                 valid; raise that, revoke users and not tokens, or replace the key that they are signed with",
                tokens.revocations_max
            );
            Problem::new(ProblemKind::Overloaded, detail).at_limit("revocations_max")
        })?;
        self.shared.metrics.revocations(count);
        for shard in self.shared.sessions.shards() {
            shard.post(Mail::Revoked);
        }
        Ok(answer::json(json!(revoked).to_string().into()))
    }
}
