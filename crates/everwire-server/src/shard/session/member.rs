//! A session among those present on its channels.

use bytes::BytesMut;
use everwire_channel::ChannelName;
use everwire_wire::{PresenceWish, Problem};

use super::{
    super::{LineKey, Net, Shard},
    Subscription,
};
use crate::{publish::bad, session_id::SessionId};

impl<N: Net> Shard<N> {
    pub(super) fn attend(
        &mut self,
        _key: LineKey,
        _name: &ChannelName,
        _wish: &PresenceWish<'_>,
        _members: &mut BytesMut,
        _notices: &mut BytesMut,
    ) -> Result<(), Problem> {
        Err(bad("not yet"))
    }

    pub(super) fn presence(
        &mut self,
        _name: &ChannelName,
        _members: &mut BytesMut,
    ) -> Result<(), Problem> {
        Err(bad("not yet"))
    }

    pub(super) fn leave_presence(&mut self, _key: LineKey, _name: &ChannelName) {}

    pub(super) fn forget_member(&mut self, _id: SessionId, _subscription: &Subscription) {}

    pub(super) fn renew_members(&mut self, _key: LineKey) {}
}
