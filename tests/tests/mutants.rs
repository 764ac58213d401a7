//! Tests that would not fail if an invariant were broken are worth nothing: so each invariant is broken, in a copy of
//! the tree, and the test that is to notice must fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod mutants {
    pub(crate) mod table;
}

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use mutants::table::{MUTANTS, Mutant};
use rand::{SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// What a package is built from, below the root.
const SOURCES: [&str; 11] = [
    "cli",
    "shared",
    "webhook",
    "watcher",
    "tests",
    "manifests",
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "rust-toolchain.toml",
    ".cargo",
];

/// Longer takes no build and no test.
const PATIENCE: Duration = Duration::from_mins(20);

/// One mutant of the model for each invariant, chosen by `BACKOUT_SEED`; with `BACKOUT_EVERYTHING=1` all of them, those of
/// the webhook and the watcher included. It builds a tree of its own, again and again.
#[test]
#[ignore = "takes its time: cargo test -p system-tests --test mutants -- --include-ignored"]
fn each_invariant_broken_on_purpose_is_noticed() {
    let mut lab = Lab::open();
    let chosen = chosen();
    let escaped: Vec<_> = chosen.iter().filter_map(|mutant| lab.escape(mutant)).collect();
    assert!(escaped.is_empty(), "{} of {}:\n{}", escaped.len(), chosen.len(), escaped.join("\n"));
}

#[test]
fn each_line_that_is_to_be_broken_is_there_once() {
    let astray: Vec<_> = MUTANTS.iter().filter_map(|mutant| mutant.place(&root()).err()).collect();
    assert!(astray.is_empty(), "{}", astray.join("\n"));
    for invariant in 1..=8 {
        let of_it = MUTANTS.iter().filter(|mutant| mutant.invariant == invariant);
        assert!(of_it.count() >= 2, "invariant {invariant} has less than two mutants");
    }
}

fn chosen() -> Vec<&'static Mutant> {
    if std::env::var_os("BACKOUT_EVERYTHING").is_some_and(|value| value == "1") {
        return MUTANTS.iter().collect();
    }
    let seed = std::env::var("BACKOUT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("BACKOUT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let of = |invariant| {
        let of_it =
            MUTANTS.iter().filter(move |it| it.invariant == invariant && it.file.starts_with("shared/"));
        of_it.collect::<Vec<_>>()
    };
    (1..=8).map(|invariant| *of(invariant).choose(&mut random).unwrap()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Mutant {
    /// The file's text, and where in it the line begins.
    fn place(&self, root: &Path) -> Result<(String, usize), String> {
        let text =
            fs::read_to_string(root.join(self.file)).map_err(|error| format!("{}: {error}", self.file))?;
        let mut at = 0;
        let mut places = Vec::new();
        for line in text.split_inclusive('\n') {
            if line.trim() == self.line {
                places.push(at + line.find(self.line).unwrap_or_default());
            }
            at += line.len();
        }
        match places.as_slice() {
            [place] => Ok((text, *place)),
            places => Err(format!(
                "{} holds this line {} times, and must once. Was it changed? Then change the mutant, too:\n    {}",
                self.file,
                places.len(),
                self.line
            )),
        }
    }
}

/// A copy of the tree, built on its own.
struct Lab {
    tree: PathBuf,
    target: PathBuf,
    log: PathBuf,
}

impl Lab {
    fn open() -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let lab = Self { tree: home.join("tree"), target: home.join("target"), log: home.join("log") };
        fs::create_dir_all(&lab.tree).unwrap();
        for source in SOURCES {
            copy(&root().join(source), &lab.tree.join(source));
        }
        lab
    }

    /// Breaks one line, and says so if nobody notices.
    fn escape(&mut self, mutant: &Mutant) -> Option<String> {
        let Mutant { invariant, file, line, broken, test: (package, binary, test) } = mutant;
        let start = Instant::now();
        let (whole, place) = match mutant.place(&self.tree) {
            Ok(found) => found,
            Err(astray) => return Some(astray),
        };
        let mut mutated = whole.clone();
        mutated.replace_range(place..place + line.len(), broken);
        fs::write(self.tree.join(file), mutated).unwrap();
        let builds = self.cargo(package, binary, &["--no-run"]);
        let passes = builds && self.cargo(package, binary, &["--", test]);
        let told = fs::read_to_string(&self.log).unwrap();
        fs::write(self.tree.join(file), whole).unwrap();
        let outcome = match (builds, passes) {
            (false, _) => "does not compile",
            (true, true) => "is not noticed",
            (true, false) if told.contains("test result: FAILED") => "is noticed",
            (true, false) => "ends otherwise than by a failed test",
        };
        println!("{invariant} {file}: {outcome} by {binary} {test}, in {:.0?}", start.elapsed());
        (outcome != "is noticed").then(|| {
            let last: Vec<_> = told.lines().rev().take(30).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            format!("{file}: {broken}\n    {outcome} by {package} {binary} {test}:\n{last}")
        })
    }

    fn cargo(&self, package: &str, binary: &str, arguments: &[&str]) -> bool {
        let log = File::create(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--locked", "--package", package]);
        match binary {
            "lib" => command.arg("--lib"),
            binary => command.args(["--test", binary]),
        };
        let mut child = command
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody debugs it.
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match child.try_wait().unwrap() {
                Some(status) => return status.success(),
                None if Instant::now() > until => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return false;
                }
                None => sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Makes `to` the same as `from`, and leaves alone what is so already: it need not be built again.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        let wanted = names(from);
        for gone in names(to).into_iter().filter(|name| !wanted.contains(name)) {
            let gone = to.join(gone);
            if gone.is_dir() { fs::remove_dir_all(gone) } else { fs::remove_file(gone) }.unwrap();
        }
        for name in wanted {
            copy(&from.join(&name), &to.join(&name));
        }
        return;
    }
    let content = fs::read(from).unwrap();
    if fs::read(to).ok().as_ref() != Some(&content) {
        fs::write(to, content).unwrap();
    }
}
