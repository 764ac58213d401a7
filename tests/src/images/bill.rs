//! What a program is made of: its bill of materials, as `CycloneDX` in JSON.
//!
//! Of `cargo tree`, which decides on features as the build does. The tools made for it read `cargo metadata`, where the features
//! of the whole workspace are united, those of its tests included: they name crates that no program holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::triple;
use crate::backout::workspace_root;

/// The bill of a program. Crates that only the compiler runs, macros and what these are made of, are in it as `excluded`.
pub fn bill(program: &str) -> Result<Value> {
    let tree = Tree::of(program, "normal")?;
    let linked = Tree::of(program, "normal,no-proc-macro")?;
    let components = tree.crates.iter().filter(|(reference, _)| **reference != tree.root);
    let components = components.map(|(reference, found)| {
        let mut component = found.component(reference, "library");
        let is_linked = linked.crates.contains_key(reference);
        component["scope"] = json!(if is_linked { "required" } else { "excluded" });
        component
    });
    let root = tree.crates.get(&tree.root).context("cargo tree shows nothing")?;
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": root.component(&tree.root, "application"),
            "properties": [{"name": "cdx:rustc:sbom:target:triple", "value": triple()}],
        },
        "components": components.collect::<Vec<_>>(),
        "dependencies": tree.crates.keys().map(|reference| {
            json!({"ref": reference, "dependsOn": tree.edges.get(reference).into_iter().flatten().collect::<Vec<_>>()})
        }).collect::<Vec<_>>(),
    }))
}

/// A program's crates by `name@version`, and which of them each depends on.
#[derive(Debug, Default)]
struct Tree {
    root: String,
    crates: BTreeMap<String, Crate>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct Crate {
    name: String,
    version: String,
    /// An expression of SPDX, or what was one before `/` was given up for `OR`.
    license: String,
    /// Of this workspace, and of no registry.
    is_own: bool,
}

impl Tree {
    fn of(program: &str, edges: &str) -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut tree = Command::new(cargo);
        tree.args(["tree", "--locked", "--color=never", "--prefix=depth", "--format= {p}|{l}|"]);
        tree.args(["--package", program, "--target", &triple(), "--edges", edges]);
        let output = tree.current_dir(workspace_root()).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
        Self::read(&String::from_utf8(output.stdout)?)
    }

    fn read(printed: &str) -> Result<Self> {
        let mut tree = Self::default();
        let mut path: Vec<String> = Vec::new();
        for line in printed.lines().filter(|line| !line.is_empty()) {
            // Such as `2 ring v0.17.14|Apache-2.0 AND ISC|`, with `(*)` behind it the second time.
            let read = || {
                let (what, license) = line.split_once('|')?;
                let mut words = what.splitn(4, ' ');
                let (depth, name, version) = (words.next()?, words.next()?, words.next()?);
                let is_own = words.next().is_some_and(|origin| origin.starts_with("(/"));
                let license = license.split('|').next()?.to_owned();
                let (name, version) = (name.to_owned(), version.strip_prefix('v')?.to_owned());
                Some((depth.parse::<usize>().ok()?, Crate { name, version, license, is_own }))
            };
            let (depth, found) = read().with_context(|| format!("cargo tree says {line:?}"))?;
            let reference = format!("{}@{}", found.name, found.version);
            path.truncate(depth);
            match path.last() {
                Some(parent) => _ = tree.edges.entry(parent.clone()).or_default().insert(reference.clone()),
                None => tree.root.clone_from(&reference),
            }
            path.push(reference.clone());
            tree.crates.insert(reference, found);
        }
        Ok(tree)
    }
}

impl Crate {
    fn component(&self, reference: &str, kind: &str) -> Value {
        let license = self.license.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
        let mut component = json!({
            "type": kind,
            "bom-ref": reference,
            "name": self.name,
            "version": self.version,
            "licenses": [{"expression": license}],
        });
        if !self.is_own {
            component["purl"] = json!(format!("pkg:cargo/{reference}"));
        }
        component
    }
}
