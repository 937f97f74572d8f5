//! isotherm-host
