//! Message sizes of the real protocols, for the floor measurement: raw TCP, no WebSocket, no JSON, but as many bytes.
//!
//! Runs in: anywhere: constants. Owns nothing. Never used by the relay.
//! Invariant: every message has room for the 32 bytes of head that travel from the generator through the null relay
//! to the simulator and back.

/// Wire bytes of one 20 ms frame at 16 kHz from the switch: masked binary frame, 640 bytes of samples.
pub const UPLINK_LEG_BYTES: usize = 648;
/// Wire bytes of one 20 ms frame at 16 kHz to the switch: unmasked binary frame, 640 bytes of samples.
pub const DOWNLINK_LEG_BYTES: usize = 644;
/// Wire bytes of one 20 ms `realtimeInput` at 16 kHz to the model.
pub const UPLINK_LINK_BYTES: usize = 950;
/// Wire bytes of one 20 ms `modelTurn` at 24 kHz from the model.
pub const DOWNLINK_LINK_BYTES: usize = 1450;
