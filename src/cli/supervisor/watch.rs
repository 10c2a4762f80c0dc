//! The files of the application, for `--reload`: their times are looked at, which works on every file system and with
//! every editor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Files and their times.
pub(super) struct Watch {
    files: BTreeMap<PathBuf, Option<SystemTime>>,
    look_at: Instant,
    /// What has changed; reported when nothing more does.
    changed: Option<PathBuf>,
}

impl Watch {
    /// Watches the program itself.
    pub(super) fn new(program: &Path) -> Watch {
        let files = BTreeMap::from([(program.to_path_buf(), time_of(program))]);
        Watch { files, look_at: Instant::now(), changed: None }
    }

    /// Watches one more.
    pub(super) fn add(&mut self, path: PathBuf) {
        let time = time_of(&path);
        self.files.entry(path).or_insert(time);
    }

    /// When to look the next time.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Looks, if it is time to. Answers a file that has changed, once all of them have been quiet since the last look:
    /// an editor or a checkout may not be done with the first.
    pub(super) fn look(&mut self, now: Instant) -> Option<PathBuf> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now + EVERY;
        let mut is_quiet = true;
        for (path, time) in &mut self.files {
            let current = time_of(path);
            // A file that is away is about to be written.
            if current.is_some() && current != *time {
                *time = current;
                is_quiet = false;
                self.changed = Some(path.clone());
            }
        }
        if is_quiet { self.changed.take() } else { None }
    }
}

fn time_of(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

const EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once_when_all_is_quiet() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (directory.path().join("one.py"), directory.path().join("two.py"));
        fs::write(&one, "1").expect("it is written");
        fs::write(&two, "2").expect("it is written");
        let mut watch = Watch::new(&one);
        watch.add(two.clone());
        let mut now = Instant::now();
        let mut look = |watch: &mut Watch| {
            now += EVERY;
            watch.look(now)
        };
        assert_eq!(look(&mut watch), None);
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().append(true).open(&two).and_then(|file| file.set_modified(later)).expect("it has a time");
        assert_eq!(look(&mut watch), None, "it may not be done");
        assert_eq!(look(&mut watch), Some(two.clone()));
        assert_eq!(look(&mut watch), None);
        fs::remove_file(&two).expect("it is there");
        assert_eq!(look(&mut watch), None, "a file that is away is about to be written");
    }
}
