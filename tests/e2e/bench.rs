//! `tandem bench`: with the real generator and simulator, as small as it can be.
//!
//! Runs in: the test's thread. Owns nothing. Invariant: no figure is judged, only that what is found is told and written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::in_company;
use crate::harness::process::command;

/// The programs of the loadtest package, which are built with the workspace's tests.
fn are_built() -> bool {
    let beside = Path::new(env!("CARGO_BIN_EXE_tandem")).parent().expect("a directory");
    ["callgen", "gemini-sim"].iter().all(|name| beside.join(name).is_file())
}

#[test]
fn what_a_machine_carries_is_told_and_written_where_it_was_asked_for() {
    let _turn = in_company();
    assert!(are_built(), "cargo test --workspace builds callgen and gemini-sim");
    let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-bench.toml");
    fs::write(&file, "[listen]\n# max_calls = 1000\nport = 9094\n").expect("a writable directory");
    let file_name = file.to_str().expect("text");
    let arguments = ["bench", "--max", "2", "--seconds-per-step", "1", "--write", file_name];
    let output = command(&arguments, &[]).output().expect("it runs");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A machine that is busy with other tests may have a late generator, which is told as what it is.
    if output.status.success() {
        assert!(told.contains("max_calls = 1") && told.contains("at least that many"), "{told}{errors}");
        let written = fs::read_to_string(&file).expect("it is there");
        assert_eq!(written, "[listen]\nmax_calls = 1\nport = 9094\n");
    } else {
        assert!(errors.contains("not even the fewest calls were good"), "{told}{errors}");
    }
}

#[test]
fn without_its_tools_the_bench_says_where_they_come_from() {
    let _turn = in_company();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-bench-alone");
    fs::create_dir_all(&directory).expect("a writable directory");
    let alone = directory.join("tandem");
    fs::copy(env!("CARGO_BIN_EXE_tandem"), &alone).expect("room on the disk");
    let output = std::process::Command::new(&alone).arg("bench").env_clear().output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("tandem-gemini-sim"), "{errors}");
}
