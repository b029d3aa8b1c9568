//! What HAProxy's agent-check is told: what share of new calls this relay should get, or none.
//!
//! Runs in: the admin thread. Owns nothing. Never reads what a peer sends, or keeps a connection.
//! Invariant: a relay that takes no new calls is given none, while those that it has may come back to it, unless it sends them
//! away; and no word of ours undoes what an operator has told HAProxy (ready, drain and maint are theirs).

use std::net::{self, SocketAddr};

use log::{debug, info};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::health::Readiness;
use super::serve::ACCEPT_PAUSE;
use crate::net::listener::listening;
use crate::threads::relay::Relay;

/// Listens, where that is asked for; nothing is answered yet.
///
/// # Errors
/// Why it cannot, with the remedy.
pub(crate) fn listen(wanted: Option<SocketAddr>) -> Result<Option<net::TcpListener>, String> {
    let Some(wanted) = wanted else { return Ok(None) };
    let cannot = |problem| {
        format!(
            "nobody can listen for HAProxy's agent-check on {wanted}: {problem}; set admin.haproxy_agent_listen to a free address and port"
        )
    };
    let listener = listening(wanted, None).map_err(cannot)?;
    info!("agent-check for HAProxy: {}", listener.local_addr().map_err(cannot)?);
    Ok(Some(listener))
}

/// Answers whoever connects.
pub(super) async fn serve(relay: Relay, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((mut socket, peer)) => {
                let answer = answer(&Readiness::of(&relay));
                // A few bytes, which an empty socket takes at once or never.
                let told = timeout(ACCEPT_PAUSE, socket.write_all(answer.as_bytes())).await;
                if !matches!(told, Ok(Ok(()))) {
                    debug!("agent-check: {peer} took no answer");
                }
            }
            Err(problem) => {
                debug!("agent-check: no connection can be accepted: {problem}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// As HAProxy reads it (its configuration manual, agent-check). A share of 0 % leaves the relay the calls that are bound to it:
/// a lost leg comes back. Down does not, so that those that are sent away reach another one.
fn answer(state: &Readiness) -> String {
    match state.hindrance() {
        Some(word) if state.moving => format!("down #{word}\n"),
        Some(word) => format!("up 0% #{word}\n"),
        None => format!("up {}%\n", (state.free * 100 / (state.free + state.calls).max(1)).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admission::Registry;
    use crate::admission::allowances::Rate;
    use crate::config::Config;

    fn relay() -> Relay {
        let registry = Registry::new(100, Rate { per_second: 100, burst: 100 });
        let relay = Relay::new(&Config::default()).expect("a relay");
        let relay = Relay { registry: Arc::new(registry), ..relay };
        relay.counters.headroom.set(30);
        relay
    }

    #[test]
    fn the_share_is_what_is_free_of_what_the_relay_carries() {
        let relay = relay();
        let told = || answer(&Readiness::of(&relay));
        assert_eq!(told(), "up 100%\n");
        let admit = || relay.registry.admit(relay.clock.now(), [127, 0, 0, 1].into()).expect("room");
        for _ in 0..10 {
            admit();
        }
        assert_eq!(told(), "up 75%\n");
        relay.counters.headroom.set(0);
        assert_eq!(told(), "up 1%\n", "the relay itself says when it is too much");
        relay.registry.set_overloaded(true);
        assert_eq!(told(), "up 0% #overloaded\n");
    }

    #[test]
    fn a_relay_that_drains_gets_no_new_calls_and_one_that_moves_them_gets_none_at_all() {
        let relay = relay();
        relay.registry.drain(false);
        assert_eq!(answer(&Readiness::of(&relay)), "up 0% #draining\n");
        relay.registry.drain(true);
        assert_eq!(answer(&Readiness::of(&relay)), "down #moving\n");
        relay.registry.resume();
        assert_eq!(answer(&Readiness::of(&relay)), "up 100%\n");
    }
}
