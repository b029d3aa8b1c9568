//! What a walk over all calls costs, against a wake-up of control that one of them needs.
//!
//! Runs in: `cargo bench --bench control`. Owns nothing. Never a pass mark: the ratios that it prints are taken in turns with a
//! look at the deadline of every call, which is the least that a control without an agenda would do, and written to
//! `target/control.json`.
//! Invariant: all calls but one are live and want nothing; that one tries again and again to get a link, in vain.

use std::hint::black_box;
use std::time::{Duration, Instant as Stopwatch};

use tandem::agents::Agents;
use tandem::base::{Instant, LegFormat, SampleRate};
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::leg::{CallFields, LegKind};
use tandem::call::{Fact, Machine};
use tandem::threads::messages::ControlInput;

use ratios::{Report, in_turns};
use relay::{Bells, Ends};

mod ratios;
#[allow(dead_code, reason = "the simulations use more of it")]
#[path = "../tests/sim/relay.rs"]
mod relay;

const CALLS: [usize; 3] = [100, 1_000, 10_000];
/// Far beyond what is measured.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);

struct Rig {
    ends: Ends,
    now: Instant,
}

impl Rig {
    fn new(calls: usize) -> Self {
        let agent: Agent = CallTerms { max_call: FOR_EVER, give_up: FOR_EVER, ..CallTerms::default() }.into();
        let mut ends = Ends::new(0, Bells::new(), Agents::from_iter([agent]), 1, calls);
        let mut now = Instant::from_micros(1_000_000);
        let format = LegFormat::new(SampleRate::Hz8000, 20, 20);
        for live in (0..calls).map(|number| number > 0) {
            now = now.plus_us(1);
            let (offer, ..) = ends.admit(now, LegKind::ModAudioStream, CallFields::default(), format);
            let id = offer.id;
            ends.inbox.send(ControlInput::Offered(Box::new(offer)));
            if live {
                ends.tell(id, Fact::LinkConnected(1));
                ends.tell(id, Fact::SetupComplete(1));
            }
            ends.control.step(now);
            while ends.telephony.take().is_some() {}
        }
        Self { ends, now }
    }

    /// Wakes up when the first is due. Returns how long that took.
    fn wake_up(&mut self) -> Duration {
        let Self { ends, now } = self;
        let start = Stopwatch::now();
        let next = black_box(ends.control.step(*now)).expect("a deadline");
        let took = start.elapsed();
        *now = next;
        while ends.gemini.take().is_some() || ends.dials.try_recv().is_ok() {}
        took
    }

    /// Looks at all.
    fn walk(&self) -> Duration {
        let start = Stopwatch::now();
        black_box(self.ends.machines().filter_map(Machine::deadline).min());
        start.elapsed()
    }
}

fn main() {
    let mut report = Report::new("control");
    for calls in CALLS {
        let rig = std::cell::RefCell::new(Rig::new(calls));
        let wakes = if ratios::wanted() { 1_000 } else { 1 };
        let walks = (wakes / calls).max(1);
        let ns = |took: Duration, times: usize| took.as_secs_f64() * 1e9 / times as f64;
        let cost = in_turns(
            || ns((0..walks).map(|_| rig.borrow().walk()).sum(), walks),
            || ns((0..wakes).map(|_| rig.borrow_mut().wake_up()).sum(), wakes),
        );
        report.row(&format!("calls: {calls}, one is due; a walk / a wake-up"), &cost);
    }
    if ratios::wanted() {
        report.write();
    }
}
