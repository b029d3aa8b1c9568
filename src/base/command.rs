//! Call control: what may be asked of a switch, in one vocabulary for every way out, and only with checked values.
//!
//! Runs in: anywhere: pure. Owns the character sets. Never speaks a wire format: codecs and threads write what is here.
//! Invariant: a value in hand holds only characters of its set, none of which Lua, JSON, the event socket, a dial plan or
//! a dial string interprets: no `$`, brace, quote, backslash, line end, NUL, and no comma but in a variable's value.

use std::fmt;

use thiserror::Error;

use crate::base::words;

use uuid::Builder;

/// Longest cause of a hang-up, in bytes; FreeSWITCH's longest has 31.
pub const CAUSE_BYTES_MAX: usize = 40;
/// Longest destination, in bytes: E.164 has 16, SIP users and addresses are longer.
pub const DESTINATION_BYTES_MAX: usize = 64;
/// Longest name of a dialplan, a context or a variable, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest value of a variable, in bytes.
pub const VALUE_BYTES_MAX: usize = 256;
/// Most digits of one order.
pub const DIGITS_MAX: usize = 32;
/// Longest name of a channel at the switch, in bytes. A UUID has 36.
pub const CHANNEL_BYTES_MAX: usize = 64;
/// Names of variables that begin so may be set without being on the allow-list.
pub const OWN_VARIABLE_PREFIX: &str = "tandem_";
/// Those of them that steer our scripts, and that nobody may set: the same as in `deploy/freeswitch/scripts/tandem.lua`.
const SCRIPT_VARIABLES: &[&str] = &[
    "tandem_script",
    "tandem_playback",
    "tandem_stream",
    "tandem_agent",
    "tandem_token",
    "tandem_fell_back",
];

