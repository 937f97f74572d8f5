//! isotherm-block
