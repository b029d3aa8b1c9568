//! End to end: the real binary on a free loopback port, the Gemini simulator and the call generator in this process.
//!
//! Runs in: `cargo test --test e2e`. Owns nothing: each test starts and ends its own relay and simulator.
//! Never leaves 127.0.0.1, waits by deadline and not by sleeping, and never tries a failed thing again.
//! Invariant: what is asserted are counts, order, bytes and words; a time only where it is the point, and then with the
//! machine's own lateness allowed for.
//!
//! One binary, so that the harness is compiled once and the tests that measure can ask the others to wait
//! ([`harness::alone`]).

mod agents;
mod asterisk_dialplan;
mod audiosocket;
mod barge_in;
mod bench;
mod calls;
mod captures;
mod chan_websocket;
mod chan_websocket_incoming;
mod control;
mod credentials;
mod doctor;
mod doors;
mod drain;
mod file_playback;
mod haproxy;
mod harness;
mod identical;
mod killed;
mod lifecycle;
mod line;
mod outbound;
mod passed;
mod proxy;
mod reattach;
mod recordings;
mod records;
mod scripts;
mod sessions;
mod starved;
mod supervisor;
mod telephone;
mod tls;
mod tools;
mod turns;
