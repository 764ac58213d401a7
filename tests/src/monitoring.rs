//! Prometheus as operators have it: from the `PATH`, or Debian's package, unpacked into the cache.

use std::{
    env,
    fmt::{self, Write as _},
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, free_port},
    components::{cache_dir, progress},
    exchange,
    process::{Process, Spec},
    wait::eventually,
};

/// The two programs.
#[derive(Clone, Debug)]
pub struct Monitoring {
    prometheus: PathBuf,
    promtool: PathBuf,
}

impl Monitoring {
    /// Finds them, or fetches them; the error says why neither can be done here.
    pub fn find() -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let cache = cache_dir()?.join("prometheus");
        let dirs: Vec<_> = env::split_paths(&path).chain([cache.join(BINARIES)]).collect();
        if let Some(found) = dirs.iter().find_map(|dir| Self::in_dir(dir)) {
            return Ok(found);
        }
        fetch(&cache)?;
        Self::in_dir(&cache.join(BINARIES)).context("the package holds no prometheus")
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        let found = Self { prometheus: dir.join("prometheus"), promtool: dir.join("promtool") };
        (found.prometheus.is_file() && found.promtool.is_file()).then_some(found)
    }

    /// Runs promtool in a folder, and gives what it said; an error if it found fault.
    pub fn promtool(&self, dir: &Path, args: &[&str]) -> Result<String> {
        said(Command::new(&self.promtool).args(args).current_dir(dir).stdin(Stdio::null()))
    }

    /// What promtool finds fault with in a page of metrics, a line each.
    pub fn lint(&self, page: &Path) -> Result<String> {
        said(Command::new(&self.promtool).args(["check", "metrics"]).stdin(File::open(page)?))
    }

    /// Starts a server that scrapes these jobs each second, and watches by these rules.
    pub async fn start(
        &self,
        cluster: &Cluster,
        jobs: &[(&str, SocketAddr)],
        rules: &Path,
    ) -> Result<Prometheus> {
        let (port, dir) = (free_port()?, cluster.dir().join("prometheus"));
        fs::create_dir_all(&dir)?;
        let jobs = jobs.iter().map(
            |(job, target)| json!({"job_name": job, "static_configs": [{"targets": [target.to_string()]}]}),
        );
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": jobs.collect::<Vec<_>>(),
        });
        let file = dir.join("prometheus.yml");
        fs::write(&file, config.to_string())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let spec = Spec::new("prometheus", &self.prometheus, cluster.logs().join("prometheus.log"))
            .arg_pair("--config.file", &file)
            .arg_pair("--storage.tsdb.path", dir.join("data"))
            .arg_pair("--web.listen-address", address.to_string());
        let prometheus = Prometheus { process: Process::spawn(spec)?, address };
        eventually("prometheus is ready", Duration::from_secs(30), async || {
            let answer = exchange::get(address, "/-/ready").await?;
            Ok(answer.status.is_success().then_some(()))
        })
        .await
        .with_context(|| prometheus.process.log_tail(15))?;
        Ok(prometheus)
    }
}

/// A running server.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
}

/// One series' answer to a query.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its labels.
    pub labels: String,
    /// Its value now.
    pub value: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:.4}", self.labels, self.value)
    }
}

impl Prometheus {
    /// What a query gives now; an error if it is none.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let data = self.get(&format!("/api/v1/query?query={}", encoded(query))).await?;
        let result = &data["result"];
        let samples = match data["resultType"].as_str() {
            Some("scalar") => vec![Sample { labels: String::new(), value: number(result)? }],
            _ => result.as_array().into_iter().flatten().map(sample).collect::<Result<_>>()?,
        };
        Ok(samples)
    }

    /// What the server says of its rules: each with its name, and whether it could be evaluated.
    pub async fn rules(&self) -> Result<Vec<(String, String)>> {
        let data = self.get("/api/v1/rules").await?;
        let groups = data["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(rules
            .map(|rule| (text(&rule["name"]), text(&rule["health"]) + &text(&rule["lastError"])))
            .collect())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = exchange::get(self.address, path).await?;
        let body: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        ensure!(body["status"] == "success", "{}", body["error"].as_str().unwrap_or_default());
        Ok(body["data"].clone())
    }
}

fn sample(series: &Value) -> Result<Sample> {
    let labels = series["metric"].as_object().into_iter().flatten();
    let labels: Vec<_> =
        labels.map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default())).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}} ", labels.join(",")) };
    Ok(Sample { labels, value: number(&series["value"])? })
}

fn number(value: &Value) -> Result<f64> {
    Ok(value[1].as_str().context("no value")?.parse()?)
}

fn encoded(query: &str) -> String {
    let mut text = String::new();
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Where Debian's package has them.
const BINARIES: &str = "usr/bin";

/// Fetches the package and unpacks it, once for all tests that run at the same time.
fn fetch(cache: &Path) -> Result<()> {
    let parent = cache.parent().context("the cache lies in a folder")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("prometheus.lock"))?;
    lock.lock()?;
    if cache.exists() {
        return Ok(());
    }
    progress("fetching Debian's package of prometheus …\n");
    let dir = tempfile::tempdir_in(parent)?;
    let timeouts = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"];
    said(
        Command::new("apt-get")
            .args(timeouts)
            .args(["download", "prometheus"])
            .current_dir(dir.path())
            .stdin(Stdio::null()),
    )?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let files = fs::read_dir(dir.path())?.filter_map(|file| Some(file.ok()?.path()));
    let package = files.into_iter().find(is_package).context("apt-get has downloaded no package")?;
    let unpacked = dir.path().join("unpacked");
    said(Command::new("dpkg").arg("-x").args([&package, &unpacked]))?;
    Ok(fs::rename(&unpacked, cache)?)
}

fn said(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if !output.status.success() {
        bail!("{program}: {}\n{text}", output.status);
    }
    Ok(text)
}
