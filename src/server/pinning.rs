//! The cores that a shard's threads may run on, where `threads.cores` says so.
//!
//! Runs in: the main thread at start, which looks whether they are there; each thread of a shard, once, which keeps to them.
//! Owns nothing.
//! Invariant: cores that are not there, or too few, are found before any thread starts.

use log::warn;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::base::cores::Cores;
use crate::config::ThreadsConfig;

/// The cores of each shard; `None` for one that may run on all.
///
/// # Errors
/// That there are too few, or which of them this process may not use, with the remedy.
pub(super) fn of_shards(threads: &ThreadsConfig) -> Result<Vec<Option<Cores>>, String> {
    let shards = threads.shards.max(1);
    let Some(cores) = &threads.cores else { return Ok(vec![None; shards]) };
    let allowed = sched_getaffinity(None).map_err(|problem| {
        format!("threads.cores = \"{cores}\": the kernel does not say which cores there are: {problem}")
    })?;
    if let Some(core) = cores.numbers().iter().find(|core| !allowed.is_set(**core)) {
        let usable: Vec<String> =
            (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).map(|core| core.to_string()).collect();
        let usable =
            Cores::parse(&usable.join(",")).map_or_else(|_| "none".to_owned(), |cores| cores.to_string());
        return Err(format!(
            "threads.cores = \"{cores}\" has core {core}, which this process may not use: name some of {usable}"
        ));
    }
    let parts: Option<Vec<_>> = (0..shards).map(|shard| cores.part(shard, shards).map(Some)).collect();
    parts.ok_or_else(|| {
        format!(
            "threads.cores = \"{cores}\" has fewer cores than threads.shards = {shards}: name at least one for each shard, or \
             lower threads.shards"
        )
    })
}

/// Keeps this thread to `cores`, if there are any.
pub(super) fn keep_to(cores: Option<&Cores>) {
    let Some(cores) = cores else { return };
    let mut set = CpuSet::new();
    cores.numbers().iter().for_each(|core| set.set(*core));
    if let Err(problem) = sched_setaffinity(None, &set) {
        // They were there a moment ago.
        warn!("a thread cannot keep to the cores {cores} of threads.cores and runs on any: {problem}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn threads(cores: &str, shards: usize) -> ThreadsConfig {
        let mut threads = Config::default().threads;
        (threads.cores, threads.shards) = (Some(Cores::parse(cores).expect("a list")), shards);
        threads
    }

    /// The first core that tests may run on.
    fn a_core() -> usize {
        let allowed = sched_getaffinity(None).expect("a set");
        (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).expect("the test runs on one")
    }

    #[test]
    fn a_thread_keeps_to_the_cores_of_its_shard() {
        let core = a_core();
        let parts = of_shards(&threads(&core.to_string(), 1)).expect("one for one shard");
        let status = std::thread::spawn(move || {
            keep_to(parts[0].as_ref());
            std::fs::read_to_string("/proc/thread-self/status").expect("Linux")
        });
        let status = status.join().expect("no panic");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert_eq!(allowed.map(str::trim), Some(core.to_string().as_str()));
        assert_eq!(of_shards(&Config::default().threads), Ok(vec![None]));
    }

    #[test]
    fn too_few_cores_and_cores_that_are_not_there_are_named_with_the_remedy() {
        let core = a_core();
        assert_eq!(
            of_shards(&threads(&core.to_string(), 2)),
            Err(format!(
                "threads.cores = \"{core}\" has fewer cores than threads.shards = 2: name at least one for each shard, or \
                 lower threads.shards"
            ))
        );
        let said = of_shards(&threads("1023", 1)).expect_err("no machine for tests has so many");
        let begins = "threads.cores = \"1023\" has core 1023, which this process may not use: name some of ";
        assert!(said.starts_with(begins), "{said}");
    }
}
