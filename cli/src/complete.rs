//! Completions, in the protocol that kubectl speaks with its plugins: `kubectl_complete-backout` is called with the words
//! typed so far, and prints candidates, each on a line, then a directive.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use kube::ResourceExt as _;

use crate::{
    args::{Args, Connection},
    cluster::Cluster,
};

/// cobra's `ShellCompDirectiveNoFileComp`.
const NO_FILES: &str = ":4";

/// Prints what the last of `words` may become.
pub(crate) async fn answer(mut words: Vec<String>) -> ExitCode {
    let last = words.pop().unwrap_or_default();
    let candidates = candidates(&words, &last).await;
    for (candidate, help) in candidates.iter().filter(|(candidate, _)| candidate.starts_with(&last)) {
        println!("{candidate}\t{help}");
    }
    println!("{NO_FILES}");
    ExitCode::SUCCESS
}

async fn candidates(words: &[String], last: &str) -> Vec<(String, String)> {
    let root = Args::command();
    let verb = words.iter().find_map(|word| root.find_subcommand(word));
    if last.starts_with('-') {
        let flags = verb.into_iter().chain([&root]).flat_map(clap::Command::get_arguments);
        return flags
            .filter_map(|flag| Some((format!("--{}", flag.get_long()?), told(flag.get_help()))))
            .collect();
    }
    match verb {
        None => root.get_subcommands().map(|it| (it.get_name().to_owned(), told(it.get_about()))).collect(),
        Some(_) => releases(words).await,
    }
}

fn told(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

async fn releases(words: &[String]) -> Vec<(String, String)> {
    let parsed = Args::command()
        .ignore_errors(true)
        .try_get_matches_from(std::iter::once("backout").chain(words.iter().map(String::as_str)));
    let connection =
        parsed.ok().and_then(|matches| Connection::from_arg_matches(&matches).ok()).unwrap_or_default();
    let Ok(cluster) = Cluster::connect(&connection).await else { return Vec::new() };
    let all = cluster.all().await.unwrap_or_default();
    all.iter()
        .map(|release| {
            let phase = release.status.as_ref().and_then(|status| status.phase);
            (release.name_any(), phase.map_or(String::new(), |phase| phase.as_str().to_owned()))
        })
        .collect()
}
