//! The Date field's value, which a floor renders once.

use std::mem::MaybeUninit;

/// The present as an IMF-fixdate (RFC 9110, section 5.6.7).
pub fn date() -> String {
    let mut text = [0_u8; 32];
    // SAFETY: `time` and `gmtime_r` fill memory of their own types, and `strftime` is given the size of its
    // buffer and a format that ends in NUL. The names of days and months are the C locale's, because no one
    // called setlocale.
    let size = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts = MaybeUninit::<libc::tm>::zeroed();
        libc::gmtime_r(&now, parts.as_mut_ptr());
        libc::strftime(text.as_mut_ptr().cast(), text.len(), c"%a, %d %b %Y %H:%M:%S GMT".as_ptr(), parts.as_ptr())
    };
    String::from_utf8_lossy(&text[..size]).into_owned()
}
