//! Routes: which agent answers a call, by the number that was called and, if wanted, the caller's.
//!
//! Runs in: anywhere: pure. Owns patterns and the choice. Never says anything of a call's other fields, such as an agent
//! that the dialplan named. Invariant: the first route that fits decides; without one the default agent answers.

use std::fmt;

use super::problem::Origin;
use super::setters::name;
use super::settings::settings;

/// The agent of `[agent]`, by the name that routes and callers of the API give it.
pub const DEFAULT_AGENT: &str = "default";

/// A longer pattern is no telephone number.
const PATTERN_CHARACTERS_MAX: usize = 64;

/// The reason fits a WebSocket close frame (123 bytes, RFC 6455 section 5.5) with room for our own words.
const REFUSAL_CHARACTERS_MAX: usize = 100;

/// Which numbers are meant: themselves, with `X` or `?` for any digit, and `*` at the end for any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes a pattern as somebody wrote it.
    ///
    /// # Errors
    /// What is wrong with it, as the end of the sentence "VALUE …".
    pub fn new(text: &str) -> Result<Self, String> {
        if text.starts_with('_') {
            return Err("begins with _ as patterns of Asterisk do: leave it out".into());
        }
        if text.chars().count() > PATTERN_CHARACTERS_MAX {
            return Err(format!("is longer than {PATTERN_CHARACTERS_MAX} characters"));
        }
        match text.chars().find(|c| !c.is_ascii_graphic()) {
            Some(stranger) => Err(format!("contains {stranger:?}")),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Whether `number` is meant.
    pub fn fits(&self, number: &str) -> bool {
        let (pattern, open) = match self.0.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (self.0.as_str(), false),
        };
        let mut digits = number.chars();
        let beginning_fits = pattern.chars().all(|wanted| match (wanted, digits.next()) {
            ('X' | '?', Some(digit)) => digit.is_ascii_digit() || digit == wanted,
            (wanted, found) => found == Some(wanted),
        });
        beginning_fits && (open || digits.next().is_none())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be written for a pattern.
const PATTERN: &str =
    "a number; X or ? stands for any digit, and * at its end for anything that follows, or nothing";

settings! {
    /// Which agent answers which call, by the number that was called and the caller's. The first route that fits decides;
    /// without one the default agent answers. `tandem route NUMBER` says which it is.
    pub struct RouteConfig {
        /// The number that was called. Without it the route is for every number.
        pub did: Option<Pattern>, text(PATTERN, Pattern::new), like "22004*";
        /// The number of the caller. Without it the route is for every caller.
        pub caller: Option<Pattern>, text(PATTERN, Pattern::new), like "00420*";
        /// What to call the route in the log and in the answer of tandem route.
        pub name: Option<String>, text("a word or two"), like "the shop, from abroad";
        /// Who answers.
        pub agent: Option<String>,
            text("the name of an agent: NAME of [agents.NAME], or default for [agent]", |v| name(v, "-_")),
            like "default";
        /// Instead of an agent: nobody answers, and this is the reason that the switch and the log are told.
        pub refuse: Option<String>,
            text("up to 100 printable ASCII characters", refusal), like "closed today";
        + /// Where it is written.
        pub place: Origin;
    }
}

impl RouteConfig {
    fn fits(&self, did: &str, caller: &str) -> bool {
        let fits = |pattern: &Option<Pattern>, number| pattern.as_ref().is_none_or(|p| p.fits(number));
        fits(&self.did, did) && fits(&self.caller, caller)
    }
}

/// The routes in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct RouteTable(pub Vec<RouteConfig>);

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// This agent answers.
    Agent {
        /// Its name; [`DEFAULT_AGENT`] is the one of `[agent]`.
        name: &'a str,
        /// The route that says so; `None`: none fits.
        route: Option<&'a RouteConfig>,
    },
    /// Nobody answers.
    Refuse {
        /// Why, as the operator wrote it.
        reason: &'a str,
        /// The route that says so.
        route: &'a RouteConfig,
    },
}

/// Chooses by the number that was called and the caller's. A number that is not known is taken as empty: `*` and routes
/// that do not ask for it fit.
pub fn decide<'a>(routes: &'a RouteTable, did: Option<&str>, caller: Option<&str>) -> Decision<'a> {
    let (did, caller) = (did.unwrap_or_default(), caller.unwrap_or_default());
    match routes.0.iter().find(|route| route.fits(did, caller)) {
        Some(route) => match &route.refuse {
            Some(reason) => Decision::Refuse { reason, route },
            None => {
                Decision::Agent { name: route.agent.as_deref().unwrap_or(DEFAULT_AGENT), route: Some(route) }
            }
        },
        None => Decision::Agent { name: DEFAULT_AGENT, route: None },
    }
}

