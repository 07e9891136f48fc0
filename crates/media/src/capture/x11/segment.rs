//! Memory that this process and the X server both see: the server writes the screen into it.
#![allow(unsafe_code)]

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};

/// A mapping of anonymous shared memory, never empty.
pub(super) struct Segment {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this one has no other owner.
unsafe impl Send for Segment {}

impl Segment {
    /// Maps `length` bytes, at least one; the descriptor is for the X server.
    pub(super) fn new(length: usize) -> Result<(Self, OwnedFd), Errno> {
        let length = length.max(1);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create(c"lllsi-screen", flags)?;
        ftruncate(&fd, length as u64)?;
        // Who can shorten a mapped file can kill us with SIGBUS.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap(ptr::null_mut(), length, access, MapFlags::SHARED, &fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok((Self { start, length }, fd))
    }

    /// What the server wrote. Not to be held while it is asked to write.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `length` are a live mapping whose length is sealed; all bit patterns
        // are valid bytes. The server writes only between a request and its reply, and `Screen`
        // waits for each reply before it reads. This relies on the server, as all of capture does:
        // another program could have it write into our segment at any time, but such a program
        // can see and paint the whole screen as well.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The same, to write to.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` lets nobody else in this process look.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped only here, and no slice outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_the_other_side_writes_is_seen_and_the_length_is_fixed() {
        let (segment, fd) = Segment::new(8192).unwrap();
        let other = std::fs::File::from(fd);
        other.write_all_at(&[7; 4], 4096).unwrap();
        assert_eq!(segment.bytes()[4095..4101], [0, 7, 7, 7, 7, 0]);
        assert!(other.set_len(1).is_err());
    }
}
