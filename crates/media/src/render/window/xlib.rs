//! Keeps Xlib from ending the process when the X server goes away.
#![allow(unsafe_code)]

use libloading::Library;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use winit::raw_window_handle::XlibDisplayHandle;

type OnError = unsafe extern "C" fn(*mut c_void) -> c_int;
type OnExit = unsafe extern "C" fn(*mut c_void, *mut c_void);
/// `XSetIOErrorHandler`: what prints a message.
type SetOnError = unsafe extern "C" fn(Option<OnError>) -> Option<OnError>;
/// `XSetIOErrorExitHandler`, since libX11 1.7 (2020): what ends the process.
type SetOnExit = unsafe extern "C" fn(*mut c_void, OnExit, *mut c_void);

/// From now on, `lost` is set when the connection breaks, and Xlib's calls fail from then on. With
/// an older Xlib the process ends, as it would have.
pub(super) fn note_loss(handle: XlibDisplayHandle, lost: &'static AtomicBool) {
    let Some(display) = handle.display else {
        return;
    };
    // SAFETY: libX11 is loaded and initialised already, since it gave us the handle.
    let Ok(library) = (unsafe { Library::new("libX11.so.6") }) else {
        return;
    };
    // SAFETY: the type is that of X11/Xlib.h.
    let on_error_setter = unsafe { library.get::<SetOnError>(b"XSetIOErrorHandler\0") };
    // SAFETY: as above.
    let on_exit_setter = unsafe { library.get::<SetOnExit>(b"XSetIOErrorExitHandler\0") };
    let (Ok(set_on_error), Ok(set_on_exit)) = (on_error_setter, on_exit_setter) else {
        return;
    };
    // SAFETY: the handle is alive, the handlers live as long as the process, and `lost` is valid
    // for ever, which `on_exit` relies on.
    unsafe {
        set_on_error(Some(on_error));
        set_on_exit(display.as_ptr(), on_exit, (&raw const *lost).cast_mut().cast());
    }
    // Stays loaded for the handlers' sake, as it does for winit's.
    std::mem::forget(library);
}

/// The loss is told by whoever owns the window.
unsafe extern "C" fn on_error(_: *mut c_void) -> c_int {
    0
}

/// # Safety
/// `lost` must point to an [`AtomicBool`].
unsafe extern "C" fn on_exit(_: *mut c_void, lost: *mut c_void) {
    // SAFETY: as the caller promises: `note_loss` hands in nothing else.
    unsafe { &*lost.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
}
