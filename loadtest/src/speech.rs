//! Speech for the load tools: the two bundled sentences, and a strict reader for WAV files.
//!
//! Runs in: anywhere: pure. Owns nothing but the bundled bytes. Never opens a file: callers hand it bytes.
//! Invariant: whatever the bytes, reading them ends in samples or in a clear error; no length inside the file is
//! believed beyond the bytes that are there.

use std::{error::Error, fmt};

use tandem::base::units::SampleRate;

static QUESTION_WAV: &[u8] = include_bytes!("../data/question.wav");
static ANSWER_WAV: &[u8] = include_bytes!("../data/answer.wav");
static RECEPTIONIST: [(&[u8], &str); 5] = [
    (
        include_bytes!("../data/receptionist-1.wav"),
        "Good evening, this is the pharmacy on Main Street. How can I help you?",
    ),
    (
        include_bytes!("../data/receptionist-2.wav"),
        "We are open until nine o'clock this evening, and from eight tomorrow morning. Anything else?",
    ),
    (
        include_bytes!("../data/receptionist-3.wav"),
        "Let me look. Yes, it is ready for you, at the second counter.",
    ),
    (
        include_bytes!("../data/receptionist-4.wav"),
        "You may take it before or after a meal, with a glass of water.",
    ),
    (include_bytes!("../data/receptionist-5.wav"), "You are welcome. Thank you for calling, and good night."),
];

/// The words of [`answer`], as the simulator's output transcription gives them.
pub const ANSWER_TEXT: &str = "It is open until nine o'clock this evening. Anything else?";

/// The words of [`question`].
pub const QUESTION_TEXT: &str = "What time does the pharmacy on Main Street close tonight?";

/// What a caller asks: 3.2 s, mono, 16 kHz. See `loadtest/data/README.md`.
pub fn question() -> Vec<i16> {
    bundled(QUESTION_WAV)
}

/// What the model answers: 3.7 s, mono, 16 kHz. See `loadtest/data/README.md`.
pub fn answer() -> Vec<i16> {
    bundled(ANSWER_WAV)
}

/// What the simulated receptionist says in turns, the greeting first: mono, 16 kHz, and the words.
pub fn receptionist() -> impl Iterator<Item = (Vec<i16>, &'static str)> {
    RECEPTIONIST.iter().map(|(file, text)| (bundled(file), *text))
}

fn bundled(file: &[u8]) -> Vec<i16> {
    let wav = read_wav(file).expect("the bundled speech is a valid WAV file");
    assert!(wav.rate == SampleRate::Hz16000 && wav.channels == 1, "the bundled speech is mono, 16 kHz");
    wav.samples
}

/// A WAV file's audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second of one channel.
    pub rate: SampleRate,
    /// 1, or 2 with left and right alternating in `samples`.
    pub channels: u16,
    /// The samples; with two channels left first, always whole pairs.
    pub samples: Vec<i16>,
}

impl Wav {
    /// The samples of the left channel, which is the only one of a mono file.
    pub fn left(&self) -> Vec<i16> {
        self.samples.iter().copied().step_by(usize::from(self.channels)).collect()
    }
}

/// Why bytes are not a WAV file that the load tools can play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WavError {
    /// The first twelve bytes are not `RIFF....WAVE`.
    NotRiff,
    /// The file ends inside the chunk of this name, which announces so many bytes and has only so many.
    Truncated {
        /// The chunk's four letters.
        chunk: String,
        /// What its head says.
        announced_bytes: usize,
        /// What the file holds.
        present_bytes: usize,
    },
    /// A chunk that must be there is missing: `fmt ` or `data`, in this order.
    Missing(&'static str),
    /// The encoding tag is not 1 (linear PCM).
    NotPcm(u16),
    /// Not 16 bits a sample.
    Bits(u16),
    /// Not one or two channels.
    Channels(u16),
    /// Not 8000, 16000, 24000, 32000 or 48000 samples a second.
    Rate(u32),
    /// The samples do not come out whole: bytes left over.
    Ragged(usize),
    /// No samples at all.
    Empty,
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REMEDY: &str = "convert it with: sox IN -b 16 -r 16000 -c 1 OUT.wav";
        match self {
            Self::NotRiff => write!(f, "not a WAV file (no RIFF/WAVE at its start); {REMEDY}"),
            Self::Truncated { chunk, announced_bytes, present_bytes } => write!(
                f,
                "the WAV chunk {chunk:?} announces {announced_bytes} bytes but the file holds {present_bytes}: \
                 it was cut off, copy it again"
            ),
            Self::Missing(chunk) => write!(f, "the WAV file has no {chunk:?} chunk; {REMEDY}"),
            Self::NotPcm(tag) => write!(f, "the WAV file's encoding tag is {tag}, not 1 (PCM); {REMEDY}"),
            Self::Bits(bits) => write!(f, "the WAV file has {bits} bits a sample, not 16; {REMEDY}"),
            Self::Channels(n) => write!(f, "the WAV file has {n} channels, not 1 or 2; {REMEDY}"),
            Self::Rate(hz) => {
                write!(f, "the WAV file's rate is {hz} Hz, not 8000, 16000, 24000, 32000 or 48000; {REMEDY}")
            }
            Self::Ragged(bytes) => {
                write!(
                    f,
                    "the WAV file's samples do not come out whole: {bytes} bytes are left over; {REMEDY}"
                )
            }
            Self::Empty => write!(f, "the WAV file holds no samples"),
        }
    }
}

