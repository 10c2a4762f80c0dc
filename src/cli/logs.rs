//! The flags of the logs: what is said of requests, and what of the server itself.

use clap::Args;

use crate::config::{AccessLog, Config};
use crate::diagnostics::{self, Format, Level};
use crate::worker::{LogFormat, Redacted};

/// What is logged, where, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogFlags {
    /// Log requests to a file, or to stdout with -; SIGUSR1 opens the file anew
    #[arg(long, value_name = "PATH|-", env = "RINGWAY_ACCESS_LOG")]
    access_log: Option<AccessLog>,
    /// How a request is logged: combined, with the seconds taken and the request's id behind it, or an object a line
    #[arg(long, value_name = "combined|json", env = "RINGWAY_ACCESS_LOG_FORMAT", default_value = "combined")]
    access_log_format: LogFormat,
    /// What the log of requests must not show of targets and of Referer: query, credentials or both (repeatable;
    /// separated by commas)
    #[arg(long, value_name = "WHAT", env = "RINGWAY_ACCESS_LOG_REDACT", value_delimiter = ',')]
    access_log_redact: Vec<Redacted>,
    /// Give each request an id, its own X-Request-Id where that is fit, and show it to the application and the peer
    #[arg(long, env = "RINGWAY_REQUEST_ID", value_parser = clap::builder::FalseyValueParser::new())]
    request_id: bool,
    /// The least that is said on stderr
    #[arg(long, value_name = "error|warn|info|debug", env = "RINGWAY_LOG_LEVEL", default_value = "info")]
    log_level: Level,
    /// How it is said there: as text, or an object a line
    #[arg(long, value_name = "text|json", env = "RINGWAY_LOG_FORMAT", default_value = "text")]
    log_format: Format,
    /// How many faults of applications each worker says there in a second; the others are counted
    #[arg(long, value_name = "N", env = "RINGWAY_LOG_FAULTS", default_value = "10")]
    log_faults: u64,
}

impl LogFlags {
    /// What they mean for the server.
    pub(super) fn apply(&self, config: &mut Config) {
        config.access_log.clone_from(&self.access_log);
        config.access_log_format = self.access_log_format;
        config.access_log_redact = self.access_log_redact.iter().copied().collect();
        config.request_id = self.request_id;
    }

    /// What they mean for the lines on stderr.
    pub(super) fn configure_diagnostics(&self) {
        diagnostics::configure(self.log_level, self.log_format, self.log_faults);
    }
}
