//! What one rendering may use: work and memory. Steps are counted by the engine, but a single step may
//! copy, compare or search megabytes; all that do so say what they cost.
//!
//! A rendering has a thread of its own, and so have the counts.

use crate::{Error as TextError, Kind};
use minijinja::{Error, ErrorKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};

/// Of work, which is in bytes copied or looked at; a node of a list or map counts as 64. Templates that
/// collect a text piece by piece take the square of their messages: 1 GB for a million bytes in 1,000.
const WORK_PER_STEP: usize = 1 << 10;
const WORK_PER_INPUT: usize = 256;
const MAX_WORK: usize = 4 << 30; // one to three seconds

/// Of the thread that renders. A step may go over it by what a few values may hold.
const MAX_LIVE_BYTES: isize = 256 << 20;

/// Of a list or map that a filter walks through without looking into its items.
pub const ITEM: usize = 64;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static WORK: Cell<usize> = const { Cell::new(0) };
    static WORK_LIMIT: Cell<usize> = const { Cell::new(MAX_WORK) };
}

/// Counts the bytes that each thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Fails only while a thread ends.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get().wrapping_add(bytes)));
}

/// Of a process that exists to fail so; -1: an allocation that fails aborts, as ever.
static EXIT_STATUS: AtomicI32 = AtomicI32::new(-1);

pub fn exit_when_out_of_memory(status: i32) {
    EXIT_STATUS.store(status, Ordering::Relaxed);
}

#[inline]
fn checked(data: *mut u8) -> *mut u8 {
    if data.is_null() {
        let status = EXIT_STATUS.load(Ordering::Relaxed);
        if status >= 0 {
            // SAFETY: it ends the process, whatever state that is in.
            unsafe { libc::_exit(status) };
        }
    }
    data
}

// SAFETY: all work is the system's; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        checked(System.alloc(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        checked(System.alloc_zeroed(layout))
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        System.dealloc(data, layout)
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        checked(System.realloc(data, layout, size))
    }
}

/// A refusal that is no mistake of syntax or type; it carries what the caller is told.
#[derive(Debug)]
pub struct Refusal(pub TextError);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

pub fn refused(kind: Kind, text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, "refused")
        .with_source(Refusal(TextError::new(kind, text)))
}

pub fn over_limit(text: impl Into<String>) -> Error {
    refused(Kind::Limit, text)
}

/// Sets what a rendering may work, by its limit of steps and the work that taking its input was.
pub fn start(steps: u64) {
    let input = WORK.get().saturating_mul(WORK_PER_INPUT);
    let steps = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(WORK_PER_STEP);
    WORK.set(0);
    WORK_LIMIT.set(steps.saturating_add(input).min(MAX_WORK));
}

/// Says that a step costs this much, before it is taken.
pub fn charge(work: usize) -> Result<(), Error> {
    WORK.set(WORK.get().saturating_add(work));
    if WORK.get() > WORK_LIMIT.get() {
        return Err(over_limit(format!(
            "the chat template ran for too long: over the work of {} steps",
            WORK_LIMIT.get() / WORK_PER_STEP
        )));
    }
    if LIVE_BYTES.get() > MAX_LIVE_BYTES {
        return Err(over_limit(format!(
            "the chat template took over {} MiB of memory",
            MAX_LIVE_BYTES >> 20
        )));
    }
    Ok(())
}
