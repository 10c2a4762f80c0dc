//! How the server is run as a service: its flags, and what is done before anything serves.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::config::{Address, duration_from};
use crate::server::listeners::Listeners;
use crate::sys;
use crate::sys::service::{self, Identity};

/// What workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolate {
    /// Processes where an interpreter is involved, else threads.
    Auto,
    /// Threads of one process.
    Threads,
    /// Processes of their own.
    Processes,
}

/// The flags of a service.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operation")]
pub(super) struct OperateFlags {
    /// Serve in the one process that was started: nothing is started again, HUP and USR2 are ignored
    #[arg(long, env = "RINGWAY_NO_SUPERVISOR")]
    pub(super) no_supervisor: bool,
    /// Workers as threads of one process or as processes of their own; auto: processes where an interpreter is
    /// involved, else threads
    #[arg(long, value_name = "auto|threads|processes", env = "RINGWAY_ISOLATE", default_value = "auto")]
    pub(super) isolate: Isolate,
    /// Replace a process of workers when it has served about N requests, each at up to a tenth more
    #[arg(long, value_name = "N", env = "RINGWAY_MAX_REQUESTS", value_parser = requests_from, conflicts_with = "no_supervisor")]
    max_requests: Option<u64>,
    /// Start anew when a file of the application changes, for development
    #[arg(long, env = "RINGWAY_RELOAD", conflicts_with = "no_supervisor")]
    pub(super) reload: bool,
    /// How long to serve on after SIGTERM or Ctrl-C, not ready any more, before the end begins
    #[arg(long, value_name = "TIME", env = "RINGWAY_DRAIN_DELAY", default_value = "0s", value_parser = duration_from)]
    pub(super) drain_delay: Duration,
    /// Become this user, by name or number, once the addresses are bound
    #[arg(long, value_name = "USER", env = "RINGWAY_USER")]
    user: Option<String>,
    /// Become of this group [default: the user's]
    #[arg(long, value_name = "GROUP", env = "RINGWAY_GROUP")]
    group: Option<String>,
    /// Permissions that new files and unix sockets do not get, in octal
    #[arg(long, value_name = "MASK", env = "RINGWAY_UMASK", value_parser = umask_from)]
    umask: Option<u32>,
    /// Write the process id to this file, which is removed at the end
    #[arg(long, value_name = "PATH", env = "RINGWAY_PID_FILE")]
    pid_file: Option<PathBuf>,
}

/// What a service has in hand before it serves.
pub(super) struct Ground {
    pub(super) listeners: Listeners,
    /// Where the numbers are shown.
    pub(super) admin: Listeners,
    /// Removed with it.
    pub(super) pid_file: Option<PidFile>,
}

/// Why there is no ground.
pub(super) enum Unfit {
    /// A flag means nothing here.
    Misused(String),
    Failed(io::Error),
}

/// A file with the process id; dropping it removes it.
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl OperateFlags {
    /// Binds the addresses with `count` sockets each, then gives up what privileges there are; the rings are made
    /// afterwards.
    pub(super) fn prepare(&self, addresses: &[Address], admin: &[Address], count: usize) -> Result<Ground, Unfit> {
        let identity = Identity { user: self.user.clone(), group: self.group.clone() };
        let ids = identity.find().map_err(Unfit::Misused)?;
        if let Some(mask) = self.umask {
            service::set_umask(mask);
        }
        let listeners = Listeners::bind(addresses, count).map_err(Unfit::Failed)?;
        let admin = Listeners::bind(admin, 1).map_err(Unfit::Failed)?;
        let pid_file = self.pid_file()?;
        if let Some(ids) = ids {
            let fail = |error: io::Error| {
                let line = format!("cannot become --user or --group: {error}; only root may become another");
                Unfit::Failed(io::Error::new(error.kind(), line))
            };
            listeners.files().chain(admin.files()).try_for_each(|path| ids.own(path)).map_err(fail)?;
            pid_file.iter().try_for_each(|pid_file| ids.own_file(&pid_file.file)).map_err(fail)?;
            ids.assume().map_err(fail)?;
        }
        Ok(Ground { listeners, admin, pid_file })
    }

    /// Requests that this process is to serve before another takes its place: up to a tenth more than was asked for, so that
    /// those that began together do not all go at a time.
    pub(super) fn request_count_max(&self) -> Option<u64> {
        self.max_requests.map(|count| count.saturating_add(sys::random_number() % (count / 10 + 1)))
    }

    /// The file of `--pid-file`, written.
    pub(super) fn pid_file(&self) -> Result<Option<PidFile>, Unfit> {
        self.pid_file.as_deref().map(PidFile::write).transpose().map_err(Unfit::Failed)
    }
}

impl PidFile {
    /// Writes the file, unless it names another process that lives.
    fn write(path: &Path) -> io::Result<PidFile> {
        let (shown, own) = (path.display(), std::process::id());
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot write the pid file {shown}: {error}"));
        let (mut file, named) = PidFile::open(path).map_err(failed)?;
        let lives = |other: &u32| *other != own && Path::new(&format!("/proc/{other}")).exists();
        if let Some(other) = named.filter(lives) {
            return Err(io::Error::other(format!(
                "the pid file {shown} names process {other}, which lives; end it, or remove the file"
            )));
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{own}")).map_err(failed)?;
        Ok(PidFile { path: path.to_path_buf(), file })
    }

    /// The file, and the process that it names.
    fn open(path: &Path) -> io::Result<(File, Option<u32>)> {
        // Who may write to the directory must not have another file written to, or given away, through a link, nor have
        // this process wait for a pipe.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file =
            File::options().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other("it is no plain file of its own"));
        }
        let mut text = String::new();
        (&file).take(ID_SIZE_MAX).read_to_string(&mut text)?;
        Ok((file, text.trim().parse().ok()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Where the directory is not this user's it is left empty, which names nobody.
        if fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

impl FromStr for Isolate {
    type Err = String;

    fn from_str(text: &str) -> Result<Isolate, String> {
        match text {
            "auto" => Ok(Isolate::Auto),
            "threads" => Ok(Isolate::Threads),
            "processes" => Ok(Isolate::Processes),
            _ => Err("write auto, threads or processes".into()),
        }
    }
}

fn requests_from(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("write a whole number from 1 on".into()),
    }
}

fn umask_from(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mask @ 0..=0o777) => Ok(mask),
        _ => Err("write an octal number from 0 to 777".into()),
    }
}

/// What is read of a pid file; a number and the end of its line are less.
const ID_SIZE_MAX: u64 = 64;
