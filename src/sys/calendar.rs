//! The wall clock's time as logs write it, in the local zone.

use std::mem::MaybeUninit;
use std::time::SystemTime;

/// The time as the combined log format writes it: `25/Nov/2026:18:05:09 +0000`.
#[must_use]
pub fn local_time(now: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = broken_down(now);
    let month = usize::try_from(time.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"???");
    let (sign, hours, minutes) = offset(&time);
    format!(
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} {sign}{hours:02}{minutes:02}",
        time.tm_mday,
        time.tm_year + 1900,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
    )
}

/// The time as RFC 3339 writes it, in whole seconds: `2026-11-25T18:05:09+00:00`.
#[must_use]
pub fn timestamp(now: SystemTime) -> String {
    written(now, "")
}

/// The same with milliseconds: `2026-11-25T18:05:09.123+00:00`.
#[must_use]
pub fn fine_timestamp(now: SystemTime) -> String {
    let millis = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |past| past.subsec_millis());
    written(now, &format!(".{millis:03}"))
}

fn written(now: SystemTime, fraction: &str) -> String {
    let time = broken_down(now);
    let (sign, hours, minutes) = offset(&time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}{sign}{hours:02}:{minutes:02}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
    )
}

fn broken_down(now: SystemTime) -> libc::tm {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |past| past.as_secs());
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    let mut time = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid; localtime_r fills the second and keeps neither.
    unsafe { libc::localtime_r(&seconds, time.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `tm`, and localtime_r leaves it valid.
    unsafe { time.assume_init() }
}

/// The zone's offset from UTC: its sign, its hours, its minutes.
fn offset(time: &libc::tm) -> (char, i64, i64) {
    let minutes = time.tm_gmtoff.abs() / 60;
    (if time.tm_gmtoff < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_moment() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_629_909_042);
        let (combined, plain, fine) = (local_time(now), timestamp(now), fine_timestamp(now));
        assert!(plain.starts_with("2026-11-2") && plain.len() == 25, "{plain}");
        assert_eq!(fine.replace(".042", ""), plain);
        assert_eq!(combined[12..20], plain[11..19], "{combined} {plain}");
        assert_eq!(combined[21..], plain[19..].replace(':', ""), "{combined} {plain}");
    }
}
