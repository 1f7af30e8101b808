//! The shim.

mod process;
