//! `tandem bench`: finds how many calls this machine carries, and what listen.max_calls should be.
//!
//! Runs in: the main thread. Owns three processes for as long as it runs: a relay of its own, a simulator of the model, and the
//! generator of calls, which searches. Never leaves loopback, reads no configuration, and writes to a file only where it is told to.
//! Invariant: whatever is started here is ended before it returns.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use argh::FromArgs;
use serde_json::Value;

use super::Exit;

/// What of the knee is promised: what is short near it is not the average but the moment.
const PROMISED_PERCENT: u64 = 80;
/// Calls begun in a second: a step is to be its seconds, not its beginning.
const RAMP: &str = "200";
/// The configuration of the relay that is measured.
const CONFIGURATION: &str = "tandem.toml";
/// Milliseconds of the kernel's tick, as it tells it to every process.
const TICK_MS: u64 = 10;
/// Looks like a key of Google's; the simulator takes any.
const KEY: &str = "AIzaSyBench-simulated_0123456789abcdefgh";

/// Find how many calls this machine carries: starts a relay of its own, a simulator of Gemini and a generator of calls, all on
/// loopback, and tries more and more calls that talk all the time until round trips grow long or the generator is late. Prints a
/// table and what listen.max_calls should be. Takes one to three minutes, in which the machine should do nothing else. Settings of the relay
/// that is measured are given with --set before the command, as in tandem --set threads.shards=2 bench; no configuration is read.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "bench", help_triggers("-h", "--help"))]
pub struct Options {
    /// the most calls that are tried (default 2000)
    #[argh(option, default = "2000", arg_name = "calls")]
    max: u32,

    /// for how long each number of calls is measured (default 3)
    #[argh(option, default = "3", arg_name = "seconds")]
    seconds_per_step: u32,

