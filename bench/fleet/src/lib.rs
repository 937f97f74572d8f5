//! isotherm-fleet
