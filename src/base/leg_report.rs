//! What a switch reports of a call besides its audio, whatever its wire format.
//!
//! Runs in: anywhere: pure; made by the telephony thread, acted upon by control. Owns nothing but the reason of a failure.
//! Never carries text that a peer chose freely: every character was checked where the report was read.
//! Invariant: a report means the same on every leg; what a leg cannot report never comes from it.

use crate::base::Turn;

/// Longest reason of [`LegReport::Failed`], in bytes.
pub(crate) const WHY_BYTES_MAX: usize = 64;

/// Something that the switch, or our script in it, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegReport {
    /// Our script is there: it carries out commands, and reports.
    Hello {
        /// Which version of the vocabulary it speaks; 1 is the first.
        version: u32,
    },
    /// The switch plays this turn to the caller.
    Playing(Turn),
    /// The caller hears nothing, and the switch says why.
    Unplayed(Unplayed),
    /// The caller heard silence where speech came too late for the switch's player: so many times, so many milliseconds,
    /// since the last such report.
    Gaps {
        /// Times.
        late: u32,
        /// Milliseconds of silence in them.
        ms: u32,
    },
    /// The caller cannot be hearing anything: audio was sent for file playback to a script that is there, and for
    /// seconds nothing of it was reported as playing. Said by the telephony thread, once a call.
    Unheard,
    /// The caller pressed a key: `0` to `9`, `A` to `D`, `*`, `#`.
    Dtmf(char),
    /// The command with this id was carried out.
    Done(u32),
    /// The command with this id could not be carried out.
    Failed {
        /// Its id.
        id: u32,
        /// Why: `A-Z a-z 0-9 _ . -`, at most [`WHY_BYTES_MAX`] bytes.
        why: String,
    },
}

/// Why a caller hears nothing, as far as the switch can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unplayed {
    /// FreeSWITCH refused the file.
    Refused,
    /// FreeSWITCH's folder for temporary files takes no file, or has a name that a command cannot carry.
    Folder,
    /// A chunk that the module wrote could not be read.
    Chunk,
    /// FreeSWITCH writes nothing to this channel, and so reads nothing either.
    NotRead,
    /// The module on the line is a build that plays nothing of what it is sent.
    Module,
    /// Something that this version does not know.
    Unknown,
}

impl Unplayed {
    /// The reason that a script names so.
    pub fn from_name(name: &str) -> Self {
        match name {
            "refused" => Self::Refused,
            "temp_dir" => Self::Folder,
            "chunk" => Self::Chunk,
            "not_read" => Self::NotRead,
            "module" => Self::Module,
            _ => Self::Unknown,
        }
    }

    /// What is wrong and what to do about it, in an operator's words.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Refused => {
                "FreeSWITCH does not play the file (uuid_displace refused): is mod_sndfile loaded?"
            }
            Self::Folder => {
                "FreeSWITCH's folder for temporary files takes no file, or its name has other characters than letters, digits \
                 and . _ - /: give another one by freeswitch -temp"
            }
            Self::Chunk => {
                "a chunk that mod_audio_stream wrote cannot be read: is FreeSWITCH's folder for temporary files full?"
            }
            Self::NotRead => {
                "FreeSWITCH writes nothing to this channel: it is on hold, or send_silence_when_idle was taken from it"
            }
            Self::Module => {
                "this build of mod_audio_stream plays nothing by itself: tandem_playback has to be file in vars_tandem.xml"
            }
            Self::Unknown => {
                "its script does not say why in words that this version knows: FreeSWITCH's log does"
            }
        }
    }
}

impl LegReport {
    /// The key that `digit` names, or `None` where no telephone has it.
    pub fn dtmf(digit: char) -> Option<Self> {
        let digit = digit.to_ascii_uppercase();
        matches!(digit, '0'..='9' | 'A'..='D' | '*' | '#').then_some(Self::Dtmf(digit))
    }

    /// A failure with `why` as far as it holds characters of the list.
    pub fn failed(id: u32, why: &str) -> Self {
        let allowed = |one: &char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
        Self::Failed { id, why: why.chars().filter(allowed).take(WHY_BYTES_MAX).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_a_telephone_are_dtmf_and_only_safe_characters_a_reason() {
        assert_eq!(LegReport::dtmf('d'), Some(LegReport::Dtmf('D')));
        for none in ['E', ' ', '\n', 'é', '$'] {
            assert_eq!(LegReport::dtmf(none), None);
        }
        let LegReport::Failed { why, .. } = LegReport::failed(3, &"no\n ${such}".repeat(50)) else {
            panic!("a failure")
        };
        assert!(why.starts_with("nosuch") && why.len() == WHY_BYTES_MAX, "{why}");
    }
}
