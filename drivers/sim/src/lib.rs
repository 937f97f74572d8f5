//! isotherm-sim
