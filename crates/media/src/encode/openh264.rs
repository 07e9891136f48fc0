//! The software encoder: OpenH264 through its C interface, which offers more than its wrappers.
#![allow(unsafe_code)]

use super::quality::{Plan, Quality};
use super::soft::{BLOCK, Softener};
use super::{Config, Encoded, Kind};
use crate::Error;
use crate::openh264::log;
use crate::picture::{I420, Size};
use openh264_sys2::source::APILoader;
use openh264_sys2::*;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Duration;

/// Below this not even empty pictures fit.
const LEAST_BITRATE: u32 = 10_000;
/// Added twice to the quantiser by which the loop filter is chosen.
const LOOP_FILTER: c_int = -4;

/// An OpenH264 encoder, initialised for one configuration.
pub(super) struct Encoder {
    raw: Handle,
    parameters: Box<SEncParamExt>,
    size: Size,
    quality: Quality,
    before: Sketch,
    softener: Softener,
    /// Nothing is coded yet.
    empty: bool,
}

/// Some rows of a picture: enough to tell how much of the next one differs.
#[derive(Default)]
struct Sketch {
    rows: Vec<u8>,
    /// Which blocks differ, row by row: a change costs by the block, however little of it changes.
    blocks: Vec<bool>,
}

impl Sketch {
    /// One row of so many.
    const STEP: usize = 4;
    /// Noise is no change.
    const LEAST: u8 = 8;

    /// Takes another picture; answers the share of its blocks that differ.
    fn update(&mut self, picture: &I420) -> f64 {
        let width = picture.strides()[0];
        let [luma, ..] = picture.planes();
        self.rows.resize(luma.len().div_ceil(width * Self::STEP) * width, 0);
        let columns = width.div_ceil(BLOCK);
        self.blocks.clear();
        self.blocks.resize(columns * luma.len().div_ceil(width * BLOCK), false);
        let known = self.rows.chunks_mut(width * (BLOCK / Self::STEP));
        let rows = known.zip(luma.chunks(width * BLOCK)).zip(self.blocks.chunks_mut(columns));
        for ((known, luma), differ) in rows {
            let rows = luma.chunks_exact(width).step_by(Self::STEP);
            for (known, row) in known.chunks_exact_mut(width).zip(rows) {
                let blocks = known.chunks(BLOCK).zip(row.chunks(BLOCK));
                for (differs, (before, now)) in differ.iter_mut().zip(blocks) {
                    let pixels = before.iter().zip(now);
                    *differs |=
                        pixels.fold(false, |any, (a, b)| any | (a.abs_diff(*b) > Self::LEAST));
                }
                known.copy_from_slice(row);
            }
        }
        let different = self.blocks.iter().filter(|&&differs| differs).count();
        different as f64 / self.blocks.len().max(1) as f64
    }
}

/// Owns the C++ object.
struct Handle(*mut ISVCEncoder);

// SAFETY: the object has no ties to the thread that made it, and only `&mut self` reaches it.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        let table = self.table();
        if let Some(uninitialize) = table.Uninitialize {
            // SAFETY: `self.0` is alive until the next line; uninitialising twice is allowed.
            unsafe { uninitialize(self.0) };
        }
        // SAFETY: made by `WelsCreateSVCEncoder`, destroyed only here.
        unsafe { APILoader::WelsDestroySVCEncoder(self.0) };
    }
}

impl Handle {
    fn new() -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for the pointer to the new object.
        let code = unsafe { APILoader::WelsCreateSVCEncoder(&mut raw) };
        if code != 0 || raw.is_null() {
            return Err(setup("create", code));
        }
        Ok(Self(raw))
    }

    fn table(&self) -> &ISVCEncoderVtbl {
        // SAFETY: `self.0` is a live object, which begins with a pointer to its static table.
        unsafe { &**self.0 }
    }

    /// Calls `SetOption`; answers its code.
    ///
    /// # Safety
    /// `value` must be of the type that OpenH264 documents for `option`.
    unsafe fn set<T>(&mut self, option: ENCODER_OPTION, value: &mut T) -> c_int {
        let set = self.table().SetOption.expect("OpenH264 fills its table");
        let value: *mut c_void = ptr::from_mut(value).cast();
        // SAFETY: the object is alive; the caller vouches for the type behind `value`.
        unsafe { set(self.0, option, value) }
    }
}

impl Encoder {
    pub(super) fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let mut raw = Handle::new()?;
        let mut sink: WelsTraceCallback = Some(log);
        // SAFETY: this option takes a pointer to such a function pointer.
        unsafe { raw.set(ENCODER_OPTION_TRACE_CALLBACK, &mut sink) };

