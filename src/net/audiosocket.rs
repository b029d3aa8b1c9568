//! An AudioSocket connection over a non-blocking stream, read to exhaustion and written a frame at a time.
//!
//! Runs in: the telephony thread. Owns the stream, and the rest of a frame that the kernel did not take.
//! Never blocks; every size is bounded.
//! Invariant: a frame is given to the kernel in one write, head and payload together, unless the kernel takes less; and
//! the last word is the frame that hangs up, however the connection ends.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use bytes::Bytes;

use crate::base::limits::{LEG_READ_BYTES, WRITE_BACKLOG_BYTES};
use crate::codec::audiosocket::{Frame, FrameReader, HANGUP};
use crate::net::stream::Stream;
use crate::net::websocket::{End, Incoming};

/// See the head of this file.
pub struct AudioSocketConnection {
    stream: Stream,
    reader: FrameReader,
    /// What the kernel has not taken yet.
    unsent: Bytes,
    hung_up: bool,
}

impl AudioSocketConnection {
    /// A connection whose UUID was read, with the bytes that came behind it.
    pub(crate) fn new(stream: Stream, behind_uuid: &[u8]) -> Self {
        Self { stream, reader: FrameReader::new(behind_uuid), unsent: Bytes::new(), hung_up: false }
    }

    /// The stream below.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The next frame.
    pub(crate) fn read(&mut self) -> Incoming<Frame> {
        loop {
            if let Some(frame) = self.reader.next_frame() {
                return Incoming::Message(frame);
            }
            match self.reader.fill(LEG_READ_BYTES, |room| self.stream.read(room)) {
                Ok(0) if self.reader.pending_bytes() == 0 => return Incoming::Over(End::Closed),
                Ok(0) => return Incoming::Over(End::Dropped("the connection ended within a frame".into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.stream.is_cut_short() { Incoming::Paused } else { Incoming::Drained };
                }
                Err(error) => return Incoming::Over(End::Dropped(error.to_string())),
            }
        }
    }

    /// Sends a complete frame, or keeps what the kernel does not take now.
    ///
    /// # Errors
    /// How the connection ended, a backlog beyond the limit included.
    pub(crate) fn send(&mut self, frame: Bytes) -> Result<(), End> {
        if self.hung_up {
            return Ok(());
        }
        if self.unsent.is_empty() {
            self.unsent = frame;
        } else if self.unsent.len() + frame.len() <= WRITE_BACKLOG_BYTES {
            self.unsent = [&self.unsent[..], &frame[..]].concat().into();
        } else {
            return Err(End::Dropped("the peer takes nothing more".into()));
        }
        self.flush()
    }

    /// Goes on with what the kernel did not take; to be called when the poll reports the socket writable.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) fn flush(&mut self) -> Result<(), End> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(End::Dropped("the peer takes nothing more".into())),
                // Everything, usually: then the frame's memory is given back at once.
                Ok(n) => _ = self.unsent.split_to(n.min(self.unsent.len())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Dropped(error.to_string())),
            }
        }
        if self.hung_up {
            // A peer that is gone has nothing to be told.
            _ = self.stream.socket().shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Whether everything sent has left for the kernel.
    pub(crate) fn is_idle(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Says that the call is over; reading goes on until [`Incoming::Over`].
    pub(crate) fn hang_up(&mut self) {
        if !self.hung_up {
            // A connection that is already broken says so at the next read.
            _ = self.send(Bytes::from_static(&HANGUP));
            self.hung_up = true;
            _ = self.flush();
        }
    }
}

impl Drop for AudioSocketConnection {
    fn drop(&mut self) {
        self.hang_up();
    }
}
