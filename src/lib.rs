//! Tandem: a voice media relay. A telephone switch opens one socket per call; Tandem answers it with a speaking AI,
//! Google's Gemini Live API.
//!
//! Runs in: each module says where, in the second paragraph of its head.
//!
//! # Floors: a floor imports only floors below it
//!
//! | floor | modules | |
//! | --- | --- | --- |
//! | 7 | [`doctor`] | looks at everything between the switch and Gemini, beside the running relay |
//! | 6 | [`server`], [`cli`] | builds rings and channels, starts the threads, drains, joins |
//! | 5 | [`threads`] | one folder or file a thread: accept, telephony, dsp, gemini, dial, keeper, tools, control, esl, recorder, store, admin |
//! | 4 | [`agents`] | who answers: agents and routes made of the configuration, with their sounds |
//! | 4 | [`net`] | sockets: streams, TLS, WebSockets, the listener, dialling |
//! | 3 | [`admission`] | who may call, as which call, and with which credential; what threads share of it |
//! | 3 | [`call`] | a call as a machine without I/O: facts and a time in, orders and a deadline out |
//! | 2 | [`codec`], [`dsp`], [`sync`], [`config`], [`telemetry`] | bytes ↔ messages, samples ↔ samples, what threads share |
//! | 1 | [`call::model`], [`call::leg`] | what a call knows of a model and of a leg, whoever they are: the two seams |
//! | 0 | [`base`] | units, ids, limits, the audio frame |
//!
//! # Threads and the way of the audio
//!
//! ```text
//!  switch ══ telephony ──[caller_in]──▶ dsp ──[model_out]──▶ gemini ══ Gemini Live
//!  switch ══ telephony ◀─[caller_out]── dsp ◀──[model_in]─── gemini ══ Gemini Live
//!                  └───────── facts ──▶ control ◀── facts ──────┘
//!                  ◀──────── orders ───    │    ─── orders ─────▶
//! ```
//!
//! The four arrows in the middle are single-producer single-consumer rings of [`base::Frame`], one set a call
//! ([`sync::rings`]). Everything else crosses threads as messages ([`threads::messages`]) through mailboxes with a
//! doorbell ([`mod@sync::mailbox`], [`sync::doorbell`]).
//!
//! Where to find a behaviour: what each switch speaks in [`threads::telephony::wire`]; pacing and barge-in in [`dsp::playout`]; holes in the caller's stream in [`dsp::uplink`];
//! speech that waits in [`threads::gemini::speech`]; who may call in [`threads::accept`] and [`admission::Registry`], and with
//! which key in [`admission::credentials`]; how a call lives and ends in [`call::machine`]; how its session outlives a link in
//! [`call::session`]; what may be asked of a switch in [`base::command`], and by which way it goes in
//! [`call::commands`].

pub mod admission;
pub mod agents;
pub mod base;
pub mod call;
pub mod cli;
pub mod codec;
pub mod config;
pub mod doctor;
pub mod dsp;
pub mod net;
pub mod server;
pub mod sync;
pub mod telemetry;
pub mod threads;
