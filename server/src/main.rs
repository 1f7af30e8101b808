//! `rekindle-server`.

fn main() -> std::process::ExitCode {
    rekindle_server::run(std::env::args_os())
}
