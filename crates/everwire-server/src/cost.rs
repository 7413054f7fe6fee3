//! What everything costs that can be asked for, and to which rate it is charged: before anything is done for it.
//!
//! ```text
//!  a request  ─▶ Endpoint ──┐
//!  its wire   ─▶ Asked ─────┼─▶ Cost ─▶ Till ─▶ a rate of its caller ─▶ served, or 429
//!  a command  ─▶ Operation ─┘
//! ```
//!
//! Each of these has its costs written once, as the match over all that there is ([`costs!`]), so nothing can be asked for
//! that has none. They are the tables of `docs/limits.md` too, which a test compares with these.

use std::net::IpAddr;

use everwire_wire::{Operation, Problem, ProblemKind};

use crate::{
    auth::Caller,
    live::Live,
    rate::{Account, Purpose, Rate, TooFast},
};

/// A class of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Nothing: who asks whether the server is well has to be answered whatever else is asked for. It is bounded by
    /// connections.
    Free,
    /// One read.
    Read,
    /// One read, and one more for each 64 KiB after the first of what is read.
    Page,
    /// One read, and one line that its address opens.
    Line,
    /// One read, and by its wire what that costs besides.
    Wire,
    /// One append for each entry, of the caller and of the channel.
    Append,
    /// One command.
    Command,
    /// One command, and one more for each 64 KiB after the first of what is read.
    CommandPage,
}

/// What can be asked for, as it is written in `docs/limits.md`, and its cost.
pub type Row = (&'static str, Cost);

/// Writes a table of costs once, as the match over a type and as rows for the manual.
macro_rules! costs {
    (
        $(#[doc = $about:literal])* fn $name:ident($of:ty);
        $(#[doc = $rows_about:literal])* const $rows:ident;
        $($pattern:pat => $asked:literal, $cost:expr;)+
    ) => {
        $(#[doc = $about])*
        pub(crate) fn $name(asked: $of) -> $crate::cost::Cost {
            match asked { $($pattern => $cost,)+ }
        }

        $(#[doc = $rows_about])*
        pub(crate) const $rows: &[$crate::cost::Row] = &[$(($asked, $cost)),+];
    };
}

pub(crate) use costs;

costs! {
    /// What a command of a session costs.
    fn of_command(&Operation<'_>);
    /// Commands of sessions.
    const COMMANDS;
    Operation::Subscribe(_) => "`subscribe`; coming to a channel, or as another, is an append", Cost::CommandPage;
    Operation::Unsubscribe { .. } => "`unsubscribe`", Cost::Command;
    Operation::Publish(_) => "`publish`", Cost::Append;
    Operation::History { .. } => "`history`", Cost::CommandPage;
    Operation::Presence { .. } => "`presence`", Cost::CommandPage;
    Operation::Authenticate { .. } => "`authenticate`", Cost::Command;
    Operation::Ping => "`ping`", Cost::Command;
}

impl Cost {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Free,
        Self::Read,
        Self::Page,
        Self::Line,
        Self::Wire,
        Self::Append,
        Self::Command,
        Self::CommandPage,
    ];

    /// The name of the class in the manual.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Read => "read",
            Self::Page => "page",
            Self::Line => "line",
            Self::Wire => "by its wire",
            Self::Append => "append",
            Self::Command => "command",
            Self::CommandPage => "command with a page",
        }
    }

    /// The settings of the rates that it is charged to.
    #[must_use]
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Free => &[],
            Self::Read | Self::Page | Self::Wire => &["limits.reads_per_second_max"],
            Self::Line => &["limits.reads_per_second_max", "limits.lines_per_second_max"],
            Self::Append => &[
                "limits.appends_per_second_max",
                "limits.appends_per_second_user_max",
                "limits.appends_per_second_key_max",
                "channels.appends_per_caller_max",
            ],
            Self::Command | Self::CommandPage => &["limits.commands_per_second_max"],
        }
    }

    /// The rate that it is charged to where it is asked for, if that is not done where it is carried out: an append is
    /// charged by the [`Publisher`](crate::publish::Publisher), without whose leave there is none.
    fn pace(self) -> Option<Pace> {
        match self {
            Self::Free | Self::Append => None,
            Self::Read | Self::Page | Self::Line | Self::Wire => Some(Pace::Reads),
            Self::Command | Self::CommandPage => Some(Pace::Commands),
        }
    }
}

/// A rate of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Reads,
    Commands,
}

