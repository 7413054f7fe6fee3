//! A channel's part in a line, event by event.

use super::*;
use crate::decode::session::Movement;
use crate::line::command::Member;

fn offset(token: &str) -> Offset {
    token.parse().unwrap()
}

fn gap(oldest: &str) -> Gap {
    Gap {
        oldest: offset(oldest),
        newest: offset("9"),
    }
}

/// Events in short: `join`, `unwant`, `began 4`, `entry 5`, `gap 2`, `lost`, `end`; of presence
/// `snapshot p1 ada,bob`, `resumed p1`, `+p2 ada`, `-p3 ada`, `hole`, `silence`.
fn event(text: &str) -> Event {
    let mut words = text.split(' ');
    let (what, at) = (words.next().unwrap(), words.next());
    let at = || offset(at.unwrap());
    let members = |names: Option<&str>| {
        let names = names
            .unwrap_or("")
            .split(',')
            .filter(|name| !name.is_empty());
        let member = |name: &str| serde_json::from_str(&format!(r#"{{"user":"{name}"}}"#)).unwrap();
        let listed: Vec<Member> = names.map(member).collect();
        Members {
            total: listed.len() as u64,
            listed,
        }
    };
    let change = |position: &str, movement, user: Option<&str>| {
        Event::Change(Change {
            offset: offset(position),
            user: user.unwrap().to_owned(),
            movement,
        })
    };
    match what {
        "join" => Event::Settle {
            wanted: true,
            open: true,
        },
        "unwant" => Event::Settle {
            wanted: false,
            open: true,
        },
        "offline" => Event::Settle {
            wanted: true,
            open: false,
        },
        "began" => Event::Began(at()),
        "entry" => Event::Entry(at()),
        "gap" => Event::Gap(gap(at().as_str()), LogKind::Entries),
        "lost" => Event::Lost,
        "end" => Event::End,
        "snapshot" => {
            let offset = at();
            let members = Some(members(words.next()));
            Event::Roster(Some(Snapshot { offset, members }))
        }
        "resumed" => Event::Roster(Some(Snapshot {
            offset: at(),
            members: None,
        })),
        "hole" => Event::Gap(gap("p9"), LogKind::Presence),
        "silence" => Event::Roster(None),
        _ => match what.split_at(1) {
            ("+", position) => change(
                position,
                Movement::Join { info: None },
                text.split(' ').nth(1),
            ),
            ("-", position) => change(position, Movement::Leave, text.split(' ').nth(1)),
            _ => panic!("`{text}` is no event"),
        },
    }
}

/// What is done about these events, in short, and where reading goes on after them.
fn told(start: &str, with_presence: bool, events: &[&str]) -> (Vec<String>, String) {
    let start = match start {
        "now" => Start::Now,
        cursor => Start::After(offset(cursor)),
    };
    let mut reading = Reading::new(start, with_presence);
    let mut done = Vec::new();
    for text in events {
        let (next, effects) = reading.step(event(text));
        reading = next;
        done.extend(effects.into_iter().map(|effect| match effect {
            Effect::Subscribe => match reading.presence_after() {
                Some(after) => format!("subscribe, presence after {after}"),
                None => "subscribe".into(),
            },
            Effect::Unsubscribe => "unsubscribe".into(),
            Effect::Deliver => (*text).to_owned(),
            Effect::TellGap(gap) => format!("gap {}", gap.oldest),
            Effect::TellMembers(members) => {
                let users: Vec<_> = members.listed.iter().map(|member| &*member.user).collect();
                format!("members {}", users.join(","))
            }
            Effect::TellChange(change) => match change.movement {
                Movement::Join { .. } => format!("+{}", change.user),
                Movement::Leave => format!("-{}", change.user),
            },
            Effect::AskMembers => "ask".into(),
        }));
    }
    let cursor = match reading.start {
        Start::After(offset) => offset.to_string(),
        start => format!("{start:?}"),
    };
    (done, cursor)
}

#[test]
fn each_entry_is_told_once_and_what_cannot_be_had_as_one_gap() {
    for (rule, start, events, expected, cursor) in [
        (
            "the first beginning tells where reading starts",
            "now",
            &["join", "began 4"][..],
            &["subscribe"][..],
            "4",
        ),
        (
            "an entry that was seen is not told again",
            "4",
            &[
                "join", "began 4", "entry 4", "entry 3", "entry 5", "entry 5",
            ][..],
            &["subscribe", "entry 5"][..],
            "5",
        ),
        (
            "what comes before the beginning is of an earlier subscription",
            "4",
            &["join", "entry 7", "gap 8", "began 4", "entry 5"][..],
            &["subscribe", "entry 5"][..],
            "5",
        ),
        (
            "a gap goes on at the oldest, also in an epoch with lower offsets",
            "7",
            &["join", "began 2", "gap 2", "entry 3"][..],
            &["subscribe", "gap 2", "entry 3"][..],
            "3",
        ),
        (
            "a cut between the beginning and its gap does not leave the gap behind",
            "7",
            &["join", "began 2", "lost", "join", "began 2", "gap 2"][..],
            &["subscribe", "subscribe", "gap 2"][..],
            "2",
        ),
        (
            "what comes after leaving is read again later",
            "4",
            &["join", "began 4", "unwant", "entry 5", "join"][..],
            &["subscribe", "unsubscribe", "subscribe"][..],
            "4",
        ),
        (
            "a lost line keeps the cursor",
            "4",
            &[
                "join", "began 4", "entry 5", "lost", "entry 6", "offline", "join",
            ][..],
            &["subscribe", "entry 5", "subscribe"][..],
            "5",
        ),
        (
            "nothing follows the end",
            "4",
            &["join", "end", "entry 5", "join", "began 4"][..],
            &["subscribe"][..],
            "4",
        ),
    ] {
        let told = told(start, false, events);
        assert_eq!(told, (strings(expected), cursor.to_owned()), "{rule}");
    }
}

#[test]
fn who_is_there_is_told_by_a_snapshot_and_then_by_each_change_once() {
    for (rule, events, expected) in [
        (
            "a snapshot comes first, changes follow",
            &["join", "began 4", "snapshot p2 ada", "+p3 bob", "-p4 ada"][..],
            &["subscribe", "members ada", "+bob", "-ada"][..],
        ),
        (
            "changes that overtake the snapshot wait for it, and those that it knows of are left out",
            &[
                "join",
                "began 4",
                "+p2 ada",
                "+p3 bob",
                "snapshot p2 ada",
                "+p3 bob",
            ][..],
            &["subscribe", "members ada", "+bob"][..],
        ),
        (
            "changes before the beginning are of an earlier subscription",
            &["join", "snapshot p2 ada", "+p9 eve", "began 4", "+p3 bob"][..],
            &["subscribe", "members ada", "+bob"][..],
        ),
        (
            "after a lost line the log is resumed where it was left",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "+p3 bob",
                "lost",
                "join",
                "began 4",
                "resumed p3",
                "-p4 bob",
            ][..],
            &[
                "subscribe",
                "members ada",
                "+bob",
                "subscribe, presence after p3",
                "-bob",
            ][..],
        ),
        (
            "changes that overtake the reply to resuming are told once",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "lost",
                "join",
                "began 4",
                "+p3 bob",
                "resumed p2",
                "+p3 bob",
            ][..],
            &[
                "subscribe",
                "members ada",
                "subscribe, presence after p2",
                "+bob",
            ][..],
        ),
        (
            "a log that cannot be resumed is told by a fresh snapshot",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "lost",
                "join",
                "began 4",
                "snapshot p8 eve",
            ][..],
            &[
                "subscribe",
                "members ada",
                "subscribe, presence after p2",
                "members eve",
            ][..],
        ),
        (
            "a hole in the log leads to a fresh snapshot, and what came meanwhile follows it",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "hole",
                "+p8 bob",
                "-p9 ada",
                "snapshot p8 ada,bob",
            ][..],
            &["subscribe", "members ada", "ask", "members ada,bob", "-ada"][..],
        ),
        (
            "a question that fails holds nothing back",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "hole",
                "+p8 bob",
                "silence",
                "+p9 eve",
            ][..],
            &["subscribe", "members ada", "ask", "+bob", "+eve"][..],
        ),
        (
            "a hole before the reply to resuming does not leave the past standing",
            &[
                "join",
                "began 4",
                "snapshot p2 ada",
                "lost",
                "join",
                "began 4",
                "hole",
                "resumed p2",
                "snapshot p9 eve",
            ][..],
            &[
                "subscribe",
                "members ada",
                "subscribe, presence after p2",
                "ask",
                "members eve",
            ][..],
        ),
    ] {
        assert_eq!(told("4", true, events).0, strings(expected), "{rule}");
    }
    let unwanted = told(
        "4",
        false,
        &["join", "began 4", "snapshot p2 ada", "+p3 bob", "hole"],
    );
    assert_eq!(unwanted.0, ["subscribe"], "nobody asked for presence");
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
