//! Durations and sizes as operators write them: `30`, `500ms`, `2m`; `65536`, `64k`, `1MiB`.

use std::time::Duration;

/// Reads a duration: a whole number with `ms`, `s`, `m` or `h`; without a unit, seconds.
///
/// # Errors
/// A sentence on how to write one.
pub fn duration_from(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| DURATION_HINT.to_string())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(DURATION_HINT.to_string()),
    };
    // A year is far past any deadline, and far from where a clock's arithmetic ends.
    match number.checked_mul(milliseconds).map(Duration::from_millis) {
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err("at most a year is allowed".to_string()),
    }
}

/// Writes a duration in its largest whole unit of seconds or milliseconds: `30 s`, `500 ms`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}

/// Reads a size in bytes: a whole number, with `k`, `M` or `G` (powers of 1024, `KiB` and `kB` alike).
///
/// # Errors
/// A sentence on how to write one.
pub fn size_from(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| SIZE_HINT.to_string())?;
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1024,
        "m" => 1024 * 1024,
        "g" => 1024 * 1024 * 1024,
        _ => return Err(SIZE_HINT.to_string()),
    };
    number.checked_mul(factor).ok_or_else(|| "that is more than can be counted".to_string())
}

/// Writes a size with one decimal in the largest unit that leaves a whole part: `1.5 MiB`.
#[must_use]
pub fn size_text(size: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| size >> shift > 0) {
        None => format!("{size} B"),
        Some((shift, unit)) => {
            let tenths = (u128::from(size) * 10) >> shift;
            match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            }
        }
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

const DURATION_HINT: &str = "write a number with ms, s, m or h, such as 500ms, 30s or 2m";
const SIZE_HINT: &str = "write a number of bytes, or one with k, M or G, such as 64k or 1M";
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [("30", 30_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0", 0)] {
            assert_eq!(duration_from(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "1.5s", "-1", "3 s", "1d", "99999999999999999999", "400000h"] {
            assert!(duration_from(text).is_err(), "{text}");
        }
        assert_eq!(duration_text(Duration::from_secs(30)), "30 s");
        assert_eq!(duration_text(Duration::from_millis(1500)), "1500 ms");
    }

    #[test]
    fn sizes() {
        for (text, size) in [("0", 0), ("64k", 65536), ("1MiB", 1 << 20), ("2GB", 2 << 30), ("7B", 7)] {
            assert_eq!(size_from(text), Ok(size), "{text}");
        }
        for text in ["", "k", "1T", "-1", "1.5M", "99999999999G"] {
            assert!(size_from(text).is_err(), "{text}");
        }
        assert_eq!(size_text(1536 * 1024), "1.5 MiB");
        assert_eq!(size_text(12), "12 B");
    }
}
