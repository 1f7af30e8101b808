//! The real shim, with real processes, against a server that says what each test wants.

mod bench;
mod fake;
mod flood;
mod inheritance;
mod leaving;
mod output;
mod sessions;
mod settings;
