//! Names of the server's own: those whose first segment begins with `$`.
//!
//! ```text
//!   $everwire/channels      what happens on the server; read by those who may, written by the server
//!   $presence/chat/lobby    who comes to and leaves chat/lobby; not addressed at all from outside
//! ```

use crate::name::ChannelName;

impl ChannelName {
    /// Whether the name is one of the server's own: nobody else creates, writes or deletes it, and
    /// a [pattern](crate::Pattern) covers it only if it writes the first segment out.
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with('$')
    }

    /// Whether the name is that of a presence log, which is read at an address of its own.
    pub fn is_presence_log(&self) -> bool {
        self.as_str().split('/').next() == Some(PRESENCE)
    }

    /// The name of the channel whose presence log this is, if it is one.
    pub fn presence_of(&self) -> Option<&str> {
        self.as_str().strip_prefix(PRESENCE)?.strip_prefix('/')
    }

    /// The name of the log of who comes to and leaves this channel. Not being addressed from
    /// outside, it may be longer than [`ChannelName::BYTES_MAX`] by its first segment.
    pub fn presence_log(&self) -> Self {
        Self::unchecked(&format!("{PRESENCE}/{self}"))
    }
}

const PRESENCE: &str = "$presence";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_name_has_a_dollar_before_its_first_segment() {
        for (name, reserved, presence) in [
            ("$everwire/channels", true, false),
            ("$presence/chat", true, true),
            ("$presence", true, true),
            ("$presences/chat", true, false),
            ("$", true, false),
            ("chat/$presence", false, false),
            ("a$", false, false),
        ] {
            let name: ChannelName = name.parse().unwrap();
            assert_eq!(name.is_reserved(), reserved, "{name}");
            assert_eq!(name.is_presence_log(), presence, "{name}");
        }
    }

    #[test]
    fn the_longest_name_has_a_presence_log_too() {
        let longest = ChannelName::new(&"n".repeat(ChannelName::BYTES_MAX)).unwrap();
        let log = longest.presence_log();
        assert_eq!(log.as_str(), format!("$presence/{longest}"));
        assert!(log.is_presence_log() && log.is_reserved());
        assert_eq!(log.presence_of(), Some(longest.as_str()));
        assert_eq!(longest.presence_of(), None);
    }
}
