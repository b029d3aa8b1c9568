//! Floor 4: all agents and the routes to them, made of the configuration: who answers a call.
//!
//! Runs in: made in the main thread and the signal thread; read in the accept, admin and control threads, once per call.
//! Owns the agents. Never changes: what is configured anew is another [`Agents`], which [`CurrentAgents`] holds from then on.
//! Invariant: every agent that a route names is there, and so is the default agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use parking_lot::RwLock;

use crate::call::Agent;
use crate::call::leg::CallFields;
use crate::call::model::Unfit;
use crate::config::routes::{Decision, decide};
use crate::config::{
    self, AgentConfig, Config, DEFAULT_AGENT, Loaded, Origin, Problem, Problems, RouteTable, Sources,
};

mod configured;

/// See the head of this file.
#[derive(Debug)]
pub struct Agents {
    default: Arc<Agent>,
    named: BTreeMap<String, Arc<Agent>>,
    routes: RouteTable,
    metadata_wait: Duration,
}

impl FromIterator<Agent> for Agents {
    /// These agents by their names, and the first for who names none, for simulations.
    ///
    /// # Panics
    /// Where there are none.
    fn from_iter<A: IntoIterator<Item = Agent>>(agents: A) -> Self {
        let mut agents = agents.into_iter().map(Arc::new).peekable();
        let Some(default) = agents.peek().cloned() else { panic!("nobody would answer") };
        let named = agents.map(|agent| (agent.name.clone(), agent)).collect();
        Self { default, named, routes: RouteTable::default(), metadata_wait: Duration::ZERO }
    }
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub enum Choice {
    /// This agent answers.
    Agent(Arc<Agent>),
    /// Nobody answers, for this reason.
    Refuse(String),
}

impl Agents {
    /// The agents of a configuration.
    ///
    /// # Errors
    /// What is wrong with them, one problem a line.
    pub fn new(config: &Config) -> Result<Self, String> {
        let (agents, problems) = build(config);
        let wrong: Vec<String> = problems
            .into_iter()
            .filter(|(_, unusable)| !unusable.is_warning)
            .map(|(section, unusable)| format!("{section}.{}: {}", unusable.key, unusable.text))
            .collect();
        if wrong.is_empty() { Ok(agents) } else { Err(wrong.join("\n")) }
    }

    /// The agent of section `[agent]`.
    pub fn default_agent(&self) -> &Arc<Agent> {
        &self.default
    }

    /// How long a call waits for what [`Agents::is_settled`] misses.
    pub fn metadata_wait(&self) -> Duration {
        self.metadata_wait
    }

    /// Who answers a call of which so much is known: the agent that its dialplan or the API names, else the one of the
    /// first route that fits, else the default agent.
    pub fn choose(&self, fields: &CallFields) -> Choice {
        if let Some(agent) = fields.agent.as_deref().and_then(|name| self.agent(name)) {
            return Choice::Agent(Arc::clone(agent));
        }
        match decide(&self.routes, fields.did.as_deref(), fields.caller.as_deref()) {
            Decision::Agent { name, .. } => {
                Choice::Agent(Arc::clone(self.agent(name).unwrap_or(&self.default)))
            }
            Decision::Refuse { reason, .. } => Choice::Refuse(reason.to_owned()),
        }
    }

    /// The name of an agent that was asked for and does not exist.
    pub fn unknown_agent<'a>(&self, fields: &'a CallFields) -> Option<&'a str> {
        fields.agent.as_deref().filter(|name| self.agent(name).is_none())
    }

    /// Whether nothing that may still become known of the call changes [`Agents::choose`].
    pub fn is_settled(&self, fields: &CallFields) -> bool {
        let is_named = fields.agent.as_deref().is_some_and(|name| self.agent(name).is_some());
        let asks = |asked: fn(&config::RouteConfig) -> bool| self.routes.0.iter().any(asked);
        is_named
            || (fields.did.is_some() || !asks(|route| route.did.is_some()))
                && (fields.caller.is_some() || !asks(|route| route.caller.is_some()))
    }

    /// Whether the agent who answers waits for something that the switch may still say of the call.
    pub fn lacks(&self, fields: &CallFields) -> bool {
        match self.choose(fields) {
            Choice::Agent(agent) => agent.lacks(fields),
            Choice::Refuse(_) => false,
        }
    }

    /// Every agent, the default agent first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Agent>> {
        std::iter::once(&self.default).chain(self.named.values())
    }

    fn agent(&self, name: &str) -> Option<&Arc<Agent>> {
        if name == DEFAULT_AGENT { Some(&self.default) } else { self.named.get(name) }
    }
}

/// The agents in force. Reading takes a lock for as long as it takes to count a reference; no media thread does.
#[derive(Debug)]
pub struct CurrentAgents(RwLock<Arc<Agents>>);

impl CurrentAgents {
    /// These, until others are [set](Self::set).
    pub fn new(agents: Agents) -> Self {
        Self(RwLock::new(Arc::new(agents)))
    }

    /// The agents for a call that begins now; it keeps what it gets.
    pub fn get(&self) -> Arc<Agents> {
        Arc::clone(&self.0.read())
    }

    /// Calls that begin from now on get these.
    pub fn set(&self, agents: Agents) {
        *self.0.write() = Arc::new(agents);
    }
}

