//! The generator's clock (CLOCK_MONOTONIC in ns) and the timer that wakes a worker at an absolute time.
//!
//! Runs in: callgen's worker threads. Owns one timerfd per worker. Never sleeps itself: the timer is one more source
//! of the worker's poll, because mio rounds time-outs up to whole milliseconds, and a sender that sleeps beside its
//! poll would see arrivals late. Invariant: times only grow.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The time, in ns since some moment before the program began.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

/// Wakes a poll at absolute times, to some ten microseconds.
pub struct WakeTimer {
    fd: OwnedFd,
    armed_ns: u64,
}

impl WakeTimer {
    /// A timer that makes `token` readable. It is never read: each expiry is a new edge.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd, armed_ns: 0 })
    }

    /// Wakes at `at_ns`; at once if that has passed.
    ///
    /// # Errors
    /// None that can happen with a valid time.
    pub fn arm(&mut self, at_ns: u64) -> io::Result<()> {
        if at_ns != self.armed_ns {
            let at_ns = at_ns.max(1);
            let it_value =
                Timespec { tv_sec: (at_ns / SECOND_NS) as i64, tv_nsec: (at_ns % SECOND_NS) as i64 };
            let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec)?;
            self.armed_ns = at_ns;
        }
        Ok(())
    }
}

/// A small generator of random numbers (xorshift64*, Vigna 2016): mask keys need no secrecy on a test network.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by the system.
    pub fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::hash::RandomState::new().build_hasher().finish() | 1)
    }

    /// The same numbers for the same `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A mask key.
    pub fn mask_key(&mut self) -> [u8; 4] {
        ((self.next_u64() >> 32) as u32).to_ne_bytes()
    }

    /// Sixteen random bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())).to_ne_bytes()
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