    /// put max_calls into the section listen of this configuration; without it nothing is written
    #[argh(option, arg_name = "file")]
    write: Option<PathBuf>,
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// One number of calls that was tried, and the processor time of the relay until the next was.
struct Probe {
    found: Value,
    cpu_ms: u64,
}

/// Measures, prints, and writes where it was told to.
pub(super) fn run(options: &Options, sets: &[String]) -> Exit {
    measure(options, sets).unwrap_or_else(Exit::failure)
}

fn measure(options: &Options, sets: &[String]) -> Result<Exit, String> {
    if !(1..=20_000).contains(&options.max) || !(1..=60).contains(&options.seconds_per_step) {
        return Err("--max is 1 to 20000 and --seconds-per-step 1 to 60".to_owned());
    }
    let own = std::env::current_exe().map_err(|problem| format!("where am I? {problem}"))?;
    let [simulator, generator] = ["gemini-sim", "callgen"].map(|name| tool(&own, name));
    let (simulator, generator) = (simulator?, generator?);
    let work = own_directory()?;
    let found = find(options, sets, [&own, &simulator, &generator], &work);
    _ = fs::remove_dir_all(&work);
    let (knee, cpu_ms) = found?;
    let tried = knee["probes"].as_array().cloned().unwrap_or_default();
    let probes: Vec<Probe> =
        tried.into_iter().zip(cpu_ms).map(|(found, cpu_ms)| Probe { found, cpu_ms }).collect();
    told(options, &knee, &probes)
}

/// Has the three programs run in this directory: the generator's report, and the processor time of each number of calls.
fn find(
    options: &Options,
    sets: &[String],
    [own, simulator, generator]: [&Path; 3],
    work: &Path,
) -> Result<(Value, Vec<u64>), String> {
    let (_simulator, model) = start_simulator(simulator)?;
    let (relay, url) = start_relay(own, work, &model, options.max, sets)?;
    let report = work.join("knee.json");
    let cpu_ms = search(generator, &url, options, &report, relay.0.id())?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    let knee = serde_json::from_str(&text)
        .map_err(|_| format!("{} found nothing: see above", generator.display()))?;
    Ok((knee, cpu_ms))
}

/// The tool of this name: beside this program or in PATH, under the name that it has in the package or in the source tree.
fn tool(own: &Path, name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = own.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    let names = [format!("tandem-{name}"), name.to_owned()];
    let found =
        places.flat_map(|place| names.clone().map(|name| place.join(name))).find(|file| file.is_file());
    found.ok_or_else(|| {
        format!(
            "neither {} nor {} is beside {} or in PATH: they come with the Debian package, and are built with cargo build --release \
             --package tandem-loadtest",
            names[0],
            names[1],
            own.display()
        )
    })
}

/// A directory with an empty configuration, so that the relay reads no other: neither the service's keys nor its switch are touched.
fn own_directory() -> Result<PathBuf, String> {
    let work = std::env::temp_dir().join(format!("tandem-bench-{}", std::process::id()));
    let made = fs::create_dir(&work).and_then(|()| fs::write(work.join(CONFIGURATION), ""));
    made.map_err(|problem| format!("{}: {problem}", work.display()))?;
    Ok(work)
}

fn start_simulator(program: &Path) -> Result<(Running, String), String> {
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0", "--voice", "echo"]).stdin(Stdio::null());
    let mut child = spawn(command.stdout(Stdio::piped()), program)?;
    let mut line = String::new();
    if let Some(output) = child.0.stdout.take() {
        _ = BufReader::new(output).read_line(&mut line);
    }
    match line.trim().rsplit_once(' ') {
        Some((_, url)) if url.starts_with("ws") => Ok((child, url.to_owned())),
        _ => Err(format!("{} does not listen: {line:?}", program.display())),
    }
}

/// A relay of its own, which refuses nobody but by what is measured, and where it listens.
fn start_relay(
    own: &Path,
    work: &Path,
    model: &str,
    max: u32,
    sets: &[String],
) -> Result<(Running, String), String> {
    let mut command = Command::new(own);
    command.arg("--config").arg(work.join(CONFIGURATION));
    let mut set = |key: &str, value: &str| _ = command.args(["--set", &format!("{key}={value}")]);
    // The calls of the numbers that were tried before may be waited for still.
    set("listen.max_calls", &(u64::from(max) * 4).to_string());
    for key in ["listen.max_calls_per_second_per_address", "listen.max_calls_burst_per_address"] {
        set(key, "100000");
    }
    set("listen.refuse_when_overloaded", "false");
    sets.iter().for_each(|own| _ = command.args(["--set", own]));
    command
        .env_clear()
        .env("AUDIO_SOCKET_HOST", "127.0.0.1")
        .env("FREESWITCH_AUDIO_SOCKET_PORT", "0")
        .env("TANDEM_ADMIN_LISTEN", "127.0.0.1:0")
        .env("TANDEM_STORE_URL", "none")
        .env("GEMINI_BASE_URL", model)
        .env("GEMINI_API_KEY", KEY)
        // So little that the pipe takes all of it.
        .env("RUST_LOG", "error,tandem::server=info")
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = spawn(&mut command, own)?;
    let output = child.0.stderr.take().ok_or("the relay has no log")?;
    let (mut lines, mut log) = (BufReader::new(output), String::new());
    while lines.read_line(&mut log).is_ok_and(|read| read > 0) {
        if let Some((_, url)) = log.split_once("WebSocket server: ") {
            let url = url.trim().to_owned();
            // What comes later stays in the pipe, which has to stay open for it.
            child.0.stderr = Some(lines.into_inner());
            return Ok((child, url));
        }
    }
    Err(format!("the relay does not start:\n{log}"))
}

fn spawn(command: &mut Command, program: &Path) -> Result<Running, String> {
    command.spawn().map(Running).map_err(|problem| format!("{}: {problem}", program.display()))
}

/// Has the generator search. Returns the relay's processor time of each number of calls that was tried.
fn search(
    generator: &Path,
    url: &str,
    options: &Options,
    report: &Path,
    relay: u32,
) -> Result<Vec<u64>, String> {
    let mut command = Command::new(generator);
    command
        .args(["--url", url, "--ramp", RAMP])
        .args(["--knee", &options.max.to_string(), "--step-seconds", &options.seconds_per_step.to_string()])
        .arg("--report")
        .arg(report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = spawn(&mut command, generator)?;
    let output = child.0.stderr.take().ok_or("the generator says nothing")?;
    let (mut before, mut cpu_ms) = (cpu_of(relay), Vec::new());
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        _ = writeln!(std::io::stderr(), "{line}");
        if line.contains(" calls: ") {
            let now = cpu_of(relay);
            cpu_ms.push(now.saturating_sub(before));
            before = now;
        }
    }
    _ = child.0.wait();
    Ok(cpu_ms)
}

/// Milliseconds of processor time that a process has used.
fn cpu_of(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name in parentheses utime and stime are the 12th and the 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_MS
}

/// The table, the knee, and what follows.
fn told(options: &Options, knee: &Value, probes: &[Probe]) -> Result<Exit, String> {
    let mut output =
        format!("{:>6} {:>9} {:>9} {:>8} {:>14}  \n", "calls", "p50 ms", "p99 ms", "cpu s", "own late ms");
    for Probe { found, cpu_ms } in probes {
        let ms = |of: &str, which: &str| found[of][which].as_f64().unwrap_or_default();
        // Writing to a string cannot fail.
        _ = writeln!(
            output,
            "{:>6} {:>9.2} {:>9.2} {:>8.2} {:>14.2}  {}",
            found["calls"],
            ms("latency_ms", "p50"),
            ms("latency_ms", "p99"),
            *cpu_ms as f64 / 1000.0,
            ms("own_lateness_ms", "p99"),
            found["too_many"].as_str().unwrap_or("good")
        );
    }
    let (calls, limit) =
        (knee["calls"].as_u64().unwrap_or(0), knee["limited_by"].as_str().unwrap_or_default());
    if calls == 0 {
        return Ok(Exit {
            output,
            errors: format!("tandem: not even the fewest calls were good: {limit}\n"),
            status: 1,
        });
    }
    let cap = (calls * PROMISED_PERCENT / 100).max(1);
    _ = writeln!(output, "\nknee: {calls} calls; more: {limit}");
    if limit.contains("generator") || limit.contains("no more calls") {
        output += "It was not the relay that was the limit: it carries at least that many.\n";
    }
    output += "Simulator and generator run on the same processors: a relay alone carries more.\n";
    _ = writeln!(output, "\n# {PROMISED_PERCENT} % of it\n[listen]\nmax_calls = {cap}");
    if let Some(file) = &options.write {
        output += &write(file, cap)?;
    }
    Ok(Exit::success(output))
}

/// Puts the cap into a configuration, and says what was there before.
fn write(file: &Path, cap: u64) -> Result<String, String> {
    let name = file.display();
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(problem) => return Err(format!("{name}: {problem}")),
    };
    let (after, was) = with_cap(&before, cap);
    toml::from_str::<toml::Table>(&after).map_err(|problem| format!("{name} is left as it is: {problem}"))?;
    fs::write(file, after).map_err(|problem| format!("{name}: {problem}"))?;
    let was = was.unwrap_or_else(|| "not there".to_owned());
    Ok(format!("\nWritten to {name}, where it was: {was}. The relay has to be started again.\n"))
}

