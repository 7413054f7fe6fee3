//! `GET /presence/{name}`: who is in a channel, or the log of who comes and goes, over every live wire.

use bytes::Bytes;
use everwire_channel::ChannelName;
use everwire_wire::Problem;
use http::{HeaderValue, Method, Response, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Asker, Context, Reply, answer, body,
    query::Query,
    read::{Asked, asked},
};
use crate::{clock::Now, config::Action, cost::Cost, rate::Account};

impl Context {
    pub(super) async fn presence(
        &self,
        parts: &Parts,
        content: Incoming,
        mut asker: Asker<'_>,
        name: &ChannelName,
    ) -> Result<Reply, Problem> {
        let now = Now::read();
        let mut query = Query::parse(parts.uri.query())?;
        let asked = asked(parts, &query);
        let looks = parts.method == Method::HEAD || asked == Asked::CatchUp;
        self.permit(&mut asker, Action::Presence, name).await?;
        body::refuse(content, &self.shared.live.config).await?;
        self.publisher(asker.account).admit_to_presence(name)?;
        if looks {
            let members = self.members(name, asker.account, now)?;
            let encoding = self.encode_passing(&parts.headers, members, asker.account);
            return Box::pin(encoding).await.map(Reply::Response);
        }
        let log = self.shared.presences.log(name, now)?;
        self.read_by(asked, parts, &mut query, &log, &asker).await
    }

    fn members(
        &self,
        name: &ChannelName,
        account: Account,
        now: Now,
    ) -> Result<Response<Bytes>, Problem> {
        let snapshot = self.shared.presences.snapshot(name, now)?;
        let bytes = snapshot.members.len() + 64;
        self.shared
            .till()
            .charge_bytes(account, Cost::Page, bytes)?;
        let share = self.shared.hold_answer(account, bytes)?;
        let mut content = Vec::with_capacity(bytes);
        content.extend_from_slice(b"{\"offset\":\"");
        content.extend_from_slice(snapshot.offset.to_token().as_bytes());
        content.extend_from_slice(b"\",");
        content.extend_from_slice(&snapshot.members);
        content.push(b'}');
        let mut response = answer::safe(Response::new(share.with(content.into())));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        answer::never_store(headers);
        Ok(response)
    }
}
