//! What happened since the last entries were made, and the entries that tell it.
//!
//! ```text
//!  a began, b ended, c began, a ended, a began   noted, in order
//!
//!  began a c │ ended b a │ began a               layers: of one subject, in order; each an entry or more
//! ```

use std::{collections::HashMap, fmt::Write, hash::Hash};

use bytes::Bytes;
use everwire_channel::{ChannelName, Draft, EventName, SessionId, UserName};

/// What happened to subjects of one kind.
#[derive(Debug)]
pub(super) struct Journal<S> {
    noted: Vec<(Turn, S)>,
    left_out: u64,
}

/// What happens to a subject, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A session connected; a channel was occupied.
    Began,
    /// A session disconnected; a channel was vacated.
    Ended,
}

/// What things happen to.
pub(super) trait Subject {
    /// By which it is known again.
    type Key<'a>: Hash + Eq
    where
        Self: 'a;
    /// The member of a payload that lists subjects.
    const LIST: &'static str;

    fn key(&self) -> Self::Key<'_>;

    /// The event's name.
    fn event(turn: Turn) -> &'static str;

    /// Writes it as a JSON value.
    fn write(&self, out: &mut String);
}

/// A session, and whose it is if that is known.
#[derive(Debug)]
pub(super) struct SessionOfUser {
    pub session: SessionId,
    pub user: Option<UserName>,
}

/// Most subjects that one entry lists.
const SUBJECTS_MAX: usize = 500;

/// Most that is noted before it is told: what a server does in a tenth of a second, several times over.
const NOTED_MAX: usize = 65_536;

impl<S: Subject> Journal<S> {
    /// Notes what happened. What is beyond the limit is counted alone.
    pub fn note(&mut self, turn: Turn, subject: S) {
        match self.noted.len() {
            ..NOTED_MAX => self.noted.push((turn, subject)),
            _ => self.left_out += 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// How much is noted, and how much happened that is not.
    pub fn counts(&self) -> (u64, u64) {
        (self.noted.len() as u64, self.left_out)
    }

    /// The entries that tell it. What happened to one subject keeps its order; the last entry tells how much was
    /// left out.
    pub fn entries(&self) -> Vec<Draft> {
        let layers = self.layers();
        let chunks = || {
            layers.iter().enumerate().flat_map(|(index, layer)| {
                let turn = [Turn::Began, Turn::Ended][index % 2];
                layer.chunks(SUBJECTS_MAX).map(move |chunk| (turn, chunk))
            })
        };
        let last = chunks().count().saturating_sub(1);
        let entry = |(index, (turn, chunk)): (usize, (Turn, &[&S]))| {
            draft(turn, chunk, if index == last { self.left_out } else { 0 })
        };
        chunks().enumerate().map(entry).collect()
    }

    /// What began and what ended by turns, each subject in the earliest that keeps its order.
    fn layers(&self) -> Vec<Vec<&S>> {
        let mut layers: Vec<Vec<&S>> = Vec::new();
        let mut latest: HashMap<S::Key<'_>, usize> = HashMap::new();
        for (turn, subject) in &self.noted {
            let layer = latest.entry(subject.key()).or_default();
            if *layer % 2 != *turn as usize {
                *layer += 1;
            }
            if layers.len() <= *layer {
                layers.resize_with(*layer + 1, Vec::new);
            }
            layers[*layer].push(subject);
        }
        layers
    }
}

impl<S> Default for Journal<S> {
    fn default() -> Self {
        Self {
            noted: Vec::new(),
            left_out: 0,
        }
    }
}

impl Subject for SessionOfUser {
    type Key<'a> = SessionId;
    const LIST: &'static str = "sessions";

    fn key(&self) -> SessionId {
        self.session
    }

    fn event(turn: Turn) -> &'static str {
        match turn {
            Turn::Began => "connected",
            Turn::Ended => "disconnected",
        }
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, "{{\"session\":\"{}\"", self.session);
        if let Some(user) = &self.user {
            let _ = write!(out, ",\"user\":{}", serde_json::Value::from(user.as_str()));
        }
        out.push('}');
    }
}

impl Subject for ChannelName {
    type Key<'a> = &'a ChannelName;
    const LIST: &'static str = "channels";

    fn key(&self) -> &ChannelName {
        self
    }

    fn event(turn: Turn) -> &'static str {
        match turn {
            Turn::Began => "occupied",
            Turn::Ended => "vacated",
        }
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, "{}", serde_json::Value::from(self.as_str()));
    }
}

