//! The guard between a test and its child processes: whatever ends the parent ends the child.
//!
//! # Flow
//! The parent starts every command through a guard and keeps the write end of the guard's standard input. The guard
//! leaves the terminal's session, runs the command in a process group of its own, and obeys the lines it reads:
//! `signal N` sends a signal, `end MS` asks the command to stop and kills it after that time.
//!
//! # Guarantees
//! End of input means that the parent is gone (kill -9, panic and Ctrl-C included): the whole process group is killed.
//! A signal never reaches a process that took over the pid: the command is reaped only under the same lock.
//!
//! # Assumptions
//! Nobody kills the guard itself with SIGKILL, and commands do not leave their process group.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{BufRead, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, setsid, waitid};

/// Lets this executable be its own guard, and runs it as one when it was started as one.
///
/// Call it first in `main` of a binary that `cargo run` builds alone, without the `guard` binary beside it.
pub fn serve_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|arg| arg == AS_GUARD).is_some() {
        return Some(run(args));
    }
    let _ = SELF_SERVICE.set(());
    None
}

/// The program that guards, and its first arguments.
pub(crate) fn program() -> Result<(PathBuf, Option<&'static str>)> {
    if SELF_SERVICE.get().is_some() {
        // Stays valid when the file was replaced by a newer build.
        return Ok((PathBuf::from("/proc/self/exe"), Some(AS_GUARD)));
    }
    let exe = std::env::current_exe().context("where is the running executable?")?;
    // Test binaries live in `deps`, one folder below the package's binaries.
    exe.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("guard"))
        .find(|path| path.is_file())
        .map(|path| (path, None))
        .with_context(|| {
            format!("no `guard` binary near {}: run `cargo build -p system-tests --bin guard`", exe.display())
        })
}

/// What to run, and where its output goes.
#[derive(Default)]
struct Plan {
    log: Option<PathBuf>,
    stdin: Option<PathBuf>,
    /// Tell pid and exit on standard output; without it the command inherits standard output and error.
    report: bool,
    command: Vec<OsString>,
}

/// Runs as a guard: the whole of the `guard` binary.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut report = false;
    let outcome = parse(args).and_then(|plan| {
        report = plan.report;
        guard(&plan)
    });
    match outcome {
        Ok(status) => return exit_code(status),
        Err(error) if report => say(&format!("failed {error:#}").replace('\n', " ")),
        Err(error) => drop(writeln!(std::io::stderr(), "guard: {error:#}")),
    }
    ExitCode::from(127)
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Plan> {
    let mut plan = Plan::default();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--report") => plan.report = true,
            Some("--log") => plan.log = args.next().map(PathBuf::from),
            Some("--stdin") => plan.stdin = args.next().map(PathBuf::from),
            Some("--") => {
                plan.command = args.collect();
                break;
            }
            _ => bail!("unknown argument {}", arg.display()),
        }
    }
    if plan.command.is_empty() {
        bail!("usage: guard [--report] [--log FILE] [--stdin FILE] -- COMMAND ARGUMENT...");
    }
    Ok(plan)
}

fn guard(plan: &Plan) -> Result<ExitStatus> {
    // Fails only for a group leader, which a shell's foreground job is: then Ctrl-C reaches us, and the pipe still works.
    let _ = setsid();
    let mut child = spawn(plan)?;
    let pid = Pid::from_child(&child);
    if plan.report {
        say(&format!("pid {}", child.id()));
    }
    let target = Arc::new(Target { pid, gone: Mutex::new(false) });
    let listener = Arc::clone(&target);
    thread::spawn(move || obey(&listener));

    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .context("cannot wait for the command")?;
    let status = target.reap(&mut child)?;
    if plan.report {
        say(&match status.signal() {
            Some(signal) => format!("exit signal {signal}"),
            None => format!("exit code {}", status.code().unwrap_or_default()),
        });
    }
    Ok(status)
}

fn spawn(plan: &Plan) -> Result<Child> {
    let (program, args) = plan.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(args).process_group(0).stdin(Stdio::null());
    if let Some(path) = &plan.stdin {
        command.stdin(File::open(path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    if let Some(path) = &plan.log {
        let log = OpenOptions::new().create(true).append(true).open(path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        command.stdout(log.try_clone()?).stderr(log);
    }
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// The guarded command's process group.
struct Target {
    pid: Pid,
    gone: Mutex<bool>,
}

impl Target {
    fn signal(&self, signal: Signal) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    fn is_gone(&self) -> bool {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the rest of the group along while the zombie still keeps the group's id from being reused.
    fn reap(&self, child: &mut Child) -> Result<ExitStatus> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = kill_process_group(self.pid, Signal::KILL);
        *gone = true;
        child.wait().context("cannot reap the command")
    }
}

fn obey(target: &Target) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_once(' ') {
            Some(("signal", number)) => {
                if let Some(signal) = number.parse().ok().and_then(Signal::from_named_raw) {
                    target.signal(signal);
                }
            }
            Some(("end", patience)) => {
                end(target, Duration::from_millis(patience.parse().unwrap_or_default()));
            }
            _ => {}
        }
    }
    target.signal(Signal::KILL);
}

fn end(target: &Target, patience: Duration) {
    let deadline = Instant::now() + patience;
    target.signal(Signal::TERM);
    // A stopped process would never see the request.
    target.signal(Signal::CONT);
    while !target.is_gone() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    target.signal(Signal::KILL);
}

/// The parent may be gone: nobody to hear it is no error.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn exit_code(status: ExitStatus) -> ExitCode {
    // As shells do: 128 + the signal's number.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

static SELF_SERVICE: OnceLock<()> = OnceLock::new();

const AS_GUARD: &str = "--as-guard";
