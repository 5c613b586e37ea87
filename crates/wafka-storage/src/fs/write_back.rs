//! The one system call that no safe crate wraps: `sync_file_range(2)`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// So much is written at a time, in bytes: whoever syncs another file meanwhile waits for no more than this.
const PIECE_BYTES: u64 = 8 << 20;

/// As [`super::File::write_back`].
pub(super) fn write_back(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(PIECE_BYTES);
        match write_range(file, at, bytes) {
            Ok(()) => at += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Not every kernel or file has it; then the sync does all the work.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a system call that neither std nor rustix offers")]
fn write_range(file: &File, position: u64, bytes: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let position = i64::try_from(position).map_err(too_large)?;
    let bytes = i64::try_from(bytes).map_err(too_large)?;
    let flags = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes numbers only, and the descriptor is open as long as `file` is borrowed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), position, bytes, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_written_back_and_stays_as_it_is() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = vec![b'x'; 3 * 4096 + 7];
        file.write_all(&bytes).unwrap();
        for (from, to) in [(0, 0), (0, 4096), (4096, 3 * 4096 + 7), (0, 1 << 30), (5, 4)] {
            write_back(&file, from, to).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
    }

    #[test]
    fn where_there_is_no_such_call_nothing_happens() {
        let (_reader, writer) = std::io::pipe().unwrap();
        write_back(&File::from(std::os::fd::OwnedFd::from(writer)), 0, 10).unwrap();
    }
}
