//! What the kernel says about a process and its files (proc(5), Linux).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::Context;
use crate::{BenchError, Result};

/// CPU time the calling thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time a process has used in all its threads, user and system, in steps of the kernel's tick (10 ms).
///
/// # Errors
/// The process is gone, or the kernel's line is not as proc(5) says.
pub fn process_cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).doing(|| path.clone())?;
    let ticks =
        ticks(&text).ok_or_else(|| BenchError::Setup(format!("{path}: no utime and stime in {text:?}")))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// utime + stime: fields 14 and 15, counted after the command's name, which may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now (`VmRSS`).
    pub resident: u64,
    /// The most it ever was (`VmHWM`).
    pub peak: u64,
}

/// A process's resident memory.
///
/// # Errors
/// The process is gone, or the kernel's text is not as proc(5) says.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).doing(|| path.clone())?;
    let read = |name| field(&text, name).ok_or_else(|| BenchError::Setup(format!("{path}: no {name}")));
    Ok(Memory { resident: read("VmRSS:")? * 1024, peak: read("VmHWM:")? * 1024 })
}

/// What a process has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// Bytes its read calls returned, from files and sockets (`rchar`).
    pub by_calls: u64,
    /// Bytes fetched from storage on its behalf, read-ahead included (`read_bytes`).
    pub from_storage: u64,
}

/// What a process has read so far.
///
/// # Errors
/// The process is gone, or the kernel's text is not as proc(5) says.
pub fn reads(pid: u32) -> Result<Reads> {
    let path = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&path).doing(|| path.clone())?;
    let read = |name| field(&text, name).ok_or_else(|| BenchError::Setup(format!("{path}: no {name}")));
    Ok(Reads { by_calls: read("rchar:")?, from_storage: read("read_bytes:")? })
}

/// The number on the line that starts with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes that the files below `dir` take on the disk (as du counts: allocated blocks). A file that disappears while
/// they are counted counts as nothing.
///
/// # Errors
/// A directory cannot be read.
pub fn disk_use(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in files(dir)? {
        match fs::symlink_metadata(&path) {
            Ok(meta) => bytes += meta.blocks() * 512,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(|| path.display().to_string()),
        }
    }
    Ok(bytes)
}

/// Drops the pages of the files below `dir` from the page cache, as far as they are on disk.
///
/// # Errors
/// A file cannot be opened or the kernel refuses the advice.
pub fn drop_page_cache(dir: &Path) -> Result<()> {
    rustix::fs::sync();
    for path in files(dir)? {
        let what = || path.display().to_string();
        let file = fs::File::open(&path).doing(what)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).doing(what)?;
    }
    Ok(())
}

/// All regular files below `dir`.
fn files(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).doing(|| dir.display().to_string())? {
            let entry = entry.doing(|| dir.display().to_string())?;
            let kind = entry.file_type().doing(|| entry.path().display().to_string())?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Whether `dir` lies on a file system that keeps its files in memory, where syncing costs nothing.
///
/// # Errors
/// `dir` does not exist.
pub fn is_memory(dir: &Path) -> Result<bool> {
    /// statfs(2): `f_type` of tmpfs and ramfs.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let found = rustix::fs::statfs(dir).doing(|| dir.display().to_string())?;
    Ok(IN_MEMORY.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_after_the_name() {
        let stat = "42 (a) (b c) S 1 42 42 0 -1 4194560 200 0 0 0 17 25 0 0 20 0 1 0 12345";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("42 (a) S 1"), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "VmHWM:")), (Some(1024), Some(2048)));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        let before = thread_cpu();
        assert!(process_cpu(pid).unwrap() < Duration::from_secs(3600));
        assert!(reads(pid).unwrap().by_calls > 0);
        assert!(thread_cpu() >= before);
    }

    #[test]
    fn disk_use_counts_below_directories() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(disk_use(dir.path()).unwrap(), 0);
        fs::create_dir(dir.path().join("a")).unwrap();
        let file = dir.path().join("a/b");
        fs::write(&file, vec![1; 10_000]).unwrap();
        fs::File::open(&file).unwrap().sync_all().unwrap();
        let used = disk_use(dir.path()).unwrap();
        assert!(used >= 10_000, "{used}");
        assert_eq!(files(dir.path()).unwrap(), [file]);
    }
}
