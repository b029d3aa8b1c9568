//! An Ogg file of Opus, stereo (RFC 7845), by the system's libopus.
//!
//! Runs in: the thread that writes recordings. Owns the file and the encoder.
//! Invariant: a page ends each second, so that a crash costs no more than that; the positions in the pages take the encoder's
//! delay off, so that a decoder gives as many samples as were written, each at its place.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use ogg::{PacketWriteEndInfo, PacketWriter};
use opusic_c::{Application, Bitrate, Channels, Encoder, SampleRate};

use super::timeline::{Pair, RATE};

/// Two people who speak in turns, in wide band.
const BITS_PER_SECOND: u32 = 40_000;
/// Enough for speech at this rate, at half of the default's cost.
const COMPLEXITY: u8 = 5;
/// Stereo samples in a packet: 20 ms.
const PACKET: usize = RATE.samples_per_frame();
/// Packets in a page.
const PAGE_PACKETS: u64 = 50;
/// Opus counts in samples of 48 kHz.
pub(super) const UNITS: u64 = 48_000 / RATE.hz() as u64;
/// The longest packet that RFC 6716 has.
const PACKET_BYTES_MAX: usize = 1_500;

/// See the head of this file.
pub(crate) struct OpusFile {
    pages: PacketWriter<'static, BufWriter<File>>,
    encoder: Encoder,
    /// Interleaved samples that do not fill a packet yet.
    staged: Vec<u16>,
    packets: u64,
    pairs: u64,
    pre_skip: u16,
    serial: u32,
}

impl OpusFile {
    /// Writes the headers; `serial` is the stream's number, any will do.
    ///
    /// # Errors
    /// Those of writing, and of a libopus that has not what is wanted.
    pub(crate) fn new(file: File, serial: u32) -> io::Result<Self> {
        let mut encoder =
            Encoder::new(Channels::Stereo, SampleRate::Hz16000, Application::Voip).map_err(wrong)?;
        encoder.set_bitrate(Bitrate::Value(BITS_PER_SECOND)).map_err(wrong)?;
        encoder.set_complexity(COMPLEXITY).map_err(wrong)?;
        let pre_skip = encoder.get_look_ahead().map_err(wrong)? as u16 * UNITS as u16;
        let mut pages = PacketWriter::new(BufWriter::new(file));
        pages.write_packet(head(pre_skip), serial, PacketWriteEndInfo::EndPage, 0)?;
        pages.write_packet(tags(), serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { pages, encoder, staged: Vec::new(), packets: 0, pairs: 0, pre_skip, serial })
    }

    /// Writes what follows.
    ///
    /// # Errors
    /// Those of writing and of the encoder.
    pub(crate) fn write(&mut self, pairs: &[Pair]) -> io::Result<()> {
        self.pairs += pairs.len() as u64;
        self.staged.extend(pairs.iter().flatten().map(|sample| sample.cast_unsigned()));
        while self.staged.len() >= 2 * PACKET {
            self.write_packet(false)?;
        }
        Ok(())
    }

    /// Writes what is left. Returns the file's size.
    ///
    /// # Errors
    /// As [`OpusFile::write`].
    pub(crate) fn end(mut self) -> io::Result<()> {
        // What the encoder holds back has to come out, too.
        let until = self.pairs * UNITS + u64::from(self.pre_skip);
        while (self.packets + 1) * PACKET as u64 * UNITS < until {
            self.fill_packet();
            self.write_packet(false)?;
        }
        self.fill_packet();
        self.write_packet(true)?;
        self.pages.into_inner().flush()
    }

    fn fill_packet(&mut self) {
        if self.staged.len() < 2 * PACKET {
            self.staged.resize(2 * PACKET, 0);
        }
    }

    fn write_packet(&mut self, last: bool) -> io::Result<()> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let length = self.encoder.encode_to_slice(&self.staged[..2 * PACKET], &mut packet).map_err(wrong)?;
        packet.truncate(length);
        self.staged.drain(..2 * PACKET);
        self.packets += 1;
        let info = match (last, self.packets.is_multiple_of(PAGE_PACKETS)) {
            (true, _) => PacketWriteEndInfo::EndStream,
            (false, true) => PacketWriteEndInfo::EndPage,
            (false, false) => PacketWriteEndInfo::NormalPacket,
        };
        let encoded = self.packets * PACKET as u64 * UNITS;
        let said = self.pairs * UNITS + u64::from(self.pre_skip);
        let position = if last { encoded.min(said) } else { encoded };
        self.pages.write_packet(packet, self.serial, info, position)?;
        if matches!(info, PacketWriteEndInfo::EndPage) {
            self.pages.inner_mut().flush()?;
        }
        Ok(())
    }
}

fn wrong(error: opusic_c::ErrorCode) -> io::Error {
    io::Error::other(format!("libopus: {error:?}"))
}

/// The identification header (RFC 7845, section 5.1): version 1, 2 channels, mapping family 0.
fn head(pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(RATE.hz().to_le_bytes());
    // No gain, and the mapping family.
    head.extend([0, 0, 0]);
    head
}

/// The comment header (section 5.2), without comments.
fn tags() -> Vec<u8> {
    let vendor = b"tandem";
    let mut tags = b"OpusTags".to_vec();
    tags.extend((vendor.len() as u32).to_le_bytes());
    tags.extend(vendor);
    tags.extend(0_u32.to_le_bytes());
    tags
}
