//! Asterisk's AudioSocket on the wire: frames of a kind, a length and a payload, over TCP.
//!
//! Runs in: the accept and telephony threads; pure. Owns the bytes of frames that are not complete.
//! Never opens a socket; never sizes anything by more than a frame's 16 bits of length.
//! Invariant: the frames depend on the bytes alone, not on how they are cut into reads.
//!
//! The format is that of `res_audiosocket.c` in Asterisk (read in 22.10.1): kind u8, length u16 big-endian, payload;
//! audio is s16le mono. Asterisk is always the client and sends its UUID first.

use bytes::{Buf, Bytes, BytesMut};

use crate::base::SampleRate;

/// Kind of the frame that ends a call; has no payload. Only we send it.
pub const KIND_HANGUP: u8 = 0x00;
/// Kind of a connection's first frame, whose 16 bytes are the call's UUID.
pub const KIND_UUID: u8 = 0x01;
/// Kind of a key that the caller pressed: one ASCII character, since Asterisk 20.14 and 22.4.
pub const KIND_DTMF: u8 = 0x03;
/// Kind of a report of an error; in the header of Asterisk, sent by none of its code.
pub const KIND_ERROR: u8 = 0xff;

/// Bytes of a frame before its payload.
pub const HEAD_BYTES: usize = 3;
/// Bytes of a UUID.
pub const UUID_BYTES: usize = 16;
/// The frame that ends a call, complete. To be sent before every close: versions before 20.14 and 22.4 do not notice one.
pub const HANGUP: [u8; HEAD_BYTES] = [KIND_HANGUP, 0, 0];

/// The rates of the audio kinds from 0x10 on, in hertz.
const KIND_HZ: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];
const KIND_FIRST_AUDIO: u8 = 0x10;

/// The kind of audio at `rate`.
pub const fn kind_of(rate: SampleRate) -> u8 {
    match rate {
        SampleRate::Hz8000 => 0x10,
        SampleRate::Hz16000 => 0x12,
        SampleRate::Hz24000 => 0x13,
        SampleRate::Hz32000 => 0x14,
        SampleRate::Hz48000 => 0x16,
    }
}

/// Samples a second of an audio kind; `None` of any other.
pub fn hz_of(kind: u8) -> Option<u32> {
    KIND_HZ.get(usize::from(kind.checked_sub(KIND_FIRST_AUDIO)?)).copied()
}

/// Appends a complete frame with `samples` at `rate`: head and payload in one piece, because Asterisk drops the call when
/// the payload comes more than 5 ms after the head. More samples than a length can say are left out.
pub fn write_audio(out: &mut Vec<u8>, samples: &[i16], rate: SampleRate) {
    let samples = &samples[..samples.len().min(usize::from(u16::MAX) / 2)];
    let [high, low] = u16::try_from(samples.len() * 2).unwrap_or(u16::MAX).to_be_bytes();
    out.reserve(HEAD_BYTES + samples.len() * 2);
    out.extend_from_slice(&[kind_of(rate), high, low]);
    samples.iter().for_each(|sample| out.extend_from_slice(&sample.to_le_bytes()));
}

/// A UUID as everyone writes it: 8-4-4-4-12 hexadecimal digits, lower case (RFC 9562 section 4).
pub fn uuid_text(uuid: &[u8; UUID_BYTES]) -> String {
    uuid::Uuid::from_bytes_ref(uuid).to_string()
}

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its payload, at most 65535 bytes.
    pub payload: Bytes,
}

/// What a frame of Asterisk means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The call's UUID.
    Uuid([u8; UUID_BYTES]),
    /// Audio at so many hertz, s16le mono.
    Audio(u32, Bytes),
    /// The caller pressed a key.
    Dtmf(char),
    /// The call is over.
    Hangup,
    /// Something failed at the other end.
    Error,
    /// A kind of another time, or a payload that its kind cannot have: to be passed over.
    Unknown,
}

impl Frame {
    /// What it means.
    pub fn meaning(self) -> Meaning {
        match self.kind {
            KIND_HANGUP => Meaning::Hangup,
            KIND_UUID => self.payload.as_ref().try_into().map_or(Meaning::Unknown, Meaning::Uuid),
            KIND_DTMF => match self.payload.as_ref() {
                [digit] => Meaning::Dtmf(char::from(*digit)),
                _ => Meaning::Unknown,
            },
            KIND_ERROR => Meaning::Error,
            kind => match hz_of(kind) {
                Some(hz) => Meaning::Audio(hz, self.payload),
                None => Meaning::Unknown,
            },
        }
    }
}

/// Puts frames together from reads of any size. Its memory is used again once the frames are dropped.
#[derive(Debug, Default)]
pub struct FrameReader {
    unread: BytesMut,
}

impl FrameReader {
    /// A reader to which these bytes have come already.
    pub fn new(unread: &[u8]) -> Self {
        Self { unread: BytesMut::from(unread) }
    }

    /// Takes in what `read` writes into room for `bytes` bytes; it returns how many those are.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill<E>(
        &mut self,
        bytes: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let start = self.unread.len();
        self.unread.resize(start + bytes, 0);
        let result = read(&mut self.unread[start..]);
        let n = *result.as_ref().unwrap_or(&0);
        self.unread.truncate(start + n.min(bytes));
        result
    }

    /// The next complete frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let &[kind, high, low] = self.unread.first_chunk::<HEAD_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.unread.len() < HEAD_BYTES + length {
            return None;
        }
        self.unread.advance(HEAD_BYTES);
        Some(Frame { kind, payload: self.unread.split_to(length).freeze() })
    }

    /// Bytes of a frame that is not complete.
    pub fn pending_bytes(&self) -> usize {
        self.unread.len()
    }

    /// The bytes of a frame that is not complete, for another reader.
    pub fn into_pending(self) -> Vec<u8> {
        self.unread.to_vec()
    }
}

