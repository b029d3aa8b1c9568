//! The configuration is read anew on SIGHUP: agents, routes, tools, credentials and the level of the log, for the calls and
//! links that begin then, and the certificates of our servers, for the connections that do.
//!
//! Runs in: the signal thread. Owns the configuration with which the process was started.
//! Never touches a running call: it holds its agent. Invariant: a configuration with anything wrong in it changes nothing.

use std::sync::Arc;

use log::{error, info, warn};

use crate::agents::{self, Agents};
use crate::config::{Config, Loaded, Sources};
use crate::net::tls::Identity;
use crate::telemetry;
use crate::threads::relay::Relay;

use super::{Server, credentials};

/// Sections and keys that are taken while the process runs. Of all others a change is only named.
const RELOADED: [&str; 6] = ["agent.", "agents.", "tools.", "credentials.", "routes.", "log.level"];

/// See the head of this file.
pub(super) struct Reload {
    started: Loaded,
    sources: Sources,
    relay: Relay,
    identities: Vec<Arc<Identity>>,
}

impl Reload {
    pub(super) fn new(started: Loaded, sources: Sources, server: &Server) -> Self {
        Self { started, sources, relay: server.relay.clone(), identities: server.identities.clone() }
    }

    /// Reads the same sources again, and the certificates of our servers, each by itself.
    pub(super) fn reload(&self) {
        for identity in &self.identities {
            match identity.read_again() {
                Ok(is) => info!("a certificate was read anew: {is}"),
                Err(problem) => {
                    error!("a certificate was read anew and is refused, the old one stays: {problem}");
                }
            }
        }
        let refused = "the configuration was read anew and is refused, the old one stays";
        let loaded = match agents::load(&self.sources) {
            Ok(loaded) => loaded,
            Err(problems) => {
                problems.0.iter().for_each(|problem| error!("{refused}: {problem}"));
                return;
            }
        };
        telemetry::conceal(loaded.config.secrets().iter().map(String::as_str));
        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
        for changed in self.needs_restart(&loaded) {
            warn!("{changed}");
        }
        let config = self.merged(loaded.config);
        match (Agents::new(&config), credentials(&config)) {
            (Ok(agents), Ok(access)) => {
                self.relay.agents.set(agents);
                self.relay.credentials.replace(access);
            }
            (Err(problem), _) | (_, Err(problem)) => return error!("{refused}: {problem}"),
        }
        telemetry::log::set_level(config.log.level);
        info!(
            "the configuration was read anew: agents {}, routes {}, tools {}; running calls keep what they have",
            config.agents.len() + 1,
            config.routes.0.len(),
            config.tools.len()
        );
    }

    /// What was started with, but for what is taken anew.
    fn merged(&self, new: Config) -> Config {
        let mut config = self.started.config.clone();
        config.agent = new.agent;
        config.agents = new.agents;
        config.tools = new.tools;
        config.routes = new.routes;
        config.credentials = new.credentials;
        config.log.level = new.log.level;
        config
    }

    /// What changed and takes effect only when the process is started anew, a sentence each.
    fn needs_restart(&self, loaded: &Loaded) -> Vec<String> {
        let started = &self.started.settings;
        let of_sections = loaded.settings.iter().filter(|setting| !setting.name.starts_with('['));
        of_sections
            .filter(|new| !RELOADED.iter().any(|reloaded| new.name.starts_with(reloaded)))
            .filter_map(|new| {
                let old = started.iter().find(|old| old.name == new.name && old.shown != new.shown)?;
                let (name, was, is) = (&new.name, &old.shown, &new.shown);
                Some(format!("{name} was changed from {was} to {is} ({}): restart for that", new.origin))
            })
            .collect()
    }
}
