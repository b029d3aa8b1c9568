//! A list of processor cores, as an operator writes it, and how shards share it.
//!
//! Runs in: anywhere: pure. Owns the numbers. Never asks the machine which cores there are.
//! Invariant: at least one core, each once and in order.

use std::fmt;

/// Cores that the kernel's sets have room for.
const CORES_MAX: usize = 1024;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// Reads numbers and ranges, such as `0-3,8,10-11`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim().parse::<usize>().ok().filter(|core| *core < CORES_MAX).ok_or_else(|| {
                    format!("has {part:?}, which is neither a core below {CORES_MAX} nor a range of them")
                })
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("has the range {part:?}, which ends before it begins"));
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }

    /// The numbers.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// The part of shard `number` of `shards`: neighbours, and as many for each; the first ones have one more where it does not
    /// come out even. `None` where there is not one for each.
    pub fn part(&self, number: usize, shards: usize) -> Option<Self> {
        let (each, more) = (self.0.len() / shards.max(1), self.0.len() % shards.max(1));
        let first = number * each + number.min(more);
        let part = self.0.get(first..first + each + usize::from(number < more))?;
        (!part.is_empty()).then(|| Self(part.to_vec()))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.chunk_by(|one, next| one + 1 == *next).enumerate() {
            let comma = if n > 0 { "," } else { "" };
            match range {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read_in_any_order_and_each_core_counts_once() {
        let cores = Cores::parse("8, 0-3,2, 10-11").expect("a list");
        assert_eq!(cores.numbers(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cores.to_string(), "0-3,8,10-11");
    }

    #[test]
    fn what_is_no_list_of_cores_is_said() {
        for (text, said) in [
            ("", r#"has "", which is neither a core below 1024 nor a range of them"#),
            ("0,x", r#"has "x", which is neither a core below 1024 nor a range of them"#),
            ("0-99999999", r#"has "0-99999999", which is neither a core below 1024 nor a range of them"#),
            ("3-1", r#"has the range "3-1", which ends before it begins"#),
        ] {
            assert_eq!(Cores::parse(text), Err(said.to_owned()));
        }
    }

    #[test]
    fn shards_share_the_cores_evenly_and_each_needs_one() {
        let cores = Cores::parse("0-4").expect("a list");
        let parts: Vec<_> = (0..2).map(|n| cores.part(n, 2).expect("enough").to_string()).collect();
        assert_eq!(parts, ["0-2", "3-4"]);
        assert_eq!(cores.part(4, 5).map(|part| part.to_string()), Some("4".to_owned()));
        assert!((0..6).any(|n| cores.part(n, 6).is_none()));
    }
}
