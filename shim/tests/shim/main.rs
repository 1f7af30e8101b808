//! The real shim, with real processes, against a server that says what each test wants.

mod bench;
mod checkpoints;
mod doctor;
mod fake;
mod flood;
mod groups;
mod inheritance;
mod keep;
mod launcher;
mod leaving;
mod memory;
mod messages;
mod namespaces;
mod notify;
mod old_kernel;
mod ordinary_user;
mod output;
mod pulled;
mod sessions;
mod settings;
mod upgrade;
mod want;
mod watched;
