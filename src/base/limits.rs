//! Limits: every size, count and time that is fixed, each with its derivation. Limits that an operator may set are in
//! [`crate::config`].
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: the four rings of a call together stay under 24 KiB.

use crate::base::Frame;

/// Frames in `caller_in`: 160 ms at 16 kHz, 53 ms at 48 kHz. The dsp worker empties it in every pass, so it only has
/// to bridge a scheduling delay; beyond it the bytes wait in the socket.
pub const CALLER_IN_FRAMES: usize = 8;
/// Frames in `model_out`: 120 ms at 16 kHz, for the same reason.
pub const MODEL_OUT_FRAMES: usize = 6;
/// Frames in `model_in`: 186 ms at 24 kHz, so that the 133 ms which the gemini thread keeps there fit: three times what passes
/// until it looks again.
pub const MODEL_IN_FRAMES: usize = 14;
/// Frames in `caller_out`: three chunks of 20 ms at 48 kHz (three frames each), or 180 ms at 16 kHz.
pub const CALLER_OUT_FRAMES: usize = 9;

/// Frames in `tap`, which only a call has that is recorded or listened in on: both sides for 1.3 s at 48 kHz, for 2.5 s at
/// 16 kHz or below. The recorder empties it ten times a second and waits for no disk.
pub const TAP_FRAMES: usize = 256;

const _: () = assert!(
    (CALLER_IN_FRAMES + MODEL_OUT_FRAMES + MODEL_IN_FRAMES + CALLER_OUT_FRAMES) * size_of::<Frame>()
        <= 24 * 1024
);

/// Bytes of an HTTP upgrade request, head included. mod_audio_stream's URL may have 4096 bytes and its metadata
/// header 8192; 16 KiB is what HAProxy and nginx accept by default.
pub const UPGRADE_REQUEST_BYTES: usize = 16 * 1024;
/// Headers of an HTTP upgrade request.
pub const UPGRADE_REQUEST_HEADERS: usize = 64;

/// Bytes of one WebSocket message from a switch. The longest real one is metadata (8192 bytes) or 200 ms of 48 kHz
/// stereo (38,400 bytes).
pub const LEG_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes that the kernel keeps of a leg that is not read (it takes as much again for its own bookkeeping): two of the
/// longest messages, or four seconds of 16 kHz. The default would be megabytes, and behind a flood of them the end of the
/// connection is not seen for as long as reading them at a leg's share takes.
pub const LEG_RECEIVE_BYTES: usize = 128 * 1024;
/// Bytes of one message from Gemini. Google's SDK accepts 1 MiB, so real ones are below. The worst of that size, all of
/// it small unknown elements, keeps the thread some milliseconds.
pub const LINK_MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes of an unsent backlog towards a peer before the connection counts as broken. A frame is handed over only when
/// the output is empty, so only control messages and pongs pile up.
pub const WRITE_BACKLOG_BYTES: usize = 256 * 1024;
/// tungstenite's read buffer for a leg: three frames of 20 ms at 16 kHz. It is allocated for each call, and what of it is
/// free is filled with zeros before each read, the one that finds nothing included. The socket is read by more at once
/// (`net::socket`), so that a small one costs no system call.
pub const LEG_READ_BYTES: usize = 2 * 1024;
/// tungstenite's read buffer for a link, for the same reasons: Gemini's messages of 40 to 100 ms have 2.5 to 6.5 KiB.
pub const LINK_READ_BYTES: usize = 4 * 1024;
/// Messages read from one link in one share: 32,000 a second, where the model's speech at twenty times real time makes
/// 500. The smallest messages have 20 bytes, and a share of bytes full of them costs more than all of a shard's speech.
pub const MESSAGES_PER_SHARE: usize = 64;
/// Pings answered on one link in one share: each answer is a system call. (A leg that pings this much is closed.)
pub const PINGS_PER_SHARE: usize = 8;
/// Bytes taken from a leg's socket at once: a frame of 20 ms at 48 kHz stereo, the largest there is. A leg that has more
/// waits [`SHARE_MS`], so that it is read ten times faster than it can speak, and a flood of the smallest frames (6 bytes)
/// costs a small part of a core.
pub const LEG_SHARE_BYTES: usize = 4 * 1024;
/// Bytes taken from a link's socket at once, a quarter of a second of the model's speech: a minute that arrives in one
/// piece is read in half a second.
pub const LINK_SHARE_BYTES: usize = 16 * 1024;
/// Milliseconds until a socket that had more than its share is read again.
pub const SHARE_MS: u64 = 2;
/// Text messages and pings a second that a leg may send, on average, before it is closed as a flood; DTMF reports and
/// acknowledgements of plays come at 10 a second at most.
pub const LEG_TEXTS_PER_SECOND: u32 = 50;
/// Text messages and pings that a leg may send at once before the average counts.
pub const LEG_TEXT_BURST: u32 = 200;

/// Messages beside the audio that wait for a leg whose switch takes nothing: more than the commands of any agent at once.
pub const LEG_SAID_MESSAGES: usize = 32;

/// Milliseconds of audio that a leg may send at once: what a switch has piled up behind a connection that just survived
/// [`TCP_USER_TIMEOUT_MS`].
pub const CALLER_AHEAD_MS_MAX: u64 = TCP_USER_TIMEOUT_MS as u64;
/// How many times faster than real time a leg is read beyond that; the rest waits in its socket. A switch that sends
/// 48 kHz where 8 kHz is configured seems six times too fast, and is to be heard, if slowly.
pub const CALLER_SPEED_MAX: u64 = 8;

/// Milliseconds that an unacknowledged byte may wait on any socket before the kernel ends it (`TCP_USER_TIMEOUT`).
pub const TCP_USER_TIMEOUT_MS: u32 = 10_000;
/// Seconds of idleness before TCP keep-alive probes start, and between them.
pub const TCP_KEEPALIVE_SECONDS: u64 = 10;
/// Milliseconds that a closing handshake may take before the socket is dropped.
pub const CLOSE_TIMEOUT_MS: u64 = 1_000;
/// Messages that wait in a channel between two threads.
pub const CHANNEL_MESSAGES: usize = 4096;