fn draft<S: Subject>(turn: Turn, subjects: &[&S], left_out: u64) -> Draft {
    let mut payload = format!("{{\"{}\":[", S::LIST);
    for (index, subject) in subjects.iter().enumerate() {
        if index > 0 {
            payload.push(',');
        }
        subject.write(&mut payload);
    }
    payload.push(']');
    if left_out > 0 {
        let _ = write!(payload, ",\"left_out\":{left_out}");
    }
    payload.push('}');
    Draft {
        payload: Bytes::from(payload),
        kind: None,
        event: Some(EventName::new(S::event(turn)).expect("it is a name")),
        publisher: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Turn::{Began, Ended};

    fn name(number: usize) -> ChannelName {
        format!("c{number}").parse().unwrap()
    }

    fn told(journal: &Journal<impl Subject>) -> Vec<(String, String)> {
        let text = |draft: Draft| {
            let payload = String::from_utf8(draft.payload.to_vec()).unwrap();
            (draft.event.unwrap().to_string(), payload)
        };
        journal.entries().into_iter().map(text).collect()
    }

    fn check(journal: &Journal<impl Subject>, expected: &[(&str, &str)]) {
        let told = told(journal);
        let told: Vec<_> = told
            .iter()
            .map(|(event, payload)| (&event[..], &payload[..]))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_gathers_is_one_entry_for_each_turn() {
        let mut journal = Journal::default();
        for (turn, number) in [(Began, 1), (Ended, 2), (Began, 3), (Ended, 1), (Began, 1)] {
            journal.note(turn, name(number));
        }
        check(
            &journal,
            &[
                ("occupied", r#"{"channels":["c1","c3"]}"#),
                ("vacated", r#"{"channels":["c2","c1"]}"#),
                ("occupied", r#"{"channels":["c1"]}"#),
            ],
        );
    }

    #[test]
    fn a_session_is_told_with_its_user_where_that_is_known() {
        let mut journal = Journal::default();
        let user = UserName::new("a\"b").ok();
        for (session, user) in [(1, None), (2, user)] {
            let session = SessionId(session);
            journal.note(Ended, SessionOfUser { session, user });
        }
        check(
            &journal,
            &[(
                "disconnected",
                r#"{"sessions":[{"session":"0000000000000001"},{"session":"0000000000000002","user":"a\"b"}]}"#,
            )],
        );
    }

    #[test]
    fn ten_thousand_at_once_are_twenty_entries() {
        let mut journal = Journal::default();
        for session in 0..10_000 {
            let session = SessionId(session);
            journal.note(
                Ended,
                SessionOfUser {
                    session,
                    user: None,
                },
            );
        }
        assert_eq!(journal.entries().len(), 20);
    }

    #[test]
    fn what_is_left_out_is_told_with_what_is_not() {
        let mut journal = Journal::default();
        for number in 0..NOTED_MAX + 7 {
            journal.note(Began, name(number));
        }
        assert_eq!(journal.counts(), (NOTED_MAX as u64, 7));
        let told = told(&journal);
        assert_eq!(told.len(), NOTED_MAX.div_ceil(SUBJECTS_MAX));
        for (index, (_, payload)) in told.iter().enumerate() {
            let is_last = index + 1 == told.len();
            assert_eq!(payload.ends_with(r#"],"left_out":7}"#), is_last);
        }
    }

    #[test]
    fn nothing_is_no_entry() {
        assert!(told(&Journal::<ChannelName>::default()).is_empty());
    }

    proptest! {
        /// However subjects come and go by turns, each one's story is told whole and in order.
        #[test]
        fn the_order_of_each_subject_is_kept(
            numbers in prop::collection::vec(0..4usize, 0..60),
            mut is_there in prop::array::uniform4(any::<bool>()),
        ) {
            let mut journal = Journal::default();
            let mut expected = vec![Vec::new(); 4];
            for number in numbers {
                let turn = if is_there[number] { Ended } else { Began };
                is_there[number] = !is_there[number];
                journal.note(turn, name(number));
                expected[number].push(ChannelName::event(turn).to_owned());
            }
            let mut found = vec![Vec::new(); 4];
            for (event, payload) in told(&journal) {
                let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
                for channel in payload["channels"].as_array().unwrap() {
                    let number: usize = channel.as_str().unwrap()[1..].parse().unwrap();
                    found[number].push(event.clone());
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
