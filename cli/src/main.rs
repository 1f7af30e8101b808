//! `rekindle`.

fn main() -> std::process::ExitCode {
    rekindle_cli::main()
}
