//! Load-test tools of Tandem: the Gemini Live simulator ([`sim`]), the call generator ([`callgen`]), the null relay
//! ([`null_relay`]), and what is built of them: the density measurement ([`density`]), the legs beside each other
//! ([`legs`]), the soak ([`soak`]), what becomes of calls when the Gemini side goes wrong ([`faults`]), and the demonstration ([`demo`]).
//!
//! Runs in: the binaries of this package, and tests of the relay, which start the simulator and the generator inside
//! their own process. Never used by the relay itself.

pub mod callgen;
pub mod demo;
pub mod density;
pub mod faults;
pub mod floor;
pub mod legs;
pub mod null_relay;
pub mod processes;
pub mod sim;
pub mod soak;
pub mod speech;
pub mod websocket;
