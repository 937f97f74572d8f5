//! isotherm-uring