impl Pace {
    fn purpose(self) -> Purpose {
        match self {
            Self::Reads => Purpose::Read,
            Self::Commands => Purpose::Command,
        }
    }

    fn per_second(self, live: &Live) -> u32 {
        match self {
            Self::Reads => live.reads_per_second_max(),
            Self::Commands => live.commands_per_second_max(),
        }
    }

    fn problem(self, TooFast { wait_s }: TooFast) -> Problem {
        let (what, setting) = match self {
            Self::Reads => (
                "more requests that read come from this caller",
                "reads_per_second_max",
            ),
            Self::Commands => (
                "more commands come from this caller's sessions",
                "commands_per_second_max",
            ),
        };
        let detail = format!(
            "{what} than limits.{setting} allows a second, each 64 KiB of a page counted; wait {wait_s} s"
        );
        Problem::new(ProblemKind::TooMany, detail)
            .with("retry_after", wait_s)
            .at_limit(setting)
    }
}

/// Bytes of what is read that one read or one command pays for.
const PIECE_BYTES: usize = 64 * 1024;

/// What so many bytes cost besides what they were asked for by.
fn pieces_beyond_first(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_sub(1) / PIECE_BYTES).unwrap_or(u32::MAX)
}

/// Where what is asked for is paid for.
#[derive(Clone, Copy)]
pub(crate) struct Till<'a> {
    pub live: &'a Live,
    pub rate: &'a Rate,
}

impl Till<'_> {
    /// Charges what is asked for, before anything is done for it.
    ///
    /// # Errors
    ///
    /// It comes faster than it may.
    pub fn charge(self, account: Account, cost: Cost) -> Result<(), Problem> {
        let Some(pace) = cost.pace() else {
            return Ok(());
        };
        let per_second = pace.per_second(self.live);
        let admitted = (self.rate).admit_for(pace.purpose(), account, per_second);
        admitted.map_err(|too_fast| pace.problem(too_fast))
    }

    /// Charges a line that an address opens, before anything is done for it.
    ///
    /// # Errors
    ///
    /// They come faster than they may.
    pub fn charge_line(self, address: IpAddr) -> Result<(), Problem> {
        let neighbours = self.rate.account(&Caller::Anybody, address);
        let per_second = self.live.lines_per_second_max();
        let admitted = (self.rate).admit_for(Purpose::Line, neighbours, per_second);
        admitted.map_err(|TooFast { wait_s }| {
            let detail = format!(
                "this address opens lines faster than limits.lines_per_second_max allows; wait {wait_s} s"
            );
            Problem::new(ProblemKind::TooMany, detail)
                .with("retry_after", wait_s)
                .at_limit("lines_per_second_max")
        })
    }

    /// Charges so many bytes of what is read, before they are put together. The first piece is paid for by what they
    /// were asked for by.
    ///
    /// # Errors
    ///
    /// There is no room for any of them.
    pub fn charge_bytes(self, account: Account, cost: Cost, bytes: usize) -> Result<(), Problem> {
        let (Some(pace), more @ 1..) = (cost.pace(), pieces_beyond_first(bytes)) else {
            return Ok(());
        };
        let per_second = pace.per_second(self.live);
        let admitted = (self.rate).admit_rest_for(pace.purpose(), account, per_second, more);
        admitted.map_err(|too_fast| pace.problem(too_fast))
    }

    /// Charges so many bytes that were read already: whoever owes them waits before it asks for more.
    pub fn owe_bytes(self, account: Account, cost: Cost, bytes: usize) {
        if let (Some(pace), more @ 1..) = (cost.pace(), pieces_beyond_first(bytes)) {
            let per_second = pace.per_second(self.live);
            self.rate.owe(pace.purpose(), account, per_second, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_paid_for_and_each_further_one_that_is_begun_costs_one_more() {
        for (bytes, expected) in [
            (0, 0),
            (1, 0),
            (PIECE_BYTES, 0),
            (PIECE_BYTES + 1, 1),
            (2 * PIECE_BYTES, 1),
            (1024 * 1024, 15),
            (usize::MAX, u32::MAX),
        ] {
            assert_eq!(pieces_beyond_first(bytes), expected, "{bytes} bytes");
        }
    }
}
