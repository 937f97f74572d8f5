//! The scalar kernel: table look-ups, one byte at a time, in safe code.
//!
//! It defines what is right. Every other kernel must give the same bytes, and leaves to this
//! one the last bytes of a cell that do not fill a vector.

use super::{Outputs, Sources};
use crate::field::PRODUCT;
use crate::program::Pass;
use std::ops::Range;

/// Computes `pass` over `columns` of the cells.
pub(super) fn pass(
    pass: &Pass,
    sources: &(impl Sources + ?Sized),
    outputs: &mut (impl Outputs + ?Sized),
    columns: Range<usize>,
    accumulate: bool,
) {
    let rows = pass.multiplied_rows();
    if !accumulate {
        for &output in pass.outputs() {
            outputs.cell_mut(output.into())[columns.clone()].fill(0);
        }
    }
    for (r, &output) in pass.outputs()[usize::from(pass.has_plain())..].iter().enumerate() {
        let output = &mut outputs.cell_mut(output.into())[columns.clone()];
        for (s, &source) in pass.sources().iter().enumerate() {
            let products = &PRODUCT[usize::from(pass.coefficients()[s * rows + r])];
            let source = &sources.cell(source.into())[columns.clone()];
            for (o, &byte) in output.iter_mut().zip(source) {
                *o ^= products[usize::from(byte)];
            }
        }
    }
    if pass.has_plain() {
        let (plain, multiplied) = (pass.outputs()[0], &pass.outputs()[1..]);
        for &source in &pass.sources()[..pass.plain_sources()] {
            let source = &sources.cell(source.into())[columns.clone()];
            let output = &mut outputs.cell_mut(plain.into())[columns.clone()];
            for (o, &byte) in output.iter_mut().zip(source) {
                *o ^= byte;
            }
        }
        for &folded in &multiplied[..pass.folded()] {
            for column in columns.clone() {
                let byte = outputs.cell_mut(folded.into())[column];
                outputs.cell_mut(plain.into())[column] ^= byte;
            }
        }
    }
}
