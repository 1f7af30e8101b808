//! `rekindle dev`: a real server, a real shim and an agent on this machine, and what happens to them, live.
//!
//! Server and shim are processes of their own, as everywhere: this program again, under hidden subcommands (see
//! [`child`]). What happens is read from the server's log of events, as any client could.

pub(crate) mod child;
mod data;
mod ending;
mod output;
mod sample;
mod session;
mod story;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rekindle::duration;
use rekindle::id::{AGENT_ID_MAX_BYTES, AgentId};
use tokio::signal::unix::SignalKind;
use tokio::time::timeout;

use crate::args::Dev;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::follow::Follow;
use crate::interrupts::Interrupts;
use crate::output::Output;
use child::Child;
use data::{Data, died, tail_of};
use ending::Ending;
use output::AgentOutput;
use session::Session;
use story::Story;

/// How long the server may take to listen: opening a large store takes seconds.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// How often the server is asked for its address meanwhile.
const LISTEN_POLL: Duration = Duration::from_millis(5);
/// How long the server may take to end once its shim has.
const SERVER_END_LIMIT: Duration = Duration::from_secs(10);

/// Runs until it is interrupted, or a part of it fails.
pub(crate) async fn run(dev: Dev, output: Output) -> Result<(), Failure> {
    // From the terminal (Ctrl-C, hang-up), and from a supervisor.
    let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut interrupts = Interrupts::listen(&ends)?;
    let data = Data::open(dev.data_dir.as_deref())?;
    is_free(dev.listen)?;
    let mut server = start_server(dev.listen, &data)?;
    let lived = live(&dev, &data, &mut server, &mut interrupts, output).await;
    server.end(SERVER_END_LIMIT).await;
    lived
}

/// From the start of the server to the end of the shim.
async fn live(
    dev: &Dev,
    data: &Data,
    server: &mut Child,
    interrupts: &mut Interrupts,
    output: Output,
) -> Result<(), Failure> {
    let address = tokio::select! {
        address = server_address(server, data) => address?,
        () = interrupts.next() => return Ok(()),
    };
    let url = format!("http://{address}");
    let name = dev.agent.clone().unwrap_or_else(|| name_of(dev.command.first()));
    let connection = Connection::open(&url).await?;
    let follow = Follow::open(url.clone(), None, String::new()).await?;
    let mut shim = start_shim(dev, &name, &url, data)?;
    let session = Session {
        agent_output: AgentOutput::read(&mut shim),
        name,
        url,
        connection,
        follow,
        story: Story::default(),
        output,
    };
    let mut ending = Ending::default();
    let shown = session.show(&mut shim, server, interrupts, &mut ending, data).await;
    // Also after a failure to print: nothing that was started here may stay.
    let ended = ending.complete(&mut shim, interrupts).await;
    shown.and(ended)
}

/// Says what runs, and what to try.
fn introduce(name: &AgentId, url: &str, data: &Data, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    let address = url.trim_start_matches("http://");
    let program = std::env::args().next().unwrap_or_else(|| "rekindle".to_owned());
    let cli = if address == "127.0.0.1:7420" {
        program
    } else {
        format!("{program} --server {url}")
    };
    let text = format!(
        "Rekindle runs at {url}, with the agent {name}. Its data and logs are in {data}

Try in another terminal:
  {cli} agents list
  {cli} agents restart {name}
  {cli} agents explain {name}
  {cli} events --follow
  grpcurl -plaintext {address} list
  grpcurl -plaintext -d '{{\"name\": \"agents/{name}\"}}' {address} rekindle.v1.AgentService/RestartAgent

Ctrl-C ends it all; a second one does not wait for the agent.
",
        data = data.path.display()
    );
    text.lines().try_for_each(|line| output.line(&[line.into()]))
}

fn start_server(listen: SocketAddr, data: &Data) -> Result<Child, Failure> {
    // The address of an earlier life must not be taken for this one's.
    let _none_yet = std::fs::remove_file(data.port_file());
    let mut args: Vec<OsString> = ["--listen".into(), listen.to_string().into()].into();
    args.extend(["--data-dir".into(), data.path.join("server").into()]);
    args.extend(["--port-file".into(), data.port_file().into()]);
    args.extend(["--log-format".into(), "text".into()]);
    Child::server(args, &data.server_log())
}

fn start_shim(dev: &Dev, name: &AgentId, url: &str, data: &Data) -> Result<Child, Failure> {
    let mut args: Vec<OsString> = ["--agent".into(), name.as_str().into(), "--server".into(), url.into()].into();
    args.extend(["--state-dir".into(), data.shim_state(name).into()]);
    args.extend([
        "--log-file".into(),
        data.shim_log().into(),
        "--log-format".into(),
        "text".into(),
    ]);
    args.extend(["--cooldown".into(), duration::show(dev.cooldown).into()]);
    args.extend(["--max-attempts".into(), dev.max_attempts.to_string().into()]);
    args.extend(["--stable-after".into(), duration::show(dev.stable_after).into()]);
    args.push("--".into());
    if dev.command.is_empty() {
        args.extend(child::sample_agent()?);
    } else {
        args.extend(dev.command.iter().cloned());
    }
    Child::shim(args)
}

/// Where the server listens, once it does.
async fn server_address(server: &mut Child, data: &Data) -> Result<SocketAddr, Failure> {
    let written = async {
        loop {
            // Written at once and whole.
            let text = std::fs::read_to_string(data.port_file()).unwrap_or_default();
            if let Ok(address) = text.trim().parse() {
                return address;
            }
            tokio::time::sleep(LISTEN_POLL).await;
        }
    };
    tokio::select! {
        status = server.wait() => Err(died("server", &status, &data.server_log())),
        address = timeout(LISTEN_LIMIT, written) => address.map_err(|_| Failure::Dev {
            message: format!("the server does not listen after {}", duration::show(LISTEN_LIMIT)),
            hint: tail_of(&data.server_log()),
        }),
    }
}

/// Whether the address can be listened at. The server says so too, but a person should not have to look into its log.
fn is_free(listen: SocketAddr) -> Result<(), Failure> {
    TcpListener::bind(listen).map(drop).map_err(|error| Failure::Dev {
        message: format!("cannot listen at {listen}: {error}"),
        hint: "Choose another address with --listen; --listen 127.0.0.1:0 takes a free port.".to_owned(),
    })
}

/// An agent's name after its program.
fn name_of(program: Option<&OsString>) -> AgentId {
    let fallback = || AgentId::new("sample").expect("a valid name");
    let Some(program) = program else { return fallback() };
    let file = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let fitting: String = file
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(AGENT_ID_MAX_BYTES)
        .collect();
    AgentId::new(fitting.trim_matches('-')).unwrap_or_else(|_| fallback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_named_after_their_program() {
        let name = |program: &str| name_of(Some(&program.into())).to_string();
        assert_eq!(name("/usr/bin/Python3.11"), "python3-11");
        assert_eq!(name("./run_agent.sh"), "run-agent-sh");
        assert_eq!(name("..."), "sample");
        assert_eq!(name_of(None).as_str(), "sample");
    }

    #[test]
    fn a_taken_address_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("an address");
        let failure = is_free(address).expect_err("taken");
        assert!(failure.to_string().contains(&address.to_string()), "{failure}");
    }
}
