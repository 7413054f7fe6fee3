use serde_json::value::RawValue;

use super::*;

const TERMS: Terms = Terms {
    members_max: 2,
    places_per_payer_max: 9,
    lease_ms: 60,
    linger_ms: 3,
};

fn member(user: &str, info: &str) -> Member {
    let info = (!info.is_empty()).then(|| {
        let value = RawValue::from_string(info.to_owned()).unwrap();
        Info::new(&value, 64).unwrap()
    });
    let user = UserName::new(user).unwrap();
    Member { user, info }
}

/// A roster, and what others were told, as `+ada`, `+ada {info}` and `-ada`.
struct Told {
    roster: Roster,
    changes: Vec<String>,
}

impl Told {
    fn with(terms: Terms) -> Self {
        Self {
            roster: Roster::new(terms),
            changes: Vec::new(),
        }
    }

    fn join(&mut self, session: u64, user: &str, info: &str, now_ms: u64) -> &mut Self {
        let changes = self
            .roster
            .join(SessionId(session), member(user, info), Payer(0), now_ms);
        self.note(changes.unwrap())
    }

    fn leave(&mut self, session: u64, now_ms: u64) -> &mut Self {
        let change = self.roster.leave(SessionId(session), now_ms);
        self.note(change)
    }

    fn until(&mut self, now_ms: u64) -> &mut Self {
        while let Some(change) = self.roster.poll_left(now_ms) {
            self.note([change]);
        }
        self
    }

    fn note(&mut self, changes: impl IntoIterator<Item = Change>) -> &mut Self {
        self.changes
            .extend(changes.into_iter().map(|change| match change {
                Change::Joined(Member { user, info }) => {
                    format!(
                        "+{user}{}",
                        info.map_or_else(String::new, |info| format!(" {info:?}"))
                    )
                }
                Change::Left(member) => format!("-{}", member.user),
            }));
        self
    }

    /// What was told since this was asked last.
    #[track_caller]
    fn told(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.changes), expected);
        self
    }

    /// Who is there, and by how many sessions.
    #[track_caller]
    fn present(&mut self, expected: &[(&str, u32)]) -> &mut Self {
        let found: Vec<_> = self
            .roster
            .members()
            .map(|(user, _, count)| (user.as_str(), count))
            .collect();
        assert_eq!(found, expected);
        self
    }
}

#[test]
fn a_user_joins_with_the_first_session_and_leaves_a_while_after_the_last() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "", 0).told(&["+ada"]);
    roster
        .join(2, "ada", "", 1)
        .told(&[])
        .present(&[("ada", 2)]);
    roster
        .leave(1, 2)
        .until(10)
        .told(&[])
        .present(&[("ada", 1)]);
    roster.leave(2, 10).told(&[]).present(&[("ada", 0)]);
    roster.until(12).told(&[]);
    roster.until(13).told(&["-ada"]).present(&[]);
    assert_eq!(roster.roster.wake_at_ms(), None);
}

#[test]
fn who_comes_back_before_it_has_left_was_never_away() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "1", 0).told(&["+ada 1"]).leave(1, 1);
    roster.join(2, "ada", "1", 3).until(50).told(&[]);
    roster.leave(2, 50).join(3, "ada", "", 52).told(&[]);
    roster
        .leave(3, 52)
        .join(4, "ada", "2", 53)
        .told(&["+ada 2"]);
}

#[test]
fn without_lingering_the_last_session_is_the_leave() {
    let mut roster = Told::with(Terms {
        linger_ms: 0,
        ..TERMS
    });
    roster
        .join(1, "ada", "", 0)
        .leave(1, 0)
        .told(&["+ada", "-ada"]);
    roster.join(1, "ada", "", 0).told(&["+ada"]);
    roster.join(1, "bob", "", 1).told(&["-ada", "+bob"]);
}

#[test]
fn other_info_is_told_and_info_left_out_changes_nothing() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "1", 0).told(&["+ada 1"]);
    roster.join(1, "ada", "2", 0).told(&["+ada 2"]);
    roster.join(2, "ada", "2", 0).told(&[]);
    roster
        .join(2, "ada", "", 0)
        .told(&[])
        .present(&[("ada", 2)]);
    let (_, info, _) = roster.roster.members().next().unwrap();
    assert_eq!(info.unwrap().as_str(), "2");
}

