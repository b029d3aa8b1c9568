//! What is compared is measured in turns: round after round, each side once, and the medians of the rounds.
//!
//! Runs in: the `density` binary. Owns nothing. Never keeps a round in which a side was not usable: that side is
//! repeated first, and counted. Invariant: the samples of a round were measured one right after the other.

use super::figures::{Figures, median, rounded};
use super::measure::{self, Sample};
use super::start::Relay;
use super::watch::Watch;
use super::{Error, Options, Part};
use crate::callgen;

/// A side that was not usable is measured so many times more before its round is given up.
const AGAIN_MAX: u32 = 2;

/// The measurement that a part belongs to.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    pub(super) part: Part,
}

/// One of the things that are compared.
pub(super) struct Side<'a> {
    pub(super) name: &'static str,
    pub(super) relay: &'a Relay,
    /// The calls; how long they last is said by the bench.
    pub(super) calls: callgen::Options,
    /// The admin server that is looked at meanwhile.
    pub(super) watched: Option<&'a str>,
    /// Length of a measurement, in seconds.
    pub(super) seconds: f64,
}

/// The usable rounds, each with a sample of every side.
pub(super) struct Rounds {
    names: Vec<&'static str>,
    samples: Vec<Vec<Sample>>,
}

impl Bench<'_> {
    /// A side with `number` calls that echo.
    pub(super) fn side<'a>(&self, name: &'static str, relay: &'a Relay, number: u32) -> Side<'a> {
        let calls = callgen::Options { url: relay.url.clone(), calls: number, ..callgen::Options::default() };
        Side { name, relay, calls, watched: None, seconds: self.options.seconds }
    }

    /// Measures all sides in turns.
    pub(super) fn in_turns(
        &self,
        sides: &[Side<'_>],
        figures: &mut Figures,
        say: &mut dyn FnMut(&str),
    ) -> Result<Rounds, Error> {
        let rounds = self.options.rounds;
        let mut samples = Vec::new();
        for round in 1..=rounds {
            let mut row = Vec::with_capacity(sides.len());
            for side in sides {
                let head = format!(
                    "{} {round}/{rounds}, {} calls, {}",
                    self.part.name(),
                    side.calls.calls,
                    side.name
                );
                match once(side, &head, figures, say)? {
                    Some(sample) => row.push(sample),
                    None => break,
                }
            }
            if row.len() == sides.len() {
                samples.push(row);
            }
        }
        if samples.is_empty() {
            return Err(Error::Unusable(format!(
                "no round of {} was usable: {} runs were void (the machine is too busy), {} had failed calls {:?}",
                self.part.name(),
                figures.runs_void,
                figures.runs_failed,
                figures.failures
            )));
        }
        Ok(Rounds { names: sides.iter().map(|side| side.name).collect(), samples })
    }
}

/// Measures a side until it is usable, a few times at most.
fn once(
    side: &Side<'_>,
    head: &str,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Sample>, Error> {
    for _ in 0..=AGAIN_MAX {
        let watch = side.watched.map(Watch::of);
        let sample = measure::under_load(side.relay.process.pid(), &side.calls, side.seconds)?;
        let seen = watch.map(Watch::end);
        say(&format!("{head}: {sample}"));
        if let Some((events, scrapes)) = seen {
            say(&format!("{head}: {events} events, {scrapes} scrapes"));
        }
        figures.runs_void += u64::from(sample.void);
        figures.runs_failed += u64::from(sample.calls_failed > 0);
        figures.failures.extend(sample.failures.iter().cloned());
        figures.failures.sort();
        figures.failures.dedup();
        let was_seen = seen.is_none_or(|(events, scrapes)| events > 0 && scrapes > 0);
        if sample.is_usable() && was_seen {
            return Ok(Some(sample));
        }
    }
    Ok(None)
}

impl Rounds {
    /// How many were usable.
    pub(super) fn count(&self) -> usize {
        self.samples.len()
    }

    fn place(&self, name: &str) -> usize {
        // A name that is not there is a mistake of this program; the first side then is compared with itself.
        self.names.iter().position(|known| *known == name).unwrap_or(0)
    }

    /// `f` of one side, in each round.
    pub(super) fn each(&self, name: &str, f: fn(&Sample) -> f64) -> Vec<f64> {
        let place = self.place(name);
        self.samples.iter().filter_map(|row| row.get(place)).map(f).collect()
    }

    /// The median of `f` of one side.
    pub(super) fn median(&self, name: &str, f: fn(&Sample) -> f64) -> f64 {
        rounded(median(self.each(name, f)))
    }

    /// The median of what `f` of one side is, in each round, to that of another.
    pub(super) fn ratio(&self, name: &str, other: &str, f: fn(&Sample) -> f64) -> f64 {
        let pairs = self.each(name, f).into_iter().zip(self.each(other, f));
        rounded(median(pairs.map(|(one, other)| one / other)))
    }

    /// The median of how much more `f` of one side is, in each round, than that of another.
    pub(super) fn added(&self, name: &str, other: &str, f: fn(&Sample) -> f64) -> f64 {
        let pairs = self.each(name, f).into_iter().zip(self.each(other, f));
        rounded(median(pairs.map(|(one, other)| one - other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_belongs_to_the_same_round() {
        let sample = |us_per_frame_pair| Sample { us_per_frame_pair, ..Sample::default() };
        let row = |one, other| vec![sample(one), sample(other)];
        let rounds = Rounds {
            names: vec!["null", "tandem"],
            samples: vec![row(10.0, 20.0), row(30.0, 39.0), row(20.0, 28.0)],
        };
        let us = |sample: &Sample| sample.us_per_frame_pair;
        assert_eq!((rounds.median("null", us), rounds.median("tandem", us)), (20.0, 28.0));
        assert_eq!((rounds.ratio("tandem", "null", us), rounds.added("tandem", "null", us)), (1.4, 9.0));
        assert_eq!((rounds.count(), rounds.each("null", us)), (3, vec![10.0, 30.0, 20.0]));
    }
}
