//! isotherm-reactor
