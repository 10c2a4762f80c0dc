//! What can be typed: the flags with their environment variables, and what they mean as a `Config`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::buffer::BLOCK_SIZE;
use crate::config::{Address, Config, Io, Pin, duration_from, size_from};
use crate::http::head::FIELD_COUNT_MAX;
use crate::sys::service;

use super::admin::AdminFlags;
use super::logs::LogFlags;
use super::operate::OperateFlags;
use super::proxy::ProxyFlags;

/// An io_uring HTTP/1.1 server with a gateway interface.
#[derive(Debug, Parser)]
#[command(name = "ringway", bin_name = "ringway", version, args_conflicts_with_subcommands = true)]
pub(super) struct Command {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    /// The application to serve, as module:callable; `ringway apps` lists them [default: the linked one, where there
    /// is only one]
    #[arg(value_name = "module:callable", env = "RINGWAY_APP")]
    pub(super) app: Option<String>,
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the linked applications
    Apps,
    /// Say whether io_uring is usable here, which features, which limits, and what to do if not
    Doctor {
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

/// The flags of serving.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Mount an application at a path, /api=echo:app (repeatable; separated by commas in the variable)
    #[arg(long, value_name = "PATH=APP", env = "RINGWAY_MOUNT", value_delimiter = ',', value_parser = mount_from)]
    pub(super) mount: Vec<(String, String)>,
    /// Listen on host:port, [::1]:port, :port, unix:/path or fd://N (repeatable; separated by commas in the
    /// variable) [default: the sockets that systemd passes, else 127.0.0.1:8888, or 0.0.0.0:$PORT with PORT set]
    #[arg(long, value_name = "ADDRESS", env = "RINGWAY_BIND", value_delimiter = ',')]
    bind: Vec<Address>,
    /// Workers [default: WEB_CONCURRENCY, or the available processors]
    #[arg(long, value_name = "N", env = "RINGWAY_WORKERS", value_parser = count_from)]
    workers: Option<usize>,
    /// Call the application in N threads of each worker, for one that blocks; not for one that awaits [default: on the
    /// worker's own thread]
    #[arg(long, value_name = "N", env = "RINGWAY_THREADS", value_parser = threads_from)]
    pub(super) threads: Option<usize>,
    /// The driver: auto takes io_uring where the kernel allows it, else epoll
    #[arg(long, value_name = "auto|uring|epoll", env = "RINGWAY_IO", default_value = "auto")]
    io: Io,
    /// Bind each worker to a processor; auto does not where workers exceed the processors
    #[arg(long, value_name = "auto|off", env = "RINGWAY_PIN", default_value = "auto")]
    pin: Pin,
    /// How long running requests may take to finish after SIGTERM or Ctrl-C
    #[arg(long, value_name = "TIME", env = "RINGWAY_GRACEFUL_TIMEOUT", default_value = "30s", value_parser = duration_from)]
    graceful_timeout: Duration,
    #[command(flatten)]
    pub(super) logs: LogFlags,
    #[command(flatten)]
    pub(super) admin: AdminFlags,
    #[command(flatten)]
    pub(super) python: PythonFlags,
    #[command(flatten)]
    pub(super) operate: OperateFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// How an application is found that is not linked, and in what surroundings.
#[derive(Debug, Args)]
pub(super) struct PythonFlags {
    /// What a name means: auto takes a linked application, else a Python one
    #[arg(long, value_name = "auto|linked|wsgi", env = "RINGWAY_INTERFACE", default_value = "auto")]
    pub(super) interface: Interface,
    /// Change to this directory before anything else
    #[arg(long, value_name = "PATH", env = "RINGWAY_CHDIR")]
    pub(super) chdir: Option<PathBuf>,
    /// Directories that Python imports from before others (repeatable; separated by colons)
    #[arg(long, value_name = "PATH", env = "RINGWAY_PYTHONPATH", value_delimiter = ':')]
    pub(super) pythonpath: Vec<PathBuf>,
    /// Set a variable of the environment for the application (repeatable; separated by commas in the variable)
    #[arg(long, value_name = "NAME=VALUE", env = "RINGWAY_ENV", value_delimiter = ',', value_parser = setting_from)]
    pub(super) env: Vec<(String, String)>,
}

/// What the name of an application means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Auto,
    Linked,
    Wsgi,
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Interface, String> {
        match text {
            "auto" => Ok(Interface::Auto),
            "linked" => Ok(Interface::Linked),
            "wsgi" => Ok(Interface::Wsgi),
            _ => Err("write auto, linked or wsgi".into()),
        }
    }
}

/// Sizes and deadlines of a connection.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
struct LimitFlags {
    /// Connections at a time; more wait in the listen queue [default: the hard limit of descriptors, less what
    /// the server needs and a reserve of 16]
    #[arg(long, value_name = "N", env = "RINGWAY_CONNECTIONS_MAX", value_parser = count_from)]
    connections_max: Option<usize>,
    /// Blocks of 16 KiB that peers may hold of a worker while they make it wait, at least 128; past it 503
    #[arg(long, value_name = "N", env = "RINGWAY_BLOCKS_MAX", default_value = "4096", value_parser = blocks_from)]
    blocks_max: usize,
    /// Bytes of a request line
    #[arg(long, value_name = "SIZE", env = "RINGWAY_REQUEST_LINE_MAX", default_value = "8k", value_parser = head_size_from)]
    request_line_max: usize,
    /// Bytes of a request's head, at most 16k
    #[arg(long, value_name = "SIZE", env = "RINGWAY_HEAD_MAX", default_value = "16k", value_parser = head_size_from)]
    head_max: usize,
    /// Fields of a request's head, at most 100
    #[arg(long, value_name = "N", env = "RINGWAY_FIELDS_MAX", default_value_t = FIELD_COUNT_MAX, value_parser = fields_from)]
    fields_max: usize,
    /// Bytes of a request's body; 0 is no limit
    #[arg(long, value_name = "SIZE", env = "RINGWAY_BODY_MAX", default_value = "1M", value_parser = size_from)]
    body_max: u64,
    /// Bytes of a body that are kept in memory; a larger one is spooled to a file
    #[arg(long, value_name = "SIZE", env = "RINGWAY_BODY_MEMORY", default_value = "1M", value_parser = size_from)]
    body_memory: u64,
    /// Bytes of all bodies of a worker that are arriving, as far as they are in memory; past it 503. What an application
    /// keeps of those that have arrived does not count
    #[arg(long, value_name = "SIZE", env = "RINGWAY_BODIES_MAX", default_value = "256M", value_parser = size_from)]
    bodies_max: u64,
    /// Where large bodies are spooled, to files without a name [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "PATH", env = "RINGWAY_SPOOL_DIR")]
    spool_dir: Option<PathBuf>,
    /// Bytes of chunk extensions in a body
    #[arg(long, value_name = "SIZE", env = "RINGWAY_CHUNK_EXT_MAX", default_value = "4k", value_parser = bytes_from)]
    chunk_ext_max: usize,
    /// Bytes of trailer fields
    #[arg(long, value_name = "SIZE", env = "RINGWAY_TRAILER_MAX", default_value = "8k", value_parser = bytes_from)]
    trailer_max: usize,
    /// Trailer fields
    #[arg(long, value_name = "N", env = "RINGWAY_TRAILERS_MAX", default_value = "32")]
    trailers_max: usize,
    /// From the accept to the first byte of a request, and from the first byte of a head to its last
    #[arg(long, value_name = "TIME", env = "RINGWAY_HEAD_TIMEOUT", default_value = "10s", value_parser = deadline_from)]
    head_timeout: Duration,
    /// Without a byte of a body
    #[arg(long, value_name = "TIME", env = "RINGWAY_BODY_IDLE", default_value = "30s", value_parser = deadline_from)]
    body_idle: Duration,
    /// Bytes a second that a peer must send of a body or take of a response, in every minute; 0 is no limit
    #[arg(long, value_name = "SIZE", env = "RINGWAY_RATE_MIN", default_value = "240", value_parser = size_from)]
    rate_min: u64,
    /// Without a request on an open connection; at most 2s while four fifths of the connections are taken
    #[arg(long, value_name = "TIME", env = "RINGWAY_KEEPALIVE", default_value = "60s", value_parser = deadline_from)]
    keepalive: Duration,
    /// Without a peer taking a byte of what is sent
    #[arg(long, value_name = "TIME", env = "RINGWAY_WRITE_IDLE", default_value = "30s", value_parser = deadline_from)]
    write_idle: Duration,
    /// For a peer to close after the server has half-closed
    #[arg(long, value_name = "TIME", env = "RINGWAY_LINGER_TIMEOUT", default_value = "2s", value_parser = deadline_from)]
    linger_timeout: Duration,
    /// Bytes of a refused body that are read away, for as long as a linger, to keep the connection
    #[arg(long, value_name = "SIZE", env = "RINGWAY_DRAIN_MAX", default_value = "64k", value_parser = size_from)]
    drain_max: u64,
    /// Requests of one connection in a turn before the others come first
    #[arg(long, value_name = "N", env = "RINGWAY_TURN_MAX", default_value = "32", value_parser = count_from)]
    turn_max: usize,
}

impl Flags {
    /// The configuration, with `PORT` and `WEB_CONCURRENCY` where no flag says otherwise.
    ///
    /// # Errors
    /// A line about a variable that cannot be read.
    pub(super) fn config(&self) -> Result<Config, String> {
        let mut config = Config {
            io: self.io,
            pin: self.pin,
            graceful_timeout: self.graceful_timeout,
            connection_count_max: self.limits.connections_max,
            block_count_max: self.limits.blocks_max,
            ..Config::default()
        };
        let passed = service::listeners();
        if !self.bind.is_empty() {
            config.binds.clone_from(&self.bind);
        } else if !passed.is_empty() {
            config.binds = passed.into_iter().map(Address::Descriptor).collect();
        } else if let Some(port) = variable("PORT") {
            let port = port.parse().map_err(|_| format!("PORT: `{port}` is no port from 0 to 65535"))?;
            config.binds = vec![Address::Inet("0.0.0.0".into(), port)];
        }
        if let Some(workers) = self.workers {
            config.worker_count = workers;
        } else if let Some(workers) = variable("WEB_CONCURRENCY") {
            config.worker_count =
                count_from(&workers).map_err(|error| format!("WEB_CONCURRENCY: `{workers}`: {error}"))?;
        }
        self.logs.apply(&mut config);
        self.limits.apply(&mut config);
        self.proxy.apply(&mut config)?;
        if let Some(directory) = self.limits.spool_dir.clone().or(variable("TMPDIR").map(PathBuf::from)) {
            config.spool_dir = directory;
        }
        Ok(config)
    }
}

impl LimitFlags {
    fn apply(&self, config: &mut Config) {
        let limits = &mut config.limits;
        limits.head.request_line_max = self.request_line_max;
        limits.head.head_max = self.head_max;
        limits.head.field_count_max = self.fields_max;
        limits.body.body_max = if self.body_max == 0 { u64::MAX } else { self.body_max };
        limits.body_memory = self.body_memory;
        limits.bodies_max = self.bodies_max;
        limits.body.extension_max = self.chunk_ext_max;
        limits.body.trailer_max = self.trailer_max;
        limits.body.trailer_count_max = self.trailers_max;
        limits.head_timeout = self.head_timeout;
        limits.body_idle = self.body_idle;
        limits.rate_min = self.rate_min;
        limits.keepalive = self.keepalive;
        limits.write_idle = self.write_idle;
        limits.linger_timeout = self.linger_timeout;
        limits.drain_max = self.drain_max;
        limits.turn_max = self.turn_max;
    }
}

const HEADING: &str = "Limits and deadlines";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn count_from(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("write a whole number from 1 to 1000000".into()),
    }
}

