//! The files that a configuration is read from, and when they change.
//!
//! ```text
//!  folders ─▶ something happened ─▶ quiet for a moment ─▶ another content, and whole? ─▶ reload
//! ```
//!
//! Not the files are watched but the folders that they are in, since editors and Kubernetes put another file or link in
//! their place. What happened there tells whether a file came as a whole ([`seen`]); what it holds, whether it is another
//! ([`reading`]). A folder where much else happens costs nothing.

mod reading;
mod seen;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

pub use self::reading::{Changes, Reading};
use self::{
    reading::Content,
    seen::{Came, Event, Seen},
};

/// Looks after files.
pub struct Files {
    /// Without one nothing is ever noticed.
    watcher: Option<RecommendedWatcher>,
    /// Folders, each with the number of the one that was there.
    watched: BTreeMap<PathBuf, u64>,
    noticed: Arc<Noticed>,
    known: Reading,
    /// Something has happened, and may go on.
    unsettled: Option<Unsettled>,
    /// What was told of files that are not applied, so that it is told once.
    told: BTreeMap<PathBuf, Told>,
}

/// What files have come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// They are whole, and hold something else than when they were read.
    Apply(Changes),
    /// One of them does not look whole, for a reason.
    Refuse(String),
}

#[derive(Default)]
struct Noticed {
    seen: Mutex<Seen>,
    happened: Notify,
}

#[derive(Clone)]
struct Unsettled {
    last: Instant,
    /// When to look at the files, unless something happens before; nothing while somebody writes.
    look_at: Option<Instant>,
    /// What was found when it had been quiet for a moment: it has to be so a moment later, too, since events come
    /// a little later than what they tell of.
    found: Option<Changes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Unfinished,
    Cut(Option<Content>),
}

/// What changes are, once it was quiet.
enum Verdict {
    Nothing,
    /// Somebody writes, or did when nobody was watching.
    NotYet {
        look_at: Option<Instant>,
    },
    Change(Change),
}

/// Who writes several files is waited for until so long nothing has happened.
const QUIET: Duration = Duration::from_millis(100);

/// After so long a file is taken for whole that changed while nobody watched, as at start.
const UNSEEN_QUIET: Duration = Duration::from_secs(2);

/// After how long a watcher that ended by itself is replaced.
const REPLACE: Duration = Duration::from_secs(1);

/// Links that lead to one file.
const LINKS_MAX: usize = 16;

impl Files {
    /// Looks after nothing yet; and if `noticing` is false, never does.
    pub fn new(noticing: bool) -> Self {
        let noticed = Arc::<Noticed>::default();
        Self {
            watcher: noticing.then(|| watcher(&noticed)).flatten(),
            watched: BTreeMap::new(),
            noticed,
            known: Reading::default(),
            unsettled: None,
            told: BTreeMap::new(),
        }
    }

    /// Reads a configuration from here, as an operator says.
    pub fn reading(&self) -> Reading {
        self.known.anew()
    }

    /// Reads what files hold that have changed by themselves, and nothing else of them.
    pub fn reading_of(&self, changes: &Changes) -> Reading {
        self.known.of_what_was_seen(changes)
    }

    /// A configuration was read and holds: its files are looked after, and no others.
    pub fn holds(&mut self, reading: Reading) {
        self.known = reading;
        self.watch();
    }

    /// A configuration was read and cannot be used: its files are looked after, besides those of the one that holds.
    pub fn failed(&mut self, reading: Reading) {
        self.known.extend(reading);
        self.watch();
    }

