//! The software decoder: OpenH264 through its C interface, with error concealment off.
#![allow(unsafe_code)]

use crate::Error;
use crate::openh264::log;
use crate::picture::{I420, Size};
use openh264_sys2::source::APILoader;
use openh264_sys2::*;
use std::ffi::{c_int, c_long, c_void};
use std::ptr;

/// NAL unit types (H.264 table 7-1) that carry parts of a picture.
const SLICES: std::ops::RangeInclusive<u8> = 1..=5;
/// The slice type of keyframes.
const IDR_SLICE: u8 = 5;

/// An OpenH264 decoder, and whether it may go on from what it has.
pub(super) struct Decoder {
    raw: Handle,
    needs_keyframe: bool,
}

/// Owns the C++ object.
struct Handle(*mut ISVCDecoder);

// SAFETY: the object has no ties to the thread that made it, and only `&mut self` reaches it.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(uninitialize) = self.table().Uninitialize {
            // SAFETY: `self.0` is alive until the next line; uninitialising twice is allowed.
            unsafe { uninitialize(self.0) };
        }
        // SAFETY: made by `WelsCreateDecoder`, destroyed only here.
        unsafe { APILoader::WelsDestroyDecoder(self.0) };
    }
}

impl Handle {
    /// Makes a decoder that conceals nothing.
    fn new() -> Result<Self, Error> {
        let mut object = ptr::null_mut();
        // SAFETY: `object` is a place for the pointer to the new object.
        let code = unsafe { APILoader::WelsCreateDecoder(&mut object) };
        if code != 0 || object.is_null() {
            return Err(setup("create", code));
        }
        let raw = Self(object);

        let mut sink: WelsTraceCallback = Some(log);
        let set = raw.table().SetOption.expect("OpenH264 fills its table");
        let value: *mut c_void = ptr::from_mut(&mut sink).cast();
        // SAFETY: the object is alive; this option takes a pointer to such a function pointer.
        unsafe { set(raw.0, DECODER_OPTION_TRACE_CALLBACK, value) };

        let mut parameters =
            SDecodingParam { eEcActiveIdc: ERROR_CON_DISABLE, ..SDecodingParam::default() };
        parameters.sVideoProperty.eVideoBsType = VIDEO_BITSTREAM_AVC;
        let initialize = raw.table().Initialize.expect("OpenH264 fills its table");
        // SAFETY: the object is alive and copies the parameters.
        let code = unsafe { initialize(raw.0, &parameters) };
        if code != 0 {
            return Err(setup("initialise", code));
        }
        Ok(raw)
    }

    fn table(&self) -> &ISVCDecoderVtbl {
        // SAFETY: `self.0` is a live object, which begins with a pointer to its static table.
        unsafe { &**self.0 }
    }
}

impl Decoder {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { raw: Handle::new()?, needs_keyframe: true })
    }

    /// Starts over: after some kinds of damage OpenH264 would refuse even a good keyframe.
    fn damaged(&mut self, bytes: usize, state: DECODING_STATE) -> Error {
        self.needs_keyframe = true;
        match Handle::new() {
            Ok(raw) => self.raw = raw,
            Err(error) => return error,
        }
        Error::Damaged { bytes, state }
    }

    /// Hands over an access unit; answers the decoder's flags and what it filled.
    fn feed(&mut self, annex_b: &[u8], length: c_int) -> (DECODING_STATE, SBufferInfo) {
        let mut planes = [ptr::null_mut::<u8>(); 3];
        let mut shown = SBufferInfo::default();
        let decode = self.raw.table().DecodeFrameNoDelay.expect("OpenH264 fills its table");
        // SAFETY: the object is alive, `length` is the slice's, the rest is filled by the call.
        let mut state = unsafe {
            decode(self.raw.0, annex_b.as_ptr(), length, planes.as_mut_ptr(), &mut shown)
        };
        if state == dsErrorFree && shown.iBufferStatus != 1 {
            // Outside Baseline it holds a picture back in case a later one is to be shown first.
            let flush = self.raw.table().FlushFrame.expect("OpenH264 fills its table");
            // SAFETY: the object is alive, the rest is filled by the call.
            state = unsafe { flush(self.raw.0, planes.as_mut_ptr(), &mut shown) };
        }
        (state, shown)
    }
}