/// A worker needs a block to receive into and one to send from, for more than one connection.
fn blocks_from(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 128..=1_000_000) => Ok(count),
        _ => Err("write a whole number from 128 to 1000000; 64 are with the kernel".into()),
    }
}

fn fields_from(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=FIELD_COUNT_MAX).contains(&count) => Ok(count),
        _ => Err(format!("write a whole number from 1 to {FIELD_COUNT_MAX}")),
    }
}

/// A deadline of nothing would end every connection at once.
fn deadline_from(text: &str) -> Result<Duration, String> {
    match duration_from(text)? {
        Duration::ZERO => Err("more than nothing is needed".into()),
        duration => Ok(duration),
    }
}

fn bytes_from(text: &str) -> Result<usize, String> {
    usize::try_from(size_from(text)?).map_err(|_| "that is more than can be counted".into())
}

/// A head lies in one block.
fn head_size_from(text: &str) -> Result<usize, String> {
    match bytes_from(text)? {
        size if (64..=BLOCK_SIZE).contains(&size) => Ok(size),
        _ => Err(format!("from 64 to {BLOCK_SIZE} bytes are allowed")),
    }
}

fn mount_from(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, app)) if path.starts_with('/') && !app.is_empty() => Ok((path.to_string(), app.to_string())),
        _ => Err("write /path=module:callable".into()),
    }
}

