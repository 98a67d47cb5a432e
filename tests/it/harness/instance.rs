//! One process of the service.

use super::{PATIENCE, Text, json};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running process of the service, killed when dropped.
pub(super) struct Instance {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    pub(super) stdout: Text,
    pub(super) stderr: Text,
}

impl Instance {
    /// Starts one, and waits until it listens: at the fixed address or, without one, where its log says.
    pub(super) fn start(command: &mut Command, fixed: Option<SocketAddr>) -> Instance {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program can be started");
        let stdout = Text::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Text::collect(child.stderr.take().expect("stderr is piped"));
        let mut address = None;
        let deadline = Instant::now() + PATIENCE;
        while address.is_none() {
            let ended = child.try_wait().expect("a child can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                let _ = child.kill(); // it may have ended, which is what is wrong with it
                panic!("the service did not start: {ended:?}\nstdout: {stdout}\nstderr: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(2));
            address = match fixed {
                Some(fixed) => TcpStream::connect(fixed).is_ok().then_some(fixed),
                None => listening(&stdout.to_string()),
            };
        }
        let address = address.expect("the loop ended with one");
        Instance { child, address, stdout, stderr }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended long ago, as many tests want it to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that says that the service is listening.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(json);
    let line = line.into_iter().find(|line| line["message"] == "listening")?;
    line["address"].as_str()?.parse().ok()
}