/// What is wrong with a label of 0x10, as bytes against time tell.
///
/// Asterisk labels G.711 as 0x10 where a channel has no linear format (`c(ulaw)`, or none; `res_audiosocket.c:252`): half
/// the bytes a second that the label says. And before 20.17 and 22.7 it labels every rate as 0x10: then there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mislabelled {
    /// G.711 bytes labelled as 8 kHz linear.
    G711,
    /// A higher rate labelled as 8 kHz.
    HigherRate,
}

impl Mislabelled {
    /// What is wrong and what to do, in an operator's words.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::G711 => {
                "Asterisk sends G.711 labelled as linear audio: write c(slin) or c(slin16) in \
                 Dial(AudioSocket/...), or use the application AudioSocket()"
            }
            Self::HigherRate => {
                "this Asterisk labels every rate as 8 kHz, so the caller is heard as fast as the audio comes, and \
                 answered at 8 kHz: write c(slin) in Dial(AudioSocket/...), or use 20.17, 21.12, 22.7, 23.1 or newer"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(pieces: &[&[u8]]) -> (Vec<Frame>, usize) {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for piece in pieces {
            let read = reader.fill::<()>(piece.len() + 7, |room| {
                room[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            });
            assert_eq!(read, Ok(piece.len()));
            frames.extend(std::iter::from_fn(|| reader.next_frame()));
        }
        (frames, reader.pending_bytes())
    }

    #[test]
    fn every_kind_means_what_asterisk_means_by_it() {
        let uuid = [0x45; 16];
        for (kind, payload, expected) in [
            (0x00, &[][..], Meaning::Hangup),
            (0x01, &uuid[..], Meaning::Uuid(uuid)),
            (0x01, &uuid[..15], Meaning::Unknown),
            (0x03, b"#", Meaning::Dtmf('#')),
            (0x03, b"12", Meaning::Unknown),
            (0x10, b"ab", Meaning::Audio(8_000, Bytes::from_static(b"ab"))),
            (0x11, b"ab", Meaning::Audio(12_000, Bytes::from_static(b"ab"))),
            (0x15, b"", Meaning::Audio(44_100, Bytes::new())),
            (0x18, b"ab", Meaning::Audio(192_000, Bytes::from_static(b"ab"))),
            (0x19, b"ab", Meaning::Unknown),
            (0x02, b"", Meaning::Unknown),
            (0xff, b"\x01", Meaning::Error),
        ] {
            let frame = Frame { kind, payload: Bytes::copy_from_slice(payload) };
            assert_eq!(frame.meaning(), expected, "{kind:#x}");
        }
        for rate in SampleRate::ALL {
            assert_eq!(hz_of(kind_of(rate)), Some(rate.hz()));
        }
    }

    #[test]
    fn audio_is_one_piece_with_its_head() {
        let mut out = Vec::new();
        write_audio(&mut out, &[1, -2], SampleRate::Hz16000);
        assert_eq!(out, [0x12, 0, 4, 1, 0, 0xfe, 0xff]);
        out.clear();
        write_audio(&mut out, &[0; 960], SampleRate::Hz48000);
        assert_eq!((out.len(), &out[..3]), (1923, &[0x16, 0x07, 0x80][..]));
        out.clear();
        write_audio(&mut out, &[0; 40_000], SampleRate::Hz8000);
        assert_eq!(out.len(), HEAD_BYTES + 65_534);
    }

    #[test]
    fn a_uuid_is_written_as_everyone_writes_it() {
        let uuid =
            [0x45, 0x58, 0x47, 0xda, 0x27, 0xe5, 0x4c, 0x0d, 0xa7, 0x1d, 0xdc, 0x29, 0xad, 0x9b, 0xcb, 0xfc];
        assert_eq!(uuid_text(&uuid), "455847da-27e5-4c0d-a71d-dc29ad9bcbfc");
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_the_same_frames(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => Just(3), 1 => Just(0x10), 2 => any::<u8>()], 0..2000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            let (frames, pending) = read_all(&pieces);
            prop_assert_eq!((&frames, pending), (&read_all(&[&bytes]).0, pending));
            let taken: usize = frames.iter().map(|frame| HEAD_BYTES + frame.payload.len()).sum();
            prop_assert_eq!(taken + pending, bytes.len());
            for frame in frames {
                let _ = frame.meaning();
            }
        }

        #[test]
        fn what_we_write_is_read_again(samples in prop::collection::vec(any::<i16>(), 0..2000),
            rate in prop::sample::select(SampleRate::ALL.to_vec())) {
            let mut out = Vec::new();
            write_audio(&mut out, &samples, rate);
            let (frames, pending) = read_all(&[&out]);
            prop_assert_eq!((frames.len(), pending), (1, 0));
            let Meaning::Audio(hz, payload) = frames[0].clone().meaning() else { panic!("audio") };
            let read: Vec<i16> = payload.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            prop_assert_eq!((hz, read), (rate.hz(), samples));
        }
    }
}