    /// Resolves when files hold something else than when they were read, and nobody writes them any more. Who gives up
    /// waiting misses nothing.
    pub async fn changed(&mut self) -> Change {
        loop {
            if self.has_lost_its_watcher() {
                sleep(REPLACE).await;
                tracing::error!("the watcher of files ended by itself, and is replaced");
                self.watcher = watcher(&self.noticed);
                self.watched.clear();
                self.watch();
            }
            let happened = self.noticed.happened.notified();
            let quiet = match self
                .unsettled
                .as_ref()
                .and_then(|unsettled| unsettled.look_at)
            {
                Some(at) => timeout_at(at, happened).await.is_err(),
                None => {
                    happened.await;
                    false
                }
            };
            if !quiet {
                self.unsettle();
                continue;
            }
            match self.verdict(Instant::now()) {
                Verdict::Nothing => self.unsettled = None,
                Verdict::NotYet { look_at } => {
                    if let Some(unsettled) = &mut self.unsettled {
                        unsettled.look_at = look_at;
                    }
                }
                Verdict::Change(change) => {
                    self.unsettled = None;
                    return change;
                }
            }
        }
    }

    fn unsettle(&mut self) {
        let last = Instant::now();
        self.unsettled = Some(Unsettled {
            last,
            look_at: Some(last + QUIET),
            found: None,
        });
    }

    /// What to make of what files hold, now that it is quiet.
    fn verdict(&mut self, now: Instant) -> Verdict {
        // Before they are read, which is an event too.
        self.noticed.seen().quiet();
        let changes = self.known.changes();
        self.told.retain(|file, _| changes.0.contains_key(file));
        let last = self
            .unsettled
            .as_ref()
            .map_or(now, |unsettled| unsettled.last);
        let (mut unseen, mut cut) = (false, None);
        for (file, content) in &changes.0 {
            let came = self.noticed.seen().came(&steps(file));
            match came {
                Came::Unfinished => {
                    if self.told.insert(file.clone(), Told::Unfinished) != Some(Told::Unfinished) {
                        tracing::warn!(
                            file = %file.display(),
                            "a file of the configuration is being written, and is read when that is done"
                        );
                    }
                    return Verdict::NotYet { look_at: None };
                }
                Came::Unseen => unseen = true,
                Came::Closed | Came::Placed => {}
            }
            let reason = (content.zip(self.known.held(file)))
                .and_then(|(content, before)| content.looks_cut(before, came == Came::Placed));
            if let Some(reason) = reason {
                let told = Told::Cut(*content);
                let is_new = self.told.get(file) != Some(&told);
                cut.get_or_insert((file.clone(), told, is_new, reason));
            }
        }
        if unseen && now < last + UNSEEN_QUIET {
            return Verdict::NotYet {
                look_at: Some(last + UNSEEN_QUIET),
            };
        }
        if changes == Changes::default() {
            return Verdict::Nothing;
        }
        match &mut self.unsettled {
            // Once more, for what was written since and is not told yet.
            Some(unsettled) if unsettled.found.as_ref() != Some(&changes) => {
                unsettled.found = Some(changes);
                return Verdict::NotYet {
                    look_at: Some(now + QUIET),
                };
            }
            _ => {}
        }
        match cut {
            Some((_, _, false, _)) => Verdict::Nothing,
            Some((file, told, true, reason)) => {
                let told_of = file.display().to_string();
                self.told.insert(file, told);
                Verdict::Change(Change::Refuse(format!(
                    "{told_of} does not look whole: {reason}; if it is meant so, send SIGHUP"
                )))
            }
            None => Verdict::Change(Change::Apply(changes)),
        }
    }

    /// Whether nothing would be noticed any more.
    fn has_lost_its_watcher(&self) -> bool {
        // The watcher's thread holds one, besides this.
        self.watcher.is_some() && Arc::strong_count(&self.noticed) < 2
    }

    fn watch(&mut self) {
        let mut seen = self.noticed.seen();
        seen.look_after(self.known.files().flat_map(|file| steps(file)).collect());
        seen.all_read();
        drop(seen);
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let folders = self.known.files().flat_map(|file| folders_of(file));
        let wanted: BTreeMap<PathBuf, u64> = folders
            .map(|folder| {
                let number = fs::metadata(&folder).map_or(0, |about| about.ino());
                (folder, number)
            })
            .collect();
        for (folder, number) in &self.watched {
            // Under the name of a folder there may be another one now.
            if wanted.get(folder) != Some(number) {
                // One that is gone is not watched any more.
                let _ = watcher.unwatch(folder);
            }
        }
        for (folder, number) in &wanted {
            if self.watched.get(folder) != Some(number)
                && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
            {
                cannot_notice(&error);
            }
        }
        self.watched = wanted;
        // Something may have changed while nobody watched.
        self.noticed.happened.notify_one();
    }
}

