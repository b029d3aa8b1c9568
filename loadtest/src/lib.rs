//! Load-test tools of Tandem: the Gemini Live simulator ([`sim`]), the call generator ([`callgen`]) and the null
//! relay ([`null_relay`]).
//!
//! Runs in: the three binaries of this package, and tests of the relay, which start the simulator and the generator
//! inside their own process. Never used by the relay itself.

pub mod callgen;
pub mod density;
pub mod floor;
pub mod null_relay;
pub mod sim;
pub mod speech;