        let mut defaults = SEncParamExt::default();
        let fill = raw.table().GetDefaultParams.expect("OpenH264 fills its table");
        // SAFETY: the object is alive and `defaults` is what it fills.
        let code = unsafe { fill(raw.0, &mut defaults) };
        if code != 0 {
            return Err(setup("defaults", code));
        }

        let parameters = Box::new(parameters(&config, defaults));
        let initialize = raw.table().InitializeExt.expect("OpenH264 fills its table");
        // SAFETY: the object is alive and copies the parameters.
        let code = unsafe { initialize(raw.0, &*parameters) };
        if code != 0 {
            return Err(setup("initialise", code));
        }
        let bitrate = config.bitrate.max(LEAST_BITRATE);
        let quality = Quality::new(config.size, config.fps, bitrate);
        let (before, softener) = (Sketch::default(), Softener::new(config.size));
        Ok(Self { raw, parameters, size: config.size, quality, before, softener, empty: true })
    }

    /// Sets the quantiser of the next picture.
    fn set_quantiser(&mut self, quantiser: u8) -> Result<(), Error> {
        let quantiser = quantiser.into();
        if self.parameters.sSpatialLayers[0].iDLayerQp == quantiser {
            return Ok(());
        }
        self.parameters.sSpatialLayers[0].iDLayerQp = quantiser;
        // SAFETY: this option takes an `SEncParamExt`. OpenH264 makes a keyframe only if size,
        // layers or references differ (`WelsEncoderParamAdjust`).
        let code =
            unsafe { self.raw.set(ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, &mut *self.parameters) };
        succeeded("quantiser change", code)
    }
}

