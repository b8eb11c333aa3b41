//! The observer's process as Prometheus's clients tell of theirs.

use std::sync::Arc;

use procfs::process::{LimitValue, Process};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// Names and HELP texts as Prometheus's guide for client libraries has them.
const FAMILIES: [(&str, &str); 7] = [
    ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
    ("process_max_fds", "Maximum number of open file descriptors."),
    ("process_open_fds", "Number of open file descriptors."),
    ("process_resident_memory_bytes", "Resident memory size in bytes."),
    ("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
    ("process_threads", "Number of OS threads in the process."),
    ("process_virtual_memory_bytes", "Virtual memory size in bytes."),
];

/// Reads /proc/self at each scrape. What cannot be read is left out.
#[derive(Clone)]
pub struct ProcessMetrics(Arc<[Desc]>);

impl Default for ProcessMetrics {
    fn default() -> Self {
        // The page's size comes from /proc/self/auxv, which a process that is not dumpable may no longer read.
        let _ = values();
        let desc = |(name, help): (&str, &str)| Desc::new(name.into(), help.into(), Vec::new(), Default::default());
        ProcessMetrics(FAMILIES.map(|family| desc(family).expect("the family's name is valid")).into())
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(values) = values() else { return Vec::new() };
        let told = FAMILIES.into_iter().zip(values);
        told.filter_map(|((name, help), value)| Some(family(name, help, value?))).collect()
    }
}

fn family(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    let mut family = MetricFamily::default();
    if name.ends_with("_total") {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
        family.set_field_type(MetricType::COUNTER);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        family.set_field_type(MetricType::GAUGE);
    }
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_metric(vec![metric]);
    family
}

/// In the families' order.
fn values() -> procfs::ProcResult<[Option<f64>; 7]> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let max_fds = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit as f64),
        LimitValue::Unlimited => None,
    });
    let boot = procfs::boot_time_secs().ok();
    Ok([
        Some((stat.utime + stat.stime) as f64 / ticks),
        max_fds,
        process.fd_count().ok().map(|count| count as f64),
        Some((stat.rss * procfs::page_size()) as f64),
        boot.map(|boot| boot as f64 + stat.starttime as f64 / ticks),
        Some(stat.num_threads as f64),
        Some(stat.vsize as f64),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_in_the_order_of_names() {
        let families = ProcessMetrics::default().collect();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert!(families.is_sorted_by_key(|family| family.name().to_owned()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-1.5..3600.0).contains(&age), "{age}");
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") < 3600.0);
    }
}
