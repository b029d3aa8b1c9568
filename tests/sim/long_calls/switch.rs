//! The switch and its caller: talkspurts whose frames can be told apart, and legs that are lost and come back.
//!
//! Runs in: the simulation: pure. Owns what the caller has said.
//! Invariant: every frame is different from every other, and loud enough to be found as speech.

/// What the first sample of a frame says of the others.
const MAGIC: i16 = 12_345;
const FRAME: usize = 320;
/// Within so many frames the relay finds a talkspurt.
const ONSET_FRAMES: usize = 5;

/// What was said and heard of each talkspurt.
#[derive(Debug, Default)]
pub(super) struct Spurt {
    /// Times that each frame reached the model.
    pub heard: Vec<u32>,
    /// When its last frame was said, in microseconds.
    pub ended_us: Option<u64>,
    /// The model has begun an answer since it heard all of it.
    pub answered: bool,
}

impl Spurt {
    /// Times that all of it reached the model.
    pub(super) fn heard_whole(&self) -> u32 {
        self.heard.iter().copied().min().unwrap_or_default()
    }

    /// Times that all of it but its onset did: where the model finds talkspurts itself, the mark from which one is sent
    /// again stands where the relay found it, some frames in.
    pub(super) fn heard_behind_onset(&self) -> u32 {
        self.heard.iter().skip(ONSET_FRAMES).copied().min().unwrap_or_default()
    }
}

/// The audio of a frame of 20 ms at 16 kHz.
pub(super) fn frame(spurt: usize, number: usize) -> Vec<u8> {
    let mut samples = [0_i16; FRAME];
    for (n, sample) in samples.iter_mut().enumerate() {
        // A voice of 200 Hz.
        *sample = if (n / 40) % 2 == 0 { 6_000 } else { -6_000 };
    }
    (samples[0], samples[1], samples[2]) = (MAGIC, spurt as i16, number as i16);
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Which frame of which talkspurt these 20 ms are, if they are one.
pub(super) fn frame_of(samples: &[i16]) -> Option<(usize, usize)> {
    match samples {
        [MAGIC, spurt, number, ..] => Some((*spurt as usize, *number as usize)),
        _ => None,
    }
}
