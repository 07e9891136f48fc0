//! Pictures without their finest detail, where that is too dear: a picture of text coded with the coarsest quantiser still takes
//! more than a narrow path carries in time, and a smoothed one a quarter of it.
//!
//! What moves is softened block by block, and what rests is sharpened again row by row of blocks, so that each row costs
//! what the path takes. The picture keeps its size, so decoders and viewers need not know.

use super::smooth::smooth;
use crate::picture::{I420, Size};

/// The side of H.264's macroblocks.
pub(super) const BLOCK: usize = 16;

/// Which blocks of the pictures of one stream are soft.
#[derive(Debug, Default)]
pub(super) struct Softener {
    row: Vec<u16>,
    soft: I420,
    mixed: I420,
    /// Which blocks are soft, row by row; empty before the first that is.
    blocks: Vec<bool>,
    columns: usize,
    all: usize,
    is_softest: bool,
}

impl Softener {
    pub(super) fn new(size: Size) -> Self {
        let [columns, rows] = [size.width, size.height].map(|side| (side as usize).div_ceil(BLOCK));
        Self { columns, all: columns * rows, ..Self::default() }
    }

    /// The share of blocks that are soft.
    pub(super) fn share(&self) -> f64 {
        let soft = self.blocks.iter().filter(|&&soft| soft).count();
        soft as f64 / self.blocks.len().max(1) as f64
    }

    /// From now on, of the blocks that have changed those in this share of the rows, from the top, are sharp and the others soft.
    /// The softness is that of all soft blocks, not of the new ones alone.
    pub(super) fn set(
        &mut self,
        changed: impl Iterator<Item = bool>,
        sharp: f64,
        is_softest: bool,
    ) {
        self.is_softest = is_softest;
        if sharp < 1.0 {
            self.blocks.resize(self.all, false);
        }
        let sharp = (sharp * self.all as f64) as usize / self.columns.max(1) * self.columns;
        for (at, (is_soft, changed)) in self.blocks.iter_mut().zip(changed).enumerate() {
            *is_soft = if changed { at >= sharp } else { *is_soft };
        }
    }

    /// Sharpens rows of blocks from the top, at least one, until they hold so many blocks of which this is the share.
    pub(super) fn sharpen(&mut self, share: f64) {
        let most = share * self.blocks.len() as f64;
        let mut sharpened = 0;
        for row in self.blocks.chunks_mut(self.columns.max(1)) {
            let soft = row.iter().filter(|&&soft| soft).count();
            if sharpened > 0 && (sharpened + soft) as f64 > most {
                break;
            }
            sharpened += soft;
            row.fill(false);
        }
    }

    /// The picture with its soft blocks softened.
    pub(super) fn mix<'a>(&'a mut self, picture: &'a I420) -> &'a I420 {
        if !self.blocks.contains(&true) {
            self.blocks.clear();
            return picture;
        }
        let size = picture.size();
        self.soften(picture);
        if !self.blocks.contains(&false) {
            return &self.soft;
        }
        self.mixed.reset(size);
        let strides = picture.strides();
        let planes = self.mixed.planes_mut().into_iter().zip(picture.planes());
        for (plane, ((mixed, sharp), soft)) in planes.zip(self.soft.planes()).enumerate() {
            let (stride, side) = (strides[plane], if plane == 0 { BLOCK } else { BLOCK / 2 });
            mixed.copy_from_slice(sharp);
            let rows = mixed.chunks_mut(stride).zip(soft.chunks(stride)).enumerate();
            for (row, (mixed, soft)) in rows {
                let blocks = &self.blocks[row / side * self.columns..];
                let parts = mixed.chunks_mut(side).zip(soft.chunks(side)).zip(blocks);
                for ((mixed, soft), _) in parts.filter(|(_, is_soft)| **is_soft) {
                    mixed.copy_from_slice(soft);
                }
            }
        }
        &self.mixed
    }

    /// Softens the whole picture.
    fn soften(&mut self, picture: &I420) {
        self.soft.reset(picture.size());
        if self.is_softest {
            self.mixed.reset(picture.size());
        }
        for (plane, width) in picture.strides().into_iter().enumerate() {
            let (soft, row) = (&mut *self.soft.planes_mut()[plane], &mut self.row);
            smooth(width, picture.planes()[plane], 1, soft, row);
            if self.is_softest {
                let other = &mut *self.mixed.planes_mut()[plane];
                smooth(width, soft, 2, other, row);
                smooth(width, other, 4, soft, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(72, 40);
    /// Blocks of such a picture: five in a row, three rows.
    const ALL: [bool; 15] = [true; 15];

    /// Stripes of one pixel, which softening turns grey.
    fn stripes() -> I420 {
        let mut picture = I420::new(SIZE);
        let luma = picture.planes_mut()[0].iter_mut().enumerate();
        luma.for_each(|(at, pixel)| *pixel = if at % 2 == 0 { 16 } else { 235 });
        picture
    }

    /// Whether the block in this column and row is as it was.
    fn is_sharp(of: &I420, column: usize, row: usize) -> bool {
        let sharp = stripes();
        let at = row * BLOCK * 72 + column * BLOCK;
        of.planes()[0][at..at + 8] == sharp.planes()[0][at..at + 8]
    }

    #[test]
    fn only_the_blocks_that_are_to_be_soft_are() {
        let (picture, mut softener) = (stripes(), Softener::new(SIZE));
        assert!(std::ptr::eq(softener.mix(&picture), &picture), "nothing to do");
        let mut changed = [false; 15];
        (changed[1], changed[14]) = (true, true);
        softener.set(changed.into_iter(), 0.0, false);
        let mixed = softener.mix(&picture);
        for (at, changed) in changed.iter().enumerate() {
            assert_eq!(is_sharp(mixed, at % 5, at / 5), !changed, "block {at}");
        }
        softener.set(changed.into_iter(), 1.0, false);
        assert!(softener.share() == 0.0 && *softener.mix(&picture) == picture);
    }

    #[test]
    fn rows_are_sharpened_from_the_top() {
        let (picture, mut softener) = (stripes(), Softener::new(SIZE));
        softener.set(ALL.into_iter(), 0.0, true);
        assert!(!is_sharp(softener.mix(&picture), 0, 0));
        softener.sharpen(0.0);
        let mixed = softener.mix(&picture);
        assert_eq!([0, 1, 2].map(|row| is_sharp(mixed, 4, row)), [true, false, false], "one row");
        softener.sharpen(1.0);
        assert!(std::ptr::eq(softener.mix(&picture), &picture));
    }
}
