//! Erasure codes at the speed of the processor.
//!
//! A stripe is k data cells and m parity cells of one length. What may be lost and still be
//! rebuilt is the [`Scheme`]'s to say; how fast is the [`Kernel`]'s; and a [`Codec`] is one
//! scheme on one kernel. Which bytes a scheme makes is fixed for ever: golden vectors pin them,
//! and a [`Descriptor`] recorded with each stripe says all that decoding needs.
//!
//! ```
//! use isotherm_erasure::{Codec, Descriptor, Lost};
//!
//! let descriptor = Descriptor::new("4+2".parse()?, 4096)?;
//! let mut codec = Codec::new(descriptor);
//! let data: Vec<Vec<u8>> = (0..4).map(|cell| vec![cell; 4096]).collect();
//! let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
//! let mut parity = vec![vec![0; 4096]; 2];
//! let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
//! codec.encode(&data, &mut outputs)?;
//!
//! // Cells 0 and 3 are lost; only cell 3 is needed.
//! let survivors =
//!     [None, Some(data[1]), Some(data[2]), None, Some(&parity[0][..]), Some(&parity[1][..])];
//! let mut rebuilt = vec![0; 4096];
//! codec.reconstruct(&survivors, &mut [Lost { cell: 3, bytes: &mut rebuilt }])?;
//! assert_eq!(rebuilt, data[3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "bench")]
pub mod bench;
mod cells;
mod checksum;
mod codec;
mod descriptor;
mod error;
mod field;
mod kernel;
mod leopard;
mod matrix;
mod plan;
mod program;
pub mod repair;
mod solve;

pub use cells::CellSet;
pub use checksum::{CHUNK_BYTES, Checksums, combine, crc32c};
pub use codec::{Codec, Cursor, Lost, Options, Progress, Residency, STREAM_BYTES};
pub use descriptor::{
    ChecksumKind, CodecId, Descriptor, DescriptorError, GeometryError, ParseSchemeError, Scheme,
};
pub use error::{CodecError, ReconstructError, ShapeError, VerifyError};
pub use kernel::Kernel;
