//! CRC-32 by a C function that the cc crate compiles.

use pyo3::prelude::*;

extern "C" {
    fn checksum(data: *const u8, length: core::ffi::c_ulong) -> u32;
}

/// The CRC-32 of some bytes.
#[pyfunction]
fn crc32(data: &[u8]) -> u32 {
    // SAFETY: the function reads `length` bytes from `data` and keeps nothing.
    unsafe { checksum(data.as_ptr(), data.len() as core::ffi::c_ulong) }
}

#[pymodule]
fn checksum_rust(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(crc32, module)?)
}