impl Error for WavError {}

/// Reads a WAV file: linear PCM, 16 bits, mono or stereo, one of the five rates of [`SampleRate`] (RIFF/WAVE as in
/// "Multimedia Programming Interface and Data Specifications 1.0", 1991). Chunks other than `fmt ` and `data` are
/// skipped; what follows `data` is not read.
///
/// # Errors
/// [`WavError`] names what is wrong and how to convert the file.
pub fn read_wav(file: &[u8]) -> Result<Wav, WavError> {
    if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err(WavError::NotRiff);
    }
    let mut rest = file.get(12..).unwrap_or_default();
    let mut format: Option<(SampleRate, u16)> = None;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let name = [n0, n1, n2, n3];
        let announced_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some(body) = after.get(..announced_bytes) else {
            let chunk = String::from_utf8_lossy(&name).into_owned();
            return Err(WavError::Truncated { chunk, announced_bytes, present_bytes: after.len() });
        };
        match &name {
            b"fmt " => format = Some(read_format(body)?),
            b"data" => {
                let (rate, channels) = format.ok_or(WavError::Missing("fmt "))?;
                let left_over = body.len() % (2 * usize::from(channels));
                if left_over != 0 {
                    return Err(WavError::Ragged(left_over));
                }
                if body.is_empty() {
                    return Err(WavError::Empty);
                }
                let samples = body.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                return Ok(Wav { rate, channels, samples });
            }
            _ => {}
        }
        // Chunks are padded to an even length; the padding is not part of the announced length.
        rest = after.get(announced_bytes + announced_bytes % 2..).unwrap_or_default();
    }
    Err(WavError::Missing(if format.is_some() { "data" } else { "fmt " }))
}

fn read_format(body: &[u8]) -> Result<(SampleRate, u16), WavError> {
    let Some(&[t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1]) = body.first_chunk::<16>() else {
        return Err(WavError::Truncated {
            chunk: "fmt ".to_owned(),
            announced_bytes: 16,
            present_bytes: body.len(),
        });
    };
    let (tag, channels, bits) =
        (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([c0, c1]), u16::from_le_bytes([b0, b1]));
    let rate_hz = u32::from_le_bytes([r0, r1, r2, r3]);
    if tag != 1 {
        return Err(WavError::NotPcm(tag));
    }
    if bits != 16 {
        return Err(WavError::Bits(bits));
    }
    if !(1..=2).contains(&channels) {
        return Err(WavError::Channels(channels));
    }
    Ok((SampleRate::from_hz(rate_hz).ok_or(WavError::Rate(rate_hz))?, channels))
}

/// Writes a WAV file of 16 bit samples, which [`read_wav`] reads back unchanged.
pub fn write_wav(wav: &Wav) -> Vec<u8> {
    let sample_bytes = u32::try_from(wav.samples.len() * 2).unwrap_or(u32::MAX);
    let (rate_hz, channels) = (wav.rate.hz(), wav.channels);
    let mut file = Vec::with_capacity(44 + wav.samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&sample_bytes.saturating_add(36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&channels.to_le_bytes());
    file.extend_from_slice(&rate_hz.to_le_bytes());
    file.extend_from_slice(&(rate_hz * u32::from(channels) * 2).to_le_bytes());
    file.extend_from_slice(&(channels * 2).to_le_bytes());
    file.extend_from_slice(&16_u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&sample_bytes.to_le_bytes());
    file.extend(wav.samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stereo() -> Wav {
        Wav { rate: SampleRate::Hz8000, channels: 2, samples: vec![1, -1, 2, -2, i16::MAX, i16::MIN] }
    }

    #[test]
    fn the_bundled_sentences_are_two_to_six_seconds_of_speech() {
        for samples in [question(), answer()].into_iter().chain(receptionist().map(|(samples, _)| samples)) {
            assert!((32_000..96_000).contains(&samples.len()), "{} samples", samples.len());
            assert!(samples.iter().any(|sample| sample.unsigned_abs() > 10_000));
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = write_wav(&stereo());
        assert_eq!(read_wav(&file), Ok(stereo()));
        assert_eq!(stereo().left(), [1, 2, i16::MAX]);
    }

    #[test]
    fn unknown_chunks_of_odd_length_are_skipped_with_their_padding() {
        let mut file = write_wav(&stereo());
        file.splice(12..12, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(read_wav(&file), Ok(stereo()));
    }

    #[test]
    fn every_defect_has_its_own_error() {
        let change = |at: usize, value: u8| {
            let mut file = write_wav(&stereo());
            file[at] = value;
            read_wav(&file).unwrap_err()
        };
        assert_eq!(change(0, b'X'), WavError::NotRiff);
        assert_eq!(change(20, 7), WavError::NotPcm(7));
        assert_eq!(change(22, 3), WavError::Channels(3));
        assert_eq!(change(24, 0x41), WavError::Rate(8_001));
        assert_eq!(change(34, 8), WavError::Bits(8));
        assert_eq!(change(36, b'D'), WavError::Missing("data"));
        assert_eq!(change(12, b'F'), WavError::Missing("fmt "));
        assert_eq!(change(40, 10), WavError::Ragged(2));
        assert_eq!(change(40, 0), WavError::Empty);
        assert!(matches!(change(43, 0x7f), WavError::Truncated { present_bytes: 12, .. }));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
        let file = write_wav(&stereo());
        for end in 0..file.len() {
            assert!(read_wav(&file[..end]).is_err(), "cut at {end}");
        }
    }
}