fn threads_from(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("write a whole number from 1 to 1024".into()),
    }
}

fn setting_from(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_string(), value.to_string())),
        _ => Err("write NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::stats::Limit;

    #[test]
    fn every_flag_has_a_variable() {
        let command = Command::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let long = argument.get_long().unwrap_or_default();
            if !["help", "version"].contains(&long) {
                let variable = argument.get_env().unwrap_or_default().to_string_lossy().into_owned();
                assert_eq!(variable, format!("RINGWAY_{}", long.to_uppercase().replace('-', "_")));
            }
        }
    }

    #[test]
    fn every_limit_has_a_flag_or_says_that_it_has_none() {
        let command = Command::command();
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        for limit in Limit::ALL {
            let has_none = matches!(limit, Limit::Descriptors | Limit::ChunkOverhead | Limit::ReadAhead);
            assert_eq!(!has_none, flags.contains(&limit.name()), "{limit:?}");
        }
        for argument in command.get_arguments().filter(|one| one.get_help_heading() == Some(HEADING)) {
            let flag = argument.get_long().unwrap_or_default();
            assert!(Limit::ALL.iter().any(|limit| limit.name() == flag), "--{flag} has no counter");
        }
    }

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_library() {
        let typed = Command::parse_from(["ringway", "hello:app"]).flags;
        let mut config = Config::default();
        typed.limits.apply(&mut config);
        assert_eq!(typed.proxy.apply(&mut config), Ok(()));
        typed.logs.apply(&mut config);
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}
