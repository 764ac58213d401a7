//! The table of all metrics, made of what the processes tell.

use std::collections::{BTreeMap, BTreeSet};

/// One metric, by name.
pub(crate) type Families = BTreeMap<String, Family>;

/// What a metric is.
#[derive(Default)]
pub(crate) struct Family {
    kind: String,
    help: String,
    halves: BTreeSet<&'static str>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    /// The series that moves with it.
    pub(crate) fn series(&self, name: &str) -> String {
        if self.kind == "histogram" { format!("{name}_count") } else { name.to_owned() }
    }
}

/// Reads a scrape of the webhook and one of the watcher.
pub(crate) fn families([webhook, watcher]: &[String; 2]) -> Families {
    let mut families = Families::new();
    for (half, page) in [("webhook", webhook), ("watcher", watcher)] {
        for line in page.lines() {
            read(&mut families, half, line);
        }
    }
    families
}

fn read(families: &mut Families, half: &'static str, line: &str) {
    if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
        let family = families.entry(name.to_owned()).or_default();
        help.clone_into(&mut family.help);
        family.halves.insert(half);
    } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
        kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
    } else if let Some((series, labels)) = line.split_once('{') {
        let name = families.keys().find(|name| is_of(series, name)).cloned();
        let Some(family) = name.and_then(|name| families.get_mut(&name)) else { return };
        let labels = labels.rsplit_once('}').map_or(labels, |(labels, _)| labels);
        for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = if label == "version" { "such as 1.2.3" } else { value.trim_matches('"') };
            if label != "le" {
                family.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
            }
        }
    }
}

fn is_of(series: &str, name: &str) -> bool {
    let rest = series.strip_prefix(name);
    rest.is_some_and(|rest| matches!(rest, "" | "_bucket" | "_count" | "_sum"))
}

/// The table, a row for each metric.
pub(crate) fn render(families: &Families) -> String {
    let mut rows: BTreeMap<&str, String> =
        NOT_HERE.iter().map(|(name, row)| (*name, (*row).to_owned())).collect();
    rows.extend(families.iter().map(|(name, family)| {
        let halves: Vec<_> = family.halves.iter().rev().copied().collect();
        let labels = family.labels.iter().map(|(label, values)| {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            format!("`{label}`: {}", values.join(", "))
        });
        (
            name.as_str(),
            format!(
                "{} | {} | {} | {}",
                family.kind,
                halves.join(", "),
                labels.collect::<Vec<_>>().join("; "),
                family.help
            ),
        )
    }));
    let rows: Vec<_> = rows.iter().map(|(name, row)| format!("| `{name}` | {row} |\n")).collect();
    format!(
        "| metric | type | of | labels, with all their values | |\n|---|---|---|---|---|\n{}",
        rows.concat()
    )
}

/// What only processes tell that this test does not start: a watcher that looks after the webhook's certificate.
const NOT_HERE: [(&str, &str); 1] = [(
    "backout_certificate_expiry_timestamp_seconds",
    "gauge | watcher | `certificate`: ca, leaf | When the webhook's certificates end.",
)];
