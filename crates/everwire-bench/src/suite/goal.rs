//! What each figure should be, and whether it is.

use crate::report::Cell;

/// The most that a figure may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many times the floor.
    OfFloor(f64),
    /// So many times bare hyper.
    OfHyper(f64),
    /// So many times what the same load takes over WebSockets, both beside their floors.
    OfWebSocket(f64),
    /// So many microseconds of CPU.
    Us(f64),
    /// So many bytes.
    Bytes(f64),
    /// So many milliseconds more than alone.
    RiseMs(f64),
}

impl Goal {
    /// The goal and whether `figure`, which is of its kind, meets it.
    pub fn cells(goal: Option<Self>, figure: impl Fn(Self) -> Option<f64>) -> [Cell; 2] {
        let Some(goal) = goal else {
            return [Cell::Missing, Cell::Missing];
        };
        let (text, most) = match goal {
            Self::OfFloor(most) => (format!("≤ {most} × floor"), most),
            Self::OfHyper(most) => (format!("≤ {most} × hyper"), most),
            Self::OfWebSocket(most) => (format!("≤ {most} × websocket"), most),
            Self::Us(most) => (format!("≤ {most} µs"), most),
            Self::Bytes(most) => (format!("≤ {most} bytes"), most),
            Self::RiseMs(most) => (format!("≤ {most} ms more"), most),
        };
        let met = match figure(goal) {
            Some(figure) if figure <= most => Cell::text("yes"),
            Some(_) => Cell::text("no"),
            None => Cell::Missing,
        };
        [Cell::text(text), met]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_up_to_its_edge() {
        for (goal, figure, text, met) in [
            (Goal::OfFloor(0.14), 0.14, "≤ 0.14 × floor", "yes"),
            (Goal::OfHyper(1.1), 1.11, "≤ 1.1 × hyper", "no"),
            (Goal::OfWebSocket(1.05), 0.9, "≤ 1.05 × websocket", "yes"),
            (Goal::Us(2.0), 2.1, "≤ 2 µs", "no"),
            (Goal::Bytes(200.0), 70.0, "≤ 200 bytes", "yes"),
            (Goal::RiseMs(3.0), -0.1, "≤ 3 ms more", "yes"),
        ] {
            let cells = Goal::cells(Some(goal), |_| Some(figure));
            assert_eq!(cells, [Cell::text(text), Cell::text(met)]);
        }
        assert_eq!(
            Goal::cells(None, |_| Some(1.0)),
            [Cell::Missing, Cell::Missing]
        );
        let unmeasured = Goal::cells(Some(Goal::Us(2.0)), |_| None);
        assert_eq!(unmeasured[1], Cell::Missing);
    }
}
