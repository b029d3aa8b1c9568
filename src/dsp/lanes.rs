//! The widest vector instructions of the processor that runs this, found once: one build serves every machine.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns what was found. Never allocates.
//! Invariant: no result depends on the width. A loop writes its additions down in an order of its own, lane by lane, and
//! neither the compiler nor a processor changes it: products are rounded before they are added, whatever the processor
//! could do in one step.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// What is known of the processor. Afterwards this is a plain read.
static WIDEST: LazyLock<Arch> = LazyLock::new(Arch::new);

/// A loop over lanes. What [`Work::run`] calls has to be inlined into it (`#[inline(always)]`), for only that is compiled
/// once for each width.
pub(crate) trait Work {
    /// What it gives.
    type Output;
    /// Does it.
    fn run(self) -> Self::Output;
}

/// Does the work with the widest vectors that there are.
#[inline]
pub(crate) fn widest<W: Work>(work: W) -> W::Output {
    WIDEST.dispatch(AtAnyWidth(work))
}

struct AtAnyWidth<W>(W);

impl<W: Work> WithSimd for AtAnyWidth<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Output {
        self.0.run()
    }
}
