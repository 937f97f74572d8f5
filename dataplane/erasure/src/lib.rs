//! isotherm-erasure