/// Reads the configuration as [`config::load()`] does, and checks its agents against their models, files and variables.
///
/// # Errors
/// Everything that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loaded = config::load(sources)?;
    let mut problems = Vec::new();
    for (section, unusable) in build(&loaded.config).1 {
        let name = format!("{section}.{}", unusable.key);
        let origin = loaded.origin(&name);
        // What an agent inherits was said of the default agent, unless it is wrong for this agent's model only.
        let inherited = section != "agent" && origin == Origin::Default;
        let origin = if inherited { loaded.origin(&format!("agent.{}", unusable.key)) } else { origin };
        let text = format!("{name}: {}", unusable.text);
        let problem = Problem { origin: Some(origin).filter(|origin| *origin != Origin::Default), text };
        if unusable.is_warning { loaded.warnings.push(problem.to_string()) } else { problems.push(problem) }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(Problems(problems)) }
}

/// The agents, and what is wrong with them by section; what the default agent has wrong is said once.
fn build(config: &Config) -> (Agents, Vec<(String, Unfit)>) {
    let mut problems = Vec::new();
    let mut said = Vec::new();
    let mut make = |section: &str, name: &str, agent: &AgentConfig| {
        let (agent, wrong) = configured::agent(config, name, agent);
        for unusable in wrong.into_iter().filter(|unusable| !said.contains(unusable)).collect::<Vec<_>>() {
            said.push(unusable.clone());
            problems.push((section.to_owned(), unusable));
        }
        Arc::new(agent)
    };
    let default = make("agent", DEFAULT_AGENT, &config.agent);
    let named = config.agents.iter().map(|(name, agent)| {
        let section = format!("agents.{name}");
        (name.clone(), make(&section, name, agent))
    });
    let named = named.collect();
    let routes = config.routes.clone();
    (Agents { default, named, routes, metadata_wait: config.leg.metadata_wait }, problems)
}

/// Says in the log that a call asked for an agent that does not exist.
pub fn warn_of_unknown_agent(call: impl std::fmt::Display, agents: &Agents, fields: &CallFields) {
    if let Some(name) = agents.unknown_agent(fields) {
        warn!(
            "call {call}: there is no agent {name:?}, so the routes decide: correct the dialplan, or write [agents.{name}]"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RouteConfig;
    use crate::config::routes::Pattern;

    fn agents() -> Agents {
        let mut config = Config::default();
        for name in ["shop", "night"] {
            config.agents.insert(name.into(), config.agent.clone());
        }
        for (did, caller, agent) in [("220*", None, Some("shop")), ("221", Some("7*"), None)] {
            config.routes.0.push(RouteConfig {
                did: Some(Pattern::new(did).unwrap()),
                caller: caller.map(|caller| Pattern::new(caller).unwrap()),
                name: None,
                agent: agent.map(str::to_owned),
                refuse: agent.is_none().then(|| "closed".into()),
                place: Origin::Default,
            });
        }
        Agents::new(&config).unwrap()
    }

    fn fields(did: Option<&str>, caller: Option<&str>, agent: Option<&str>) -> CallFields {
        let [did, caller, agent] = [did, caller, agent].map(|text| text.map(str::to_owned));
        CallFields { did, caller, agent, ..CallFields::default() }
    }

    fn chosen(fields: &CallFields) -> String {
        match agents().choose(fields) {
            Choice::Agent(agent) => agent.name.clone(),
            Choice::Refuse(reason) => format!("!{reason}"),
        }
    }

    #[test]
    fn an_agent_that_is_named_wins_over_routes_and_one_that_does_not_exist_counts_for_nothing() {
        assert_eq!(chosen(&fields(Some("2200"), None, None)), "shop");
        assert_eq!(chosen(&fields(Some("2200"), None, Some("night"))), "night");
        assert_eq!(chosen(&fields(Some("2200"), None, Some("default"))), "default");
        assert_eq!(chosen(&fields(Some("2200"), None, Some("nobody"))), "shop");
        assert_eq!(chosen(&fields(Some("221"), Some("77"), None)), "!closed");
        assert_eq!(chosen(&fields(None, None, None)), "default");
        let asked = fields(None, None, Some("nobody"));
        assert_eq!(agents().unknown_agent(&asked), Some("nobody"));
    }

    #[test]
    fn a_call_is_settled_when_nothing_more_can_change_who_answers() {
        let agents = agents();
        assert!(!agents.is_settled(&fields(None, None, None)));
        assert!(!agents.is_settled(&fields(Some("2200"), None, None)), "a route asks for the caller");
        assert!(!agents.is_settled(&fields(None, Some("7"), None)));
        assert!(agents.is_settled(&fields(Some("2200"), Some("7"), None)));
        assert!(agents.is_settled(&fields(None, None, Some("night"))));
        assert!(!agents.is_settled(&fields(None, None, Some("nobody"))));
        assert!(Agents::new(&Config::default()).unwrap().is_settled(&fields(None, None, None)));
    }

    #[test]
    fn agents_that_are_set_are_those_of_the_next_call_and_not_of_the_last() {
        let current = CurrentAgents::new(agents());
        let before = current.get();
        current.set(Agents::new(&Config::default()).unwrap());
        assert_eq!((before.named.len(), current.get().named.len()), (2, 0));
    }
}
