//! A registry that never gives an image.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;
use http::StatusCode;

/// Answers all that it is asked in the same way, on a port of this machine, until the process ends. Of registries there
/// containerd asks no encryption.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    port: u16,
}

impl Registry {
    /// One that always answers this.
    pub fn answering(status: StatusCode) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        thread::Builder::new().name(format!("registry-{port}")).spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up will come again.
                let _ = answer(&stream, status);
            }
        })?;
        Ok(Self { port })
    }

    /// The name of an image that it does not give.
    pub fn image(self) -> String {
        format!("localhost:{}/nosuch:1", self.port)
    }
}

fn answer(mut stream: &TcpStream, status: StatusCode) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head = BufReader::new(stream).lines().map_while(Result::ok);
    head.take_while(|line| !line.is_empty()).for_each(drop);
    Ok(write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?)
}
