//! `rekindle-shim`.

fn main() -> std::process::ExitCode {
    rekindle_shim::run(std::env::args_os())
}
