//! The keys of a route, `[[routes]]`.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use super::registry::{Key, text};
use super::routes::{Pattern, RouteConfig, refusal};
use super::setters::name_of;

/// What may be written for a pattern.
const PATTERN: &str =
    "a number; X or ? stands for any digit, and * at its end for anything that follows, or nothing";

/// See the head of this file.
pub static ROUTE_KEYS: &[Key<RouteConfig>] = &[
    Key::<RouteConfig>::new(
        "did",
        "",
        text(PATTERN, |r, v| {
            r.did = v.map(Pattern::new).transpose()?;
            Ok(())
        }),
        "The number that was called. Without it the route is for every number.",
    )
    .example(r#""22004*""#),
    Key::<RouteConfig>::new(
        "caller",
        "",
        text(PATTERN, |r, v| {
            r.caller = v.map(Pattern::new).transpose()?;
            Ok(())
        }),
        "The number of the caller. Without it the route is for every caller.",
    )
    .example(r#""00420*""#),
    Key::<RouteConfig>::new(
        "name",
        "",
        text("a word or two", |r, v| {
            r.name = v.map(str::to_owned);
            Ok(())
        }),
        "What to call the route in the log and in the answer of tandem route.",
    )
    .example(r#""the shop, from abroad""#),
    Key::<RouteConfig>::new(
        "agent",
        "",
        text("the name of an agent: NAME of [agents.NAME], or default for [agent]", |r, v| {
            r.agent = v.map(|v| name_of(Some(v), "-_")).transpose()?;
            Ok(())
        }),
        "Who answers.",
    )
    .example(r#""default""#),
    Key::<RouteConfig>::new(
        "refuse",
        "",
        text("up to 100 printable ASCII characters", |r, v| {
            r.refuse = v.map(refusal).transpose()?;
            Ok(())
        }),
        "Instead of an agent: nobody answers, and this is the reason that the switch and the log are told.",
    )
    .example(r#""closed today""#),
];
