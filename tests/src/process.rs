//! Child processes that cannot outlive the test: start, pause, kill, restart, wait.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use tokio::{sync::watch, time::timeout};

use crate::guard;

/// How to start a process, and to start it again.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name in messages.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What is added to the inherited environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where standard output and error are appended to.
    pub log: PathBuf,
    /// How long a polite request to end may take before it is killed.
    pub grace: Duration,
}

impl Spec {
    /// A process with neither arguments nor extra environment.
    pub fn new(name: &str, program: &Path, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            log,
            grace: Duration::from_secs(5),
        }
    }

    /// With these arguments at the end.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With a flag and its value at the end.
    #[must_use]
    pub fn arg_pair(self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new(flag), value.as_ref()])
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The guard was killed before it could tell.
    Unknown,
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    orders: ChildStdin,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts it.
    pub fn spawn(spec: Spec) -> Result<Self> {
        let running = Mutex::new(launch(&spec)?);
        Ok(Self { spec, running })
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How it was started; change a copy of it to start a variant.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it writes.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The pid of the process itself, not of its guard.
    pub fn pid(&self) -> u32 {
        self.running().pid
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<Exit> {
        *self.running().exit.borrow()
    }

    /// Stops it in its tracks (SIGSTOP); its connections stay open.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process run on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it without a chance to clean up, and waits until it is gone.
    pub async fn kill9(&self) -> Result<()> {
        // It may end by itself just now: then nobody is left to take the order.
        let _taken = self.signal(Signal::KILL);
        self.gone(PATIENCE).await
    }

    /// Asks it to end, kills it after the grace period, and says how it ended.
    pub async fn terminate(&self) -> Result<Exit> {
        let _taken = self.order(&format!("end {}", self.spec.grace.as_millis()));
        self.gone(self.spec.grace + PATIENCE).await?;
        Ok(self.exit().unwrap_or(Exit::Unknown))
    }

    /// Kills it if it still runs, and starts it again with the same arguments.
    pub async fn restart(&self) -> Result<()> {
        self.kill9().await?;
        let running = launch(&self.spec)?;
        *self.running() = running;
        Ok(())
    }

    /// Waits until it ends.
    pub async fn wait_exit(&self) -> Exit {
        let mut exit = self.running().exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Unknown),
            Err(_) => Exit::Unknown,
        }
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.spec.log, lines)
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Ok(kilobytes.with_context(|| format!("{path} tells no VmHWM"))? * 1024)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.order(&format!("signal {}", signal.as_raw()))
    }

    fn order(&self, line: &str) -> Result<()> {
        let mut running = self.running();
        writeln!(running.orders, "{line}").with_context(|| format!("{} has ended", self.spec.name))
    }

    async fn gone(&self, patience: Duration) -> Result<()> {
        timeout(patience, self.wait_exit())
            .await
            .map(drop)
            .with_context(|| format!("{} does not end", self.spec.name))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    /// Waits for the end, so that the files it writes can be removed next.
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.exit().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A command that dies with this process, for `std::process` or `tokio::process`; it inherits standard output and
/// error. The caller must keep the child's standard input open, and not by `wait_with_output`, which closes it.
pub(crate) fn guarded(program: &Path, stdin: Option<&Path>) -> Result<Command> {
    let mut command = guard_command()?;
    if let Some(path) = stdin {
        command.arg("--stdin").arg(path);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let Ok(bytes) = std::fs::read(path) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn guard_command() -> Result<Command> {
    let (program, first) = guard::program()?;
    let mut command = Command::new(program);
    command.args(first).stdin(Stdio::piped());
    Ok(command)
}

fn launch(spec: &Spec) -> Result<Running> {
    let mut command = guard_command()?;
    command.arg("--report").arg("--log").arg(&spec.log).arg("--").arg(&spec.program).args(&spec.args);
    command.envs(spec.env.iter().map(|(name, value)| (name, value))).stdout(Stdio::piped());
    let mut guard = command.spawn().with_context(|| format!("cannot start the guard of {}", spec.name))?;
    let orders = guard.stdin.take().context("no way to give orders")?;
    let mut reports = BufReader::new(guard.stdout.take().context("no way to hear reports")?);
    let mut line = String::new();
    reports.read_line(&mut line).context("the guard says nothing")?;
    let pid = match line.trim_end().split_once(' ') {
        Some(("pid", pid)) => pid.parse().context("the guard speaks nonsense")?,
        Some(("failed", why)) => bail!("cannot start {}: {why}", spec.name),
        _ => {
            return Err(anyhow!("the guard of {} ended before it started anything", spec.name));
        }
    };
    let (told, exit) = watch::channel(None);
    thread::Builder::new()
        .name(format!("wait-{}", spec.name))
        .spawn(move || told.send_replace(Some(await_exit(guard, reports))))?;
    Ok(Running { pid, orders, exit })
}

fn await_exit(mut guard: Child, reports: BufReader<ChildStdout>) -> Exit {
    let exit = reports.lines().map_while(Result::ok).find_map(|line| parse_exit(&line));
    let _ = guard.wait();
    exit.unwrap_or(Exit::Unknown)
}

fn parse_exit(line: &str) -> Option<Exit> {
    let (kind, number) = line.strip_prefix("exit ")?.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "code" => Some(Exit::Code(number)),
        "signal" => Some(Exit::Signal(number)),
        _ => None,
    }
}

/// A signal is delivered in time only where there is time for the process.
const PATIENCE: Duration = Duration::from_mins(1);