impl Noticed {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: &notify::Event) {
        if event.need_rescan() {
            tracing::warn!("some changes of files were not noticed; send SIGHUP after a change");
        }
        for (path, what) in told_by(event) {
            let name = path.file_name().map(|name| place(&path).join(name));
            let name = name.unwrap_or(path);
            if self.seen().on_event(&name, what) {
                self.happened.notify_one();
            }
        }
    }
}

/// A watcher that tells what it sees; none if the system refuses one.
fn watcher(noticed: &Arc<Noticed>) -> Option<RecommendedWatcher> {
    let ends = Ends(noticed.clone());
    let on_event = move |event: notify::Result<notify::Event>| match event {
        Ok(event) => ends.0.on_event(&event),
        Err(error) => cannot_notice(&error),
    };
    notify::recommended_watcher(on_event)
        .map_err(|error| cannot_notice(&error))
        .ok()
}

/// Dropped with the thread of the watcher, which is to be noticed.
struct Ends(Arc<Noticed>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.happened.notify_one();
    }
}

/// What an event tells of which paths.
fn told_by(event: &notify::Event) -> Vec<(PathBuf, Event)> {
    let what = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Event::Closed),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Event::Placed),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            Some(Event::Gone)
        }
        EventKind::Create(CreateKind::Folder) => None,
        EventKind::Create(_) => Some(Event::Made),
        EventKind::Access(AccessKind::Open(_)) => Some(Event::Opened),
        EventKind::Modify(ModifyKind::Data(_)) => Some(Event::Written),
        _ => None,
    };
    let paths = event.paths.iter();
    paths
        .filter_map(|path| Some((path.clone(), what?)))
        .collect()
}

/// The paths by which a file is reached: its own, and each link's on the way; each by the real name of its folder.
fn steps(file: &Path) -> BTreeSet<PathBuf> {
    let mut steps = BTreeSet::new();
    let mut file = file.to_path_buf();
    for _ in 0..LINKS_MAX {
        let links = file
            .ancestors()
            .skip(1)
            .filter(|folder| folder.is_symlink());
        for path in links.chain([file.as_path()]) {
            if let Some(name) = path.file_name() {
                steps.insert(place(path).join(name));
            }
        }
        match fs::read_link(&file) {
            // A target that is relative begins where its link is.
            Ok(target) => file = folder_of(&file).join(target),
            Err(_) => break,
        }
    }
    steps
}

/// The folders where something has to happen for a file to be another one: its own, and that of each link on the way.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let folders = steps(file).into_iter();
    folders.map(|step| folder_of(&step)).collect()
}