/// A reason that may go into a close frame and a header.
pub(super) fn refusal(text: &str) -> Result<String, String> {
    if text.len() > REFUSAL_CHARACTERS_MAX {
        return Err(format!("is longer than {REFUSAL_CHARACTERS_MAX} characters"));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() && *c != ' ') {
        Some(stranger) => Err(format!("contains {stranger:?}")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(did: Option<&str>, caller: Option<&str>, agent: &str) -> RouteConfig {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        let (agent, refuse) = match agent.strip_prefix('!') {
            Some(reason) => (None, Some(reason.to_owned())),
            None => (Some(agent.to_owned()), None),
        };
        RouteConfig {
            did: did.map(pattern),
            caller: caller.map(pattern),
            name: None,
            agent,
            refuse,
            place: Origin::Default,
        }
    }

    fn decided(routes: &RouteTable, did: Option<&str>, caller: Option<&str>) -> String {
        match decide(routes, did, caller) {
            Decision::Agent { name, route } => format!("{name} {}", route.is_some()),
            Decision::Refuse { reason, .. } => format!("!{reason}"),
        }
    }

    #[test]
    fn a_pattern_is_a_number_with_marks_for_a_digit_and_for_any_rest() {
        for (pattern, number, fits) in [
            ("2200405", "2200405", true),
            ("2200405", "22004050", false),
            ("2200405", "220040", false),
            ("22004XX", "2200405", true),
            ("22004??", "2200405", true),
            ("22004XX", "22004a5", false),
            ("22004XX", "220040", false),
            ("22004XX", "22004055", false),
            ("22004*", "22004", true),
            ("22004*", "2200499999", true),
            ("22004*", "2200", false),
            ("*", "", true),
            ("*", "anonymous", true),
            ("*98", "*98", true),
            ("*98", "198", false),
            ("+420*", "+420123", true),
            ("+420*", "420123", false),
            ("X*", "", false),
            ("BOX", "BOX", true),
            ("ä", "ä", false),
        ] {
            let found = Pattern::new(pattern).is_ok_and(|pattern| pattern.fits(number));
            assert_eq!(found, fits, "{pattern} and {number}");
        }
    }

    #[test]
    fn the_first_route_that_fits_decides_and_without_one_the_default_agent_answers() {
        let routes = RouteTable(vec![
            route(Some("2200405"), Some("00420*"), "czech"),
            route(Some("2200405"), None, "shop"),
            route(Some("22004*"), None, "!closed"),
        ]);
        assert_eq!(decided(&routes, Some("2200405"), Some("00420777")), "czech true");
        assert_eq!(decided(&routes, Some("2200405"), Some("00421777")), "shop true");
        assert_eq!(decided(&routes, Some("2200405"), None), "shop true");
        assert_eq!(decided(&routes, Some("2200406"), None), "!closed");
        assert_eq!(decided(&routes, Some("1"), None), "default false");
        assert_eq!(decided(&routes, None, None), "default false");
        let all = RouteTable(vec![route(Some("*"), None, "shop")]);
        assert_eq!(decided(&all, None, None), "shop true");
    }
}
