//! A live file that a child writes itself, and the shim rotates under its hands.
//!
//! The child appends (O_APPEND, open(2)), whatever the shim does. So the head of the file is copied, and then taken out
//! of it:
//!
//! ```text
//! copy the head to stdout.log.part-{end} -> punch a hole over it -> rename the copy to stdout.log.1 -> collapse the hole
//! ```
//!
//! The hole decides: before it is there the copy counts for nothing, and from then on the head is not in the live file
//! any more. A shim that is killed at any point leaves what the next one can finish. The hole is collapsed where the
//! file system can (ext4, xfs); elsewhere (tmpfs, btrfs) it stays, takes no room, and reads as NULs (fallocate(2)).
//!
//! Where the child's life begins in the file is kept in an extended attribute of it (xattr(7)), so that a later shim
//! takes no earlier life's last lines for those of its child. A file system that has none makes it know less, and
//! nothing wrong: then only what is written after that shim came up is evidence.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, SeekFrom, XattrFlags, fallocate, fgetxattr, fremovexattr, fsetxattr, seek};
use rustix::io::{Errno, retry_on_intr};

use super::files::{Series, Trouble};
use super::ring::{Beginning, Ring, WINDOW_BYTES};

/// Bytes that stay in the live file whatever is rotated, for evidence.
const STAY_BYTES: u64 = WINDOW_BYTES as u64;

/// Smallest unit that holes are made in: a page, which is also the block of most file systems.
const PAGE_BYTES: u64 = 4096;

/// Bytes that are copied in one step.
const STEP_BYTES: usize = 64 * 1024;

/// The attribute that says where the child's life begins.
const LIFE: &str = "user.rekindle.life";

/// Longest value of it: the digits of a 64-bit number.
const LIFE_MAX_BYTES: usize = 20;

/// What a copy of a head is called until it is an old file, and the offset of its end.
const PART: &str = "part-";

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Idle,
    More,
}

/// Whether this file system can take holes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    Collapse,
    Stay,
}

#[derive(Debug)]
pub(super) struct Live {
    series: Series,
    file: File,
    /// Where the child's life begins.
    life: u64,
    /// The size at the last look that found nothing to do.
    seen_bytes: u64,
    /// The size up to which `written` counts.
    counted_bytes: u64,
    written: Arc<AtomicU64>,
    part: Option<Part>,
    holes: Holes,
    trouble: Trouble,
}

/// A head that is being copied.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    copy: File,
    copied: u64,
    end: u64,
}

impl Live {
    /// The file for a life that is about to begin, and the way in for its child.
    pub(super) fn begin(series: Series) -> io::Result<(Self, File)> {
        let way_in = series.open()?;
        let mut live = Self::open(series)?;
        live.life = live.file.metadata()?.len();
        live.counted_bytes = live.life;
        live.write_life();
        Ok((live, way_in))
    }

    /// The file of a life that goes on, which an earlier shim began.
    pub(super) fn reopen(series: Series) -> io::Result<Self> {
        // Makes it where somebody has removed it: the child writes to no name.
        series.open()?;
        let mut live = Self::open(series)?;
        let mut value = [0; LIFE_MAX_BYTES];
        let told = fgetxattr(&live.file, LIFE, &mut value).ok();
        let told = told.and_then(|length| std::str::from_utf8(value.get(..length)?).ok()?.parse().ok());
        live.counted_bytes = live.file.metadata()?.len();
        live.life = told.unwrap_or(live.counted_bytes);
        Ok(live)
    }

