//! What the encoder and the decoder share: OpenH264's log, turned into trace events, and what it
//! was built with.
#![allow(unsafe_code)]

use openh264_sys2::WELS_LOG_ERROR;
use std::ffi::{CStr, c_char, c_int, c_void};

unsafe extern "C" {
    /// OpenH264's own look at the processor (`codec/common/inc/cpu.h`): 0 where it was built
    /// without assembly. It is no part of its interface, but of the library linked in.
    fn WelsCPUFeatureDetect(processors: *mut i32) -> u32;
}

/// Whether OpenH264 was built with assembly for this kind of processor.
pub(crate) fn has_assembly() -> bool {
    let mut processors = 0;
    // SAFETY: it writes at most one number to `processors` and keeps no pointer.
    unsafe { WelsCPUFeatureDetect(&mut processors) != 0 }
}

/// Takes OpenH264's messages, which would otherwise go to standard error.
///
/// # Safety
/// `message` must be null or point to a string that ends with a zero byte.
pub(crate) unsafe extern "C" fn log(_: *mut c_void, level: c_int, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: not null, and the caller promises a string that ends with a zero byte.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    // Its errors reach the caller as results, and its warnings concern choices made here.
    if level <= WELS_LOG_ERROR {
        tracing::debug!(target: "openh264", "{message}");
    } else {
        tracing::trace!(target: "openh264", "{message}");
    }
}
