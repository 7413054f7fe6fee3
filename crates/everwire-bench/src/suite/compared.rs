//! One load and its samples on everybody it is measured on, a round each.

use anyhow::{Context, Result};

use crate::{
    scenario::{Bench, Floors, Load},
    statistics::{median, spread},
    subject::Subject,
};

/// A load and what its rounds gave.
pub struct Compared<L: Load> {
    /// What was measured.
    pub load: L,
    /// The samples of each round.
    pub rounds: Vec<Round<L::Sample>>,
}

/// The samples of one round, which a disturbance of the machine meets alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round<S> {
    /// Of the floor.
    pub floor: Option<S>,
    /// Of bare hyper.
    pub hyper: Option<S>,
    /// Of the server.
    pub server: Option<S>,
}

impl<L: Load> Compared<L> {
    /// A load that was not measured yet.
    pub fn new(load: L) -> Self {
        Self {
            load,
            rounds: Vec::new(),
        }
    }

    /// How many measurements it takes in `rounds`.
    pub fn steps(&self, server: Option<&Subject>, rounds: usize) -> usize {
        let Floors {
            floor,
            hyper,
            server: with_server,
        } = self.load.floors();
        let server = server.filter(|_| with_server);
        let subjects = [floor.is_some(), hyper.is_some(), server.is_some()];
        let subjects = subjects.into_iter().filter(|is_measured| *is_measured);
        subjects.count() * self.load.rounds(rounds)
    }

    /// Measures round `round` of `rounds`, unless it is too late or no such round is worth it.
    ///
    /// # Errors
    /// If a subject fails.
    pub fn measure(
        &mut self,
        bench: &Bench,
        server: Option<&Subject>,
        round: usize,
        rounds: usize,
    ) -> Result<()> {
        if round > self.load.rounds(rounds) || bench.is_late() {
            return Ok(());
        }
        let Floors {
            floor,
            hyper,
            server: with_server,
        } = self.load.floors();
        let measure = |subject: &Subject, load: &L| {
            let name = format!("{}, {}", load.name(), subject.name());
            let step = format!("round {round} of {rounds}: {name}");
            bench.progress.step(&step);
            load.measure(bench, subject).context(name)
        };
        let floor = floor
            .map(|(subject, load)| measure(&subject, &load))
            .transpose()?;
        let hyper = hyper
            .map(|load| measure(&Subject::BareHyper, &load))
            .transpose()?;
        let server = server.filter(|_| with_server);
        let server = server
            .map(|subject| measure(subject, &self.load))
            .transpose()?;
        self.rounds.push(Round {
            floor,
            hyper,
            server,
        });
        Ok(())
    }

    /// Whether something of `rounds` was left out for lack of time.
    pub fn is_cut(&self, rounds: usize) -> bool {
        self.rounds.len() < self.load.rounds(rounds)
    }

    /// The median of what `figure` sees in the rounds that have it.
    pub fn median(&self, figure: impl Fn(&Round<L::Sample>) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(figure))
    }

    /// How far the rounds lie apart in what `figure` sees: half of that, in percent.
    pub fn apart(&self, figure: impl Fn(&Round<L::Sample>) -> Option<f64>) -> Option<f64> {
        let samples: Vec<f64> = self.rounds.iter().filter_map(figure).collect();
        spread(samples).map(|spread| spread * 50.0)
    }
}

impl<S> Round<S> {
    /// What the server costs for one of the floor.
    pub fn of_floor(&self, cost: impl Fn(&S) -> f64) -> Option<f64> {
        Some(cost(self.server.as_ref()?) / cost(self.floor.as_ref()?))
    }

    /// What the server costs for one of bare hyper.
    pub fn of_hyper(&self, cost: impl Fn(&S) -> f64) -> Option<f64> {
        Some(cost(self.server.as_ref()?) / cost(self.hyper.as_ref()?))
    }
}
