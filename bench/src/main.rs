//! `rekindle-bench`.

fn main() -> std::process::ExitCode {
    rekindle_bench::run()
}
