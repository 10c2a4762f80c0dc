//! Tells the linker where the libpython is that the feature `wsgi` was built against, so that the binary finds it again.
//! Without the feature nothing is done.

#[cfg(feature = "wsgi")]
fn main() {
    println!("cargo:rerun-if-env-changed=PYO3_PYTHON");
    pyo3_build_config::use_pyo3_cfgs();
    pyo3_build_config::add_libpython_rpath_link_args();
    // The home of the standard library is found from the interpreter, not from the library.
    let executable = pyo3_build_config::get().executable().unwrap_or_default();
    println!("cargo:rustc-env=RINGWAY_PYTHON={executable}");
}

#[cfg(not(feature = "wsgi"))]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