/// Why a text cannot be the value it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// Nothing is there.
    #[error("the {what} may not be empty")]
    Empty {
        /// What it was meant to be.
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("the {what} is longer than {bytes_max} bytes")]
    TooLong {
        /// What it was meant to be.
        what: &'static str,
        /// How many are allowed.
        bytes_max: usize,
    },
    /// A character outside the set.
    #[error("the {what} holds {found:?}; allowed are {allowed}")]
    Character {
        /// What it was meant to be.
        what: &'static str,
        /// The first such character.
        found: char,
        /// The set, in words.
        allowed: &'static str,
    },
    /// Right characters, and yet something that a switch would take for more than a value.
    #[error("the {what} {problem}")]
    Meaning {
        /// What it was meant to be.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The character set of one kind of value.
struct Set {
    what: &'static str,
    bytes_min: usize,
    bytes_max: usize,
    allowed: &'static str,
    fits: fn(u8) -> bool,
}

impl Set {
    fn check(&self, text: &str) -> Result<Box<str>, Unfit> {
        let what = self.what;
        if text.len() < self.bytes_min {
            return Err(Unfit::Empty { what });
        }
        if text.len() > self.bytes_max {
            return Err(Unfit::TooLong { what, bytes_max: self.bytes_max });
        }
        let fits = |character: char| u8::try_from(character).is_ok_and(self.fits);
        match text.chars().find(|&character| !fits(character)) {
            Some(found) => Err(Unfit::Character { what, found, allowed: self.allowed }),
            None => Ok(text.into()),
        }
    }
}

/// Types around a text that only their constructor makes: of a set, and none that is wrong otherwise.
macro_rules! checked {
    ($($(#[$doc:meta])* $name:ident = $set:expr $(, $is_wrong:expr => $problem:literal)?;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The value, if `text` is one.
            ///
            /// # Errors
            /// What is wrong with it, in a sentence for an operator.
            pub fn new(text: &str) -> Result<Self, Unfit> {
                let checked = $set.check(text)?;
                $(
                    let is_wrong: fn(&str) -> bool = $is_wrong;
                    if is_wrong(text) {
                        return Err(Unfit::Meaning { what: $set.what, problem: $problem });
                    }
                )?
                Ok(Self(checked))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

checked! {
    /// Why a call is hung up, by the name that FreeSWITCH gives the Q.850 cause: `NORMAL_CLEARING`, `USER_BUSY`.
    HangUpCause = Set {
        what: "cause",
        bytes_min: 1,
        bytes_max: CAUSE_BYTES_MAX,
        allowed: "A-Z and _, as in NORMAL_CLEARING",
        fits: |byte| byte.is_ascii_uppercase() || byte == b'_',
    };

    /// Where a call is transferred to, or which number is called: an extension, a number, a SIP user or address.
    Destination = Set {
        what: "destination",
        bytes_min: 1,
        bytes_max: DESTINATION_BYTES_MAX,
        allowed: "A-Z a-z 0-9 + * # _ . @ -",
        fits: |byte| byte.is_ascii_alphanumeric() || b"+*#_.@-".contains(&byte),
    // uuid_transfer would read -bleg and -both as options.
    }, |text| text.starts_with('-') => "begins with - and could be taken for an option";

    /// The name of a dialplan.
    Dialplan = name_set("dialplan"),
    // inline executes the destination as applications; of others nobody knows what they make of it.
    |text| !text.eq_ignore_ascii_case("XML") => "may be XML only: others may execute the destination";

    /// The name of a context of the dialplan.
    Context = name_set("context");

    /// The name of an agent where it goes to a switch, as for an outbound call.
    AgentName = name_set("agent");

    /// The name of a channel variable. Whether it may be set is for [`VariableName::is_allowed_by`] to say.
    VariableName = name_set("variable name");

    /// The value of a channel variable; empty unsets it. It may hold commas, so that it must not stand in a dial string.
    VariableValue = Set {
        what: "value",
        bytes_min: 0,
        bytes_max: VALUE_BYTES_MAX,
        allowed: "A-Z a-z 0-9, space and _ . , : ; + @ / -",
        fits: |byte| byte.is_ascii_alphanumeric() || b" _.,:;+@/-".contains(&byte),
    };

    /// Tones to be sent to the other side: digits, `A` to `D`, `*`, `#`, and `w` and `W` for a pause.
    Digits = Set {
        what: "digits",
        bytes_min: 1,
        bytes_max: DIGITS_MAX,
        allowed: "0-9 A-D * # and w W for a pause",
        fits: |byte| byte.is_ascii_digit() || b"ABCD*#wW".contains(&byte),
    };

    /// The switch's own name for a call's channel, its UUID, as event socket commands name it.
    ChannelName = Set {
        what: "call's UUID",
        bytes_min: 1,
        bytes_max: CHANNEL_BYTES_MAX,
        allowed: "A-Z a-z 0-9 - _ . @ : + ~ =",
        fits: |byte| byte.is_ascii_alphanumeric() || b"-_.@:+~=".contains(&byte),
    }, |text| !text.starts_with(|first: char| first.is_ascii_alphanumeric()) => "does not begin with a letter or digit";

    /// Asterisk's name for a WebSocket that it waits for, `MEDIA_WEBSOCKET_CONNECTION_ID`: the last part of a URL's path,
    /// which it can neither leave nor go beyond.
    ConnectionId = name_set("connection_id");
}

impl HangUpCause {
    /// What is said where nobody said more.
    pub fn normal_clearing() -> Self {
        Self("NORMAL_CLEARING".into())
    }

    /// What a call is hung up with that could not go on, as by our script.
    pub fn temporary_failure() -> Self {
        Self("NORMAL_TEMPORARY_FAILURE".into())
    }
}

impl VariableName {
    /// Whether it is one of ours (`tandem_…`) or on the operator's list, and none that steers our scripts.
    pub fn is_allowed_by(&self, list: &[Self]) -> bool {
        let steers = SCRIPT_VARIABLES.contains(&self.as_str());
        !steers && (self.0.starts_with(OWN_VARIABLE_PREFIX) || list.contains(self))
    }
}

impl ChannelName {
    /// A UUID of version 4 out of 128 random bits (RFC 9562 section 5.4).
    pub fn random(bits: u128) -> Self {
        Self(Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string().into())
    }
}

const fn name_set(what: &'static str) -> Set {
    Set {
        what,
        bytes_min: 1,
        bytes_max: NAME_BYTES_MAX,
        allowed: "A-Z a-z 0-9 _ -",
        fits: |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte),
    }
}

/// Where a call is transferred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The extension or number.
    pub to: Destination,
    /// The dialplan, if not the channel's own.
    pub dialplan: Option<Dialplan>,
    /// The context, if not the channel's own.
    pub context: Option<Context>,
}

/// Something that is asked of the switch about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// End the call.
    HangUp(HangUpCause),
    /// Send the caller elsewhere and let go (a blind transfer).
    Transfer(Transfer),
    /// Send tones to the other side.
    Dtmf(Digits),
    /// Stop what the switch is playing.
    Break,
    /// Set a variable of the channel.
    SetVariable(VariableName, VariableValue),
}

words! {
    /// A command without its values.
    pub enum CommandKind {
        /// [`Command::HangUp`].
        HangUp = "hangup",
        /// [`Command::Transfer`].
        Transfer = "transfer",
        /// [`Command::Dtmf`].
        Dtmf = "dtmf",
        /// [`Command::Break`].
        Break = "break",
        /// [`Command::SetVariable`].
        SetVariable = "variable",
    }
}

impl CommandKind {
    /// Whether the call is over for us once it is carried out.
    pub const fn ends_the_call(self) -> bool {
        matches!(self, Self::HangUp | Self::Transfer)
    }
}

impl Command {
    /// Which command it is.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::HangUp(_) => CommandKind::HangUp,
            Self::Transfer(_) => CommandKind::Transfer,
            Self::Dtmf(_) => CommandKind::Dtmf,
            Self::Break => CommandKind::Break,
            Self::SetVariable(..) => CommandKind::SetVariable,
        }
    }
}

impl fmt::Display for Command {
    /// For the log. Digits are only counted: they may be somebody's secret number; so may a variable's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().label())?;
        match self {
            Self::HangUp(cause) => write!(f, " {cause}"),
            Self::Transfer(transfer) => write!(f, " to {}", transfer.to),
            Self::Dtmf(digits) => write!(f, " of {} digits", digits.as_str().len()),
            Self::Break => Ok(()),
            Self::SetVariable(name, _) => write!(f, " {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Check = fn(&str) -> Result<String, Unfit>;

    /// Every kind of value with its constructor.
    const CHECKS: [(&str, Check); 8] = [
        ("cause", |text| HangUpCause::new(text).map(|value| value.to_string())),
        ("destination", |text| Destination::new(text).map(|value| value.to_string())),
        ("dialplan", |text| Dialplan::new(text).map(|value| value.to_string())),
        ("context", |text| Context::new(text).map(|value| value.to_string())),
        ("variable", |text| VariableName::new(text).map(|value| value.to_string())),
        ("value", |text| VariableValue::new(text).map(|value| value.to_string())),
        ("digits", |text| Digits::new(text).map(|value| value.to_string())),
        ("channel", |text| ChannelName::new(text).map(|value| value.to_string())),
    ];

    /// What one of Lua, JSON, the event socket, a shell, a dial plan or a dial string reads as more than itself.
    const INTERPRETED: &str = "${}\"'\\`|&<>()[]^%!?";

    /// What somebody who wants to be more than a value would send. `%` begins an escape in URLs, `^^` another separator in
    /// dial strings, `|` and `&` a second one; the rest ends a string, a line or a command somewhere on the way.
    const HOSTILE: &[&str] = &[
        "${system(reboot)}",
        "$${password}",
        "$1",
        "a}b",
        "{origination_caller_id_number=1}2000",
        "[leg_timeout=1]2000",
        "<a=b>2000",
        "2000\nbgapi system reboot",
        "2000\r\n\r\napi shutdown",
        "2000\0",
        "\"",
        "'2000'",
        "a\\nb",
        "`reboot`",
        "2000|3000",
        "2000&hangup",
        "2000^^;x",
        "a%0Ab",
        "a=b\tc",
        "2000!",
        "(reboot)",
        "a?b",
        "２０００",
        "2000\u{202E}",
        "2000\u{2028}",
        "ž",
        "\u{7f}",
        "\u{1b}[31m",
        "😀",
    ];

    #[test]
    fn hostile_texts_are_refused_everywhere() {
        for (what, check) in CHECKS {
            for text in HOSTILE {
                assert!(check(text).is_err(), "{what}: {text:?}");
            }
        }
    }

    #[test]
    fn names_destinations_and_causes_take_neither_comma_nor_space() {
        for (what, check) in CHECKS.iter().filter(|(what, _)| *what != "value") {
            for text in ["2000,3000", "2000 XML default", " ", "a/b", "a;b"] {
                assert!(check(text).is_err(), "{what}: {text:?}");
            }
        }
        assert!(VariableValue::new("Tue 9:30, room 4; see a/b").is_ok());
    }

    #[test]
    fn what_operators_use_is_taken() {
        for (position, texts) in [
            (0, &["NORMAL_CLEARING", "USER_BUSY", "NORMAL_TEMPORARY_FAILURE"][..]),
            (1, &["2000", "+420123456789", "*97", "#1", "support", "sales@example.com", "a.b-c_d"]),
            (2, &["XML", "xml"]),
            (3, &["default", "public", "ivr-main"]),
            (4, &["tandem_result", "sip_h_X-Result"]),
            (5, &["", "booked", "2026-11-22 18:00, +420 123"]),
            (6, &["1", "123#", "*0#", "1w2W3", "ABCD"]),
            (7, &["8c1d9a52-6a1c-4a7f-9d7d-2f4f4f4f4f4f", "a84b4c76e66710@pc33.example.com"]),
        ] {
            for text in texts {
                assert_eq!(CHECKS[position].1(text).as_deref(), Ok(*text), "{}", CHECKS[position].0);
            }
        }
    }

    #[test]
    fn a_value_has_a_length() {
        assert!(Dialplan::new("XML").is_ok(), "the only one");
        for (what, check) in CHECKS.into_iter().filter(|(what, _)| *what != "dialplan") {
            let (letter, bytes_max) = match what {
                "cause" => ("A", CAUSE_BYTES_MAX),
                "value" => ("A", VALUE_BYTES_MAX),
                "digits" => ("1", DIGITS_MAX),
                _ => ("a", 64),
            };
            assert!(check(&letter.repeat(bytes_max)).is_ok(), "{what}");
            assert!(matches!(check(&letter.repeat(bytes_max + 1)), Err(Unfit::TooLong { .. })), "{what}");
            assert_eq!(check("").is_ok(), what == "value", "{what}");
        }
    }

    #[test]
    fn options_and_the_dialplan_that_executes_are_refused() {
        assert!(Destination::new("-both").is_err());
        for executes in ["inline", "INLINE", "Inline", "lua", "LUA", "enum", "asterisk", "XMLX"] {
            assert!(Dialplan::new(executes).is_err(), "{executes}");
        }
        assert!(ChannelName::new("-a").is_err());
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_would_be_right() {
        let message = Destination::new("20\n00").unwrap_err().to_string();
        assert_eq!(message, r"the destination holds '\n'; allowed are A-Z a-z 0-9 + * # _ . @ -");
        assert_eq!(Digits::new("").unwrap_err().to_string(), "the digits may not be empty");
    }

    #[test]
    fn only_own_and_listed_variables_are_allowed() {
        let name = |text| VariableName::new(text).expect("a name");
        let list = [name("hold_music")];
        assert!(name("tandem_result").is_allowed_by(&list));
        assert!(name("hold_music").is_allowed_by(&list));
        let steering: Vec<_> = SCRIPT_VARIABLES.iter().map(|text| name(text)).collect();
        assert!(
            steering.iter().all(|variable| !variable.is_allowed_by(&steering)),
            "not even if they are listed"
        );
        for other in ["Tandem_result", "hold_musi", "hold_music2", "api_hangup_hook", "xtandem_a"] {
            assert!(!name(other).is_allowed_by(&list), "{other}");
        }
    }

    #[test]
    fn what_our_script_refuses_to_set_is_refused_here_too() {
        let script = include_str!("../../deploy/freeswitch/scripts/tandem.lua");
        let (_, table) = script.split_once("local OWN_VARIABLES = {").expect("the table of the script");
        let (table, _) = table.split_once('}').expect("its end");
        let names: Vec<_> =
            table.split(',').filter_map(|entry| entry.trim().strip_suffix(" = true")).collect();
        assert_eq!(names, SCRIPT_VARIABLES);
    }

    #[test]
    fn a_random_channel_is_a_uuid_of_version_4() {
        for (bits, text) in [
            (0, "00000000-0000-4000-8000-000000000000"),
            (u128::MAX, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
            (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, "01234567-89ab-4def-8123-456789abcdef"),
        ] {
            assert_eq!(ChannelName::random(bits).as_str(), text);
            assert!(ChannelName::new(text).is_ok());
        }
    }

    #[test]
    fn the_log_shows_neither_digits_nor_values() {
        let digits = Command::Dtmf(Digits::new("4711").expect("digits"));
        assert_eq!(digits.to_string(), "dtmf of 4 digits");
        let value = VariableValue::new("secret").expect("a value");
        let name = VariableName::new("tandem_pin").expect("a name");
        assert_eq!(Command::SetVariable(name, value).to_string(), "variable tandem_pin");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_holds_nothing_that_anything_interprets(text in "\\PC{0,40}|[ -~\\x00-\\x1f]{0,40}") {
            for (what, check) in CHECKS {
                if let Ok(taken) = check(&text) {
                    prop_assert_eq!(&taken, &text);
                    prop_assert!(taken.is_ascii());
                    prop_assert!(!taken.contains(|c: char| c.is_ascii_control() || INTERPRETED.contains(c)));
                    prop_assert!(what == "value" || !taken.contains([',', ' ', ';', '/']));
                }
            }
        }
    }
}
