//! Noticing a library that is cut short, as by a copy that was interrupted or is under way.
//!
//! The dynamic linker maps what the file's program headers name, whether the file has it or not, and the process dies of
//! SIGBUS when it touches what is missing. So the headers are compared with the file's size first. Everything else that
//! may be wrong with a library the linker finds out by itself.
//!
//! Source of the layout: the System V ABI, "Object Files" (`Elf64_Ehdr`, `Elf64_Phdr`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
/// `PT_LOAD`: a part of the file that is mapped.
const LOAD: u32 = 1;

/// How many bytes the file has, and how many the library needs at least, when those are more. `None` also for what is not
/// of the kind that this knows.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn cut_short(file: &File) -> io::Result<Option<(u64, u64)>> {
    let len = file.metadata()?.len();
    let mut header = [0; HEADER_LEN];
    if !read_all(file, &mut header, 0)? || header[..6] != *b"\x7fELF\x02\x01" {
        // Too short, no ELF, not of 64 bits, or not little-endian: the linker says so.
        return Ok(None);
    }
    let (offset, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    if usize::from(size) != PROGRAM_HEADER_LEN {
        return Ok(None);
    }
    let mut least = offset.saturating_add(u64::from(size) * u64::from(count));
    for number in 0..u64::from(count) {
        let mut program = [0; PROGRAM_HEADER_LEN];
        if !read_all(file, &mut program, offset.saturating_add(number * u64::from(size)))? {
            break;
        }
        if u32_at(&program, 0) == LOAD {
            least = least.max(u64_at(&program, 8).saturating_add(u64_at(&program, 32)));
        }
    }
    Ok((least > len).then_some((len, least)))
}

/// Fills the buffer; `false` when the file ends before.
fn read_all(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn bytes_at<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

fn u16_at(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(from, at))
}

fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(from, at))
}

fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(from, at))
}
