//! How much of what all share one caller may hold.
//!
//! ```text
//!  pot  ├──────────── held by one ────────────┤── by others ──┤── free ──┤
//!                                                              ▲
//!       one may hold so many times what is free, and no more ──┘      90 % alone: nine times
//! ```
//!
//! This is the rule of dynamic thresholds, by which switches divide their memory among ports (Choudhury and Hahne,
//! 1998). Whoever is alone has nearly all of a pot. The more is taken, the less each may hold, so those who take most are
//! refused first, and something is left for whoever comes next, however many took before. Nothing has to be known of
//! those who are not there, and nobody's share is set aside.

/// How much of a pot is taken, and what one caller may hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pot {
    /// What there is.
    pub size: u64,
    /// What all hold.
    pub held: u64,
    /// What one may hold who is alone, in percent; 100 is all.
    pub percent: u32,
}

/// Why there is no more for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// All is taken.
    Pot,
    /// There is more, for others.
    Share,
}

impl Pot {
    /// Whether somebody who holds so much may take so much more.
    pub fn admit(self, own: u64, more: u64) -> Result<(), Short> {
        // A piece that is larger than all there is has to be taken some time, or it never could be.
        if self.held == 0 && self.size > 0 {
            return Ok(());
        }
        let free = self.size.saturating_sub(self.held);
        if more > free || free == 0 {
            return Err(Short::Pot);
        }
        if self.percent >= 100 {
            return Ok(());
        }
        let percent = u128::from(self.percent);
        // The last unit counts as free, so that a pot of a few is not kept from everybody.
        let left = u128::from(free - more) + 1;
        match u128::from(own + more) * (100 - percent) <= left * percent {
            true => Ok(()),
            false => Err(Short::Share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one by one for as long as each may, in turns; tells what each holds in the end.
    fn greedy(size: u64, percent: u32, callers: usize) -> Vec<u64> {
        let mut own = vec![0; callers];
        loop {
            let before = own.clone();
            for index in 0..callers {
                let held = own.iter().sum();
                let pot = Pot {
                    size,
                    held,
                    percent,
                };
                if pot.admit(own[index], 1).is_ok() {
                    own[index] += 1;
                }
            }
            if own == before {
                return own;
            }
        }
    }

    #[test]
    fn one_alone_has_nearly_all_and_leaves_some_for_who_comes_next() {
        for (size, percent, expected) in [
            (1_000_000, 90, 900_000),
            (1_000_000, 50, 500_000),
            (1_000_000, 100, 1_000_000),
            (1, 90, 1),
            (5, 90, 5),
            (100, 90, 90),
        ] {
            assert_eq!(
                greedy(size, percent, 1),
                [expected],
                "{percent} % of {size}"
            );
        }
        let pot = |held| Pot {
            size: 1_000,
            held,
            percent: 90,
        };
        assert_eq!(pot(900).admit(900, 1), Err(Short::Share));
        assert_eq!(pot(900).admit(0, 80), Ok(()), "another");
        assert_eq!(pot(1_000).admit(0, 1), Err(Short::Pot));
        assert_eq!(pot(900).admit(0, 101), Err(Short::Pot));
        assert_eq!(pot(0).admit(0, 2_000), Ok(()));
    }

    #[test]
    fn however_many_take_all_they_may_there_is_something_for_one_more() {
        for callers in [1, 2, 5, 50, 500] {
            let own = greedy(1_000_000, 90, callers);
            let (least, most) = (own.iter().min().unwrap(), own.iter().max().unwrap());
            assert!(
                most - least <= 1,
                "those who take alike have alike: {own:?}"
            );
            let pot = Pot {
                size: 1_000_000,
                held: own.iter().sum(),
                percent: 90,
            };
            assert_eq!(pot.admit(0, 1), Ok(()), "after {callers}");
        }
    }

    /// A large piece is not let in by the little that is free before it.
    #[test]
    fn what_is_left_counts_after_a_piece_is_taken() {
        let pot = Pot {
            size: 16,
            held: 8,
            percent: 90,
        };
        assert_eq!(pot.admit(8, 8), Err(Short::Share));
        assert_eq!(pot.admit(8, 6), Ok(()));
    }
}