/// The text with max_calls in its section listen, and the line that was in its place.
fn with_cap(text: &str, cap: u64) -> (String, Option<String>) {
    let line = format!("max_calls = {cap}");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(head) = lines.iter().position(|line| line.trim() == "[listen]") else {
        lines.extend(["[listen]".to_owned(), line]);
        return (lines.join("\n") + "\n", None);
    };
    let section = lines.iter().skip(head + 1).take_while(|line| !line.trim_start().starts_with('[')).count();
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let within = head + 1..head + 1 + section;
    let set = within.clone().find(|n| key(&lines[*n]) == "max_calls");
    match set
        .or_else(|| within.clone().find(|n| key(lines[*n].trim_start_matches(['#', ' '])) == "max_calls"))
    {
        Some(place) => {
            let was = std::mem::replace(&mut lines[place], line);
            (lines.join("\n") + "\n", Some(was.trim().to_owned()))
        }
        None => {
            lines.insert(head + 1, line);
            (lines.join("\n") + "\n", None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_takes_the_place_of_the_one_that_is_set_or_commented_out_and_nothing_else_changes() {
        let table = [
            ("", "[listen]\nmax_calls = 80\n"),
            ("[leg]\nrate = 8000\n", "[leg]\nrate = 8000\n[listen]\nmax_calls = 80\n"),
            ("[listen]\nport = 1\n[leg]\n", "[listen]\nmax_calls = 80\nport = 1\n[leg]\n"),
            ("[listen]\nport = 1\nmax_calls = 5 # mine\n", "[listen]\nport = 1\nmax_calls = 80\n"),
            ("[listen]\n# max_calls = 1000\nport = 1\n", "[listen]\nmax_calls = 80\nport = 1\n"),
            (
                "[listen]\n# max_calls = 1000\nmax_calls = 9\n",
                "[listen]\n# max_calls = 1000\nmax_calls = 80\n",
            ),
            (
                "[listen]\n# max_calls_burst_per_address = 5\n[x]\nmax_calls = 1\n",
                "[listen]\nmax_calls = 80\n# max_calls_burst_per_address = 5\n[x]\nmax_calls = 1\n",
            ),
        ];
        for (before, after) in table {
            assert_eq!(with_cap(before, 80).0, after, "{before:?}");
        }
        assert_eq!(with_cap("[listen]\nmax_calls = 5\n", 80).1.as_deref(), Some("max_calls = 5"));
    }

    #[test]
    fn a_missing_tool_is_named_with_what_brings_it() {
        let problem = tool(Path::new("/nowhere/tandem"), "no-such-tool").expect_err("there is none");
        assert!(
            problem.contains("tandem-no-such-tool") && problem.contains("--package tandem-loadtest"),
            "{problem}"
        );
    }

    #[test]
    fn what_is_told_names_the_cap_and_whether_the_generator_was_the_limit() {
        let options = Options { max: 100, seconds_per_step: 1, write: None };
        let knee = |limit: &str, calls: u64| serde_json::json!({"calls": calls, "limited_by": limit});
        let relay = told(&options, &knee("round trips of 90.0 ms at p99", 50), &[]).expect("told");
        assert!(relay.output.contains("max_calls = 40") && !relay.output.contains("at least"), "{relay:?}");
        let late =
            told(&options, &knee("the generator's own lateness: 7.0 ms at p99", 50), &[]).expect("told");
        assert!(late.output.contains("at least that many"), "{late:?}");
        assert_eq!(told(&options, &knee("nothing came back", 0), &[]).expect("told").status, 1);
    }
}
