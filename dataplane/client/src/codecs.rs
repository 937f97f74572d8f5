//! Codecs that are kept, with the plans that they have made for losses.
//!
//! What must always hold: few are kept, one for all lengths that objects of a scheme have; none is
//! borrowed while another is made.

use std::cell::RefCell;

use isotherm_erasure::{Codec, Descriptor};

/// Codecs that are kept, each of another scheme.
const KEPT_MAX: usize = 8;

/// The codecs used last, the latest at the end.
#[derive(Default)]
pub(crate) struct Codecs {
    kept: RefCell<Vec<Codec>>,
}

impl Codecs {
    /// Does something with the codec of this description.
    pub(crate) fn with<T>(&self, descriptor: Descriptor, work: impl FnOnce(&mut Codec) -> T) -> T {
        let kept = &mut *self.kept.borrow_mut();
        let scheme = descriptor.scheme();
        let mut codec = match kept.iter().rposition(|codec| codec.descriptor().scheme() == scheme) {
            Some(at) => kept.remove(at),
            None => {
                if kept.len() == KEPT_MAX {
                    kept.remove(0);
                }
                Codec::new(descriptor)
            }
        };
        codec.set_descriptor(descriptor);
        kept.push(codec);
        work(kept.last_mut().expect("it was just put there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_kept_and_the_latest_stay() {
        let codecs = Codecs::default();
        let first = Descriptor::new("4+2".parse().unwrap(), 4096).unwrap();
        for data in 3..=20 {
            for cell_bytes in [64, 4096] {
                let scheme = format!("{data}+2").parse().unwrap();
                let descriptor = Descriptor::new(scheme, cell_bytes).unwrap();
                assert_eq!(codecs.with(descriptor, |codec| codec.descriptor()), descriptor);
                assert_eq!(codecs.with(first, |codec| codec.descriptor()), first);
            }
        }
        let kept = codecs.kept.borrow();
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept.last().unwrap().descriptor(), first);
    }

    #[test]
    fn one_codec_serves_cells_of_all_lengths() {
        let codecs = Codecs::default();
        for cell_bytes in [512, 64, 4096, 192] {
            let descriptor = Descriptor::new("2+1".parse().unwrap(), cell_bytes).unwrap();
            let len = cell_bytes as usize;
            let data: Vec<Vec<u8>> = (1..=2).map(|byte| vec![byte; len]).collect();
            let data: Vec<&[u8]> = data.iter().map(|cell| &cell[..]).collect();
            let encode = |codec: &mut Codec| {
                let mut parity = vec![0; len];
                codec.encode(&data, &mut [&mut parity]).unwrap();
                parity
            };
            let parity = codecs.with(descriptor, encode);
            assert_eq!(parity, encode(&mut Codec::new(descriptor)));
            let rebuilt = codecs.with(descriptor, |codec| {
                let mut lost = vec![0; len];
                let wanted = isotherm_erasure::Lost { cell: 0, bytes: &mut lost };
                codec.reconstruct(&[None, Some(data[1]), Some(&parity)], &mut [wanted]).unwrap();
                lost
            });
            assert_eq!(rebuilt, data[0]);
        }
        assert_eq!(codecs.kept.borrow().len(), 1);
    }
}