/// The folder of a path, by its real name if it has one.
fn place(path: &Path) -> PathBuf {
    let folder = folder_of(path);
    folder.canonicalize().unwrap_or(folder)
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn cannot_notice(error: &notify::Error) {
    tracing::warn!(%error, "changes of files may not be noticed; send SIGHUP after a change");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_on_the_way_to_a_file_has_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("mounted/..1")).unwrap();
        fs::write(at("mounted/..1/key"), "a").unwrap();
        // As Kubernetes lays out a volume.
        symlink("..1", at("mounted/..data")).unwrap();
        symlink("..data/key", at("mounted/key")).unwrap();
        symlink("mounted", at("etc")).unwrap();
        let found = steps(&at("etc/key"));
        let expected = ["etc", "mounted/key", "mounted/..data", "mounted/..1/key"];
        assert_eq!(found, expected.map(at).into());
        let found = folders_of(&at("etc/key"));
        assert_eq!(
            found,
            ["mounted", "mounted/..1"]
                .map(at)
                .into_iter()
                .chain([root.clone()])
                .collect()
        );
    }

    /// A file that was read, and a look after it without a watcher.
    fn looked_after(folder: &Path, content: &str) -> (PathBuf, Files) {
        let file = folder.canonicalize().unwrap().join("file");
        fs::write(&file, content).unwrap();
        let mut files = Files::new(false);
        let mut reading = files.reading();
        let _ = reading.read(&file);
        files.holds(reading);
        (file, files)
    }

    fn happens(files: &Files, file: &Path, event: Event) {
        assert!(files.noticed.seen().on_event(file, event));
        files.noticed.happened.notify_one();
    }

    /// The server waits for much else besides, and asks anew after each.
    #[tokio::test(start_paused = true)]
    async fn who_asks_again_and_again_is_told_once_it_is_quiet() {
        let root = tempfile::tempdir().unwrap();
        let (file, mut files) = looked_after(root.path(), "a\n");
        fs::write(&file, "b\n").unwrap();
        let began = Instant::now();
        let mut last = began;
        happens(&files, &file, Event::Written);
        happens(&files, &file, Event::Closed);
        while tokio::time::timeout(QUIET / 10, files.changed())
            .await
            .is_err()
        {
            // Who writes on is waited for.
            if began.elapsed() < QUIET * 5 {
                happens(&files, &file, Event::Closed);
                last = Instant::now();
            }
        }
        let quiet = last.elapsed();
        assert!(quiet >= 2 * QUIET && quiet < QUIET * 3, "{quiet:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_waited_for_however_long_that_takes() {
        let root = tempfile::tempdir().unwrap();
        let (file, mut files) = looked_after(root.path(), "a\n");
        fs::write(&file, "half").unwrap();
        happens(&files, &file, Event::Written);
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, files.changed()).await.is_err());
        fs::write(&file, "whole\n").unwrap();
        happens(&files, &file, Event::Closed);
        let change = tokio::time::timeout(UNSEEN_QUIET, files.changed()).await;
        assert!(matches!(change, Ok(Change::Apply(_))), "{change:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_looks_cut_is_refused_once_and_taken_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let (file, mut files) = looked_after(root.path(), "a\n");
        for (content, refused) in [
            ("", Some("is empty")),
            ("b\nhal", Some("last line")),
            ("b\n", None),
        ] {
            fs::write(&file, content).unwrap();
            happens(&files, &file, Event::Written);
            happens(&files, &file, Event::Closed);
            let change = files.changed().await;
            match (&change, refused) {
                (Change::Refuse(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
                (Change::Apply(_), None) => {}
                _ => panic!("{content:?} gave {change:?}"),
            }
            if refused.is_some() {
                happens(&files, &file, Event::Closed);
                let again = tokio::time::timeout(UNSEEN_QUIET * 2, files.changed()).await;
                assert!(again.is_err(), "{content:?} gave {again:?} again");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_changed_while_nobody_watched_is_taken_when_it_has_rested() {
        let root = tempfile::tempdir().unwrap();
        let (file, mut files) = looked_after(root.path(), "a\n");
        fs::write(&file, "b\n").unwrap();
        files.noticed.happened.notify_one();
        let began = Instant::now();
        assert!(matches!(files.changed().await, Change::Apply(_)));
        assert!(began.elapsed() >= UNSEEN_QUIET, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_watcher_whose_thread_has_ended_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let (file, mut files) = looked_after(root.path(), "a\n");
        files.watcher = watcher(&files.noticed);
        files.watch();
        // Its thread ends with it, as if it had panicked.
        files.watcher = watcher(&Arc::default());
        while !files.has_lost_its_watcher() {
            tokio::task::yield_now().await;
        }
        let write = async {
            sleep(REPLACE * 2).await;
            fs::write(&file, "b\n").unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            change = files.changed() => assert!(matches!(change, Change::Apply(_)), "{change:?}"),
            () = write => {}
        }
    }
}
