//! Counts what a thread allocates.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, and a count for each thread. A test makes it its own with `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

/// What a thread has allocated since it began. Growing counts too; what C and C++ allocate does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How often.
    pub count: u64,
    /// How often more than [`Allocations::SMALL`] bytes at once.
    pub large: u64,
    /// Bytes that it has allocated, less those that it has given back.
    pub held: i64,
}

thread_local! {
    static SO_FAR: Cell<Allocations> = const { Cell::new(Allocations { count: 0, large: 0, held: 0 }) };
}

impl Allocations {
    /// The largest allocation that counts as small: a protocol message fits, a row of a picture does not.
    pub const SMALL: usize = 1024;

    /// What this thread has allocated so far, if [`Counting`] is its allocator.
    #[must_use]
    pub fn so_far() -> Self {
        SO_FAR.get()
    }

    /// What it has allocated since.
    #[must_use]
    pub fn since(before: Self) -> Self {
        let now = Self::so_far();
        Self {
            count: now.count - before.count,
            large: now.large - before.large,
            held: now.held - before.held,
        }
    }
}

fn note(bytes: usize, returned: usize) {
    // A thread that is ending may have no counter any more.
    let _ = SO_FAR.try_with(|so_far| {
        let Allocations { count, large, held } = so_far.get();
        let large = large + u64::from(bytes > Allocations::SMALL);
        let held = held + bytes as i64 - returned as i64;
        so_far.set(Allocations { count: count + u64::from(bytes > 0), large, held });
    });
}

// SAFETY: everything is done by the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}
