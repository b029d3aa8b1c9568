//! The doorbell under every interleaving: no ring is lost, a batch of rings wakes the consumer once where it waits, and what is due is
//! found.
//!
//! `src/sync/pending.rs` and `src/sync/due.rs` are built here a second time, with loom's atomics in place of the real ones.

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Notify};
use loom::thread;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}
#[path = "../src/sync/due.rs"]
#[expect(unreachable_pub, reason = "public where it is at home")]
mod due;
#[path = "../src/sync/pending.rs"]
mod pending;

use atomics::Ordering;
use due::DueSet;
use pending::{Pending, Waits};

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
                    if shared.pending.raise().is_some() {
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
fn a_ring_wakes_the_thread_where_it_waits_and_none_goes_where_it_has_been() {
    // Whether the wait apart is over before anybody rings, which no ring may rely on.
    for is_over_at_once in [false, true] {
        loom::model(move || {
            let pending = Arc::new(Pending::default());
            let (home, apart) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let ringer = {
                let (pending, home, apart) = (Arc::clone(&pending), Arc::clone(&home), Arc::clone(&apart));
                thread::spawn(move || match pending.raise() {
                    Some(Waits::Home) => home.notify(),
                    Some(Waits::Apart) => apart.notify(),
                    None => panic!("nobody else rings"),
                })
            };
            // Waits end without a ring too, in loom as in life.
            while !pending.lower() {
                if !pending.go_apart() && !is_over_at_once {
                    apart.wait();
                }
                if !pending.come_home() {
                    home.wait();
                }
            }
            ringer.join().unwrap();
        });
    }
}

#[test]
fn rings_before_the_answer_wake_once() {
    loom::model(|| {
        let pending = Arc::new(Pending::default());
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let pending = Arc::clone(&pending);
                thread::spawn(move || usize::from(pending.raise().is_some()))
            })
            .collect();
        let woken: usize = ringers.into_iter().map(|ringer| ringer.join().unwrap()).sum();
        assert_eq!(woken, 1);
        assert!(pending.lower());
        assert!(pending.raise().is_some(), "after the answer the next ring wakes again");
    });
}

#[test]
fn what_was_marked_is_found_behind_the_ring_whatever_the_interleaving() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let due = Arc::new(DueSet::new(70));
        let pending = Arc::new(Pending::default());
        // What each producer has put so far: a ring of which only the filling is looked at.
        let put: Arc<Vec<AtomicUsize>> = Arc::new((0..2).map(|_| AtomicUsize::new(0)).collect());
        let parked = Arc::new(Notify::new());
        // One place in each of the set's words; the first has two things to say.
        let producers: Vec<_> = [(0, 3, 2), (1, 69, 1)]
            .into_iter()
            .map(|(n, place, times)| {
                let (due, pending) = (Arc::clone(&due), Arc::clone(&pending));
                let (put, parked) = (Arc::clone(&put), Arc::clone(&parked));
                thread::spawn(move || {
                    for _ in 0..times {
                        put[n].store(put[n].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                        due.mark(place);
                        if pending.raise().is_some() {
                            parked.notify();
                        }
                    }
                })
            })
            .collect();
        // Looks at nothing that is not due; a mark that was lost would park it for ever.
        let mut seen = [0, 0];
        while seen != [2, 1] {
            pending.lower();
            for piece in 0..due.pieces() {
                for place in due.take(piece) {
                    let n = usize::from(place == 69);
                    seen[n] = put[n].load(Ordering::Relaxed);
                }
            }
            if seen != [2, 1] && !pending.is_raised() {
                parked.wait();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn places_are_given_out_once_in_their_order_and_none_beyond_the_room() {
    loom::model(|| {
        let due = DueSet::new(130);
        let places = [0, 1, 63, 64, 127, 129];
        places.into_iter().chain([129, 192, usize::MAX]).for_each(|place| due.mark(place));
        let taken: Vec<usize> = (0..due.pieces() + 1).flat_map(|piece| due.take(piece)).collect();
        assert_eq!((taken.as_slice(), due.is_empty()), (&places[..], true));
    });
}