impl super::Decoder for Decoder {
    fn decode(&mut self, annex_b: &[u8], out: &mut I420) -> Result<bool, Error> {
        let bytes = annex_b.len();
        if bytes == 0 {
            return Ok(false); // the decoder would take it for the end of the stream
        }
        let length = c_int::try_from(bytes).map_err(|_| Error::Damaged { bytes, state: 0 })?;
        let (pictured, keyframe) = survey(annex_b);
        if self.needs_keyframe && pictured && !keyframe {
            return Err(Error::NeedsKeyframe);
        }
        let (state, shown) = self.feed(annex_b, length);
        let complete = shown.iBufferStatus == 1;
        if state != dsErrorFree || complete != pictured {
            return Err(self.damaged(bytes, state));
        }
        // SAFETY: `shown` was just filled, and the object is not touched before its next use.
        if complete && !unsafe { copy(&shown, out) } {
            return Err(self.damaged(bytes, state));
        }
        self.needs_keyframe &= !keyframe;
        Ok(complete)
    }
}

/// Whether an access unit holds slices at all, and whether they are a keyframe's.
fn survey(annex_b: &[u8]) -> (bool, bool) {
    let mut slices = annex_b
        .windows(4)
        .filter(|bytes| bytes[..3] == [0, 0, 1])
        .map(|bytes| bytes[3] & 0x1f)
        .filter(|kind| SLICES.contains(kind));
    match slices.next() {
        Some(kind) => (true, kind == IDR_SLICE),
        None => (false, false),
    }
}

/// Copies a decoded picture to `out`, row by row: the decoder's rows are wider than the picture.
/// `false`: it has no usable size, and `out` is as before.
///
/// # Safety
/// `shown` must have been filled, with status 1, by a decoder that was not used since.
unsafe fn copy(shown: &SBufferInfo, out: &mut I420) -> bool {
    // SAFETY: the union has one member.
    let buffer = unsafe { shown.UsrData.sSystemBuffer };
    let Some(size) = usable_size(&buffer) else {
        return false;
    };
    out.reset(size);
    let widths = out.strides();
    let strides = [buffer.iStride[0], buffer.iStride[1], buffer.iStride[1]];
    let planes = out.planes_mut().into_iter().zip(widths).zip(shown.pDst).zip(strides);
    for (((into, width), from), stride) in planes {
        for (row, into) in into.chunks_exact_mut(width).enumerate() {
            // SAFETY: each plane has `iHeight` (half of it for chroma) rows of at least `width`
            // bytes, `stride` apart; `into` has no more rows than that.
            let from =
                unsafe { std::slice::from_raw_parts(from.add(row * stride as usize), width) };
            into.copy_from_slice(from);
        }
    }
    true
}

/// The size of a decoded picture. It comes from the stream, so it may be nonsense.
fn usable_size(buffer: &SSysMEMBuffer) -> Option<Size> {
    let side = |length: c_int| u32::try_from(length).ok().filter(|&length| length >= 2);
    let size = Size::new(side(buffer.iWidth)?, side(buffer.iHeight)?);
    let [luma, chroma] = buffer.iStride.map(|stride| u32::try_from(stride).unwrap_or(0));
    (size.width <= luma && size.width / 2 <= chroma).then_some(size)
}

fn setup(step: &'static str, code: c_long) -> Error {
    // `c_long` has 32 bits on some systems.
    #[allow(clippy::useless_conversion)]
    Error::CodecSetup { codec: "decoder", step, code: code.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let usable = |width, height, strides| {
            let mut buffer = SSysMEMBuffer::default();
            (buffer.iWidth, buffer.iHeight, buffer.iStride) = (width, height, strides);
            usable_size(&buffer)
        };
        assert_eq!(usable(320, 180, [384, 192]), Some(Size::new(320, 180)));
        assert_eq!(usable(1, 180, [384, 192]), None);
        assert_eq!(usable(320, -4, [384, 192]), None);
        assert_eq!(usable(640, 180, [384, 320]), None);
        assert_eq!(usable(320, 180, [384, -1]), None);
    }
}
