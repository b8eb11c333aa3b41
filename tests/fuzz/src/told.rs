//! What a pipeline's page tells.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use observer::attribution::Attribution;
use observer::config::Config;
use observer::exposition::text;
use observer::metrics::{self, Metrics};
use observer::pipeline::{Following, Options, Pipeline};

/// Where the services of the configuration are.
pub const ORDERS: &str = "10.1.0.1:8080";
/// See [`ORDERS`].
pub const USERS: &str = "10.1.0.2:8080";
/// See [`ORDERS`].
pub const LOCAL: &[u8] = b"/run/app.sock";

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = "
services:
- {name: orders, url: 'http://10.1.0.1:8080', routes: [{paths: [/orders]}]}
- {name: users, url: 'http://10.1.0.2:8080', routes: [{paths: [/users]}]}
- {name: local, url: 'http://unix:/run/app.sock:/', routes: [{paths: [/local]}]}
";
    Config::parse_own("observer.yml", text).expect("the configuration is sound")
});

/// A pipeline that knows three services and has seen nothing yet.
pub fn pipeline() -> Pipeline {
    Pipeline::new(Options::default(), Attribution::new(&CONFIG), Metrics::new(metrics::Options::default()))
}

/// A page, and what is under way.
pub struct Told {
    /// The page as it is served.
    pub page: String,
    series: Vec<(String, u64)>,
    open: u64,
}

impl Told {
    /// What the pipeline tells now.
    pub fn by(pipeline: &mut Pipeline) -> Self {
        pipeline.publish();
        let page = text::encode(pipeline.metrics().registry().gather(), text::Options::default());
        let lines = page.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
        let series = lines.filter_map(|line| {
            line.rsplit_once(' ').and_then(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        });
        Told { series: series.collect(), open: pipeline.open_exchanges() as u64, page }
    }

    /// Panics unless begun = counted + filtered + unobserved + under way, and the states of connections add up.
    pub fn holds(&self) {
        let own = |name: &str| self.sum(&format!("observer_exchanges_{name}_total"));
        let accounted = own("counted") + own("filtered") + own("unobserved") + self.open;
        assert_eq!(own("begun"), accounted, "begun = counted + filtered + unobserved + under way");
        assert_eq!(self.sum("kong_http_status_total"), own("counted"));
        let state = |name| self.value(&format!("kong_nginx_http_current_connections{{state=\"{name}\"}}"));
        assert_eq!(state("active"), state("reading") + state("writing") + state("waiting"));
    }

    /// Exchanges under way.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// The lines that this page has and the other has not, without histograms' buckets if others tell enough.
    pub fn lines_beyond<'a>(&'a self, other: &'a Told) -> Vec<&'a str> {
        let others: HashSet<&str> = other.page.lines().collect();
        let beyond = || self.page.lines().filter(|line| !others.contains(line));
        let few: Vec<&str> = beyond().filter(|line| !line.contains("_bucket{") && !line.starts_with('#')).collect();
        if few.is_empty() { beyond().collect() } else { few }
    }

    /// How often each status was told, of clients' exchanges with a service and without, and of upstreams' by target. Of an
    /// upstream whose answer was lost there is none.
    pub fn statuses(&self) -> BTreeMap<&str, u64> {
        let mut statuses = BTreeMap::new();
        for (key, value) in &self.series {
            if let Some((_, code)) = key.split_once("_total{code=\"")
                && !code.starts_with("none\"")
            {
                *statuses.entry(code.trim_end_matches("\"}")).or_default() += value;
            }
        }
        statuses
    }

    fn sum(&self, family: &str) -> u64 {
        let is_it = |key: &str| key.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.series.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| value).sum()
    }

    fn value(&self, key: &str) -> u64 {
        self.series.iter().find_map(|(own, value)| (own == key).then_some(*value)).unwrap_or(0)
    }
}
