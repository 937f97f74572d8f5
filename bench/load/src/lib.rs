//! isotherm-load
