//! isotherm-heat
