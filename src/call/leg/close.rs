//! The close of a leg: the codes that the module understands, with a reason that fits.
//!
//! Runs in: the telephony thread, once per call; pure. Owns nothing.
//! Never makes a code that libwsc answers with 1002: 1004 to 1006, 1012 to 1014, 1016 to 2999, 5000 and up.
//! Invariant: a reason has at most 123 bytes of whole characters, none of them a control character.

use crate::base::excerpt::{CLOSE_REASON_BYTES_MAX, is_loggable, truncated};

/// FIN and the opcode of a close.
const FINAL_CLOSE_FRAME: u8 = 0x88;

/// A close code (RFC 6455 section 7.4.1) that every build of the module echoes and reports unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegCloseCode {
    /// 1000: the call is over.
    Normal,
    /// 1001: the relay goes: connect again, to another one if there is one.
    GoingAway,
    /// 1002: the peer broke the protocol.
    ProtocolError,
    /// 1003: a kind of message that we cannot use.
    UnsupportedData,
    /// 1008: refused, or given up: the relay's last word.
    PolicyViolation,
    /// 1009: a message too long.
    MessageTooBig,
    /// 1010: an extension is missing.
    MandatoryExtension,
    /// 1011: our fault.
    InternalError,
}

impl LegCloseCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::UnsupportedData => 1003,
            Self::PolicyViolation => 1008,
            Self::MessageTooBig => 1009,
            Self::MandatoryExtension => 1010,
            Self::InternalError => 1011,
        }
    }

    /// Whether it is the relay's last word on the call, so that the same request would get the same answer: the script
    /// beside the switch sends the caller elsewhere at once. `tandem.final_closes` in tandem.lua is the same list, and
    /// docs/control.md tells of it.
    pub const fn is_final(self) -> bool {
        match self {
            Self::UnsupportedData
            | Self::PolicyViolation
            | Self::MessageTooBig
            | Self::MandatoryExtension => true,
            // 1002 is also what the module makes of a code that it does not know, such as a proxy's 1012.
            Self::Normal | Self::GoingAway | Self::ProtocolError | Self::InternalError => false,
        }
    }
}

/// A close to send: code and reason. The reason reaches the script in the module's `disconnect` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegClose {
    code: LegCloseCode,
    reason: String,
}

impl LegClose {
    /// A close with `reason` cut to what a close frame can hold; control characters are left out.
    pub fn new(code: LegCloseCode, reason: &str) -> Self {
        let printable: String =
            reason.chars().filter(|&one| is_loggable(one)).take(CLOSE_REASON_BYTES_MAX).collect();
        Self { code, reason: truncated(&printable, CLOSE_REASON_BYTES_MAX).to_owned() }
    }

    /// The frame that says it, as a server sends it (RFC 6455 section 5.5.1): for a connection that has no other use.
    pub fn frame(&self) -> Vec<u8> {
        let payload = [&self.code.code().to_be_bytes(), self.reason.as_bytes()].concat();
        // At most 125 bytes, by the limit of the reason.
        [&[FINAL_CLOSE_FRAME, payload.len() as u8], payload.as_slice()].concat()
    }

    /// The code.
    pub const fn code(&self) -> LegCloseCode {
        self.code
    }

    /// The reason, at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LegCloseCode; 8] = [
        LegCloseCode::Normal,
        LegCloseCode::GoingAway,
        LegCloseCode::ProtocolError,
        LegCloseCode::UnsupportedData,
        LegCloseCode::PolicyViolation,
        LegCloseCode::MessageTooBig,
        LegCloseCode::MandatoryExtension,
        LegCloseCode::InternalError,
    ];

    #[test]
    fn only_codes_that_the_module_understands_exist() {
        for code in ALL.map(LegCloseCode::code) {
            assert!(matches!(code, 1000..=1003 | 1007..=1011), "{code}");
        }
    }

    #[test]
    fn the_script_takes_for_final_what_is_final() {
        let script = include_str!("../../../deploy/freeswitch/scripts/tandem.lua");
        let (_, list) = script.split_once("tandem.final_closes = {").expect("the list");
        let listed: Vec<u16> = list
            .split('}')
            .next()
            .unwrap_or_default()
            .split(',')
            .map(|entry| entry.trim().trim_start_matches('[').split(']').next().unwrap_or_default())
            .map(|code| code.parse().expect("a code"))
            .collect();
        let own: Vec<u16> = ALL.into_iter().filter(|code| code.is_final()).map(LegCloseCode::code).collect();
        assert_eq!(listed, own);
    }

    #[test]
    fn a_close_is_one_short_frame() {
        let close = LegClose::new(LegCloseCode::PolicyViolation, "closed today");
        assert_eq!(close.frame(), b"\x88\x0e\x03\xf0closed today");
        assert_eq!(LegClose::new(LegCloseCode::PolicyViolation, &"x".repeat(500)).frame().len(), 127);
    }

    #[test]
    fn a_reason_fits_a_close_frame_in_whole_characters() {
        let close = LegClose::new(LegCloseCode::PolicyViolation, &"ž".repeat(1000));
        assert_eq!((close.reason().len(), close.code().code()), (122, 1008));
        let close = LegClose::new(LegCloseCode::Normal, "model\r\n failed");
        assert_eq!(close.reason(), "model failed");
    }
}