    fn open(series: Series) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&series.live)?;
        let mut live = Self {
            trouble: Trouble::new(series.live.clone()),
            series,
            file,
            life: 0,
            seen_bytes: 0,
            counted_bytes: 0,
            written: Arc::default(),
            part: None,
            holes: Holes::Collapse,
        };
        if let Err(error) = live.recover() {
            live.trouble.tell("rotate what the agent writes", &error);
        }
        Ok(live)
    }

    /// Finishes what a shim that was killed has begun.
    fn recover(&mut self) -> io::Result<()> {
        let start = self.data_start()?;
        for (path, suffix) in self.series.list()? {
            let Some(end) = suffix.strip_prefix(PART) else { continue };
            match end.parse::<u64>() {
                Ok(end) if end <= start => self.series.retire(&path)?,
                Ok(_) | Err(_) => std::fs::remove_file(&path)?,
            }
        }
        self.series.tidy()
    }

    /// Does a bounded part of what there is to do. What fails is tried again when it is called again.
    pub(super) fn step(&mut self) -> Progress {
        match self.try_step() {
            Ok(progress) => progress,
            Err(error) => {
                // A copy in the making is removed with the next one's beginning.
                self.part = None;
                self.trouble.tell("rotate what the agent writes", &error);
                Progress::Idle
            }
        }
    }

    fn try_step(&mut self) -> io::Result<Progress> {
        match self.part.take() {
            None => self.next_part(),
            Some(part) if part.copied < part.end => {
                self.part = Some(self.copy(part)?);
                Ok(Progress::More)
            }
            Some(part) => {
                self.punch(part.end)?;
                self.series.retire(&part.path)?;
                self.trouble.over();
                Ok(Progress::More)
            }
        }
    }

    /// Begins with the next head that is due, if one is.
    fn next_part(&mut self) -> io::Result<Progress> {
        let metadata = self.file.metadata()?;
        let size = metadata.len();
        if size == self.seen_bytes {
            return Ok(Progress::Idle);
        }
        if size < self.counted_bytes {
            // Its own child has truncated it, and begins anew.
            self.life = 0;
            self.counted_bytes = 0;
            self.write_life();
        }
        let grown = size - self.counted_bytes;
        self.counted_bytes = size;
        self.written.fetch_add(grown, Ordering::Relaxed);
        let block = metadata.blksize().max(PAGE_BYTES);
        let aligned = |bytes: u64| bytes - bytes % block;
        let piece = aligned(self.series.max_bytes.saturating_sub(STAY_BYTES)).max(block);
        let data = self.data_start()?;
        let start = aligned(data);
        let due = (size.saturating_sub(start).saturating_sub(STAY_BYTES)) / piece;
        if start > 0 || due > 0 {
            // Of a try that failed: before its traces are covered.
            self.recover()?;
        }
        let unwanted = due.saturating_sub(u64::from(self.series.old_files));
        if unwanted > 0 {
            // Of a flood, what would become an old file and go again at once is not copied.
            self.punch(start + unwanted * piece)?;
            return Ok(Progress::More);
        }
        if due > 0 {
            let end = start + piece;
            let path = self.series.beside(&format!("{PART}{end}"));
            let copy = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            self.part = Some(Part {
                path,
                copy,
                copied: start,
                end,
            });
            return Ok(Progress::More);
        }
        self.collapse(start)?;
        self.seen_bytes = self.file.metadata()?.len();
        Ok(Progress::Idle)
    }

    fn copy(&self, mut part: Part) -> io::Result<Part> {
        let mut bytes = vec![0; STEP_BYTES];
        let wanted = usize::try_from(part.end - part.copied)
            .unwrap_or(STEP_BYTES)
            .min(STEP_BYTES);
        let read = self
            .file
            .read_at(bytes.get_mut(..wanted).unwrap_or_default(), part.copied)?;
        if read == 0 {
            return Err(io::Error::other("somebody has truncated it"));
        }
        part.copy.write_all(bytes.get(..read).unwrap_or_default())?;
        part.copied += read as u64;
        Ok(part)
    }

    fn punch(&self, end: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(retry_on_intr(|| fallocate(&self.file, flags, 0, end))?)
    }

    /// Takes a hole out that ends here. What lies behind it moves to the front, as do the ends of all who append.
    fn collapse(&mut self, end: u64) -> io::Result<()> {
        if end == 0 || self.holes == Holes::Stay {
            return Ok(());
        }
        let flags = FallocateFlags::COLLAPSE_RANGE;
        match retry_on_intr(|| fallocate(&self.file, flags, 0, end)) {
            Ok(()) => {
                self.life = self.life.saturating_sub(end);
                self.counted_bytes = self.counted_bytes.saturating_sub(end);
                // A shim that is killed before this leaves an attribute that hides lines, and shows none of others.
                self.write_life();
                Ok(())
            }
            // The second is for blocks that are larger than the file system tells.
            Err(Errno::OPNOTSUPP | Errno::INVAL) => {
                self.holes = Holes::Stay;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where the file's hole ends. A file that is all hole, or empty, ends there.
    fn data_start(&self) -> io::Result<u64> {
        match seek(&self.file, SeekFrom::Data(0)) {
            Ok(start) => Ok(start),
            Err(Errno::NXIO) => Ok(self.file.metadata()?.len()),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it cannot be written, none must stay: that of an earlier life would be believed.
    fn write_life(&self) {
        let life = self.life.to_string();
        if fsetxattr(&self.file, LIFE, life.as_bytes(), XattrFlags::empty()).is_err() {
            // It may never have been there.
            let _ = fremovexattr(&self.file, LIFE);
        }
    }

    /// Counts the bytes that the child has written since this was opened, from look to look.
    pub(super) fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written)
    }

    /// The last bytes of the life.
    pub(super) fn tail(&mut self) -> Ring {
        self.read_tail().unwrap_or_else(|error| {
            self.trouble.tell("read what the agent wrote", &error);
            Ring::default()
        })
    }

    fn read_tail(&self) -> io::Result<Ring> {
        let size = self.file.metadata()?.len();
        let begin = self.life.max(self.data_start()?).min(size);
        let start = begin.max(size.saturating_sub(STAY_BYTES));
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(WINDOW_BYTES)];
        self.file.read_exact_at(&mut bytes, start)?;
        let beginning = if start == self.life {
            Beginning::Held
        } else {
            Beginning::Lost
        };
        Ok(Ring::of(bytes, beginning))
    }
}
