//! One load and its samples on everybody it is measured on, a round each.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    rival::{Fault, Rival},
    scenario::{Bench, Floors, Load},
    statistics::{median, spread},
    subject::Subject,
};

/// Who is measured beside the floors.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    /// Everwire.
    pub server: Option<Subject>,
    /// Others.
    pub rivals: Vec<Arc<Rival>>,
}

/// A load and what its rounds gave.
pub struct Compared<L: Load> {
    /// What was measured.
    pub load: L,
    /// The samples of each round.
    pub rounds: Vec<Round<L::Sample>>,
    /// Why a rival was not measured further, by its place among them.
    pub faults: BTreeMap<usize, Fault>,
}

/// The samples of one round, which a disturbance of the machine meets alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Round<S> {
    /// Of the floor.
    pub floor: Option<S>,
    /// Of bare hyper.
    pub hyper: Option<S>,
    /// Of the server.
    pub server: Option<S>,
    /// Of each rival.
    pub rivals: Vec<Option<S>>,
}

impl<L: Load> Compared<L> {
    /// A load that was not measured yet.
    pub fn new(load: L) -> Self {
        Self {
            load,
            rounds: Vec::new(),
            faults: BTreeMap::new(),
        }
    }

    /// How many measurements it takes in `rounds`.
    pub fn steps(&self, subjects: &Subjects, rounds: usize) -> usize {
        let Floors {
            floor,
            hyper,
            server: with_server,
        } = self.load.floors();
        let server = subjects.server.as_ref().filter(|_| with_server);
        let own = [floor.is_some(), hyper.is_some(), server.is_some()];
        let own = own.into_iter().filter(|is_measured| *is_measured);
        let rivals = subjects.rivals.iter();
        let rivals = rivals.filter(|rival| self.load.suits(rival));
        (own.count() + rivals.count()) * self.load.rounds(rounds)
    }

    /// Measures round `round` of `rounds`, unless it is too late or no such round is worth it.
    ///
    /// # Errors
    /// If a floor or the server fails. What goes wrong with a rival is its result.
    pub fn measure(
        &mut self,
        bench: &Bench,
        subjects: &Subjects,
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
        let name = |subject: &Subject, load: &L| format!("{}, {}", load.name(), subject.name());
        let try_to_measure = |subject: &Subject, load: &L| {
            let step = format!("round {round} of {rounds}: {}", name(subject, load));
            bench.progress.step(&step);
            load.measure(bench, subject)
        };
        let measure = |subject: &Subject, load: &L| {
            try_to_measure(subject, load).with_context(|| name(subject, load))
        };
        let floor = floor
            .map(|(subject, load)| measure(&subject, &load))
            .transpose()?;
        let hyper = hyper
            .map(|load| measure(&Subject::BareHyper, &load))
            .transpose()?;
        let server = subjects.server.as_ref().filter(|_| with_server);
        let server = server
            .map(|subject| measure(subject, &self.load))
            .transpose()?;
        let mut rivals = Vec::new();
        for (at, rival) in subjects.rivals.iter().enumerate() {
            let mut sample = None;
            if self.load.suits(rival) && !self.faults.contains_key(&at) {
                match try_to_measure(&Subject::Rival(Arc::clone(rival)), &self.load) {
                    Ok(measured) => sample = Some(measured),
                    Err(error) => {
                        self.faults.insert(at, Fault::of(error)?);
                    }
                }
            }
            rivals.push(sample);
        }
        self.rounds.push(Round {
            floor,
            hyper,
            server,
            rivals,
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
    /// What the rival at this place costs for one of the floor.
    pub fn rival_of_floor(&self, at: usize, cost: impl Fn(&S) -> f64) -> Option<f64> {
        Some(cost(self.rivals.get(at)?.as_ref()?) / cost(self.floor.as_ref()?))
    }

    /// What the server costs for one of the floor.
    pub fn of_floor(&self, cost: impl Fn(&S) -> f64) -> Option<f64> {
        Some(cost(self.server.as_ref()?) / cost(self.floor.as_ref()?))
    }

    /// What the server costs for one of bare hyper.
    pub fn of_hyper(&self, cost: impl Fn(&S) -> f64) -> Option<f64> {
        Some(cost(self.server.as_ref()?) / cost(self.hyper.as_ref()?))
    }
}
