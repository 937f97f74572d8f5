//! isotherm-workload
