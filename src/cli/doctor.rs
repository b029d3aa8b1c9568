//! The options of `tandem doctor`.
//!
//! Runs in: the main thread. Owns nothing. Never examines anything: `crate::doctor` does.

use std::path::PathBuf;

use argh::FromArgs;

/// Find what is wrong between the switch and Gemini: configuration, port, switch, scripts, network, key and model, and a
/// test call through the running relay. Changes nothing. The exit status is 1 when something is bad.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
pub struct Options {
    /// print JSON
    #[argh(switch)]
    pub json: bool,

    /// directory of FreeSWITCH's configuration; the usual places by default
    #[argh(option, arg_name = "dir")]
    pub freeswitch: Option<PathBuf>,

    /// make no test call
    #[argh(switch)]
    pub no_call: bool,
}
