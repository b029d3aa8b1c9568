//! The script of a switch: the caller's audio as good and bad networks and modules deliver it, metadata, the end.
//!
//! Runs in: the simulations: pure. Owns nothing.
//! Invariant: the bytes of all audio messages together are the caller's samples from the first on, without a gap.

use fastrand::Rng;
use tandem::base::{Mix, SampleRate};

use super::plan::{Fault, FromSwitch, percent};
use super::speech::caller_sample;

/// How a module cuts the caller's audio into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// So many milliseconds each.
    Whole(u64),
    /// Any number of bytes, also odd ones.
    Anyhow,
}

impl Cut {
    /// Draws one. `told`: the rate is known from the URL, so that the first message need not tell it.
    pub(super) fn draw(rng: &mut Rng, told: bool) -> Self {
        match rng.u32(0..10) {
            0..=5 => Self::Whole(20),
            6 => Self::Whole(40),
            7 => Self::Whole(200),
            // A first message of a strange length would hide the rate.
            _ if told => Self::Anyhow,
            _ => Self::Whole(20),
        }
    }
}

/// Everything that arrives from the switch until `end_us`, in order, with its time in microseconds since the call began.
pub(super) fn script(
    rng: &mut Rng,
    fault: Fault,
    rate: SampleRate,
    mix: Mix,
    cut: Cut,
    end_us: u64,
) -> Vec<(u64, FromSwitch)> {
    let mut arrivals = audio(rng, rate, mix, cut, end_us);
    texts(rng, fault, rate, end_us, &mut arrivals);
    arrivals.sort_by_key(|(at, _)| *at);
    let end = match fault {
        Fault::LegCloses => FromSwitch::Close([1000, 1001, 1005, 1006, 1008, 1011, 4000][rng.usize(0..7)]),
        Fault::LegDrops => FromSwitch::Drop,
        _ => FromSwitch::Close(1000),
    };
    arrivals.push((end_us, end));
    arrivals
}

fn audio(rng: &mut Rng, rate: SampleRate, mix: Mix, cut: Cut, end_us: u64) -> Vec<(u64, FromSwitch)> {
    let step = mix.channels() * 2;
    let frame_bytes = rate.samples_per_frame() * step;
    let jitter_us = [0, 500, 5_000, 30_000][rng.usize(0..4)];
    // The switch's own clock: also a little too fast or slow.
    let parts_per_million = [1_000_000, 1_000_000, 999_000, 1_001_000][rng.usize(0..4)];
    let mut arrivals: Vec<(u64, FromSwitch)> = Vec::new();
    let mut spoken_us = rng.u64(0..200_000);
    let mut held_until = 0;
    let mut byte = 0;
    while spoken_us < end_us {
        let bytes = match cut {
            _ if byte == 0 => frame_bytes,
            Cut::Whole(ms) => rate.samples_in_ms(ms as u32) * step,
            Cut::Anyhow => rng.usize(1..4 * frame_bytes),
        };
        let audio = caller_bytes(byte, bytes, step);
        byte += bytes;
        let us = bytes as u64 * 20_000 / frame_bytes as u64;
        spoken_us += us * 1_000_000 / parts_per_million;
        match rng.u32(0..400) {
            // The network holds everything back for a while, then all of it comes at once.
            0 => held_until = spoken_us + rng.u64(20_000..400_000),
            // The switch sends nothing for a while, and that time is never made up.
            1 => spoken_us += rng.u64(20_000..1_600_000),
            _ => {}
        }
        let earliest = arrivals.last().map_or(0, |(at, _)| *at).max(held_until);
        let at = (spoken_us + rng.u64(0..=jitter_us)).max(earliest);
        if at >= end_us {
            break;
        }
        arrivals.push((at, FromSwitch::Audio(audio)));
    }
    arrivals
}

/// So many bytes of the caller's stream from the `first` on, each sample with `step` bytes.
fn caller_bytes(first: usize, bytes: usize, step: usize) -> Vec<u8> {
    let samples = first / step..(first + bytes).div_ceil(step);
    // What is played to the caller, which the model must never hear, stands beside it.
    let mut audio = vec![0x7e; samples.len() * step];
    for (place, n) in audio.chunks_exact_mut(step).zip(samples) {
        place[..2].copy_from_slice(&caller_sample(n).to_le_bytes());
    }
    audio.drain(..first % step);
    audio.truncate(bytes);
    audio
}

fn texts(rng: &mut Rng, fault: Fault, rate: SampleRate, end_us: u64, arrivals: &mut Vec<(u64, FromSwitch)>) {
    let mut say = |at: u64, text: String| arrivals.push((at, FromSwitch::Text(text)));
    match rng.u32(0..5) {
        0 => {}
        1 => say(rng.u64(0..end_us), "plain words".into()),
        2 => say(rng.u64(0..end_us), r#"{"uuid": "cut of"#.into()),
        3 => say(0, r#"{"caller":"4201","did":"1000","deep":{"er":[1,2]}}"#.into()),
        _ => say(rng.u64(0..end_us), r#"{"data":{"caller":"late"}}"#.into()),
    }
    if fault == Fault::LateRate {
        let other = SampleRate::ALL[rng.usize(0..SampleRate::ALL.len())];
        say(rng.u64(0..end_us), format!(r#"{{"rate":{}}}"#, other.hz()));
        say(end_us - end_us / 4, format!(r#"{{"rate":{}}}"#, rate.hz()));
    }
    if fault == Fault::TextFlood {
        let at = rng.u64(0..end_us);
        for n in 0..260 {
            say(at, format!(r#"{{"type":"mark","data":{{"name":"{n}"}}}}"#));
        }
    } else if percent(rng, 20) {
        for n in 0..rng.u64(1..30) {
            say(end_us * n / 30, "dtmf".into());
        }
    }
}
