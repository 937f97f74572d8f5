//! What is registered with a ring once, so that it need not be looked up for each request: the
//! buffer pool and a table of files.
//!
//! What must always hold: everything works without it, a little slower, and the notes say so.
#![allow(unsafe_code, reason = "island: memory that the kernel keeps pinned")]

use isotherm_seam::BufPool;

use crate::raw::RawRing;

/// Most bytes that the kernel takes as one registered buffer.
const CHUNK_BYTES: usize = 1 << 30;

/// Less than this is not worth a registration.
const WORTH_BYTES: usize = 64 << 10;

/// Files in the ring's table. Disks beyond that are named by their descriptors.
pub(crate) const FILE_SLOTS: usize = 1024;

/// The part of the pool that is registered: from its start, in chunks of `CHUNK_BYTES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FixedSpan {
    start: usize,
    len_bytes: usize,
}

impl FixedSpan {
    /// Registers as much of the pool as the kernel allows. As an ordinary user that is limited
    /// by RLIMIT_MEMLOCK, less what other rings of the same user have pinned.
    pub(crate) fn register(ring: &RawRing, pool: &BufPool, notes: &mut Vec<String>) -> FixedSpan {
        let (start, whole) = pool.span();
        let start = start.as_ptr() as usize;
        let mut len_bytes = whole;
        let mut errno = 0;
        while len_bytes >= WORTH_BYTES.min(whole) {
            let chunks: Vec<libc::iovec> = (0..len_bytes)
                .step_by(CHUNK_BYTES)
                .map(|from| libc::iovec {
                    iov_base: (start + from) as *mut libc::c_void,
                    iov_len: CHUNK_BYTES.min(len_bytes - from),
                })
                .collect();
            // SAFETY: the chunks lie in the pool's region, which the ring's owner keeps alive
            // for longer than the ring by holding the pool.
            match unsafe { ring.register_buffers(&chunks) } {
                Ok(()) => break,
                Err(error) => errno = error.raw_os_error().unwrap_or(libc::EIO),
            }
            len_bytes = (len_bytes / 2) & !4095;
        }
        if len_bytes < WORTH_BYTES.min(whole) {
            len_bytes = 0;
        }
        if len_bytes < whole {
            notes.push(format!(
                "{} of the {} KiB of buffers are registered with the ring ({}): \
                 raise the memlock limit (ulimit -l) for a few percent more speed",
                if len_bytes == 0 { "none".into() } else { format!("{} KiB", len_bytes >> 10) },
                whole >> 10,
                std::io::Error::from_raw_os_error(errno),
            ));
        }
        FixedSpan { start, len_bytes }
    }

    /// The registered buffer that holds `len_bytes` from `ptr` on, if one does.
    #[inline]
    pub(crate) fn index(&self, ptr: *const u8, len_bytes: u32) -> Option<u16> {
        let from = (ptr as usize).wrapping_sub(self.start);
        if from >= self.len_bytes {
            return None;
        }
        let last = from + (len_bytes as usize).max(1) - 1;
        let chunk = from / CHUNK_BYTES;
        (last < self.len_bytes && last / CHUNK_BYTES == chunk).then_some(chunk as u16)
    }
}

/// Makes the table of files. False, with a note, where there can be none.
pub(crate) fn register_file_table(ring: &RawRing, notes: &mut Vec<String>) -> bool {
    match ring.register_file_table(FILE_SLOTS) {
        Ok(()) => true,
        Err(error) => {
            notes.push(format!("files could not be registered with the ring ({error})"));
            false
        }
    }
}

/// Kernel threads that may wait for this core's punted requests (flushes, discards of files,
/// buffered writes): they are made when needed. By default there are four per processor, so that
/// one stuck disk would hold up the flushes of all others, and a device whose requests are all
/// punted would never be deeper than that.
const WORKERS_MAX: u32 = 512;

/// Raises the limit of kernel workers.
pub(crate) fn raise_worker_limit(ring: &RawRing, notes: &mut Vec<String>) {
    if let Err(error) = ring.limit_workers(WORKERS_MAX) {
        notes.push(format!(
            "the kernel keeps its own limit of worker threads ({error}): flushes of many disks \
             may wait for each other"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_one_registered_chunk_has_an_index() {
        let span = FixedSpan { start: 1 << 40, len_bytes: CHUNK_BYTES + 8192 };
        let at = |offset: usize| ((1usize << 40) + offset) as *const u8;
        assert_eq!(span.index(at(0), 4096), Some(0));
        assert_eq!(span.index(at(CHUNK_BYTES - 4096), 4096), Some(0));
        assert_eq!(span.index(at(CHUNK_BYTES - 4096), 4097), None, "crosses two chunks");
        assert_eq!(span.index(at(CHUNK_BYTES), 8192), Some(1));
        assert_eq!(span.index(at(CHUNK_BYTES), 8193), None, "runs past the end");
        assert_eq!(span.index(at(CHUNK_BYTES + 8192), 1), None);
        assert_eq!(span.index(((1usize << 40) - 1) as *const u8, 1), None);
        let none = FixedSpan { start: 1 << 40, len_bytes: 0 };
        assert_eq!(none.index(at(0), 1), None);
    }
}
