//! Scraped metrics in the Prometheus text format.

/// All samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    pub(super) fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of all samples of this name that carry these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let samples = self.text.lines().filter_map(|line| line.rsplit_once(' '));
        samples
            .filter(|(series, _)| {
                let (series, labels) = series.split_once('{').unwrap_or((series, ""));
                let labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
                series == name && wanted.iter().all(|wanted| labels.contains(&wanted.as_str()))
            })
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// The scrape as it came.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_were_not_asked_for() {
        let text = "# HELP requests Requests.\n# TYPE requests counter\n\
            requests{code=\"200\",verb=\"put\"} 2\nrequests{code=\"200\",verb=\"get\"} 3\n\
            requests{code=\"500\",verb=\"get\"} 4\nup 1\n";
        let metrics = Metrics::new(text.to_owned());
        assert!((metrics.sum("requests", &[("code", "200")]) - 5.0).abs() < f64::EPSILON);
        assert!((metrics.sum("up", &[]) - 1.0).abs() < f64::EPSILON);
        assert!(metrics.sum("down", &[]).abs() < f64::EPSILON);
    }
}
