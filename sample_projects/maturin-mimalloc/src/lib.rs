//! Sorts words, with every allocation made by mimalloc.

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The words of a text, sorted.
#[pyfunction]
fn words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    found.sort();
    found
}

#[pymodule]
fn sorted_mimalloc(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(words, module)?)
}
