//! Metrics of which every series is there from the start: what has never happened is 0 and not absent, and its first time is
//! seen as an increase.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector, process_collector::ProcessCollector,
};

/// A label with all the values that it can have: words of the code, never of the cluster. Of one that names none here the
/// series come as they are set.
pub type Label<'a> = (&'a str, &'a [&'a str]);

/// A counter without labels.
pub fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(name, help)?)
}

/// A counter for each combination of the labels' values.
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[Label<'_>],
) -> prometheus::Result<IntCounterVec> {
    let counters = registered(registry, IntCounterVec::new(Opts::new(name, help), &names(labels))?)?;
    for values in combinations(labels) {
        counters.with_label_values(&values).inc_by(0);
    }
    Ok(counters)
}

/// A gauge without labels.
pub fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(name, help)?)
}

/// A gauge for each combination of the labels' values.
pub fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[Label<'_>],
) -> prometheus::Result<IntGaugeVec> {
    let gauges = registered(registry, IntGaugeVec::new(Opts::new(name, help), &names(labels))?)?;
    for values in combinations(labels) {
        gauges.with_label_values(&values).set(0);
    }
    Ok(gauges)
}

/// A histogram without labels.
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, Histogram::with_opts(options)?)
}

/// What every process tells of itself: its version, and what it takes of its machine.
pub fn process(registry: &Registry, version: &str) -> prometheus::Result<()> {
    let info = Opts::new("backout_build_info", "1, with the version of the program.");
    registered(registry, IntGaugeVec::new(info, &["version"])?)?.with_label_values(&[version]).set(1);
    registry.register(Box::new(ProcessCollector::for_self()))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn names<'a>(labels: &[Label<'a>]) -> Vec<&'a str> {
    labels.iter().map(|(name, _)| *name).collect()
}

fn combinations<'a>(labels: &[Label<'a>]) -> Vec<Vec<&'a str>> {
    labels.iter().fold(vec![Vec::new()], |begun, (_, values)| {
        let with_each =
            |begun: Vec<&'a str>| values.iter().map(move |value| [&begun[..], &[*value]].concat());
        begun.into_iter().flat_map(with_each).collect()
    })
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn what_never_happened_is_zero() {
        let registry = Registry::new();
        let labels: [Label<'_>; 2] = [("verb", &["put", "get"]), ("outcome", &["ok", "conflict"])];
        let counters = counters(&registry, "calls_total", "Calls.", &labels).unwrap();
        counters.with_label_values(&["put", "ok"]).inc();
        let text = text(&registry);
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"calls_total{outcome="conflict",verb="get"} 0"#,
                r#"calls_total{outcome="conflict",verb="put"} 0"#,
                r#"calls_total{outcome="ok",verb="get"} 0"#,
                r#"calls_total{outcome="ok",verb="put"} 1"#,
            ]
        );
    }

    #[test]
    fn a_process_tells_its_version_and_its_memory() {
        let registry = Registry::new();
        process(&registry, "1.2.3").unwrap();
        let text = text(&registry);
        assert!(text.contains(r#"backout_build_info{version="1.2.3"} 1"#), "{text}");
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(memory.unwrap().parse::<f64>().unwrap() > 0.0, "{text}");
    }
}
