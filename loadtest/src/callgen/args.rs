//! What argh does not do itself: `--name=value`, `--version`, the file limit, and exit statuses.
//!
//! Runs in: the load tools' `main`. Owns nothing. Invariant: arguments after `--` are left alone.

use argh::FromArgs;

/// Exit status of wrong usage.
pub const EXIT_USAGE: u8 = 2;

/// Splits `--name=value` into two arguments.
pub fn split_equals(args: impl Iterator<Item = String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut options = true;
    for arg in args {
        options &= arg != "--";
        match arg.split_once('=') {
            Some((name, value)) if options && name.starts_with("--") && name.len() > 2 => {
                out.extend([name.to_owned(), value.to_owned()]);
            }
            _ => out.push(arg),
        }
    }
    out
}

/// Parses this process's arguments as those of `tool`; prints help, version or what is wrong, and then gives the exit
/// status instead.
///
/// # Errors
/// The exit status: 0 after help and version, [`EXIT_USAGE`] after a mistake.
pub fn parse<T: FromArgs>(tool: &str) -> Result<T, u8> {
    let args = split_equals(std::env::args().skip(1));
    if args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--version") {
        println!("{tool} {}", env!("CARGO_PKG_VERSION"));
        return Err(0);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    T::from_args(&[tool], &args).map_err(|exit| match exit.status {
        Ok(()) => {
            println!("{}", exit.output.trim_end());
            0
        }
        Err(()) => {
            eprintln!("{}\nRun {tool} --help for the options.", exit.output.trim_end());
            EXIT_USAGE
        }
    })
}

/// Raises the limit of open files to what the system allows.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        log::warn!("cannot raise the limit of open files: {e}; many calls may fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_signs_are_split_in_options_only() {
        let args = ["--a=b=c", "--flag", "x=y", "-n=3", "--", "--d=e"].map(str::to_owned);
        let split = split_equals(args.into_iter());
        assert_eq!(split, ["--a", "b=c", "--flag", "x=y", "-n=3", "--", "--d=e"]);
    }
}
