//! The doorbell under every interleaving: no ring is lost, and a batch of rings wakes the consumer once.
//!
//! The flag of `src/sync/pending.rs` is built here a second time, with loom's atomics in place of the real ones.

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Notify};
use loom::thread;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
}
#[path = "../src/sync/pending.rs"]
mod pending;

use atomics::Ordering;
use pending::Pending;

struct Shared {
    pending: Pending,
    work: AtomicUsize,
    wakes: AtomicUsize,
    /// Stands for the parked thread: a wake-up before the wait is remembered, as unpark does.
    parked: Notify,
}

#[test]
fn no_ring_is_lost_whatever_the_interleaving() {
    let mut model = loom::model::Builder::new();
    // Two producers beside the consumer's loop; more preemptions than this multiply the walk and add no new order of
    // one flag and one counter.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new(Shared {
            pending: Pending::default(),
            work: AtomicUsize::new(0),
            wakes: AtomicUsize::new(0),
            parked: Notify::new(),
        });
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.work.fetch_add(1, Ordering::Relaxed);
                    if shared.pending.raise() {
                        shared.wakes.fetch_add(1, Ordering::Relaxed);
                        shared.parked.notify();
                    }
                })
            })
            .collect();
        // The loop of every parked thread here. A lost ring would park it for ever, which loom reports as a deadlock.
        let mut done = 0;
        while done < 2 {
            shared.pending.lower();
            done += shared.work.swap(0, Ordering::Relaxed);
            if done < 2 && !shared.pending.is_raised() {
                shared.parked.wait();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(shared.wakes.load(Ordering::Relaxed) <= 2);
    });
}

#[test]
fn rings_before_the_answer_wake_once() {
    loom::model(|| {
        let pending = Arc::new(Pending::default());
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let pending = Arc::clone(&pending);
                thread::spawn(move || usize::from(pending.raise()))
            })
            .collect();
        let woken: usize = ringers.into_iter().map(|ringer| ringer.join().unwrap()).sum();
        assert_eq!(woken, 1);
        assert!(pending.lower());
        assert!(pending.raise(), "after the answer the next ring wakes again");
    });
}
