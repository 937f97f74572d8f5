//! isotherm-seam