#[test]
fn who_vanishes_is_gone_when_its_lease_is_over() {
    let mut roster = Told::with(TERMS);
    roster
        .join(1, "ada", "", 0)
        .join(2, "bob", "", 0)
        .told(&["+ada", "+bob"]);
    assert!(roster.roster.renew(SessionId(1), 50));
    roster
        .until(62)
        .told(&[])
        .present(&[("ada", 1), ("bob", 0)]);
    roster.until(63).told(&["-bob"]);
    assert!(
        !roster.roster.renew(SessionId(2), 63),
        "it has to join again"
    );
    // Nobody looked for long: all of it is over at once.
    roster.until(1000).told(&["-ada"]);
    assert_eq!(roster.roster.leave(SessionId(1), 1000), None);
}

#[test]
fn a_member_lingers_from_the_end_of_its_last_lease_however_late_anybody_looks() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "", 0).join(2, "ada", "", 0);
    assert!(roster.roster.renew(SessionId(1), 2));
    roster.until(64).told(&["+ada"]).present(&[("ada", 0)]);
    roster.until(65).told(&["-ada"]);
}

#[test]
fn a_channel_takes_so_many_members_and_any_number_of_their_sessions() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "", 0).join(2, "bob", "", 0);
    let full = Err(RosterFull::All { members_max: 2 });
    let cy = |roster: &mut Told, now_ms| {
        (roster.roster).join(SessionId(3), member("cy", ""), Payer(0), now_ms)
    };
    assert_eq!(cy(&mut roster, 0), full);
    roster
        .join(3, "bob", "", 0)
        .present(&[("ada", 1), ("bob", 2)]);
    assert_eq!(cy(&mut roster, 0), full, "and it stays who it was");
    roster.present(&[("ada", 1), ("bob", 2)]).leave(1, 0);
    assert_eq!(
        cy(&mut roster, 2),
        full,
        "a place is taken while its member lingers"
    );
    roster.until(3);
    assert!(cy(&mut roster, 3).is_ok());
}

#[test]
fn renewing_a_thousand_leases_leaves_one_thing_to_look_after_for_each() {
    let mut roster = Told::with(TERMS);
    for now_ms in 0..1000 {
        roster.join(1, "ada", "", now_ms).until(now_ms);
        assert_eq!(roster.roster.due.len(), 1);
    }
    for session in 0..1000 {
        roster.join(session, "ada", "", 1000).leave(session, 1000);
    }
    assert_eq!(roster.roster.due.len(), 1, "that the member lingers");
}

#[test]
fn who_takes_another_name_has_left_as_who_it_was_at_once() {
    let mut roster = Told::with(TERMS);
    roster.join(1, "ada", "", 0).join(1, "bob", "", 1);
    roster.told(&["+ada", "-ada", "+bob"]);
    // Not as one whom another session holds too.
    roster.join(2, "bob", "", 1).join(1, "cy", "", 1);
    roster.told(&["+cy"]).present(&[("bob", 1), ("cy", 1)]);
}

#[test]
fn who_pays_for_places_has_its_share_of_them_with_the_names_that_linger() {
    let mut roster = Roster::new(Terms {
        members_max: 100,
        places_per_payer_max: 2,
        ..TERMS
    });
    let (eve, ada) = (Payer(1), Payer(2));
    let full = RosterFull::OfPayer { places_max: 2 };
    let mut join = |session, user, payer, now_ms| {
        roster
            .join(SessionId(session), member(user, ""), payer, now_ms)
            .map(drop)
    };
    join(1, "a", eve, 0).unwrap();
    join(2, "b", eve, 0).unwrap();
    assert_eq!(join(3, "c", eve, 0), Err(full));
    assert_eq!(join(3, "a", eve, 0), Err(full), "a session's place");
    join(4, "c", ada, 0).unwrap();
    join(1, "d", eve, 0).unwrap();
    assert!(roster.leave(SessionId(1), 0).is_none(), "it lingers");
    let mut join = |session, user, now_ms| {
        roster
            .join(SessionId(session), member(user, ""), eve, now_ms)
            .map(drop)
    };
    assert_eq!(join(1, "e", 1), Err(full), "in the place of the session");
    join(1, "d", 1).unwrap();
    assert!(roster.leave(SessionId(1), 2).is_none());
    assert!(roster.poll_left(5).is_some());
    roster
        .join(SessionId(1), member("e", ""), eve, 5)
        .map(drop)
        .unwrap();
    for session in [1, 2, 4] {
        roster.leave(SessionId(session), 10);
    }
    while roster.poll_left(20).is_some() {}
    assert!(roster.places.is_empty(), "{:?}", roster.places);
}
