//! A terminal, and a person in front of it.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A command whose stdout and stderr are one terminal.
pub(crate) struct Terminal {
    screen: File,
    child: Child,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts the command on a terminal of so many columns.
    pub(crate) fn start(mut command: Command, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).expect("a terminal can be made");
        grantpt(&screen).expect("it is ours");
        unlockpt(&screen).expect("it is ours");
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).expect("it has a size");
        let side = ioctl_tiocgptpeer(&screen, flags).expect("it has another side");
        let other = side.try_clone().expect("there are file descriptors");
        let child = command
            .stdin(Stdio::null())
            .stdout(side)
            .stderr(other)
            .spawn()
            .expect("it can be started");
        // With the command go this process's copies of its side, so that its end is the end of what is read.
        drop(command);
        Self {
            screen: File::from(screen),
            child,
            seen: Vec::new(),
        }
    }

    /// Waits until the terminal was sent this.
    ///
    /// # Panics
    /// When the command ends before.
    pub(crate) fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !self.seen.windows(text.len()).any(|part| part == text.as_bytes()) {
            let length = self.screen.read(&mut piece).expect("the command has not ended");
            self.seen.extend_from_slice(&piece[..length]);
        }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it has not been waited for");
    }

    /// Waits for the end, and gives all that the terminal was sent.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        match self.screen.read_to_end(&mut self.seen) {
            Ok(_) => {}
            // Linux says so when nobody has the other side any more.
            Err(error) => assert_eq!(
                error.raw_os_error(),
                Some(rustix::io::Errno::IO.raw_os_error()),
                "{error}"
            ),
        }
        let status = self.child.wait().expect("a child can be waited for");
        (status, String::from_utf8(self.seen).expect("UTF-8"))
    }
}
