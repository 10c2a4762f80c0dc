//! The interpreter of a program that is not Python's own, and what `import` finds in it.
//!
//! One interpreter a process. It is told which `python` it stands for before it starts, because that is how the
//! standard library and a virtual environment are found (PEP 405); its signal handlers stay off, for signals are the
//! server's.

use std::env;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Starts the interpreter, unless it runs already. The calling thread does not hold its lock afterwards.
///
/// # Errors
/// One line: what is wrong with the virtual environment, or what Python says.
pub fn start() -> Result<(), String> {
    // SAFETY: may be called at any time.
    if unsafe { ffi::Py_IsInitialized() } != 0 {
        return Ok(());
    }
    let python = executable()?;
    let python = CString::new(python.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let mut config = MaybeUninit::<ffi::PyConfig>::zeroed();
    // SAFETY: the configuration is initialised by its own function before it is read, its strings are copied, and it is
    // cleared once, at the end. The thread state that the start leaves attached is given up at once.
    unsafe {
        ffi::PyConfig_InitPythonConfig(config.as_mut_ptr());
        let config = config.assume_init_mut();
        config.install_signal_handlers = 0;
        config.parse_argv = 0;
        let mut status = ffi::PyConfig_SetBytesString(config, &raw mut config.executable, python.as_ptr());
        if ffi::PyStatus_Exception(status) == 0 {
            status = ffi::Py_InitializeFromConfig(config);
        }
        ffi::PyConfig_Clear(config);
        if ffi::PyStatus_Exception(status) != 0 {
            let message = if status.err_msg.is_null() { c"it did not say why" } else { CStr::from_ptr(status.err_msg) };
            return Err(format!("Python cannot start: {}", message.to_string_lossy()));
        }
        ffi::PyEval_SaveThread();
    }
    // The thread that imports it first is the main one to it, and is awaited at the end: this one, not a worker's.
    Python::attach(|py| py.import("threading").map(drop)).map_err(|error| error.to_string())
}

/// Ends the application's part of an interpreter, if one runs: threads that are no daemons are awaited, what `atexit`
/// knows is run, and what `sys.stdout` and `sys.stderr` hold is written.
///
/// The interpreter itself is left as it is, for a process that ends at once. To finalise it would end the daemon
/// threads that still run by unwinding them, which ends the process by `SIGABRT` where one of them is inside of a
/// function of ours.
pub fn finish() {
    // SAFETY: may be called at any time.
    if unsafe { ffi::Py_IsInitialized() } == 0 {
        return;
    }
    Python::attach(|py| {
        for (module, function) in [("threading", "_shutdown"), ("atexit", "_run_exitfuncs")] {
            let done = py.import(module).and_then(|module| module.call_method0(function));
            done.map_or_else(|error| error.print(py), drop);
        }
        for stream in ["stdout", "stderr"] {
            // One that is closed or full has nobody to be told.
            let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
        }
    });
}

/// The files of the modules that are loaded, apart from the standard library's and installed packages'.
#[must_use]
pub fn sources() -> Vec<PathBuf> {
    let find = |py: Python<'_>| -> PyResult<Vec<PathBuf>> {
        let sys = py.import("sys")?;
        let mut installed = Vec::new();
        for name in ["prefix", "base_prefix", "exec_prefix"] {
            installed.push(sys.getattr(name)?.extract::<PathBuf>()?.join("lib"));
        }
        let mut paths = Vec::new();
        for module in sys.getattr("modules")?.call_method0("values")?.try_iter()? {
            let file = module?.getattr_opt("__file__").ok().flatten();
            let Some(path) = file.and_then(|file| file.extract::<PathBuf>().ok()) else { continue };
            if path.is_absolute() && !installed.iter().any(|directory| path.starts_with(directory)) {
                paths.push(path);
            }
        }
        Ok(paths)
    };
    // An interpreter that cannot say it has no files to watch.
    Python::attach(find).unwrap_or_default()
}

/// Puts directories before everything else that `import` looks through: `directories` in their order, then the working
/// directory.
///
/// # Errors
/// What Python raised, in a line.
pub fn extend_path(directories: &[PathBuf]) -> Result<(), String> {
    Python::attach(|py| {
        let here = env::current_dir().unwrap_or_default();
        let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
        for directory in directories.iter().chain([&here]).rev() {
            path.insert(0, directory.to_string_lossy())?;
        }
        PyResult::Ok(())
    })
    .map_err(|error| error.to_string())
}

/// `3.11.7`, for the operator.
#[must_use]
pub fn version() -> String {
    // SAFETY: a static string, also before the interpreter starts.
    let version = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy().into_owned();
    version.split(' ').next().unwrap_or_default().to_string()
}

/// The `python` that the interpreter stands for: that of the active virtual environment, or the one that this program
/// was built with.
fn executable() -> Result<PathBuf, String> {
    let Some(environment) = env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()) else {
        return Ok(PathBuf::from(env!("RINGWAY_PYTHON")));
    };
    let environment = PathBuf::from(environment);
    check_version(&environment)?;
    Ok(environment.join("bin/python"))
}

/// Packages of another version cannot be loaded, and would fail one by one.
fn check_version(environment: &Path) -> Result<(), String> {
    let shown = environment.display();
    let settings = std::fs::read_to_string(environment.join("pyvenv.cfg"))
        .map_err(|_| format!("VIRTUAL_ENV is {shown}, which is no virtual environment"))?;
    let of_environment = settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        ["version", "version_info"].contains(&key.trim()).then(|| minor(value.trim()))
    });
    let own = minor(&version());
    match of_environment {
        Some(theirs) if theirs != own => {
            Err(format!("the virtual environment {shown} is one of Python {theirs}, and this build has Python {own}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// `3.11` of `3.11.7`.
fn minor(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}
