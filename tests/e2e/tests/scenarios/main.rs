//! What must be true of the real binaries, one small test each (DESIGN.md, sections 3, 4, 7 and 9).

mod absent;
mod autonomy;
mod bad_input;
mod cancels;
mod crash;
mod deliveries;
mod disk;
mod events;
mod executions;
mod exit_rules;
mod foreign_agents;
mod foreign_clients;
mod keep;
mod limits;
mod live_output;
mod namesakes;
mod operators;
mod processes;
mod readiness;
mod reboots;
mod restart;
mod restart_with_server_killed;
mod server_loss;
mod set_back;
mod shim_loss;
mod verdicts;
