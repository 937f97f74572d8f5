//! Codecs that are kept, with the plans that they have made for losses.
//!
//! What must always hold: few are kept, of whatever lengths objects are; none is borrowed while
//! another is made.

use std::cell::RefCell;

use isotherm_erasure::{Codec, Descriptor};

/// Codecs that are kept. Objects of one length need one.
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
        let codec = match kept.iter().rposition(|codec| codec.descriptor() == descriptor) {
            Some(at) => kept.remove(at),
            None => {
                if kept.len() == KEPT_MAX {
                    kept.remove(0);
                }
                Codec::new(descriptor)
            }
        };
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
        let scheme = "4+2".parse().unwrap();
        for cell_bytes in (1..=20).map(|n| n * 4096) {
            let descriptor = Descriptor::new(scheme, cell_bytes).unwrap();
            let first = Descriptor::new(scheme, 4096).unwrap();
            assert_eq!(codecs.with(descriptor, |codec| codec.descriptor()), descriptor);
            assert_eq!(codecs.with(first, |codec| codec.descriptor()), first);
        }
        let kept = codecs.kept.borrow();
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept.last().unwrap().descriptor(), Descriptor::new(scheme, 4096).unwrap());
    }
}
