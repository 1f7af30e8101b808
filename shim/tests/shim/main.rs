//! The real shim, with real processes, against a server that says what each test wants.

mod bench;
mod fake;
mod inheritance;
mod leaving;
mod notify;
mod output;
mod sessions;
mod settings;
