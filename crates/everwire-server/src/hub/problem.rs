//! What a caller is told who finds no channel, or no room in it.

use everwire_channel::ChannelName;
use everwire_wire::{Problem, ProblemKind};

use super::NoChannel;
use crate::shares::Short;

/// There is no such channel for this caller.
pub(crate) fn no_channel(name: &ChannelName, none: NoChannel) -> Problem {
    match none {
        NoChannel::Missing if name.is_reserved() => Problem::new(
            ProblemKind::NotFound,
            format!(
                "there is no channel {name} of the server's own; set events.enabled for $everwire/channels and $everwire/sessions"
            ),
        ),
        NoChannel::Missing => Problem::new(
            ProblemKind::NotFound,
            format!(
                "there is no channel {name}; create it with PUT, or by publishing to it where its rule allows that"
            ),
        ),
        NoChannel::Share => Problem::new(
            ProblemKind::TooMany,
            "this caller has had its share of the channels made that this server takes (limits.share_percent_max), and the \
             rest is for others; use those that are there, or delete some",
        )
        .at_limit("channels_share"),
        NoChannel::TooMany => Problem::new(
            ProblemKind::Overloaded,
            "this server has as many channels as it takes; raise limits.channels_max",
        )
        .at_limit("channels_max"),
    }
}

/// The logs take no more, of anybody or of this caller.
pub(crate) fn no_room(short: Short) -> Problem {
    match short {
        Short::Pot => Problem::new(
            ProblemKind::Overloaded,
            "the logs of this server are full; wait until retention makes room, or raise limits.log_bytes_max",
        )
        .at_limit("log_bytes_max"),
        Short::Share => Problem::new(
            ProblemKind::TooMany,
            "what this caller published takes its share of all logs (limits.share_percent_max), and the rest is for \
             others; wait until retention makes room, or delete channels",
        )
        .at_limit("log_bytes_share"),
    }
}
