//! The real clients, `kubectl` and `helm`, as any user, with a home of their own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncReadExt, process::Command};

use crate::{
    cluster::{Cluster, User},
    components::Component,
    process::{self, Process, Spec},
    site::Site,
};

/// A client to run against a cluster.
#[must_use]
pub struct Tool<'a, C = Cluster> {
    site: &'a C,
    component: Component,
    user: User<'a>,
    stdin: Option<String>,
    env: Vec<(&'static str, PathBuf)>,
}

/// What a client printed, and how long it took.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Output {
    /// An error with everything it printed, unless it succeeded.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}\n{}{}", self.status, self.stdout, self.stderr)
    }
}

impl<'a, C: Site> Tool<'a, C> {
    pub(crate) fn new(site: &'a C, component: Component) -> Self {
        Self { site, component, user: User::Admin, stdin: None, env: Vec::new() }
    }

    /// As this user.
    pub fn user(mut self, user: User<'a>) -> Self {
        self.user = user;
        self
    }

    /// With this text as standard input.
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// With this variable, such as the `EDITOR` of `kubectl edit`.
    pub fn env(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Runs it to its end. A failure of the client itself is in the output, not an error.
    pub async fn run(self, args: &[&str]) -> Result<Output> {
        let program = self.site.components().path(self.component);
        let stdin = self.stdin_file()?;
        let output = run(&program, args, self.environment().await?, stdin.as_deref()).await?;
        if let Some(path) = stdin {
            let _ = fs::remove_file(path);
        }
        Ok(output)
    }

    fn stdin_file(&self) -> Result<Option<PathBuf>> {
        let Some(text) = &self.stdin else { return Ok(None) };
        let path = self.site.dir().join(format!("stdin-{:x}", rand::random::<u64>()));
        fs::write(&path, text)?;
        Ok(Some(path))
    }

    /// Nothing of the user's own clients may be read or written.
    async fn environment(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let home = self.site.dir().join("home");
        let mut all = vec![
            ("KUBECONFIG", self.site.kubeconfig(self.user).await?),
            ("HELM_CACHE_HOME", home.join("helm/cache")),
            ("HELM_CONFIG_HOME", home.join("helm/config")),
            ("HELM_DATA_HOME", home.join("helm/data")),
            // Else Helm takes a list of the server's cache for what there is, and may find the version before ready.
            ("KUBE_FEATURE_WatchListClient", "true".into()),
        ];
        all.extend(HELM_ELSEWHERE.map(|name| (name, PathBuf::new())));
        all.extend(self.site.environment());
        all.extend(self.env.iter().cloned());
        Ok(all)
    }
}

impl Tool<'_> {
    /// Starts it and leaves it running, to be killed in the middle of its work. Its output goes to a log.
    pub async fn start(self, args: &[&str]) -> Result<Process> {
        let name = format!("{}-{:x}", self.component.name(), rand::random::<u32>());
        let log = self.site.logs().join(format!("{name}.log"));
        let mut spec = Spec::new(&name, &self.site.components().path(self.component), log).args(args);
        spec.env =
            self.environment().await?.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Process::spawn(spec)
    }
}

/// What would lead Helm to another cluster than the kubeconfig's, or to another user, or its records elsewhere.
const HELM_ELSEWHERE: [&str; 9] = [
    "HELM_DRIVER",
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
    "HELM_KUBETOKEN",
];

/// Runs a client to its end, in the user's own environment but for these variables.
pub(crate) async fn run<V: AsRef<OsStr>>(
    program: &Path,
    args: &[&str],
    env: impl IntoIterator<Item = (&'static str, V)>,
    stdin: Option<&Path>,
) -> Result<Output> {
    let mut command = process::guarded(program, stdin)?;
    command.args(args).envs(env);
    let start = Instant::now();
    let output = finish(Command::from(command)).await;
    let (status, stdout, stderr) =
        output.with_context(|| format!("cannot run {} {args:?}", program.display()))?;
    Ok(Output { status, stdout, stderr, elapsed: start.elapsed() })
}

async fn finish(mut command: Command) -> Result<(ExitStatus, String, String)> {
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn()?;
    // Dropped with this future: a cancelled run ends the client.
    let _open = child.stdin.take();
    let mut out = child.stdout.take().context("no standard output")?;
    let mut err = child.stderr.take().context("no standard error")?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    tokio::try_join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr))?;
    let status = child.wait().await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status, text(stdout), text(stderr)))
}
