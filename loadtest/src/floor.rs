//! Message sizes of the floor: how many bytes each of the four messages of a 20 ms frame pair has in the real
//! protocols at 16 kHz.
//!
//! Runs in: anywhere: pure. Owns nothing. Never touches a socket; the null relay, `callgen --floor` and
//! `gemini-sim --floor` all take their sizes from here, so that they move exactly as many bytes as the relay does.
//! Invariant: each constant equals the length of the real message, built byte by byte in the tests below.

/// Head of a floor message that is carried through unchanged: sequence number (u64 LE), send time (u64 LE,
/// monotonic ns), call number (u64 LE), magic (u64 LE). The rest is filler.
pub const HEAD_BYTES: usize = 32;

/// Samples of one 20 ms frame at 16 kHz, mono.
const LEG_SAMPLES: usize = 320;
/// Samples of one 20 ms frame at 24 kHz, mono: what the model speaks.
const MODEL_SAMPLES: usize = 480;
/// Bytes of a linear 16 bit sample.
const SAMPLE_BYTES: usize = 2;
/// RFC 6455 section 5.2: two bytes, then two more of length for payloads of 126 to 65,535 bytes.
const WS_HEADER_BYTES: usize = 4;
/// RFC 6455 section 5.3: the mask key of a client's frame.
const WS_MASK_BYTES: usize = 4;

/// What stands before the base64 text in the realtime input message.
const UPLINK_PREFIX: &str = r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":""#;
/// What stands behind it.
const UPLINK_SUFFIX: &str = r#""}}}"#;
/// What stands before the base64 text in the simulator's echo message.
const DOWNLINK_PREFIX: &str = concat!(
    r#"{"serverContent":{"modelTurn":{"role":"model","parts":[{"inlineData":"#,
    r#"{"mimeType":"audio/pcm;rate=24000","data":""#
);
/// What stands behind it.
const DOWNLINK_SUFFIX: &str = r#""}}]}}}"#;

/// Characters of the padded base64 text (RFC 4648 section 4) of `bytes` bytes.
const fn base64_chars(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Switch to relay: a masked binary frame of 320 samples.
/// 2 (opcode, length 126) + 2 (length) + 4 (mask key) + 640 (samples) = 648.
pub const UPLINK_LEG_BYTES: usize = WS_HEADER_BYTES + WS_MASK_BYTES + LEG_SAMPLES * SAMPLE_BYTES;

/// Relay to switch: an unmasked binary frame of 320 samples. 2 + 2 + 640 = 644.
pub const DOWNLINK_LEG_BYTES: usize = WS_HEADER_BYTES + LEG_SAMPLES * SAMPLE_BYTES;

/// Relay to model: a masked text frame of
/// `{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"<base64 of 640 bytes>"}}}`.
/// 2 + 2 + 4 (mask key) + 69 (prefix) + 856 (base64) + 4 (suffix) = 937.
pub const UPLINK_LINK_BYTES: usize = WS_HEADER_BYTES
    + WS_MASK_BYTES
    + UPLINK_PREFIX.len()
    + base64_chars(LEG_SAMPLES * SAMPLE_BYTES)
    + UPLINK_SUFFIX.len();

/// Model to relay: an unmasked binary frame of the simulator's echo message
/// `{"serverContent":{"modelTurn":{"role":"model","parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"<base64 of 960 bytes>"}}]}}}`.
/// 2 + 2 + 112 (prefix) + 1280 (base64) + 7 (suffix) = 1403.
pub const DOWNLINK_LINK_BYTES: usize = WS_HEADER_BYTES
    + DOWNLINK_PREFIX.len()
    + base64_chars(MODEL_SAMPLES * SAMPLE_BYTES)
    + DOWNLINK_SUFFIX.len();

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocket};

    /// Bytes that tungstenite, an implementation that is not ours, puts on the wire for `message`.
    fn wire_bytes(role: Role, message: Message) -> usize {
        #[derive(Debug, Default)]
        struct Sink(Vec<u8>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        impl std::io::Read for Sink {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::WouldBlock.into())
            }
        }
        let mut socket = WebSocket::from_raw_socket(Sink::default(), role, None);
        socket.send(message).expect("a sink takes everything");
        socket.get_ref().0.len()
    }

    #[test]
    fn leg_sizes_are_those_of_real_frames() {
        let pcm = vec![0x55u8; 640];
        assert_eq!(wire_bytes(Role::Client, Message::binary(pcm.clone())), UPLINK_LEG_BYTES);
        assert_eq!(wire_bytes(Role::Server, Message::binary(pcm)), DOWNLINK_LEG_BYTES);
        assert_eq!((UPLINK_LEG_BYTES, DOWNLINK_LEG_BYTES), (648, 644));
    }

    #[test]
    fn link_sizes_are_those_of_real_messages() {
        let up = STANDARD.encode(vec![0x55u8; 640]);
        let up =
            json!({"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": up}}}).to_string();
        assert_eq!(wire_bytes(Role::Client, Message::text(up)), UPLINK_LINK_BYTES);

        let down = STANDARD.encode(vec![0x55u8; 960]);
        let blob = json!({"mimeType": "audio/pcm;rate=24000", "data": down});
        let turn = json!({"role": "model", "parts": [{"inlineData": blob}]});
        let down = json!({"serverContent": {"modelTurn": turn}}).to_string();
        assert_eq!(wire_bytes(Role::Server, Message::binary(down.into_bytes())), DOWNLINK_LINK_BYTES);
        assert_eq!((UPLINK_LINK_BYTES, DOWNLINK_LINK_BYTES), (937, 1403));
    }
}
