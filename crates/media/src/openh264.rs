//! What the encoder and the decoder share: OpenH264's log, turned into trace events.
#![allow(unsafe_code)]

use openh264_sys2::WELS_LOG_ERROR;
use std::ffi::{CStr, c_char, c_int, c_void};

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