impl super::Encoder for Encoder {
    fn encode(
        &mut self,
        picture: &I420,
        kind: Kind,
        timestamp: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, Error> {
        out.clear();
        if picture.size() != self.size {
            return Err(Error::SizeChanged { expected: self.size, found: picture.size() });
        }
        let mut kind = if std::mem::take(&mut self.empty) { Kind::Keyframe } else { kind };
        let change = self.before.update(picture);
        let soft = self.softener.share();
        let mut plan = self.quality.plan(kind, change, soft, timestamp.as_secs_f64());
        let mut keyframe = self.code(picture, kind, &plan, timestamp, out)?;
        // What was coded has become the reference of the next picture: only a keyframe can take its place.
        while let Some(coarser) = self.quality.coarser(kind, change, &plan, out.len() as f64 * 8.0)
        {
            (kind, plan) = (Kind::Keyframe, coarser);
            keyframe = self.code(picture, kind, &plan, timestamp, out)?;
        }
        let soft_now = self.softener.share();
        let bits = out.len() as f64 * 8.0;
        self.quality.coded(kind, change, (soft - soft_now).max(0.0), &plan, bits);
        let again_after = self.quality.again_after(soft_now > 0.0);
        Ok(Encoded { keyframe, next_after: self.quality.next_after(), again_after })
    }

    fn set_bitrate(&mut self, bps: u32) {
        self.quality.set_bitrate(bps.max(LEAST_BITRATE));
    }
}

impl Encoder {
    /// Codes a picture according to a plan; returns whether it became a keyframe.
    fn code(
        &mut self,
        picture: &I420,
        kind: Kind,
        plan: &Plan,
        timestamp: Duration,
        out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        if kind != Kind::Again {
            let changed =
                self.before.blocks.iter().map(|&changed| changed || kind == Kind::Keyframe);
            self.softener.set(changed, plan.sharp, plan.is_softest);
        }
        if plan.sharpens > 0.0 {
            self.softener.sharpen(plan.sharpens);
        }
        self.set_quantiser(plan.quantiser)?;
        if kind == Kind::Keyframe {
            let force = self.raw.table().ForceIntraFrame.expect("OpenH264 fills its table");
            // SAFETY: the object is alive.
            let code = unsafe { force(self.raw.0, true) };
            succeeded("keyframe request", code)?;
        }
        let picture = self.softener.mix(picture);
        let source = source(picture, timestamp);
        let mut coded = SFrameBSInfo::default();
        let encode = self.raw.table().EncodeFrame.expect("OpenH264 fills its table");
        // SAFETY: `source` describes planes that `picture` keeps alive, and they are only read.
        let code = unsafe { encode(self.raw.0, &source, &mut coded) };
        succeeded("encode", code)?;
        out.clear();
        // SAFETY: `coded` was just filled, and the object is not touched before its next use.
        unsafe { append(&coded, out) };
        Ok(coded.eFrameType == videoFrameTypeIDR)
    }
}

/// The encoder for a live screen, in OpenH264's terms.
fn parameters(config: &Config, defaults: SEncParamExt) -> SEncParamExt {
    let mut p = defaults;
    // The screen mode takes three times as long and insists on scene-change keyframes.
    p.iUsageType = CAMERA_VIDEO_REAL_TIME;
    p.iPicWidth = config.size.width as c_int;
    p.iPicHeight = config.size.height as c_int;
    p.fMaxFrameRate = config.fps as f32;
    // `Quality` decides: OpenH264's own control takes several times the budget for a turned page,
    // and does not know a picture at rest from one that moves.
    p.iRCMode = RC_OFF_MODE;
    p.iTargetBitrate = UNSPECIFIED_BIT_RATE as c_int;
    p.iMaxBitrate = UNSPECIFIED_BIT_RATE as c_int;
    // A skipped picture is a picture late: pacing and dropping belong to the caller.
    p.bEnableFrameSkip = false;
    p.iComplexityMode = LOW_COMPLEXITY;
    // Keyframes only on request, always with the same parameter sets.
    p.uiIntraPeriod = 0;
    p.bEnableSceneChangeDetect = false;
    p.eSpsPpsIdStrategy = CONSTANT_ID;
    p.iNumRefFrame = 1;
    p.iTemporalLayerNum = 1;
    p.iSpatialLayerNum = 1;
    p.iMultipleThreadIdc = 1;
    p.iEntropyCodingModeFlag = 0;
    // It would freeze what stands still before it is sharp.
    p.bEnableBackgroundDetection = false;
    p.bEnableAdaptiveQuant = false;
    // A skipped block is skipped again while its error is less than it was (`WelsMdPSkipEnc`), and at its edges the loop filter
    // sees to that: a coarse page stays coarse, whatever the quantiser. So weak, it ends before that is seen.
    p.iLoopFilterAlphaC0Offset = LOOP_FILTER;
    p.iLoopFilterBetaOffset = LOOP_FILTER;

    let layer = &mut p.sSpatialLayers[0];
    layer.iVideoWidth = p.iPicWidth;
    layer.iVideoHeight = p.iPicHeight;
    layer.fFrameRate = p.fMaxFrameRate;
    layer.iSpatialBitrate = p.iTargetBitrate;
    layer.iMaxSpatialBitrate = UNSPECIFIED_BIT_RATE as c_int;
    layer.uiProfileIdc = PRO_BASELINE;
    // The lowest level that fits size and frame rate.
    layer.uiLevelIdc = LEVEL_UNKNOWN;
    layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    layer.bVideoSignalTypePresent = true;
    layer.uiVideoFormat = VF_UNDEF as u8;
    layer.bFullRange = false;
    layer.bColorDescriptionPresent = true;
    layer.uiColorPrimaries = CP_BT709 as u8;
    layer.uiTransferCharacteristics = TRC_BT709 as u8;
    layer.uiColorMatrix = CM_BT709 as u8;
    p
}

/// Describes a picture's planes where they are.
fn source(picture: &I420, timestamp: Duration) -> SSourcePicture {
    let [y, u, v] = picture.planes().map(|plane| plane.as_ptr().cast_mut());
    let [luma, chroma, _] = picture.strides().map(|stride| stride as c_int);
    SSourcePicture {
        iColorFormat: videoFormatI420,
        iStride: [luma, chroma, chroma, 0],
        pData: [y, u, v, ptr::null_mut()],
        iPicWidth: picture.size().width as c_int,
        iPicHeight: picture.size().height as c_int,
        uiTimeStamp: timestamp.as_millis() as _,
        ..SSourcePicture::default()
    }
}

/// Copies all layers of a coded picture (parameter sets, then its slice) to `out`.
///
/// # Safety
/// `coded` must have been filled by an encoder that was not used since.
unsafe fn append(coded: &SFrameBSInfo, out: &mut Vec<u8>) {
    for layer in &coded.sLayerInfo[..coded.iLayerNum as usize] {
        // SAFETY: the encoder gives `iNalCount` lengths, and that many bytes behind `pBsBuf`.
        let bytes = unsafe {
            let lengths =
                std::slice::from_raw_parts(layer.pNalLengthInByte, layer.iNalCount as usize);
            let total = lengths.iter().sum::<c_int>();
            std::slice::from_raw_parts(layer.pBsBuf, total as usize)
        };
        out.extend_from_slice(bytes);
    }
}

fn succeeded(step: &'static str, code: c_int) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::Encode { step, code: code.into() }) }
}

fn setup(step: &'static str, code: c_int) -> Error {
    Error::CodecSetup { codec: "encoder", step, code: code.into() }
}
